"""The embedded store: durable, one server a file, errors of the machine told as such, reads of one snapshot."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from maskline.domain.model import SessionStatus
from maskline.store.accept import accept_messages
from maskline.store.engine import StoreUnavailable, Tx
from maskline.store.inspection import inspect
from maskline.store.migrate import SchemaTooNew, migrations
from maskline.store.sqlite import AlreadyServed, SqliteStore
from tests.support.clock import FakeClock
from tests.support.house import House, held_writer, locked_out, opened
from tests.support.until import until

pytestmark = pytest.mark.engine("sqlite")


# Durable


async def test_the_writers_own_connection_syncs_every_commit_to_a_wal(store: SqliteStore) -> None:
    def ask(tx: Tx) -> dict[str, Any]:
        names = ("synchronous", "journal_mode", "wal_autocheckpoint")
        return {name: tx.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    assert await store.write(ask) == {"synchronous": 2, "journal_mode": "wal", "wal_autocheckpoint": 0}


async def test_what_was_answered_is_there_after_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    async with opened(tmp_path, clock) as store:
        house = House(store, clock)
        _, ann, _ = await house.pair()
        await asyncio.gather(*(house.say(ann, f"{i}") for i in range(50)))
    async with opened(tmp_path, clock) as store:
        assert await House(store, clock).outbox() == 50


async def test_what_is_handed_in_before_a_close_is_stored(tmp_path: Path, clock: FakeClock) -> None:
    store = await SqliteStore(tmp_path / "maskline.db", clock).open()
    house = House(store, clock)
    _, ann, _ = await house.pair()
    tasks = [asyncio.create_task(store.batch(accept_messages, house.message(ann))) for _ in range(600)]
    await asyncio.sleep(0)
    await store.close()
    assert len(await asyncio.gather(*tasks)) == 600
    async with opened(tmp_path, clock) as store:
        assert await House(store, clock).outbox() == 600


async def test_what_was_deleted_is_in_none_of_the_files(tmp_path: Path, clock: FakeClock) -> None:
    async with opened(tmp_path, clock) as store:
        assert await store.write(lambda tx: tx.execute("PRAGMA secure_delete").fetchone()[0]) == 1
        house = House(store, clock)
        session, ann, _ = await house.pair()
        for _ in range(40):
            await house.say(ann, "the secret of the deep" * 50)
        await house.delete(session)
        async with house.working():  # what waits to be sent is dropped when it is looked at
            await house.sweeper.sweep()
        assert await house.outbox() == 0
    assert not any(b"secret of the deep" in file.read_bytes() for file in store.path.parent.iterdir())


def test_the_database_is_its_owners_alone(tmp_path: Path, clock: FakeClock) -> None:
    async def run() -> None:
        async with opened(tmp_path / "new" / "data", clock) as store:
            await store.write(lambda tx: None)
            assert store.path.stat().st_mode & 0o077 == 0
            assert store.path.parent.stat().st_mode & 0o077 == 0
            for file in store.path.parent.iterdir():
                assert file.stat().st_mode & 0o077 == 0, file

    asyncio.run(run())


async def test_the_wal_does_not_grow_without_bound_under_load(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While writes and reads go on without a pause. The sizes are scaled down, so that little has to be written."""
    monkeypatch.setattr("maskline.store.sqlite.CHECKPOINT_BYTES", 256 << 10)
    monkeypatch.setattr("maskline.store.sqlite.RESTART_PAGES", 512)
    monkeypatch.setattr("maskline.store.sqlite.MOST_LOG_BYTES", 4 << 20)
    async with opened(tmp_path, clock) as store:
        await store.write(
            lambda tx: tx.execute("CREATE TABLE load (id INTEGER PRIMARY KEY, body BLOB)") and None
        )
        wal = store.path.with_name(f"{store.path.name}-wal")
        chunk = b"x" * (16 << 10)
        sizes = []
        for i in range(900):
            await store.write(
                lambda tx, i=i: tx.execute("REPLACE INTO load VALUES (?, ?)", (i % 50, chunk)) and None
            )
            if i % 10 == 0:
                await store.read(lambda tx: tx.execute("SELECT count(*) FROM load").fetchone())
                sizes.append(wal.stat().st_size)
    written = 900 * len(chunk)
    assert max(sizes) < written // 2
    assert min(sizes[40:]) <= 4 << 20


