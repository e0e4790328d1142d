"""From somebody's proxy number to their partner: who that is, and how a message is bound to their Session. Hot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskline.domain.callback import START, Told
from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import Participant, SessionStatus, StoreBodies
from maskline.domain.route import Match, Route
from maskline.store.accept import START_SESSION, TOUCH_SESSION
from maskline.store.bodies import keep_for_now, passing_body
from maskline.store.engine import Tx, Wake
from maskline.store.intercepts import insert_intercept
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


PARTICIPANT_COLUMNS = (
    "service_sid, sid, session_sid, identifier, identifier_key, friendly_name, proxy_identifier,"
    " proxy_identifier_sid, deleted_at, created_at, updated_at"
)

_INSERT_RELAY = """
INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, inbound_participant_sid,
       inbound_resource_sid, inbound_status, outbound_participant_sid, outbound_resource_sid, outbound_status,
       updated_at)
VALUES (?, ?, ?, ?, 'message', ?, ?, ?, ?, ?, ?, ?, ?)"""


# It goes before what the API has made, where either has to wait.
_INSERT_SEND = """
INSERT INTO outbox (topic, state, turn, order_key, seq, number, due_at, expires_at, account_sid, service_sid,
       session_sid, interaction_sid, message_sid, recipient, payload, brought_by)
VALUES ('send', 0, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_PAIR = f"""
SELECT {PARTICIPANT_COLUMNS} FROM participants
WHERE service_sid = ? AND identifier_key = ? AND proxy_identifier = ? AND active = 1"""
_of_p = ", ".join(f"p.{name.strip()}" for name in PARTICIPANT_COLUMNS.split(","))
_FORMER_PAIR = f"""
SELECT {_of_p} FROM former_numbers f
CROSS JOIN participants p ON p.service_sid = f.service_sid AND p.session_sid = f.session_sid
    AND p.sid = f.participant_sid AND p.active + 0 = 1
WHERE f.service_sid = ? AND f.identifier_key = ? AND f.proxy_identifier = ? AND f.active = 1"""

_BOUND = """
SELECT session_sid, sid FROM participants
WHERE service_sid = ?1 AND identifier_key = ?2 AND proxy_identifier = ?3 AND active = 1
UNION ALL SELECT session_sid, participant_sid FROM former_numbers
WHERE service_sid = ?1 AND identifier_key = ?2 AND proxy_identifier = ?3 AND active = 1"""
_NUMBERS = """
SELECT proxy_identifier FROM participants WHERE service_sid = ?1 AND session_sid = ?2 AND sid = ?3
UNION ALL SELECT proxy_identifier FROM former_numbers
WHERE service_sid = ?1 AND session_sid = ?2 AND participant_sid = ?3 AND active + 0 = 1"""

_COUNT = "UPDATE sessions SET seq = ? WHERE service_sid = ? AND sid = ?"


def find_match(tx: Tx, service_sid: str, proxy_number: str, sender: str) -> Match | None:
    """The active pair of a proxy number and a sender, its Session and partner; None if there is none.

    A number that the sender had before the Session moved answers like the one they have now.
    """
    pair = (service_sid, sender, proxy_number)
    row = tx.execute(_PAIR, pair).fetchone() or tx.execute(_FORMER_PAIR, pair).fetchone()
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
        f"SELECT {PARTICIPANT_COLUMNS} FROM participants"
        " WHERE service_sid = ? AND session_sid = ? AND sid <> ? AND deleted_at IS NULL",
        (service_sid, writer.session_sid, writer.sid),
    ).fetchone()
    return Match(make_session(session), writer, Participant(*partner) if partner else None)


def find_bound(tx: Tx, service_sid: str, identifier_key: str, number: str) -> list[str]:
    """The other numbers that this person has, or had, in the Session in which they have or had this one."""
    row = tx.execute(_BOUND, (service_sid, identifier_key, number)).fetchone()
    if row is None:
        return []
    numbers = tx.execute(_NUMBERS, (service_sid, *row)).fetchall()
    return [other for (other,) in numbers if other != number]


def relay(tx: Tx, item: NewInbound, account_sid: str, route: Route) -> None:
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
        item.carrier_account,
    )
    if wants.bodies is StoreBodies.UNTIL_FINAL:
        keep_for_now(tx, [passing_body(tx, *place, item.sid, item.validity_us)])
    if wants.intercept:
        insert_intercept(tx, send)
        return
    tx.execute(_INSERT_SEND, send)
    tx.wake |= Wake.SENDS
    if wants.callbacks:
        told = Told(DELIVERED, QUEUED, tx.now)
        insert_first(tx, [new_callback(account_sid, *place, item.sid, START, told)])
