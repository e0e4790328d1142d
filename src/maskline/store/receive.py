"""T1 of an inbound message: from a carrier's word to a durable relay, or to an event that says why there is none. Hot.

The carrier is answered only after this has been committed; what it sends again stops at `received`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.callback import START, Told
from maskline.domain.channel import scheme_of
from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import Participant, SessionStatus, StoreBodies
from maskline.domain.phone import mask
from maskline.domain.problems import Code
from maskline.domain.route import Match, OutOfSession, Refused, Route, incoming
from maskline.store.accept import INSERT_SEND, START_SESSION, TOUCH_SESSION
from maskline.store.bodies import keep_for_now, passing_body
from maskline.store.engine import Turn, Tx, Wake, batched
from maskline.store.events import insert_event
from maskline.store.intercepts import insert_intercept
from maskline.store.optouts import obey_word
from maskline.store.pairs import Turned, count_message
from maskline.store.sessions import SESSION_COLUMNS, make_session
from maskline.store.telling import insert_first, new_callback, wants_of

QUEUED, DELIVERED = int(MessageStatus.QUEUED), int(MessageStatus.DELIVERED)


@dataclass(slots=True)
class NewInbound:
    """A message that a carrier brought, with the SIDs it will have if it is relayed. `sender` is an identifier key,
    `word` its text as opt-out words are compared, if it can be one; then `optout_sid` is what the opt-out would be.
    """

    carrier_account: str
    carrier_id: str
    to: str
    sender: str
    data: str
    validity_us: int
    sid: str
    inbound_sid: str
    outbound_sid: str
    event_sid: str
    word: str = ""
    optout_sid: str = ""


@dataclass(slots=True)
class Received:
    """What became of it. `interaction_sid` is None if there is no relay; `known` is False for a number that is not
    in any pool (and no channel sender), `repeated` for what the carrier had brought before.
    """

    interaction_sid: str | None = None
    known: bool = True
    repeated: bool = False


_PARTICIPANT = (
    "service_sid, sid, session_sid, identifier, identifier_key, friendly_name, proxy_identifier,"
    " proxy_identifier_sid, deleted_at, created_at, updated_at"
)

_INSERT_RELAY = """
INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, inbound_participant_sid,
       inbound_resource_sid, inbound_status, outbound_participant_sid, outbound_resource_sid, outbound_status,
       updated_at)
