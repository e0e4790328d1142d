"""Prints what SignalWire's own SDK makes of each question in the argument: [what, arguments]."""

import json
import sys

from requests import PreparedRequest
from signalwire.request_validator import RequestValidator
from signalwire.rest import Client
from signalwire.voice_response import Dial, Gather, VoiceResponse
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response


class Recorder(TwilioHttpClient):
    """Sends nothing, and keeps what would be sent."""

    def request(self, method, url, params=None, data=None, headers=None, auth=None, **rest):
        self.request = PreparedRequest()
        self.request.prepare(method=method, url=url, params=params, data=data, headers=headers, auth=auth)
        return Response(201, '{"sid": "1"}')


def sign(key, url, body):
    return RequestValidator(key).build_signature(url, body)


def sign_fields(key, url, form):
    return RequestValidator(key).build_signature_with_compatibility(url, form)


def is_signed(key, url, body, signature):
    return RequestValidator(key).validate(url, body, signature)


def send(space, project, token, message):
    recorder = Recorder()
    client = Client(project, token, signalwire_space_url=space, http_client=recorder)
    client.messages.create(**message)
    request = recorder.request
    return [request.method, request.url, dict(request.headers), request.body]


def documents():
    dial = Dial(action="https://x.test/a?b=c&d", caller_id="+14155550101", timeout=30)
    dial.number(
        "+12125550177",
        url="https://x.test/w?Event=whisper",
        send_digits="ww1",
        status_callback="https://x.test/s?Event=status",
        status_callback_event="initiated ringing answered completed",
    )
    gather = Gather(action="https://x.test/k", timeout=7, num_digits=4)
    gather.say("Käse & <so> \U0001f355", voice="alice", language="de-DE", loop=2)
    made = []
    for verbs in ([dial], [gather], []):
        response = VoiceResponse()
        for verb in verbs:
            response.append(verb)
        made.append(str(response))
    response = VoiceResponse()
    response.reject(reason="busy")
    return [*made, str(response)]


ASKED = {
    "sign": sign,
    "sign_fields": sign_fields,
    "is_signed": is_signed,
    "send": send,
    "documents": documents,
}
sys.stdout.write(json.dumps([ASKED[what](**arguments) for what, arguments in json.loads(sys.argv[1])]))
