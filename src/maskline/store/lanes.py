"""Outbox rows that wait for a customer's server, each in the lane of its Service, so that whoever does not answer keeps
nobody else waiting. What a row is about is its topic's: `callbacks`, `intercepts`, `strangers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from maskline.store.engine import Tx, Wake
from maskline.store.outbox import among
from maskline.store.runs import ORPHANED

MOST_LANES = 64
"""How many Services one claim looks at."""

WorkT = TypeVar("WorkT")

_NEXT_LANE = """
SELECT service_sid FROM outbox WHERE topic = ? AND topic <> 'send' AND state = 1 AND service_sid > ?
ORDER BY service_sid LIMIT 1"""
_NEXT_DUE = (
    "SELECT due_at FROM outbox WHERE topic = ? AND state IN (1, 5) AND due_at > ? ORDER BY due_at LIMIT 1"
)
_START = "UPDATE outbox SET state = 4, owner = ?, started_at = ?, attempts = attempts + 1 WHERE id"
_FREE = f"UPDATE outbox SET state = 1, due_at = :now, owner = NULL WHERE id = :id AND {ORPHANED}"


class LaneRow(NamedTuple):
    """A row that waits."""

    id: int
    order_key: str
    seq: int
    due_at: int
    attempts: int
    expires_at: int
    account_sid: str
    service_sid: str
    session_sid: str
    interaction_sid: str
    message_sid: str
    number: str
    recipient: str
    payload: str
    brought_by: str | None
    """The carrier account that brought it, if one did itself."""


LANE_COLUMNS = ", ".join(LaneRow._fields)
_LANE = f"""
SELECT {LANE_COLUMNS} FROM outbox
WHERE topic = ? AND topic <> 'send' AND state = 1 AND service_sid = ? AND due_at <= ? ORDER BY due_at LIMIT ?"""


@dataclass(slots=True)
class LaneClaim:
    """What a worker can take: `free` in all, and `busy` of each Service that is at its limit or had better wait. Up to
    `spare` more are taken, one of each Service that is not busy.

    `running_us`: how long this run of the worker has been there; nothing could be done for a row before. `event_sids`:
    SIDs for the events that this may raise.
    """

    run: str
    running_us: int
    free: int
    most_each: int
    busy: dict[str, int]
    lane: str = ""
    event_sids: list[str] = field(default_factory=list)
    spare: int = 0


@dataclass(slots=True)
class Claimed(Generic[WorkT]):
    """`lane` is where the next claim goes on, `next_due_us` how long until one that waits is due (None: none waits).

    `more`: there are lanes that this claim has not looked at; `dropped`: rows were done away with, and more may be due;
    `short`: more may be due for which there was no room.
    """

    lane: str
    work: list[WorkT] = field(default_factory=list)
    next_due_us: int | None = None
    more: bool = False
    short: bool = False
    dropped: bool = False


def claim(
    tx: Tx,
    item: LaneClaim,
    topic: str,
    take: Callable[[Tx, str, LaneRow], WorkT | None],
    enter: Callable[[Tx, LaneClaim, str], bool] | None = None,
) -> Claimed[WorkT]:
    """Give a worker what is due, Service after Service. `take` starts a row or does away with it (None); `enter` sees
    each lane before, and says whether it did away with some.
    """

    def take_all(lane: str, room: int) -> list[WorkT | None]:
        rows = tx.execute(_LANE, (topic, lane, tx.now, room)).fetchall()
        return [take(tx, item.run, LaneRow(*row)) for row in rows]

    return claim_lanes(tx, item, topic, take_all, enter)


def claim_lanes(
    tx: Tx,
    item: LaneClaim,
    topic: str,
    take: Callable[[str, int], list[WorkT | None]],
    enter: Callable[[Tx, LaneClaim, str], bool] | None = None,
) -> Claimed[WorkT]:
    """The same, lane by lane: `take` starts as many rows of one as there is room for. None: it did away with it."""
    dropped = False

    def fill(lane: str, room: int) -> list[WorkT]:
        nonlocal dropped
        if enter is not None and enter(tx, item, lane):
            dropped = True
        taken = take(lane, room) if room > 0 else []
        work = [one for one in taken if one is not None]
        if len(work) < len(taken):
            dropped = True
        return work

    claimed = walk(item, lambda lane: tx.execute(_NEXT_LANE, (topic, lane)).fetchone(), fill)
    claimed.dropped = dropped
    due = tx.execute(_NEXT_DUE, (topic, tx.now)).fetchone()
    claimed.next_due_us = due[0] - tx.now if due else None
    return claimed


def walk(
    item: LaneClaim, next_lane: Callable[[str], Any], fill: Callable[[str, int], Sequence[WorkT]]
) -> Claimed[WorkT]:
    """Go on from the lane where the last claim ended, once around. `next_lane` gives a row with the lane behind one, or
    None; `fill` what a lane has to do, so much as there is room for.
    """
    claimed: Claimed[WorkT] = Claimed(item.lane)
    wrapped = False
    for _ in range(MOST_LANES):
        if len(claimed.work) >= item.free + item.spare:
            claimed.short = True
            break
        row = next_lane(claimed.lane)
        if row is None:
            if wrapped or not claimed.lane:
                break
            claimed.lane, wrapped = "", True
            continue
        claimed.lane = row[0]
        if wrapped and claimed.lane > item.lane:
            break
        busy = item.busy.get(claimed.lane, 0)
        one = 1 if item.spare and not busy else 0
        room = min(item.most_each - busy, max(one, item.free - len(claimed.work)))
        filled = fill(claimed.lane, room)
        claimed.work += filled
        claimed.short = claimed.short or len(filled) >= room
    else:
        claimed.more = claimed.short = True
    return claimed


def start(tx: Tx, run: str, *row_ids: int) -> None:
    """The rows (at least one) are this run's to work at."""
    marks, ids = among(row_ids)
    tx.execute(f"{_START} IN {marks}", (run, tx.now, *ids))


def free_orphans(tx: Tx, run: str, silent_since: int, ids: Sequence[int]) -> None:
    """What a dead run was at is due again: a customer's server may be asked or told twice, under the same token."""
    tx.executemany(
        _FREE, [{"id": one, "now": tx.now, "run": run, "silent_since": silent_since} for one in ids]
    )
    tx.wake |= Wake.CALLBACKS | Wake.ASKS | Wake.NOTICES


def own_row(tx: Tx, row_id: int, message_sid: str, run: str) -> Any:
    """(order_key, expires_at) of a row that this run is at; None if it has been deleted meanwhile or is not its own."""
    return tx.execute(
        "SELECT order_key, expires_at FROM outbox WHERE id = ? AND message_sid = ? AND state = 4 AND owner = ?",
        (row_id, message_sid, run),
    ).fetchone()
