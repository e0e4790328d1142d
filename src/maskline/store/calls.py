"""Calls that come in: bound to an Interaction, let on or not, and what their carrier says of them until they end.

A carrier waits on the line while this decides, so each step is one short transaction and may be entered again: the
carrier asks once more when it did not hear the answer, and a customer's TwiML hands a call back to its webhook.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from maskline.domain import problems
from maskline.domain.call import (
    MOST_ENTRIES,
    SILENCE_S,
    News,
    Place,
    as_told,
    is_final,
    must_accept,
    rings_for_s,
)
from maskline.domain.callback import START, Told
from maskline.domain.interaction import CALL_WORDS, CallStatus, merge
from maskline.domain.model import DAY, SECOND, Instant, Interaction, Participant
from maskline.domain.phone import dial_form, is_caller, mask
from maskline.domain.problems import Code
from maskline.domain.route import Match, OutOfSession, Refused, Route, incoming
from maskline.domain.service_settings import blocks_on_failure
from maskline.domain.stranger import Last
from maskline.metrics import CALLS, TURNED_AWAY, VERDICTS
from maskline.store.engine import Tx
from maskline.store.events import insert_event
from maskline.store.interactions import find_interaction
from maskline.store.relay import find_match
from maskline.store.sessions import find_session, use_session
from maskline.store.strangers import find_last
from maskline.store.telling import insert_first, insert_later, new_callback, wants_of

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


@dataclass(frozen=True, slots=True)
class Dialling:
    """The partner is to be dialled."""

    place: Place
    to: str
    caller_id: str
    ring_s: int
    must_accept: bool


@dataclass(frozen=True, slots=True)
class Asking:
    """The customer is to be asked first. `blocks`: no verdict blocks it."""

    sid: str
    account_sid: str
    interaction: Interaction
    url: str
    token_sealed: str
    blocks: bool


@dataclass(frozen=True, slots=True)
class Strange:
    """No Session takes it; the event of it, if nobody else answers it, is `code`."""

    code: Code


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller whom no Session takes: whom to ask about them, and the last Session of the pair, if there was one."""

    sid: str
    account_sid: str
    url: str
    token_sealed: str
    last: Last | None


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """It is not taken. `busy`: the customer's verdict."""

    busy: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """It has ended, or has to."""


Step = Dialling | Asking | Strange | TurnedAway | Ended


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of asking. `failure` says why there was no verdict, if there was none."""

    passes: bool
    failure: str


_NUMBER = "SELECT account_sid, service_sid FROM numbers WHERE phone_number = ?"
_INSERT_CALL = """
INSERT INTO calls (carrier_key, account_sid, service_sid, session_sid, interaction_sid, state, entries, accepts, due_at)
VALUES (?, ?, ?, '', '', 0, 1, 0, ?)"""
_ENTER = "UPDATE calls SET entries = entries + 1 WHERE carrier_key = ?"
_BIND = """
UPDATE calls SET session_sid = ?, interaction_sid = ?, state = ?, accepts = ?, due_at = ? WHERE carrier_key = ?"""
_END = "UPDATE calls SET state = 3, due_at = ? WHERE carrier_key = ?"
_FIND = "SELECT service_sid, session_sid, interaction_sid, state, entries FROM calls WHERE carrier_key = ?"
_OF_INTERACTION = """
SELECT carrier_key, account_sid, accepts, answered_at FROM calls
WHERE service_sid = ? AND interaction_sid = ? AND interaction_sid <> ''"""
_INSERT = """
INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, inbound_participant_sid,
       inbound_resource_sid, inbound_status, outbound_participant_sid, outbound_resource_sid, outbound_status,
       updated_at)
VALUES (?, ?, ?, ?, 'voice', '', ?, ?, ?, ?, ?, ?, ?)"""
_ONE_SIDED = """
UPDATE interactions SET outbound_participant_sid = NULL, outbound_resource_sid = NULL, outbound_status = NULL,
       inbound_status = ?, data = ?, updated_at = max(updated_at, ?)
