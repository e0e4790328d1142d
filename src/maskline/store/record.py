"""T3: what became of a hand-over. Hot.

The outbox row is changed only by the worker that owns it; the leg takes the merged status and the carrier's id from a
late outcome, too. Whatever ends a row makes the next of its order key due, in the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from maskline.domain import problems
from maskline.domain.callback import LegStatuses
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import Instant, OnUncertain, OutboxState, StoreBodies
from maskline.domain.problems import Code
from maskline.store.bodies import blank_if_over
from maskline.store.callback_queue import new_callback, queue_later
from maskline.store.carrier_ids import is_known_elsewhere
from maskline.store.engine import Turn, Tx, Wake, batched
from maskline.store.events import insert_event
from maskline.store.optouts import note_refusal
from maskline.store.outbox import end_each, release_each
from maskline.store.tombstones import bury
from maskline.store.wants import ask_wants, wants_of
from maskline.store.waves import waves

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
    """As UNCERTAIN, of a carrier that can be asked: the row keeps its place until the answer, or until its validity is
    over.
    """


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
    slot_of: str = ""
    """The account whose slot this ends the use of; empty if it used none."""


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

_PUT_BACK = """
UPDATE outbox SET state = ?1, due_at = ?2, owner = NULL, started_at = NULL, attempts = attempts - ?3,
       uncertain = uncertain | ?4, handed_at = CASE ?1 WHEN 5 THEN coalesce(handed_at, started_at) END,
       handed_to = CASE ?5 WHEN 1 THEN carrier_account WHEN 0 THEN handed_to END
WHERE id = ?6"""

_AS_BEFORE, _THIS_ONE, _NO_ONE = 0, 1, 2
"""Of _PUT_BACK: which account may have the message, and has to be asked, or to get it again."""

_EARLY = "SELECT id FROM outbox WHERE order_key = ? AND state + 0 <> 0"
_HASTEN = "UPDATE outbox SET due_at = ? WHERE id = ?"

_FINAL = {Fate.SENT: SENT, Fate.REJECTED: FAILED, Fate.OPTED_OUT: FAILED, Fate.UNCERTAIN: UNKNOWN}
"""The fates that end a message's way, and the status that its leg has by them."""

_CODES = {Fate.UNCERTAIN: problems.DELIVERY_UNKNOWN, Fate.OPTED_OUT: problems.RECIPIENT_OPTED_OUT}
"""Of the events about what became of a message."""

_ERRORS = frozenset({problems.RECIPIENT_OPTED_OUT})
"""Reasons for which Twilio's Messages have a code."""

_OVER = """
SELECT outbound_status, updated_at FROM interactions
WHERE service_sid = ?1 AND session_sid = ?2 AND sid = ?3 AND (outbound_status > ?6 OR EXISTS (
    SELECT 1 FROM outbox WHERE order_key = ?4 AND seq = ?5 AND state + 0 <> 0 AND state <> 4))"""

_LEG = """
SELECT outbound_status, updated_at FROM interactions WHERE service_sid = ? AND session_sid = ? AND sid = ?"""


def has_outcome(tx: Tx, service_sid: str, session_sid: str, sid: str) -> bool:
    """Whether a hand-over that had no outcome has one by now: its carrier has reported on it. That may even have been
    deleted since, and nothing can be before.
    """
    row = tx.execute(_LEG, (service_sid, session_sid, sid)).fetchone()
    return row is None or row[0] > UNKNOWN


class Report(NamedTuple):
    """What is said of an outbound leg: its Interaction, and what it is by now."""

    service_sid: str
    session_sid: str
    sid: str
    status: int
    carrier_id: str | None = None


def merge_leg(
    tx: Tx, service_sid: str, session_sid: str, sid: str, status: int, carrier_id: str | None
) -> tuple[int, int] | None:
    """Merge a report into the outbound leg, and tell the customer if that raised its status.

    Returns (status, updated_at); None if the Interaction is gone.
    """
    return merge_legs(tx, [Report(service_sid, session_sid, sid, status, carrier_id)])[0]


