"""Callbacks on their way to customers: claimed, tried, done or given up, in order for each Interaction.

A callback waits in the lane of its Service. What could not be told within an hour is dead: it stays until it is sent
again by hand (`dead_letters`) or its Interaction goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from maskline.domain import problems
from maskline.domain.callback import LegStatuses
from maskline.domain.model import Interaction, StoreBodies
from maskline.domain.retry import next_callback_at
from maskline.domain.service_settings import bodies_kept
from maskline.metrics import CALLBACKS
from maskline.store.bodies import blank_if_over
from maskline.store.engine import Turn, Tx, batched
from maskline.store.events import insert_event
from maskline.store.interactions import COLUMNS_OF_I, make_interaction
from maskline.store.lanes import Claimed, LaneClaim, claim_lanes, start
from maskline.store.outbox import among, finish, finish_all
from maskline.store.wants import wants_of

TOPIC = "callback"

_decode = msgspec.json.Decoder().decode

_WHOM = """
SELECT v.callback_url, a.token_sealed, v.settings FROM services v
CROSS JOIN accounts a ON a.sid = v.account_sid
WHERE v.sid = ?"""

# Only with its Session: what has been deleted is gone at once, though its rows go later.
_DUE = f"""
SELECT o.id, o.order_key, o.message_sid, o.attempts, o.account_sid, o.session_sid, o.interaction_sid, o.payload,
       {COLUMNS_OF_I}
FROM outbox o
LEFT JOIN sessions s ON s.service_sid = o.service_sid AND s.sid = o.session_sid
LEFT JOIN interactions i ON i.service_sid = s.service_sid AND i.session_sid = s.sid AND i.sid = o.interaction_sid
WHERE o.topic = 'callback' AND o.topic <> 'send' AND o.state = 1 AND o.service_sid = ? AND o.due_at <= ?
ORDER BY o.due_at LIMIT ?"""

_OWN = "SELECT id, message_sid, owner, order_key, expires_at FROM outbox WHERE state = 4 AND id IN "
_INSERT = """
INSERT INTO callback_attempts (service_sid, interaction_sid, callback_sid, number, url, began_at, duration_ms, status,
       error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_AGAIN = "UPDATE outbox SET state = 1, due_at = ?, owner = NULL, started_at = NULL WHERE id = ?"


@dataclass(slots=True)
class Callback:
    """One callback that is this worker's to send. `bodies`: how long its Service keeps them."""

    id: int
    sid: str
    attempt: int
    account_sid: str
    interaction: Interaction
    url: str
    token_sealed: str
    statuses: LegStatuses
    bodies: StoreBodies

    @property
    def service_sid(self) -> str:
        return self.interaction.service_sid


@batched(Turn.START)
def claim_callbacks(tx: Tx, items: list[LaneClaim]) -> list[Claimed[Callback] | Exception]:
    """Give each worker callbacks that are due, Service after Service."""
    return [_claim(tx, item) for item in items]


def _claim(tx: Tx, item: LaneClaim) -> Claimed[Callback]:
    claimed = claim_lanes(tx, item, TOPIC, partial(_take, tx))
    if claimed.work:
        start(tx, item.run, *[one.id for one in claimed.work])
    return claimed


def _take(tx: Tx, service_sid: str, most: int) -> list[Callback | None]:
    """What is due of a Service. What has nobody or nothing to be told of any more is dropped."""
    whom = tx.execute(_WHOM, (service_sid,)).fetchone()
    url, token_sealed, settings = whom or (None, "", "{}")
    bodies = bodies_kept(settings)
    taken: list[Callback | None] = []
    for row in tx.execute(_DUE, (service_sid, tx.now, most)).fetchall():
        row_id, order_key, sid, attempts, account_sid, session_sid, interaction_sid, payload, *interaction = (
            row
        )
        if url is None or interaction[0] is None:
            finish(tx, row_id, order_key)
            _let_go(tx, bodies, service_sid, session_sid, interaction_sid)
            taken.append(None)
            continue
        taken.append(
            Callback(
                id=row_id,
                sid=sid,
                attempt=attempts + 1,
                account_sid=account_sid,
                interaction=make_interaction(interaction),
                url=url,
                token_sealed=token_sealed,
                statuses=LegStatuses(*_decode(payload)),
                bodies=bodies,
            )
        )
    return taken


def _let_go(tx: Tx, bodies: StoreBodies, service_sid: str, session_sid: str, interaction_sid: str) -> None:
    """A callback of this Interaction is over; with the last one, its body may have nothing to be kept for."""
    if bodies is StoreBodies.UNTIL_FINAL:
        blank_if_over(tx, service_sid, session_sid, interaction_sid)


@dataclass(slots=True)
class Attempt:
    """How one attempt went. `status` is the HTTP status, None where no answer came; `error` says what was wrong with
    the exchange. `event_sid`: of the event that one that was not received may raise.
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
    bodies: StoreBodies = StoreBodies.ALWAYS

    @property
    def good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@batched(Turn.OUTCOME)
def record_attempts(tx: Tx, items: list[Attempt]) -> list[Exception | None]:
    """Keep each attempt; the callback is done, waits for the next one, or is dead."""
    marks, ids = among([item.id for item in items])
    rows = {row[0]: row for row in tx.execute(_OWN + marks, ids)}
    # Of the others the Interaction has been deleted meanwhile, and nothing of it is to be kept.
    own = [item for item in items if rows.get(item.id, ())[1:3] == (item.sid, item.run)]
    tx.executemany(_INSERT, [_row(item) for item in own])
    finish_all(tx, {item.id: rows[item.id][3] for item in own if item.good})
    for item in own:
        if item.good:
            tx.count(CALLBACKS, "good")
            _let_go(tx, item.bodies, item.service_sid, item.session_sid, item.interaction_sid)
        else:
            _fail(tx, item, *rows[item.id][3:])
    return [None] * len(items)


def _row(item: Attempt) -> tuple[Any, ...]:
    """What `_INSERT` takes for one attempt."""
    return (
        item.service_sid,
        item.interaction_sid,
        item.sid,
        item.number,
        item.url,
        item.began_at,
        item.duration_ms,
        item.status,
        item.error,
    )


def _fail(tx: Tx, item: Attempt, order_key: str, expires_at: int) -> None:
    place = (item.service_sid, item.session_sid, item.interaction_sid)
    due_at = next_callback_at(tx.now, item.number)
    dead = due_at >= expires_at
    tx.count(CALLBACKS, "dead" if dead else "failed")
    if item.number == 1 or dead:
        detail = f"{item.url} ({item.error or item.status})" + (", given up" if dead else "")
        insert_event(tx, item.event_sid, item.account_sid, problems.CALLBACK_FAILED, detail, *place)
    if dead:
        finish(tx, item.id, order_key, dead=True)
        _let_go(tx, item.bodies, *place)
    else:
        tx.execute(_AGAIN, (due_at, item.id))


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
            order_key, account_sid, *place = row
            tx.count(CALLBACKS, "dead")
            finish(tx, row_id, order_key, dead=True)
            _let_go(tx, wants_of(tx, place[0]).bodies, *place)
            insert_event(tx, event_sid, account_sid, problems.CALLBACK_FAILED, "given up", *place)
