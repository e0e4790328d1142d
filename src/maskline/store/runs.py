"""The runs of the server that have this database, which of them are dead, and what those had started.

A run is one life of one process. On a PostgreSQL server each has a row in `runs`, which whatever it writes keeps fresh
(`postgres.py`); one that has ended in order says so by a `seen_at` of 0. The embedded database has one run at a time
and no such rows: whoever else had started something there is dead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from maskline.domain.model import DAY, SECOND
from maskline.store.engine import Tx
from maskline.store.meta import put_meta
from maskline.store.outbox import step_end

LIFE_US = 15 * SECOND
"""How long a run may be silent. It beats every 3 seconds; what it had started by its last word has ended by then, since
a send begins within 5 seconds of its start and is given up after 10 more.
"""
KEPT_US = DAY
"""How long a silent run may yet come back and ask whether its last round was committed."""

ORPHANED = """
state = 4 AND owner <> :run
AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = owner AND runs.seen_at > :silent_since)"""
"""Rows of the outbox that a run other than `run` is at which has not been heard of since that instant."""

_ORPHANS = f"SELECT id, topic FROM outbox WHERE id > :after AND id <= :last AND {ORPHANED}"
_SILENT = "SELECT id, seen_at FROM runs WHERE id <> ? AND seen_at <= ?"
_FORGET = "DELETE FROM runs WHERE id = ? AND seen_at = ?"

_SWEEPER = """
SELECT value FROM meta WHERE name = 'sweeper'
AND (value = :run OR EXISTS (SELECT 1 FROM runs WHERE runs.id = meta.value AND runs.seen_at > :silent_since))"""


class Dead(NamedTuple):
    """A run that is silent since `seen_at`."""

    run: str
    seen_at: int


@dataclass(slots=True)
class Orphans:
    """Rows that a dead run was at: messages that were being handed over, and requests to customers' servers.
    `after`: where the walk stopped (0: at the end).
    """

    sends: list[int]
    requests: list[int]
    after: int


def take_sweep(tx: Tx, run: str) -> int | None:
    """Whether this run sweeps, as one does until it is dead: then since when a run that is dead now has been silent."""
    silent_since = tx.now - LIFE_US
    sweeper = tx.execute(_SWEEPER, {"run": run, "silent_since": silent_since}).fetchone()
    if sweeper is None:
        put_meta(tx, "sweeper", run)
    return silent_since if sweeper is None or sweeper[0] == run else None


def find_dead(tx: Tx, run: str, silent_since: int) -> set[Dead]:
    """The other runs that have been silent since then."""
    return {Dead(*row) for row in tx.execute(_SILENT, (run, silent_since)).fetchall()}


def find_orphans(tx: Tx, run: str, silent_since: int, after: int, most: int) -> Orphans:
    """Walk `most` rows of the outbox onward from `after`. A read, so that a long queue does not hold up the writer."""
    last, following = step_end(tx, after, most)
    params = {"after": after, "last": last, "run": run, "silent_since": silent_since}
    rows = tx.execute(_ORPHANS, params).fetchall()
    return Orphans(
        sends=[row[0] for row in rows if row[1] == "send"],
        requests=[row[0] for row in rows if row[1] != "send"],
        after=following,
    )


def forget_dead(tx: Tx, dead: Iterable[Dead]) -> None:
    """Forget those of these runs that will not come back."""
    gone = [one for one in dead if one.seen_at <= tx.now - KEPT_US]
    tx.executemany(_FORGET, gone)
