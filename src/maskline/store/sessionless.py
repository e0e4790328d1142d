"""Messages outside any Session: what strangers wrote, and what they and those who opt out are answered.

Such a message is an Interaction of no Session: its `session_sid` is empty, and so is that of the one participant that
it has. So it is found among the account's Messages, takes reports and is erased like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maskline.domain.ids import outbound_leg_sid
from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import SECOND, StoreBodies
from maskline.store.accept import INSERT_SEND
from maskline.store.bodies import keep_for_now, passing_body
from maskline.store.engine import Tx, Wake
from maskline.store.intercepts import MINTED_BEFORE_US
from maskline.store.optouts import CONFIRMATION
from maskline.store.relay import NewInbound
from maskline.store.tombstones import bury_deleted
from maskline.store.wants import wants_of

NO_SESSION = ""
REPLY = "reply "
"""What the order keys of automatic answers begin with."""

MOST_REPLIES, REPLIES_WITHIN_US = 15, 30 * SECOND
"""So many automatic answers to one person from one number, and no more, are sent within this time: two machines that
answer each other would go on for ever."""

DELIVERED, QUEUED = int(MessageStatus.DELIVERED), int(MessageStatus.QUEUED)

_INSERT_PARTICIPANT = """
INSERT INTO participants (service_sid, sid, session_sid, identifier, identifier_key, proxy_identifier, active,
       created_at, updated_at)
VALUES (?1, ?2, '', ?3, ?3, ?4, 0, ?5, ?5)"""
_INSERT_INBOUND = """
INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, inbound_participant_sid,
       inbound_resource_sid, inbound_status, updated_at)
VALUES (?, '', ?, ?, 'message', ?, ?, ?, ?, ?)"""
_INSERT_REPLY = """
INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, outbound_participant_sid,
       outbound_resource_sid, outbound_status, updated_at)
