"""Prints what Plivo's own library makes of each question in the argument: [what, arguments]."""

import json
import sys

import plivo
import requests
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


ASKED = {"is_signed": is_signed, "sign": sign, "send": send}
sys.stdout.write(json.dumps([ASKED[what](**arguments) for what, arguments in json.loads(sys.argv[1])]))
