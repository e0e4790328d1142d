"""Callbacks on their way to customers: claimed, tried, done or given up, in order for each Interaction.

A callback waits in the lane of its Service, so that whoever does not answer keeps nobody else waiting. What could not
be told within an hour is dead: it stays until it is sent again by hand (`dead_letters`) or its Interaction goes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from maskline.domain import problems
from maskline.domain.callback import Told
from maskline.domain.model import Interaction
from maskline.domain.retry import next_callback_at
from maskline.store.engine import Turn, Tx, batched
from maskline.store.events import insert_event
from maskline.store.interactions import find_interaction
from maskline.store.outbox import finish

MOST_LANES = 64
"""How many Services one claim looks at."""

_NEXT_LANE = """
SELECT service_sid FROM outbox WHERE topic = 'callback' AND state = 1 AND service_sid > ?
ORDER BY service_sid LIMIT 1"""
_LANE = """
SELECT id, order_key, seq, attempts, expires_at, account_sid, service_sid, session_sid, interaction_sid, message_sid,
       payload FROM outbox
WHERE topic = 'callback' AND state = 1 AND service_sid = ? AND due_at <= ? ORDER BY due_at LIMIT ?"""
_NEXT_DUE = """
SELECT due_at FROM outbox WHERE topic = 'callback' AND state IN (1, 5) AND due_at > ? ORDER BY due_at LIMIT 1"""
_START = "UPDATE outbox SET state = 4, owner = ?, started_at = ?, attempts = attempts + 1 WHERE id = ?"
# Only with its Session: what has been deleted is gone at once, though its rows go later.
_WHOM = """
SELECT v.callback_url, a.token_sealed FROM services v
CROSS JOIN accounts a ON a.sid = v.account_sid
CROSS JOIN sessions s ON s.service_sid = v.sid AND s.sid = ?2
WHERE v.sid = ?1"""


@dataclass(slots=True)
class CallbackClaim:
    """What a worker can take: `free` in all, and `busy` of each Service that is at its limit or had better wait."""

    run: str
    free: int
    most_each: int
    busy: dict[str, int]
    lane: str = ""


@dataclass(slots=True)
class Callback:
    """One callback that is this worker's to send."""

    id: int
    sid: str
    attempt: int
    account_sid: str
    interaction: Interaction
    url: str
    token_sealed: str
    told: Told


@dataclass(slots=True)
class Claimed:
    """`lane` is where the next claim goes on, `next_due_at` when one that waits is due (None: none waits).

    `more`: there are lanes that this claim has not looked at.
    """

    lane: str
    callbacks: list[Callback] = field(default_factory=list)
    next_due_at: int | None = None
    more: bool = False


@batched(Turn.START)
def claim_callbacks(tx: Tx, items: list[CallbackClaim]) -> list[Claimed | Exception]:
    """Give each worker callbacks that are due, Service after Service."""
    return [_claim(tx, item) for item in items]


def _claim(tx: Tx, item: CallbackClaim) -> Claimed:
    claimed = Claimed(item.lane)
    wrapped = False
    for _ in range(MOST_LANES):
        if len(claimed.callbacks) >= item.free:
            break
        row = tx.execute(_NEXT_LANE, (claimed.lane,)).fetchone()
        if row is None:
            if wrapped or not claimed.lane:
                break
            claimed.lane, wrapped = "", True
            continue
        claimed.lane = row[0]
        if wrapped and claimed.lane > item.lane:
            break
        room = min(item.most_each - item.busy.get(claimed.lane, 0), item.free - len(claimed.callbacks))
        if room > 0:
            for waiting in tx.execute(_LANE, (claimed.lane, tx.now, room)).fetchall():
                if (callback := _take(tx, item.run, waiting)) is not None:
                    claimed.callbacks.append(callback)
    else:
        claimed.more = True
    due = tx.execute(_NEXT_DUE, (tx.now,)).fetchone()
    claimed.next_due_at = due[0] if due else None
    return claimed