def merge_legs(tx: Tx, reports: Sequence[Report]) -> list[tuple[int, int] | None]:
    """The same for many reports, each on another Interaction."""
    raised = tx.find_each(_RAISE, [(one.status, one.carrier_id, tx.now, *one[:3]) for one in reports])
    ask_wants(tx, (one.service_sid for one in reports))
    legs: list[tuple[int, int] | None] = [row and (row[0], row[1]) for row in raised]
    unmoved = [i for i, row in enumerate(raised) if row is None]
    if unmoved:
        tx.executemany(
            _KEEP, [(one.carrier_id, *one[:3]) for i in unmoved if (one := reports[i]).carrier_id is not None]
        )
        for i, row in zip(unmoved, tx.find_each(_LEG, [reports[i][:3] for i in unmoved]), strict=True):
            legs[i] = row
    moved = [(one, row) for one, row in zip(reports, raised, strict=True) if row is not None]
    callbacks = []
    for one, (known, updated_at, inbound, account_sid) in moved:
        wants = wants_of(tx, one.service_sid)
        if wants.callbacks and one.session_sid:
            statuses = LegStatuses(inbound, known, Instant(updated_at))
            callbacks.append(new_callback(account_sid, *one[:3], known, statuses))
        elif wants.bodies is StoreBodies.UNTIL_FINAL:
            blank_if_over(tx, *one[:3])
    if callbacks:
        queue_later(tx, callbacks)
    return legs


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
    recorded: dict[int, Recorded] = {}
    # What was found by asking counts only if no other message has it: none of the same batch, either.
    apart = any(item.looked_up for item in items)
    for wave in waves("" if apart else item.interaction_sid for item in items):
        recorded.update(zip(wave, _record(tx, [items[place] for place in wave]), strict=True))
    return [recorded[place] for place in range(len(items))]


def _record(tx: Tx, items: list[Outcome]) -> list[Recorded]:
    """The outcomes of different messages."""
    for item in items:
        if item.looked_up and is_known_elsewhere(tx, item.service_sid, item.interaction_sid, item.carrier_id):
            item.fate, item.carrier_id = Fate.ASK, None
        if item.fate in (Fate.UNCERTAIN, Fate.ASK):
            item.uncertain = True  # whatever is done about it now
    rows = tx.find_each(_OWN, [(item.id, item.interaction_sid) for item in items])
    carrier_ids = dict.fromkeys(item.carrier_id for item in items if item.carrier_id is not None)
    early = tx.list_each(_EARLY, [(one,) for one in carrier_ids])
    owns = [row is not None and row[0] == item.run for item, row in zip(items, rows, strict=True)]
    tx.freed += [(item.run, item.slot_of) for item, own in zip(items, owns, strict=True) if own]
    fates = [
        _judge(tx, item, row) if own else item.fate for item, own, row in zip(items, owns, rows, strict=True)
    ]
    judged = list(zip(items, owns, fates, rows, strict=True))
    behind = end_each(tx, [(item.id, row[1]) for item, own, fate, row in judged if own and fate in _FINAL])
    put_back = [
        _put_back(tx, item, fate, row[2]) for item, own, fate, row in judged if own and fate not in _FINAL
    ]
    if put_back:
        tx.executemany(_PUT_BACK, put_back)
        tx.wake |= Wake.SENDS
    legs = _merge(tx, items, fates)
    release_each(tx, behind)
    for item, own, fate, _ in judged:
        if own and (code := _CODES.get(fate)) is not None:
            note_error(tx, item.service_sid, item.session_sid, item.interaction_sid, code)
            _event(tx, item, item.event_sid, code)
        if own and fate in _FINAL and item.notice is not None:
            _event(tx, item, *item.notice)
    known = zip(items, legs, strict=True)
    deleted = [item.carrier_id for item, leg in known if leg is None and item.carrier_id is not None]
    bury(tx, deleted)
    _hasten(tx, early)
    recorded = []
    for item, fate, leg in zip(items, fates, legs, strict=True):
        status, updated_at = leg or (max(_FINAL.get(fate, 0), QUEUED), tx.now)
        recorded.append(Recorded(item.interaction_sid, status, updated_at))
    return recorded


