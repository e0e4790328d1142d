"""A look into a PostgreSQL server and our database on it, beside the servers that have it. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from maskline.clock import Clock
from maskline.store.migrate import Execute
from maskline.store.runs import LIFE_US

SETTINGS = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "synchronous_standby_names",
    "autovacuum",
    "track_counts",
)

_SETTINGS = "SELECT name, current_setting(name) FROM unnest(?::text[]) AS name"
_TIME = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_PRIVILEGES = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
_KNOWN = "SELECT to_regclass('meta') IS NOT NULL, to_regclass('runs') IS NOT NULL"
_RUNS = f"SELECT count(*) FROM runs WHERE seen_at > ? - {LIFE_US}"

# For whoever is no superuser, and of the limits the narrowest; numbackends is told to everybody.
_ROOM = """
SELECT least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
    nullif(d.datconnlimit, -1), nullif(r.rolconnlimit, -1)
), (SELECT sum(numbackends) FROM pg_stat_database)
FROM pg_database d, pg_roles r WHERE d.datname = current_database() AND r.rolname = current_user"""


@dataclass(frozen=True, slots=True)
class ServerInspection:
    """What was found. `settings` are as they hold for this connection; `most` connections there may be, of which `used`
    are there, this one too; `ahead_us`: how far the server's clock is ahead of ours; `meta` is empty where the database
    is; `runs`: how many processes have it now.
    """

    settings: Mapping[str, str]
    may_create: bool
    most: int
    used: int
    ahead_us: int
    meta: Mapping[str, str]
    runs: int


def inspect_server(execute: Execute, clock: Clock) -> ServerInspection:
    """`execute` is that of an open connection, outside any transaction."""
    settings = dict(execute(_SETTINGS, ([*SETTINGS],)).fetchall())
    (may_create,) = execute(_PRIVILEGES).fetchone()
    most, used = execute(_ROOM).fetchone()
    before = clock.now()
    (now,) = execute(_TIME).fetchone()
    ahead_us = now - (before + clock.now()) // 2
    has_meta, has_runs = execute(_KNOWN).fetchone()
    return ServerInspection(
        settings,
        may_create,
        most,
        int(used),
        ahead_us,
        dict(execute("SELECT name, value FROM meta").fetchall()) if has_meta else {},
        execute(_RUNS, (now,)).fetchone()[0] if has_runs else 0,
    )
