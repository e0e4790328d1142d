"""T1 of an API-made message: from a request to a durable promise to send it. Hot: SQLite's text, a loop of statements.

One transaction touches the Session, inserts the Interaction (`queued`, under the SIDs that the item brings) and an
outbox row that is complete enough to send.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskline.domain import problems
from maskline.domain.interaction import MessageStatus
from maskline.domain.problems import Problem
from maskline.domain.session import limit_at
from maskline.store.engine import Turn, Tx, batched
from maskline.store.idempotency import Key, claim_key, release_key

QUEUED = int(MessageStatus.QUEUED)


@dataclass(slots=True)
class NewMessage:
    """A message to one Participant. `payload` is what the carrier needs; it expires `validity_us` after now."""

    account_sid: str
    service_sid: str
    session_sid: str
    participant_sid: str
    sid: str
    message_sid: str
    data: str
    payload: str
    validity_us: int
    key: Key | None


@dataclass(slots=True)
class Accepted:
    """The message is durable. `held`: an earlier one to the same Participant is unfinished. `replayed`: its key made
    `sid` before, nothing was stored now.
    """

    sid: str
    at: int
    carrier_account: str = ""
    held: bool = False
    replayed: bool = False


_LOOK = """
SELECT s.status, s.mode, s.ttl, s.expiry_at, s.active_from_at, s.last_interaction_at, s.seq,
       p.deleted_at, p.identifier_key, p.proxy_identifier, n.carrier_account,
       EXISTS (SELECT 1 FROM outbox WHERE order_key = p.sid)
FROM services v
CROSS JOIN sessions s ON s.service_sid = v.sid AND s.sid = ?2
CROSS JOIN participants p ON p.service_sid = v.sid AND p.sid = ?3 AND p.session_sid = ?2
LEFT JOIN numbers n ON n.phone_number = p.proxy_identifier
WHERE v.sid = ?1 AND v.account_sid = ?4"""

TOUCH_SESSION = """
UPDATE sessions SET seq = ?1, status = 'in-progress', started_at = coalesce(started_at, ?2), last_interaction_at = ?2,
       updated_at = max(updated_at, ?2)
WHERE service_sid = ?3 AND sid = ?4"""

_INSERT_INTERACTION = """
INSERT INTO interactions (service_sid, session_sid, sid, type, data, participant_sid, outbound_participant_sid,
       outbound_resource_sid, outbound_status, updated_at)
VALUES (?1, ?2, ?3, 'message', ?4, ?5, ?5, ?6, ?7, ?8)"""

INSERT_SEND = """
INSERT INTO outbox (order_key, seq, topic, state, carrier_account, number, due_at, expires_at, account_sid, service_sid,
       session_sid, interaction_sid, message_sid, recipient, payload)
VALUES (?, ?, 'send', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


@batched(Turn.ACCEPT)
def accept_messages(tx: Tx, items: list[NewMessage]) -> list[Accepted | Exception]:
    """Accept each message or answer why not: 20404, 80607, 80910, 20409."""
    # Keys first, in key order: of equal ones in a batch the first item wins whatever the order of arrival in the tree.
    made: dict[int, Accepted | Exception] = {}
    keyed = [(item.key.scope, item.key.key, i) for i, item in enumerate(items) if item.key is not None]
    for _, _, i in sorted(keyed):
        key = items[i].key
        assert key is not None
        try:
            sid = claim_key(tx, key, items[i].sid)
        except Problem as problem:
            made[i] = problem
            continue
        if sid is not None:
            made[i] = Accepted(sid, tx.now, replayed=True)
    results: list[Accepted | Exception] = []
    for i, item in enumerate(items):
        result = made.get(i)
        if result is None:
            result = _accept(tx, item)
            if item.key is not None and isinstance(result, Problem):
                release_key(tx, item.key)
        results.append(result)
    return results


def _accept(tx: Tx, item: NewMessage) -> Accepted | Problem:
    now = tx.now
    execute = tx.execute
    row = execute(
        _LOOK, (item.service_sid, item.session_sid, item.participant_sid, item.account_sid)
    ).fetchone()
    if row is None:
        return Problem(problems.NOT_FOUND)
    status, mode, ttl, expiry_at, active_from_at, last_at, seq, deleted_at, person, number, carrier, held = (
        row
    )
    if deleted_at is not None:
        return Problem(problems.NOT_FOUND)
    if status == "closed" or now >= limit_at(ttl, expiry_at, active_from_at, last_at, tx.idle_close_us):
        return Problem(problems.SESSION_CLOSED)
    if mode == "voice-only":
        return Problem(problems.MESSAGE_TO_VOICE_ONLY)
    seq += 1
    expires_at = now + item.validity_us
    execute(TOUCH_SESSION, (seq, now, item.service_sid, item.session_sid))
    execute(
        _INSERT_INTERACTION,
        (
            item.service_sid,
            item.session_sid,
            item.sid,
            item.data,
            item.participant_sid,
            item.message_sid,
            QUEUED,
            now,
        ),
    )
    execute(
        INSERT_SEND,
        (
            item.participant_sid,
            seq,
            1 if held else 0,
            carrier or "",
            number,
            expires_at if held else now,
            expires_at,
            item.account_sid,
            item.service_sid,
            item.session_sid,
            item.sid,
            item.message_sid,
            person,
            item.payload,
        ),
    )
    if not held:
        tx.wake = True
    return Accepted(item.sid, now, carrier or "", held=bool(held))
