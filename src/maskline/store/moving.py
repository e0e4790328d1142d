"""A Session moves to numbers of carrier accounts that work, as that of those it has is down (`flows/failover.py`).

One transaction gives each participant concerned another number, by the rules of assignment, keeps the one that they had
as a former number, which still answers them, tells them by a text from the new one, and has what waits for them go from
there in its order. What their old carrier may have taken is not sent by another: it ends as unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from maskline.domain import problems
from maskline.domain.callback import START, LegStatuses
from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import OutboxState, Participant, ProxyNumber, Session, SessionStatus, StoreBodies
from maskline.domain.phone import mask
from maskline.domain.service_settings import moves_on_outage
from maskline.store.bodies import keep_for_now, passing_body
from maskline.store.callback_queue import new_callback, queue_first
from maskline.store.engine import Tx, Wake
from maskline.store.erasure import is_being_erased
from maskline.store.events import insert_event
from maskline.store.health import find_troubles
from maskline.store.numbers import count_use, find_number, find_number_by_sid
from maskline.store.optouts import carry_optout
from maskline.store.outbox import finish
from maskline.store.participants import PARTICIPANT_COLUMNS, leave_former, session_uses
from maskline.store.people import find_taken, remember_number, take_person
from maskline.store.record import merge_leg
from maskline.store.session_ends import close_expired_of_person
from maskline.store.sessions import find_session
from maskline.store.wants import wants_of

QUEUED, UNKNOWN = int(MessageStatus.QUEUED), int(MessageStatus.DELIVERY_UNKNOWN)
PARKED, WAITING, HELD, STARTED = (
    int(OutboxState.PARKED),
    int(OutboxState.WAITING),
    int(OutboxState.HELD),
    int(OutboxState.STARTED),
)
UNCERTAIN = int(OutboxState.UNCERTAIN)
BEHIND_ALL = 2
"""Greater than the turn of any message."""


class Moved(Enum):
    """What became of it."""

    YES = auto()
    LATER = auto()
    """Something for those concerned is being handed over, and what comes of that has to be known first."""
    STUCK = auto()
    """Somebody is on a number whose account is down, and there is no other for them."""
    NO_NEED = auto()


@dataclass(frozen=True, slots=True)
class Notice:
    """The SIDs of a text that tells a participant of their new number; `data` is the text as JSON. `optout_sid` is for
    an opt-out that goes on, `event_sid` for a message whose outcome remains unknown.
    """

    sid: str
    message_sid: str
    optout_sid: str
    event_sid: str
    data: str


@dataclass(frozen=True, slots=True)
class Move:
    """A Session that is to move. `choices`: for each of its Participants the SIDs of the numbers that they could be
    given, best first. `accounts`: those that can be sent by.
    """

    account_sid: str
    service_sid: str
    session_sid: str
    choices: Mapping[str, Sequence[str]]
    accounts: frozenset[str]
    notices: Mapping[str, Notice]
    validity_us: int
    event_sid: str


# What waits for an account that is down: parked, its numbers one by one; what has been tried and waits for its time;
# and what its carrier may have taken, which is no reason by itself, but what waits behind it is.
_NEXT_NUMBER = """
SELECT number FROM outbox WHERE state = 2 AND carrier_account = ?1 AND (number, turn, id) > (?2, ?3, ?4)
ORDER BY number, turn, id LIMIT 1"""
_BEHIND = (
    "EXISTS (SELECT 1 FROM outbox b WHERE b.order_key = o.order_key AND b.seq > o.seq AND b.state + 0 <> 0)"
)
_PARKED = f"""
SELECT o.turn, o.id, o.account_sid, o.service_sid, o.session_sid, o.uncertain = 0 OR {_BEHIND} FROM outbox o
WHERE o.state = 2 AND o.carrier_account = ?1 AND o.number = ?2 AND (o.turn, o.id) > (?3, ?4)
ORDER BY o.turn, o.id LIMIT ?5"""
_TRIED = f"""
SELECT o.due_at, o.id, o.account_sid, o.service_sid, o.session_sid,
       n.carrier_account = ?1 AND (o.state = 1 AND o.uncertain = 0 OR {_BEHIND})
