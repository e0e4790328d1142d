"""So many messages of an account are under way at a time, and what one leaves the next takes at once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from maskline.metrics import ROUND_SECONDS, Histogram
from maskline.store.engine import StoreRefused
from maskline.store.record import Fate, Outcome, record_outcomes
from maskline.store.start import StartRequest, Starts, start_sends
from tests.support.house import House, held_writer
from tests.support.until import turns, until

RUN = "RN-of-its-own"


def rounds(house: House) -> int:
    """How many the writer has committed."""
    (took,) = [value for metric, _, value in house.store.measures() if metric is ROUND_SECONDS]
    assert isinstance(took, Histogram)
    return sum(took.counts)


async def start(house: House, free: int, **fields: Any) -> Starts:
    return await house.store.batch(start_sends, StartRequest(RUN, {house.carrier.name: free}, [], **fields))


async def outcomes(house: House, started: int, waiting: int) -> list[Outcome]:
    """The outcomes of so many that are under way, while so many more wait."""
    service = await house.service(4)
    people = [person for _ in range(started + waiting) for person in (await house.pair(service))[1:2]]
    for person in people:
        await house.say(person)
    rows = (await start(house, started)).started
    assert len(rows) == started
    return [house.outcome(row, RUN, Fate.SENT, slot_of=row.carrier_account) for row in rows]


async def in_one_round(house: House, items: list[Outcome], **fields: Any) -> list[Any]:
    """What each outcome gets, and at last how many were started where no slot was free before."""
    async with held_writer(house.store):
        recording = [asyncio.create_task(house.store.batch(record_outcomes, item)) for item in items]
        starting = asyncio.create_task(start(house, 0, **fields))
        await turns()
    answers: list[Any] = await asyncio.gather(*recording, return_exceptions=True)
    return [*answers, len((await starting).started)]


async def test_at_most_64_messages_of_an_account_are_in_flight(house: House) -> None:
    service = await house.service(2)
    people = [person for _ in range(50) for person in (await house.pair(service))[1:]]
    gates = [house.carrier.gate(person.identifier) for person in people]
    async with house.working():
        for person in people:
            await house.say(person)
        await house.quiet()
        assert house.carrier.in_flight == 64
        gates[0].release()
        await house.quiet()
        assert house.carrier.in_flight == 64
        assert len(house.carrier.sent) == 65
        for gate in gates:
            gate.release()
        await house.quiet()
    assert house.carrier.most_in_flight == 64
    assert await house.statuses() == ["sent"] * 100


async def test_a_slot_is_free_again_only_when_the_outcome_is_stored(house: House) -> None:
    service = await house.service()
    (_, ann, _), (_, ben, _) = await house.pair(service), await house.pair(service)
    gate = house.carrier.gate(ann.identifier)
    async with house.working(slots=1):
        await house.say(ann)
        await house.say(ben)
        await house.quiet()
        async with held_writer(house.store):
            gate.release()
            await turns(50)
            assert house.carrier.bodies(ben.identifier) == []
        await house.quiet()
        assert house.carrier.bodies(ben.identifier) == ["hello there"]


async def test_a_number_with_a_long_queue_does_not_hold_up_another(house: House) -> None:
    """A hundred people behind one number, one behind another; with few slots, the one is soon served."""
    crowd, few = await house.service(), await house.service()
    for _ in range(50):
        for person in (await house.pair(crowd))[1:]:
            await house.say(person)
    _, ann, _ = await house.pair(few)
    async with house.working(slots=4):
        await house.say(ann)
        await house.quiet()
    assert await house.statuses() == ["sent"] * 101


# Within one round of the writer


async def test_a_slot_is_taken_in_the_round_that_frees_it(house: House) -> None:
    service = await house.service()
    (_, ann, _), (_, ben, _) = await house.pair(service), await house.pair(service)
    for_ann, for_ben = house.carrier.gate(ann.identifier), house.carrier.gate(ben.identifier)
    async with house.working(slots=1):
        await house.say(ann)
        await house.say(ben)
        await house.quiet()
        before = rounds(house)
        async with held_writer(house.store):
            for_ann.release()
            await turns(50)
            assert house.carrier.in_flight == 0
        await until(lambda: house.carrier.in_flight)
        assert rounds(house) - before == 2  # that which was held, and this
        for_ben.release()
        await house.quiet()
    assert house.carrier.most_in_flight == 1
    assert await house.statuses() == ["sent"] * 2


async def test_as_many_are_started_as_outcomes_are_stored(house: House) -> None:
    items = await outcomes(house, started=5, waiting=5)
    assert (await in_one_round(house, items[:3]))[-1] == 3
    assert (await in_one_round(house, items[2:3]))[-1] == 0, "one that was ended before"
    assert (await in_one_round(house, items[3:], down=frozenset([house.carrier.name])))[-1] == 0


async def test_an_outcome_that_is_not_stored_leaves_no_slot(house: House) -> None:
    """The round is run again, the outcomes each for itself, and those that are stored free a slot once."""
    good, bad, better = await outcomes(house, started=3, waiting=6)
    *answers, started = await in_one_round(house, [good, replace(bad, carrier_id=object()), better])  # type: ignore[arg-type]
    assert isinstance(answers[1], StoreRefused)
    assert started == 2


@pytest.mark.parametrize(("run", "account"), [("RN-another", None), (RUN, "another"), (RUN, "")])
async def test_only_the_own_slots_of_the_same_account_are_taken(
    house: House, run: str, account: str | None
) -> None:
    (item,) = await outcomes(house, started=1, waiting=1)
    there = house.carrier.name if account is None else account
    assert (await in_one_round(house, [replace(item, run=run, slot_of=there)]))[-1] == 0
