"""Prints what Bandwidth's own SDK sends for a message, and writes for a call. Not a test: test_bandwidth_sdk.py starts
it.

Reads one line of JSON: `account`, `user`, `password` and `message`.
"""

import json
import sys
from typing import Any

import bandwidth
from bandwidth.models import bxml

said = json.loads(sys.argv[1])
sent: list[dict[str, Any]] = []


class Answer:
    status, reason, data, headers = 202, "", b'{"id": "1"}', {}


class Recorder:
    """Sends nothing, and keeps what would be sent."""

    def request(self, method: str, url: str, body: str, headers: dict[str, str], **_: Any) -> Answer:
        sent.append({"method": method, "url": url, "headers": dict(headers), "body": json.loads(body)})
        return Answer()


client = bandwidth.ApiClient(bandwidth.Configuration(username=said["user"], password=said["password"]))
client.rest_client.pool_manager = Recorder()
message = bandwidth.MessageRequest.from_dict(said["message"])
bandwidth.MessagesApi(client).create_message(said["account"], message)


def document(*verbs: bxml.Verb) -> str:
    return str(bxml.Response(list(verbs)).to_bxml())


login = {"username": "user", "password": "pass"}
dialled = bxml.PhoneNumber(
    "+12125550177",
    transfer_answer_url="https://x.test/w?Event=whisper&a",
    transfer_answer_method="POST",
    transfer_disconnect_url="https://x.test/s?Event=status",
    transfer_disconnect_method="POST",
    **login,
)
transfer = bxml.Transfer(
    [dialled],
    transfer_caller_id="+14155550101",
    call_timeout="30",
    transfer_complete_url="https://x.test/a?b=c&d",
    transfer_complete_method="POST",
    **login,
)
keys = bxml.Gather(
    [
        bxml.SpeakSentence("Käse & more 🍕", gender="female", locale="de_DE"),
        bxml.PlayAudio("https://x.test/1?a=b&c"),
    ],
    gather_url="https://x.test/k",
    gather_method="POST",
    max_digits="4",
    first_digit_timeout="7",
    inter_digit_timeout="7",
    **login,
)
spoken = bxml.Gather(
    gather_url="https://x.test/k",
    gather_method="GET",
    terminating_digits="#",
    first_digit_timeout="5",
    inter_digit_timeout="5",
    input="dtmf speech",
    language="en-GB",
    hints="yes,no",
    **login,
)
redirect = bxml.Redirect(redirect_url="https://x.test/r", redirect_method="POST", **login)
documents = [
    document(transfer),
    document(keys),
    document(spoken, bxml.Pause(duration="3"), bxml.SendDtmf("1w2")),
    document(redirect),
    document(bxml.Hangup()),
    document(),
]
print(json.dumps({"sent": sent[0], "documents": documents}))  # noqa: T201
