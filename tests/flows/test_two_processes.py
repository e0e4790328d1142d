"""Two processes on one database that both deliver: what the one has no slot for, and the order that both keep."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from maskline.domain.model import Participant
from maskline.flows import lanes
from maskline.store.engine import Store
from maskline.store.postgres import PostgresStore
from maskline.store.postgres_wakes import FULL_S
from tests.support.clock import FakeClock
from tests.support.house import VAULT, House, held_writer
from tests.support.postgres import PostgresServer
from tests.support.receiver import receiving
from tests.support.until import turns, until

pytestmark = pytest.mark.engine("postgres")


@pytest.fixture
async def other(
    house: House, store: Store, clock: FakeClock, postgres: PostgresServer
) -> AsyncIterator[House]:
    """The other process, whose poll never comes: the clock stands still."""
    opened = PostgresStore(
        postgres.url(), clock, run="RN" + "2" * 32, pseudonym=VAULT.pseudonym, own_time=True
    )
    await opened.open()
    yield House(opened, clock, carrier=house.carrier)
    await opened.close()


async def people(house: House, count: int) -> list[Participant]:
    service = await house.service(2)
    return [(await house.pair(service))[1] for _ in range(count)]


async def test_what_there_was_no_slot_for(house: House, other: House) -> None:
    first, second = await people(house, 2)
    gate = house.carrier.gate(first.identifier)
    async with house.working(slots=1), other.working():
        async with held_writer(house.store):
            together = [asyncio.create_task(house.say(person)) for person in (first, second)]
            await turns()
        await asyncio.gather(*together)
        await until(lambda: house.carrier.bodies(second.identifier))
        assert house.carrier.in_flight == 1
        gate.release()
        await house.quiet()


async def test_what_comes_while_all_slots_are_taken(house: House, other: House) -> None:
    first, *others = await people(house, 4)
    gate = house.carrier.gate(first.identifier)
    async with house.working(slots=1):
        await house.say(first)
        await until(lambda: house.carrier.in_flight)
        async with other.working():
            for person in others:
                await house.say(person)
                await house.pass_time(FULL_S)
                await until(lambda one=person: house.carrier.bodies(one.identifier))
            assert house.carrier.in_flight == 1
            gate.release()
            await house.quiet()


async def test_what_is_to_be_told_while_all_customers_that_are_called_stall(
    house: House, other: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "SLOTS", 1)
    monkeypatch.setattr(lanes, "SPARE", 0)
    async with receiving() as slow, receiving() as quick:
        slow.stalled.clear()
        (_, ann, _), (_, ben, _) = [
            await house.pair(await house.service(callback_url=one.url)) for one in (slow, quick)
        ]
        async with house.working(), other.working():
            await house.say(ann)
            await until(lambda: slow.posts)
            await house.say(ben)
            await house.pass_time(FULL_S)
            await until(lambda: quick.posts)
            assert len(slow.posts) == 1
            slow.stalled.set()
            await house.quiet()


async def test_to_one_participant_they_stay_in_order_whoever_sends(house: House, other: House) -> None:
    (person,) = await people(house, 1)
    async with house.working(), other.working():
        for i in range(20):
            await (house, other)[i % 2].say(person, f"{i}")
            await house.pass_time(FULL_S)
        await house.pass_time(1)
        await other.quiet()
    assert house.carrier.bodies(person.identifier) == [f"{i}" for i in range(20)]