async def test_a_long_read_does_not_keep_the_store_from_writing(store: SqliteStore) -> None:
    """And what it keeps of the WAL is given back afterwards."""
    entered, go = threading.Event(), threading.Event()

    def read(tx: Tx) -> int:
        (before,) = tx.execute("SELECT count(*) FROM meta").fetchone()
        entered.set()
        assert go.wait(10)
        (after,) = tx.execute("SELECT count(*) FROM meta").fetchone()
        return int(after - before)

    reading = asyncio.create_task(store.read(read))
    await until(entered.is_set)
    for i in range(50):
        await store.write(lambda tx, i=i: tx.execute("INSERT INTO meta VALUES (?, 'x')", (f"n{i}",)) and None)
    go.set()
    assert await reading == 0  # one snapshot, whatever was committed meanwhile


# One server a file


async def test_a_second_server_on_the_same_data_is_refused_in_words(
    store: SqliteStore, clock: FakeClock
) -> None:
    with pytest.raises(AlreadyServed, match=r"another maskline server has this data directory.*--data"):
        await SqliteStore(store.path, clock).open()
    await store.write(lambda tx: None)


async def test_a_second_server_in_another_process_is_refused(store: SqliteStore) -> None:
    script = (
        "import asyncio, sys, pathlib\n"
        "from maskline.clock import SystemClock\n"
        "from maskline.store.sqlite import AlreadyServed, SqliteStore\n"
        "try:\n"
        "    asyncio.run(SqliteStore(pathlib.Path(sys.argv[1]), SystemClock()).open())\n"
        "except AlreadyServed:\n"
        "    sys.exit(42)\n"
    )
    command = [sys.executable, "-c", script, str(store.path)]
    process = await asyncio.to_thread(subprocess.run, command, timeout=30, check=False)
    assert process.returncode == 42


async def test_after_a_close_the_next_server_may_have_it(tmp_path: Path, clock: FakeClock) -> None:
    for _ in range(3):
        async with opened(tmp_path, clock) as store:
            await store.write(lambda tx: None)


async def test_a_refused_open_leaves_the_data_free(tmp_path: Path, clock: FakeClock) -> None:
    """A database that cannot be opened is not locked by the one who could not."""
    path = tmp_path / "maskline.db"
    path.write_bytes(b"this is no database at all, and it is long enough to be read as one" * 100)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await SqliteStore(path, clock).open()
    path.unlink()
    async with opened(tmp_path, clock) as store:
        await store.write(lambda tx: None)


async def test_a_log_of_another_database_is_not_written_into_this_one(
    tmp_path: Path, clock: FakeClock
) -> None:
    """As it lies there when a copy has been put in the place of a database whose server had died."""
    (tmp_path / "living").mkdir()
    path = tmp_path / "maskline.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    content = path.read_bytes()
    async with opened(tmp_path / "living", clock) as store:
        await House(store, clock).service()
        shutil.copy(tmp_path / "living" / "maskline.db-wal", tmp_path)
    with pytest.raises(StoreUnavailable, match=r"maskline\.db-wal is of another database"):
        await SqliteStore(path, clock).open()
    with pytest.raises(StoreUnavailable, match="is of another database"):
        inspect(path)
    assert path.read_bytes() == content
    (tmp_path / "maskline.db-wal").unlink()
    async with opened(tmp_path, clock):
        pass
    inspect(path)


