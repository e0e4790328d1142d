"""T1 of an API-made message: from a request to a durable promise to send it. Hot: a batch at a time.

One transaction touches the Session, inserts the Interaction (`queued`, under the SIDs that the item brings) and an
outbox row that is complete enough to send. What is random is read and decided first; what is written is written in
three statements for the whole batch, and only the Session's row and the Interaction's key are not at the end of a tree.

Side by side with other processes: keys are taken first, in their order, and who finds one taken waits for its request
to end. Then `_find_targets` locks the Sessions, in the order of SIDs, until the commit: so of two messages of a Session
the earlier has the lower seq, the lower row and the earlier commit. What else is read changes only in a turn of its
own; what else is written is new, under SIDs of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.callback import START, LegStatuses
from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import StoreBodies
from maskline.domain.problems import Problem
from maskline.domain.service_settings import bodies_kept
from maskline.domain.session import limit_at
from maskline.store.bodies import keep_for_now, passing_body
from maskline.store.callback_queue import new_callback, queue_first
from maskline.store.engine import Turn, Tx, Wake, batched
from maskline.store.idempotency import Key, claim_fresh, claim_key, release_key
from maskline.store.sessions import START_SESSION

QUEUED = int(MessageStatus.QUEUED)


@dataclass(slots=True)
class NewMessage:
    """A message to one Participant, as JSON in `data`; it expires `validity_us` after now."""

    account_sid: str
    service_sid: str
    session_sid: str
    participant_sid: str
    sid: str
    message_sid: str
    data: str
    validity_us: int
    key: Key | None


@dataclass(slots=True)
class Accepted:
    """The message is durable; its Interaction has this `data`, and `seq` is its place among those of its Session.
    `replayed`: its key made `sid` before, and nothing was stored now.
    """

    sid: str
    at: int
    data: str
    seq: int = 0
    replayed: bool = False


_AT_ONCE = 16

# To find many at once costs half of one by one. Places that no message takes hold NULLs, and nothing is found.
_FIND_TARGETS = f"""
WITH wanted (place, service, session, participant, account)
AS (VALUES {", ".join(f"({place}, ?, ?, ?, ?)" for place in range(_AT_ONCE))})
SELECT s.status, s.mode, s.ttl, s.expiry_at, s.active_from_at, s.last_interaction_at, s.seq,
       p.deleted_at, p.identifier_key, p.proxy_identifier, v.callback_url IS NOT NULL, v.settings, place
FROM wanted
CROSS JOIN services v ON v.sid = service AND v.account_sid = account
CROSS JOIN sessions s ON s.service_sid = service AND s.sid = session
CROSS JOIN participants p ON p.service_sid = service AND p.session_sid = session AND p.sid = participant"""

# The same where one statement for many is one anyway. Of two processes that take messages for a Session one waits here.
_FIND_TARGET = """
SELECT s.status, s.mode, s.ttl, s.expiry_at, s.active_from_at, s.last_interaction_at, s.seq,
       p.deleted_at, p.identifier_key, p.proxy_identifier, v.callback_url IS NOT NULL, v.settings
FROM services v
CROSS JOIN sessions s ON s.service_sid = ?1 AND s.sid = ?2
CROSS JOIN participants p ON p.service_sid = ?1 AND p.session_sid = ?2 AND p.sid = ?3
WHERE v.sid = ?1 AND v.account_sid = ?4 /*FOR UPDATE OF s*/"""

# Where in such a row is what is read of it again and again.
_STATUS, _SEQ, _IDENTIFIER_KEY, _PROXY_IDENTIFIER, _HAS_CALLBACK_URL, _SETTINGS = 0, 6, 8, 9, 10, 11

TOUCH_SESSION = """
UPDATE sessions SET seq = ?1, last_interaction_at = max(coalesce(last_interaction_at, 0), ?2),
       updated_at = max(updated_at, ?2)
WHERE service_sid = ?3 AND sid = ?4"""

_INSERT_INTERACTION = """
INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, participant_sid,
       outbound_participant_sid, outbound_resource_sid, outbound_status, updated_at)
