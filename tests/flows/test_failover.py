"""A carrier account is down and the Service wants that Sessions move: each goes on from a number of another account,
both people are told, nothing is lost, doubled or sent twice, and the old number still answers.
"""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from maskline.carriers.base import Inbound, Report
from maskline.domain import problems
from maskline.domain.ids import is_sid
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import (
    Mode,
    NumberKind,
    Participant,
    ProxyNumber,
    Service,
    Session,
)
from maskline.domain.phone import mask
from maskline.domain.problems import Problem
from maskline.flows import inbound, receipts
from maskline.flows.failover import AGAIN_S, FORGET_S, FailOver
from maskline.flows.health import LOOK_S, _find_troubles_now
from maskline.store.erasure import ask_erasure, erase_step
from maskline.store.legs import list_legs
from maskline.store.moving import find_parked, find_tried, move_session
from maskline.store.numbers import list_pool
from maskline.store.pages import Seek
from maskline.store.participants import Outdated, add_participant, find_participant
from maskline.store.receive import Received
from maskline.store.session_ends import as_of_now
from maskline.store.start import StartRequest, start_sends
from tests.support.carrier import THROTTLED, UNCERTAIN, UNREACHABLE, ScriptedCarrier
from tests.support.house import ACCOUNT, VALIDITY_S, House, held_writer
from tests.support.line import Line
from tests.support.private import note
from tests.support.receiver import receiving
from tests.support.until import until

PAUSED, MOVED, STUCK, UNKNOWN, OPTED_OUT = 49003, 49051, 49052, 49001, 21610
WORDS = "This conversation goes on from this number."
MOVES = {"fail_over": "move"}


