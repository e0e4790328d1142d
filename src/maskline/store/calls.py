"""Calls that come in: bound to an Interaction, let on, or turned away. What becomes of them is `call_course`.

A carrier waits on the line while this decides, so each step is one short transaction and may be entered again: the
carrier asks once more when it did not hear the answer, and a customer's TwiML hands a call back to its webhook.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from maskline.domain import problems
from maskline.domain.call import (
    MOST_ENTRIES,
    SILENCE_S,
    Place,
    must_accept,
    rings_for_s,
)
from maskline.domain.callback import START, LegStatuses
from maskline.domain.model import SECOND, Interaction, Participant
from maskline.domain.phone import dial_form, is_caller
from maskline.domain.problems import Code
from maskline.domain.route import Match, OutOfSession, Refused, Route, incoming
from maskline.domain.service_settings import blocks_on_failure
from maskline.domain.stranger import LastSession
from maskline.metrics import CALLS, TURNED_AWAY, VERDICTS
from maskline.store.call_course import (
    IN_PROGRESS,
    INITIATED,
    NewCall,
    State,
    end_by_caller,
    end_call,
    find_call,
    leave_one_sided,
    rings,
    set_call,
    tell_of_call,
)
from maskline.store.callback_queue import new_callback, queue_first
from maskline.store.engine import Tx
from maskline.store.interactions import find_interaction
from maskline.store.relay import find_match
from maskline.store.sessions import find_session, use_session
from maskline.store.strangers import find_last_session
from maskline.store.wants import wants_of


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
class Caller:
    """A caller whom no Session takes: whom to ask about them, and the last Session of the pair, if there was one."""

    sid: str
    account_sid: str
    url: str
    token_sealed: str
    last: LastSession | None


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """It is not taken. `busy`: the customer's verdict."""

    busy: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """It has ended, or has to."""


Step = Dialling | Asking | OutOfSession | TurnedAway | Ended


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
_INSERT = """
INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, inbound_participant_sid,
       inbound_resource_sid, inbound_status, outbound_participant_sid, outbound_resource_sid, outbound_status,
       updated_at)
VALUES (?, ?, ?, ?, 'voice', '', ?, ?, ?, ?, ?, ?, ?)"""
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
        tell_of_call(tx, call, problems.UNKNOWN_SCENARIO)
        return Ended()
    known = find_call(tx, call.carrier_key)
    if known is None:
        due_at = tx.now + SILENCE_S * SECOND
        tx.execute(_INSERT_CALL, (call.carrier_key, call.account_sid, call.service_sid, due_at))
    else:
        place, state, entries = known
        if state is State.ENDED or place.service_sid != call.service_sid:
            return Ended()
        tx.execute(_ENTER, (call.carrier_key,))
        if entries >= MOST_ENTRIES:
            if entries == MOST_ENTRIES:
                tell_of_call(tx, call, problems.CALL_LOOPS)
            if not rings(tx, place):
                end_by_caller(tx, call, place, state)
            return Ended()
        if state is not State.NEW:
            return _again(tx, call, place, state)
    return _route(tx, call)


def route_call(tx: Tx, call: NewCall) -> Step:
    """Route a call afresh that no Session took, after one may have been made for it."""
    known = find_call(tx, call.carrier_key)
    if known is None or known.state is State.ENDED:
        return Ended()
    if known.state is not State.NEW:
        return _again(tx, call, known.place, known.state)
    return _route(tx, call)


def _route(tx: Tx, call: NewCall) -> Step:
    match incoming(_match(tx, call), tx.now, tx.idle_close_us, call=True):
        case Route() as route:
            return _bind(tx, call, route)
        case OutOfSession() as nobody:
            return nobody
        case Refused(code, session):
            tell_of_call(tx, call, code, session_sid=session.sid)
            return _turn_away(tx, call)


def find_caller(tx: Tx, call: NewCall) -> Caller | None:
    """What the customer is asked about this call; None if nobody is to be asked."""
    row = tx.execute(_STRANGE, (call.service_sid,)).fetchone()
    if row is None or row[0] is None:
        return None
    last = find_last_session(tx, call.service_sid, call.sender, call.to)
    return Caller(call.inbound_sid, call.account_sid, row[0], row[1], last)


def judge_call(tx: Tx, call: NewCall, place: Place, verdict: Verdict) -> Step:
    """Let a call on that has been asked about, or leave its Interaction one-sided."""
    known = find_call(tx, call.carrier_key)
    interaction = find_interaction(tx, *place)
    if known is None or known.state is not State.ASKING or interaction is None:
        return Ended() if known is None else _again(tx, call, place, known.state)
    if find_session(tx, place.service_sid, place.session_sid) is None:
        return _turn_away(tx, call)  # deleted, and nothing of it is to be kept
    where = (place.session_sid, place.sid)
    tx.count(VERDICTS, "none" if verdict.failure else "passed" if verdict.passes else "blocked")
    if not verdict.passes:
        leave_one_sided(tx, place)
        tell_of_call(tx, call, problems.INTERCEPTED, verdict.failure, *where)
        return _turn_away(tx, call, busy=True)
    partner = _partner(tx, call, interaction)
    if partner is None:  # closed, or somebody gone, while the customer thought
        leave_one_sided(tx, place)
        tell_of_call(tx, call, problems.SESSION_EXPIRED, "", *where)
        return _turn_away(tx, call)
    if verdict.failure:
        tell_of_call(tx, call, problems.INTERCEPT_FAILED, verdict.failure, *where)
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
        (*place, call.account_sid, *inbound, *outbound, tx.now),
    )
    if wants_of(tx, place.service_sid).intercept:
        set_call(tx, call.carrier_key, place, State.ASKING)
        return _ask(tx, call, place)
    return _dial(tx, call, place, route.partner)


def _ask(tx: Tx, call: NewCall, place: Place) -> Step:
    interaction = find_interaction(tx, *place)
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
    set_call(tx, call.carrier_key, place, State.DIALLED, accepts=dialling.must_accept)
    if wants_of(tx, place.service_sid).callbacks:
        statuses = LegStatuses(IN_PROGRESS, INITIATED, tx.now)
        queue_first(tx, [new_callback(call.account_sid, *place, START, statuses)])
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
    interaction = find_interaction(tx, *place)
    if interaction is None or interaction.outbound is None or state is not State.DIALLED:
        return Ended()
    partner = _partner(tx, call, interaction)
    if partner is None or interaction.outbound.status > INITIATED:
        return Ended()
    return _dialling(tx, place, partner) or Ended()


def find_settings(tx: Tx, service_sid: str) -> str | None:
    """What the Service keeps as its settings; None if it is gone."""
    row = tx.execute(_SETTINGS, (service_sid,)).fetchone()
    return row[0] if row is not None else None


def turn_away(tx: Tx, call: NewCall, events: list[tuple[Code, str]], event_sids: list[str]) -> Step:
    """Nobody takes the call, and these events say why; unless it has been bound meanwhile, by another request."""
    known = find_call(tx, call.carrier_key)
    if known is not None and known.state in (State.ASKING, State.DIALLED):
        return _again(tx, call, known.place, known.state)
    for (code, detail), event_sid in zip(events, event_sids, strict=True):
        tell_of_call(tx, replace(call, event_sid=event_sid), code, detail)
    return _turn_away(tx, call)


def _turn_away(tx: Tx, call: NewCall, *, busy: bool = False) -> TurnedAway:
    tx.count(CALLS, TURNED_AWAY)
    end_call(tx, call.carrier_key)
    return TurnedAway(busy)