VALUES (?, ?, ?, ?, 'message', ?, ?, ?, ?, ?, ?, ?, ?)"""


_COUNT = "UPDATE sessions SET seq = ? WHERE service_sid = ? AND sid = ?"


@batched(Turn.RECEIVE)
def receive_messages(tx: Tx, items: list[NewInbound]) -> list[Received | Exception]:
    """Take each message in: relay it, or write down why not."""
    return [_receive(tx, item) for item in items]


def _receive(tx: Tx, item: NewInbound) -> Received:
    number = tx.execute(
        "SELECT account_sid, service_sid FROM numbers WHERE phone_number = ?", (item.to,)
    ).fetchone()
    if number is None or (number[1] is None and not scheme_of(item.to)):
        return Received(known=False)
    taken = tx.execute(
        "INSERT INTO received (carrier_account, carrier_id, received_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (item.carrier_account, item.carrier_id, tx.now),
    )
    if taken.rowcount == 0:
        return Received(repeated=True)
    account_sid, service_sid = number
    if service_sid is None:
        _event(tx, item, account_sid, None, None, problems.SENDER_NOT_WIRED)
        return Received()
    if item.word and _obey(tx, item, account_sid, service_sid):
        return Received()
    if not _is_slow_enough(tx, item, account_sid, service_sid):
        return Received()
    match incoming(find_match(tx, service_sid, item.to, item.sender), tx.now, tx.idle_close_us):
        case Route() as route:
            return _relay(tx, item, account_sid, route)
        case OutOfSession(code):
            _event(tx, item, account_sid, service_sid, None, code)
        case Refused(code, session):
            _event(tx, item, account_sid, service_sid, session.sid, code)
    return Received()


def _obey(tx: Tx, item: NewInbound, account_sid: str, service_sid: str) -> bool:
    """Whether this is a word that is dropped, whatever it has to do with a Session; with an event, if so."""
    where = (account_sid, service_sid, item.sender, item.to)
    if not obey_word(tx, item.optout_sid, *where, item.word):
        return False
    match = find_match(tx, service_sid, item.to, item.sender)
    session_sid = match.session.sid if match is not None else None
    _event(tx, item, account_sid, service_sid, session_sid, problems.STOP_WORD)
    return True


def _is_slow_enough(tx: Tx, item: NewInbound, account_sid: str, service_sid: str) -> bool:
    """Whether the message is taken by how many this sender has written lately; if not, an event says so once."""
    limit = wants_of(tx, service_sid).pair_limit
    turned = count_message(tx, service_sid, item.sender, item.to, limit) if limit else Turned.IN
    if turned is Turned.AWAY_FIRST:
        _event(tx, item, account_sid, service_sid, None, problems.TOO_MANY_BETWEEN_TWO)
    return turned is Turned.IN


def _event(
    tx: Tx, item: NewInbound, account_sid: str, service_sid: str | None, session_sid: str | None, code: Code
) -> None:
    detail = f"from {mask(item.sender)} to {mask(item.to)}"
    insert_event(
        tx, item.event_sid, account_sid, code, detail, service_sid=service_sid, session_sid=session_sid
    )


def find_match(tx: Tx, service_sid: str, proxy_number: str, sender: str) -> Match | None:
    """The active pair of a proxy number and a sender, its Session and partner; None if there is none."""
    row = tx.execute(
        f"SELECT {_PARTICIPANT} FROM participants"
        " WHERE service_sid = ? AND identifier_key = ? AND proxy_identifier = ? AND active = 1",
        (service_sid, sender, proxy_number),
    ).fetchone()
    if row is None:
        return None
    writer = Participant(*row)
    session: Any = tx.execute(
        f"SELECT {SESSION_COLUMNS} FROM sessions WHERE service_sid = ? AND sid = ?",
        (service_sid, writer.session_sid),
    ).fetchone()
    if session is None:
        return None
    partner = tx.execute(
        f"SELECT {_PARTICIPANT} FROM participants"
        " WHERE service_sid = ? AND session_sid = ? AND sid <> ? AND deleted_at IS NULL",
        (service_sid, writer.session_sid, writer.sid),
    ).fetchone()
    return Match(make_session(session), writer, Participant(*partner) if partner else None)


def _relay(tx: Tx, item: NewInbound, account_sid: str, route: Route) -> Received:
    """Bind the message to its Session: as an Interaction, and in the outbox, where it waits to be sent or, before that,
    for the verdict of the customer.
    """
    session, partner = route.session, route.partner
    wants = wants_of(tx, session.service_sid)
    place = (session.service_sid, session.sid)
    (seq,) = tx.execute("SELECT seq FROM sessions WHERE service_sid = ? AND sid = ?", place).fetchone()
    if wants.intercept:
        tx.execute(_COUNT, (seq + 1, *place))
    else:
        tx.execute(TOUCH_SESSION, (seq + 1, tx.now, *place))
        if session.status is SessionStatus.OPEN:
            tx.execute(START_SESSION, (tx.now, *place))
    tx.execute(
        _INSERT_RELAY,
        (
            *place,
            item.sid,
            account_sid,
            NO_BODY if wants.bodies is StoreBodies.NEVER else item.data,
            route.sender.sid,
            item.inbound_sid,
            DELIVERED,
            partner.sid,
            item.outbound_sid,
            QUEUED,
            tx.now,
        ),
    )
    send = (
        partner.sid,
        seq + 1,
        partner.proxy_identifier,
        tx.now,
        tx.now + item.validity_us,
        account_sid,
        *place,
        item.sid,
        item.outbound_sid,
        partner.identifier_key,
        item.data,
    )
    if wants.bodies is StoreBodies.UNTIL_FINAL:
        keep_for_now(tx, [passing_body(tx, *place, item.sid, item.validity_us)])
    if wants.intercept:
        insert_intercept(tx, send)
        return Received(interaction_sid=item.sid)
    tx.execute(INSERT_SEND, send)
    tx.wake |= Wake.SENDS
    if wants.callbacks:
        told = Told(DELIVERED, QUEUED, tx.now)
        insert_first(tx, [new_callback(account_sid, *place, item.sid, START, told)])
    return Received(interaction_sid=item.sid)