class Two:
    """A house with accounts at two carriers, north and south, and a Service whose pool has numbers of both."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.north, self.south = house.carrier, ScriptedCarrier("south")
        house.messages.carriers = {one.name: one for one in (self.north, self.south)}
        self.mover = self.new_mover()

    def new_mover(self) -> FailOver:
        house = self.house
        carriers, validity_us = house.messages.carriers, house.options.validity_us
        return FailOver(house.store, house.clock, house.mint, house.messages.health, carriers, validity_us)

    async def service(self, north: int = 1, settings: dict[str, Any] | None = None, **fields: Any) -> Service:
        """A Service with so many numbers in the north. Those in the south come later."""
        return await self.house.service(north, settings=json.dumps({**MOVES, **(settings or {})}), **fields)

    async def number(self, service: Service, **able: int) -> ProxyNumber:
        """One more number, in the south."""
        number = await self.house.number(service)
        changes = ", ".join(f"{name} = {value}" for name, value in able.items())
        sql = f"UPDATE numbers SET carrier_account = 'south'{', ' + changes if able else ''} WHERE sid = ?"  # noqa: S608
        await self.house.store.write(lambda tx: tx.execute(sql, (number.sid,)) and None)
        return number

    async def pair(self, **settings: Any) -> tuple[Session, Participant, Participant]:
        """Two people on a number in the north, and one number in the south for them."""
        service = await self.service(settings=settings)
        session, ann, ben = await self.house.pair(service)
        await self.number(service)
        return session, ann, ben

    async def cut(self, *carriers: ScriptedCarrier) -> None:
        """These accounts (the north) are down from now on."""
        for carrier in carriers or (self.north,):
            carrier.always(UNREACHABLE)
            await self.house.messages.health.refused(carrier.name, ACCOUNT)

    async def now(self, person: Participant) -> Participant:
        """The participant as they are now."""
        found = await self.house.store.read(
            find_participant, person.service_sid, person.session_sid, person.sid
        )
        assert found is not None
        return found

    async def hear(self, person: Participant, body: str = "hi to you", to: str | None = None) -> Received:
        """Somebody writes to the number that they have, or to this one, by whichever carrier has it."""
        to = to or person.proxy_identifier
        carrier = await self.house.one("SELECT carrier_account FROM numbers WHERE phone_number = ?", to)
        note(person.identifier, body)
        message = Inbound(carrier, self.house.mint.sid("IN"), to, person.identifier, body)
        return await inbound.receive(self.house.store, self.house.mint, self.house.options, message)

    async def counters(self) -> list[tuple[int, int, int]]:
        """How many Sessions, participants and former participants each number has, in the order of creation."""
        rows = await self.house.rows("SELECT in_use, participants, former FROM numbers ORDER BY phone_number")
        return [tuple(row) for row in rows]  # type: ignore[misc]

    async def settle(self) -> None:
        """Let the mover look again and again, and everything go out."""
        for _ in range(3):
            await self.house.pass_time(2)
            await self.mover.look()
            await self.house.quiet()


@pytest.fixture
def two(house: House) -> Two:
    return Two(house)


def heard(carrier: ScriptedCarrier, person: Participant) -> list[tuple[str, str]]:
    """What somebody got by this carrier: from which number, and the text."""
    return [(one.from_, one.body) for one in carrier.delivered if one.to == person.identifier]


async def test_a_session_moves_and_both_are_told_before_all_that_waits_in_its_order(
    house: House, two: Two
) -> None:
    session, ann, ben = await two.pair()
    async with house.working():
        await two.cut()
        await house.say(ann, "one")
        await house.say(ann, "two", media=("https://shop.example/a.png",))
        await two.hear(ben, "three")
        await house.say(ann, "four")
        await two.settle()
        now = await two.now(ann)
        assert now.proxy_identifier != ann.proxy_identifier
        new = now.proxy_identifier
        assert [body.split("\n")[0] for _, body in heard(two.south, ann)] == [
            WORDS,
            "one",
            "two",
            "three",
            "four",
        ]
        assert {from_ for from_, _ in heard(two.south, ann)} == {new}
        assert heard(two.south, ben) == [(new, WORDS)]
        assert two.north.delivered == []
        assert await house.statuses() == ["sent"] * 6
        assert await house.outbox() == 0
        # Another goes straight there.
        await house.say(ann, "five")
        await two.hear(now, "six")
        await house.quiet()
        assert heard(two.south, ann)[-1] == (new, "five")
        assert heard(two.south, ben)[-1] == (new, "six")
    assert await house.events() == [PAUSED, MOVED]
    said, whose = (await house.rows("SELECT message, session_sid FROM events WHERE code = 49051"))[0]
    step = f"{mask(ann.proxy_identifier)} to {mask(new)}"
    assert said.startswith(f"{step}, {step}: ")
    assert whose == session.sid


async def test_the_worker_that_sweeps_does_it(house: House, two: Two) -> None:
    _, ann, _ = await two.pair()
    house.looks = [two.mover]
    async with house.working():
        await two.cut()
        await house.say(ann)
        for _ in range(100):
            await house.pass_time(1)
            if heard(two.south, ann):
                break
        assert heard(two.south, ann)[0][1] == WORDS


async def test_by_default_everything_waits(house: House, two: Two) -> None:
    _, ann, _ = await two.pair(fail_over="wait")
    async with house.working():
        await two.cut()
        await house.say(ann)
        await house.pass_time(59)
        assert (await two.now(ann)).proxy_identifier == ann.proxy_identifier
        assert await house.statuses() == ["queued"]
        two.north.mend()
        await house.pass_time(1)
        assert heard(two.north, ann) == [(ann.proxy_identifier, "hello there")]
    assert two.south.sent == []


async def test_what_waits_for_nothing_does_not_move(house: House, two: Two) -> None:
    _, ann, _ = await two.pair()
    async with house.working():
        await two.cut()
        await two.settle()
        assert (await two.now(ann)).proxy_identifier == ann.proxy_identifier
        await house.say(ann)
        await two.settle()
        assert (await two.now(ann)).proxy_identifier != ann.proxy_identifier


async def test_whose_number_works_keeps_it_and_hears_nothing(house: House, two: Two) -> None:
    service = await two.service(1)
    south = await two.number(service)
    session = await house.session(service)
    ann = await house.add(session)
    ben = await house.add(session, None, south.phone_number)
    assert ben.proxy_identifier != ann.proxy_identifier
    async with house.working():
        await two.cut()
        await two.hear(ben, "are you there?")
        await two.settle()
        assert heard(two.south, ann) == [
            (south.phone_number, WORDS),
            (south.phone_number, "are you there?"),
        ]
        assert heard(two.south, ben) == []
        assert await two.now(ben) == ben


async def test_the_old_number_still_answers(house: House, two: Two) -> None:
    _, ann, ben = await two.pair()
    async with house.working():
        await two.cut()
        await house.say(ann)
        await two.settle()
        new = (await two.now(ann)).proxy_identifier
        received = await two.hear(ann, "to the old one")
        assert received.interaction_sid is not None
        await two.hear(ann, "to the new one", new)
        await house.quiet()
        assert heard(two.south, ben)[1:] == [(new, "to the old one"), (new, "to the new one")]


async def test_a_call_to_the_old_number_still_reaches_the_partner(house: House, two: Two) -> None:
    _, ann, ben = await two.pair()
    async with house.working():
        await two.cut()
        await house.say(ann)
        await two.settle()
    now = await two.now(ben)
    (service,) = await house.rows("SELECT sid FROM services")
    line = Line(house, replace(await two.service(0), sid=service[0]))
    dialled = await line.dial(ann)
    assert dialled.dial.caller_id == now.proxy_identifier
    assert dialled.number.number == ben.identifier


async def refused(making: Any) -> problems.Code:
    with pytest.raises(Problem) as caught:
        await making
    return caught.value.code


async def test_nobody_else_gets_the_old_pair_as_long_as_it_answers(house: House, two: Two) -> None:
    """The hard rule of masking: to whom would the person's text to that number go?"""
    service = await two.service()
    before = await house.session(service)
    gone = await house.add(before)
    await house.close(before)
    session = await house.session(service)
    ann, _ = await house.add(session, gone.identifier), await house.add(session)
    south = await two.number(service)
    async with house.working():
        await two.cut()
        await house.say(ann)
        await two.settle()
    other = await house.session(service)
    assert await refused(house.add(other, ann.identifier)) is problems.NO_UNUSED_PROXY
    for number in (ann.proxy_identifier, south.phone_number):
        assert await refused(house.add(other, ann.identifier, number)) is problems.PAIR_IN_USE
    assert await refused(house.reopen(before)) is problems.PAIR_IN_USE
    stale = house.ranked(other, ann.identifier, [ann.proxy_identifier_sid or ""])
    with pytest.raises(Outdated):
        await house.store.write(add_participant, other, stale, ACCOUNT)
    # Others may have it, and once the Session is over so may the same person.
    assert (await house.add(other, None, ann.proxy_identifier)).proxy_identifier == ann.proxy_identifier
    await house.close(session)
    assert (
        await house.add(other, ann.identifier, ann.proxy_identifier)
    ).proxy_identifier == ann.proxy_identifier


