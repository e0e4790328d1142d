"""SignalWire's own SDK is the oracle: what it signs, we accept, and what it sends for a message, we send."""

import json
from itertools import product
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest

from maskline.carriers.signalwire import SignalWireCarrier
from maskline.domain.markup import parse_xml
from maskline.domain.twiml import Dial, Gather, Number, Reject, Say, Verb, render_twiml
from tests.carriers.benches import URL, outgoing, signalwire
from tests.clients.official import OfficialClient
from tests.support.clock import FakeClock
from tests.support.twilio_api import API_TOKEN, PROJECT, SIGNING_KEY, SignalWireApi

pytestmark = pytest.mark.parametrize("official", ["python-signalwire"], indirect=True)

URLS = [
    "https://example.com/hook",
    "https://example.com:8443/hook",
    "https://example.com/hook?b=2&a=1&c=",
    "https://example.com/%C3%BC/a//b?q=it%27s%20+1",
]
FORMS: list[dict[str, str]] = [
    {},
    {"Body": "Käse & 🍕 = 50 %+", "From": "+12125550177", "empty": "", "aLower": "sorted last", "Z": "1"},
]


def ask(official: OfficialClient, *questions: tuple[str, dict[str, Any]]) -> list[Any]:
    done = official.run("signalwire_sdk", json.dumps(questions))
    assert done.returncode == 0, done.stderr
    said: list[Any] = json.loads(done.stdout)
    return said


async def test_what_it_signs_is_accepted_and_nothing_else(official: OfficialClient, clock: FakeClock) -> None:
    requests = [(url, form, urlencode(form)) for url, form in product(URLS, FORMS)]
    whole = ask(official, *(("sign", {"key": SIGNING_KEY, "url": u, "body": b}) for u, _, b in requests))
    fields = ask(
        official, *(("sign_fields", {"key": SIGNING_KEY, "url": u, "form": f}) for u, f, _ in requests)
    )
    async with signalwire(clock) as bench:
        assert isinstance(bench.carrier, SignalWireCarrier)
        has_signed = bench.carrier.has_signed
        for (url, form, body), *made in zip(requests, whole, fields, strict=True):
            for signature in made:
                headers = {"x-signalwire-signature": signature}
                assert has_signed(url, form.items(), headers, body.encode()), (url, form)
                assert not has_signed(f"{url}x", form.items(), headers, body.encode())
                more = {**form, "more": "x"}
                assert not has_signed(url, more.items(), headers, urlencode(more).encode())
                assert not has_signed(
                    url, form.items(), {"x-signalwire-signature": signature[::-1]}, body.encode()
                )


def test_it_accepts_what_the_stand_in_signs(official: OfficialClient, clock: FakeClock) -> None:
    url, form, headers = SignalWireApi(clock).signed(URLS[2], FORMS[1])
    good = headers["X-SignalWire-Signature"]
    said = {"key": SIGNING_KEY, "url": url, "body": urlencode(form)}
    wrong = {**said, "body": urlencode({**form, "Z": "2"}), "signature": good}
    assert ask(official, ("is_signed", {**said, "signature": good}), ("is_signed", wrong)) == [True, False]


@pytest.mark.parametrize("media", [(), ("https://x.test/1?a=b&c", "https://x.test/2")])
async def test_a_send_is_what_it_sends(
    official: OfficialClient, clock: FakeClock, media: tuple[str, ...]
) -> None:
    message = outgoing("é & = + 🍕", media=media)
    async with signalwire(clock) as bench:
        await bench.carrier.send(message)
        (ours,) = bench.vendor.requests
    said: dict[str, Any] = {"from_": message.from_, "to": message.to, "body": message.body}
    said |= {"status_callback": f"{URL}/status/{message.sid}"} | ({"media_url": media} if media else {})
    account = {"space": "shop.signalwire.com", "project": PROJECT, "token": API_TOKEN}
    ((method, url, headers, content),) = ask(official, ("send", {**account, "message": said}))
    # Its reference has all below /api/laml; the SDK asks as if it were Twilio.
    assert (method, url) == (
        ours.method,
        "https://shop.signalwire.com" + ours.target.removeprefix("/api/laml"),
    )
    for name in ("Content-Type", "Accept", "Authorization"):
        assert ours.headers[name.lower()] == headers[name]
    assert sorted(parse_qsl(ours.body.decode())) == sorted(parse_qsl(content))


def test_it_writes_the_documents_that_we_write(official: OfficialClient) -> None:
    number = Number(
        "+12125550177",
        url="https://x.test/w?Event=whisper",
        send_digits="ww1",
        status_callback="https://x.test/s?Event=status",
        status_callback_event=("initiated", "ringing", "answered", "completed"),
    )
    dial = Dial((number,), caller_id="+14155550101", timeout_s=30, action="https://x.test/a?b=c&d")
    say = Say("Käse & <so> 🍕", voice="alice", language="de-DE", loop=2)
    gather = Gather((say,), action="https://x.test/k", timeout_s=7, num_digits=4)
    ours: list[list[Verb]] = [[dial], [gather], [], [Reject("busy")]]
    (theirs,) = ask(official, ("documents", {}))
    for verbs, document in zip(ours, theirs, strict=True):
        assert parse_xml(render_twiml(verbs), "text/xml") == parse_xml(document.encode(), "text/xml")
