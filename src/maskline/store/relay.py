"""From somebody's proxy number to their partner: who that is, and how a message is bound to their Session. Hot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from maskline.domain.callback import START, LegStatuses
from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import Participant, SessionStatus, StoreBodies
from maskline.domain.route import Match, Route
from maskline.store.bodies import keep_for_now, passing_body
from maskline.store.callback_queue import new_callback, queue_first
from maskline.store.columns import names_in, qualified
from maskline.store.engine import Tx, Wake
from maskline.store.intercepts import insert_intercepts
from maskline.store.participants import PARTICIPANT_COLUMNS
from maskline.store.sessions import COLUMNS_OF_S, START_SESSION, make_session
from maskline.store.wants import ask_wants, wants_of

QUEUED, DELIVERED = int(MessageStatus.QUEUED), int(MessageStatus.DELIVERED)


@dataclass(slots=True)
class NewInbound:
    """A message that a carrier brought, with the SIDs it will have if it is relayed. `sender` is an identifier key,
    `word` its text as opt-out words are compared, if it can be one; then `optout_sid` is what the opt-out would be.
    `brought_by` is the carrier account whose credentials open what is with it; None: nobody's do. `more` is the rest of
    a text that is too long for one: it goes where this goes, behind it.
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
    brought_by: str | None
    word: str = ""
    optout_sid: str = ""
    more: tuple[NewInbound, ...] = ()


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

_ALL = f"{COLUMNS_OF_S}, {qualified(PARTICIPANT_COLUMNS, 'p')}, {qualified(PARTICIPANT_COLUMNS, 'q')}"
_IN_SESSION = """
CROSS JOIN sessions s ON s.service_sid = p.service_sid AND s.sid = p.session_sid
LEFT JOIN participants q ON q.service_sid = p.service_sid AND q.session_sid = p.session_sid AND q.sid <> p.sid
    AND q.deleted_at IS NULL"""
_PAIR = f"""
SELECT {_ALL} FROM participants p {_IN_SESSION}
WHERE p.service_sid = ? AND p.identifier_key = ? AND p.proxy_identifier = ? AND p.active = 1"""
_FORMER_PAIR = f"""
SELECT {_ALL} FROM former_numbers f
CROSS JOIN participants p ON p.service_sid = f.service_sid AND p.session_sid = f.session_sid
    AND p.sid = f.participant_sid AND p.active + 0 = 1 {_IN_SESSION}
WHERE f.service_sid = ? AND f.identifier_key = ? AND f.proxy_identifier = ? AND f.active = 1"""
_SESSION_ENDS = len(names_in(COLUMNS_OF_S))
_WRITER_ENDS = _SESSION_ENDS + len(names_in(PARTICIPANT_COLUMNS))

_BOUND = """
SELECT session_sid, sid FROM participants
WHERE service_sid = ?1 AND identifier_key = ?2 AND proxy_identifier = ?3 AND active = 1
UNION ALL SELECT session_sid, participant_sid FROM former_numbers
WHERE service_sid = ?1 AND identifier_key = ?2 AND proxy_identifier = ?3 AND active = 1"""
_NUMBERS = """
SELECT proxy_identifier FROM participants WHERE service_sid = ?1 AND session_sid = ?2 AND sid = ?3
UNION ALL SELECT proxy_identifier FROM former_numbers
WHERE service_sid = ?1 AND session_sid = ?2 AND participant_sid = ?3 AND active + 0 = 1"""

# The places that this many more messages take in their Session: the last of them comes back.
_TAKE_PLACES = """
UPDATE sessions SET seq = seq + ?1, last_interaction_at = max(coalesce(last_interaction_at, 0), ?2),
       updated_at = max(updated_at, ?2)
WHERE service_sid = ?3 AND sid = ?4 RETURNING seq"""
_TAKE_UNSEEN = "UPDATE sessions SET seq = seq + ? WHERE service_sid = ? AND sid = ? RETURNING seq"


def find_match(tx: Tx, service_sid: str, proxy_number: str, sender: str) -> Match | None:
    """The active pair of a proxy number and a sender, its Session and partner; None if there is none.

    A number that the sender had before the Session moved answers like the one they have now.
    """
    pairs = [(service_sid, sender, proxy_number)]
    return matches_of(tx, pairs, ask_pairs(tx, pairs))[0]


def ask_pairs(tx: Tx, pairs: Sequence[tuple[str, str, str]]) -> Sequence[Any]:
    """The same for many, each a Service, a sender and a proxy number: what to ask first, for `matches_of`."""
    return tx.find_each(_PAIR, pairs)


