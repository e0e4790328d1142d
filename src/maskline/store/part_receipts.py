"""Receipts of the parts of a long text, where its carrier reports on each: what they say together of the message.

It is delivered when all parts are, and failed as soon as one is. They may come in any order, any number of times.
"""

from __future__ import annotations

from maskline.domain.interaction import MessageStatus
from maskline.domain.model import DAY
from maskline.store.engine import Tx

LIFE_US = 7 * DAY
"""How long what was said is kept: no carrier reports on parts of a message for so long."""

SENT, FAILED, DELIVERED = int(MessageStatus.SENT), int(MessageStatus.FAILED), int(MessageStatus.DELIVERED)

_KEEP = """
INSERT INTO part_receipts (message_sid, carrier_id, status, reported_at) VALUES (?, ?, ?, ?)
ON CONFLICT (message_sid, carrier_id) DO UPDATE SET status = excluded.status
WHERE part_receipts.status < excluded.status"""
_SAID = "SELECT status FROM part_receipts WHERE message_sid = ?"


def merge_part(tx: Tx, message_sid: str, carrier_id: str, status: int, parts: int) -> int:
    """Keep a report on one of so many parts of a message. Gives the status of the whole, by all that was said."""
    tx.execute(_KEEP, (message_sid, carrier_id, status, tx.now))
    said: list[int] = [row[0] for row in tx.execute(_SAID, (message_sid,)).fetchall()]
    if failed := [one for one in said if FAILED <= one < DELIVERED]:
        return max(failed)
    return DELIVERED if said.count(DELIVERED) >= parts else SENT


def forget_part_receipts(tx: Tx, most: int) -> int:
    """Forget up to `most` of those that came long ago."""
    return tx.execute(
        "DELETE FROM part_receipts WHERE (message_sid, carrier_id) IN"
        " (SELECT message_sid, carrier_id FROM part_receipts WHERE reported_at <= ? LIMIT ?)",
        (tx.now - LIFE_US, most),
    ).rowcount
