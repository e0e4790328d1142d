"""Where several processes have one database: who waits for what another does, and clocks that differ."""

import asyncio

import pytest

from maskline.domain.interaction import MessageStatus
from maskline.domain.model import SECOND, Interaction, Participant
from maskline.flows.waiting import LOOK_S
from maskline.store.engine import Store
from maskline.store.record import Fate, record_outcomes
from maskline.store.send_rows import Started
from maskline.store.start import StartRequest, start_sends
from tests.support.carrier import THROTTLED
from tests.support.clock import FakeClock
from tests.support.house import House
from tests.support.until import until

pytestmark = pytest.mark.engine("postgres")

OTHER = "RN" + "2" * 32
QUEUED, SENT = MessageStatus.QUEUED, MessageStatus.SENT


@pytest.fixture
def house(store: Store, clock: FakeClock) -> House:
    """One whose POST waits for longer than any test."""
    return House(store, clock, wait_s=60)


class Asked:
    """A create that waits."""

    def __init__(self, house: House, person: Participant) -> None:
        self.house = house
        self.answer = asyncio.create_task(house.say(person))

    async def looks(self) -> None:
        """Two looks: at the first it has not waited for long enough."""
        for _ in range(2):
            await self.house.pass_time(LOOK_S)

    async def status(self) -> int:
        message: Interaction = await asyncio.wait_for(self.answer, 10)
        assert message.outbound is not None
        return message.outbound.status


async def start_there(house: House, slots: int = 64) -> list[Started]:
    free = {house.carrier.name: slots, "another": 1}
    request = StartRequest(OTHER, free, [house.mint.sid("NO") for _ in range(8)])
    return (await house.store.batch(start_sends, request)).started


async def record_there(house: House, row: Started, fate: Fate) -> None:
    await house.store.batch(record_outcomes, house.outcome(row, OTHER, fate))


@pytest.mark.parametrize(("fate", "status"), [(Fate.SENT, SENT), (Fate.RETRY, QUEUED)])
async def test_it_hears_of_what_another_process_records(house: House, fate: Fate, status: int) -> None:
    _, ann, _ = await house.pair()
    asked = Asked(house, ann)
    await house.quiet()
    (row,) = await start_there(house)
    await asked.looks()
    assert not asked.answer.done()  # it is being handed over
    await record_there(house, row, fate)
    await asked.looks()
    assert await asked.status() == status


async def test_it_hears_that_another_process_has_no_slot_for_it(house: House) -> None:
    _, ann, _ = await house.pair()
    asked = Asked(house, ann)
    await house.quiet()
    await asked.looks()
    assert not asked.answer.done()
    assert await start_there(house, slots=0) == []
    await asked.looks()
    assert await asked.status() == QUEUED


async def test_nobody_looks_for_what_this_process_hands_over(house: House) -> None:
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        asked = Asked(house, ann)
        await until(lambda: house.carrier.sent)
        # As if another had it: of that it would hear.
        await house.store.write(
            lambda tx: (
                tx.execute("UPDATE interactions SET outbound_status = ?", (int(MessageStatus.FAILED),))
                and None
            )
        )
        await asked.looks()
        assert not asked.answer.done()
        gate.release()
        await asked.status()


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
async def test_a_clock_that_is_an_hour_off_delays_nothing(
    store: Store, clock: FakeClock, ahead_s: int
) -> None:
    """What is due is so by the database's time, and until then nobody looks all the time."""
    house = House(store, FakeClock(clock.now() + ahead_s * SECOND))
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, THROTTLED)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        assert await house.status(message) == "queued"
        for one in (clock, house.clock):
            one.advance(60)
        await house.quiet()
    assert await house.status(message) == "sent"
