"""Callbacks to customers: told in the transaction that moves a status, sent later, in order for each Interaction.

A callback is an outbox row of the topic `callback`. It waits in the lane of its Service, so that whoever does not
answer keeps nobody else waiting. What could not be told within an hour is dead: it stays until it is sent again by hand
or its Interaction goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from maskline.domain import problems
from maskline.domain.callback import Told, callback_sid
from maskline.domain.ids import ServiceSid
from maskline.domain.model import SECOND, Instant, Interaction, OutboxState
from maskline.domain.problems import Problem
from maskline.domain.retry import CALLBACK_LIFE_S, next_callback_at
from maskline.store.engine import Turn, Tx, Wake, batched
from maskline.store.events import insert_event
from maskline.store.interactions import find_interaction
from maskline.store.outbox import finish
from maskline.store.pages import Page, Seek, fetch_page, key_params

WAITING, HELD = int(OutboxState.WAITING), int(OutboxState.HELD)
STARTED, DEAD = int(OutboxState.STARTED), int(OutboxState.DEAD)

MOST_LANES = 64
"""How many Services one claim looks at."""

_INSERT = """
INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload)
VALUES ('callback', ?, ?, ?, '', ?, ?, ?, ?, ?, ?, ?, '', ?)
ON CONFLICT DO NOTHING"""
_EARLIER = "SELECT 1 FROM outbox WHERE order_key = ? AND state IN (1, 3, 4) AND state <> 0"
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
_URL = "SELECT callback_url FROM services WHERE sid = ?"
# Only with its Session: what has been deleted is gone at once, though its rows go later.
_WHOM = """
SELECT v.callback_url, a.token_sealed FROM services v
CROSS JOIN accounts a ON a.sid = v.account_sid
CROSS JOIN sessions s ON s.service_sid = v.sid AND s.sid = ?2
WHERE v.sid = ?1"""


# Telling


def is_told(tx: Tx, service_sid: str) -> bool:
    """Whether this Service has a CallbackUrl; asked once a transaction."""
    told = tx.told.get(service_sid)
    if told is None:
        row = tx.execute(_URL, (service_sid,)).fetchone()
        told = tx.told[service_sid] = row is not None and row[0] is not None
    return told


def new_callback(
    account_sid: str, service_sid: str, session_sid: str, interaction_sid: str, rank: int, told: Told
) -> tuple[Any, ...]:
    """What `_INSERT` takes for one callback, due at once."""
    return (
        WAITING,
        interaction_sid,
        rank,
        told.at,
        told.at + CALLBACK_LIFE_S * SECOND,
        account_sid,
        service_sid,
        session_sid,
        interaction_sid,
        callback_sid(interaction_sid, rank),
        json.dumps([told.inbound, told.outbound, told.at], separators=(",", ":")),
    )


def insert_first(tx: Tx, callbacks: Sequence[tuple[Any, ...]]) -> None:
    """Tell of Interactions that have just begun."""
    if callbacks:
        tx.executemany(_INSERT, callbacks)
        tx.wake |= Wake.CALLBACKS


def insert_later(tx: Tx, callback: tuple[Any, ...]) -> None:
    """Tell of a status that has moved, after what is still to be told of the same Interaction."""
    if tx.execute(_EARLIER, (callback[1],)).fetchone() is not None:
        callback = (HELD, *callback[1:])
    else:
        tx.wake |= Wake.CALLBACKS
    tx.execute(_INSERT, callback)


# Sending


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


# Looking


@dataclass(frozen=True, slots=True)
class DeadCallback:
    """A callback that has been given up."""

    sid: str
    account_sid: str
    service_sid: ServiceSid
    session_sid: str
    interaction_sid: str
    attempts: int
    told: Told


@dataclass(frozen=True, slots=True)
class KeptAttempt:
    """An attempt as it is kept, until its Interaction goes. `url` is without query and credentials."""

    id: int
    callback_sid: str
    number: int
    url: str
    began_at: Instant
    duration_ms: int
    status: int | None
    error: str


_DEAD_COLUMNS = "message_sid, account_sid, service_sid, session_sid, interaction_sid, attempts, payload"
_GIVEN_UP = (
    "state = 6 AND EXISTS"
    " (SELECT 1 FROM sessions s WHERE s.service_sid = outbox.service_sid AND s.sid = outbox.session_sid)"
)


def list_dead(tx: Tx, service_sid: str, seek: Seek) -> Page[DeadCallback]:
    """A page of the Service's callbacks that were given up."""

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            f"SELECT {_DEAD_COLUMNS} FROM outbox WHERE service_sid = :service AND {_GIVEN_UP} AND {condition}"
            f" ORDER BY {order} LIMIT :limit",
            {"service": service_sid, "limit": limit, **key_params(seek)},
        ).fetchall()

    return fetch_page(fetch, ["message_sid"], seek, _dead)