async def test_numbers_count_those_who_had_them_until_it_ends(house: House, two: Two) -> None:
    session, ann, ben = await two.pair()
    async with house.working():
        await two.cut()
        await house.say(ann)
        await two.settle()
        assert await two.counters() == [(1, 0, 2), (1, 2, 0)]
        await house.remove(ann)
        assert await two.counters() == [(1, 0, 1), (1, 1, 0)]
        assert (await two.hear(ann)).interaction_sid is None
        await house.close(session)
        assert await two.counters() == [(0, 0, 0), (0, 0, 0)]
        assert (await two.hear(ben)).interaction_sid is None
        await house.reopen(session)
        assert await two.counters() == [(0, 0, 0), (1, 1, 0)]
        await house.delete(session)
        await house.sweeper.sweep()
        assert await two.counters() == [(0, 0, 0), (0, 0, 0)]
        assert await house.rows("SELECT 1 FROM former_numbers") == []


@pytest.mark.parametrize("swept", [False, True])
async def test_a_session_that_ends_by_itself_frees_them_too(house: House, two: Two, swept: bool) -> None:
    service = await two.service()
    _, ann, _ = await house.pair(service, ttl=600)
    await two.number(service)
    async with house.working():
        await two.cut()
        await house.say(ann)
        await two.settle()
    house.clock.advance(700)
    if swept:
        await house.sweeper.sweep()
    received = await two.hear(ann)
    assert received.interaction_sid is None
    pool = await house.store.read(
        lambda tx: as_of_now(tx, list_pool(tx, service.sid, NumberKind.PHONE, Seek(50)).rows)
    )
    assert [(number.in_use, number.participants) for number in pool] == [(0, 0), (0, 0)]
    other = await house.session(service)
    assert (await house.add(other, ann.identifier, ann.proxy_identifier)).sid


async def test_a_former_number_cools_down_like_any_other(house: House, two: Two) -> None:
    session, ann, _ = await two.pair(number_cooldown_s=1000)
    async with house.working():
        await two.cut()
        await house.say(ann)
        await two.settle()
    await house.close(session)
    service = replace(await two.service(0), sid=session.service_sid)
    assert await refused(house.add(await house.session(service), ann.identifier)) is problems.NO_UNUSED_PROXY


async def test_what_is_being_handed_over_is_waited_for_and_never_sent_by_another(
    house: House, two: Two
) -> None:
    _, ann, _ = await two.pair()
    async with house.working():
        gate = two.north.gate(ann.identifier)
        first = await house.say(ann, "may be there")
        await house.quiet()
        await two.cut()
        await house.say(ann, "second")
        await two.settle()
        assert (await two.now(ann)).proxy_identifier == ann.proxy_identifier
        gate.release(UNCERTAIN)
        await two.settle()
        assert [body for _, body in heard(two.south, ann)] == [WORDS, "second"]
        assert await house.status(first) == "delivery-unknown"
        # What its carrier says of it afterwards still counts.
        assert not await house.report(first, MessageStatus.DELIVERED, ann.proxy_identifier)
    assert await house.events() == [PAUSED, UNKNOWN, MOVED]


