"""Prints what Bandwidth's own SDK sends for a message. Not a test: test_bandwidth_sdk.py starts it.

Reads one line of JSON: `account`, `user`, `password` and `message`.
"""

import json
import sys
from typing import Any

import bandwidth

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
print(json.dumps({"sent": sent[0]}))  # noqa: T201
