"""The database goes away and comes back: what was committed is told so, what was not is refused, nothing is guessed."""

import asyncio
import contextlib
import errno
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from maskline.clock import SystemClock
from maskline.store import writer
from maskline.store.engine import Batched, StoreInDoubt, StoreUnavailable, Turn, Tx, batched
from maskline.store.meta import find_meta, put_meta
from maskline.store.postgres import PostgresStore
from maskline.store.postgres_dial import Dialer
from maskline.store.runs import find_dead, take_sweep
from tests.support.eventually import eventually
from tests.support.house import VAULT
from tests.support.postgres import PostgresServer
from tests.support.until import turns, until
from tests.support.wire import COMMITTED, Wire

RUN = "RN" + "7" * 32
LAST_WORDS = "the last words before the commit"


@batched(Turn.START)
def start(tx: Tx, items: list[str]) -> list[str | Exception]:
    """As a START does, whose rows are then this run's."""
    for item in items:
        put_meta(tx, item, "started")
    return list(items)


@batched(Turn.RECEIVE)
def receive(tx: Tx, items: list[str]) -> list[str | Exception]:
    for item in items:
        put_meta(tx, item, "received")
    return list(items)


@batched(Turn.ACCEPT)
def accept(tx: Tx, items: list[str]) -> list[str | Exception]:
    """Last in its round, and with something in the last answer before the commit."""
    for item in items:
        put_meta(tx, item, "accepted")
    tx.execute("SELECT ? || ''", (LAST_WORDS,)).fetchone()
    return list(items)


@batched(Turn.ACCEPT)
def accept_last(tx: Tx, items: list[str]) -> list[str | Exception]:
    """The same, but what it writes nobody looks at: it goes out together with the commit."""
    tx.execute("SELECT ? || ''", (LAST_WORDS,)).fetchone()
    for item in items:
        put_meta(tx, item, "accepted")
    return list(items)


@pytest.fixture
def wire(postgres: PostgresServer, tmp_path: Path) -> Iterator[Wire]:
    postgres.empty()
    with Wire(tmp_path / "wire", postgres.data.parent) as wire:
        yield wire


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore(url, SystemClock(), run=RUN, pseudonym=VAULT.pseudonym).open()
    try:
        await store.write(put_meta, "begun", "1")
        yield store
    finally:
        await store.close()


def opened(wire: Wire) -> AbstractAsyncContextManager[PostgresStore]:
    return open_store(wire.url)


def known(postgres: PostgresServer, name: str) -> str | None:
    """What the database itself has."""
    with psycopg.connect(postgres.url()) as connection:
        row = connection.execute("SELECT value FROM meta WHERE name = %s", (name,)).fetchone()
        return row[0] if row else None


async def comes_back(store: PostgresStore) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await store.write(put_meta, "back", "1")
            except StoreUnavailable:
                await turns()
            else:
                return


async def test_a_commit_whose_answer_is_lost_is_found_to_be_committed(
    postgres: PostgresServer, wire: Wire
) -> None:
    async with opened(wire) as store:
        wire.swallow(COMMITTED)
        await store.write(put_meta, "a", "1")
        assert wire.cuts == 1
        assert await store.read(find_meta, "a") == known(postgres, "a") == "1"


async def test_who_has_just_begun_is_not_taken_for_ended(wire: Wire) -> None:
    """Else its row could be taken away again, and what became of its first round could not be asked."""
    async with opened(wire) as store:
        beginning = await PostgresStore(wire.url, SystemClock(), run="RN" + "8" * 32).open()
        silent_since = await store.write(take_sweep, RUN)
        assert silent_since is not None
        assert await store.read(find_dead, RUN, silent_since) == set()
        await beginning.close()


async def test_what_was_written_together_with_a_commit_whose_answer_is_lost_is_found(
    postgres: PostgresServer, wire: Wire
) -> None:
    async with opened(wire) as store:
        wire.swallow(COMMITTED)
        names = [f"a{i}" for i in range(9)]
        assert await asyncio.gather(*(store.batch(accept_last, name) for name in names)) == names
        assert wire.cuts == 1
        assert {known(postgres, name) for name in names} == {"accepted"}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("function", [accept, accept_last])
