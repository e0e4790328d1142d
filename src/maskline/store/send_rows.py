"""A message's row of the outbox, as it is read before its hand-over; what else has to be known of it then, looked up
for many rows together; and the message as a worker gets it. Hot.

Rows stay the tuples that the database gives, and their columns have names for places in them: a row is read a dozen
times, and anything made of it would cost more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maskline.store.engine import Tx
from maskline.store.sessions import COLUMNS_OF_S

COLUMNS = """id, order_key, seq, state, due_at, attempts, expires_at, number, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload, uncertain, coalesce(handed_at, started_at), brought_by,
       CASE state WHEN 4 THEN carrier_account ELSE handed_to END"""
(
    ID,
    ORDER_KEY,
    SEQ,
    STATE,
    DUE_AT,
    ATTEMPTS,
    EXPIRES_AT,
    NUMBER,
    ACCOUNT_SID,
    SERVICE_SID,
    SESSION_SID,
    INTERACTION_SID,
    MESSAGE_SID,
    RECIPIENT,
    PAYLOAD,
    MAY_BE_TAKEN,  # a carrier may have it, from an earlier hand-over of unknown outcome
    HANDED_AT,
    BROUGHT_BY,
    HANDED_TO,  # the carrier account that may have it
) = range(19)

_NUMBER = "SELECT service_sid, carrier_account, next_free_at, mms, gap_us, former FROM numbers WHERE phone_number = ?"

# Its settings, and whether anybody has opted out of the Service at all, so that where nobody has, that is all it costs.
_SERVICE = """
SELECT v.settings, (SELECT 1 FROM optouts WHERE service_sid = ?1 LIMIT 1) FROM services v
CROSS JOIN sessions s ON s.service_sid = v.sid AND s.sid = ?2 WHERE v.sid = ?1"""

# The same for a message of no Session, which is there as long as its Interaction is.
_SERVICE_WITHOUT_SESSION = """
SELECT v.settings, (SELECT 1 FROM optouts WHERE service_sid = ?1 LIMIT 1) FROM services v
CROSS JOIN interactions i ON i.service_sid = v.sid AND i.session_sid = '' AND i.sid = ?2 WHERE v.sid = ?1"""

_HOLDER, _FORMER_HOLDER = (
    f"""
SELECT {COLUMNS_OF_S} FROM {table} p
JOIN sessions s ON s.service_sid = p.service_sid AND s.sid = p.session_sid
WHERE p.service_sid = ?1 AND p.identifier_key = ?2 AND p.proxy_identifier = ?3 AND p.active = 1
AND p.session_sid <> ?4"""
    for table in ("participants", "former_numbers")
)


@dataclass(slots=True)
class Started:
    """A message that is this worker's to hand over, once. `settings` is what its Service keeps of them. `ask`: its
    hand-over is uncertain, and the carrier can be asked; it must not be sent now.
    """

    id: int
    attempts: int
    expires_at: int
    number: str
    account_sid: str
    service_sid: str
    session_sid: str
    interaction_sid: str
    message_sid: str
    recipient: str
    payload: str
    carrier_account: str
    settings: str
    mms: bool
    """Whether its number carries media."""
    ask: bool
    handed_at: int
    """Of one to ask for: when it was handed over."""
    brought_by: str
    """The carrier account that brought it; empty: none did itself."""


def make_started(row: Any, attempts: int, account: str, settings: str, mms: int, ask: bool) -> Started:
    """A message by its row."""
    return Started(
        id=row[ID],
        attempts=attempts,
        expires_at=row[EXPIRES_AT],
        number=row[NUMBER],
        account_sid=row[ACCOUNT_SID],
        service_sid=row[SERVICE_SID],
        session_sid=row[SESSION_SID],
        interaction_sid=row[INTERACTION_SID],
        message_sid=row[MESSAGE_SID],
        recipient=row[RECIPIENT],
        payload=row[PAYLOAD],
        carrier_account=account,
        settings=settings,
        mms=bool(mms),
        ask=ask,
        handed_at=row[HANDED_AT] or 0,
        brought_by=row[BROUGHT_BY] or "",
    )


class Facts:
    """What has to be known of these rows before they start. It is asked for all of them at once, and its answers are
    looked at with the first row, so that other questions can go to the database with these.
    """

    def __init__(self, tx: Tx, rows: Sequence[Any]) -> None:
        numbers = [*dict.fromkeys(row[NUMBER] for row in rows)]
        sessions = [*dict.fromkeys((row[SERVICE_SID], row[SESSION_SID]) for row in rows if row[SESSION_SID])]
        without = [(row[SERVICE_SID], row[INTERACTION_SID]) for row in rows if not row[SESSION_SID]]
        # Of a row of no Session nobody has the pair: whoever has the number now, it goes to the person whom it answers.
        pairs = {row[ID]: _pair_of(row) for row in rows if row[SESSION_SID]}
        self._asked = (
            (numbers, tx.find_each(_NUMBER, [(number,) for number in numbers])),
            (sessions, tx.find_each(_SERVICE, sessions)),
            (without, tx.find_each(_SERVICE_WITHOUT_SESSION, without)),
            (pairs, tx.find_each(_HOLDER, [*pairs.values()])),
        )
        self._is_answered = False

    def of(self, row: Any) -> tuple[Any, Any, Any]:
        """Its number's row in the directory; its Service, as _SERVICE has it, or None if its Session, or what has none,
        is gone; and the Session of who else has its pair by now.
        """
        if not self._is_answered:
            numbers, sessions, without, holders = (dict(zip(*one, strict=True)) for one in self._asked)
            self._numbers, self._sessions, self._without, self._holders = numbers, sessions, without, holders
            self._is_answered = True
        if session_sid := row[SESSION_SID]:
            service = self._sessions[row[SERVICE_SID], session_sid]
        else:
            service = self._without[row[SERVICE_SID], row[INTERACTION_SID]]
        return self._numbers[row[NUMBER]], service, self._holders.get(row[ID])


def find_former_holder(tx: Tx, row: Any) -> Any:
    """The Session of whoever else had the row's pair before it moved, as the number still answers them; or None."""
    return tx.execute(_FORMER_HOLDER, _pair_of(row)).fetchone() if row[SESSION_SID] else None


def _pair_of(row: Any) -> tuple[Any, ...]:
    """Its Service, recipient, number and Session."""
    return row[SERVICE_SID], row[RECIPIENT], row[NUMBER], row[SESSION_SID]
