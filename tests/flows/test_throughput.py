"""Numbers and carrier accounts have rates: what is beyond them waits, and goes in the right order in its turn."""

from typing import Any

import pytest

from maskline.carriers.base import Options
from maskline.domain.model import SECOND
from maskline.store.engine import Store, Tx
from maskline.store.numbers import find_number, set_gap
from maskline.store.start import StartRequest, start_sends
from maskline.worker import Worker
from tests.support.carrier import THROTTLED, UNCERTAIN
from tests.support.clock import FakeClock
from tests.support.house import House


def limited(house: House, **options: Any) -> None:
    """The account has such options."""
    made = house.new_worker

    def new_worker(**said: Any) -> Worker:
        worker = made(**said)
        worker._throughput = {house.carrier.name: Options(**options).throughput}
        return worker

    house.new_worker = new_worker  # type: ignore[method-assign]


async def crowd(house: House, count: int, numbers: int = 1) -> list[Any]:
    """People of one Service, each in a Session of their own, over its numbers."""
    service = await house.service(numbers)
    return [(await house.pair(service))[1] for _ in range(count)]


async def pace(house: House, seconds: int) -> list[int]:
    """How many had been handed over at the end of each second, from now on."""
    counts = [len(house.carrier.sent)]
    for _ in range(seconds):
        await house.pass_time(1)
        counts.append(len(house.carrier.sent))
    return counts


async def test_a_number_sends_no_faster_than_its_account_lets_it(house: House) -> None:
    limited(house, number_messages_per_second=2)
    people = await crowd(house, 8)
    async with house.working():
        for one in people:
            await house.say(one)
        await house.quiet()
        assert await pace(house, 3) == [2, 4, 6, 8]
    assert await house.statuses() == ["sent"] * 8
    assert await house.outbox() == 0