async def test_a_commit_that_never_arrived_is_found_to_be_none(
    postgres: PostgresServer, wire: Wire, function: Batched[str, str], half: bool
) -> None:
    """Nor has all that was sent with it, or some of it has been done and is undone."""
    async with opened(wire) as store:
        wire.stop_after(LAST_WORDS.encode(), lets_half_through=half)
        names = [f"a{i}" for i in range(9)]
        told = await asyncio.gather(*(store.batch(function, name) for name in names), return_exceptions=True)
        assert {type(one) for one in told} == {StoreUnavailable}
        assert wire.cuts == 1
        assert {known(postgres, name) for name in names} == {None}
        await comes_back(store)


async def test_the_connection_that_dies_within_a_transaction_takes_all_of_it(
    postgres: PostgresServer, wire: Wire
) -> None:
    """What was put down and not sent yet is not sent later, by another connection."""

    def write(tx: Tx) -> None:
        put_meta(tx, "before", "1")
        tx.execute("SELECT ? || ''", (LAST_WORDS,)).fetchone()
        put_meta(tx, "behind", "1")
        wire.cut()

    async with opened(wire) as store:
        with pytest.raises(StoreUnavailable):
            await store.write(write)
        await comes_back(store)
        assert known(postgres, "before") is known(postgres, "behind") is None