async def test_what_goes_to_the_partner_meanwhile_is_not_waited_for(house: House, two: Two) -> None:
    service = await two.service(1)
    south = await two.number(service)
    session = await house.session(service)
    ann = await house.add(session)
    ben = await house.add(session, None, south.phone_number)
    async with house.working():
        gate = two.south.gate(ben.identifier)
        await house.say(ben, "slow")
        await house.quiet()
        await two.cut()
        await house.say(ann, "first")
        await two.settle()
        assert heard(two.south, ann) == [(south.phone_number, WORDS), (south.phone_number, "first")]
        gate.release()
        await two.settle()
        assert heard(two.south, ben) == [(south.phone_number, "slow")]


async def test_what_comes_back_as_not_taken_goes_by_the_other(house: House, two: Two) -> None:
    _, ann, _ = await two.pair()
    async with house.working():
        gate = two.north.gate(ann.identifier)
        await house.say(ann, "first")
        await house.quiet()
        await two.cut()
        gate.release(UNREACHABLE)
        await two.settle()
        assert [body for _, body in heard(two.south, ann)] == [WORDS, "first"]
        assert await house.statuses() == ["sent"] * 3


@pytest.mark.parametrize("settings", [{}, {"on_uncertain": "resend"}])
@pytest.mark.parametrize("able", ["look_up", "carrier_keys", ""])
async def test_what_the_carrier_may_have_taken_ends_as_unknown_when_others_wait_behind_it(
    house: House, two: Two, settings: dict[str, str], able: str
) -> None:
    """Whether its carrier would have been asked, or handed it again: no other is handed it, and nobody waits for it."""
    _, ann, _ = await two.pair(**settings)
    if able:
        two.north.able(**{able: True})
    async with house.working():
        two.north.answers(*[UNREACHABLE] * 100)
        two.north.script(ann.identifier, UNCERTAIN)
        first = await house.say(ann, "may be there")
        await house.quiet()
        await two.cut()
        for _ in range(3):
            await two.settle()
        held = bool(able or settings)
        assert await house.status(first) == ("queued" if held else "delivery-unknown")
        await house.say(ann, "second")
        for _ in range(3):
            await two.settle()
        assert await house.status(first) == "delivery-unknown"
        assert [body for _, body in heard(two.south, ann)] == [WORDS, "second"]
        assert two.north.bodies(ann.identifier).count("may be there") == 1
        assert await house.outbox() == 0
    assert sorted(await house.events()) == sorted([PAUSED, UNKNOWN, MOVED])


async def test_a_report_on_what_went_before_the_move_still_finds_it(house: House, two: Two) -> None:
    _, ann, _ = await two.pair()
    async with house.working():
        first = await house.say(ann, "before")
        await house.quiet()
        await two.cut()
        await house.say(ann, "after")
        await two.settle()
        assert await house.report(first, MessageStatus.DELIVERED, ann.proxy_identifier)
        assert await house.status(first) == "delivered"


async def test_a_session_that_was_closed_meanwhile_stays_as_it_is(house: House, two: Two) -> None:
    session, ann, _ = await two.pair()
    async with house.working():
        await two.cut()
        await house.say(ann)
        await house.close(session)
        await two.settle()
        assert (await two.now(ann)).proxy_identifier == ann.proxy_identifier
        two.north.mend()
        await house.pass_time(60)
        assert heard(two.north, ann) == [(ann.proxy_identifier, "hello there")]
    assert two.south.sent == []


@pytest.mark.parametrize("lacking", [{"voice": 0}, {"sms": 0}, {"is_reserved": 1}, {"calling_code": 44}])
async def test_without_another_number_everything_waits_and_one_event_says_so(
    house: House, two: Two, lacking: dict[str, int]
) -> None:
    service = await two.service()
    session, ann, _ = await house.pair(service)
    assert session.mode is Mode.VOICE_AND_MESSAGE
    await two.number(service, **lacking)
    async with house.working():
        await two.cut()
        await house.say(ann)
        for _ in range(10):
            await two.settle()
        assert await house.events() == [PAUSED, STUCK]
        assert await house.status(await house.one("SELECT sid FROM interactions")) == "queued"
        await two.number(service)
        await house.pass_time(60)
        await two.settle()
        assert [body for _, body in heard(two.south, ann)] == [WORDS, "hello there"]
    assert await house.events() == [PAUSED, STUCK, MOVED]