FROM outbox o LEFT JOIN numbers n ON n.phone_number = o.number
WHERE o.topic = 'send' AND o.state IN (1, 5) AND o.due_at >= ?2 AND (o.due_at > ?2 OR o.id > ?3)
ORDER BY o.due_at, o.id LIMIT ?4"""
_OWNER = "SELECT service_sid FROM numbers WHERE phone_number = ?"
_SETTINGS = "SELECT settings FROM services WHERE sid = ?"

_PEOPLE = f"""
SELECT {PARTICIPANT_COLUMNS} FROM participants
WHERE service_sid = ? AND session_sid = ? AND active + 0 = 1 ORDER BY sid"""
_LINE = """
SELECT id, state, topic, number, uncertain, interaction_sid, seq FROM outbox
WHERE order_key = ? AND state + 0 <> 0 AND topic IN ('send', 'intercept') ORDER BY seq"""
_GIVE = """
UPDATE participants SET proxy_identifier = ?, proxy_identifier_sid = ?, updated_at = ?
WHERE service_sid = ? AND session_sid = ? AND sid = ?"""
_LAST_LEFT = "SELECT max(left_at) FROM former_numbers WHERE service_sid = ? AND session_sid = ? AND participant_sid = ?"
_INSERT_FORMER = """
INSERT INTO former_numbers (service_sid, session_sid, participant_sid, left_at, identifier_key, proxy_identifier,
       active, sent_before)
VALUES (?, ?, ?, ?, ?, ?, 1, ?)"""
_FORMER = """
SELECT proxy_identifier FROM former_numbers
WHERE service_sid = ? AND session_sid = ? AND participant_sid = ? AND active + 0 = 1"""
_READDRESS = """
UPDATE outbox SET number = ?, attempts = 0 WHERE order_key = ? AND state + 0 <> 0 AND topic IN ('send', 'intercept')"""
_PUT = "UPDATE outbox SET state = ?, carrier_account = NULL, due_at = ? WHERE id = ?"

_INSERT_AUTOMATIC = """
INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, outbound_participant_sid,
       outbound_resource_sid, outbound_status, updated_at)
VALUES (?, ?, ?, ?, 'message', ?, ?, ?, ?, ?)"""

# Before all that waits: their places in line count up from 1, so those of notices are below.
_INSERT_NOTICE = """
INSERT INTO outbox (topic, state, turn, order_key, seq, number, due_at, expires_at, account_sid, service_sid,
       session_sid, interaction_sid, message_sid, recipient, payload)
