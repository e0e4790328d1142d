"""T3: what became of a hand-over. Hot.

The outbox row is changed only by the worker that owns it; the leg takes the merged status and the carrier's id from a
late outcome, too. Whatever ends a row makes the next of its order key due, in the same transaction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from maskline.domain import problems
from maskline.domain.callback import Told
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import Instant, OnUncertain, OutboxState, StoreBodies
from maskline.domain.problems import Code
from maskline.store.bodies import blank_if_over
from maskline.store.claims import is_claimed
from maskline.store.engine import Turn, Tx, Wake, batched
from maskline.store.events import insert_event
from maskline.store.optouts import note_refusal
from maskline.store.outbox import finish
from maskline.store.telling import insert_later, new_callback, wants_of
from maskline.store.tombstones import bury

QUEUED, UNKNOWN, SENT, FAILED = (
    int(MessageStatus.QUEUED),
    int(MessageStatus.DELIVERY_UNKNOWN),
    int(MessageStatus.SENT),
    int(MessageStatus.FAILED),
)

WAITING, HELD, UNCERTAIN = int(OutboxState.WAITING), int(OutboxState.HELD), int(OutboxState.UNCERTAIN)


class Fate(StrEnum):
    """What is known of a hand-over."""

    SENT = "sent"
    REJECTED = "rejected"
    OPTED_OUT = "opted out"
    """Rejected, because the recipient has opted out at the carrier."""
    RETRY = "retry"
    """The carrier certainly did not take it: again after `delay_us`."""
    GIVEN_BACK = "given back"
    """It was never written to the wire: again at once, and the attempt does not count."""
    UNCERTAIN = "uncertain"
    """Nobody can know whether the carrier took it: the Service's `on_uncertain` decides."""
    ASK = "ask"
    """As UNCERTAIN, of a carrier that can be asked: the row keeps its place until the answer."""


@dataclass(slots=True)
class Outcome:
    """One outcome. `run` is the worker's; `carrier_id` is the carrier's own id of the message, with its account."""

    id: int
    run: str
    account_sid: str
    service_sid: str
    session_sid: str
    interaction_sid: str
    fate: Fate
    event_sid: str
    carrier_id: str | None = None
    delay_us: int = 0
    uncertain: bool = False
    """The carrier may have taken it, though it will be handed over or asked for again."""
    optout_sid: str = ""
    """Of the opt-out that is written down if the recipient has opted out."""
    notice: tuple[str, Code] | None = None
    """One more event, by its SID, if this is the end of it."""
    looked_up: bool = False
    """`carrier_id` was found by asking: it counts only if no other message has it."""


@dataclass(slots=True)
class Recorded:
    """The leg as it is now, for whoever waits for it."""

    interaction_sid: str
    status: int
    updated_at: int


_RAISE = """
UPDATE interactions SET outbound_status = ?1, carrier_id = coalesce(carrier_id, ?2), updated_at = max(updated_at, ?3)
WHERE service_sid = ?4 AND session_sid = ?5 AND sid = ?6 AND outbound_status < ?1
RETURNING outbound_status, updated_at, inbound_status, account_sid"""

_KEEP = """
UPDATE interactions SET carrier_id = coalesce(carrier_id, ?) WHERE service_sid = ? AND session_sid = ? AND sid = ?"""

_OWN = """
SELECT owner, order_key, expires_at, uncertain, number, recipient FROM outbox
WHERE id = ? AND interaction_sid = ? AND state = 4"""

_CODES = {Fate.UNCERTAIN: problems.DELIVERY_UNKNOWN, Fate.OPTED_OUT: problems.RECIPIENT_OPTED_OUT}
"""Of the events about what became of a message."""

_ERRORS = frozenset({problems.RECIPIENT_OPTED_OUT})
"""Reasons for which Twilio's Messages have a code."""

_LEG = """
SELECT outbound_status, updated_at FROM interactions WHERE service_sid = ? AND session_sid = ? AND sid = ?"""


def merge_leg(
    tx: Tx, service_sid: str, session_sid: str, sid: str, status: int, carrier_id: str | None
) -> tuple[int, int] | None:
    """Merge a report into the outbound leg, and tell the customer if that raised its status.

    Returns (status, updated_at); None if the Interaction is gone.
    """
    place = (service_sid, session_sid, sid)
    raised = tx.execute(_RAISE, (status, carrier_id, tx.now, *place)).fetchone()
    if raised is None:
        if carrier_id is not None:
            tx.execute(_KEEP, (carrier_id, *place))
        row: tuple[int, int] | None = tx.execute(_LEG, place).fetchone()
        return row
    known, updated_at, inbound, account_sid = raised
    wants = wants_of(tx, service_sid)
    if wants.callbacks and session_sid:
        told = Told(inbound, known, Instant(updated_at))
        insert_later(tx, new_callback(account_sid, *place, known, told))
    elif wants.bodies is StoreBodies.UNTIL_FINAL:
        blank_if_over(tx, *place)
    return known, updated_at


