"""What is PostgreSQL's alone."""

import asyncio
import threading
from pathlib import Path

import psycopg
import pytest

from maskline.clock import SystemClock
from maskline.store.accept import TOUCH_SESSION
from maskline.store.engine import Store, StoreRefused, StoreUnavailable, Tx
from maskline.store.meta import put_meta
from maskline.store.postgres import PostgresStore
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer
from tests.support.wire import Wire

pytestmark = pytest.mark.engine("postgres")

NUMBER = "+12125550123"


def insert_twice(tx: Tx) -> None:
    for _ in range(2):
        tx.execute("INSERT INTO meta (name, value) VALUES (?, '')", (NUMBER,))


def read_as_number(tx: Tx) -> None:
    tx.execute("SELECT CAST(? AS BIGINT)", (NUMBER.replace("+", "x"),))


async def test_an_error_does_not_tell_the_values_of_a_row(store: Store) -> None:
    for wrong, said in (
        (insert_twice, "UniqueViolation: meta_pkey"),
        (read_as_number, "InvalidTextRepresentation"),
    ):
        for run in (store.write, store.read) if wrong is read_as_number else (store.write,):
            with pytest.raises(StoreRefused) as refused:
                await run(wrong)
            assert str(refused.value) == said
            assert refused.value.__cause__ is None and refused.value.__context__ is None
    await store.write(put_meta, NUMBER, "nobody is in the way")


async def test_a_statement_that_is_wrong_is_told(store: Store) -> None:
    with pytest.raises(StoreRefused, match='UndefinedTable: relation "nothing" does not exist'):
        await store.read(lambda tx: tx.execute("SELECT 1 FROM nothing"))


async def test_what_was_prepared_for_one_read_is_there_for_the_next(store: Store) -> None:
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement = ?"
    asked = "SELECT 1 FROM accounts"
    await store.read(lambda tx: tx.execute(asked).fetchall())
    # Another reader than the one that prepared it may come first.
    known = [await store.read(lambda tx: tx.execute(prepared, (asked,)).fetchone()) for _ in range(20)]
    assert (1,) in known


async def test_a_message_leaves_its_session_on_its_page(store: Store) -> None:
    """Elsewhere its row would have to go into each of the table's indexes anew."""
    insert = """
    INSERT INTO sessions (service_sid, sid, status, mode, ttl, active_from_at, created_at, updated_at)
    VALUES ('KS1', ?, 'in-progress', 'message-only', 0, 0, 0, 0)"""
    sids = [f"KC{n:032x}" for n in range(400)]
    await store.write(lambda tx: tx.executemany(insert, [(sid,) for sid in sids]))

    def pages(tx: Tx) -> dict[str, str]:
        rows = tx.execute("SELECT sid, CAST(ctid AS TEXT) FROM sessions").fetchall()
        return {sid: place.partition(",")[0] for sid, place in rows}

    before = await store.read(pages)
    touched = [(1, 1, "KS1", sid) for sid in sids[::20]]
    await store.write(lambda tx: tx.executemany(TOUCH_SESSION, touched))
    assert await store.read(pages) == before
    assert len(set(before.values())) > 1


async def test_a_read_that_loses_against_a_migration_may_be_asked_again(
    store: Store, postgres: PostgresServer
) -> None:
    """Nobody but who changes tables can be in a deadlock with somebody who reads."""
    waits = "SELECT 1 FROM pg_locks WHERE locktype = 'relation' AND NOT granted"
    with psycopg.connect(postgres.url()) as changing:
        changing.execute("SET deadlock_timeout = '1min'")
        changing.execute("LOCK TABLE events")
        second = threading.Thread(target=changing.execute, args=("LOCK TABLE accounts",))

        def read(tx: Tx) -> None:
            tx.execute("SET LOCAL deadlock_timeout = '10ms'")
            tx.execute("SELECT 1 FROM accounts").fetchall()
            second.start()
            eventually(lambda: tx.execute(waits).fetchone())
            tx.execute("SELECT 1 FROM events")

        with pytest.raises(StoreUnavailable, match="deadlock detected"):
            await store.read(read)
        second.join()
        changing.rollback()
    await store.read(lambda tx: tx.execute("SELECT 1 FROM events").fetchall())


async def test_it_reads_by_as_many_connections_as_it_is_given(postgres: PostgresServer) -> None:
    store = PostgresStore(postgres.empty(), SystemClock(), run="RN" + "1" * 32, readers=2)
    await store.open()
    try:
        asked = "SELECT pg_backend_pid() FROM pg_sleep(0.01)"
        reads = [store.read(lambda tx: tx.execute(asked).fetchone()[0]) for _ in range(20)]
        assert len(set(await asyncio.gather(*reads))) == 2
    finally:
        await store.close()


async def test_an_old_server_is_refused(postgres: PostgresServer, tmp_path: Path) -> None:
    newer = (postgres.data / "PG_VERSION").read_bytes().strip()
    with Wire(tmp_path / "wire", postgres.data.parent) as wire:
        wire.say_instead(b"server_version\0" + newer, b"server_version\0" + b"14")
        with pytest.raises(StoreUnavailable, match="too old; maskline needs 15 or newer"):
            await PostgresStore(wire.url, SystemClock(), run="RN" + "1" * 32).open()


async def test_a_database_of_another_encoding_is_refused(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreUnavailable, match="has the encoding LATIN1; make one with ENCODING 'UTF8'"):
        await PostgresStore(postgres.url("latin"), SystemClock(), run="RN" + "1" * 32).open()
