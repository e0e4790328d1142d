"""Connections to PostgreSQL: how they are opened, and what each is told so that all have the same from it."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import Int8Dumper

from maskline.store.engine import StoreUnavailable

CONNECT_S = 3
IDLE_LIMIT_MS = 5000
"""How long a process that was frozen within a transaction may hold up the others."""
FIRST_PAUSE_S, MOST_PAUSE_S = 0.1, 1.0

# Plans as SQLite makes them, by indexes and nested loops: what a statement costs must not hang on statistics, which
# are old where a table has just grown. They are the same for all values, so that one is enough for a while.
_OPTIONS = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "enable_seqscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_bitmapscan": "off",
        "enable_material": "off",
        # Processes of its own cost a statement 10 ms, and a plan is counted as if it found many rows.
        "max_parallel_workers_per_gather": 0,
        "jit": "off",
        "plan_cache_mode": "force_generic_plan",
        "idle_in_transaction_session_timeout": IDLE_LIMIT_MS,
        "timezone": "UTC",
        "default_transaction_isolation": "read\\ committed",
        # A client that is cut off must not hold the turn for as long as TCP likes to wait.
        "tcp_keepalives_idle": 5,
        "tcp_keepalives_interval": 1,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }.items()
)

# A role may have another default, and what has been acknowledged must be on the disk. More than `on` may be asked for.
_DURABLE = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')"""
_DEFAULTS = {
    "application_name": "maskline",
    "target_session_attrs": "read-write",
    "connect_timeout": str(CONNECT_S),
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}


class _FlagDumper(Dumper):
    """Flags are 0 or 1 in every table."""

    oid = psycopg.adapters.types["int8"].oid

    def dump(self, obj: bool) -> bytes:
        return b"1" if obj else b"0"


class Dialer:
    """Opens connections. While that fails, one tries at a time, at growing distances; everybody else fails at once."""

    def __init__(self, url: str) -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:  # which says the wrong part, and that may be one of a password
            raise StoreUnavailable("database_url is not a URL of a PostgreSQL database") from None
        given["client_encoding"] = "UTF8"  # whatever the environment has
        given["options"] = f"{_OPTIONS} {given.get('options') or ''}"
        self._conninfo = make_conninfo("", **{**_DEFAULTS, **given})
        self._lock = threading.Lock()
        self._failures = 0
        self._why = ""
        self._not_before = 0.0
        self._trying = False

    def dial(self) -> psycopg.Connection[Any]:
        """A new connection. Raises psycopg.OperationalError."""
        with self._lock:
            if self._failures and (self._trying or time.monotonic() < self._not_before):
                raise psycopg.OperationalError(f"the database is away: {self._why}")
            self._trying = True
        try:
            connection = psycopg.Connection.connect(
                self._conninfo, autocommit=True, cursor_factory=psycopg.RawCursor
            )
            connection.execute(_DURABLE)
        except (psycopg.Error, OSError) as error:
            with self._lock:
                self._why = str(error)
                pause_s = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2**self._failures)
                self._failures = min(self._failures + 1, 10)
                self._not_before = time.monotonic() + pause_s
                self._trying = False
            if isinstance(error, OSError):  # the system's: the process may open no file more
                raise psycopg.OperationalError(str(error)) from error
            raise
        with self._lock:
            self._failures, self._not_before, self._trying = 0, 0.0, False
        connection.adapters.register_dumper(int, Int8Dumper)
        connection.adapters.register_dumper(bool, _FlagDumper)
        return connection
