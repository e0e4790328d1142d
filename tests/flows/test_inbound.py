"""A message that comes in: relayed to the partner, or kept as an event that says why not."""

import asyncio

import pytest

from maskline.carriers.base import Inbound
from maskline.domain.media import Medium
from maskline.domain.model import SECOND, Mode, Participant, SessionStatus
from maskline.domain.text import MOST_BODY
from maskline.flows import inbound
from maskline.store.receive import Received
from tests.support.clock import FakeClock
from tests.support.house import House, person
from tests.support.private import note


async def test_a_message_is_relayed_from_the_partners_own_number_with_both_legs(
    house: House, clock: FakeClock
) -> None:
    session, ann, ben = await house.pair(await house.service(2))
    clock.advance(10)
    async with house.working():
        received = await house.hear(ann, body="hi Ben")
        await house.quiet()
    (sent,) = house.carrier.sent
    assert (sent.from_, sent.to, sent.body) == (ben.proxy_identifier, ben.identifier, "hi Ben")
    ((legs),) = await house.rows(
        "SELECT inbound_participant_sid, inbound_status, outbound_participant_sid, outbound_resource_sid,"
        " participant_sid, type, data FROM interactions WHERE sid = ?",
        received.interaction_sid,
    )
    assert legs == (ann.sid, 70, ben.sid, sent.sid, None, "message", '{"body":"hi Ben"}')
    touched = await house.fetch(session)
    assert touched.status is SessionStatus.IN_PROGRESS
    assert touched.started_at == touched.last_interaction_at == clock.now()


async def test_both_directions_work_where_both_are_on_one_number(house: House) -> None:
    _, ann, ben = await house.pair(await house.service(1))
    assert ann.proxy_identifier == ben.proxy_identifier
    async with house.working():
        await house.hear(ann, body="to Ben")
        await house.hear(ben, body="to Ann")
        await house.quiet()
    assert house.carrier.bodies(ben.identifier) == ["to Ben"]
    assert house.carrier.bodies(ann.identifier) == ["to Ann"]


async def test_what_the_carrier_brings_twice_is_taken_once(house: House) -> None:
    _, ann, _ = await house.pair()
    first = await house.hear(ann, carrier_id="x")
    again = await house.hear(ann, carrier_id="x")
    assert first.interaction_sid is not None
    assert again.repeated
    assert again.interaction_sid is None
    assert await house.one("SELECT count(*) FROM interactions") == 1


async def test_what_comes_by_another_carrier_account_is_not_taken(house: House) -> None:
    _, ann, _ = await house.pair()
    by_other = Inbound("other", "x", ann.proxy_identifier, ann.identifier, "hi")
    received = await inbound.receive(house.store, house.mint, house.options, by_other)
    assert not received.known
    assert await house.one("SELECT count(*) FROM interactions") == 0
    ((code, message, service_sid),) = await house.rows("SELECT code, message, service_sid FROM events")
    assert (code, service_sid) == (49030, ann.service_sid)
    assert message.startswith("other, for +1…") and " of scripted: " in message
    # It may still come by the account that carries the number.
    assert (await house.hear(ann, carrier_id="x")).interaction_sid is not None


async def test_who_has_a_number_says_nothing_of_what_comes_to_another(house: House) -> None:
    """Under whatever id: the carrier may not count as having brought it before."""
    _, ann, _ = await house.pair()
    _, eve, _ = await house.pair()
    assert (await say_for(house, eve, "guessed")).interaction_sid is not None
    assert (await say_for(house, eve, f"{ann.proxy_identifier}/guessed")).interaction_sid is not None
    assert (await house.hear(ann, carrier_id="guessed")).interaction_sid is not None


@pytest.mark.parametrize("forwarded_first", [False, True])
async def test_what_the_carrier_and_who_has_the_number_bring_is_taken_once(
    house: House, forwarded_first: bool
) -> None:
    _, ann, _ = await house.pair()
    if forwarded_first:
        await say_for(house, ann, "one")
        assert (await house.hear(ann, carrier_id="one")).repeated
    else:
        await house.hear(ann, carrier_id="one")
        assert (await say_for(house, ann, "one")).repeated
    assert await house.one("SELECT count(*) FROM interactions") == 1


async def say_for(house: House, from_: Participant, carrier_id: str) -> Received:
    """Whoever has the participant's number says that the carrier has brought something under this id."""
    note(from_.identifier, "as they say")
    said = Inbound(
        house.carrier.name,
        carrier_id,
        from_.proxy_identifier,
        from_.identifier,
        "as they say",
        forwarded=True,
    )
    return await inbound.receive(house.store, house.mint, house.options, said)


LONG = "".join(f"{number:07d} " for number in range(600))
"""Three times as long as a message may be."""


async def test_a_text_that_is_too_long_for_one_message_goes_on_as_several(house: House) -> None:
    _, ann, ben = await house.pair()
    async with house.working():
        received = await house.hear(
            ann, body=LONG, media=(Medium("https://example.com/cat.png", "image/png"),)
        )
        await house.hear(ann, body="and then")
        await house.quiet()
    *parts, after = house.carrier.bodies(ben.identifier)
    assert (len(parts), "".join(parts), after) == (3, LONG, "and then")
    assert max(map(len, parts)) <= MOST_BODY
    assert [len(message.media) for message in house.carrier.sent] == [0, 0, 1, 0]
    sids = [sid for (sid,) in await house.rows("SELECT sid FROM interactions ORDER BY sid")]
    assert (len(sids), sids[0]) == (4, received.interaction_sid)
    kinds = await house.rows("SELECT substr(outbound_resource_sid, 1, 2) FROM interactions ORDER BY sid")
    assert kinds == [("SM",), ("SM",), ("MM",), ("SM",)]