def matches_of(tx: Tx, pairs: Sequence[tuple[str, str, str]], asked: Sequence[Any]) -> list[Match | None]:
    """What `ask_pairs` has found for these pairs, and of what it has not, what they had before."""
    rows = [*asked]
    if lost := [i for i, row in enumerate(rows) if row is None]:
        for i, row in zip(lost, tx.find_each(_FORMER_PAIR, [pairs[i] for i in lost]), strict=True):
            rows[i] = row
    return [None if row is None else _match(row) for row in rows]


def _match(row: tuple[Any, ...]) -> Match:
    partner = row[_WRITER_ENDS:]
    return Match(
        make_session(row[:_SESSION_ENDS]),
        Participant(*row[_SESSION_ENDS:_WRITER_ENDS]),
        None if partner[0] is None else Participant(*partner),
    )


def find_bound(tx: Tx, service_sid: str, identifier_key: str, number: str) -> list[str]:
    """The other numbers that this person has, or had, in the Session in which they have or had this one."""
    row = tx.execute(_BOUND, (service_sid, identifier_key, number)).fetchone()
    if row is None:
        return []
    numbers = tx.execute(_NUMBERS, (service_sid, *row)).fetchall()
    return [other for (other,) in numbers if other != number]


class Bound(NamedTuple):
    """A message with the Session that takes it."""

    item: NewInbound
    account_sid: str
    route: Route


def relay(tx: Tx, item: NewInbound, account_sid: str, route: Route) -> None:
    """Bind the message to its Session: as an Interaction, and in the outbox, where it waits to be sent or, before that,
    for the verdict of the customer.
    """
    relay_each(tx, [Bound(item, account_sid, route)])


def relay_each(tx: Tx, messages: Sequence[Bound]) -> None:
    """The same for many, in this order."""
    ask_wants(tx, (one.route.session.service_sid for one in messages))
    seqs = _take_places(tx, Counter(_place_of(one) for one in messages))
    starts: dict[tuple[str, str], None] = {}
    interactions: list[tuple[Any, ...]] = []
    sends: list[tuple[Any, ...]] = []
    intercepts: list[tuple[Any, ...]] = []
    callbacks: list[tuple[Any, ...]] = []
    passing: list[tuple[Any, ...]] = []
    for one in messages:
        item, account_sid, route = one
        place, partner = _place_of(one), route.partner
        wants = wants_of(tx, place[0])
        seqs[place] += 1
        interactions.append(
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
            )
        )
        send = (
            partner.sid,
            seqs[place],
            partner.proxy_identifier,
            tx.now,
            tx.now + item.validity_us,
            account_sid,
            *place,
            item.sid,
            item.outbound_sid,
            partner.identifier_key,
            item.data,
            item.brought_by,
        )
        if wants.bodies is StoreBodies.UNTIL_FINAL:
            passing.append(passing_body(tx, *place, item.sid, item.validity_us))
        if wants.intercept:
            intercepts.append(send)
            continue
        sends.append(send)
        if route.session.status is SessionStatus.OPEN:
            starts[place] = None
        if wants.callbacks:
            statuses = LegStatuses(DELIVERED, QUEUED, tx.now)
            callbacks.append(new_callback(account_sid, *place, item.sid, START, statuses))
    tx.executemany(START_SESSION, [(tx.now, *place) for place in starts])
    tx.executemany(_INSERT_RELAY, interactions)
    keep_for_now(tx, passing)
    insert_intercepts(tx, intercepts)
    tx.executemany(_INSERT_SEND, sends)
    queue_first(tx, callbacks)
    if sends:
        tx.wake |= Wake.SENDS


def _take_places(tx: Tx, counts: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Use these Sessions, except those of whose messages the customer is asked first, for so many messages each.
    Returns the place before their first.
    """
    unseen = [place for place in counts if wants_of(tx, place[0]).intercept]
    seen = [place for place in counts if not wants_of(tx, place[0]).intercept]
    taken = tx.find_each(_TAKE_PLACES, [(counts[place], tx.now, *place) for place in seen])
    unseen_taken = tx.find_each(_TAKE_UNSEEN, [(counts[place], *place) for place in unseen])
    last = zip(seen + unseen, [*taken, *unseen_taken], strict=True)
    return {place: row[0] - counts[place] for place, row in last}


def _place_of(one: Bound) -> tuple[str, str]:
    return one.route.session.service_sid, one.route.session.sid
