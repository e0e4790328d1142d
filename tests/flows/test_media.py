"""Media on their way: as they are, as links to what a carrier brought, as links in a text."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.carriers.base import Inbound
from maskline.domain import problems
from maskline.domain.media import Medium, with_links
from maskline.domain.model import Participant
from maskline.domain.problems import Problem
from maskline.domain.text import MOST_BODY
from maskline.flows import inbound
from maskline.flows.media import LINK_LIFE_US, MOST_AT_ONCE, MOST_BYTES, MOST_EACH
from maskline.net import HttpClient
from maskline.vault import Vault
from tests.support.carrier import THROTTLED, UNCERTAIN
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, HOME, House, person
from tests.support.peer import Behaviour, Peer, Talk, stalls
from tests.support.receiver import receiving
from tests.support.until import until

CAT, DOG = "https://example.com/cat.jpg", "https://example.com/dog.jpg"
FAIL = '{"mms_fallback": "fail"}'


async def without_mms(house: House, settings: str = "{}") -> tuple[Participant, Participant]:
    """Two people of a Service whose numbers carry no media."""
    service = await house.service(2, settings=settings)
    _, ann, ben = await house.pair(service)
    await house.store.write(lambda tx: tx.execute("UPDATE numbers SET mms = 0") and None)
    return ann, ben


def token_of(link: str) -> str:
    assert link.startswith(f"{HOME}/media/")
    return link.removeprefix(f"{HOME}/media/")


# What the carrier is handed


async def test_what_the_api_sends_goes_as_it_is(house: House) -> None:
    _, ann, _ = await house.pair()
    async with house.working():
        await house.say(ann, "look", media=(CAT, DOG))
        await house.quiet()
    (sent,) = house.carrier.sent
    assert (sent.body, sent.media, sent.sid[:2]) == ("look", (CAT, DOG), "MM")


async def test_of_what_a_carrier_brought_nobody_learns_where_it_was(house: House) -> None:
    _, ann, _ = await house.pair()
    async with house.working():
        await house.hear(ann, body="look", media=(Medium(CAT), Medium(DOG, "image/webp")))
        await house.quiet()
    (sent,) = house.carrier.sent
    assert sent.body == "look"
    assert len({token_of(link) for link in sent.media}) == 2
    assert "//example.com" not in str(sent)


async def test_a_link_is_the_same_at_each_hand_over(house: House) -> None:
    _, ann, ben = await house.pair()
    house.carrier.script(ben.identifier, THROTTLED)
    async with house.working():
        await house.hear(ann, media=(Medium(CAT),))
        await house.quiet()
        await house.pass_time(1)
    first, second = house.carrier.sent
    assert first == second


# Where the number carries none


async def test_links_stand_below_the_text(house: House) -> None:
    ann, ben = await without_mms(house)
    async with house.working():
        await house.say(ann, "look", media=(CAT, DOG))
        await house.hear(ann, body="", media=(Medium(CAT),))
        await house.quiet()
    (made,) = [sent for sent in house.carrier.sent if sent.to == ann.identifier]
    (relayed,) = [sent for sent in house.carrier.sent if sent.to == ben.identifier]
    assert (made.body, made.media) == (f"look\n{CAT}\n{DOG}", ())
    assert token_of(relayed.body)
    assert relayed.media == ()
    assert await house.events() == []


async def test_a_link_that_has_no_room_is_told_of_and_the_text_is_whole(house: House) -> None:
    ann, _ = await without_mms(house)
    body = "x" * (MOST_BODY - 1 - len(DOG))
    async with house.working():
        message = await house.say(ann, body, media=(CAT + "?long", DOG))
        await house.quiet()
    (sent,) = house.carrier.sent
    assert sent.body == f"{body}\n{DOG}"
    assert await house.status(message) == "sent"
    assert await house.events() == [problems.MEDIA_LEFT_OUT.number]


async def test_it_is_told_once_however_often_it_is_tried(house: House) -> None:
    ann, _ = await without_mms(house)
    house.carrier.script(ann.identifier, THROTTLED, UNCERTAIN)
    async with house.working():
        await house.say(ann, "x" * MOST_BODY, media=(CAT,))
        await house.quiet()
        await house.pass_time(1)
    assert len(house.carrier.sent) == 2
    expected = [problems.DELIVERY_UNKNOWN.number, problems.MEDIA_LEFT_OUT.number]
    assert sorted(await house.events()) == sorted(expected)


@pytest.mark.parametrize("before", [0, 1])
async def test_it_is_asked_for_as_it_was_handed_over(house: House, before: int) -> None:
    """Its number carried media then and carries none by now, or the other way round."""
    house.carrier.able(look_up=True)
    ann, _ = await without_mms(house)

    async def carries(mms: int) -> None:
        await house.store.write(lambda tx: tx.execute("UPDATE numbers SET mms = ?", (mms,)) and None)

    await carries(before)
    house.carrier.script(ann.identifier, UNCERTAIN)
    house.carrier.answers(None, ["their-own"])
    async with house.working():
        message = await house.say(ann, "look", media=(CAT,))
        await house.quiet()
        await carries(1 - before)
        await house.pass_time(1)
        assert await house.status(message) == "sent"
    (sent,) = house.carrier.sent
    other, same = house.carrier.asked
    assert (
        (same.body, same.media)
        == (sent.body, sent.media)
        == (("look", (CAT,)) if before else (f"look\n{CAT}", ()))
    )
    assert (other.body, other.media) == ((f"look\n{CAT}", ()) if before else ("look", (CAT,)))
    assert await house.events() == []


async def test_where_nothing_can_be_sent_it_fails_and_says_why(house: House) -> None:
    ann, _ = await without_mms(house)
    async with house.working():
        message = await house.say(ann, "", media=("https://example.com/".ljust(2000, "x"),))
        later = await house.say(ann, "after it")
        await house.quiet()
    assert [await house.status(one) for one in (message, later)] == ["failed", "sent"]
    assert house.carrier.bodies(ann.identifier) == ["after it"]
    assert await house.events() == [problems.MEDIA_NOT_CARRIED.number]


async def test_a_service_can_have_it_fail(house: House) -> None:
    ann, _ = await without_mms(house, FAIL)
    async with house.working():
        message = await house.say(ann, "look", media=(CAT,))
        await house.hear(ann, media=(Medium(CAT),))
        plain = await house.say(ann, "plain")
        await house.quiet()
    assert [await house.status(one) for one in (message, plain)] == ["failed", "sent"]
    assert [sent.body for sent in house.carrier.sent] == ["plain"]
    assert await house.events() == [problems.MEDIA_NOT_CARRIED.number] * 2


async def test_that_setting_is_nothing_to_a_number_that_carries_media(house: House) -> None:
    _, ann, _ = await house.pair(await house.service(settings=FAIL))
    async with house.working():
        await house.say(ann, "look", media=(CAT,))
        await house.quiet()
    assert [sent.media for sent in house.carrier.sent] == [(CAT,)]


@given(
    st.text(max_size=60), st.lists(st.text("ab", min_size=1, max_size=30), max_size=10), st.integers(60, 100)
)
def test_links_fill_the_room_that_there_is(body: str, links: list[str], most: int) -> None:
    text, left_out = with_links(body, links, most)
    assert len(text) <= most
    assert text.startswith(body)
    added = text[len(body) :].removeprefix("\n").split("\n") if len(text) > len(body) else []
    assert len(added) + left_out == len(links)
    rest = iter(links)
    assert all(link in rest for link in added)  # in their order
    assert left_out == 0 or all(len(text) + 1 + len(link) > most for link in set(links) - set(added))


# What a link leads to


def origin(status: int = 200, body: bytes = b"meow", content_type: str = "image/jpeg") -> Behaviour:
    async def behave(talk: Talk) -> None:
        while True:
            await talk.request()
            await talk.answer(status, body, content_type)

    return behave


@pytest.fixture
async def web(house: House) -> Any:
    await house.http.open()
    yield house
    await house.http.close()


def link_to(
    house: House, url: str, content_type: str = "", account_sid: str = ACCOUNT, brought_by: str = "scripted"
) -> str:
    return token_of(house.relay.link(Medium(url, content_type), brought_by, account_sid, house.clock.now()))


async def refusal(house: House, token: str) -> Problem:
    with pytest.raises(Problem) as caught:
        await house.relay.fetch(token)
    return caught.value


@pytest.mark.parametrize(
    ("origins", "said", "shown"),
    [
        ("image/jpeg", "", "image/jpeg"),
        ("Image/PNG; x=y", "image/jpeg", "image/png"),
        ("application/octet-stream", "video/mp4", "video/mp4"),
        ("binary/octet-stream", "", "audio/amr"),  # by its name
        ("", "text/vcard", "text/vcard"),
        ("text/plain; charset=utf-8", "", "text/plain"),
        ("application/pdf", "", "application/pdf"),
    ],
)
async def test_the_medium_comes_through_as_what_it_is(
    web: House, origins: str, said: str, shown: str
) -> None:
    async with Peer(origin(content_type=origins)) as peer:
        fetched = await web.relay.fetch(link_to(web, f"{peer.url}/note.amr", said))
    assert (fetched.content, fetched.content_type) == (b"meow", shown)


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "image/svg+xml", "application/xhtml+xml", "application/javascript", "text/xml", ""],
)
async def test_what_people_do_not_send_each_other_is_not_passed_on(web: House, content_type: str) -> None:
    async with Peer(origin(content_type=content_type)) as peer:
        problem = await refusal(web, link_to(web, f"{peer.url}/page"))
    assert problem.code is problems.MEDIUM_UNAVAILABLE


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 500])
async def test_what_is_not_there_cannot_be_had(web: House, status: int) -> None:
    async with Peer(origin(status, b"")) as peer:
        problem = await refusal(web, link_to(web, peer.url))
    assert problem.code is problems.MEDIUM_UNAVAILABLE
    assert peer.url not in problem.message


async def test_the_largest_comes_through_and_one_byte_more_does_not(web: House) -> None:
    async with Peer(origin(body=b"x" * MOST_BYTES)) as peer:
        assert len((await web.relay.fetch(link_to(web, peer.url))).content) == MOST_BYTES
    async with Peer(origin(body=b"x" * (MOST_BYTES + 1))) as peer:
        assert (await refusal(web, link_to(web, peer.url))).code is problems.MEDIUM_UNAVAILABLE


LOGIN = f"Basic {base64.b64encode(b'user:p@ss').decode()}"


def shut(house: House, peer: Peer) -> str:
    """The address of a medium that the house's carrier account shows only to who has its credentials."""
    house.carrier.shut = peer.url
    house.carrier.key = peer.url.replace("http://", "http://user:p%40ss@")
    return f"{peer.url}/cat.jpg"