WHERE service_sid = ? AND session_sid = ? AND sid = ?"""
_MERGE = """
UPDATE interactions SET inbound_status = ?, outbound_status = ?, data = ?, updated_at = max(updated_at, ?)
WHERE service_sid = ? AND session_sid = ? AND sid = ?"""
_SETTINGS = "SELECT settings FROM services WHERE sid = ?"
_ASKED = """
SELECT v.intercept_callback_url, v.settings, a.token_sealed FROM services v
CROSS JOIN accounts a ON a.sid = v.account_sid WHERE v.sid = ?"""

_STRANGE = """
SELECT v.out_of_session_callback_url, a.token_sealed FROM services v
CROSS JOIN accounts a ON a.sid = v.account_sid WHERE v.sid = ?"""


def enter_call(tx: Tx, call: NewCall) -> Step:
    """Take a call in, for the first time or again, and say what comes next."""
    number = tx.execute(_NUMBER, (call.to,)).fetchone()
    if number is None or tuple(number) != (call.account_sid, call.service_sid):
        _event(tx, call, problems.UNKNOWN_SCENARIO)
        return Ended()
    row = tx.execute(_FIND, (call.carrier_key,)).fetchone()
    if row is None:
        due_at = tx.now + SILENCE_S * SECOND
        tx.execute(_INSERT_CALL, (call.carrier_key, call.account_sid, call.service_sid, due_at))
    else:
        service_sid, session_sid, interaction_sid, state, entries = row
        if state == State.ENDED or service_sid != call.service_sid:
            return Ended()
        tx.execute(_ENTER, (call.carrier_key,))
        place = Place(service_sid, session_sid, interaction_sid)
        if entries >= MOST_ENTRIES:
            if entries == MOST_ENTRIES:
                _event(tx, call, problems.CALL_LOOPS)
            if not _rings(tx, place):
                _hang_up(tx, call, place, State(state))
            return Ended()
        if state != State.NEW:
            return _again(tx, call, place, State(state))
    return _route(tx, call)


def route_call(tx: Tx, call: NewCall) -> Step:
    """Route a call afresh that no Session took, after one may have been made for it."""
    row = tx.execute(_FIND, (call.carrier_key,)).fetchone()
    if row is None or row[3] == State.ENDED:
        return Ended()
    if row[3] != State.NEW:
        return _again(tx, call, Place(*row[:3]), State(row[3]))
    return _route(tx, call)


def _route(tx: Tx, call: NewCall) -> Step:
    match incoming(_match(tx, call), tx.now, tx.idle_close_us, call=True):
        case Route() as route:
            return _bind(tx, call, route)
        case OutOfSession(code):
            return Strange(code)
        case Refused(code, session):
            _event(tx, call, code, session_sid=session.sid)
            return _turn_away(tx, call)


def find_caller(tx: Tx, call: NewCall) -> Caller | None:
    """What the customer is asked about this call; None if nobody is to be asked."""
    row = tx.execute(_STRANGE, (call.service_sid,)).fetchone()
    if row is None or row[0] is None:
        return None
    last = find_last(tx, call.service_sid, call.sender, call.to)
    return Caller(call.inbound_sid, call.account_sid, row[0], row[1], last)


def judge_call(tx: Tx, call: NewCall, place: Place, verdict: Verdict) -> Step:
    """Let a call on that has been asked about, or leave its Interaction one-sided."""
    row = tx.execute(_FIND, (call.carrier_key,)).fetchone()
    interaction = find_interaction(tx, place.service_sid, place.session_sid, place.sid)
    if row is None or row[3] != State.ASKING or interaction is None:
        return Ended() if row is None else _again(tx, call, place, State(row[3]))
    if find_session(tx, place.service_sid, place.session_sid) is None:
        return _turn_away(tx, call)  # deleted, and nothing of it is to be kept
    where = {"session_sid": place.session_sid, "interaction_sid": place.sid}
    tx.count(VERDICTS, "none" if verdict.failure else "passed" if verdict.passes else "blocked")
    if not verdict.passes:
        _leave_one_sided(tx, place)
        _event(tx, call, problems.INTERCEPTED, verdict.failure, **where)
        return _turn_away(tx, call, busy=True)
    partner = _partner(tx, call, interaction)
    if partner is None:  # closed, or somebody gone, while the customer thought
        _leave_one_sided(tx, place)
        _event(tx, call, problems.SESSION_EXPIRED, **where)
        return _turn_away(tx, call)
    if verdict.failure:
        _event(tx, call, problems.INTERCEPT_FAILED, verdict.failure, **where)
    return _dial(tx, call, place, partner)


def _match(tx: Tx, call: NewCall) -> Match | None:
    """The caller's active pair. Whoever hides their number is in none: what is said of them is said of all who do."""
    return find_match(tx, call.service_sid, call.to, call.sender) if is_caller(call.sender) else None


def _partner(tx: Tx, call: NewCall, interaction: Interaction) -> Participant | None:
    """Whom a call that is bound to a Session still reaches by it; None: it has ended, or somebody has left it."""
    route = incoming(_match(tx, call), tx.now, tx.idle_close_us, call=True)
    if not isinstance(route, Route) or interaction.outbound is None:
        return None
    bound = (interaction.session_sid, interaction.outbound.participant_sid)
    return route.partner if (route.session.sid, route.partner.sid) == bound else None


