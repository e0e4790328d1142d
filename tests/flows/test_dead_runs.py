"""Runs of the server beside this one, as others on a PostgreSQL server are: one that dies is found and settled."""

import pytest

from maskline.domain.model import Interaction
from maskline.store.engine import Tx
from maskline.store.meta import put_meta
from maskline.store.runs import KEPT_US, LIFE_US
from maskline.store.start import StartRequest, start_sends
from maskline.worker import SWEEP_S
from tests.support.house import VALIDITY_S, House

OTHER = "RN" + "2" * 32
LIFE_S = LIFE_US / 1_000_000


async def beat(house: House, run: str = OTHER, ahead_us: int = 0) -> None:
    """The other run says that it lives, and will for so long."""

    def enter(tx: Tx) -> None:
        tx.execute(
            "INSERT INTO runs (id, seen_at, round) VALUES (?, ?, 1)"
            " ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
            (run, tx.now + ahead_us),
        )

    await house.store.write(enter)


async def start_there(house: House, run: str = OTHER) -> None:
    """The other run starts all that is due."""
    await beat(house, run)
    request = StartRequest(run, {house.carrier.name: 64}, [house.mint.sid("NO") for _ in range(8)])
    assert (await house.store.batch(start_sends, request)).started


async def sweeps(house: House, *messages: Interaction) -> None:
    """Let the sweep go on until it has come to these."""
    for _ in range(40):
        if "queued" not in [await house.status(message) for message in messages]:
            return
        await house.pass_time(SWEEP_S)
    raise AssertionError("nobody judges")


async def test_what_a_living_run_has_started_is_left_to_it(house: House) -> None:
    _, ann, _ = await house.pair()
    message = await house.say(ann)
    await start_there(house)
    async with house.working():
        for _ in range(10):
            await house.pass_time(SWEEP_S)
            await beat(house)
    assert await house.status(message) == "queued"
    assert await house.events() == []


async def test_what_a_dead_run_had_started_is_judged_and_the_rest_goes_on(house: House) -> None:
    _, ann, _ = await house.pair()
    first, second = await house.say(ann, "1"), await house.say(ann, "2")
    await start_there(house)
    async with house.working():
        await house.pass_time(LIFE_S - 1)
        assert await house.status(first) == "queued"
        await sweeps(house, first, second)
    assert await house.status(first) == "delivery-unknown"
    assert await house.status(second) == "sent"
    assert house.carrier.bodies(ann.identifier) == ["2"]
    assert await house.events() == [49001]


async def test_what_a_dead_run_had_started_leaves_no_slot_of_this_one(house: House) -> None:
    service = await house.service(4)
    people = [person for _ in range(4) for person in (await house.pair(service))[1:]]
    left = [await house.say(person) for person in people[:4]]
    await start_there(house)
    gates = [house.carrier.gate(person.identifier) for person in people[4:]]
    async with house.working(slots=1):
        for person in people[4:]:
            await house.say(person)
        await house.quiet()
        await sweeps(house, *left)
        await house.quiet()
        assert house.carrier.in_flight == 1
        for gate in gates:
            gate.release()
        await house.quiet()
    assert house.carrier.most_in_flight == 1
    assert await house.statuses() == ["delivery-unknown"] * 4 + ["sent"] * 4


async def test_a_run_that_ended_in_order_is_not_waited_for(house: House) -> None:
    _, ann, _ = await house.pair()
    message = await house.say(ann)
    await start_there(house)
    await house.store.write(lambda tx: tx.execute("UPDATE runs SET seen_at = 0").rowcount)
    async with house.working():
        await house.quiet()
        assert await house.status(message) == "delivery-unknown"
    assert await house.rows("SELECT 1 FROM runs WHERE id = ?", OTHER) == []


async def test_after_a_time_in_which_all_had_to_wait_the_living_are_heard_first(house: House) -> None:
    """Nobody could write for long. Whoever looks first finds all the others silent."""
    _, ann, _ = await house.pair()
    message = await house.say(ann)
    await start_there(house)
    async with house.working():
        await house.pass_time(20 * LIFE_S)
        await beat(house)
        for _ in range(3):
            await house.pass_time(SWEEP_S)
            await beat(house)
    assert await house.status(message) == "queued"


@pytest.mark.parametrize("resend", [False, True])
async def test_a_run_that_comes_back_has_nothing_left_to_say_but_what_it_knows(
    house: House, resend: bool
) -> None:
    """It was frozen, and its rows are another's. A late outcome is merged; who owns the row is not changed by it."""
    settings = '{"on_uncertain": "resend"}' if resend else "{}"
    _, ann, _ = await house.pair(await house.service(settings=settings))
    message = await house.say(ann)
    await beat(house)
    request = StartRequest(OTHER, {house.carrier.name: 64}, [])
    mark = house.clock.uptime()
    (row,) = (await house.store.batch(start_sends, request)).started
    async with house.working():
        await sweeps(house, message)
        assert await house.status(message) == ("sent" if resend else "delivery-unknown")
        outcome = await house.messages.hand_over(row, mark)
        await house.messages.record(outcome, OTHER)
        await house.quiet()
    assert len(house.carrier.sent) == int(resend)
    assert await house.outbox() == 0


async def test_one_run_sweeps_until_it_is_dead(house: House) -> None:
    """While another one sweeps, what is past its validity is that one's to fail."""
    await beat(house, ahead_us=house.options.validity_us)
    await house.store.write(put_meta, "sweeper", OTHER)
    _, ann, _ = await house.pair()
    house.messages.carriers = {}
    message = await house.say(ann)
    async with house.working():
        await house.pass_time(VALIDITY_S)
        await house.pass_time(SWEEP_S)
        assert await house.status(message) == "queued"
        await sweeps(house, message)
    assert await house.status(message) == "failed"


async def test_runs_are_forgotten_after_a_day(house: House) -> None:
    await beat(house)
    async with house.working():
        for seconds in (SWEEP_S, KEPT_US / 1_000_000 - 60, SWEEP_S):
            await house.pass_time(seconds)
        assert await house.rows("SELECT 1 FROM runs WHERE id = ?", OTHER) == [(1,)]
        await house.pass_time(120)
        for _ in range(3):
            await house.pass_time(SWEEP_S)
    assert await house.rows("SELECT 1 FROM runs WHERE id = ?", OTHER) == []