async def test_a_number_of_an_account_that_is_down_or_gone_is_not_chosen(house: House, two: Two) -> None:
    _, ann, _ = await two.pair()
    house.messages.carriers = {**house.messages.carriers, "west": ScriptedCarrier("west")}
    async with house.working():
        await two.cut(two.north, two.south)
        await house.say(ann)
        await two.settle()
        assert (await house.events())[-1] == STUCK
    two.south.mend()
    house.messages.carriers = {"scripted": two.north, "west": ScriptedCarrier("west")}
    two.mover = two.new_mover()
    async with house.working():
        await two.settle()
    assert (await two.now(ann)).proxy_identifier == ann.proxy_identifier


async def test_it_moves_back_when_the_other_goes_down(house: House, two: Two) -> None:
    """To the number that both know already; the one that was left in between answers as well."""
    _, ann, ben = await two.pair()
    async with house.working():
        await two.cut()
        await house.say(ann, "one")
        await two.settle()
        south = (await two.now(ann)).proxy_identifier
        two.north.mend()
        await house.messages.health.worked("scripted")
        await two.cut(two.south)
        await house.say(ann, "two")
        await two.settle()
        assert [body for _, body in heard(two.north, ann)] == [WORDS, "two"]
        assert (await two.now(ann)).proxy_identifier == ann.proxy_identifier
        assert await two.counters() == [(1, 2, 0), (1, 0, 2)]
        await two.hear(ann, "from there", south)
        await house.quiet()
        assert heard(two.north, ben)[-1] == (ben.proxy_identifier, "from there")


async def test_a_notice_that_was_not_sent_yet_is_not_doubled(house: House, two: Two) -> None:
    service = await two.service()
    _, ann, _ = await house.pair(service)
    await two.number(service)
    async with house.working():
        await two.cut()
        two.south.always(UNREACHABLE)
        await house.say(ann, "one")
        await two.settle()
        await house.messages.health.refused("south", ACCOUNT)
        two.north.mend()
        await house.messages.health.worked("scripted")
        await house.pass_time(30)
        await two.settle()
        assert heard(two.north, ann) == [(ann.proxy_identifier, WORDS), (ann.proxy_identifier, "one")]
    assert (await house.events()).count(MOVED) == 2


async def test_what_was_accepted_before_and_not_looked_at_yet_follows(house: House, two: Two) -> None:
    _, ann, _ = await two.pair()
    await two.cut()
    await house.say(ann, "one")
    request = StartRequest("RN", {"scripted": 0, "south": 1}, [house.mint.sid("NO")] * 8)
    await house.store.batch(start_sends, request)
    await house.say(ann, "two")
    await two.mover.look()
    assert (await two.now(ann)).proxy_identifier != ann.proxy_identifier
    numbers = await house.rows("SELECT state, number FROM outbox WHERE order_key = ? ORDER BY seq", ann.sid)
    assert [state for state, _ in numbers] == [1, 3, 0]
    assert numbers[2][1] == ann.proxy_identifier
    async with house.working():
        await two.settle()
        new = (await two.now(ann)).proxy_identifier
        assert heard(two.south, ann) == [(new, WORDS), (new, "one"), (new, "two")]
    assert (await house.events()).count(MOVED) == 1


async def test_of_two_processes_one_moves_it_and_both_agree(house: House, two: Two) -> None:
    _, ann, ben = await two.pair()
    async with house.working():
        await two.cut()
        await house.say(ann)
        await house.quiet()
        lookers = [two.new_mover() for _ in range(3)]
        await asyncio.gather(*(one.look() for one in lookers))
        await house.quiet()
        assert [body for _, body in heard(two.south, ann)] == [WORDS, "hello there"]
        assert [body for _, body in heard(two.south, ben)] == [WORDS]
    assert (await house.events()).count(MOVED) == 1


async def test_who_opted_out_of_the_old_number_hears_nothing_from_the_new(house: House, two: Two) -> None:
    _, ann, ben = await two.pair()
    async with house.working():
        await two.hear(ann, "STOP")
        await two.cut()
        await house.say(ben)
        await two.settle()
        assert [body for _, body in heard(two.south, ben)] == [WORDS, "hello there"]
        await house.say(ann)
        await house.quiet()
        assert heard(two.south, ann) == []
        assert (await house.events()).count(OPTED_OUT) == 2
        # To end it, a word to either number does.
        await two.hear(ann, "START")
        await house.say(ann, "welcome back")
        await house.quiet()
        assert [body for _, body in heard(two.south, ann)] == ["welcome back"]


