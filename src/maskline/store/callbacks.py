"""Callbacks on their way to customers: claimed, tried, done or given up, in order for each Interaction.

A callback waits in the lane of its Service. What could not be told within an hour is dead: it stays until it is sent
again by hand (`dead_letters`) or its Interaction goes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from maskline.domain import problems
from maskline.domain.callback import Told
from maskline.domain.model import Interaction, StoreBodies
from maskline.domain.retry import next_callback_at
from maskline.domain.service_settings import bodies_kept
from maskline.metrics import CALLBACKS
from maskline.store.bodies import blank_if_over
from maskline.store.engine import Turn, Tx, batched
from maskline.store.events import insert_event
from maskline.store.interactions import find_interaction
from maskline.store.lanes import Claimed, LaneClaim, LaneRow, claim, own_row, start
from maskline.store.outbox import finish
from maskline.store.telling import wants_of

TOPIC = "callback"

# Only with its Session: what has been deleted is gone at once, though its rows go later.
_WHOM = """
SELECT v.callback_url, a.token_sealed, v.settings FROM services v
CROSS JOIN accounts a ON a.sid = v.account_sid
CROSS JOIN sessions s ON s.service_sid = v.sid AND s.sid = ?2
WHERE v.sid = ?1"""


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
    told: Told
    bodies: StoreBodies

    @property
    def service_sid(self) -> str:
        return self.interaction.service_sid


@batched(Turn.START)
def claim_callbacks(tx: Tx, items: list[LaneClaim]) -> list[Claimed[Callback] | Exception]:
    """Give each worker callbacks that are due, Service after Service."""
    return [claim(tx, item, TOPIC, _take) for item in items]


def _take(tx: Tx, run: str, row: LaneRow) -> Callback | None:
    """Start one. What has nobody or nothing to be told of any more is dropped."""
    whom = tx.execute(_WHOM, (row.service_sid, row.session_sid)).fetchone()
    interaction = find_interaction(tx, row.service_sid, row.session_sid, row.interaction_sid)
    if whom is None or whom[0] is None or interaction is None:
        finish(tx, row.id, row.order_key)
        if whom is not None:
            _let_go(tx, bodies_kept(whom[2]), row.service_sid, row.session_sid, row.interaction_sid)
        return None
    start(tx, run, row.id)
    return Callback(
        id=row.id,
        sid=row.message_sid,
        attempt=row.attempts + 1,
        account_sid=row.account_sid,
        interaction=interaction,
        url=whom[0],
        token_sealed=whom[1],
        told=Told(*json.loads(row.payload)),
        bodies=bodies_kept(whom[2]),
    )


def _let_go(tx: Tx, bodies: StoreBodies, service_sid: str, session_sid: str, interaction_sid: str) -> None:
    """A callback of this Interaction is over; with the last one, its body may have nothing to be kept for."""
    if bodies is StoreBodies.UNTIL_FINAL:
        blank_if_over(tx, service_sid, session_sid, interaction_sid)


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
    bodies: StoreBodies = StoreBodies.ALWAYS

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
    row = own_row(tx, item.id, item.sid, item.run)
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
    place = (item.service_sid, item.session_sid, item.interaction_sid)
    if item.good:
        tx.count(CALLBACKS, "good")
        finish(tx, item.id, row[0])
        _let_go(tx, item.bodies, *place)
        return
    due_at = next_callback_at(tx.now, item.number)
    dead = due_at >= row[1]
    tx.count(CALLBACKS, "dead" if dead else "failed")
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
        _let_go(tx, item.bodies, *place)
    else:
        tx.execute(
            "UPDATE outbox SET state = 1, due_at = ?, owner = NULL, started_at = NULL WHERE id = ?",
            (due_at, item.id),
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
            tx.count(CALLBACKS, "dead")
            finish(tx, row_id, row[0], dead=True)
            _let_go(tx, wants_of(tx, row[2]).bodies, *row[2:])
            where = {"service_sid": row[2], "session_sid": row[3], "interaction_sid": row[4]}
            insert_event(tx, event_sid, row[1], problems.CALLBACK_FAILED, "given up", **where)
