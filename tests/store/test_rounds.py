"""How the writer works: what waits together is committed together, in the turns' order; nobody waits for a timer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.store.accept import accept_messages
from maskline.store.engine import MOST_ITEMS, MOST_WAITING, Batched, Store, StoreUnavailable, Turn, Tx, Wake
from maskline.store.sqlite import SqliteStore
from maskline.store.start import StartRequest, start_sends
from tests.support.clock import FakeClock
from tests.support.house import House, held_writer, locked_out
from tests.support.until import turns, until


class Log:
    """Hot functions that write down when they were run, and with how much."""

    def __init__(self) -> None:
        self.runs: list[tuple[Turn, int]] = []
        self.started = 0
        self.oldest_us = 0

    def function(self, turn: Turn) -> Batched[int, int]:
        def run(tx: Tx, items: list[int]) -> list[int | Exception]:
            self.runs.append((turn, len(items)))
            if turn is Turn.START:
                tx.started, tx.oldest_us = self.started, self.oldest_us
            return list(items)

        return Batched(turn, run)

    def sizes(self, turn: Turn) -> list[int]:
        return [size for ran, size in self.runs if ran is turn]


@asynccontextmanager
async def commits(store: SqliteStore) -> AsyncIterator[list[str]]:
    """The COMMITs of the writer's connection meanwhile, as SQLite itself tells them."""
    seen: list[str] = []

    def trace(tx: Tx) -> None:
        connection = tx.execute.__self__  # type: ignore[attr-defined]
        connection.set_trace_callback(lambda sql: seen.append(sql) if sql.startswith("COMMIT") else None)

    def untrace(tx: Tx) -> None:
        tx.execute.__self__.set_trace_callback(None)  # type: ignore[attr-defined]

    await store.write(trace)
    seen.clear()
    yield seen
    counted = len(seen)
    await store.write(untrace)
    del seen[counted:]


# One commit for what waits together


async def test_what_waits_together_is_committed_together(store: SqliteStore) -> None:
    log = Log()
    functions = [log.function(turn) for turn in (Turn.ACCEPT, Turn.RECEIVE, Turn.OUTCOME)]
    async with held_writer(store):
        tasks = [asyncio.create_task(store.batch(functions[i % 3], i)) for i in range(90)]
        tasks += [asyncio.create_task(store.write(lambda tx, i=i: i)) for i in range(90, 120)]
    assert await asyncio.gather(*tasks) == list(range(120))
    assert sorted(log.runs) == sorted((turn, 30) for turn in (Turn.ACCEPT, Turn.RECEIVE, Turn.OUTCOME))


@pytest.mark.engine("sqlite")
async def test_a_hundred_messages_at_once_cost_one_commit(house: House) -> None:
    _, ann, _ = await house.pair()
    async with commits(house.store) as seen:
        await asyncio.gather(*(house.store.batch(accept_messages, house.message(ann)) for _ in range(100)))
    assert len(seen) == 1
    assert await house.outbox() == 100


@pytest.mark.engine("sqlite")
async def test_a_lone_message_is_committed_at_once(house: House) -> None:
    """There is no timer that would collect more: one alone costs one commit, and the clock stands still."""
    _, ann, _ = await house.pair()
    for _ in range(10):
        async with commits(house.store) as seen:
            await house.store.batch(accept_messages, house.message(ann))
        assert len(seen) == 1


@pytest.mark.engine("sqlite")
async def test_nobody_is_answered_before_the_commit(store: SqliteStore) -> None:
    log = Log()
    function = log.function(Turn.ACCEPT)
    async with commits(store) as seen:
        answered = asyncio.create_task(store.batch(function, 1))
        answered.add_done_callback(lambda _: seen.append("answered"))
        await answered
        await turns(2)
    assert seen == ["COMMIT", "answered"]


async def test_a_round_that_cannot_be_committed_answers_nobody_with_success(store: SqliteStore) -> None:
    log = Log()
    function = log.function(Turn.ACCEPT)
    async with locked_out(store):
        answers = await asyncio.gather(
            *(store.batch(function, i) for i in range(5)),
            store.write(lambda tx: 1),
            return_exceptions=True,
        )
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 6
    assert await store.batch(function, 7) == 7


# Turns


async def test_a_round_serves_outcomes_starts_receives_writes_and_accepts_in_that_order(
    store: SqliteStore,
) -> None:
    log = Log()
    functions = {turn: log.function(turn) for turn in Turn if turn is not Turn.WRITE}
    async with held_writer(store):
        tasks = [asyncio.create_task(store.batch(functions[turn], 0)) for turn in reversed(functions)]
        tasks.insert(2, asyncio.create_task(store.write(lambda tx: log.runs.append((Turn.WRITE, 1)) or 0)))
        await turns(3)
    await asyncio.gather(*tasks)
    assert [turn for turn, _ in log.runs] == [Turn.OUTCOME, Turn.START, Turn.RECEIVE, Turn.WRITE, Turn.ACCEPT]