def _bind(tx: Tx, call: NewCall, route: Route) -> Step:
    """Write the Interaction. It is the customer's to let it on first, if they want to be asked."""
    session = route.session
    place = Place(session.service_sid, session.sid, call.sid)
    inbound = (route.sender.sid, call.inbound_sid, int(IN_PROGRESS))
    outbound = (route.partner.sid, call.outbound_sid, int(INITIATED))
    tx.execute(
        _INSERT,
        (place.service_sid, place.session_sid, place.sid, call.account_sid, *inbound, *outbound, tx.now),
    )
    if wants_of(tx, place.service_sid).intercept:
        _set(tx, call.carrier_key, place, State.ASKING)
        return _ask(tx, call, place)
    return _dial(tx, call, place, route.partner)


def _ask(tx: Tx, call: NewCall, place: Place) -> Step:
    interaction = find_interaction(tx, place.service_sid, place.session_sid, place.sid)
    asked = tx.execute(_ASKED, (place.service_sid,)).fetchone()
    if interaction is None or interaction.inbound is None or asked is None:
        return Ended()
    url, settings, token_sealed = asked
    if url is None:  # there was one when the call came in
        return judge_call(tx, call, place, Verdict(passes=True, failure=""))
    sid = interaction.inbound.resource_sid
    return Asking(sid, call.account_sid, interaction, url, token_sealed, blocks_on_failure(settings))


def _dial(tx: Tx, call: NewCall, place: Place, partner: Participant) -> Step:
    """From now on the Session has been used, and the customer is told."""
    dialling = _dialling(tx, place, partner)
    if dialling is None:
        return Ended()
    session = find_session(tx, place.service_sid, place.session_sid)
    if session is not None:
        use_session(tx, session)
    _set(tx, call.carrier_key, place, State.DIALLED, accepts=dialling.must_accept)
    if wants_of(tx, place.service_sid).callbacks:
        told = Told(IN_PROGRESS, INITIATED, tx.now)
        where = (call.account_sid, place.service_sid, place.session_sid, place.sid)
        insert_first(tx, [new_callback(*where, START, told)])
    return dialling


def _dialling(tx: Tx, place: Place, partner: Participant) -> Dialling | None:
    settings = find_settings(tx, place.service_sid)
    if settings is None:
        return None
    to, caller_id = dial_form(partner.identifier_key, "voice", settings), partner.proxy_identifier
    return Dialling(place, to, caller_id, rings_for_s(settings), must_accept(settings))


def _again(tx: Tx, call: NewCall, place: Place, state: State) -> Step:
    """What was answered before, as long as the carrier cannot have begun to do it."""
    if state is State.ASKING:
        return _ask(tx, call, place)
    interaction = find_interaction(tx, place.service_sid, place.session_sid, place.sid)
    if interaction is None or interaction.outbound is None or state is not State.DIALLED:
        return Ended()
    partner = _partner(tx, call, interaction)
    if partner is None or interaction.outbound.status > INITIATED:
        return Ended()
    return _dialling(tx, place, partner) or Ended()


def hear_of_call(tx: Tx, account_sid: str, place: Place, news: News, event_sid: str) -> None:
    """A carrier says how far the partner's side of a call is."""
    row = tx.execute(_OF_INTERACTION, (place.service_sid, place.sid)).fetchone()
    if row is None or row[1] != account_sid:
        where = {"service_sid": place.service_sid}
        insert_event(tx, event_sid, account_sid, problems.RECEIPT_UNMATCHED, "a call", **where)
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
    interaction = find_interaction(tx, place.service_sid, place.session_sid, place.sid)
    if row is None or row[1] != account_sid or interaction is None or interaction.outbound is None:
        return False
    if is_final(interaction.outbound.status):
        return False
    tx.execute("UPDATE calls SET accepts = 0 WHERE carrier_key = ?", (row[0],))
    hear_of_call(tx, account_sid, place, News(IN_PROGRESS), event_sid)
    return True


def hang_up_call(tx: Tx, call: NewCall) -> None:
    """The caller's side has ended, whatever is still to be heard of the partner's."""
    row = tx.execute(_FIND, (call.carrier_key,)).fetchone()
    if row is None or row[0] != call.service_sid:
        _event(tx, call, problems.RECEIPT_UNMATCHED)
        return
    _hang_up(tx, call, Place(*row[:3]), State(row[3]))


