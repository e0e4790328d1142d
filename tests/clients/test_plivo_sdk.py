"""Plivo's own library is the oracle: what it signs, we accept, and what it sends for a message, we send."""

import json
from itertools import product
from typing import Any

import pytest

from maskline.carriers.plivo_signature import has_signed, sign
from maskline.carriers.plivo_xml import render
from maskline.domain.markup import parse_xml
from maskline.domain.twiml import Dial, Gather, Hangup, Number, Pause, Play, Reject, Say, Verb
from tests.carriers.benches import URL, outgoing, plivo
from tests.clients.official import OfficialClient
from tests.support.clock import FakeClock
from tests.support.plivo_api import AUTH_ID, AUTH_TOKEN, signature

pytestmark = pytest.mark.parametrize("official", ["python-plivo"], indirect=True)

NONCE = "05429567804466091622"
URLS = [
    "https://example.com/hook",
    "https://example.com:8443/hook",
    "https://example.com",
    "https://example.com/hook?b=2&a=1&a=0&c=",
    "https://example.com/%C3%BC/a//b?q=it%27s%20+1",
]
FORMS: list[dict[str, Any]] = [
    {},
    {"Text": "Käse & 🍕 = 50 %+", "From": "12125550177", "empty": "", "aLower": "sorted last", "Z": "1"},
    {"Digit": ["2", "1"], "A": "x"},
]


def ask(official: OfficialClient, *questions: tuple[str, dict[str, Any]]) -> list[Any]:
    done = official.run("plivo_sdk", json.dumps(questions))
    assert done.returncode == 0, done.stderr
    said: list[Any] = json.loads(done.stdout)
    return said


def pairs(form: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, one) for name, value in form.items() for one in ([value] if value == str(value) else value)
    ]


def test_what_it_signs_is_accepted_and_nothing_else(official: OfficialClient) -> None:
    requests = list(product(URLS, FORMS))
    said = ask(
        official,
        *(("sign", {"url": u, "form": f, "nonce": NONCE, "token": AUTH_TOKEN}) for u, f in requests),
    )
    for (url, form), made in zip(requests, said, strict=True):
        headers = {"x-plivo-signature-v3": made, "x-plivo-signature-v3-nonce": NONCE}
        assert has_signed(AUTH_TOKEN, url, pairs(form), headers), (url, form)
        assert not has_signed("another", url, pairs(form), headers)
        assert not has_signed(AUTH_TOKEN, f"{url}x", pairs(form), headers)
        assert not has_signed(AUTH_TOKEN, url, [*pairs(form), ("more", "x")], headers)


def test_it_accepts_what_the_stand_in_signs(official: OfficialClient) -> None:
    url, form = URLS[0], FORMS[1]
    request = {"url": url, "form": form, "nonce": NONCE, "token": AUTH_TOKEN}
    good = signature(AUTH_TOKEN, url, form, NONCE)
    assert good == sign(AUTH_TOKEN, url, form.items(), NONCE)
    said = ask(
        official,
        ("is_signed", {**request, "signature": good}),
        ("is_signed", {**request, "signature": good[::-1]}),
    )
    assert said == [True, False]


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
    async with plivo(clock) as bench:
        await bench.carrier.send(message)
        (ours,) = bench.vendor.requests
    said: dict[str, Any] = {"src": message.from_[1:], "dst": message.to[1:]}
    said |= {"url": f"{URL}/status/{message.sid}"}
    if body:
        said["text"] = body
    if media:
        said |= {"type_": "mms", "media_urls": list(media)}
    ((method, url, headers, content),) = ask(
        official, ("send", {"auth_id": AUTH_ID, "token": AUTH_TOKEN, "message": said})
    )
    assert (method, url) == (ours.method, "https://api.plivo.com" + ours.target)
    for name in ("Content-Type", "Accept", "Authorization"):
        assert ours.headers[name.lower()] == headers[name]
    # It says what is so anyway: that the text is logged, and links in it are not followed.
    usual = {"log": "true", "trackable": False}
    assert {**json.loads(ours.body), **usual} == content


def test_it_writes_the_documents_that_we_write(official: OfficialClient) -> None:
    number = Number(
        "+12125550177",
        url="https://x.test/w?Event=whisper",
        send_digits="ww1",
        status_callback="https://x.test/s?Event=status",
    )
    dial = Dial(
        (number,), caller_id="+14155550101", timeout_s=30, time_limit_s=14400, action="https://x.test/a?b=c&d"
    )
    prompts = (
        Say("Käse & <so> 🍕", voice="alice", language="de-DE", loop=2),
        Play("https://x.test/1?a=b&c", loop=0),
    )
    digits = Gather(
        prompts,
        action="https://x.test/k",
        timeout_s=7,
        num_digits=4,
        finish_on_key="",
        action_on_empty_result=True,
    )
    spoken = Gather(
        input=("dtmf", "speech"),
        action="https://x.test/k",
        method="GET",
        timeout_s=1,
        language="en-GB",
        hints="yes,no",
    )
    ours: list[list[Verb]] = [
        [dial],
        [digits],
        [spoken, Pause(3), Play(digits="1w2")],
        [Reject("busy")],
        [Reject()],
        [Hangup()],
        [],
    ]
    (theirs,) = ask(official, ("documents", {}))
    for verbs, document in zip(ours, theirs, strict=True):
        assert parse_xml(render(verbs), "text/xml") == parse_xml(document.encode(), "text/xml")
