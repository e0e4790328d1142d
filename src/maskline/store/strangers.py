"""Messages that no Session takes, while the customer's OutOfSessionCallbackUrl is asked what to do with them.

Those of one sender to one number are asked about in their order, one at a time, and whatever else the sender writes
meanwhile waits behind them. When its turn comes a message is first routed again: a Session may be there by then. What
they are while they wait, and what answers are, is `sessionless`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from maskline.domain import problems
from maskline.domain.ids import outbound_leg_sid
from maskline.domain.model import OutboxState, Participant, Session, SessionStatus, StoreBodies
from maskline.domain.phone import mask
from maskline.domain.problems import Code, Problem
from maskline.domain.route import OutOfSession, Refused, Route, incoming
from maskline.domain.stranger import LastSession
from maskline.store.bodies import blank_if_over
from maskline.store.engine import Turn, Tx, Wake, batched
from maskline.store.events import insert_event
from maskline.store.lanes import LANE_COLUMNS, Claimed, LaneClaim, LaneRow, claim, own_row, start
from maskline.store.outbox import finish
from maskline.store.participants import PARTICIPANT_COLUMNS
from maskline.store.relay import NewInbound, find_match, relay
from maskline.store.services import find_owner
from maskline.store.sessionless import (
    NO_SESSION,
    Reply,
    forget_message,
    insert_inbound,
    insert_reply,
    may_reply,
    order_key_of,
)
from maskline.store.sessions import find_session
from maskline.store.wants import wants_of

TOPIC = "out_of_session"
LAST_ONES = 50
"""Of how many Sessions of a pair the one that ended last is sought: those that it was in last."""

WAITING, HELD = int(OutboxState.WAITING), int(OutboxState.HELD)

_WAITS = "SELECT max(seq) FROM outbox WHERE order_key = ? AND state + 0 <> 0"
_INSERT_ROW = """
INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload, brought_by)
VALUES ('out_of_session', ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, ?, ?, ?)"""
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


def ask_waits(tx: Tx, pairs: Iterable[tuple[str, str, str]]) -> Sequence[tuple[int | None]]:
    """Ask of which of these (Service, sender, proxy number) something is still being asked about: not None."""
    keys = [(order_key_of(service_sid, number, sender),) for service_sid, sender, number in pairs]
    return tx.find_each(_WAITS, keys)


def insert_stranger(tx: Tx, item: NewInbound, account_sid: str, service_sid: str) -> None:
    """Take in a message that the customer is to be asked about."""
    order_key = order_key_of(service_sid, item.to, item.sender)
    (last,) = tx.execute(_WAITS, (order_key,)).fetchone()
    insert_inbound(tx, item, account_sid, service_sid)
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
            item.brought_by,
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
    account_sid: str
    service_sid: str
    number: str
    sender: str
    data: str
    url: str
    token_sealed: str
    last: LastSession | None
    code: Code


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
                account_sid=row.account_sid,
                service_sid=row.service_sid,
                number=row.number,
                sender=row.recipient,
                data=row.payload,
                url=url,
                token_sealed=token_sealed,
                last=find_last_session(tx, row.service_sid, row.recipient, row.number),
                code=code,
            )
    _end(tx, row, [(code, "")], event_sids)
    return None


def _route(tx: Tx, row: LaneRow, event_sids: list[str]) -> Code | None:
    """Relay it if a Session takes it, or tell why that Session refuses it; else what it ends as."""
    match incoming(find_match(tx, row.service_sid, row.number, row.recipient), tx.now, tx.idle_close_us):
        case Route() as route:
            forget_message(tx, row.service_sid, row.interaction_sid)
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
        brought_by=row.brought_by,
    )


def find_last_session(tx: Tx, service_sid: str, sender: str, number: str) -> LastSession | None:
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
    return LastSession(session, inbound, Participant(*partner) if partner else None)


@batched(Turn.OUTCOME)
def settle_strangers(tx: Tx, items: list[Settlement]) -> list[Exception | None]:
    """Relay each message to the Session that it has now, or send the answers to it, and be done with it."""
    for item in items:
        _settle(tx, item)
    return [None] * len(items)


def _settle(tx: Tx, item: Settlement) -> None:
    if own_row(tx, item.id, item.sid, item.run) is None:
        return
    row = LaneRow(*tx.execute(f"SELECT {LANE_COLUMNS} FROM outbox WHERE id = ?", (item.id,)).fetchone())
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
            f"SELECT {LANE_COLUMNS} FROM outbox"
            " WHERE id = ? AND topic = 'out_of_session' AND state <> 4 AND expires_at <= ?",
            (row_id, tx.now),
        ).fetchone()
        if found is not None:
            _end(tx, LaneRow(*found), [(problems.VALIDITY_PASSED, "")], [event_sid])


def drop_stranger(tx: Tx, row: LaneRow, code: Code, event_sid: str) -> None:
    """Ask nobody about this message any more, whoever is at it."""
    _end(tx, row, [(code, "")], [event_sid])