def _hang_up(tx: Tx, call: NewCall, place: Place, state: State) -> None:
    interaction = find_interaction(tx, place.service_sid, place.session_sid, place.sid)
    if state is State.ASKING:  # whatever the verdict will be, there is nobody to be put through
        _leave_one_sided(tx, place)
        _end(tx, call.carrier_key)
    elif interaction is None or interaction.outbound is None:
        _end(tx, call.carrier_key)
    elif not is_final(interaction.outbound.status):
        was_joined = interaction.outbound.status == IN_PROGRESS
        news = News(COMPLETED if was_joined else CallStatus.CANCELED)
        hear_of_call(tx, call.account_sid, place, news, call.event_sid)


def _rings(tx: Tx, place: Place) -> bool:
    """Whether the carrier is known to have begun to dial the partner."""
    interaction = find_interaction(tx, place.service_sid, place.session_sid, place.sid)
    outbound = interaction.outbound if interaction is not None else None
    return outbound is not None and outbound.status > INITIATED


def find_settings(tx: Tx, service_sid: str) -> str | None:
    """What the Service keeps as its settings; None if it is gone."""
    row = tx.execute(_SETTINGS, (service_sid,)).fetchone()
    return row[0] if row is not None else None


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
        account_sid, *where, state = row
        place = Place(*where)
        interaction = find_interaction(tx, *where) if state in (State.ASKING, State.DIALLED) else None
        outbound = interaction.outbound if interaction is not None else None
        if outbound is None or is_final(outbound.status):
            tx.execute("DELETE FROM calls WHERE carrier_key = ?", (carrier_key,))
            continue
        if state == State.ASKING:
            _leave_one_sided(tx, place)
            _end(tx, carrier_key)
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
    interaction = find_interaction(tx, place.service_sid, place.session_sid, place.sid)
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
    where = (place.service_sid, place.session_sid, place.sid)
    tx.execute(_MERGE, (inbound_status, merged, data, tx.now, *where))
    if ends:
        tx.count(CALLS, CALL_WORDS[merged])
        _end(tx, carrier_key)
        session = find_session(tx, place.service_sid, place.session_sid)
        if session is not None:
            use_session(tx, session)
    if merged != known and wants_of(tx, place.service_sid).callbacks:
        told = Told(inbound_status, merged, Instant(max(tx.now, interaction.updated_at)))
        insert_later(tx, [new_callback(account_sid, *where, merged, told)])


def _leave_one_sided(tx: Tx, place: Place) -> None:
    where = (place.service_sid, place.session_sid, place.sid)
    tx.execute(_ONE_SIDED, (int(COMPLETED), _data(0), tx.now, *where))


def _data(duration_s: int) -> str:
    return json.dumps({"duration": str(duration_s)}, separators=(",", ":"))


def _set(tx: Tx, carrier_key: str, place: Place, state: State, *, accepts: bool = False) -> None:
    due_at = tx.now + SILENCE_S * SECOND
    tx.execute(_BIND, (place.session_sid, place.sid, int(state), int(accepts), due_at, carrier_key))


def _end(tx: Tx, carrier_key: str) -> None:
    tx.execute(_END, (tx.now + REMEMBERED_US, carrier_key))


def turn_away(tx: Tx, call: NewCall, events: list[tuple[Code, str]], event_sids: list[str]) -> Step:
    """Nobody takes the call, and these events say why; unless it has been bound meanwhile, by another request."""
    row = tx.execute(_FIND, (call.carrier_key,)).fetchone()
    if row is not None and row[3] in (State.ASKING, State.DIALLED):
        return _again(tx, call, Place(*row[:3]), State(row[3]))
    for (code, detail), event_sid in zip(events, event_sids, strict=True):
        _event(tx, replace(call, event_sid=event_sid), code, detail)
    return _turn_away(tx, call)


def _turn_away(tx: Tx, call: NewCall, *, busy: bool = False) -> TurnedAway:
    tx.count(CALLS, TURNED_AWAY)
    _end(tx, call.carrier_key)
    return TurnedAway(busy)


def _event(tx: Tx, call: NewCall, code: Code, detail: str = "", **where: Any) -> None:
    whom = f"from {mask(call.sender)} to {mask(call.to)}"
    told = f"{whom}, {detail}" if detail else whom
    insert_event(tx, call.event_sid, call.account_sid, code, told, service_sid=call.service_sid, **where)


def _tell(tx: Tx, event_sid: str, account_sid: str, code: Code, place: Place) -> None:
    where = {
        "service_sid": place.service_sid,
        "session_sid": place.session_sid,
        "interaction_sid": place.sid,
    }
    insert_event(tx, event_sid, account_sid, code, **where)
