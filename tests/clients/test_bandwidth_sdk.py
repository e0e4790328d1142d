"""Bandwidth's own SDK is the oracle: what it sends for a message, we send, and what it writes for a call, we write."""

import json
from typing import Any

import pytest

from maskline.carriers.bxml import Bxml
from maskline.domain.markup import parse_xml
from maskline.domain.twiml import Dial, Gather, Number, Pause, Play, Redirect, Reject, Say, Verb
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


def test_it_writes_the_documents_that_we_write(official: OfficialClient) -> None:
    number = Number(
        "+12125550177",
        url="https://x.test/w?Event=whisper&a",
        status_callback="https://x.test/s?Event=status",
    )
    dial = Dial(
        (number,),
        caller_id="+14155550101",
        timeout_s=30,
        time_limit_s=14400,
        action="https://x.test/a?b=c&d",
    )
    prompts = (
        Say("Käse & more 🍕", voice="alice", language="de-DE"),
        Pause(2),
        Play("https://x.test/1?a=b&c"),
    )
    keys = Gather(prompts, action="https://x.test/k", timeout_s=7, num_digits=4, finish_on_key="")
    spoken = Gather(
        input=("dtmf", "speech"), action="https://x.test/k", method="GET", language="en-GB", hints="yes,no"
    )
    ours: list[list[Verb]] = [
        [dial],
        [keys],
        [spoken, Pause(3), Play(digits="1w2")],
        [Redirect("https://x.test/r")],
        [Reject()],
        [],
    ]
    message = {"applicationId": APPLICATION, "from": "+1", "to": ["+2"]}
    bxml = Bxml("user", "pass")
    for verbs, document in zip(ours, ask(official, message)["documents"], strict=True):
        assert parse_xml(bxml.render(verbs), "text/xml") == parse_xml(document.encode(), "text/xml")
