"""A carrier account takes nothing any more: its sends wait, one message a minute tries it, one success ends it; and all
processes think the same of it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from maskline.carriers.base import CarrierError
from maskline.domain.model import SECOND, Participant
from maskline.flows.health import Health
from maskline.store.engine import Store
from maskline.store.health import find_troubles
from tests.support.carrier import (
    MISCONFIGURED,
    OPTED_OUT,
    REJECTED,
    THROTTLED,
    UNCERTAIN,
    UNREACHABLE,
    ScriptedCarrier,
)
from tests.support.clock import FakeClock
from tests.support.house import VALIDITY_S, House, held_writer
from tests.support.until import turns

DOWN, RESUMED, PAUSED, UNKNOWN = 49050, 49004, 49003, 49001


@pytest.fixture
def house(store: Store, clock: FakeClock) -> House:
    return watched(House(store, clock))


def watched(house: House, after_s: float = 60) -> House:
    """A house whose carrier account is down after it has failed for so long."""
    house.messages.health = Health(house.store, house.clock, house.mint, {house.carrier.name: after_s})
    return house


async def people(house: House, count: int) -> list[Participant]:
    service = await house.service()
    return [(await house.pair(service))[1] for _ in range(count)]


async def wear_out(house: House, who: Participant) -> int:
    """Let the carrier fail one message until its account is down. How often it was tried."""
    house.carrier.always(UNREACHABLE)
    before = len(house.carrier.sent)
    await house.say(who)
    await house.quiet()
    for wait in (1, 5, 15, 60):
        assert house.messages.health.down() == frozenset()
        await house.pass_time(wait)
    assert house.messages.health.down() == {house.carrier.name}
    return len(house.carrier.sent) - before


async def test_an_account_that_fails_for_a_minute_is_down_with_one_event(house: House) -> None:
    ann, *others = await people(house, 4)
    async with house.working():
        assert await wear_out(house, ann) == 5
        tried = len(house.carrier.sent)
        for other in others:
            await house.say(other)
        await house.pass_time(59)
        assert len(house.carrier.sent) == tried
        assert await house.statuses() == ["queued"] * 4
        assert await house.events() == [DOWN]


async def test_one_message_tries_it_each_minute_and_the_first_success_ends_it(house: House) -> None:
    ann, *others = await people(house, 4)
    async with house.working():
        await wear_out(house, ann)
        for other in others:
            await house.say(other)
        tried = len(house.carrier.sent)
        for minute in range(1, 4):
            await house.pass_time(60)
            assert len(house.carrier.sent) == tried + minute
        house.carrier.mend()
        await house.pass_time(60)
        assert await house.statuses() == ["sent"] * 4
    assert await house.events() == [DOWN, RESUMED]
    assert await house.store.read(find_troubles) == {}


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
async def test_when_it_is_down_and_tried_goes_by_the_time_of_the_store(
    store: Store, clock: FakeClock, ahead_s: int
) -> None:
    """The clock of the process is an hour off: what worked before the failures does not count as later than they."""
    house = watched(House(store, FakeClock(clock.now() + ahead_s * SECOND)))
    ann, ben = await people(house, 2)

    async def pass_time(seconds: int) -> None:
        clock.advance(seconds)
        await house.pass_time(seconds)

    async with house.working():
        await house.say(ben)
        await house.quiet()
        house.carrier.always(UNREACHABLE)
        await house.say(ann)
        await house.quiet()
        for wait in (1, 5, 15, 60):
            await pass_time(wait)
        assert house.messages.health.down() == {house.carrier.name}
        house.carrier.mend()
        await pass_time(60)
        assert await house.statuses() == ["sent"] * 2
    assert await house.events() == [DOWN, RESUMED]


async def test_what_waits_for_it_fails_when_its_validity_is_over(house: House) -> None:
    ann, ben = await people(house, 2)
    async with house.working():
        await wear_out(house, ann)
        await house.say(ben)
        await house.pass_time(VALIDITY_S + 5)
        await house.pass_time(5)
        assert await house.statuses() == ["failed"] * 2


@pytest.mark.parametrize("answer", [REJECTED, OPTED_OUT, THROTTLED])
async def test_what_the_carrier_answers_is_no_outage(house: House, answer: CarrierError) -> None:
    everybody = await people(house, 8)
    house.carrier.always(answer)
    async with house.working():
        for one in everybody:
            await house.say(one)
            await house.pass_time(30)
        assert await house.store.read(find_troubles) == {}


async def test_a_success_between_begins_the_time_anew(house: House) -> None:
    """One message fails each time, as if its recipient were the reason; others to other people do not."""
    ann, *others = await people(house, 12)
    house.carrier.script(ann.identifier, *[UNREACHABLE] * 50)
    async with house.working():
        await house.say(ann)
        for other in others:
            await house.say(other)
            await house.pass_time(50)
            assert house.messages.health.down() == frozenset()
    assert len(house.carrier.bodies(ann.identifier)) > 4
    assert await house.events() == []


async def test_one_message_that_always_ends_unknown_is_no_outage_but_several_are(house: House) -> None:
    """It may be the message: one that breaks the carrier's server each time, for example."""
    service = await house.service(settings='{"on_uncertain": "resend"}')
    ann, ben, cat = [(await house.pair(service))[1] for _ in range(3)]
    house.carrier.always(UNCERTAIN)
    async with house.working():
        await house.say(ann)
        await house.quiet()
        for wait in (1, 5, 15, 60, 300):
            await house.pass_time(wait)
        assert house.messages.health.down() == frozenset()
        for one in (ben, cat):
            await house.say(one)
            await house.pass_time(61)
        assert house.messages.health.down() == {"scripted"}