VALUES (?, '', ?, ?, 'message', ?, ?, ?, ?, ?)"""
_REPLIES = """
SELECT count(*) FROM participants p
CROSS JOIN interactions i ON i.service_sid = p.service_sid AND i.session_sid = '' AND i.sid = 'KI' || substr(p.sid, 3)
WHERE p.service_sid = ? AND p.identifier_key = ? AND p.proxy_identifier = ? AND p.sid > ? AND p.created_at > ?
AND length(p.session_sid) = 0 AND i.outbound_participant_sid IS NOT NULL"""
_DELETE = """
DELETE FROM interactions WHERE service_sid = ? AND session_sid = '' AND sid = ?
RETURNING carrier_id, outbound_status, updated_at"""
_DELETE_PARTICIPANT = """
DELETE FROM participants WHERE service_sid = ? AND session_sid = '' AND sid = ?
RETURNING identifier_key, proxy_identifier"""
_DELETE_WAITING = (
    "DELETE FROM outbox WHERE order_key = ? AND interaction_sid = ? AND state + 0 <> 0 AND state <> 4"
)


def order_key_of(service_sid: str, number: str, sender: str) -> str:
    """In what order what this sender writes to this number is dealt with."""
    return f"{service_sid} {number} {sender}"


def _participant_of(interaction_sid: str) -> str:
    """The SID of the participant that a message outside any Session has."""
    return f"KP{interaction_sid[2:]}"


def lines_of(service_sid: str, number: str, sender: str) -> tuple[str, str, str]:
    """The order keys of what this sender wrote to this number, of answers to it, and of what confirms an opt-out."""
    order_key = order_key_of(service_sid, number, sender)
    return order_key, f"{REPLY}{order_key}", f"{CONFIRMATION}{order_key}"


def message_of(participant_sid: str) -> str:
    """The SID of the message that this participant, of no Session, is of."""
    return f"KI{participant_sid[2:]}"


def insert_inbound(tx: Tx, item: NewInbound, account_sid: str, service_sid: str) -> None:
    """Keep a message that somebody wrote to a number of the Service."""
    message = (item.sid, item.sender, item.to, item.data, item.inbound_sid, DELIVERED)
    _insert(tx, _INSERT_INBOUND, account_sid, service_sid, message, item.validity_us)


def forget_message(tx: Tx, service_sid: str, sid: str) -> None:
    """It is a message of no Session no longer."""
    where = (service_sid, sid)
    tx.execute(_DELETE, where).fetchall()
    tx.execute("DELETE FROM passing_bodies WHERE service_sid = ? AND interaction_sid = ?", where)
    tx.execute(_DELETE_PARTICIPANT, (service_sid, _participant_of(sid))).fetchall()


def _insert(
    tx: Tx, sql: str, account_sid: str, service_sid: str, message: tuple[Any, ...], validity_us: int
) -> None:
    sid, person, number, data, resource_sid, status = message
    participant_sid = _participant_of(sid)
    bodies = wants_of(tx, service_sid).bodies
    kept = NO_BODY if bodies is StoreBodies.NEVER else data
    tx.execute(_INSERT_PARTICIPANT, (service_sid, participant_sid, person, number, tx.now))
    tx.execute(sql, (service_sid, sid, account_sid, kept, participant_sid, resource_sid, status, tx.now))
    if bodies is StoreBodies.UNTIL_FINAL:
        keep_for_now(tx, [passing_body(tx, service_sid, NO_SESSION, sid, validity_us)])


@dataclass(slots=True)
class Reply:
    """An automatic answer, as an Interaction `sid` of no Session will have it. `confirms`: it answers an opt-out word,
    and goes to whoever has opted out, too.
    """

    sid: str
    from_: str
    to: str
    data: str
    prefix: str = "SM"
    confirms: bool = False


def may_reply(tx: Tx, service_sid: str, reply: Reply) -> bool:
    """Whether not too many automatic answers went to this person from this number lately."""
    since = tx.now - REPLIES_WITHIN_US
    first = f"KP{max(0, since - MINTED_BEFORE_US) // 1000:012x}"  # so that no more than a day is looked at
    (count,) = tx.execute(_REPLIES, (service_sid, reply.to, reply.from_, first, since)).fetchone()
    return bool(count < MOST_REPLIES)


def insert_reply(tx: Tx, account_sid: str, service_sid: str, reply: Reply, validity_us: int) -> None:
    """Send somebody a message from a number of the Service, outside any Session. `to` is an identifier key."""
    message_sid = outbound_leg_sid(reply.sid, reply.prefix)
    message = (reply.sid, reply.to, reply.from_, reply.data, message_sid, QUEUED)
    _insert(tx, _INSERT_REPLY, account_sid, service_sid, message, validity_us)
    # Rows have rising ids, so that of the last one is a place behind all that still wait.
    (place,) = tx.execute("SELECT coalesce(max(id), 0) + 1 FROM outbox WHERE id > 0").fetchone()
    tx.execute(
        INSERT_SEND,
        (
            f"{CONFIRMATION if reply.confirms else REPLY}{order_key_of(service_sid, reply.from_, reply.to)}",
            place,
            reply.from_,
            tx.now,
            tx.now + validity_us,
            account_sid,
            service_sid,
            NO_SESSION,
            reply.sid,
            message_sid,
            reply.to,
            reply.data,
        ),
    )
    tx.wake |= Wake.SENDS


def delete_old_strangers(tx: Tx, most: int, retention_us: int) -> int:
    """Delete up to `most` messages outside any Session that are older than that (0: none)."""
    if retention_us == 0:
        return 0
    before = f"KI{max(0, tx.now - retention_us) // 1000:012x}"
    rows = tx.execute(
        "SELECT service_sid, sid FROM interactions WHERE length(session_sid) = 0 AND sid < ? ORDER BY sid LIMIT ?",
        (before, most),
    ).fetchall()
    _delete(tx, rows)
    return len(rows)


def delete_strangers(tx: Tx, service_sid: str, most: int) -> int:
    """Delete up to `most` messages outside any Session of a Service that is gone."""
    rows = tx.execute(
        "SELECT service_sid, sid FROM interactions WHERE service_sid = ? AND session_sid = '' LIMIT ?",
        (service_sid, most),
    ).fetchall()
    _delete(tx, rows)
    return len(rows)


def _delete(tx: Tx, rows: Sequence[Any]) -> None:
    """Delete these messages, with their participants and with what waits of them. What is fresh or under way in the
    outbox ends by itself.
    """
    for service_sid, sid in rows:
        bury_deleted(tx, tx.execute(_DELETE, (service_sid, sid)).fetchall())
        who = tx.execute(_DELETE_PARTICIPANT, (service_sid, _participant_of(sid))).fetchone()
        for line in lines_of(service_sid, who[1], who[0]) if who is not None else ():
            tx.execute(_DELETE_WAITING, (line, sid))