@pytest.mark.parametrize("to_old", [True, False])
async def test_a_stop_word_to_either_number_counts_for_both(house: House, two: Two, to_old: bool) -> None:
    _, ann, _ = await two.pair()
    async with house.working():
        await two.cut()
        await house.say(ann)
        await two.settle()
        now = await two.now(ann)
        await two.hear(ann if to_old else now, "stop")
        await house.say(ann, "too late")
        await house.quiet()
        assert [body for _, body in heard(two.south, ann)] == [WORDS, "hello there"]
        numbers = await house.rows("SELECT proxy_number FROM optouts ORDER BY proxy_number")
        assert {number for (number,) in numbers} == {ann.proxy_identifier, now.proxy_identifier}


async def test_a_word_counts_for_all_numbers_that_somebody_has_had(house: House, two: Two) -> None:
    _, ann, _ = await two.pair()
    had = [f"+1415202{i:04d}" for i in range(7)]
    sql = """
    INSERT INTO former_numbers (service_sid, session_sid, participant_sid, left_at, identifier_key, proxy_identifier,
           active, sent_before) VALUES (?, ?, ?, ?, ?, ?, 1, 'KI')"""
    place = (ann.service_sid, ann.session_sid, ann.sid)
    rows = [(*place, i, ann.identifier_key, number) for i, number in enumerate(had)]
    await house.store.write(lambda tx: tx.executemany(sql, rows))
    await two.hear(ann, "stop")
    optouts = await house.rows("SELECT proxy_number, sid FROM optouts")
    assert sorted(number for number, _ in optouts) == sorted([ann.proxy_identifier, *had])
    assert all(is_sid(sid, "OO") for _, sid in optouts)
    assert len({sid for _, sid in optouts}) == 8
    await two.hear(ann, "START")
    assert await house.rows("SELECT 1 FROM optouts") == []


async def test_a_notice_to_somebody_who_is_erased_is_not_sent(house: House, two: Two) -> None:
    _, ann, ben = await two.pair()
    async with house.working():
        await two.cut()
        await house.say(ann)
        two.south.always(UNREACHABLE)
        await two.settle()
        assert (await two.now(ann)).proxy_identifier != ann.proxy_identifier
        await house.store.write(ask_erasure, ACCOUNT, ann.service_sid, ann.identifier_key)
        while await house.store.write(erase_step, 100) >= 100:
            pass
        assert await house.rows("SELECT 1 FROM outbox WHERE recipient = ?", ann.identifier) == []
        assert await house.rows("SELECT 1 FROM former_numbers WHERE identifier_key = ?", ann.identifier) == []
        two.south.mend()
        for _ in range(20):  # tried again, after pauses that grow and are not the same twice
            await house.pass_time(60)
        assert heard(two.south, ann) == []
        assert [body for _, body in heard(two.south, ben)] == [WORDS]


@pytest.mark.parametrize("kept", ["always", "until-final", "never"])
async def test_people_are_told_in_the_words_of_the_service(house: House, two: Two, kept: str) -> None:
    _, ann, _ = await two.pair(fail_over_notice="Neue Nummer: bitte hierher.", store_bodies=kept)
    async with house.working():
        await two.cut()
        await house.say(ann)
        await two.settle()
        assert heard(two.south, ann)[0][1] == "Neue Nummer: bitte hierher."
    data = {row[0] for row in await house.rows("SELECT data FROM interactions WHERE participant_sid IS NULL")}
    assert ("hierher" in "".join(data)) == (kept != "never")


async def test_the_customer_is_told_of_the_notice_like_of_any_message(house: House, two: Two) -> None:
    async with receiving() as receiver:
        service = await two.service(callback_url=receiver.url)
        _, ann, _ = await house.pair(service)
        await two.number(service)
        async with house.working():
            await two.cut()
            await house.say(ann)
            await two.settle()
            await until(lambda: len(receiver.posts) >= 6)
        seen = {(post.form["interactionSid"], post.form["outboundResourceStatus"]) for post in receiver.posts}
        assert len(seen) == 6  # two notices and the message, each queued and sent


async def test_messages_show_the_number_that_they_went_from(house: House, two: Two) -> None:
    _, ann, _ = await two.pair()
    async with house.working():
        await house.say(ann, "before")
        await two.hear(ann, "a reply")
        await house.quiet()
        house.clock.advance(1)
        await two.cut()
        await house.say(ann, "after")
        await two.settle()
        new = (await two.now(ann)).proxy_identifier
    page = await house.store.read(list_legs, ACCOUNT, "message", Seek(50))
    legs = [(leg.interaction.data, leg.inbound, leg.proxy_identifier) for leg in page.rows]
    old = ann.proxy_identifier
    assert [number for data, _, number in legs if "before" in data] == [old]
    assert [number for data, _, number in legs if "a reply" in data] == [old, old]
    assert [number for data, _, number in legs if "after" in data or WORDS in data] == [new] * 3