async def test_items_are_run_in_the_order_in_which_they_were_handed_in(store: SqliteStore) -> None:
    seen: list[int] = []

    def run(tx: Tx, items: list[int]) -> list[int | Exception]:
        seen.extend(items)
        return list(items)

    function = Batched(Turn.ACCEPT, run)
    async with held_writer(store):
        tasks = [asyncio.create_task(store.batch(function, i)) for i in range(600)]
    await asyncio.gather(*tasks)
    assert seen == list(range(600))


async def test_at_most_256_items_of_a_function_are_in_one_round(store: SqliteStore) -> None:
    assert MOST_ITEMS == 256
    for turn in (Turn.ACCEPT, Turn.RECEIVE, Turn.OUTCOME):
        log = Log()
        function = log.function(turn)
        async with held_writer(store):
            tasks = [asyncio.create_task(store.batch(function, i)) for i in range(600)]
        assert await asyncio.gather(*tasks) == list(range(600))
        assert log.sizes(turn) == [256, 256, 88]


async def test_what_comes_later_does_not_wait_for_a_long_queue_of_accepts(store: SqliteStore) -> None:
    """An outcome that is handed in behind 1,000 accepts is stored with the first of them."""
    log = Log()
    accept, record = log.function(Turn.ACCEPT), log.function(Turn.OUTCOME)
    async with held_writer(store):
        tasks = [asyncio.create_task(store.batch(accept, i)) for i in range(1000)]
        tasks.append(asyncio.create_task(store.batch(record, 1)))
    await asyncio.gather(*tasks)
    assert log.runs[0] == (Turn.OUTCOME, 1)
    assert len(log.runs) == 1 + 4


# Slowing what comes in


async def accept_sizes(store: SqliteStore, clock: FakeClock, log: Log, many: int = 100) -> list[int]:
    """How many accepts each of the next rounds takes of so many that wait, while time passes."""
    log.runs.clear()
    accept = log.function(Turn.ACCEPT)
    async with held_writer(store):
        tasks = [asyncio.create_task(store.batch(accept, i)) for i in range(many)]
    waiting = asyncio.gather(*tasks)
    while not waiting.done():
        clock.advance(0.01)
        await asyncio.wait({waiting}, timeout=0.01)
    return log.sizes(Turn.ACCEPT)


@pytest.mark.parametrize(
    ("busy", "started", "oldest_ms", "sizes"),
    [
        (1.0, 40, 501, [24, 16, 16]),
        (1.0, 0, 501, [16, 16, 16]),
        (1.0, 40, 500, [48, 16, 16]),
        (1.0, 300, 5000, [100]),
        (0.3, 40, 5000, [100]),
    ],
)
async def test_a_busy_server_accepts_about_as_much_as_it_sends(
    store: SqliteStore, clock: FakeClock, busy: float, started: int, oldest_ms: int, sizes: list[int]
) -> None:
    """Less when sending falls behind. While the processor has time, behind a slow carrier, everything is accepted."""
    log = Log()
    clock.busy = busy
    clock.advance(1)
    log.started, log.oldest_us = started, oldest_ms * 1000
    await store.batch(log.function(Turn.START), 0)
    assert (await accept_sizes(store, clock, log))[:3] == sizes


async def test_the_few_that_are_accepted_all_the_same_are_so_each_200_ms(
    store: SqliteStore, clock: FakeClock
) -> None:
    log = Log()
    clock.busy = 1.0
    clock.advance(1)
    log.oldest_us = 10**6
    await store.batch(log.function(Turn.START), 0)
    before = clock.uptime()
    assert await accept_sizes(store, clock, log, 64) == [16] * 4
    assert clock.uptime() - before >= 3 * 0.2


async def test_a_busy_server_whose_worker_says_nothing_accepts_everything(
    store: SqliteStore, clock: FakeClock
) -> None:
    """All slots wait for a carrier: there is nothing to be gained by turning callers away."""
    log = Log()
    clock.busy = 1.0
    log.started, log.oldest_us = 1, 10**6
    await store.batch(log.function(Turn.START), 0)
    clock.advance(2)
    assert await accept_sizes(store, clock, log) == [100]


async def test_accepts_grow_again_when_sending_has_caught_up(store: SqliteStore, clock: FakeClock) -> None:
    log = Log()
    clock.busy = 1.0
    clock.advance(1)
    start = log.function(Turn.START)
    log.started, log.oldest_us = 20, 10**6
    await store.batch(start, 0)
    assert (await accept_sizes(store, clock, log))[0] == 12
    log.started, log.oldest_us = 20, 0
    await store.batch(start, 0)
    assert (await accept_sizes(store, clock, log))[0] == 24