async def test_a_numbers_own_rate_goes_before_its_accounts(house: House) -> None:
    limited(house, number_messages_per_second=1)
    (ann,), (ben,) = await crowd(house, 1), await crowd(house, 1)

    def change(tx: Tx) -> None:
        number = find_number(tx, ann.proxy_identifier)
        assert number is not None
        set_gap(tx, number, SECOND // 3)

    await house.store.write(change)
    async with house.working():
        for i in range(3):
            await house.say(ann, f"{i}")
            await house.say(ben, f"{i}")
        await house.quiet()
        assert len(house.carrier.bodies(ann.identifier)) == 3
        assert len(house.carrier.bodies(ben.identifier)) == 1
        await pace(house, 2)
    assert await house.statuses() == ["sent"] * 6


async def test_an_account_sends_no_faster_over_all_its_numbers(house: House) -> None:
    limited(house, messages_per_second=4)
    people = [one for _ in range(3) for one in await crowd(house, 4)]
    async with house.working():
        for one in people:
            await house.say(one)
        await house.quiet()
        assert await pace(house, 2) == [4, 8, 12]
    assert await house.statuses() == ["sent"] * 12


async def test_a_window_lets_so_many_go_at_once_after_a_pause(house: House) -> None:
    limited(house, number_messages_per_second=1, window_s=5)
    people = await crowd(house, 8)
    async with house.working():
        for one in people:
            await house.say(one)
        await house.quiet()
        assert await pace(house, 3) == [5, 6, 7, 8]


async def test_less_than_one_a_second(house: House) -> None:
    limited(house, number_messages_per_second=0.25)
    people = await crowd(house, 3)
    async with house.working():
        for one in people:
            await house.say(one)
        await house.quiet()
        assert await pace(house, 8) == [1, 1, 1, 1, 2, 2, 2, 2, 3]


async def test_another_number_does_not_wait(house: House) -> None:
    limited(house, number_messages_per_second=1)
    slow, quick = await crowd(house, 20), await crowd(house, 1)
    async with house.working():
        for one in [*slow, *quick]:
            await house.say(one)
        await house.quiet()
        assert len(house.carrier.bodies(quick[0].identifier)) == 1
        assert len(house.carrier.sent) == 2


@pytest.mark.parametrize("limit", ["messages_per_second", "number_messages_per_second"])
async def test_all_processes_on_one_database_count_together(house: House, limit: str) -> None:
    throughput = {house.carrier.name: Options(**{limit: 2}).throughput}

    async def start(run: str) -> int:
        sids = [house.mint.sid("NO") for _ in range(8)]
        request = StartRequest(run, {house.carrier.name: 64}, sids, throughput=throughput)
        return len((await house.store.batch(start_sends, request)).started)

    for one in await crowd(house, 5):
        await house.say(one)
    counts = []
    for runs in ("AB", "BA", "AB"):
        counts.append([await start(f"RN{run}") for run in runs])
        house.clock.advance(1)
    assert counts == [[2, 0], [2, 0], [1, 0]]


async def test_what_people_write_goes_before_what_the_api_sends(house: House) -> None:
    limited(house, number_messages_per_second=1)
    service = await house.service()
    people = [(await house.pair(service)) for _ in range(6)]
    async with house.working():
        for _, ann, _ in people[:3]:
            await house.say(ann, "from the API")
        for _, ann, _ in people[3:]:
            await house.hear(ann, body="from a person")
        await house.quiet()
        await pace(house, 5)
    assert [message.body for message in house.carrier.sent] == [
        "from the API",
        *["from a person"] * 3,
        *["from the API"] * 2,
    ]


async def test_to_one_participant_they_stay_in_order(house: House) -> None:
    limited(house, number_messages_per_second=1)
    _, ann, ben = await house.pair()
    async with house.working():
        for i in range(3):
            await house.say(ben, f"API {i}")
            await house.hear(ann, body=f"Ann {i}")
        await house.quiet()
        await pace(house, 5)
    assert house.carrier.bodies(ben.identifier) == ["API 0", "Ann 0", "API 1", "Ann 1", "API 2", "Ann 2"]


async def test_who_asks_for_a_message_waits_for_no_rate(house: House) -> None:
    limited(house, number_messages_per_second=1, window_s=0)
    house.carrier.able(look_up=True)
    ann, ben = await crowd(house, 2)
    house.carrier.script(ann.identifier, UNCERTAIN)
    house.carrier.answers(["theirs"])
    async with house.working():
        await house.say(ann)
        await house.quiet()
        await house.pass_time(1)
        await house.say(ben)
        await house.quiet()
        assert len(house.carrier.sent) == 2
    assert await house.statuses() == ["sent"] * 2


async def test_one_that_is_tried_again_takes_a_turn_again(house: House) -> None:
    limited(house, number_messages_per_second=1)
    ann, ben = await crowd(house, 2)
    house.carrier.script(ann.identifier, THROTTLED)
    async with house.working():
        await house.say(ann)
        await house.say(ben)
        await house.quiet()
        assert await pace(house, 2) == [1, 2, 3]
    assert await house.statuses() == ["sent"] * 2


async def test_what_waits_for_its_turn_is_answered_queued_at_once(store: Store, clock: FakeClock) -> None:
    house = House(store, clock, wait_s=30)
    limited(house, number_messages_per_second=1)
    ann, ben = await crowd(house, 2)
    async with house.working():
        assert (await house.say(ann)).outbound.status == 40  # type: ignore[union-attr]
        assert (await house.say(ben)).outbound.status == 10  # type: ignore[union-attr]


@pytest.mark.parametrize("rate", [None, 1000])
async def test_without_a_rate_or_below_it_nothing_waits(house: House, rate: float | None) -> None:
    limited(house, messages_per_second=rate, number_messages_per_second=rate)
    people = await crowd(house, 30)
    async with house.working():
        for one in people:
            await house.say(one)
        await house.quiet()
        assert len(house.carrier.sent) == 30
    assert await house.one("SELECT count(*) FROM carrier_paces") == (1 if rate else 0)
    assert await house.one("SELECT count(*) FROM numbers WHERE next_free_at > 0") == (1 if rate else 0)
