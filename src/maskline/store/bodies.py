"""What people wrote, where a Service wants it kept for a while only (`store_bodies`): blanked when its message is over.

A message is over for a customer, too, when all that was to be told of it has been told: until then its body waits with
its callbacks. A body that is never kept stands in the outbox row of its message alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import SECOND
from maskline.domain.retry import RECEIPT_LIFE_S
from maskline.store.engine import Tx

RECEIPT_LIFE_US = RECEIPT_LIFE_S * SECOND

_KEEP = "INSERT INTO passing_bodies (service_sid, session_sid, interaction_sid, blank_at) VALUES (?, ?, ?, ?)"
_BLANK = """
UPDATE interactions SET data = ? WHERE service_sid = ? AND session_sid = ? AND sid = ? AND type = 'message'"""
# Without an outbound leg nothing was sent, and nothing more becomes of it.
_BLANK_IF_OVER = f"""{_BLANK} AND (outbound_status IS NULL OR outbound_status >= {int(MessageStatus.FAILED)})
AND NOT EXISTS (SELECT 1 FROM outbox WHERE order_key = interactions.sid AND state + 0 <> 0 AND state <> 6)"""
_FORGET = "DELETE FROM passing_bodies WHERE service_sid = ? AND interaction_sid = ?"


def passing_body(
    tx: Tx, service_sid: str, session_sid: str, interaction_sid: str, validity_us: int
) -> tuple[Any, ...]:
    """What `keep_for_now` takes for a message accepted now: its body stays for a day longer than it can wait to be
    handed over, since so long a report may come.
    """
    return service_sid, session_sid, interaction_sid, tx.now + validity_us + RECEIPT_LIFE_US


def keep_for_now(tx: Tx, bodies: Sequence[tuple[Any, ...]]) -> None:
    """Note of these messages that their bodies are to be blanked."""
    tx.executemany(_KEEP, bodies)


def blank_if_over(tx: Tx, service_sid: str, session_sid: str, interaction_sid: str) -> None:
    """Blank the body of a message that has come to its end, and of which nothing is still to be told."""
    place = (service_sid, session_sid, interaction_sid)
    if tx.execute(_BLANK_IF_OVER, (NO_BODY, *place)).rowcount:
        tx.execute(_FORGET, (service_sid, interaction_sid))


def blank_overdue(tx: Tx, most: int) -> int:
    """Blank up to `most` bodies whose time is over, whatever has been reported of them."""
    rows = tx.execute(
        "SELECT service_sid, session_sid, interaction_sid FROM passing_bodies WHERE blank_at <= ?"
        " ORDER BY blank_at LIMIT ?",
        (tx.now, most),
    ).fetchall()
    tx.executemany(_BLANK, [(NO_BODY, *row) for row in rows])
    tx.executemany(_FORGET, [(row[0], row[2]) for row in rows])
    return len(rows)
