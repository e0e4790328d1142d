"""Twilio's own client is the oracle: what it sends for the same message, we send."""

import base64
from typing import Any
from urllib.parse import parse_qsl

import pytest
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from tests.carriers.benches import URL, outgoing, twilio
from tests.support.clock import FakeClock
from tests.support.twilio_api import ACCOUNT, TOKEN


class Recorder(TwilioHttpClient):
    """Sends nothing, and keeps what would be sent."""

    def request(self, method: str, url: str, params: Any = None, data: Any = None, **rest: Any) -> Response:
        self.said = (method, url, params, data, rest)
        return Response(201, '{"sid": "SM1"}')


def pairs(data: dict[str, Any]) -> list[tuple[str, str]]:
    """A form as the client's HTTP library writes it."""
    return [
        (name, one) for name, value in data.items() for one in (value if isinstance(value, list) else [value])
    ]


@pytest.mark.parametrize(
    ("from_", "to", "body", "media"),
    [
        ("+14155550100", "+12125550177", "hi there", ()),
        ("+14155550100", "+12125550177", "é & = + 🍕", ("https://x.test/1?a=b&c", "https://x.test/2")),
        ("+14155550100", "+12125550177", "", ("https://x.test/1",)),
    ],
)
async def test_a_send_is_what_the_client_sends(
    clock: FakeClock, from_: str, to: str, body: str, media: tuple[str, ...]
) -> None:
    message = outgoing(body, to, from_=from_, media=media)
    async with twilio(clock) as bench:
        await bench.carrier.send(message)
        (ours,) = bench.vendor.requests
    recorder = Recorder()
    said: dict[str, Any] = {"from_": from_, "to": to, "status_callback": f"{URL}/status/{message.sid}"}
    if body:
        said["body"] = body
    if media:
        said["media_url"] = list(media)
    Client(ACCOUNT, TOKEN, http_client=recorder).messages.create(**said)
    method, url, _, data, rest = recorder.said
    assert (method, url) == (ours.method, "https://api.twilio.com" + ours.target)
    assert sorted(pairs(data)) == sorted(parse_qsl(ours.body.decode(), keep_blank_values=True))
    for name in ("Content-Type", "Accept"):
        assert ours.headers[name.lower()] == rest["headers"][name]
    login = base64.b64decode(ours.headers["authorization"].removeprefix("Basic ")).decode()
    assert tuple(login.split(":")) == rest["auth"]
