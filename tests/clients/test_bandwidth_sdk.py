"""Bandwidth's own SDK is the oracle: what it sends for a message, we send."""

import json
from typing import Any

import pytest

from tests.carriers.benches import bandwidth, outgoing
from tests.clients.official import OfficialClient
from tests.support.bandwidth_api import ACCOUNT, APPLICATION, PASSWORD, USER
from tests.support.clock import FakeClock

pytestmark = pytest.mark.parametrize("official", ["python-bandwidth"], indirect=True)


def ask(official: OfficialClient, message: dict[str, Any]) -> Any:
    said = {"account": ACCOUNT, "user": USER, "password": PASSWORD, "message": message}
    done = official.run("bandwidth_sdk", json.dumps(said))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("body", "media"),
    [
        ("hi there", ()),
        ("é & = + 🍕", ("https://x.test/1?a=b&c", "https://x.test/2")),
        ("", ("https://x.test/1",)),
    ],
)
async def test_a_send_is_what_it_sends(
    official: OfficialClient, clock: FakeClock, body: str, media: tuple[str, ...]
) -> None:
    message = outgoing(body, media=media)
    async with bandwidth(clock) as bench:
        await bench.carrier.send(message)
        (ours,) = bench.vendor.requests
    said: dict[str, Any] = {"applicationId": APPLICATION, "from": message.from_, "to": [message.to]}
    said |= {"tag": message.sid}
    if body:
        said["text"] = body
    if media:
        said["media"] = list(media)
    theirs = ask(official, said)["sent"]
    assert (theirs["method"], theirs["url"]) == (
        ours.method,
        "https://messaging.bandwidth.com" + ours.target,
    )
    assert json.loads(ours.body) == theirs["body"]
    for name in ("Content-Type", "Accept"):
        assert ours.headers[name.lower()] == theirs["headers"][name]


async def test_it_shows_itself_as_we_do(official: OfficialClient, clock: FakeClock) -> None:
    async with bandwidth(clock) as bench:
        await bench.carrier.send(outgoing())
        (ours,) = bench.vendor.requests
    message = {"applicationId": APPLICATION, "from": "+1", "to": ["+2"]}
    theirs = ask(official, message)["sent"]["headers"]
    assert ours.headers["authorization"] == theirs["Authorization"]
