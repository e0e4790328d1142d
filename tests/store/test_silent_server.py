"""A PostgreSQL server that keeps its connections open and does not answer: whoever asks it hears so, and nobody waits
for ever.
"""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest

from maskline.clock import SystemClock
from maskline.store import postgres as reading
from maskline.store import postgres_engine, postgres_wakes, writer
from maskline.store.engine import StoreInDoubt, StoreUnavailable, Turn, Tx, Wake, batched
from maskline.store.meta import find_meta, put_meta
from maskline.store.postgres import PostgresStore
from tests.support.house import VAULT
from tests.support.postgres import PostgresServer
from tests.support.until import until

PATIENCE_S = 0.4
RESCUED_S = 30
PUT = "INSERT INTO meta (name, value) VALUES (?, ?)"

Freeze = Callable[[Tx], None]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READ_PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(postgres_engine, "WRITE_PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(postgres_wakes, "PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(writer, "DOUBT_S", 0.2)


@pytest.fixture
async def opened(postgres: PostgresServer) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore(
        postgres.empty(), SystemClock(), run="RN" + "7" * 32, pseudonym=VAULT.pseudonym
    ).open()
    yield store
    await store.close()


@pytest.fixture
def frozen() -> Iterator[set[int]]:
    """Processes of the server that stand still, until the end of the test or until it is hopeless."""
    processes: set[int] = set()

    def thaw() -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    rescue = threading.Timer(RESCUED_S, thaw)
    rescue.start()
    yield processes
    assert rescue.is_alive(), "it has waited for as long as the server stood still"
    rescue.cancel()
    thaw()


@pytest.fixture
def freeze(frozen: set[int]) -> Freeze:
    """Have what a transaction speaks to stand still."""

    def freeze(tx: Tx) -> None:
        (process,) = tx.execute("SELECT pg_backend_pid()").fetchone()
        frozen.add(process)
        os.kill(process, signal.SIGSTOP)

    return freeze


def known(postgres: PostgresServer, name: str) -> str | None:
    """What the database itself has."""
    with psycopg.connect(postgres.url()) as connection:
        row = connection.execute("SELECT value FROM meta WHERE name = %s", (name,)).fetchone()
        return row[0] if row else None


@pytest.mark.parametrize("statements", [1, *range(3, 7), 100])
async def test_a_server_that_stands_still_within_a_transaction(
    opened: PostgresStore, freeze: Freeze, frozen: set[int], statements: int
) -> None:
    """However much there is to send: all of it fits where it waits for the server, all but the last, or little."""

    def put_all(tx: Tx) -> None:
        freeze(tx)
        for number in range(statements):
            tx.execute(PUT, (f"a{number}", "x" * 55_000))

    with pytest.raises(StoreUnavailable) as refused:
        await opened.write(put_all)
    assert not isinstance(refused.value, StoreInDoubt)
    assert not opened.is_writable()
    os.kill(frozen.pop(), signal.SIGCONT)
    await until(opened.is_writable)


async def test_much_is_sent_while_much_comes_back(opened: PostgresStore) -> None:
    """Neither end waits with its answers until the other has taken all of its questions."""

    def echo(tx: Tx) -> list[int]:
        answers = [tx.execute("SELECT ? || ''", (str(number) * 300_000,)) for number in range(10)]
        return [len(answer.fetchone()[0]) for answer in answers]

    for run in (opened.write, opened.read):
        assert await run(echo) == [300_000] * 10


@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_server_that_stands_still_at_a_commit_is_asked_later(
    postgres: PostgresServer, opened: PostgresStore, freeze: Freeze, frozen: set[int], forgotten: bool
) -> None:
    """So it is where the run has been silent for so long before that nothing was known of it."""

    @batched(Turn.ACCEPT)
    def put(tx: Tx, items: list[str]) -> list[str | Exception]:
        assert tx.now  # whoever has no turn yet begins again
        freeze(tx)
        for item in items:
            tx.execute(PUT, (item, "1"))
        return list(items)

    if forgotten:
        await opened.write(lambda tx: tx.execute("DELETE FROM runs"))
    with pytest.raises(StoreInDoubt):
        await opened.batch(put, "a")
    assert not opened.is_writable()
    for refused in (opened.write(put_meta, "b", "1"), opened.write(put_meta, "c", "1")):
        with pytest.raises(StoreUnavailable):
            await refused
    os.kill(frozen.pop(), signal.SIGCONT)
    await until(opened.is_writable)
    assert known(postgres, "a") == "1"
    assert known(postgres, "b") is None


async def test_a_server_that_stands_still_while_it_is_read(opened: PostgresStore, freeze: Freeze) -> None:
    def read(tx: Tx) -> None:
        freeze(tx)
        tx.execute("SELECT 1").fetchone()

    for _ in range(2 * reading.READERS):
        with pytest.raises(StoreUnavailable):
            await opened.read(read)
    await opened.write(put_meta, "a", "1")
    assert await opened.read(find_meta, "a") == "1"


async def test_whoever_keeps_the_turn_is_waited_for_no_longer(
    postgres: PostgresServer, opened: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `maskline migrate` keeps it. Nor does a connection stay behind that waits for it."""

    def connections() -> int:
        with psycopg.connect(postgres.url()) as connection:
            row = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
            assert row is not None
            return int(row[0])

    monkeypatch.setattr(postgres_engine, "WAIT_LIMIT_MS", 100)
    monkeypatch.setattr(postgres_engine, "WRITE_PATIENCE_S", 10)
    store = await PostgresStore(
        postgres.url(), SystemClock(), run="RN" + "8" * 32, pseudonym=VAULT.pseudonym
    ).open()
    with psycopg.connect(postgres.url(), autocommit=True) as keeper:
        keeper.execute("SELECT pg_advisory_lock(%s)", (postgres_engine.TURN,))
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                await store.write(put_meta, "a", "1")
        assert not store.is_writable()
        assert connections() == 1
    await store.write(put_meta, "a", "1")
    assert known(postgres, "a") == "1"
    await store.close()


@pytest.fixture
def without_standby(postgres: PostgresServer) -> Iterator[Callable[[], None]]:
    """A commit waits for a standby that is not there, until this is called."""

    def have(standbys: str) -> None:
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standbys}'".encode())
            connection.execute("SELECT pg_reload_conf()")

    have("nobody")
    yield lambda: have("")
    have("")


async def test_a_commit_that_waits_for_a_standby_in_vain(
    postgres: PostgresServer, opened: PostgresStore, without_standby: Callable[[], None]
) -> None:
    with pytest.raises(StoreInDoubt):
        await opened.write(put_meta, "a", "1")
    assert not opened.is_writable()
    with pytest.raises(StoreUnavailable):
        await opened.write(put_meta, "b", "1")
    without_standby()
    await until(opened.is_writable)
    assert known(postgres, "a") == "1"


async def test_to_ask_for_long_what_became_of_a_commit_leaves_nothing_behind(
    opened: PostgresStore, without_standby: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby may be away for days."""
    monkeypatch.setattr(writer, "ASK_S", 0.001)

    def prepared(tx: Tx) -> int:
        return int(tx.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0])

    with pytest.raises(StoreInDoubt):
        await opened.write(put_meta, "a", "1")
    without_standby()
    await until(opened.is_writable)
    assert await opened.write(prepared) <= 10


async def test_it_ends_though_whoever_wakes_others_gets_no_answer(
    postgres: PostgresServer, frozen: set[int]
) -> None:
    def want(tx: Tx) -> None:
        tx.wake |= Wake.SENDS

    store = await PostgresStore(
        postgres.empty(), SystemClock(), run="RN" + "9" * 32, pseudonym=VAULT.pseudonym
    ).open()
    await store.write(want)

    def teller() -> int | None:
        with psycopg.connect(postgres.url()) as connection:
            row = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE query = 'NOTIFY maskline' AND state = 'idle'"
            ).fetchone()
            return row[0] if row else None

    await until(lambda: teller() is not None)
    process = teller()
    assert process is not None
    frozen.add(process)
    os.kill(process, signal.SIGSTOP)
    await store.write(want)
    await asyncio.sleep(0)
    await store.close()
