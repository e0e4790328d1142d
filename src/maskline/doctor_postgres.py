"""What `maskline doctor` looks at on a PostgreSQL server. It changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from maskline.clock import SystemClock
from maskline.datadir import postgres
from maskline.domain.model import SECOND
from maskline.findings import Finding, backup_of, key_of, schema_of
from maskline.settings import Settings, SettingsError
from maskline.store.engine import StoreUnavailable
from maskline.store.migrate import Execute
from maskline.store.postgres_inspection import ServerInspection, inspect_server

T = TypeVar("T")

SERVERS = "servers"
"""The name of the finding that some have the database now."""

MOST_APART_US = SECOND

_REACH = (
    "see that it runs, lets this user in from here, is a primary, version 15 or newer and encoded in UTF8"
    " (docs/how-to/use-postgresql.md)"
)
# What a commit waits for is not among them: each connection sets that for itself (`store/postgres_dial.py`).
_LOST = {
    "fsync": "what was acknowledged is lost, and the database damaged, when the power fails",
    "full_page_writes": "the database may be damaged when the power fails",
}
# It plans by how many rows it has counted, and counts only where both are on.
_UNCOUNTED = "tables grow without end, and statements are planned by what was there once"
_SLOW = {"autovacuum": _UNCOUNTED, "track_counts": _UNCOUNTED}


def examine_server(settings: Settings, url: str) -> Iterator[Finding]:
    """Look at one thing after the other; what cannot be looked at for an earlier problem is left out."""
    try:
        driver = postgres()
    except SettingsError as error:
        yield Finding("driver", False, str(error), "pip install 'maskline[postgres]'")
        return
    try:
        with driver.opened(url) as (execute, version):
            found = inspect_server(execute, SystemClock())
    except StoreUnavailable as error:
        yield Finding("database", False, str(error), _REACH)
        return
    yield Finding("database", True, f"PostgreSQL {version // 10000}.{version % 10000}, can be written")
    if not found.may_create:
        remedy = "make this user the owner of the database, or give it the right to create tables there"
        yield Finding("rights", False, "this user may make no tables in the database's schema", remedy)
    yield from _durability(found)
    yield from _off(found, _SLOW)
    yield _connections(found, settings.database_readers + driver.FURTHER, settings.workers)
    yield _time(found)
    if found.runs:
        said = "1 process has" if found.runs == 1 else f"{found.runs} processes have"
        yield Finding(SERVERS, True, f"{said} the database now")
    if not found.meta:
        yield Finding("schema", True, "is not there yet; `maskline serve` and `maskline migrate` make it")
        return
    yield schema_of(found.meta, "run `maskline migrate`")
    yield key_of(found.meta, settings)
    yield from backup_of(found.meta)


def read_server(url: str, look: Callable[[Execute], T]) -> T:
    """What is in the database. Raises StoreUnavailable, SettingsError."""
    with postgres().opened(url) as (execute, _):
        return look(execute)


def _durability(found: ServerInspection) -> Iterator[Finding]:
    if off := [*_off(found, _LOST)]:
        yield from off
        return
    how, standbys = (found.settings[name] for name in ("synchronous_commit", "synchronous_standby_names"))
    if not standbys:
        said = "no standby is waited for (synchronous_standby_names is empty)"
    else:
        said = f"synchronous_standby_names = {standbys}, synchronous_commit = {how}"
    yield Finding("durability", True, f"a commit is on the server's disk; {said}")


def _off(found: ServerInspection, harm: Mapping[str, str]) -> Iterator[Finding]:
    """Which of these settings, each with what comes of it, are off."""
    for name, comes_of_it in harm.items():
        if found.settings[name] == "off":
            yield Finding(
                f"setting {name}", False, f"is off: {comes_of_it}", f"set {name} = on on the server"
            )


def _connections(found: ServerInspection, need: int, workers: int) -> Finding:
    said = f"{found.most} at most, {found.used} in use; a process takes {need}"
    if found.most - found.used + 1 < need * workers:  # ours goes away again
        remedy = "raise max_connections on the server, or the limit of this user or database; or lower database_readers"
        return Finding("connections", False, said, remedy)
    return Finding("connections", True, said)


def _time(found: ServerInspection) -> Finding:
    apart_us = abs(found.ahead_us)
    said = f"the server's is {apart_us / SECOND:.3f} s {'ahead' if found.ahead_us > 0 else 'behind'}"
    if apart_us > MOST_APART_US:
        return Finding("clock", False, said, "set the clocks of both machines, best by NTP")
    return Finding("clock", True, said)
