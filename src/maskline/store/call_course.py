"""How far a call is: its row, what its carrier says of it, and how it ends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from maskline.domain import problems
from maskline.domain.call import SILENCE_S, News, Place, as_told, is_final
from maskline.domain.callback import LegStatuses
from maskline.domain.interaction import CALL_WORDS, CallStatus, merge
from maskline.domain.model import DAY, SECOND, Instant
from maskline.domain.phone import mask
from maskline.domain.problems import Code
from maskline.metrics import CALLS
from maskline.store.callback_queue import new_callback, queue_later
from maskline.store.engine import Tx
from maskline.store.events import insert_event
from maskline.store.interactions import find_interaction
from maskline.store.sessions import find_session, use_session
from maskline.store.wants import wants_of

INITIATED, IN_PROGRESS, COMPLETED = CallStatus.INITIATED, CallStatus.IN_PROGRESS, CallStatus.COMPLETED
REMEMBERED_US = 7 * DAY
"""How long an ended call is known, so that one who plays its request again learns nothing."""


class State(IntEnum):
    """How far a call is, seen from its webhook."""

    NEW = 0
    ASKING = 1
    DIALLED = 2
    ENDED = 3


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call as it comes in, with the SIDs it will have if it is passed on. `sender` and `to` are identifier keys."""

    account_sid: str
    service_sid: str
    carrier_key: str
    to: str
    sender: str
    sid: str
    inbound_sid: str
    outbound_sid: str
    event_sid: str


_BIND = """
UPDATE calls SET session_sid = ?, interaction_sid = ?, state = ?, accepts = ?, due_at = ? WHERE carrier_key = ?"""
_END = "UPDATE calls SET state = 3, due_at = ? WHERE carrier_key = ?"
_FIND = """
SELECT service_sid, session_sid, interaction_sid, state, entries FROM calls WHERE carrier_key = ?"""
_OF_INTERACTION = """
SELECT carrier_key, account_sid, accepts, answered_at FROM calls
WHERE service_sid = ? AND interaction_sid = ? AND interaction_sid <> ''"""
_ONE_SIDED = """
UPDATE interactions SET outbound_participant_sid = NULL, outbound_resource_sid = NULL, outbound_status = NULL,
       inbound_status = ?, data = ?, updated_at = max(updated_at, ?)
WHERE service_sid = ? AND session_sid = ? AND sid = ?"""
_MERGE = """
UPDATE interactions SET inbound_status = ?, outbound_status = ?, data = ?, updated_at = max(updated_at, ?)
WHERE service_sid = ? AND session_sid = ? AND sid = ?"""


class KnownCall(NamedTuple):
    """A call that has come in before. `place`: its Interaction, once it has one; `entries`: how often it came in."""

    place: Place
    state: State
    entries: int


def find_call(tx: Tx, carrier_key: str) -> KnownCall | None:
    """What is known of the call with this name."""
    row = tx.execute(_FIND, (carrier_key,)).fetchone()
    return KnownCall(Place(*row[:3]), State(row[3]), row[4]) if row is not None else None


def hear_of_call(tx: Tx, account_sid: str, place: Place, news: News, event_sid: str) -> None:
    """A carrier says how far the partner's side of a call is."""
    row = tx.execute(_OF_INTERACTION, (place.service_sid, place.sid)).fetchone()
    if row is None or row[1] != account_sid:
        insert_event(tx, event_sid, account_sid, problems.RECEIPT_UNMATCHED, "a call", place.service_sid)
        return
    carrier_key, _, accepts, answered_at = row
    status = as_told(news.status, must_accept=bool(accepts))
    if status is IN_PROGRESS and answered_at is None:
        tx.execute("UPDATE calls SET answered_at = ? WHERE carrier_key = ?", (tx.now, carrier_key))
    duration_s = 0
    if status is COMPLETED:
        since = (tx.now - answered_at) // SECOND if answered_at is not None else 0
        duration_s = since if news.duration_s is None else news.duration_s
    _merge(tx, account_sid, place, status, duration_s, event_sid, carrier_key)


def accept_call(tx: Tx, account_sid: str, place: Place, event_sid: str) -> bool:
    """The partner has pressed the key: from now on they are joined. False if the call has ended meanwhile."""
    row = tx.execute(_OF_INTERACTION, (place.service_sid, place.sid)).fetchone()
    interaction = find_interaction(tx, *place)
    if row is None or row[1] != account_sid or interaction is None or interaction.outbound is None:
        return False
    if is_final(interaction.outbound.status):
        return False
    tx.execute("UPDATE calls SET accepts = 0 WHERE carrier_key = ?", (row[0],))
    hear_of_call(tx, account_sid, place, News(IN_PROGRESS), event_sid)
    return True


def hang_up_call(tx: Tx, call: NewCall) -> None:
    """The caller's side has ended, whatever is still to be heard of the partner's."""
    known = find_call(tx, call.carrier_key)
    if known is None or known.place.service_sid != call.service_sid:
        tell_of_call(tx, call, problems.RECEIPT_UNMATCHED)
        return
    end_by_caller(tx, call, known.place, known.state)


def end_by_caller(tx: Tx, call: NewCall, place: Place, state: State) -> None:
    """End a call that is this far from the caller's side."""
    interaction = find_interaction(tx, *place)
    if state is State.ASKING:  # whatever the verdict will be, there is nobody to be put through
        leave_one_sided(tx, place)
        end_call(tx, call.carrier_key)
    elif interaction is None or interaction.outbound is None:
        end_call(tx, call.carrier_key)
    elif not is_final(interaction.outbound.status):
        was_joined = interaction.outbound.status == IN_PROGRESS
        news = News(COMPLETED if was_joined else CallStatus.CANCELED)
        hear_of_call(tx, call.account_sid, place, news, call.event_sid)