async def test_new_people_get_numbers_that_work_as_far_as_there_are_some(house: House, two: Two) -> None:
    service = await two.service()
    south = await two.number(service)
    async with house.working():
        await two.cut()
        session = await house.session(service)
        ann = await house.add(session)
        assert ann.proxy_identifier == south.phone_number
        other = await house.session(service)
        assert (await house.add(other, ann.identifier)).proxy_identifier != south.phone_number
        # When it is to be tried again somebody has to be on it, or nobody would ever know.
        await house.pass_time(60)
        assert (await house.add(await house.session(service))).proxy_identifier != south.phone_number


async def test_a_message_of_another_session_does_not_go_to_the_old_pair(house: House, two: Two) -> None:
    """It was accepted before its Session closed; by now the person's answer would reach somebody else."""
    service = await two.service(0)
    await two.number(service)
    first, ann, _ = await house.pair(service)
    async with house.working():
        await two.cut(two.south)
        late = await house.say(ann, "of the first")
        await house.quiet()
        await house.close(first)
        session = await house.session(service)
        again, _ = await house.add(session, ann.identifier), await house.add(session)
        assert again.proxy_identifier == ann.proxy_identifier
        await house.number(service)
        await house.say(again, "of the second")
        await two.settle()
        assert [body for _, body in heard(two.north, ann)] == [WORDS, "of the second"]
        two.south.mend()
        await house.pass_time(60)
        await house.quiet()
        assert await house.status(late) == "failed"
    assert two.south.delivered == []


async def test_messages_wait_no_longer_than_their_validity(house: House, two: Two) -> None:
    service = await two.service()
    _, ann, _ = await house.pair(service)
    async with house.working():
        await two.cut()
        await house.say(ann)
        await house.pass_time(VALIDITY_S + 5)
        await house.pass_time(5)
        await two.number(service)
        await house.pass_time(60)
        await two.settle()
        assert await house.statuses() == ["failed"]
    assert (await two.now(ann)).proxy_identifier == ann.proxy_identifier


async def test_of_somebody_whose_erasure_has_begun_nothing_is_written_down_anew(
    house: House, two: Two
) -> None:
    """Other erasures may go first, and their Session is active until it is their turn."""
    _, ann, _ = await two.pair()
    async with house.working():
        await two.cut()
        await house.say(ann)
        await house.quiet()
        await house.store.write(ask_erasure, ACCOUNT, ann.service_sid, ann.identifier_key)
        await two.mover.look()
        await house.quiet()
        while await house.store.write(erase_step, 100) >= 100:
            pass
    assert await house.rows("SELECT 1 FROM people WHERE identifier_key = ?", ann.identifier) == []


async def test_what_cannot_move_is_not_looked_at_all_the_time(house: House, two: Two) -> None:
    """A closed Session, and one whose people are on a channel: there may be many of them."""
    session, ann, _ = await two.pair()
    service = await two.service(0)
    await house.sender(service, "whatsapp:+14152019999")
    chat = await house.session(service, mode=Mode.MESSAGE_ONLY)
    eve = await house.add(chat, "whatsapp:+12122019999", "whatsapp:+14152019999")
    async with house.working():
        await two.cut()
        await house.say(ann)
        await house.say(eve)
        await house.close(session)
        await two.settle()
        assert await house.one("SELECT count(*) FROM outbox WHERE state = 2") == 2
        assert await count_moves(house, two, seconds=50) == 0
        assert STUCK not in await house.events()


async def test_who_cannot_move_is_gone_past_however_many_they_are(house: House, two: Two) -> None:
    stuck = await two.service()
    people = [(await house.pair(stuck))[1] for _ in range(7)]
    _, ann, _ = await two.pair()
    carriers, validity_us = house.messages.carriers, house.options.validity_us
    two.mover = FailOver(
        house.store, house.clock, house.mint, house.messages.health, carriers, validity_us, page=2, pages=1
    )
    async with house.working():
        await two.cut()
        for person in (*people, ann):
            await house.say(person)
        await two.settle()
        assert await two.now(ann) == ann
        await two.settle()
        assert [body for _, body in heard(two.south, ann)] == [WORDS, "hello there"]
    assert (await house.events()).count(STUCK) == 7


