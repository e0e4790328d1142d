"""The void rule's yardstick: a bare ASGI app that reads the request and answers constant bytes, with no store at all.

A run in which the limit reaches less than a quarter of this server's rate is void: the disk or a neighbour held the
limit back, and ratios against it would flatter us.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_KS, _KC, _KP = "KS" + "a1" * 16, "KC" + "b2" * 16, "KP" + "c3" * 16
_URL = f"http://127.0.0.1:8080/v1/Services/{_KS}/Sessions/{_KC}/Participants/{_KP}/MessageInteractions/KI{'d4' * 16}"

# As many bytes as the real answer has.
BODY = json.dumps(
    {
        "sid": "KI" + "d4" * 16,
        "url": _URL,
        "data": '{"body":"m000000001 Your driver is two minutes away, please come outside"}',
        "type": "message",
        "account_sid": "AC" + "e5" * 16,
        "service_sid": _KS,
        "session_sid": _KC,
        "participant_sid": _KP,
        "date_created": "2026-01-01T00:00:00Z",
        "date_updated": "2026-01-01T00:00:00Z",
        "inbound_participant_sid": None,
        "inbound_resource_sid": None,
        "inbound_resource_status": None,
        "inbound_resource_type": None,
        "inbound_resource_url": None,
        "outbound_participant_sid": _KP,
        "outbound_resource_sid": "SM" + "f6" * 16,
        "outbound_resource_status": "queued",
        "outbound_resource_type": "Message",
        "outbound_resource_url": None,
    },
    separators=(",", ":"),
).encode()

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}
_BODY = {"type": "http.response.body", "body": BODY}


async def drain(receive: Receive) -> None:
    """Reads the request's body and forgets it."""
    while (await receive()).get("more_body"):
        pass


async def answer(send: Send) -> None:
    await send(_START)
    await send(_BODY)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await drain(receive)
    await answer(send)