def rings(tx: Tx, place: Place) -> bool:
    """Whether the carrier is known to have begun to dial the partner."""
    interaction = find_interaction(tx, *place)
    outbound = interaction.outbound if interaction is not None else None
    return outbound is not None and outbound.status > INITIATED


def find_silent_calls(tx: Tx, most: int) -> list[str]:
    """Up to `most` calls that have been silent for too long, or have ended long ago."""
    rows = tx.execute(
        "SELECT carrier_key FROM calls WHERE due_at <= ? ORDER BY due_at LIMIT ?", (tx.now, most)
    ).fetchall()
    return [key for (key,) in rows]


def end_silent_calls(tx: Tx, carrier_keys: list[str], event_sids: list[str]) -> None:
    """Take those of these calls for ended that are still silent, and forget those that have ended."""
    for carrier_key, event_sid in zip(carrier_keys, event_sids, strict=True):
        row = tx.execute(
            "SELECT account_sid, service_sid, session_sid, interaction_sid, state FROM calls"
            " WHERE carrier_key = ? AND due_at <= ?",
            (carrier_key, tx.now),
        ).fetchone()
        if row is None:
            continue
        account_sid, *sids, state = row
        place = Place(*sids)
        interaction = find_interaction(tx, *place) if state in (State.ASKING, State.DIALLED) else None
        outbound = interaction.outbound if interaction is not None else None
        if outbound is None or is_final(outbound.status):
            tx.execute("DELETE FROM calls WHERE carrier_key = ?", (carrier_key,))
            continue
        if state == State.ASKING:
            leave_one_sided(tx, place)
            end_call(tx, carrier_key)
        else:
            was_joined = outbound.status == IN_PROGRESS
            status, duration_s = (COMPLETED, None) if was_joined else (CallStatus.FAILED, 0)
            _merge(tx, account_sid, place, status, duration_s, event_sid, carrier_key)
        _tell(tx, event_sid, account_sid, problems.CALL_WENT_SILENT, place)


def _merge(
    tx: Tx,
    account_sid: str,
    place: Place,
    status: CallStatus,
    duration_s: int | None,
    event_sid: str,
    carrier_key: str,
) -> None:
    """Merge a status into the partner's leg. Its end is the caller's end too, and the last use of the Session.

    `duration_s` is what the call took, if this ends it; None: nobody knows.
    """
    interaction = find_interaction(tx, *place)
    if interaction is None:  # deleted, and nothing of it is to be kept
        return
    inbound, outbound = interaction.inbound, interaction.outbound
    if inbound is None or outbound is None:  # it was not let on, so nobody was dialled
        _tell(tx, event_sid, account_sid, problems.CALL_NOT_OPEN, place)
        return
    known = outbound.status
    if is_final(known) and is_final(status) and status != known:
        _tell(tx, event_sid, account_sid, problems.CALL_NOT_OPEN, place)
    merged, data = merge(known, status), interaction.data
    ends = is_final(merged) and not is_final(known)
    if is_final(status) and duration_s is not None and (not data or merged != known):
        data = _data(duration_s)
    if merged == known and data == interaction.data:
        return
    inbound_status = int(COMPLETED) if is_final(merged) else inbound.status
    tx.execute(_MERGE, (inbound_status, merged, data, tx.now, *place))
    if ends:
        tx.count(CALLS, CALL_WORDS[merged])
        end_call(tx, carrier_key)
        session = find_session(tx, place.service_sid, place.session_sid)
        if session is not None:
            use_session(tx, session)
    if merged != known and wants_of(tx, place.service_sid).callbacks:
        statuses = LegStatuses(inbound_status, merged, Instant(max(tx.now, interaction.updated_at)))
        queue_later(tx, [new_callback(account_sid, *place, merged, statuses)])


def leave_one_sided(tx: Tx, place: Place) -> None:
    """End its Interaction without the side of the partner, who was never dialled."""
    tx.execute(_ONE_SIDED, (int(COMPLETED), _data(0), tx.now, *place))


def _data(duration_s: int) -> str:
    return json.dumps({"duration": str(duration_s)}, separators=(",", ":"))


def set_call(tx: Tx, carrier_key: str, place: Place, state: State, *, accepts: bool = False) -> None:
    """It is this far, as this Interaction. `accepts`: the partner has to press a key first."""
    due_at = tx.now + SILENCE_S * SECOND
    tx.execute(_BIND, (place.session_sid, place.sid, int(state), int(accepts), due_at, carrier_key))


def end_call(tx: Tx, carrier_key: str) -> None:
    """Its row has ended."""
    tx.execute(_END, (tx.now + REMEMBERED_US, carrier_key))


def tell_of_call(
    tx: Tx,
    call: NewCall,
    code: Code,
    detail: str = "",
    session_sid: str | None = None,
    interaction_sid: str | None = None,
) -> None:
    """Raise an event about a call, with both numbers masked."""
    whom = f"from {mask(call.sender)} to {mask(call.to)}"
    told = f"{whom}, {detail}" if detail else whom
    where = (call.service_sid, session_sid, interaction_sid)
    insert_event(tx, call.event_sid, call.account_sid, code, told, *where)


def _tell(tx: Tx, event_sid: str, account_sid: str, code: Code, place: Place) -> None:
    insert_event(tx, event_sid, account_sid, code, "", *place)