async def test_the_command_line_may_write_beside_the_server(store: SqliteStore, clock: FakeClock) -> None:
    async with opened(store.path.parent, clock, serve=False) as beside:
        house, other = House(store, clock), House(beside, clock)
        service = await other.service()
        _, ann, _ = await house.pair(service)
        await asyncio.gather(
            *(house.say(ann) for _ in range(20)), *(other.number(service) for _ in range(20))
        )
        assert await other.outbox() == 20
        assert await house.one("SELECT count(*) FROM numbers") == 21
    await house.say(ann)


# The schema


async def test_a_newer_database_is_refused_in_words_and_left_as_it_is(
    tmp_path: Path, clock: FakeClock
) -> None:
    newest = migrations()[-1][0]
    async with opened(tmp_path, clock) as store:
        sql = "UPDATE meta SET value = ? WHERE name = 'schema_version'"
        await store.write(lambda tx: tx.execute(sql, (str(newest + 3),)) and None)
    before = (tmp_path / "maskline.db").read_bytes()
    for serve in (True, False):
        with pytest.raises(
            SchemaTooNew, match=rf"schema {newest + 3}\b.*knows schemas up to {newest}\b.*newer maskline"
        ):
            await SqliteStore(tmp_path / "maskline.db", clock, serve=serve).open()
    assert (tmp_path / "maskline.db").read_bytes() == before


async def test_a_migration_is_applied_once(tmp_path: Path, clock: FakeClock) -> None:
    versions = []
    for _ in range(2):
        async with opened(tmp_path, clock) as store:
            house = House(store, clock)
            versions.append(
                await house.rows("SELECT name, value FROM meta WHERE name <> 'idle_close_us' ORDER BY name")
            )
        clock.advance(1000)
    assert versions[0] == versions[1]


# Errors of the machine


async def test_a_full_disk_fails_all_of_the_round_and_stores_nothing(house: House) -> None:
    """And once there is room again, the store goes on as if nothing had been."""
    _, ann, _ = await house.pair()
    pages = await house.store.write(lambda tx: tx.execute("PRAGMA page_count").fetchone()[0])
    await house.store.write(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages}") and None)
    rows = await house.rows("SELECT count(*) FROM interactions")
    long = "x" * 1600
    async with held_writer(house.store):
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(house.store.batch(accept_messages, house.message(ann, long)))
            for _ in range(100)
        ]
        tasks.append(
            asyncio.create_task(house.store.write(lambda tx: tx.execute("DELETE FROM meta") and None))
        )
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 101
    assert await house.rows("SELECT count(*) FROM interactions") == rows
    assert await house.one("SELECT count(*) FROM meta") > 0
    assert not house.store.overloaded()
    await house.store.write(lambda tx: tx.execute("PRAGMA max_page_count = 1000000") and None)
    await asyncio.gather(*(house.store.batch(accept_messages, house.message(ann, long)) for _ in range(100)))
    assert await house.outbox() == 100


async def test_a_database_that_is_locked_by_somebody_is_unavailable_and_then_works(house: House) -> None:
    session, ann, _ = await house.pair()
    async with locked_out(house.store):
        with pytest.raises(StoreUnavailable):
            await house.say(ann)
        with pytest.raises(StoreUnavailable):
            await house.close(session)
        assert await house.one("SELECT count(*) FROM interactions") == 0  # it can still be read
    await house.say(ann)
    assert await house.outbox() == 1


# Reading


async def test_a_read_sees_one_snapshot(store: SqliteStore) -> None:
    entered, go = threading.Event(), threading.Event()

    def read(tx: Tx) -> list[list[Any]]:
        first = tx.execute("SELECT name FROM meta ORDER BY name").fetchall()
        entered.set()
        assert go.wait(10)
        return [first, tx.execute("SELECT name FROM meta ORDER BY name").fetchall()]

    reading = asyncio.create_task(store.read(read))
    await until(entered.is_set)
    await store.write(lambda tx: tx.execute("INSERT INTO meta VALUES ('new', '1')") and None)
    go.set()
    first, second = await reading
    assert first == second
    assert ("new",) in await store.read(lambda tx: tx.execute("SELECT name FROM meta").fetchall())