async def test_a_process_without_a_worker_never_shrinks(house: House) -> None:
    _, ann, _ = await house.pair()
    await house.say(ann)
    house.clock.busy = 1.0
    house.clock.advance(3600)
    assert await accept_sizes(house.store, house.clock, Log()) == [100]


async def test_messages_that_wait_for_a_slot_shrink_the_accepts(house: House) -> None:
    """The real start says how old the oldest is that could be sent, were there a slot."""
    service = await house.service()
    people = [one for _ in range(30) for one in (await house.pair(service))[1:]]
    for one in people:
        await house.say(one)
    house.clock.busy = 1.0
    house.clock.advance(0.6)

    async def start(slots: int) -> int:
        request = StartRequest(run="RN", free={house.carrier.name: slots}, event_sids=[])
        return len((await house.store.batch(start_sends, request)).started)

    assert await start(20) == 20
    assert (await accept_sizes(house.store, house.clock, Log()))[0] == 12
    assert await start(64) == 40
    assert (await accept_sizes(house.store, house.clock, Log()))[0] == 48


async def test_messages_that_are_held_or_due_later_do_not_shrink_the_accepts(house: House) -> None:
    """A long queue behind one handset, or at a paused carrier, is no reason to slow everybody."""
    _, ann, _ = await house.pair()
    for _ in range(100):
        await house.say(ann)
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        await house.pass_time(60)
        await house.say((await house.pair())[1])
        await house.quiet()
        house.clock.busy = 1.0
        assert await accept_sizes(house.store, house.clock, Log()) == [100]
        gate.release()


# Too much


async def test_with_2000_waiting_one_more_is_refused_and_nothing_of_it_is_stored(house: House) -> None:
    assert MOST_WAITING == 2000
    _, ann, _ = await house.pair()
    async with held_writer(house.store):
        tasks = [
            asyncio.create_task(house.store.batch(accept_messages, house.message(ann)))
            for _ in range(MOST_WAITING)
        ]
        await turns(3)
        assert house.store.overloaded()
        with pytest.raises(Problem) as caught:
            await house.store.batch(accept_messages, house.message(ann))
        assert caught.value.code is problems.UNAVAILABLE
        assert caught.value.status == 503
        assert int((caught.value.headers or {})["Retry-After"]) >= 1
    await asyncio.gather(*tasks)
    assert not house.store.overloaded()
    assert await house.outbox() == MOST_WAITING
    await house.say(ann)


async def test_what_comes_in_by_other_doors_is_not_refused_then(house: House) -> None:
    """A carrier's webhook is taken, and outcomes are recorded, however many accepts wait."""
    _, ann, _ = await house.pair()
    log = Log()
    accept, record = log.function(Turn.ACCEPT), log.function(Turn.OUTCOME)
    async with held_writer(house.store):
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(house.store.batch(accept, i)) for i in range(MOST_WAITING)
        ]
        await turns(3)
        tasks.append(asyncio.create_task(house.hear(ann)))
        tasks.append(asyncio.create_task(house.store.batch(record, 1)))
        tasks.append(asyncio.create_task(house.store.write(lambda tx: 1)))
        await turns(3)
    assert len(await asyncio.gather(*tasks)) == MOST_WAITING + 3


async def test_waiting_requests_whose_callers_have_gone_do_not_count_for_ever(house: House) -> None:
    """A client hangs up while its message waits: the message is stored, and its place in the queue is free again."""
    _, ann, _ = await house.pair()
    async with held_writer(house.store):
        tasks = [
            asyncio.create_task(house.store.batch(accept_messages, house.message(ann))) for _ in range(500)
        ]
        await turns(3)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for _ in range(3):  # a round takes 256 of them at most
        await house.store.write(lambda tx: None)
    assert await house.outbox() == 500
    async with held_writer(house.store):
        tasks = [
            asyncio.create_task(house.store.batch(accept_messages, house.message(ann))) for _ in range(1999)
        ]
        await turns(3)
        assert not house.store.overloaded()
    await asyncio.gather(*tasks)


# Waking


async def test_everybody_who_wants_it_is_woken(store: Store) -> None:
    def ask(tx: Tx) -> None:
        tx.wake |= Wake.ASKS

    events = [store.subscribe(wake) for wake in (Wake.ASKS, Wake.ASKS, Wake.SENDS)]
    await store.write(ask)
    await until(events[1].is_set)
    assert [event.is_set() for event in events] == [True, True, False]


async def test_workers_are_woken_by_what_they_can_send_and_by_nothing_else(house: House) -> None:
    _, ann, _ = await house.pair()
    event = house.store.subscribe(Wake.SENDS)
    await house.fetch(await house.session(await house.service()))
    assert not event.is_set()
    await house.say(ann)
    await turns(2)
    assert event.is_set()