def _take(tx: Tx, run: str, row: Any) -> Callback | None:
    """Start one. What has nobody or nothing to be told of any more is dropped."""
    (
        row_id,
        order_key,
        _,
        attempts,
        _,
        account_sid,
        service_sid,
        session_sid,
        interaction_sid,
        sid,
        payload,
    ) = row
    whom = tx.execute(_WHOM, (service_sid, session_sid)).fetchone()
    interaction = find_interaction(tx, service_sid, session_sid, interaction_sid)
    if whom is None or whom[0] is None or interaction is None:
        finish(tx, row_id, order_key)
        return None
    tx.execute(_START, (run, tx.now, row_id))
    return Callback(
        id=row_id,
        sid=sid,
        attempt=attempts + 1,
        account_sid=account_sid,
        interaction=interaction,
        url=whom[0],
        token_sealed=whom[1],
        told=Told(*json.loads(payload)),
    )


@dataclass(slots=True)
class Attempt:
    """How one attempt went. `status` is the HTTP status, None where no answer came; `error` says what was wrong with
    the exchange.
    """

    id: int
    run: str
    sid: str
    number: int
    account_sid: str
    service_sid: str
    session_sid: str
    interaction_sid: str
    url: str
    began_at: int
    duration_ms: int
    status: int | None
    error: str
    event_sid: str

    @property
    def good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@batched(Turn.OUTCOME)
def record_attempts(tx: Tx, items: list[Attempt]) -> list[Exception | None]:
    """Keep each attempt; the callback is done, waits for the next one, or is dead."""
    for item in items:
        _record(tx, item)
    return [None] * len(items)


def _record(tx: Tx, item: Attempt) -> None:
    row = tx.execute(
        "SELECT order_key, expires_at FROM outbox WHERE id = ? AND message_sid = ? AND state = 4 AND owner = ?",
        (item.id, item.sid, item.run),
    ).fetchone()
    if row is None:  # its Interaction has been deleted meanwhile, and nothing of it is to be kept
        return
    tx.execute(
        "INSERT INTO callback_attempts (service_sid, interaction_sid, callback_sid, number, url, began_at, duration_ms,"
        " status, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            item.service_sid,
            item.interaction_sid,
            item.sid,
            item.number,
            item.url,
            item.began_at,
            item.duration_ms,
            item.status,
            item.error,
        ),
    )
    if item.good:
        finish(tx, item.id, row[0])
        return
    due_at = next_callback_at(tx.now, item.number)
    dead = due_at >= row[1]
    if item.number == 1 or dead:
        detail = f"{item.url} ({item.error or item.status})" + (", given up" if dead else "")
        where = {
            "service_sid": item.service_sid,
            "session_sid": item.session_sid,
            "interaction_sid": item.interaction_sid,
        }
        insert_event(tx, item.event_sid, item.account_sid, problems.CALLBACK_FAILED, detail, **where)
    if dead:
        finish(tx, item.id, row[0], dead=True)
    else:
        tx.execute(
            "UPDATE outbox SET state = 1, due_at = ?, owner = NULL, started_at = NULL WHERE id = ?",
            (due_at, item.id),
        )


def free_orphans(tx: Tx, run: str) -> None:
    """What an earlier run was sending is due again: a callback may arrive twice, under the same token."""
    tx.execute(
        "UPDATE outbox SET state = 1, due_at = ?, owner = NULL WHERE topic = 'callback' AND state = 4 AND owner <> ?",
        (tx.now, run),
    )


def bury_expired(tx: Tx, ids: list[int], event_sids: list[str]) -> None:
    """Give those of these callbacks up that still wait though their hour is over: their receiver did not even get as
    far as to refuse them.
    """
    for row_id, event_sid in zip(ids, event_sids, strict=True):
        row = tx.execute(
            "SELECT order_key, account_sid, service_sid, session_sid, interaction_sid FROM outbox"
            " WHERE id = ? AND topic = 'callback' AND state = 1 AND expires_at <= ?",
            (row_id, tx.now),
        ).fetchone()
        if row is not None:
            finish(tx, row_id, row[0], dead=True)
            where = {"service_sid": row[2], "session_sid": row[3], "interaction_sid": row[4]}
            insert_event(tx, event_sid, row[1], problems.CALLBACK_FAILED, "given up", **where)