async def test_a_reader_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(StoreUnavailable):
        await store.read(lambda tx: tx.execute("DELETE FROM meta") and None)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_a_read_that_takes_longer_than_a_second_is_cut(store: SqliteStore) -> None:
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(5):
            await store.read(lambda tx: tx.execute(ENDLESS).fetchone())
    # The thread and its connection are as good as new.
    for _ in range(4):
        assert await store.read(lambda tx: tx.execute("SELECT 1").fetchone()) == (1,)


async def test_what_a_read_raises_is_raised(store: SqliteStore) -> None:
    with pytest.raises(ZeroDivisionError):
        await store.read(lambda tx: 1 / 0)
    assert await store.read(lambda tx: tx.execute("SELECT 1").fetchone()) == (1,)


async def test_a_read_sees_what_was_answered_before_it(store: SqliteStore) -> None:
    for i in range(50):
        await store.write(
            lambda tx, i=i: tx.execute("INSERT INTO meta VALUES (?, 'x')", (f"row {i}",)) and None
        )
        assert await store.read(
            lambda tx, i=i: tx.execute("SELECT count(*) FROM meta WHERE name = ?", (f"row {i}",)).fetchone()
        ) == (1,)


# The clock


async def test_time_does_not_run_backwards_in_the_store(store: SqliteStore, clock: FakeClock) -> None:
    before = await store.write(lambda tx: tx.now)
    clock.step(-3600)
    assert await store.write(lambda tx: tx.now) == before
    clock.step(3601)
    assert await store.write(lambda tx: tx.now) > before


@pytest.mark.parametrize("restart", [False, True], ids=["within one life", "over a restart"])
async def test_no_date_of_a_row_goes_back_when_the_clock_does(
    tmp_path: Path, clock: FakeClock, restart: bool
) -> None:
    """Whatever is done to it after the clock stepped back an hour."""
    store = await SqliteStore(tmp_path / "maskline.db", clock).open()
    house = House(store, clock)
    service = await house.service(2)
    used, ann, ben = await house.pair(service)
    closed, cay, _ = await house.pair(service)
    await house.say(ann)
    await house.hear(ben)
    await house.close(closed)
    before = await dates(house)
    clock.step(-3600)
    if restart:
        await store.close()
        store = await SqliteStore(tmp_path / "maskline.db", clock).open()
        house = House(store, clock, carrier=house.carrier)
    for act in (
        house.say(ann),
        house.hear(ben),
        house.update(used, ttl=86400),
        house.reopen(closed),
        house.say(cay),
        house.close(closed),
        house.remove(ben),
        house.close(used),
        house.reopen(used),
    ):
        await act
        after = await dates(house)
        for name, instant in before.items():
            if instant is not None and after[name] is not None:
                assert after[name] >= instant, (name, act.__name__)
        before = after
    async with house.working():
        await house.quiet()
        after = await dates(house)
        assert all(after[name] >= instant for name, instant in before.items() if instant and after[name])
    assert (await house.fetch(used)).status is SessionStatus.IN_PROGRESS
    await store.close()


async def dates(house: House) -> dict[tuple[str, str, str], int | None]:
    """Every date of every row that is shown, but for those that a re-opening takes away."""
    found: dict[tuple[str, str, str], int | None] = {}
    for columns, sql in (
        (
            "created_at updated_at started_at last_interaction_at",
            "SELECT sid, created_at, updated_at, started_at, last_interaction_at FROM sessions",
        ),
        (
            "created_at updated_at deleted_at",
            "SELECT sid, created_at, updated_at, deleted_at FROM participants",
        ),
        ("updated_at", "SELECT sid, updated_at FROM interactions"),
        ("created_at updated_at", "SELECT sid, created_at, updated_at FROM numbers"),
        ("created_at updated_at", "SELECT sid, created_at, updated_at FROM services"),
    ):
        for row in await house.rows(sql):
            for column, value in zip(columns.split(), row[1:], strict=True):
                found[sql.split()[-1], row[0], column] = value
    return found
