"""Customers' servers that lie, stall, lead elsewhere and speak in tongues, at each of the three URLs.

Each ends in a documented event, nothing is lost, and nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from maskline.domain.address import is_public
from maskline.store.sqlite import SqliteStore
from tests.support.clock import FakeClock
from tests.support.house import House, person
from tests.support.peer import Behaviour, Peer, Talk, stalls
from tests.support.until import turns, until

QUICK = "#ct=300&rt=300&tt=300&rc=0"
STRANGER = person(1)
BOMB = (
    '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><Response><Message>&i;</Message></Response>"
)


def answers(status: int, body: bytes = b"", kind: str = "text/plain", head: str = "") -> Behaviour:
    async def behave(talk: Talk) -> None:
        while True:
            await talk.request()
            first = (
                f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{head}Content-Length: {len(body)}\r\n\r\n"
            )
            await talk.say(first.encode() + body)

    return behave


async def drops(talk: Talk) -> None:
    await talk.request()
    talk.drop()


async def half(talk: Talk) -> None:
    await talk.request()
    await talk.say(b"HTTP/1.1 200 OK\r\nContent-Le")


async def gibberish(talk: Talk) -> None:
    await talk.request()
    await talk.say(bytes(range(256)) * 8)
    await talk.until_closed()


async def endless(talk: Talk) -> None:
    """An answer whose head never ends."""
    await talk.request()
    await talk.say(b"HTTP/1.1 500 X\r\n")
    while True:
        await talk.say(b"X-More: " + b"x" * 1000 + b"\r\n")
        await asyncio.sleep(0)


FAILING: dict[str, Behaviour] = {
    "stalls": stalls,
    "drops": drops,
    "half a head": half,
    "gibberish": gibberish,
    "an endless head": endless,
    "500": answers(500),
    "redirects": answers(302, head="Location: http://169.254.169.254/latest/meta-data/\r\n"),
    "an enormous 500": answers(500, b"x" * 100_000),
}


@pytest.fixture(params=FAILING)
async def peer(request: pytest.FixtureRequest):
    async with Peer(FAILING[request.param]) as peer:
        yield peer


async def test_a_callback_is_tried_again_and_its_message_is_sent_once(house: House, peer: Peer) -> None:
    _, ann, _ = await house.pair(await house.service(callback_url=peer.url + QUICK))
    async with house.working():
        await house.say(ann)
        await until(lambda: len(house.carrier.sent) == 1)
        await settled(house, [80908])
        waiting = await house.rows("SELECT topic, state IN (1, 3) FROM outbox")
        assert set(waiting) == {("callback", 1)}
    assert len(house.carrier.sent) == 1


async def test_a_message_goes_on_once_without_a_verdict(house: House, peer: Peer) -> None:
    _, ann, ben = await house.pair(await house.service(intercept_callback_url=peer.url + QUICK))
    async with house.working():
        await house.hear(ann)
        await settled(house, [49005])
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert [one.to for one in house.carrier.sent] == [ben.identifier]
    assert await house.outbox() == 0


async def test_a_stranger_is_not_answered(house: House, peer: Peer) -> None:
    service = await house.service(out_of_session_callback_url=peer.url + QUICK)
    number = await house.one("SELECT phone_number FROM numbers WHERE service_sid = ?", service.sid)
    async with house.working():
        await house.hear(STRANGER, number)
        await settled(house, [80913])
    assert house.carrier.sent == []
    assert await house.outbox() == 0
    assert await house.one("SELECT count(*) FROM interactions") == 1


async def settled(house: House, codes: list[int]) -> None:
    """Until these events are there, by the real time that a peer's deadline takes; and then nothing moves."""
    async with asyncio.timeout(20):
        while await house.events() != codes:
            await turns()
    await house.quiet()


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("text/xml; charset=utf-8", "<Response><Message>é</Message></Response>".encode("latin-1"), 12100),
        ("text/xml; charset=klingon", b"<Response/>", 12100),
        ("text/xml", BOMB.encode(), 12100),
        ("text/xml", b"<Response>" + b"<Message>x</Message>" * 10_000 + b"</Response>", 80913),
        ("text/xml", b"<Response>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</Response>", 12100),
        ("text/xml", b'<!DOCTYPE r SYSTEM "file:///etc/passwd"><Response/>', 12100),
        ("application/json", json.dumps(json.dumps({"participantIdentifier": STRANGER})).encode(), 12100),
        ("application/json", b"[" * 30_000, 80701),
        ("application/json", b"\xff\xfe{}", 80701),
        ("application/json", b'{"participantIdentifier": 17}', 80701),
        ("application/json", b'{"participantIdentifier": "+1\\u0000"}', 80701),
        ("application/json", b'{"participantIdentifier": "\\ud800"}', 80701),
    ],
)
async def test_an_answer_about_a_stranger_that_cannot_be_read_is_told(
    house: House, kind: str, body: bytes, code: int
) -> None:
    async with Peer(answers(200, body, kind)) as peer:
        service = await house.service(out_of_session_callback_url=peer.url + QUICK)
        number = await house.one("SELECT phone_number FROM numbers WHERE service_sid = ?", service.sid)
        async with house.working():
            await house.hear(STRANGER, number)
            await until(lambda: len(peer.requests) == 1)
            await house.quiet()
    assert code in await house.events()
    assert house.carrier.sent == []
    assert await house.outbox() == 0
    assert await house.one("SELECT count(*) FROM sessions") == 0


@pytest.mark.parametrize("to", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "[::1]", "localhost"])
async def test_no_url_leads_into_a_private_network(store: SqliteStore, clock: FakeClock, to: str) -> None:
    house = House(store, clock, may_reach=is_public)
    url = f"http://{to}:9/x{QUICK}"
    service = await house.service(
        2, callback_url=url, intercept_callback_url=url, out_of_session_callback_url=url
    )
    _, ann, _ = await house.pair(service)
    async with house.working():
        await house.hear(ann)
        await house.hear(STRANGER, ann.proxy_identifier)
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    told = await house.rows("SELECT code, message FROM events ORDER BY code")
    assert [code for code, _ in told] == [49005, 80908, 80913]
    assert all("refused address" in message for _, message in told)


async def test_a_redirect_of_an_answer_does_not_lead_into_a_private_network(
    store: SqliteStore, clock: FakeClock
) -> None:
    async with Peer(stalls) as inside:
        redirect = f"<Response><Redirect>http://127.0.0.2:{inside.port}/</Redirect></Response>".encode()
        async with Peer(answers(200, redirect, "text/xml")) as peer:
            house = House(store, clock, may_reach=lambda address: address == "127.0.0.1")
            service = await house.service(out_of_session_callback_url=peer.url + QUICK)
            number = await house.one("SELECT phone_number FROM numbers WHERE service_sid = ?", service.sid)
            async with house.working():
                await house.hear(STRANGER, number)
                await until(lambda: len(peer.requests) == 1)
                await house.quiet()
            assert inside.connections == 0
    assert await house.events() == [80913]