async def test_zero_is_never(house: House) -> None:
    watched(house, 0)
    (ann,) = await people(house, 1)
    house.carrier.always(UNREACHABLE)
    async with house.working():
        await house.say(ann)
        for wait in (0, 1, 5, 15, 60, 300, 300):
            await house.pass_time(wait)
        assert len(house.carrier.sent) == 7
    assert await house.store.read(find_troubles) == {}


async def test_refused_credentials_in_an_outage_are_told_too(house: House) -> None:
    (ann,) = await people(house, 1)
    async with house.working():
        await wear_out(house, ann)
        house.carrier.always(MISCONFIGURED)
        await house.pass_time(60)
        await house.pass_time(300)
        assert await house.events() == [DOWN, PAUSED]
        house.carrier.mend()
        await house.pass_time(60)
        assert await house.events() == [DOWN, PAUSED, RESUMED]


async def test_a_start_tries_it_at_once_perhaps_with_other_settings(house: House) -> None:
    ann, ben = await people(house, 2)
    async with house.working():
        await wear_out(house, ann)
        await house.say(ben)
    house.carrier.mend()
    watched(house)
    async with house.working():
        assert await house.status(await house.one("SELECT max(sid) FROM interactions")) == "sent"
    assert await house.events() == [DOWN, RESUMED]


@asynccontextmanager
async def another(house: House) -> AsyncIterator[House]:
    """A second process on the same database, with its own connections to the carrier, which fails there, too."""
    other = watched(House(house.store, house.clock, carrier=ScriptedCarrier()))
    other.carrier.always(UNREACHABLE)
    other.mint = house.mint
    async with other.working():
        yield other


async def test_another_process_learns_that_it_is_down_and_that_it_works(house: House) -> None:
    ann, ben = await people(house, 2)
    async with house.working():
        await wear_out(house, ann)
        async with another(house) as other:
            assert other.messages.health.down() == {"scripted"}
            await house.say(ben)
            await house.pass_time(30)
            tried = len(house.carrier.sent) + len(other.carrier.sent)
            for minute in range(1, 4):  # one in all, whoever does it
                await house.pass_time(60)
                assert len(house.carrier.sent) + len(other.carrier.sent) == tried + minute
            house.carrier.mend()
            other.carrier.mend()
            await house.pass_time(60)
            for one in (house, other):
                await one.messages.health.refresh()
            assert house.messages.health.down() == other.messages.health.down() == frozenset()
    assert await house.events() == [DOWN, RESUMED]


async def test_where_another_process_succeeds_the_account_is_not_down(house: House) -> None:
    """Its own way to the carrier is broken, and not the carrier."""
    everybody = await people(house, 30)
    health = [watched(House(house.store, house.clock)).messages.health for _ in range(2)]
    for one in everybody:
        await health[0].failed("scripted", one.sid, one.sid, uncertain=False)
        house.clock.advance(3)
        await health[1].worked("scripted")
        for each in health:
            await each.refresh()
    assert await house.store.read(find_troubles) == {}
    for one in everybody:
        await health[0].failed("scripted", one.sid, one.sid, uncertain=False)
        house.clock.advance(3)
        for each in health:
            await each.refresh()
    assert health[0].down() == health[1].down() == {"scripted"}


async def test_a_failure_is_written_once_a_second_at_most(house: House, clock: FakeClock) -> None:
    health = house.messages.health
    for i in range(100):
        await health.failed("scripted", "AC1", f"SM{i}", uncertain=False)
    clock.advance(1)
    for i in range(100):
        await health.failed("scripted", "AC1", f"SN{i}", uncertain=True)
    (trouble,) = (await house.store.read(find_troubles)).values()
    assert trouble.failures == 2
    assert trouble.failed_at - trouble.failing_since == SECOND


async def test_what_is_known_here_is_not_undone_by_a_look_before_it_is_stored(house: House) -> None:
    health = house.messages.health
    async with held_writer(house.store):
        refusing = asyncio.create_task(health.refused("scripted", "AC1"))
        await turns()
        await health.refresh()
        assert health.down() == {"scripted"}
    await refusing
    await health.refresh()
    assert health.down() == {"scripted"}