VALUES (?1, ?2, ?3, ?4, 'message', ?5, ?6, ?6, ?7, ?8, ?9)"""

INSERT_SEND = """
INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload)
VALUES ('send', 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


@batched(Turn.ACCEPT, side_by_side=True)
def accept_messages(tx: Tx, items: list[NewMessage]) -> list[Accepted | Exception]:
    """Accept each message or answer why not: 20404, 80607, 80910, 20409."""
    made: dict[int, Accepted | Exception] = {}
    _claim_keys(tx, items, range(len(items)), made)
    rows = _find_targets(tx, items)
    touches: dict[str, tuple[Any, ...]] = {}
    starts: dict[str, tuple[Any, ...]] = {}
    interactions: list[tuple[Any, ...]] = []
    sends: list[tuple[Any, ...]] = []
    callbacks: list[tuple[Any, ...]] = []
    passing: list[tuple[Any, ...]] = []
    results: list[Accepted | Exception] = []
    now = tx.now
    for i, item in enumerate(items):
        result: Accepted | Exception | None = made.get(i) if made else None
        if result is None:
            row = rows[i]
            result = _why_not(tx, row)
            if result is None:
                touched = touches.get(item.session_sid)
                seq = (row[_SEQ] if touched is None else touched[0]) + 1
                bodies = bodies_kept(row[_SETTINGS])
                data = NO_BODY if bodies is StoreBodies.NEVER else item.data
                touches[item.session_sid] = (seq, now, item.service_sid, item.session_sid)
                if row[_STATUS] == "open":
                    starts[item.session_sid] = (now, item.service_sid, item.session_sid)
                interactions.append(
                    (
                        item.service_sid,
                        item.session_sid,
                        item.sid,
                        item.account_sid,
                        data,
                        item.participant_sid,
                        item.message_sid,
                        QUEUED,
                        now,
                    )
                )
                sends.append(
                    (
                        item.participant_sid,
                        seq,
                        row[_PROXY_IDENTIFIER],
                        now,
                        now + item.validity_us,
                        item.account_sid,
                        item.service_sid,
                        item.session_sid,
                        item.sid,
                        item.message_sid,
                        row[_IDENTIFIER_KEY],
                        item.data,
                    )
                )
                where = (item.service_sid, item.session_sid, item.sid)
                if row[_HAS_CALLBACK_URL]:
                    callbacks.append(
                        new_callback(item.account_sid, *where, START, LegStatuses(None, QUEUED, now))
                    )
                if bodies is StoreBodies.UNTIL_FINAL:
                    passing.append(passing_body(tx, *where, item.validity_us))
                result = Accepted(item.sid, now, data, seq)
            elif item.key is not None:
                release_key(tx, item.key)
                if made:
                    # Whoever lost to it in this batch is judged by itself, as it would be in a later one.
                    later = [j for j in range(i + 1, len(items)) if _same_key(items[j].key, item.key)]
                    for j in later:
                        made.pop(j, None)
                    _claim_keys(tx, items, later, made)
        results.append(result)
    tx.executemany(TOUCH_SESSION, list(touches.values()))
    if starts:
        tx.executemany(START_SESSION, list(starts.values()))
    tx.executemany(_INSERT_INTERACTION, interactions)
    tx.executemany(INSERT_SEND, sends)
    queue_first(tx, callbacks)
    if passing:
        keep_for_now(tx, passing)
    if sends:
        tx.wake |= Wake.SENDS
    return results


def _find_targets(tx: Tx, items: list[NewMessage]) -> list[Any]:
    """Where each message goes: its Service, Session and Participant, by `_FIND_TARGET`; None where they are not."""
    rows: list[Any] = [None] * len(items)
    if tx.in_sets:
        order = sorted(range(len(items)), key=lambda i: (items[i].service_sid, items[i].session_sid))
        wanted = [_key_of(items[i]) for i in order]
        for i, row in zip(order, tx.find_each(_FIND_TARGET, wanted), strict=True):
            rows[i] = row
        return rows
    for first in range(0, len(items), _AT_ONCE):
        keys: list[str | None] = []
        for item in items[first : first + _AT_ONCE]:
            keys += _key_of(item)
        keys += [None] * (4 * _AT_ONCE - len(keys))
        for row in tx.execute(_FIND_TARGETS, keys):
            rows[first + row[-1]] = row
    return rows


def _key_of(item: NewMessage) -> tuple[str, str, str, str]:
    return item.service_sid, item.session_sid, item.participant_sid, item.account_sid


def _same_key(one: Key | None, other: Key) -> bool:
    return one is not None and (one.scope, one.key) == (other.scope, other.key)


def _claim_keys(
    tx: Tx, items: list[NewMessage], places: Iterable[int], made: dict[int, Accepted | Exception]
) -> None:
    """Take the keys of the items at these places; in `made`, answer those that may not go on.

    In key order, so that two batches never wait for each other; of equal keys the first item wins.
    """
    keyed = sorted((key.scope, key.key, i, key) for i in places if (key := items[i].key) is not None)
    if not keyed or claim_fresh(tx, [(key, items[i].sid) for _, _, i, key in keyed]):
        return
    for _, _, i, key in keyed:
        try:
            sid = claim_key(tx, key, items[i].sid)
        except Problem as problem:
            made[i] = problem
        else:
            if sid is not None:
                made[i] = Accepted(sid, tx.now, "", replayed=True)


def _why_not(tx: Tx, row: Any) -> Problem | None:
    """Why the Session and Participant of this row take no message now, if so."""
    if row is None:
        return Problem(problems.NOT_FOUND)
    status, mode, ttl, expiry_at, active_from_at, last_at, _, deleted_at = row[:8]
    if deleted_at is not None:
        return Problem(problems.NOT_FOUND)
    if status == "closed" or tx.now >= limit_at(ttl, expiry_at, active_from_at, last_at, tx.idle_close_us):
        return Problem(problems.SESSION_CLOSED)
    if mode == "voice-only":
        return Problem(problems.MESSAGE_TO_VOICE_ONLY)
    return None