VALUES ('send', 1, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


@dataclass(frozen=True, slots=True)
class Stranded:
    """Sessions that are to move: account, Service and Session. `after` is where the next page begins; None: this is the
    last one.
    """

    places: list[tuple[str, str, str]]
    after: Any


def find_tried(tx: Tx, carrier_account: str, after: Any, most: int) -> Stranded:
    """A page of the Sessions that move and of which a message was tried, and waits for this account, which is down. So
    many messages are looked at, whoever they wait for.
    """
    rows = tx.execute(_TRIED, (carrier_account, *(after or (0, 0)), most)).fetchall()
    places = _that_move(tx, rows)
    return Stranded(places, (*rows[-1][:2],) if len(rows) == most else None)


def find_parked(tx: Tx, carrier_account: str, after: Any, most: int) -> Stranded:
    """The same of those with parked messages, number after number. Those of numbers whose Service stays where it is are
    passed over.
    """
    found: list[Any] = []
    left, key = most, after or ("", 0, 0)
    while left > 0:
        row = tx.execute(_NEXT_NUMBER, (carrier_account, *key)).fetchone()
        if row is None:
            return Stranded(_that_move(tx, found), None)
        (number,) = row
        owner = tx.execute(_OWNER, (number,)).fetchone()
        if owner is None or not _moves(tx, owner[0] or ""):
            key = number, BEHIND_ALL, 0
            left -= 1
            continue
        before = key[1:] if key[0] == number else (0, 0)
        rows = tx.execute(_PARKED, (carrier_account, number, *before, left)).fetchall()
        found += rows
        key = (number, *rows[-1][:2])
        left -= len(rows)
    return Stranded(_that_move(tx, found), key)


def _moves(tx: Tx, service_sid: str) -> bool:
    row = tx.execute(_SETTINGS, (service_sid,)).fetchone()
    return row is not None and moves_on_outage(row[0])


def _that_move(tx: Tx, rows: Sequence[Any]) -> list[tuple[str, str, str]]:
    """The Sessions of these rows, each once, as far as they have reason to move and their Service wants it."""
    places = dict.fromkeys((row[2], row[3], row[4]) for row in rows if row[4] and row[5])
    moving = {service_sid: _moves(tx, service_sid) for service_sid in {place[1] for place in places}}
    return [place for place in places if moving[place[1]]]


def find_people(tx: Tx, service_sid: str, session_sid: str) -> list[Participant]:
    """The active participants of a Session."""
    return [Participant(*row) for row in tx.execute(_PEOPLE, (service_sid, session_sid)).fetchall()]


def find_former(tx: Tx, person: Participant) -> list[str]:
    """The numbers that the participant had before and that still answer."""
    place = (person.service_sid, person.session_sid, person.sid)
    return [number for (number,) in tx.execute(_FORMER, place).fetchall()]


def find_down(tx: Tx) -> frozenset[str]:
    """The carrier accounts that are down."""
    return frozenset(name for name, trouble in find_troubles(tx).items() if trouble.is_down)


def move_session(tx: Tx, move: Move) -> Moved:
    """Move the Session, if it is active, its Service still wants that, and there is still need."""
    row = tx.execute(_SETTINGS, (move.service_sid,)).fetchone()
    session = find_session(tx, move.service_sid, move.session_sid)
    if row is None or not moves_on_outage(row[0]):
        return Moved.NO_NEED
    if session is None or session.status is SessionStatus.CLOSED:
        return Moved.NO_NEED
    people = find_people(tx, session.service_sid, session.sid)
    if any(is_being_erased(tx, person.service_sid, person.identifier_key) for person in people):
        return Moved.NO_NEED  # it is about to be closed, and nothing more is to be known of them
    lines = {person.sid: tx.execute(_LINE, (person.sid,)).fetchall() for person in people}
    down = find_down(tx)
    leaving = [person for person in people if _has_to_leave(tx, person, down)]
    # What was accepted before the Session moved, and had not yet been looked at then, is still to follow.
    following = [
        person
        for person in people
        if person not in leaving and any(row[3] != person.proxy_identifier for row in lines[person.sid])
    ]
    if any(_is_under_way(lines[person.sid]) for person in (*leaving, *following)):
        return Moved.LATER
    stuck = False
    changed: list[tuple[str, str]] = []
    for person in leaving:
        new = _first_free(tx, person, move, down)
        if new is None:
            stuck = True
            continue
        line = lines[person.sid]
        _give(tx, session, person, new, move.notices[person.sid], line)
        changed.append((person.proxy_identifier, new.phone_number))
        moved = replace(person, proxy_identifier=new.phone_number)
        _readdress(tx, move, moved, line, move.notices[person.sid])
    for person in following:
        _readdress(tx, move, person, lines[person.sid], None)
    if changed:
        said = ", ".join(f"{mask(before)} to {mask(after)}" for before, after in changed)
        where = (session.service_sid, session.sid)
        insert_event(tx, move.event_sid, move.account_sid, problems.SESSION_MOVED, said, *where)
    if changed or following:
        return Moved.YES
    return Moved.STUCK if stuck else Moved.NO_NEED


def _has_to_leave(tx: Tx, person: Participant, down: frozenset[str]) -> bool:
    """Whether the account of their number is down. One that is in no pool is not for us to change."""
    number = find_number(tx, person.proxy_identifier) if person.proxy_identifier_sid is not None else None
    return number is not None and number.carrier_account in down


def _is_under_way(line: Iterable[Any]) -> bool:
    return any(state == STARTED and topic == "send" for _, state, topic, *_ in line)


def _first_free(tx: Tx, person: Participant, move: Move, down: frozenset[str]) -> ProxyNumber | None:
    """The first of the numbers chosen that still can be given. One that they had before is theirs to have again."""
    take_person(tx, person.service_sid, person.identifier_key)
    close_expired_of_person(tx, person.service_sid, person.identifier_key)
    taken = find_taken(tx, person.service_sid, person.identifier_key).difference(find_former(tx, person))
    for sid in move.choices.get(person.sid, ()):
        number = find_number_by_sid(tx, sid)
        if (
            number is not None
            and number.service_sid == person.service_sid
            and not number.is_reserved
            and number.phone_number not in taken
            and number.carrier_account in move.accounts - down
        ):
            return number
    return None


def _give(
    tx: Tx, session: Session, person: Participant, new: ProxyNumber, notice: Notice, line: Sequence[Any]
) -> None:
    """Put the participant on another number, and keep the one they had."""
    place = (person.service_sid, person.session_sid, person.sid)
    before, number, key = person.proxy_identifier, new.phone_number, person.identifier_key
    leave_former(tx, session, person.sid, number)
    joins = not session_uses(tx, session, number)
    tx.execute(_GIVE, (number, new.sid, max(tx.now, person.updated_at), *place))
    (last,) = tx.execute(_LAST_LEFT, place).fetchone()
    left_at = max(tx.now, (last or 0) + 1)
    sent_before = next((row[5] for row in line), notice.sid)
    tx.execute(_INSERT_FORMER, (*place, left_at, key, before, sent_before))
    count_use(tx, before, sessions=0, participants=-1, former=1)
    count_use(tx, number, sessions=int(joins), participants=1)
    remember_number(tx, person.service_sid, key, number, joins=False)
    carry_optout(tx, notice.optout_sid, person.service_sid, key, before, number)


def _readdress(tx: Tx, move: Move, person: Participant, line: Sequence[Any], notice: Notice | None) -> None:
    """Have what waits for the participant go from the number that they have now, behind the notice if there is one."""
    rows = list(line)
    if rows and rows[0][2] == "send" and (rows[0][4] or rows[0][1] == UNCERTAIN):
        if notice is None and len(rows) == 1:
            return  # nothing waits for what its carrier will say
        _give_up(tx, move, person, rows.pop(0))
    tx.execute(_READDRESS, (person.proxy_identifier, person.sid))
    tells = notice is not None and not (rows and rows[0][6] < 0)  # one that was not sent yet says the same
    if rows and rows[0][2] == "send":
        tx.execute(_PUT, (HELD if tells else WAITING, tx.now, rows[0][0]))
    if notice is not None and tells:
        _tell(tx, move, person, notice)
    tx.wake |= Wake.SENDS


def _give_up(tx: Tx, move: Move, person: Participant, row: Any) -> None:
    """Its carrier may have taken it, and nobody waits for what that will say."""
    finish(tx, row[0], person.sid)
    place = (person.service_sid, person.session_sid, row[5])
    leg = merge_leg(tx, *place, UNKNOWN, None)
    if leg is None or leg[0] != UNKNOWN:
        return  # or it has, by a report
    event_sid = move.notices[person.sid].event_sid
    detail = f"to {mask(person.identifier_key)}"
    insert_event(tx, event_sid, move.account_sid, problems.DELIVERY_UNKNOWN, detail, *place)


def _tell(tx: Tx, move: Move, person: Participant, notice: Notice) -> None:
    """Send the participant a text from their new number, before all others."""
    place = (person.service_sid, person.session_sid)
    wants = wants_of(tx, person.service_sid)
    data = NO_BODY if wants.bodies is StoreBodies.NEVER else notice.data
    leg = (person.sid, notice.message_sid, QUEUED)
    tx.execute(_INSERT_AUTOMATIC, (*place, notice.sid, move.account_sid, data, *leg, tx.now))
    tx.execute(
        _INSERT_NOTICE,
        (
            person.sid,
            -tx.now,
            person.proxy_identifier,
            tx.now,
            tx.now + move.validity_us,
            move.account_sid,
            *place,
            notice.sid,
            notice.message_sid,
            person.identifier_key,
            notice.data,
        ),
    )
    if wants.bodies is StoreBodies.UNTIL_FINAL:
        keep_for_now(tx, [passing_body(tx, *place, notice.sid, move.validity_us)])
    if wants.callbacks:
        statuses = LegStatuses(None, QUEUED, tx.now)
        queue_first(tx, [new_callback(move.account_sid, *place, notice.sid, START, statuses)])
