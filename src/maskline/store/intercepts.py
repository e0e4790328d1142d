"""Messages that wait for the verdict of their Service's InterceptCallbackUrl: claimed, asked about, let on or blocked.

Such a message stands in the outbox in the place in which it will be sent. Later ones to the same Participant are asked
about meanwhile, but sent behind it. Until the verdict its Session knows nothing of it but its number in line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.callback import START, LegStatuses
from maskline.domain.ids import instant_of
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import DAY, SECOND, Interaction, OutboxState, StoreBodies
from maskline.domain.problems import Code
from maskline.domain.service_settings import blocks_on_failure
from maskline.metrics import VERDICTS
from maskline.store.bodies import blank_if_over
from maskline.store.callback_queue import new_callback, queue_first
from maskline.store.engine import Turn, Tx, Wake, batched
from maskline.store.events import insert_event
from maskline.store.interactions import find_interaction
from maskline.store.lanes import Claimed, LaneClaim, LaneRow, claim, own_row, start
from maskline.store.outbox import finish
from maskline.store.sessions import find_session, use_session
from maskline.store.wants import wants_of

TOPIC = "intercept"
PATIENCE_US = 15 * SECOND
"""How long a message waits for its turn to be asked about. After that there is no verdict, as if the receiver had not
answered; where no verdict blocks, it waits on."""
MINTED_BEFORE_US = DAY
"""How long before its row was written a message's SID may have been made, by clocks that are hours apart."""

DELIVERED, QUEUED = int(MessageStatus.DELIVERED), int(MessageStatus.QUEUED)
WAITING, HELD = int(OutboxState.WAITING), int(OutboxState.HELD)

# Only with its Session: what has been deleted is gone at once, though its rows go later.
_WHOM = """
SELECT v.intercept_callback_url, v.settings, a.token_sealed FROM services v
CROSS JOIN accounts a ON a.sid = v.account_sid
CROSS JOIN sessions s ON s.service_sid = v.sid AND s.sid = ?2
WHERE v.sid = ?1"""
_LATE = """
SELECT id, order_key, seq, account_sid, service_sid, session_sid, interaction_sid FROM outbox
WHERE topic = 'intercept' AND topic <> 'send' AND state = 1 AND service_sid = ? AND due_at <= ?
ORDER BY due_at LIMIT ?"""
_ROW = """
SELECT id, order_key, seq, account_sid, service_sid, session_sid, interaction_sid FROM outbox WHERE id = ?"""
_INSERT = """
INSERT INTO outbox (topic, turn, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid,
       session_sid, interaction_sid, message_sid, recipient, payload, brought_by)
VALUES ('intercept', 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_BUSY = "SELECT 1 FROM outbox WHERE order_key = ? AND seq < ? AND state + 0 <> 0"
_FIRST_FRESH = "SELECT id, interaction_sid FROM outbox WHERE state = 0 ORDER BY id LIMIT 1"
_NOT_IN_LINE = f"""
SELECT sid FROM interactions WHERE service_sid = ? AND session_sid = ? AND sid > ?
AND outbound_participant_sid = ? AND outbound_status = {QUEUED}
EXCEPT SELECT interaction_sid FROM outbox WHERE order_key = ? AND state + 0 <> 0 LIMIT 1"""
_FRESH = "SELECT id, seq FROM outbox WHERE state = 0 AND id < ? AND order_key = ? ORDER BY id"
_PUT = "UPDATE outbox SET state = ?, due_at = ? WHERE id = ?"
_SEND = """
UPDATE outbox SET topic = 'send', state = ?, due_at = ?, owner = NULL, started_at = NULL, attempts = 0 WHERE id = ?"""
_ONE_SIDED = """
UPDATE interactions SET outbound_participant_sid = NULL, outbound_resource_sid = NULL, outbound_status = NULL,
       updated_at = max(updated_at, ?)