def shown(peer: Peer) -> list[str | None]:
    """The credentials with which the peer was asked."""
    return [request.headers.get("authorization") for request in peer.requests]


async def test_what_its_carrier_keeps_shut_is_opened_by_the_carrier(web: House) -> None:
    async with Peer(origin()) as peer:
        await web.relay.fetch(link_to(web, shut(web, peer)))
        await web.relay.fetch(link_to(web, peer.url.replace("127.0.0.1", "localhost")))
    assert shown(peer) == [LOGIN, None]


async def test_nobody_else_can_have_it_opened_by_naming_its_address(web: House) -> None:
    async with Peer(origin()) as peer:
        url = shut(web, peer)
        for other in ("south", "", "scripte"):
            await web.relay.fetch(link_to(web, url, brought_by=other))
    assert shown(peer) == [None] * 3


async def test_who_brought_it_is_known_whatever_it_has_waited_for(web: House) -> None:
    async with Peer(origin()) as peer, receiving() as asked, web.working():
        cat = Medium(shut(web, peer))
        _, ann, _ = await web.pair()
        await web.hear(ann, media=(cat,))
        _, bea, _ = await web.pair(await web.service(intercept_callback_url=asked.url))
        await web.hear(bea, media=(cat,))
        shop = await web.service(0, out_of_session_callback_url=asked.url)
        number, _ = await web.number(shop), await web.number(shop)
        await until(lambda: len(asked.posts) == 1)
        asked.answers.append(("application/json", f'{{"participantIdentifier":"{person(2)}"}}'))
        await web.hear(person(1), number.phone_number, media=(cat,))
        await until(lambda: len(web.carrier.sent) == 3)
        await web.quiet()
        for sent in web.carrier.sent:
            await web.relay.fetch(token_of(sent.media[0]))
    assert shown(peer) == [LOGIN] * 3


