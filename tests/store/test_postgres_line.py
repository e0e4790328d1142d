"""Statements that go out together, and who hears of it when one of them fails."""

import asyncio
from pathlib import Path

import pytest

from maskline.store import postgres_line
from maskline.store.accept import accept_messages
from maskline.store.engine import Store, StoreRefused, Turn, Tx, batched
from maskline.store.postgres import PostgresStore
from tests.support.clock import FakeClock
from tests.support.house import VAULT, House
from tests.support.postgres import PostgresServer
from tests.support.wire import Wire

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


@pytest.mark.engine("postgres")
async def test_a_round_of_accepts_is_three_ways_there_and_back(
    postgres: PostgresServer, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_line, "PLANS_S", 3600)
    postgres.empty()
    with Wire(tmp_path / "wire", postgres.data.parent) as wire:
        store = await PostgresStore(
            wire.url, clock, run="RN" + "1" * 32, pseudonym=VAULT.pseudonym, own_time=True, serve=False
        ).open()
        house = House(store, clock)
        _, ann, _ = await house.pair()

        async def accept() -> int:
            before = wire.flights
            items = [house.message(ann, "hello") for _ in range(4)]
            await asyncio.gather(*(store.batch(accept_messages, item) for item in items))
            return wire.flights - before

        await accept()  # once, to prepare
        assert await accept() == 3
        await store.close()
