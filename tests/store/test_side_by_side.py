"""Many processes accept on one database at the same time, and everything else has it to itself."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.store.accept import Accepted, NewMessage, accept_messages
from maskline.store.engine import Batched, Store, Turn, Tx
from maskline.store.idempotency import Key
from maskline.store.postgres import PostgresStore
from maskline.store.start import StartRequest, start_sends
from tests.support.clock import FakeClock
from tests.support.house import VAULT, House
from tests.support.postgres import PostgresServer
from tests.support.until import until

pytestmark = pytest.mark.engine("postgres")

PROCESSES = 3
ROUNDS = 12


@pytest.fixture
async def stores(store: Store, postgres: PostgresServer, clock: FakeClock) -> AsyncIterator[list[Store]]:
    """As many as processes would have, each with its own writer."""
    others = [
        await PostgresStore(
            postgres.url(), clock, run=f"RN{number:032}", pseudonym=VAULT.pseudonym, own_time=True
        ).open()
        for number in range(1, PROCESSES)
    ]
    yield [store, *others]
    closing = asyncio.gather(*(other.close() for other in others))
    while not closing.done():
        clock.advance(1)  # what they still have to tell each other is paced
        await asyncio.wait([closing], timeout=0.01)


@asynccontextmanager
async def within(store: Store, *, side_by_side: bool) -> AsyncIterator[None]:
    """This store is in the middle of a transaction."""
    entered, go = threading.Event(), threading.Event()

    def hold(tx: Tx, items: list[None]) -> list[None]:
        assert tx.now  # who has not looked at anything has not had to wait for the turn yet
        entered.set()
        assert go.wait(30)
        return items

    held: Batched[None, None] = Batched(Turn.ACCEPT, hold, side_by_side=side_by_side)
    holding = asyncio.create_task(store.batch(held, None))
    await until(entered.is_set)
    try:
        yield
    finally:
        go.set()
        await holding


async def is_waiting_for_the_turn(postgres: PostgresServer) -> None:
    def waiting() -> bool:
        with psycopg.connect(postgres.url()) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            ).fetchone()
        return row is not None and row[0] > 0

    await until(waiting)


async def test_two_accept_at_the_same_time(house: House, stores: list[Store]) -> None:
    _, ann, _ = await house.pair()
    async with within(stores[0], side_by_side=True):
        accepted = await stores[1].batch(accept_messages, house.message(ann, "hello"))
        assert not accepted.replayed


@pytest.mark.parametrize("alone_first", [True, False])
async def test_what_needs_the_turn_waits_for_those_and_they_for_it(
    house: House, stores: list[Store], postgres: PostgresServer, alone_first: bool
) -> None:
    _, ann, _ = await house.pair()
    async with within(stores[0], side_by_side=not alone_first):
        if alone_first:
            waiting = asyncio.create_task(stores[1].batch(accept_messages, house.message(ann, "hello")))
        else:
            request = StartRequest(run="RN2", free={house.carrier.name: 1}, event_sids=[])
            waiting = asyncio.create_task(stores[1].batch(start_sends, request))
        await is_waiting_for_the_turn(postgres)
        assert not waiting.done()
    await waiting


async def test_a_session_has_one_line_whoever_accepts(house: House, stores: list[Store]) -> None:
    people = [one for _ in range(4) for one in (await house.pair())[1:]]
    rng = random.Random(5)

    async def talk(store: Store) -> list[NewMessage]:
        said = []
        for number in range(ROUNDS):
            batch = [house.message(rng.choice(people), f"{number}") for _ in range(rng.randint(1, 12))]
            answers = await asyncio.gather(*(store.batch(accept_messages, item) for item in batch))
            assert [answer.sid for answer in answers] == [item.sid for item in batch]
            said += batch
        return said

    said = [item for part in await asyncio.gather(*map(talk, stores)) for item in part]
    rows = await house.rows("SELECT interaction_sid, session_sid, seq, order_key FROM outbox ORDER BY id")
    assert sorted(row[0] for row in rows) == sorted(item.sid for item in said)
    seqs: Counter[str] = Counter()
    for _, session_sid, seq, _ in rows:  # in the order in which the start of sends sees them
        seqs[session_sid] += 1
        assert seq == seqs[session_sid]
    known = dict(await house.rows("SELECT sid, seq FROM sessions"))
    assert {sid: seq for sid, seq in known.items() if seq} == dict(seqs)


async def test_of_equal_keys_at_several_processes_one_message_comes(
    house: House, stores: list[Store]
) -> None:
    people = (await house.pair())[1:]

    def ask(key: int, text: str) -> NewMessage:
        item = house.message(people[key % 2], text)
        item.key = Key("scope", f"{key}", "POST", text)
        return item

    async def send(store: Store, keys: list[int]) -> list[Any]:
        asked = [store.batch(accept_messages, ask(key, f"text {key}")) for key in keys]
        return await asyncio.gather(*asked, return_exceptions=True)

    for begin in range(0, 200, 20):
        keys = list(range(begin, begin + 20))
        answers = await asyncio.gather(
            *(send(store, random.Random(i).sample(keys, 20)) for i, store in enumerate(stores))
        )
        made: dict[int, set[str]] = {key: set() for key in keys}
        for i, of_one in enumerate(answers):
            for key, answer in zip(random.Random(i).sample(keys, 20), of_one, strict=True):
                assert isinstance(answer, Accepted), answer
                made[key].add(answer.sid)
        assert all(len(sids) == 1 for sids in made.values())
        assert await house.one("SELECT count(*) FROM interactions") == begin + 20
    refused = (
        await send(stores[0], [7])
        + [await asyncio.gather(stores[1].batch(accept_messages, ask(7, "another")), return_exceptions=True)][
            0
        ]
    )
    assert isinstance(refused[0], Accepted)
    assert refused[0].replayed
    assert isinstance(refused[1], Problem)
    assert refused[1].code is problems.IDEMPOTENCY_CONFLICT


async def test_who_loses_to_another_is_run_again(house: House, stores: list[Store]) -> None:
    """A deadlock, made on purpose: two functions lock the same two rows in opposite order."""
    people = [(await house.pair())[1] for _ in range(2)]
    both = [threading.Event(), threading.Event()]
    runs = [0, 0]

    def lock(me: int) -> Batched[str, str]:
        def fn(tx: Tx, items: list[str]) -> list[str]:
            runs[me] += 1
            order = people if me == 0 else people[::-1]
            for place, one in enumerate(order):
                changed = tx.execute(
                    "UPDATE sessions SET seq = seq + 1 WHERE service_sid = ? AND sid = ?",
                    (one.service_sid, one.session_sid),
                )
                assert changed.rowcount == 1  # it has the lock now
                if place == 0 and runs[me] == 1:
                    both[me].set()
                    assert both[1 - me].wait(30)
            return items

        return Batched(Turn.ACCEPT, fn, side_by_side=True)

    await asyncio.gather(*(stores[me].batch(lock(me), "x") for me in (0, 1)))
    assert min(runs) == 1 < max(runs)  # it may lose more than once
    seqs = await house.rows("SELECT seq FROM sessions WHERE seq > 0")
    assert [row[0] for row in seqs] == [2, 2]
