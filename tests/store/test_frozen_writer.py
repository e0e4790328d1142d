"""A process stands still in the midst of what it sends, and has the turn: the others wait for a while, not for ever."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from maskline.clock import SystemClock
from maskline.store import postgres_engine
from maskline.store.engine import Batched, StoreUnavailable, Turn, Tx
from maskline.store.meta import put_meta
from maskline.store.postgres import PostgresStore
from tests.support.house import VAULT
from tests.support.postgres import PostgresServer
from tests.support.until import turns, until
from tests.support.wire import Wire

LIMIT_MS = 200
LAST_WORDS = "the last words before it stands still"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_engine, "WAIT_LIMIT_MS", LIMIT_MS)
    monkeypatch.setattr(postgres_engine, "IDLE_LIMIT_MS", LIMIT_MS)


@pytest.fixture
def wire(postgres: PostgresServer, tmp_path: Path) -> Iterator[Wire]:
    postgres.empty()
    with Wire(tmp_path / "wire", postgres.data.parent) as wire:
        yield wire


@asynccontextmanager
async def opened(url: str, number: int) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, SystemClock(), run=f"RN{number:032}", pseudonym=VAULT.pseudonym)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def one_that_stands_still(
    wire: Wire, postgres: PostgresServer, *, side_by_side: bool
) -> AsyncIterator[None]:
    """In the midst of a round, until the end of this."""

    def write(tx: Tx, items: list[str]) -> list[str]:
        tx.execute("SELECT ? || ''", (LAST_WORDS,)).fetchone()
        for number in range(20):
            tx.execute("INSERT INTO meta (name, value) VALUES (?, ?)", (f"a{number}", "x" * 1000))
        return items

    def holders() -> int:
        with psycopg.connect(postgres.url()) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE locktype = 'advisory' AND granted AND state = 'active' AND wait_event = 'ClientRead'"
            ).fetchone()
            assert row is not None
            return int(row[0])

    async with opened(wire.url, 1) as store:
        wire.stand_still_after(LAST_WORDS.encode())
        batched: Batched[str, str] = Batched(Turn.ACCEPT, write, side_by_side=side_by_side)
        writing = asyncio.create_task(store.batch(batched, "a"))
        await until(holders)
        yield
        wire.thaw()
        with pytest.raises(StoreUnavailable):
            await writing
    with psycopg.connect(postgres.url()) as connection:
        assert connection.execute("SELECT 1 FROM meta WHERE name LIKE 'a%'").fetchone() is None


@pytest.mark.parametrize("side_by_side", [False, True])
async def test_others_write_again(postgres: PostgresServer, wire: Wire, side_by_side: bool) -> None:
    async with (
        opened(postgres.url(), 2) as other,
        one_that_stands_still(wire, postgres, side_by_side=side_by_side),
        asyncio.timeout(30),
    ):
        while True:
            try:
                await other.write(put_meta, "b", "1")
            except StoreUnavailable:
                await turns()
            else:
                break


async def test_others_start(postgres: PostgresServer, wire: Wire) -> None:
    async with (
        one_that_stands_still(wire, postgres, side_by_side=False),
        asyncio.timeout(30),
        opened(postgres.url(), 2) as other,
    ):
        await other.write(put_meta, "b", "1")
