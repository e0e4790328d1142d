"""Statements that go out together, and who hears of it when one of them fails."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.store import postgres_line
from maskline.store.accept import accept_messages
from maskline.store.engine import Batched, Store, StoreRefused, Turn, Tx, batched
from maskline.store.postgres import PostgresStore
from maskline.store.record import Fate, record_outcomes
from maskline.store.start import StartRequest, start_sends
from tests.support.clock import FakeClock
from tests.support.house import VAULT, House
from tests.support.postgres import PostgresServer
from tests.support.wire import Wire

RUN = "RN" + "1" * 32
PUT = "INSERT INTO meta (name, value) VALUES (?, '')"
NAMES = "SELECT name FROM meta ORDER BY name"


@batched(Turn.RECEIVE)
def put_each(tx: Tx, items: list[str]) -> list[str | Exception]:
    """Writes what nobody looks at."""
    for item in items:
        tx.execute(PUT, (item,))
    return list(items)


@batched(Turn.ACCEPT)
def list_names(tx: Tx, items: list[None]) -> list[list[str] | Exception]:
    return [[row[0] for row in tx.execute(NAMES)] for _ in items]


async def test_an_error_that_comes_with_a_later_answer_is_of_who_has_made_it(store: Store) -> None:
    await store.batch(put_each, "there")
    *told, names = await asyncio.gather(
        *(store.batch(put_each, name) for name in ("a", "there", "b")),
        store.batch(list_names, None),
        return_exceptions=True,
    )
    assert told[0] == "a" and told[2] == "b" and isinstance(told[1], StoreRefused)
    assert not isinstance(names, BaseException)
    assert {"a", "b", "there"} <= set(names)


@pytest.mark.engine("postgres")
async def test_what_waits_when_a_function_fails_is_not_done(store: Store) -> None:
    def fail(tx: Tx) -> None:
        tx.execute(PUT, ("never",))
        tx.execute(PUT, ("never",))  # nor is it heard that this would fail
        raise LookupError

    with pytest.raises(LookupError):
        await store.write(fail)
    assert "never" not in await store.batch(list_names, None)


@pytest.mark.engine("postgres")
async def test_an_answer_tells_what_went_before_it(store: Store) -> None:
    def work(tx: Tx) -> None:
        put = [tx.execute(PUT, (name,)) for name in "xyz"]
        found = tx.execute(NAMES)
        assert [row[0] for row in found if len(row[0]) == 1] == [*"xyz"]
        assert found.fetchone() is None and found.fetchall() == []
        assert [one.rowcount for one in put] == [1, 1, 1]
        assert put[0].fetchall() == []

    await store.write(work)


@pytest.mark.engine("postgres")
async def test_what_is_prepared_does_not_grow_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_line, "MOST_PREPARED", 10)

    def ask(tx: Tx) -> int:
        for number in range(50):
            assert tx.execute(f"SELECT {number}").fetchone() == (number,)
        (known,) = tx.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        return int(known)

    for run in (store.read, store.write):
        assert await run(ask) <= 12


@pytest.mark.parametrize("how", ["read", "write"])
async def test_who_is_refused_costs_the_next_one_nothing(
    postgres: PostgresServer, clock: FakeClock, how: str
) -> None:
    """What is prepared is forgotten when a statement fails, and not when a function has only been refused."""

    def prepared(tx: Tx) -> int:
        return int(tx.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0])

    def refuse(tx: Tx) -> None:
        tx.execute("SELECT 1").fetchone()
        raise Problem(problems.NOT_FOUND)

    def fail(tx: Tx) -> None:
        tx.execute("SELECT 1 / 0").fetchone()

    url = postgres.empty()
    store = await PostgresStore(
        url, clock, run=RUN, pseudonym=VAULT.pseudonym, own_time=True, serve=False, readers=1
    ).open()
    run = store.read if how == "read" else store.write
    await run(prepared)
    known = await run(prepared)
    with pytest.raises(Problem):
        await run(refuse)
    assert await run(prepared) > known
    with pytest.raises(StoreRefused):
        await run(fail)
    assert await run(prepared) <= known
    await store.close()


@contextlib.asynccontextmanager
async def over_a_wire(
    server: PostgresServer, directory: Path, clock: FakeClock
) -> AsyncIterator[tuple[House, Wire]]:
    """A house whose store is asked by the test alone."""
    server.empty()
    with Wire(directory / "wire", server.data.parent) as wire:
        store = await PostgresStore(
            wire.url, clock, run=RUN, pseudonym=VAULT.pseudonym, own_time=True, serve=False
        ).open()
        yield House(store, clock), wire
        await store.close()


@pytest.mark.engine("postgres")
async def test_what_every_message_goes_through_is_a_few_ways_there_and_back(
    postgres: PostgresServer, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_line, "PLANS_S", 3600)
    async with over_a_wire(postgres, tmp_path, clock) as (house, wire):
        service = await house.service(4)
        pairs = [(await house.pair(service))[1:] for _ in range(4)]

        async def flights(batched: Batched[Any, Any], items: Sequence[Any]) -> tuple[int, list[Any]]:
            before = wire.flights
            results = await asyncio.gather(*(house.store.batch(batched, item) for item in items))
            return wire.flights - before, results

        async def go_through() -> dict[str, int]:
            count = {}
            count["accept"], _ = await flights(accept_messages, [house.message(ann) for ann, _ in pairs])
            before = wire.flights
            await asyncio.gather(*(house.hear(ann) for ann, _ in pairs))
            count["receive"] = wire.flights - before
            request = StartRequest(RUN, {house.carrier.name: 8}, [])
            count["start"], (starts,) = await flights(start_sends, [request])
            assert len(starts.started) == 8
            outcomes = [
                house.outcome(row, RUN, Fate.SENT, carrier_id=f"out-{row.id}") for row in starts.started
            ]
            count["record"], _ = await flights(record_outcomes, outcomes)
            return count

        await go_through()  # once, to prepare
        assert await go_through() == {"accept": 2, "receive": 4, "start": 4, "record": 3}