def note_error(tx: Tx, service_sid: str, session_sid: str, sid: str, code: Code) -> bool:
    """Keep with the Interaction why its message failed, if Twilio has a code for that; whether this is new."""
    if code not in _ERRORS:
        return False
    noted = tx.execute(
        "UPDATE interactions SET error_code = ?"
        " WHERE service_sid = ? AND session_sid = ? AND sid = ? AND error_code IS NULL",
        (code.number, service_sid, session_sid, sid),
    )
    return bool(noted.rowcount)


@batched(Turn.OUTCOME)
def record_outcomes(tx: Tx, items: list[Outcome]) -> list[Recorded | Exception]:
    """Write each outcome down and move its outbox row on."""
    return [_record(tx, item) for item in items]


def _record(tx: Tx, item: Outcome) -> Recorded:
    if item.looked_up and is_claimed(tx, item.service_sid, item.interaction_sid, item.carrier_id):
        item.fate, item.carrier_id = Fate.ASK, None
    row = tx.execute(_OWN, (item.id, item.interaction_sid)).fetchone()
    own = row is not None and row[0] == item.run
    if item.fate in (Fate.UNCERTAIN, Fate.ASK):
        item.uncertain = True  # whatever is done about it now
    fate = _judge(tx, item, row) if own else item.fate
    status, final = 0, True
    match fate:
        case Fate.SENT:
            status = SENT
        case Fate.REJECTED | Fate.OPTED_OUT:
            status = FAILED
        case Fate.UNCERTAIN:
            status = UNKNOWN
        case Fate.RETRY | Fate.GIVEN_BACK | Fate.ASK:
            final = False
    if own:
        if final:
            finish(tx, item.id, row[1])
        else:
            _put_back(tx, item, fate, expires_at=row[2])
    place = (item.service_sid, item.session_sid, item.interaction_sid)
    leg = merge_leg(tx, *place, status, item.carrier_id) if final else tx.execute(_LEG, place).fetchone()
    if own and (code := _CODES.get(fate)) is not None:
        note_error(tx, *place, code)
        _event(tx, item, item.event_sid, code)
    if own and final and item.notice is not None:
        _event(tx, item, *item.notice)
    if item.carrier_id is not None:
        if leg is None:  # deleted meanwhile
            bury(tx, [item.carrier_id])
        hasten_receipts(tx, item.carrier_id)
    known, updated_at = leg or (max(status, QUEUED), tx.now)
    return Recorded(item.interaction_sid, known, updated_at)


def _event(tx: Tx, item: Outcome, sid: str, code: Code) -> None:
    where = {
        "service_sid": item.service_sid,
        "session_sid": item.session_sid,
        "interaction_sid": item.interaction_sid,
    }
    insert_event(tx, sid, item.account_sid, code, **where)


def _judge(tx: Tx, item: Outcome, row: Any) -> Fate:
    """What becomes of the worker's own row."""
    _, _, expires_at, uncertain, number, recipient = row
    if item.fate is Fate.UNCERTAIN:
        return _decide(tx, item, expires_at)
    if item.fate is Fate.OPTED_OUT and recipient:  # else whoever it was has been erased meanwhile
        note_refusal(tx, item.optout_sid, item.account_sid, item.service_sid, recipient, number)
    if item.fate in (Fate.REJECTED, Fate.OPTED_OUT) and uncertain:
        return Fate.UNCERTAIN  # this time it was refused; the time before it may have been taken
    return item.fate


def _decide(tx: Tx, item: Outcome, expires_at: int) -> Fate:
    """What the Service wants done with an uncertain message. Past its validity, none is sent again."""
    if expires_at <= tx.now:
        return Fate.UNCERTAIN
    row = tx.execute("SELECT settings FROM services WHERE sid = ?", (item.service_sid,)).fetchone()
    resend = row is not None and json.loads(row[0]).get("on_uncertain") == OnUncertain.RESEND
    return Fate.RETRY if resend else Fate.UNCERTAIN


def _put_back(tx: Tx, item: Outcome, fate: Fate, expires_at: int) -> None:
    state, due_at, undo = WAITING, tx.now + item.delay_us, 0
    if fate is Fate.ASK:
        state = UNCERTAIN
    elif fate is Fate.GIVEN_BACK:
        due_at, undo = tx.now, 1
    # Past its validity it would only wait to fail: let it come due then.
    tx.execute(
        "UPDATE outbox SET state = ?1, due_at = ?2, owner = NULL, started_at = NULL, attempts = attempts - ?3,"
        " uncertain = uncertain | ?4, handed_at = CASE ?1 WHEN 5 THEN coalesce(handed_at, started_at) END"
        " WHERE id = ?5",
        (state, min(due_at, expires_at), undo, int(item.uncertain), item.id),
    )
    tx.wake |= Wake.SENDS


def hasten_receipts(tx: Tx, carrier_id: str) -> None:
    """Make due what the carrier reported before its own answer arrived. A shortcut: it would come due anyway."""
    hastened = tx.execute(
        "UPDATE outbox SET due_at = ? WHERE order_key = ? AND state <> 0", (tx.now, carrier_id)
    )
    if hastened.rowcount:
        tx.wake |= Wake.SENDS