def _dead(row: Any) -> DeadCallback:
    sid, account_sid, service_sid, session_sid, interaction_sid, attempts, payload = row
    told = Told(*json.loads(payload))
    return DeadCallback(sid, account_sid, service_sid, session_sid, interaction_sid, attempts, told)


def find_dead(tx: Tx, service_sid: str | None, most: int) -> list[DeadCallback]:
    """Up to `most` (-1: all) callbacks that were given up, of one Service or of all, the oldest first."""
    only = "" if service_sid is None else " AND service_sid = :service"
    rows = tx.execute(
        f"SELECT {_DEAD_COLUMNS} FROM outbox WHERE state = 6{only} ORDER BY message_sid LIMIT :most",
        {"service": service_sid, "most": most},
    ).fetchall()
    return [_dead(row) for row in rows]


def load_dead(tx: Tx, service_sid: str, sid: str) -> DeadCallback:
    """A callback that was given up. Raises 20404."""
    row = tx.execute(
        f"SELECT {_DEAD_COLUMNS} FROM outbox WHERE {_GIVEN_UP} AND service_sid = ? AND message_sid = ?",
        (service_sid, sid),
    ).fetchone()
    if row is None:
        raise Problem(problems.NOT_FOUND)
    return _dead(row)


def send_again(tx: Tx, service_sid: str, sids: Iterable[str]) -> int:
    """Make callbacks that were given up due once more, for another hour: those of one Interaction in their order, and
    after what is still to be told of it. Returns how many there were.
    """
    count = 0
    for sid in sorted(sids):
        row = tx.execute(
            "SELECT id, order_key FROM outbox WHERE state = 6 AND service_sid = ? AND message_sid = ?",
            (service_sid, sid),
        ).fetchone()
        if row is None:
            continue
        count += 1
        state = HELD if tx.execute(_EARLIER, (row[1],)).fetchone() is not None else WAITING
        tx.execute(
            "UPDATE outbox SET state = ?, attempts = 0, due_at = ?, expires_at = ? WHERE id = ?",
            (state, tx.now, tx.now + CALLBACK_LIFE_S * SECOND, row[0]),
        )
    if count:
        tx.wake |= Wake.CALLBACKS
    return count


def list_attempts(tx: Tx, service_sid: str, interaction_sid: str, seek: Seek) -> Page[KeptAttempt]:
    """A page of the attempts to tell of an Interaction, the last first."""

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            "SELECT id, callback_sid, number, url, began_at, duration_ms, status, error FROM callback_attempts"
            f" WHERE service_sid = :service AND interaction_sid = :interaction AND {condition}"
            f" ORDER BY {order} LIMIT :limit",
            {"service": service_sid, "interaction": interaction_sid, "limit": limit, **key_params(seek)},
        ).fetchall()

    return fetch_page(fetch, ["id"], seek, lambda row: KeptAttempt(*row))
