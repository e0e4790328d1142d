"""What Vonage's own SDK makes of a webhook's token, and what it sends. Not a test: test_vonage_sdk.py starts it.

Reads one argument of JSON: `tokens` with the `secret`, `messages` and `actions` of calls (each the name of a model and
its fields), `texts` for the SMS API, fields to be `signed` by a method, and the credentials.
"""

import json
import sys
from contextlib import suppress
from typing import Any

from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter
from vonage_http_client import Auth, HttpClient
from vonage_jwt import VonageVerifyJwtError, verify_signature
from vonage_messages import Messages, models
from vonage_sms import Sms, SmsMessage
from vonage_voice.models import ncco

said = json.loads(sys.argv[1])
sent: list[dict[str, Any]] = []


class Keeper(BaseAdapter):
    """Sends nothing, and keeps what would be sent."""

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        sent.append(
            {
                "method": request.method,
                "url": request.url,
                "headers": {
                    name.lower(): value.decode() if isinstance(value, bytes) else value
                    for name, value in request.headers.items()
                },
                "body": request.body.decode() if isinstance(request.body, bytes) else request.body,
            }
        )
        response = Response()
        response.status_code = 202
        response._content = b'{"message_uuid": "1", "message-count": "1", "messages": [{"status": "0"}]}'
        response.headers["Content-Type"] = "application/json"
        response.request = request
        return response

    def close(self) -> None:
        pass


def judge(token: str) -> bool:
    try:
        return verify_signature(token, said["secret"])
    except VonageVerifyJwtError:
        return False


judged = [judge(token) for token in said["tokens"]]
client = HttpClient(Auth(application_id=said["application_id"], private_key=said["private_key"]))
session: Session = client._session
session.mount("https://", Keeper())
for model, fields in said["messages"]:
    kind = getattr(models, model)
    Messages(client).send(kind(**fields))
whole = HttpClient(Auth(api_key=said["api_key"], api_secret=said["api_secret"]))
whole._session.mount("https://", Keeper())
with suppress(ValueError):  # what the answer lacks
    for text in said["texts"]:
        Sms(whole).send(SmsMessage(**text))
signed = [
    Auth(api_key="x", signature_secret=said["secret"], signature_method=method).sign_params(fields)
    for method, fields in said["signed"]
]
actions = [
    getattr(ncco, model)(**fields).model_dump(mode="json", by_alias=True, exclude_none=True)
    for model, fields in said["actions"]
]
print(json.dumps({"judged": judged, "sent": sent, "signed": signed, "actions": actions}))  # noqa: T201