WHERE service_sid = ? AND session_sid = ? AND sid = ?"""


@dataclass(slots=True)
class Intercept:
    """A message that this worker asks about. `blocks`: no verdict blocks it."""

    id: int
    sid: str
    account_sid: str
    interaction: Interaction
    url: str
    token_sealed: str
    blocks: bool

    @property
    def service_sid(self) -> str:
        return self.interaction.service_sid


@dataclass(slots=True)
class Verdict:
    """What came of asking. `failure` says why there was no verdict, if there was none."""

    id: int
    run: str
    sid: str
    passes: bool
    failure: str
    event_sid: str


def insert_intercepts(tx: Tx, sends: Sequence[tuple[Any, ...]]) -> None:
    """Put messages (what `relay` would have sent) where they wait for their verdicts, whatever is before them."""
    if sends:
        tx.executemany(_INSERT, [(WAITING, *send) for send in sends])
        tx.wake |= Wake.ASKS


@batched(Turn.START)
def claim_intercepts(tx: Tx, items: list[LaneClaim]) -> list[Claimed[Intercept] | Exception]:
    """Give each worker messages to ask about, Service after Service."""
    return [claim(tx, item, TOPIC, _take, _enter) for item in items]


def _enter(tx: Tx, item: LaneClaim, service_sid: str) -> bool:
    """Let on what has waited too long for its turn, where no verdict lets on."""
    too_late = tx.now - PATIENCE_US
    if item.running_us < PATIENCE_US or not item.event_sids:
        return False
    rows = tx.execute(_LATE, (service_sid, too_late, len(item.event_sids))).fetchall()
    if not rows or _blocks(tx, service_sid):
        return False
    for row in rows:
        _pass(tx, row)
        tx.count(VERDICTS, "none")
        _event(tx, item.event_sids.pop(), row, problems.INTERCEPT_FAILED, "not asked in time")
    return True


def _blocks(tx: Tx, service_sid: str) -> bool:
    row = tx.execute("SELECT settings FROM services WHERE sid = ?", (service_sid,)).fetchone()
    return row is not None and blocks_on_failure(row[0])


def _take(tx: Tx, run: str, row: LaneRow) -> Intercept | None:
    """Start one. What is deleted is dropped, and what nobody wants to be asked about goes on."""
    whom = tx.execute(_WHOM, (row.service_sid, row.session_sid)).fetchone()
    interaction = find_interaction(tx, row.service_sid, row.session_sid, row.interaction_sid)
    if whom is None or interaction is None:
        finish(tx, row.id, row.order_key)
        return None
    url, settings, token_sealed = whom
    if url is None:
        _pass(tx, tx.execute(_ROW, (row.id,)).fetchone())
        return None
    start(tx, run, row.id)
    return Intercept(
        id=row.id,
        sid=row.message_sid,
        account_sid=row.account_sid,
        interaction=interaction._replace(data=row.payload),  # it may be kept nowhere else
        url=url,
        token_sealed=token_sealed,
        blocks=blocks_on_failure(settings),
    )


@batched(Turn.OUTCOME)
def judge_intercepts(tx: Tx, items: list[Verdict]) -> list[Exception | None]:
    """Let each message on to be sent, or leave its Interaction one-sided."""
    for item in items:
        _judge(tx, item)
    return [None] * len(items)


def _judge(tx: Tx, item: Verdict) -> None:
    if own_row(tx, item.id, item.sid, item.run) is None:
        return
    tx.count(VERDICTS, "none" if item.failure else "passed" if item.passes else "blocked")
    row = tx.execute(_ROW, (item.id,)).fetchone()
    if item.passes:
        _pass(tx, row)
        if item.failure:
            _event(tx, item.event_sid, row, problems.INTERCEPT_FAILED, item.failure)
        return
    _, order_key, _, _, *place = row
    tx.execute(_ONE_SIDED, (tx.now, *place))
    finish(tx, item.id, order_key)
    if wants_of(tx, place[0]).bodies is StoreBodies.UNTIL_FINAL:
        blank_if_over(tx, place[0], place[1], place[2])
    _event(tx, item.event_sid, row, problems.INTERCEPTED, item.failure)


def _pass(tx: Tx, row: Any) -> None:
    """The message goes on to be sent, in its place; now its Session has been used, and the customer is told."""
    row_id, order_key, seq, account_sid, service_sid, session_sid, interaction_sid = row
    session = find_session(tx, service_sid, session_sid)
    if session is None:
        finish(tx, row_id, order_key)
        return
    use_session(tx, session)
    _put_in_line(tx, row)
    behind = tx.execute(_BUSY, (order_key, seq)).fetchone() is not None
    tx.execute(_SEND, (HELD if behind else WAITING, tx.now, row_id))
    tx.wake |= Wake.SENDS
    if wants_of(tx, service_sid).callbacks:
        statuses = LegStatuses(DELIVERED, QUEUED, tx.now)
        queue_first(
            tx, [new_callback(account_sid, service_sid, session_sid, interaction_sid, START, statuses)]
        )


def _put_in_line(tx: Tx, row: Any) -> None:
    """Look at those messages to the same Participant that came before and that nobody has looked at yet: whatever ends
    makes due what is next in line, and what is fresh is in none. There may be very many of those; they are gone through
    only if the Session shows a message that waits in no line, and is no older than the first of them.
    """
    row_id, order_key, _, _, service_sid, session_sid, _ = row
    first = tx.execute(_FIRST_FRESH).fetchone()
    if first is None or first[0] > row_id:
        return
    since = f"KI{max(0, instant_of(first[1]) - MINTED_BEFORE_US) // 1000:012x}"
    if tx.execute(_NOT_IN_LINE, (service_sid, session_sid, since, order_key, order_key)).fetchone() is None:
        return
    for fresh_id, seq in tx.execute(_FRESH, (row_id, order_key)).fetchall():
        behind = tx.execute(_BUSY, (order_key, seq)).fetchone() is not None
        tx.execute(_PUT, (HELD if behind else WAITING, tx.now, fresh_id))
        if behind:
            tx.wake |= Wake.WAITERS  # T2 will not look at it before its turn


def _event(tx: Tx, event_sid: str, row: Any, code: Code, detail: str) -> None:
    _, _, _, account_sid, *place = row
    insert_event(tx, event_sid, account_sid, code, detail, *place)
