"""What customers are told of opt-outs (`optout_callback_url`): put down where one begins or ends, claimed, tried, done.

A notice waits in the lane of its Service, behind those of the same person that are still to be told. What could not be
told within an hour is given up: the opt-out itself can be looked up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from maskline.domain import problems
from maskline.domain.model import SECOND, OutboxState
from maskline.domain.optout import Ask, Notice
from maskline.domain.retry import CALLBACK_LIFE_S, next_callback_at
from maskline.domain.service_settings import read_settings
from maskline.store.engine import Turn, Tx, Wake, batched
from maskline.store.events import insert_event
from maskline.store.lanes import Claimed, LaneClaim, LaneRow, claim, own_row, start
from maskline.store.outbox import finish
from maskline.store.relay import find_match

TOPIC = "optout"

WAITING, HELD = int(OutboxState.WAITING), int(OutboxState.HELD)

_LAST = "SELECT max(seq) FROM outbox WHERE order_key = ? AND state + 0 <> 0"
_INSERT = """
INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload)
VALUES ('optout', ?, ?, ?, ?, ?, ?, ?, ?, '', '', ?, '', ?)"""
_AGAIN = "UPDATE outbox SET state = 1, due_at = ?, owner = NULL, started_at = NULL WHERE id = ?"
_WHOM = """
SELECT v.settings, a.token_sealed FROM services v CROSS JOIN accounts a ON a.sid = v.account_sid WHERE v.sid = ?"""


def insert_notices(
    tx: Tx,
    account_sid: str,
    service_sid: str,
    key: str,
    number: str,
    ask: Ask,
    optouts: Iterable[tuple[str, str]],
) -> None:
    """Tell of opt-outs (SIDs and proxy numbers) that have begun or ended by what this person did on this number."""
    match = find_match(tx, service_sid, number, key)
    where = (match.session.sid, match.sender.sid) if match is not None else (None, None)
    order_key = f"optout {service_sid} {tx.pseudonym(key)}"
    (last,) = tx.execute(_LAST, (order_key,)).fetchone()
    for place, (sid, of_number) in enumerate(optouts, (last or 0) + 1):
        notice = Notice(sid, ask, of_number, tx.now, *where)
        tx.execute(
            _INSERT,
            (
                WAITING if place == 1 else HELD,
                order_key,
                place,
                of_number,
                tx.now,
                tx.now + CALLBACK_LIFE_S * SECOND,
                account_sid,
                service_sid,
                notice.sid,
                json.dumps(astuple(notice)),
            ),
        )
        tx.wake |= Wake.NOTICES


@dataclass(slots=True)
class ClaimedNotice:
    """One notice that this worker is to send."""

    id: int
    attempt: int
    account_sid: str
    service_sid: str
    notice: Notice
    url: str
    token_sealed: str

    @property
    def sid(self) -> str:
        return self.notice.sid


@batched(Turn.START)
def claim_notices(tx: Tx, items: list[LaneClaim]) -> list[Claimed[ClaimedNotice] | Exception]:
    """Give each worker notices that are due, Service after Service."""
    return [claim(tx, item, TOPIC, _take) for item in items]


def _take(tx: Tx, run: str, row: LaneRow) -> ClaimedNotice | None:
    """Start one. What nobody wants to be told of any more is dropped."""
    whom = tx.execute(_WHOM, (row.service_sid,)).fetchone()
    url = read_settings(whom[0])["optout_callback_url"] if whom is not None else ""
    if not url:
        finish(tx, row.id, row.order_key)
        return None
    start(tx, run, row.id)
    optout_sid, ask, *rest = json.loads(row.payload)
    notice = Notice(optout_sid, Ask(ask), *rest)
    return ClaimedNotice(row.id, row.attempts + 1, row.account_sid, row.service_sid, notice, url, whom[1])


@dataclass(slots=True)
class NoticeOutcome:
    """How an attempt went: `failure` says why it was none, empty if it was received."""

    id: int
    run: str
    sid: str
    attempt: int
    account_sid: str
    service_sid: str
    failure: str
    event_sid: str


@batched(Turn.OUTCOME)
def settle_notices(tx: Tx, items: list[NoticeOutcome]) -> list[Exception | None]:
    """Each notice is done, waits for the next attempt, or is given up."""
    for item in items:
        _settle(tx, item)
    return [None] * len(items)


def _settle(tx: Tx, item: NoticeOutcome) -> None:
    row = own_row(tx, item.id, item.sid, item.run)
    if row is None:
        return
    order_key, expires_at = row
    due_at = next_callback_at(tx.now, item.attempt)
    over = due_at >= expires_at
    if item.failure and (item.attempt == 1 or over):
        detail = f"{item.failure}, given up" if over else item.failure
        insert_event(
            tx,
            item.event_sid,
            item.account_sid,
            problems.CALLBACK_FAILED,
            detail,
            service_sid=item.service_sid,
        )
    if not item.failure or over:
        finish(tx, item.id, order_key)
    else:
        tx.execute(_AGAIN, (due_at, item.id))
