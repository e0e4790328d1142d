"""T2: which messages are handed over now. Marks them started, in one statement each, before anything is sent. Hot.

Due rows are read lane by lane (a lane: one carrier account and one of its numbers), a few of each in turn, so that a
number with a long queue does not hold up the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import OutboxState, SessionStatus
from maskline.domain.phone import mask
from maskline.domain.problems import Code
from maskline.domain.session import as_of
from maskline.store.engine import Turn, Tx, batched
from maskline.store.events import insert_event
from maskline.store.record import finish, merge_leg
from maskline.store.sessions import SESSION_COLUMNS, make_session

PER_LANE = 8
FAILED = int(MessageStatus.FAILED)
STARTED, UNCERTAIN = int(OutboxState.STARTED), int(OutboxState.UNCERTAIN)


@dataclass(slots=True)
class StartRequest:
    """What a worker can take: free slots by carrier account, and SIDs for the events that this may raise.

    `lane` is where the last request stopped, so that every lane gets its turn.
    """

    run: str
    free: dict[str, int]
    lane: tuple[str, str]
    event_sids: list[str]


@dataclass(slots=True)
class Started:
    """A message that is this worker's to hand over, once."""

    order_key: str
    seq: int
    carrier_account: str
    number: str
    attempts: int
    expires_at: int
    account_sid: str
    service_sid: str
    session_sid: str
    interaction_sid: str
    message_sid: str
    recipient: str
    payload: str
    ask: bool = False
    """Its hand-over is uncertain and the carrier can be asked: it must not be sent now."""


@dataclass(slots=True)
class Failed:
    """A message that will not be handed over any more: its Interaction, for whoever waits for it."""

    interaction_sid: str
    updated_at: int


@dataclass(slots=True)
class Starts:
    """What T2 did: rows to send, rows that failed, where to go on, and when the next row is due (None: none waits)."""

    started: list[Started]
    failed: list[Failed]
    lane: tuple[str, str]
    next_due_at: int | None


_NEXT_LANE = """
SELECT carrier_account, number, due_at FROM outbox
WHERE topic = 'send' AND state <> 2 AND (carrier_account, number) > (?1, ?2)
ORDER BY carrier_account, number, due_at LIMIT 1"""

_ROW = """order_key, seq, state, carrier_account, number, attempts, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload, due_at"""

_DUE = f"""
SELECT {_ROW}
FROM outbox
WHERE topic = 'send' AND state <> 2 AND carrier_account = ?1 AND number = ?2 AND due_at <= ?3
ORDER BY due_at LIMIT ?4"""

_NUMBER = "SELECT service_sid, next_free_at FROM numbers WHERE phone_number = ?"

_START = """
UPDATE outbox SET state = 2, owner = ?1, started_at = ?2, attempts = attempts + 1
WHERE order_key = ?3 AND seq = ?4 AND state <> 2"""

_columns = ", ".join(f"s.{name.strip()}" for name in SESSION_COLUMNS.split(","))
_HOLDER = f"""
SELECT {_columns} FROM participants p
JOIN sessions s ON s.service_sid = p.service_sid AND s.sid = p.session_sid
WHERE p.service_sid = ?1 AND p.identifier_key = ?2 AND p.proxy_identifier = ?3 AND p.active = 1"""


@batched(Turn.START)
def start_sends(tx: Tx, items: list[StartRequest]) -> list[Starts | Exception]:
    """Give each worker the due messages that it has slots for."""
    return [_start(tx, item) for item in items]


def _start(tx: Tx, item: StartRequest) -> Starts:
    starts = Starts([], [], item.lane, None)
    free = dict(item.free)
    while True:
        before = len(starts.started) + len(starts.failed)
        for account, number, due_at in _circle(tx, starts.lane):
            if due_at > tx.now:
                starts.next_due_at = min(due_at, starts.next_due_at or due_at)
            elif free.get(account, 0) > 0:
                _start_lane(tx, item, (account, number), free, starts)
                starts.lane = (account, number)
                if not any(free.values()):
                    return starts
        if len(starts.started) + len(starts.failed) == before:
            return starts