def _merge(tx: Tx, items: list[Outcome], fates: list[Fate]) -> list[tuple[int, int] | None]:
    """What the outbound legs are by these fates."""
    legs: dict[str, tuple[int, int] | None] = {}
    ended, waiting = [], []
    for item, fate in zip(items, fates, strict=True):
        place = (item.service_sid, item.session_sid, item.interaction_sid)
        status = _FINAL.get(fate)
        if status is None:
            waiting.append(place)
        else:
            ended.append(Report(*place, status, item.carrier_id))
    legs.update(zip((one.sid for one in ended), merge_legs(tx, ended), strict=True))
    legs.update(zip((place[2] for place in waiting), tx.find_each(_LEG, waiting), strict=True))
    return [legs[item.interaction_sid] for item in items]


def _event(tx: Tx, item: Outcome, sid: str, code: Code) -> None:
    place = (item.service_sid, item.session_sid, item.interaction_sid)
    insert_event(tx, sid, item.account_sid, code, "", *place)


def _judge(tx: Tx, item: Outcome, row: Any) -> Fate:
    """What becomes of the worker's own row."""
    _, _, expires_at, uncertain, number, recipient = row
    if item.fate is Fate.OPTED_OUT and recipient:  # else whoever it was has been erased meanwhile
        note_refusal(tx, item.optout_sid, item.account_sid, item.service_sid, recipient, number)
    if (item.uncertain or uncertain) and has_outcome(
        tx, item.service_sid, item.session_sid, item.interaction_sid
    ):
        return Fate.SENT
    if item.fate is Fate.UNCERTAIN or (item.fate is Fate.ASK and expires_at <= tx.now):
        return _decide(tx, item, expires_at)
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


def _put_back(tx: Tx, item: Outcome, fate: Fate, expires_at: int) -> tuple[Any, ...]:
    """What `_PUT_BACK` takes for a row that is to be tried or asked for again."""
    state, due_at, undo = WAITING, tx.now + item.delay_us, 0
    if fate is Fate.ASK:
        state = UNCERTAIN
    elif fate is Fate.GIVEN_BACK:
        due_at, undo = tx.now, 1
    holder = _THIS_ONE if item.uncertain else _AS_BEFORE
    if fate is Fate.RETRY and item.fate is not Fate.RETRY:
        holder = _NO_ONE  # the Service has it sent once more, whoever has it
    # Past its validity it would only wait to fail: let it come due then.
    return state, min(due_at, expires_at), undo, int(item.uncertain), holder, item.id


class MessagePlace(NamedTuple):
    """Where a message to a Participant is found, in its Session and in the outbox."""

    service_sid: str
    session_sid: str
    sid: str
    participant_sid: str
    seq: int


def find_recorded(tx: Tx, places: Sequence[MessagePlace]) -> list[Recorded]:
    """The legs of those of these messages that have an outcome, or wait for something."""
    rows = tx.find_each(_OVER, [(*place, QUEUED) for place in places])
    return [Recorded(place.sid, *row) for place, row in zip(places, rows, strict=True) if row is not None]


def _hasten(tx: Tx, early: Sequence[list[Any]]) -> None:
    """Make due what a carrier reported before its own answer arrived. A shortcut: it would come due anyway."""
    if hastened := [(tx.now, row[0]) for rows in early for row in rows]:
        tx.executemany(_HASTEN, hastened)
        tx.wake |= Wake.SENDS
