"""Prints what Plivo's own library makes of each question in the argument: [what, arguments]."""

import json
import sys

import plivo
import requests
from plivo import plivoxml as xml
from plivo.utils import validate_v3_signature
from plivo.utils.signature_v3 import construct_post_url, get_signature_v3


class Recorder(requests.adapters.BaseAdapter):
    """Sends nothing, and keeps what would be sent."""

    def send(self, request, **rest):
        self.request = request
        answer = requests.Response()
        answer.status_code, answer._content = 202, b'{"message_uuid": ["1"]}'
        answer.request = request
        return answer

    def close(self):
        pass


def is_signed(url, form, nonce, token, signature):
    return validate_v3_signature("POST", url, nonce, token, signature, form)


def sign(url, form, nonce, token):
    return get_signature_v3(token, construct_post_url(url, form).decode(), nonce).decode()


def send(auth_id, token, message):
    recorder = Recorder()
    client = plivo.RestClient(auth_id, token)
    client.session.mount("https://", recorder)
    client.messages.create(**message)
    request = recorder.request
    return [request.method, request.url, dict(request.headers), json.loads(request.body)]


def document(*elements):
    response = xml.ResponseElement()
    for element in elements:
        response.add(element)
    return response.to_string(pretty=False)


def documents():
    dial = xml.DialElement(
        action="https://x.test/a?b=c&d",
        method="POST",
        time_limit=14400,
        timeout=30,
        caller_id="14155550101",
        callback_url="https://x.test/s?Event=status&Number=14155550101",
        callback_method="POST",
        confirm_sound="https://x.test/w?Event=whisper",
        confirm_key="1",
        confirm_timeout=30,
    )
    dial.add(xml.NumberElement("12125550177", send_digits="ww1"))
    digits = xml.GetDigitsElement(
        action="https://x.test/k",
        method="POST",
        timeout=7,
        digit_timeout=7,
        finish_on_key="none",
        num_digits=4,
    )
    digits.add(xml.SpeakElement("Käse & <so> \U0001f355", voice="WOMAN", language="de-DE", loop=2))
    digits.add(xml.PlayElement("https://x.test/1?a=b&c", loop=0))
    spoken = xml.GetInputElement(
        action="https://x.test/k",
        method="GET",
        input_type="dtmf speech",
        execution_timeout=5,
        finish_on_key="#",
        language="en-GB",
        hints="yes,no",
    )
    return [
        document(dial),
        document(digits, xml.RedirectElement("https://x.test/k", method="POST")),
        document(spoken, xml.WaitElement(length=3), xml.DTMFElement("1w2")),
        document(xml.HangupElement(reason="busy")),
        document(xml.HangupElement(reason="rejected")),
        document(xml.HangupElement()),
        document(),
    ]


ASKED = {"is_signed": is_signed, "sign": sign, "send": send, "documents": documents}
sys.stdout.write(json.dumps([ASKED[what](**arguments) for what, arguments in json.loads(sys.argv[1])]))
