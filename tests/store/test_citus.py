"""Which tables a cluster of Citus spreads by Service, and which it keeps in one place: every table is put down here."""

import psycopg
import pytest

from maskline.store.citus import DISTRIBUTED, CannotDistribute, distribute
from maskline.store.postgres import PostgresStore
from maskline.store.postgres_tx import executing
from tests.support.citus import STAND_IN
from tests.support.clock import FakeClock
from tests.support.postgres import PostgresServer

LOCAL = {
    # Asked before the Service is known: by an account, by our number, by a carrier's id.
    *(
        "accounts",
        "keys",
        "services",
        "numbers",
        "received",
        "calls",
        "tombstones",
        "idempotency",
        "parts",
        "part_receipts",
        "events",
    ),
    # The work of all Services in the order in which it is due.
    *("outbox", "purges", "erasures"),
    # Of carrier accounts and of processes.
    *("adoptions", "carrier_paces", "carrier_health", "runs", "meta"),
    # The sandbox's own books.
    *("sandbox_messages", "sandbox_behaviour", "sandbox_abilities", "sandbox_todo", "sandbox_calls"),
}
"""All else."""

_UNIQUE = """
SELECT c.relname, i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE i.indisunique AND c.relname = ANY(%s) AND NOT EXISTS (
    SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'service_sid' AND a.attnum = ANY(i.indkey))"""
_TIED = "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
_SEQUENCES = """
SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attidentity <> '' AND c.relname = ANY(%s)"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


@pytest.fixture
async def url(postgres: PostgresServer, clock: FakeClock) -> str:
    """A database with our schema."""
    url = postgres.fresh()
    store = await PostgresStore(url, clock, run="RN" + "1" * 32, own_time=True).open()
    await store.close()
    return url


def test_every_table_is_spread_or_kept_in_one_place(url: str) -> None:
    with psycopg.connect(url) as connection:
        tables = {name for (name,) in connection.execute(_TABLES)}
    assert tables == {*DISTRIBUTED} | LOCAL
    assert not {*DISTRIBUTED} & LOCAL


def test_what_is_spread_hangs_on_nothing_that_is_elsewhere(url: str) -> None:
    """What is unique is so within a Service, no table is tied to another, and none counts its rows."""
    with psycopg.connect(url) as connection:
        spread = [*DISTRIBUTED]
        assert connection.execute(_UNIQUE, (spread,)).fetchall() == []
        assert connection.execute(_TIED).fetchall() == []
        assert connection.execute(_SEQUENCES, (spread,)).fetchall() == []


def test_each_is_put_beside_the_first_and_what_it_had_is_cleared(url: str) -> None:
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        connection.execute(STAND_IN)
        execute = executing(connection)
        assert (*distribute(execute),) == DISTRIBUTED
        asked = connection.execute("SELECT what, tab, by, place FROM asked ORDER BY id").fetchall()
        first = DISTRIBUTED[0]
        assert asked[::2] == [
            ("distribute", table, "service_sid", "none" if table == first else first) for table in DISTRIBUTED
        ]
        assert asked[1::2] == [("clear", table, None, None) for table in DISTRIBUTED]
        assert [*distribute(execute)] == []  # and what it was broken off at is cleared once more


def test_where_it_was_broken_off_it_goes_on(url: str) -> None:
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        connection.execute(STAND_IN)
        execute = executing(connection)
        begun = distribute(execute)
        assert (next(begun), next(begun)) == DISTRIBUTED[:2]
        assert (*distribute(execute),) == DISTRIBUTED[2:]


def test_without_citus_it_is_refused(url: str) -> None:
    with (
        psycopg.connect(url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection,
        pytest.raises(CannotDistribute, match="no Citus extension"),
    ):
        [*distribute(executing(connection))]
