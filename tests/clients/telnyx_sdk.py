"""What Telnyx's own SDK makes of webhooks, and what it sends for a message. Not a test: test_telnyx_sdk.py starts it.

Reads one line of JSON: `now`, `public_key`, `hooks` (each a body and headers) and `message`.
"""

import json
import sys
import time
from typing import Any

import httpx
from telnyx import Telnyx

said = json.loads(sys.argv[1])
time.time = lambda: said["now"]  # type: ignore[assignment]
sent: list[dict[str, Any]] = []


def keep(request: httpx.Request) -> httpx.Response:
    sent.append(
        {
            "method": request.method,
            "url": str(request.url),
            "headers": dict(request.headers),
            "body": json.loads(request.content),
        }
    )
    return httpx.Response(200, json={"data": {"id": "1"}})


client = Telnyx(
    api_key="KEY1",
    public_key=said["public_key"],
    http_client=httpx.Client(transport=httpx.MockTransport(keep)),
)


def judge(body: str, headers: dict[str, str]) -> Any:
    """The id of the message, where the SDK believes the webhook."""
    try:
        event = client.webhooks.unwrap(body, headers=headers)
    except ValueError:
        return None
    return event.data.payload.id


judged = [judge(body, headers) for body, headers in said["hooks"]]
client.messages.send(**said["message"])
print(json.dumps({"judged": judged, "sent": sent[0]}))  # noqa: T201