async def test_what_was_forwarded_in_its_name_is_not_opened_for_the_carrier(web: House) -> None:
    async with Peer(origin()) as peer, web.working():
        _, ann, ben = await web.pair()
        media = (Medium(shut(web, peer)),)
        message = Inbound("scripted", "x", ann.proxy_identifier, ann.identifier, "", media, forwarded=True)
        await inbound.receive(web.store, web.mint, web.options, message)
        await web.quiet()
        (sent,) = web.carrier.sent
        await web.relay.fetch(token_of(sent.media[0]))
    assert sent.to == ben.identifier
    assert shown(peer) == [None]


async def test_a_link_into_our_own_network_leads_nowhere(web: House) -> None:
    guarded = await HttpClient().open()
    web.relay._http = guarded
    async with Peer(origin()) as peer:
        problem = await refusal(web, link_to(web, peer.url))
    await guarded.close()
    assert problem.code is problems.MEDIUM_UNAVAILABLE
    assert peer.requests == []


async def test_a_link_is_good_for_a_while(web: House, clock: FakeClock) -> None:
    async with Peer(origin()) as peer:
        token = link_to(web, peer.url)
        clock.advance(LINK_LIFE_US / 1_000_000 - 1)
        await web.relay.fetch(token)
        clock.advance(1)
        assert (await refusal(web, token)).code is problems.NOT_FOUND
    assert len(peer.requests) == 1


