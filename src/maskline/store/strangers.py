"""Messages that no Session takes, while the customer's OutOfSessionCallbackUrl is asked what to do with them.

Such a message is an Interaction of no Session: its `session_sid` is empty, and so is that of the one participant that
it has. So it is found among the account's Messages, takes reports and is erased like any other; an answer to it is one,
too. Those of one sender to one number are asked about in their order, one at a time, and whatever else the sender
writes meanwhile waits behind them. When its turn comes a message is first routed again: a Session may be there by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from maskline.domain import problems
from maskline.domain.ids import outbound_leg_sid
from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import SECOND, OutboxState, Participant, Session, SessionStatus, StoreBodies
from maskline.domain.phone import mask
from maskline.domain.problems import Code, Problem
from maskline.domain.route import OutOfSession, Refused, Route, incoming
from maskline.domain.stranger import Last
from maskline.store.accept import INSERT_SEND
from maskline.store.bodies import blank_if_over, keep_for_now, passing_body
from maskline.store.engine import Turn, Tx, Wake, batched
from maskline.store.events import insert_event
from maskline.store.lanes import Claimed, LaneClaim, LaneRow, claim, own_row, start
from maskline.store.optouts import CONFIRMATION
from maskline.store.outbox import finish
from maskline.store.relay import PARTICIPANT_COLUMNS, NewInbound, find_match, relay
from maskline.store.services import find_owner
from maskline.store.sessions import find_session
from maskline.store.telling import wants_of
from maskline.store.tombstones import bury_deleted

TOPIC = "out_of_session"
NO_SESSION = ""
REPLY = "reply "
"""What the order keys of automatic answers begin with."""

MOST_REPLIES, REPLIES_WITHIN_US = 15, 30 * SECOND
"""So many automatic answers to one person from one number, and no more, are sent within this time: two machines that
answer each other would go on for ever."""
LAST_ONES = 50
"""Of how many Sessions of a pair the one that ended last is sought: those that it was in last."""

DELIVERED, QUEUED = int(MessageStatus.DELIVERED), int(MessageStatus.QUEUED)
WAITING, HELD = int(OutboxState.WAITING), int(OutboxState.HELD)

_WAITS = "SELECT max(seq) FROM outbox WHERE order_key = ? AND state <> 0"
_INSERT_ROW = """
INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload)
VALUES ('out_of_session', ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, ?, ?)"""
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
_WHOM = """
SELECT v.out_of_session_callback_url, a.token_sealed, n.service_sid FROM services v
CROSS JOIN accounts a ON a.sid = v.account_sid
LEFT JOIN numbers n ON n.phone_number = ?2
WHERE v.sid = ?1"""
_PAST = f"""
SELECT {PARTICIPANT_COLUMNS} FROM participants
WHERE service_sid = ? AND identifier_key = ? AND proxy_identifier = ? AND active = 0 AND session_sid <> ''
ORDER BY sid DESC LIMIT ?"""
_PARTNER = f"""
SELECT {PARTICIPANT_COLUMNS} FROM participants
WHERE service_sid = ? AND session_sid = ? AND sid <> ? ORDER BY deleted_at IS NOT NULL, sid DESC LIMIT 1"""
_REPLIES = """
SELECT count(*) FROM participants p
CROSS JOIN interactions i ON i.service_sid = p.service_sid AND i.session_sid = '' AND i.sid = 'KI' || substr(p.sid, 3)
WHERE p.service_sid = ? AND p.identifier_key = ? AND p.proxy_identifier = ? AND p.sid > ?
AND length(p.session_sid) = 0 AND i.outbound_participant_sid IS NOT NULL"""

_DELETE = """
DELETE FROM interactions WHERE service_sid = ? AND session_sid = '' AND sid = ?
RETURNING carrier_id, outbound_status, updated_at"""


_DELETE_PARTICIPANT = """
DELETE FROM participants WHERE service_sid = ? AND session_sid = '' AND sid = ?
RETURNING identifier_key, proxy_identifier"""
_DELETE_WAITING = (
    "DELETE FROM outbox WHERE order_key = ? AND interaction_sid = ? AND state <> 0 AND state <> 4"
)


def _order_key(service_sid: str, number: str, sender: str) -> str:
    return f"{service_sid} {number} {sender}"


def _participant_of(interaction_sid: str) -> str:
    """The SID of the participant that a message outside any Session has."""
    return f"KP{interaction_sid[2:]}"


def lines_of(service_sid: str, number: str, sender: str) -> tuple[str, str, str]:
    """The order keys of what this sender wrote to this number, of answers to it, and of what confirms an opt-out."""
    order_key = _order_key(service_sid, number, sender)
    return order_key, f"{REPLY}{order_key}", f"{CONFIRMATION}{order_key}"


def message_of(participant_sid: str) -> str:
    """The SID of the message that this participant, of no Session, is of."""
    return f"KI{participant_sid[2:]}"


def is_waiting(tx: Tx, service_sid: str, number: str, sender: str) -> bool:
    """Whether something that this sender wrote to this number is still being asked about."""
    return tx.execute(_WAITS, (_order_key(service_sid, number, sender),)).fetchone()[0] is not None


def insert_stranger(tx: Tx, item: NewInbound, account_sid: str, service_sid: str) -> None:
    """Take in a message that the customer is to be asked about."""
    order_key = _order_key(service_sid, item.to, item.sender)
    (last,) = tx.execute(_WAITS, (order_key,)).fetchone()
    participant_sid = _participant_of(item.sid)
    bodies = wants_of(tx, service_sid).bodies
    tx.execute(_INSERT_PARTICIPANT, (service_sid, participant_sid, item.sender, item.to, tx.now))
    tx.execute(
        _INSERT_INBOUND,
        (
            service_sid,
            item.sid,
            account_sid,
            NO_BODY if bodies is StoreBodies.NEVER else item.data,
            participant_sid,
            item.inbound_sid,
            DELIVERED,
            tx.now,
        ),
    )
    if bodies is StoreBodies.UNTIL_FINAL:
        keep_for_now(tx, [passing_body(tx, service_sid, NO_SESSION, item.sid, item.validity_us)])
    tx.execute(
        _INSERT_ROW,
        (
            WAITING if last is None else HELD,
            order_key,
            (last or 0) + 1,
            item.to,
            tx.now,
            tx.now + item.validity_us,
            account_sid,
            service_sid,
            item.sid,
            item.inbound_sid,
            item.sender,
            item.data,
        ),
    )
    tx.wake |= Wake.ASKS


def is_routed(tx: Tx, service_sid: str, number: str, sender: str) -> bool:
    """Whether a Session would take what this sender writes to this number."""
    match = find_match(tx, service_sid, number, sender)
    return isinstance(incoming(match, tx.now, tx.idle_close_us), Route)


def refuse_if_gone(tx: Tx, row_id: int, sid: str) -> None:
    """Raise 20404 unless this message is still being asked about: its sender may have been erased meanwhile."""
    row = tx.execute(
        "SELECT 1 FROM outbox WHERE id = ? AND message_sid = ? AND state = 4", (row_id, sid)
    ).fetchone()
    if row is None:
        raise Problem(problems.NOT_FOUND)


@dataclass(slots=True)
class Stranger:
    """A message that this worker asks about. `code` is what it ends as if nobody answers for it."""

    id: int
    sid: str
    interaction_sid: str
    account_sid: str
    service_sid: str
    number: str
    sender: str
    data: str
    url: str
    token_sealed: str
    last: Last | None
    code: Code


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


@dataclass(slots=True)
class Settlement:
    """What became of asking. `route`: a Session may be there now, and `events` hold only if there is none.

    `event_sids`: one for each of `events`, and two more.
    """

    id: int
    run: str
    sid: str
    route: bool
    validity_us: int
    event_sids: list[str]
    replies: Sequence[Reply] = ()
    events: Sequence[tuple[Code, str]] = field(default_factory=list)


@batched(Turn.START)
def claim_strangers(tx: Tx, items: list[LaneClaim]) -> list[Claimed[Stranger] | Exception]:
    """Give each worker messages to ask about, Service after Service."""

    def claim_one(item: LaneClaim) -> Claimed[Stranger]:
        event_sids = item.event_sids.copy()  # the round may begin again

        def take(tx: Tx, run: str, row: LaneRow) -> Stranger | None:
            return _take(tx, run, row, event_sids)

        return claim(tx, item, TOPIC, take)

    return [claim_one(item) for item in items]


def _take(tx: Tx, run: str, row: LaneRow, event_sids: list[str]) -> Stranger | None:
    """Start one, unless a Session takes it by now, or nobody is to be asked."""
    if not event_sids:  # in a later claim, which has some
        return None
    whom = tx.execute(_WHOM, (row.service_sid, row.number)).fetchone()
    if whom is None:
        finish(tx, row.id, row.order_key)
        return None
    url, token_sealed, pool = whom
    code = problems.SESSION_EXPIRED
    if pool == row.service_sid:
        found = _route(tx, row, event_sids)
        if found is None:
            finish(tx, row.id, row.order_key)
            return None
        code = found
        if url is not None:
            start(tx, run, row.id)
            return Stranger(
                id=row.id,
                sid=row.message_sid,
                interaction_sid=row.interaction_sid,
                account_sid=row.account_sid,
                service_sid=row.service_sid,
                number=row.number,
                sender=row.recipient,
                data=row.payload,
                url=url,
                token_sealed=token_sealed,
                last=find_last(tx, row.service_sid, row.recipient, row.number),
                code=code,
            )
    _end(tx, row, [(code, "")], event_sids)
    return None


def _route(tx: Tx, row: LaneRow, event_sids: list[str]) -> Code | None:
    """Relay it if a Session takes it, or tell why that Session refuses it; else what it ends as."""
    match incoming(find_match(tx, row.service_sid, row.number, row.recipient), tx.now, tx.idle_close_us):
        case Route() as route:
            _forget(tx, row)
            relay(tx, _inbound(tx, row), row.account_sid, route)
            return None
        case OutOfSession(code):
            return code
        case Refused(code, session):
            _event(tx, row, event_sids.pop(), code, session_sid=session.sid)
            _blank(tx, row)
            return None


def _inbound(tx: Tx, row: LaneRow) -> NewInbound:
    """The message as it was received, for as long as it was then."""
    return NewInbound(
        carrier_account="",
        carrier_id="",
        to=row.number,
        sender=row.recipient,
        data=row.payload,
        validity_us=max(0, row.expires_at - tx.now),
        sid=row.interaction_sid,
        inbound_sid=row.message_sid,
        outbound_sid=outbound_leg_sid(row.interaction_sid, row.message_sid[:2]),
        event_sid="",
    )


def _forget(tx: Tx, row: LaneRow) -> None:
    """It is a message of no Session no longer."""
    where = (row.service_sid, row.interaction_sid)
    tx.execute("DELETE FROM interactions WHERE service_sid = ? AND session_sid = '' AND sid = ?", where)
    tx.execute("DELETE FROM passing_bodies WHERE service_sid = ? AND interaction_sid = ?", where)
    tx.execute(
        "DELETE FROM participants WHERE service_sid = ? AND session_sid = '' AND sid = ?",
        (row.service_sid, _participant_of(row.interaction_sid)),
    )


def find_last(tx: Tx, service_sid: str, sender: str, number: str) -> Last | None:
    """The Session of this pair that ended last, with both its participants."""
    rows = tx.execute(_PAST, (service_sid, sender, number, LAST_ONES)).fetchall()
    pairs: list[tuple[Participant, Session]] = []
    if (
        match := find_match(tx, service_sid, number, sender)
    ) is not None:  # past its limit, and not yet swept
        session = find_session(tx, service_sid, match.session.sid)
        pairs = [(match.sender, session)] if session is not None else []
    for row in rows:
        was = Participant(*row)
        session = find_session(tx, service_sid, was.session_sid)
        if session is not None:
            pairs.append((was, session))
    over = [pair for pair in pairs if pair[1].status is SessionStatus.CLOSED]
    if not over:
        return None
    inbound, session = max(over, key=lambda pair: pair[1].ended_at or 0)
    partner = tx.execute(_PARTNER, (service_sid, session.sid, inbound.sid)).fetchone()
    return Last(session, inbound, Participant(*partner) if partner else None)


@batched(Turn.OUTCOME)
def settle_strangers(tx: Tx, items: list[Settlement]) -> list[Exception | None]:
    """Relay each message to the Session that it has now, or send the answers to it, and be done with it."""
    for item in items:
        _settle(tx, item)
    return [None] * len(items)


def _settle(tx: Tx, item: Settlement) -> None:
    if own_row(tx, item.id, item.sid, item.run) is None:
        return
    row = LaneRow(
        *tx.execute(f"SELECT {', '.join(LaneRow._fields)} FROM outbox WHERE id = ?", (item.id,)).fetchone()
    )
    if find_owner(tx, row.service_sid) is None:  # what would be written now nobody would take away again
        finish(tx, row.id, row.order_key)
        return
    event_sids = item.event_sids.copy()  # the round may begin again
    events = list(item.events)
    if item.route:
        code = _route(tx, row, event_sids)
        if code is None:
            finish(tx, row.id, row.order_key)
            return
        events = events or [(code, "")]
    for reply in item.replies:
        if not may_reply(tx, row.service_sid, reply):
            events.append((problems.TOO_MANY_BETWEEN_TWO, "automatic answers"))
            break
        insert_reply(tx, row.account_sid, row.service_sid, reply, item.validity_us)
    _end(tx, row, events, event_sids)


def may_reply(tx: Tx, service_sid: str, reply: Reply) -> bool:
    """Whether not too many automatic answers went to this person from this number lately, by the SIDs of their
    participants.
    """
    since = f"KP{max(0, tx.now - REPLIES_WITHIN_US) // 1000:012x}"
    (count,) = tx.execute(_REPLIES, (service_sid, reply.to, reply.from_, since)).fetchone()
    return bool(count < MOST_REPLIES)


def insert_reply(tx: Tx, account_sid: str, service_sid: str, reply: Reply, validity_us: int) -> None:
    """Send somebody a message from a number of the Service, outside any Session. `to` is an identifier key."""
    participant_sid = _participant_of(reply.sid)
    message_sid = outbound_leg_sid(reply.sid, reply.prefix)
    kept = wants_of(tx, service_sid).bodies
    tx.execute(_INSERT_PARTICIPANT, (service_sid, participant_sid, reply.to, reply.from_, tx.now))
    tx.execute(
        _INSERT_REPLY,
        (
            service_sid,
            reply.sid,
            account_sid,
            NO_BODY if kept is StoreBodies.NEVER else reply.data,
            participant_sid,
            message_sid,
            QUEUED,
            tx.now,
        ),
    )
    if kept is StoreBodies.UNTIL_FINAL:
        keep_for_now(tx, [passing_body(tx, service_sid, NO_SESSION, reply.sid, validity_us)])
    # Rows have rising ids, so that of the last one is a place behind all that still wait.
    (place,) = tx.execute("SELECT coalesce(max(id), 0) + 1 FROM outbox").fetchone()
    tx.execute(
        INSERT_SEND,
        (
            f"{CONFIRMATION if reply.confirms else REPLY}{_order_key(service_sid, reply.from_, reply.to)}",
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


def _end(tx: Tx, row: LaneRow, events: Sequence[tuple[Code, str]], event_sids: list[str]) -> None:
    finish(tx, row.id, row.order_key)
    _blank(tx, row)
    for code, detail in events:
        _event(tx, row, event_sids.pop(), code, detail)


def _blank(tx: Tx, row: LaneRow) -> None:
    if wants_of(tx, row.service_sid).bodies is StoreBodies.UNTIL_FINAL:
        blank_if_over(tx, row.service_sid, NO_SESSION, row.interaction_sid)


def _event(
    tx: Tx, row: LaneRow, event_sid: str, code: Code, detail: str = "", session_sid: str | None = None
) -> None:
    whom = f"from {mask(row.recipient)} to {mask(row.number)}"
    detail = f"{whom}, {detail}" if detail else whom
    insert_event(
        tx, event_sid, row.account_sid, code, detail, service_sid=row.service_sid, session_sid=session_sid
    )


def drop_expired(tx: Tx, ids: list[int], event_sids: list[str]) -> None:
    """Give those of these messages up that still wait to be asked about though their validity is over."""
    for row_id, event_sid in zip(ids, event_sids, strict=True):
        found = tx.execute(
            f"SELECT {', '.join(LaneRow._fields)} FROM outbox"
            " WHERE id = ? AND topic = 'out_of_session' AND state <> 4 AND expires_at <= ?",
            (row_id, tx.now),
        ).fetchone()
        if found is not None:
            _end(tx, LaneRow(*found), [(problems.VALIDITY_PASSED, "")], [event_sid])


def drop_stranger(tx: Tx, row: LaneRow, code: Code, event_sid: str) -> None:
    """Ask nobody about this message any more, whoever is at it."""
    _end(tx, row, [(code, "")], [event_sid])


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