def _circle(tx: Tx, after: tuple[str, str]) -> Iterator[tuple[str, str, int]]:
    """Every lane once, beginning behind `after`, with the instant at which its first row is due."""
    lane, wrapped = after, False
    while True:
        row = tx.execute(_NEXT_LANE, lane).fetchone()
        if row is None:
            if wrapped:
                return
            lane, wrapped = ("", ""), True
            continue
        lane = (row[0], row[1])
        if wrapped and lane > after:
            return
        yield row


def _start_lane(
    tx: Tx, item: StartRequest, lane: tuple[str, str], free: dict[str, int], starts: Starts
) -> None:
    directory = tx.execute(_NUMBER, (lane[1],)).fetchone()
    if directory is not None and directory[1] > tx.now:
        starts.next_due_at = min(directory[1], starts.next_due_at or directory[1])
        return
    pool = directory[0] if directory else None
    for row in tx.execute(_DUE, (*lane, tx.now, min(PER_LANE, free[lane[0]]))).fetchall():
        tx.oldest_us = max(tx.oldest_us, tx.now - row[14])
        ask = row[2] == UNCERTAIN
        code = None if ask else _why_not(tx, row, pool)
        if code is not None:
            if not item.event_sids:
                return  # the rest fails in a later turn, with an event each
            starts.failed.append(_fail(tx, item.event_sids.pop(), row, code))
            continue
        tx.execute(_START, (item.run, tx.now, row[0], row[1]))
        tx.started += 1
        free[lane[0]] -= 1
        starts.started.append(_started(row, row[5] + 1, ask))


def _started(row: Any, attempts: int, ask: bool) -> Started:
    values: list[Any] = [*row[:2], *row[3:5], attempts, *row[6:14], ask]
    return Started(*values)


def _why_not(tx: Tx, row: Any, pool: str | None) -> Code | None:
    """Why this message may not be sent any more, if so."""
    _, _, _, _, number, _, expires_at, _, service_sid, session_sid, _, _, recipient, _, _ = row
    if expires_at <= tx.now:
        return problems.VALIDITY_PASSED
    if pool != service_sid:
        return problems.SESSION_EXPIRED
    holder = tx.execute(_HOLDER, (pool, recipient, number)).fetchone()
    if holder is not None and holder[1] != session_sid:
        other = as_of(make_session(holder), tx.now, tx.idle_close_us)
        if other.status is not SessionStatus.CLOSED:
            return problems.SESSION_EXPIRED
    return None


def _fail(tx: Tx, event_sid: str, row: Any, code: Code) -> Failed:
    finish(tx, row[0], row[1])
    merge_leg(tx, row[8], row[9], row[10], FAILED, None)
    where = {"service_sid": row[8], "session_sid": row[9], "interaction_sid": row[10]}
    insert_event(tx, event_sid, row[7], code, f"to {mask(row[12])}", **where)
    return Failed(row[10], tx.now)


def fail_expired(tx: Tx, event_sids: list[str]) -> list[Failed]:
    """Fail unstarted messages that are past their validity, whatever they wait for; one for each SID at most."""
    rows = tx.execute(
        f"SELECT {_ROW} FROM outbox WHERE topic = 'send' AND state < 2 AND expires_at <= ? LIMIT ?",
        (tx.now, len(event_sids)),
    ).fetchall()
    return [_fail(tx, sid, row, problems.VALIDITY_PASSED) for sid, row in zip(event_sids, rows, strict=False)]


def take_orphans(tx: Tx, run: str, most: int) -> list[Started]:
    """Take over what an earlier run of this server had started: its outcome is unknown, and now this run's to find."""
    rows = tx.execute(
        f"SELECT {_ROW} FROM outbox WHERE state = 2 AND owner <> ? LIMIT ?", (run, most)
    ).fetchall()
    for row in rows:
        tx.execute("UPDATE outbox SET owner = ? WHERE order_key = ? AND seq = ?", (run, row[0], row[1]))
    return [_started(row, row[5], True) for row in rows]