async def test_a_long_text_that_is_brought_twice_is_taken_once(house: House) -> None:
    _, ann, _ = await house.pair()
    answers = await asyncio.gather(*(house.hear(ann, body=LONG, carrier_id="x") for _ in range(3)))
    assert [answer.repeated for answer in answers] == [False, True, True]
    assert await house.one("SELECT count(*) FROM interactions") == 3


async def test_the_end_of_a_long_text_is_no_word(house: House) -> None:
    _, ann, ben = await house.pair()
    async with house.working():
        await house.hear(ann, body="x" * MOST_BODY + "STOP")
        await house.hear(ann, body="goes on")
        await house.quiet()
    assert house.carrier.bodies(ben.identifier)[1:] == ["STOP", "goes on"]


async def test_a_long_text_counts_once(house: House) -> None:
    """Whoever may write one message to a number is not cut off in the midst of it."""
    service = await house.service(settings='{"pair_limit": 1}')
    _, ann, ben = await house.pair(service)
    async with house.working():
        await house.hear(ann, body=LONG)
        await house.quiet()
    assert "".join(house.carrier.bodies(ben.identifier)) == LONG
    assert await house.events() == []


async def test_a_repeat_in_the_same_moment_is_taken_once(house: House) -> None:
    _, ann, _ = await house.pair()
    answers = await asyncio.gather(*(house.hear(ann, carrier_id="x") for _ in range(20)))
    assert sum(answer.repeated for answer in answers) == 19
    assert await house.one("SELECT count(*) FROM interactions") == 1


async def test_a_number_in_no_pool_is_unknown(house: House) -> None:
    answer = await house.hear(person(1), "+14155550100")
    assert not answer.known
    assert await house.events() == []


async def test_an_unknown_sender_gets_no_relay_and_an_event_without_full_numbers(house: House) -> None:
    _, ann, _ = await house.pair()
    stranger = person(999)
    answer = await house.hear(stranger, ann.proxy_identifier, "who are you")
    assert answer.known
    assert answer.interaction_sid is None
    ((code, service_sid, session_sid, message),) = await house.rows(
        "SELECT code, service_sid, session_sid, message FROM events"
    )
    assert (code, service_sid, session_sid) == (80905, ann.service_sid, None)
    assert stranger not in message
    assert ann.proxy_identifier not in message
    assert "who are you" not in message
    assert await house.one("SELECT count(*) FROM interactions") == 0
    assert await house.outbox() == 0


async def test_a_participant_on_another_number_of_the_pool_is_a_stranger_there(house: House) -> None:
    service = await house.service(1)
    _, ann, _ = await house.pair(service)
    spare = await house.number(service)
    assert (await house.hear(ann, spare.phone_number)).interaction_sid is None
    assert await house.events() == [80905]


async def test_without_a_partner_there_is_an_event(house: House) -> None:
    session = await house.session(await house.service())
    ann = await house.add(session)
    assert (await house.hear(ann)).interaction_sid is None
    assert await house.rows("SELECT code, session_sid FROM events") == [(80614, session.sid)]


async def test_a_deleted_partner_is_no_partner_and_a_deleted_sender_a_stranger(house: House) -> None:
    _, ann, ben = await house.pair()
    await house.remove(ben)
    assert (await house.hear(ann)).interaction_sid is None
    assert (await house.hear(ben)).interaction_sid is None
    assert await house.events() == [80614, 80905]


async def test_a_voice_only_session_takes_no_message(house: House) -> None:
    _, ann, _ = await house.pair(mode=Mode.VOICE_ONLY)
    assert (await house.hear(ann)).interaction_sid is None
    assert await house.events() == [80910]


async def test_a_closed_session_takes_no_message(house: House) -> None:
    session, ann, _ = await house.pair()
    await house.close(session)
    assert (await house.hear(ann)).interaction_sid is None
    assert await house.events() == [80905]
    touched = await house.fetch(session)
    assert touched.status is SessionStatus.CLOSED
    assert touched.last_interaction_at is None


@pytest.mark.parametrize("spelling", ["+5215512345678", "+525512345678", " 5215512345678"])
async def test_a_sender_is_known_in_every_spelling_of_the_number(house: House, spelling: str) -> None:
    service = await house.service(0)
    await house.number(service, "+525555550100")
    session = await house.session(service)
    mexican = await house.add(session, "+5215512345678")
    await house.number(service)
    await house.add(session)
    answer = await house.hear(spelling, mexican.proxy_identifier)
    assert answer.interaction_sid is not None


async def test_messages_to_a_session_from_both_sides_are_numbered_in_the_order_of_arrival(
    house: House,
) -> None:
    _, ann, ben = await house.pair()
    for i in range(3):
        await house.say(ben, f"{i}a")
        await house.hear(ann, body=f"{i}b")
    async with house.working():
        await house.quiet()
    assert house.carrier.bodies(ben.identifier) == ["0a", "0b", "1a", "1b", "2a", "2b"]


async def test_what_was_brought_is_forgotten_after_seven_days(house: House, clock: FakeClock) -> None:
    """No carrier repeats itself for so long; the table does not grow for ever."""
    _, ann, _ = await house.pair()
    await house.hear(ann, carrier_id="x")
    clock.advance(7 * 86400 - 10)
    await house.sweeper.sweep()
    assert (await house.hear(ann, carrier_id="x")).repeated
    clock.advance(20)
    await house.sweeper.sweep()
    assert await house.one("SELECT count(*) FROM received") == 0
    assert clock.now() % SECOND == 0