@pytest.mark.parametrize("committed", [True, False])
async def test_while_nobody_answers_requests_are_refused_and_what_was_started_is_not_forgotten(
    postgres: PostgresServer, wire: Wire, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    monkeypatch.setattr(writer, "DOUBT_S", 0.3)
    async with opened(wire) as store:
        if committed:
            wire.swallow(COMMITTED, stays_away=True)
        else:
            wire.stop_after(LAST_WORDS.encode(), stays_away=True)
        # One round: what a worker starts, and three requests.
        starting = asyncio.create_task(store.batch(start, "started"))
        receiving = asyncio.create_task(store.batch(receive, "received"))
        writing = asyncio.create_task(store.write(put_meta, "written", "1"))
        accepting = asyncio.create_task(store.batch(accept, "accepted"))
        await until(lambda: not store.is_writable())
        for refused in (store.write(put_meta, "b", "1"), store.batch(start, "c"), store.read(find_meta, "a")):
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(5):
                    await refused
        for told in (receiving, writing, accepting):
            with pytest.raises(StoreInDoubt):
                async with asyncio.timeout(5):
                    await told
        assert not starting.done()
        wire.mend()
        async with asyncio.timeout(10):
            if committed:
                assert await starting == "started"
            else:
                with pytest.raises(StoreUnavailable):
                    await starting
        assert known(postgres, "started") == ("started" if committed else None)
        assert known(postgres, "received") == ("received" if committed else None)
        assert known(postgres, "accepted") == ("accepted" if committed else None)
        assert known(postgres, "b") is None
        await comes_back(store)
        assert store.is_writable()


async def test_what_waits_for_a_round_in_doubt_is_refused_with_it(
    postgres: PostgresServer, wire: Wire
) -> None:
    """Nothing of it was tried, so that nothing of it can be stored."""
    entered, go = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        entered.set()
        assert go.wait(30)

    async with opened(wire) as store:
        holding = asyncio.create_task(store.write(hold))
        await until(entered.is_set)
        waiting = [asyncio.create_task(store.write(put_meta, f"w{i}", "1")) for i in range(3)]
        waiting_start = asyncio.create_task(store.batch(start, "s"))
        await asyncio.sleep(0)
        wire.swallow(COMMITTED, stays_away=True)
        go.set()
        for told in (*waiting, waiting_start):
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(5):
                    await told
        wire.mend()
        await holding
        assert known(postgres, "w0") is known(postgres, "s") is None
        await comes_back(store)


async def test_it_ends_though_nobody_answers(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "DOUBT_S", 0.3)
    async with opened(wire) as store:
        wire.swallow(COMMITTED, stays_away=True)
        saying = asyncio.create_task(store.batch(accept, "a"))
        async with asyncio.timeout(20):
            await until(lambda: wire.cuts == 1)
            await store.close()
        with pytest.raises(StoreUnavailable):
            await saying
        monkeypatch.setattr(store, "close", lambda: asyncio.sleep(0))


async def test_idle_connections_that_were_cut_cost_nobody_an_error(wire: Wire) -> None:
    async with opened(wire) as store:
        await store.read(find_meta, "begun")
        wire.cut()
        await asyncio.gather(*(store.read(find_meta, "begun") for _ in range(8)))
        await store.write(put_meta, "a", "1")


async def test_a_round_that_finds_its_connection_gone_is_run_again(
    postgres: PostgresServer, wire: Wire
) -> None:
    async with opened(wire) as store:
        wire.cut()
        names = [f"a{i}" for i in range(9)]
        assert await asyncio.gather(*(store.batch(accept, name) for name in names)) == names
        assert {known(postgres, name) for name in names} == {"accepted"}


@pytest.mark.parametrize("function", [accept, accept_last])
async def test_a_run_that_was_forgotten_enters_anew(
    postgres: PostgresServer, wire: Wire, function: Batched[str, str]
) -> None:
    async with opened(wire) as store:
        with psycopg.connect(postgres.url()) as connection:
            connection.execute("DELETE FROM runs")
        names = [f"a{i}" for i in range(9)]
        assert await asyncio.gather(*(store.batch(function, name) for name in names)) == names
        assert {known(postgres, name) for name in names} == {"accepted"}
        with psycopg.connect(postgres.url()) as connection:
            assert connection.execute("SELECT id FROM runs").fetchall() == [(RUN,)]


async def test_after_a_restart_of_the_server_it_works_again(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path).start()
    try:
        async with open_store(server.url()) as store:
            for mode in ("fast", "immediate"):
                server.stop(mode)
                for refused in (store.write(put_meta, "b", "1"), store.read(find_meta, "b")):
                    with pytest.raises(StoreUnavailable):
                        await refused
                assert not store.is_writable()
                server.start()
                await comes_back(store)
                assert store.is_writable()
                assert known(server, "begun") == "1"
    finally:
        server.stop()


async def test_whoever_holds_the_turn_and_is_frozen_is_thrown_out(postgres: PostgresServer) -> None:
    """Another process stands still within a transaction. After a while, its turn is over."""
    async with open_store(postgres.empty()) as store, open_store(postgres.url()) as frozen:
        entered, go = threading.Event(), threading.Event()

        def hold(tx: Tx) -> None:
            put_meta(tx, "frozen", "1")
            entered.set()
            assert go.wait(30)

        holding = asyncio.create_task(frozen.write(hold))
        await until(entered.is_set)
        async with asyncio.timeout(20):
            await store.write(put_meta, "a", "1")
        go.set()
        with pytest.raises(StoreUnavailable):
            await holding
        assert known(postgres, "frozen") is None
        await comes_back(frozen)


async def test_what_is_acknowledged_is_durable_whatever_the_server_has_as_a_default(
    postgres: PostgresServer,
) -> None:
    """The tests' own server has synchronous_commit=off."""

    def settings(tx: Tx) -> list[str]:
        names = ("synchronous_commit", "transaction_isolation")
        return [tx.execute(f"SHOW {name}").fetchone()[0] for name in names]

    async with open_store(postgres.empty()) as store:
        assert await store.write(settings) == ["on", "read committed"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://postgres@/nowhere?host={}", 'database "nowhere" does not exist'),
        ("postgresql://nobody@/postgres?host={}", 'role "nobody" does not exist'),
        ("postgresql://postgres@/postgres?host={}/none", "No such file or directory"),
    ],
)
async def test_why_it_cannot_be_opened_is_said_in_a_line(
    postgres: PostgresServer, url: str, said: str
) -> None:
    with pytest.raises(StoreUnavailable, match=said) as raised:
        await PostgresStore(url.format(postgres.data.parent), SystemClock(), run=RUN).open()
    assert "\n" not in str(raised.value)


def test_who_has_no_room_for_a_connection_tries_again(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the driver that says so, but the system, where the process has all the files open that it may."""

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    dialer = Dialer(postgres.url())
    with monkeypatch.context() as full:
        full.setattr(psycopg.Connection, "connect", fails)
        for _ in range(2):
            with pytest.raises(psycopg.OperationalError):
                dialer.dial()

    def dialled() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            dialer.dial().close()
            return True
        return False

    eventually(dialled, 10)