async def test_who_could_not_move_is_forgotten_when_nothing_waits_any_more(house: House, two: Two) -> None:
    """An account may be down for ever. Until then they are told of once, however long they wait."""
    stuck = await two.service()
    pairs = [await house.pair(stuck) for _ in range(3)]
    async with house.working():
        await two.cut()
        for _, person, _ in pairs:
            await house.say(person)
        for _ in range(int(FORGET_S / AGAIN_S) + 2):
            await house.pass_time(AGAIN_S)
            await two.mover.look()
        assert len(two.mover._stays) == 3
        assert (await house.events()).count(STUCK) == 3
        for session, *_ in pairs[:2]:
            await house.delete(session)
        for _ in range(2):
            await house.pass_time(FORGET_S / 2 + 1)
            await two.mover.look()
        assert len(two.mover._stays) == 1
    assert (await house.events()).count(STUCK) == 3


async def test_however_long_it_takes_to_move_health_is_looked_at(house: House, two: Two) -> None:
    _, ann, _ = await two.pair()
    house.looks = [two.mover]
    looks, moves = count_calls(house, "read"), count_calls(house, "write")
    async with house.working():
        await two.cut()
        await house.say(ann)
        await house.quiet()
        async with held_writer(house.store):
            for look in range(1, 4):
                before = looks.done[_find_troubles_now]
                house.clock.advance(LOOK_S)
                await until(lambda before=before: looks.done[_find_troubles_now] > before, f"look {look}")
                await until(lambda: moves.begun[move_session])
            assert not moves.done[move_session]
        await house.quiet()
        assert heard(two.south, ann)[0][1] == WORDS


class Calls:
    """How often the store has begun and has done each function."""

    def __init__(self) -> None:
        self.begun, self.done = Counter[Any](), Counter[Any]()


def count_calls(house: House, verb: str) -> Calls:
    """Of this verb, from now on."""
    ask, calls = getattr(house.store, verb), Calls()

    async def counted(fn: Any, *args: Any, **kwargs: Any) -> Any:
        calls.begun[fn] += 1
        result = await ask(fn, *args, **kwargs)
        calls.done[fn] += 1
        return result

    setattr(house.store, verb, counted)
    return calls


@pytest.mark.parametrize("most", [1, 2, 3, 100])
async def test_pages_show_each_session_that_waits_and_moves_once(house: House, two: Two, most: int) -> None:
    """On numbers of its Service that come and go with those of another, which stays; parked, or tried before."""
    moving, staying = await two.service(), await house.service()
    parked: set[str] = set()
    tried: set[str] = set()
    async with house.working():
        for turn in range(3):
            for service in (moving, staying):
                await house.number(service)
            for service, wanted in ((moving, tried), (staying, set[str]())):
                session, ann, _ = await house.pair(service)
                two.north.script(ann.identifier, UNREACHABLE, THROTTLED)
                for text in range(turn + 1):
                    await house.say(ann, str(text))
                wanted.add(session.sid)
        await house.quiet()
        await two.cut()
        for turn in range(3):
            for service, wanted in ((moving, parked), (staying, set[str]())):
                session, ann, _ = await house.pair(service)
                for text in range(turn + 1):
                    await house.say(ann, str(text))
                    await two.hear(ann, str(text))
                wanted.add(session.sid)
        await house.quiet()
    assert await pages(house, find_tried, most) == tried
    assert await pages(house, find_parked, most) == parked


async def pages(house: House, find: Any, most: int) -> set[str]:
    """The Sessions on all pages. No page is longer than that."""
    sids: set[str] = set()
    after = None
    while True:
        found = await house.store.read(find, "scripted", after, most)
        assert len(found.places) <= most
        sids |= {session_sid for _, _, session_sid in found.places}
        if found.after is None:
            return sids
        assert after is None or found.after > after
        after = found.after


async def count_moves(house: House, two: Two, seconds: int) -> int:
    """How many transactions the mover begins meanwhile."""
    calls = count_calls(house, "write")
    for _ in range(seconds // 2):
        house.clock.advance(2)
        await two.mover.look()
    return calls.begun[move_session]


async def test_an_opt_out_that_the_old_carrier_tells_of_late_counts_for_the_new_number(
    house: House, two: Two
) -> None:
    _, ann, _ = await two.pair()
    async with house.working():
        first = await house.say(ann, "before")
        await house.quiet()
        await two.cut()
        await house.say(ann, "after")
        await two.settle()
        assert first.outbound is not None
        carrier_id = two.north.id_of(first.outbound.resource_sid)
        report = Report(
            "scripted", ann.proxy_identifier, carrier_id, MessageStatus.UNDELIVERED, opted_out=True
        )
        assert await receipts.report(house.store, house.mint, report)
        await house.say(ann, "too late")
        await house.quiet()
        assert [body for _, body in heard(two.south, ann)] == [WORDS, "after"]