@pytest.mark.parametrize("token", ["", "x", "cat.jpg", "\u00fc", "A" * 200, "." * 40])
async def test_a_link_that_nobody_made_is_not_found(web: House, token: str) -> None:
    assert (await refusal(web, token)).code is problems.NOT_FOUND
    other = Vault("77" * 32).conceal("medium", f"ffffffff {ACCOUNT} north image/png http://127.0.0.1/")
    assert (await refusal(web, other)).code is problems.NOT_FOUND


async def stalling(web: House, peer: Peer, account_sid: str) -> list[asyncio.Task[Any]]:
    """As many fetches as this account may have under way, all of which stall."""
    token = link_to(web, peer.url, account_sid=account_sid)
    fetching = [asyncio.create_task(web.relay.fetch(token)) for _ in range(MOST_EACH)]
    count = len(peer.requests) + MOST_EACH
    await until(lambda: len(peer.requests) == count)
    assert (await refusal(web, token)).code is problems.UNAVAILABLE
    return fetching


async def test_only_so_many_are_fetched_at_once(web: House) -> None:
    """An account whose media stall does not keep another's from being fetched."""
    async with Peer(stalls) as peer, Peer(origin()) as good:
        token = link_to(web, good.url)
        fetching: list[asyncio.Task[Any]] = []
        for i in range(MOST_AT_ONCE // MOST_EACH):
            await web.relay.fetch(token)
            fetching += await stalling(web, peer, f"AC{i:032x}")
        assert (await refusal(web, token)).code is problems.UNAVAILABLE
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)
        await web.relay.fetch(token)
