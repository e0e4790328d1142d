"""Parts of long messages: kept until the last one is there, so that each can be acknowledged by itself.

A part belongs to the message with its sender, number and reference. `brought` is 0 while that waits, 2 when nothing is
added to it any more since it is about to go on, and 1 when it went on. What went on is known for a while, without its
text, so that a part of it that comes again begins no new message.
"""

from __future__ import annotations

from maskline.domain.model import SECOND
from maskline.domain.part import Part
from maskline.store.engine import Tx

KNOWN_FOR_US = 600 * SECOND
"""How long a message that went on is known by its parts."""
LIFE_US = 172_800 * SECOND
"""What is older, no carrier account here asks for: the settings have it no more."""

_COLUMNS = "carrier_account, sender, number, reference, place, total, message_id, coding, content, digest"
_WHERE = "carrier_account = ? AND sender = ? AND number = ? AND reference = ?"
_OF_MESSAGE = "carrier_account = ? AND sender = ? AND number = ? AND message_id = ?"
"""By its reference alone it may be another message by now."""
_FIND = f"SELECT {_COLUMNS}, brought FROM parts WHERE {_WHERE} ORDER BY place"
_CLOSE = f"UPDATE parts SET brought = 2 WHERE {_OF_MESSAGE} AND brought = 0"
_CLOSED = f"SELECT {_COLUMNS} FROM parts WHERE {_OF_MESSAGE} AND brought = 2"
_KNOWN = "SELECT 1 FROM received WHERE carrier_account = ? AND carrier_id = ?"
_REMEMBER = f"""
INSERT INTO received (carrier_account, carrier_id, received_at)
SELECT carrier_account, digest, ? FROM parts WHERE {_OF_MESSAGE} ON CONFLICT DO NOTHING"""
_INSERT = f"""
INSERT INTO parts ({_COLUMNS}, brought, kept_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)"""


def keep_part(tx: Tx, part: Part) -> list[Part]:
    """Keep a part for good. Gives all parts of its message, in order, if that is complete and has not gone on yet."""
    key = (part.carrier_account, part.sender, part.number, part.reference)
    if part.is_named and tx.execute(_KNOWN, (part.carrier_account, part.digest)).fetchone() is not None:
        return []
    rows = tx.execute(_FIND, key).fetchall()
    parts = [Part(*row[:-1]) for row in rows]
    brought = any(row[-1] for row in rows)
    if any(known.place == part.place and known.digest == part.digest for known in parts):
        return [] if brought else _whole(parts)
    if parts and (brought or parts[0].total != part.total or any(p.place == part.place for p in parts)):
        # Another message under a reference that is used again: the one before keeps to itself what is there of it.
        tx.execute(
            f"UPDATE parts SET reference = ? WHERE {_WHERE}",
            (f"{part.reference} of {parts[0].message_id}", *key),
        )
        parts = []
    message_id = parts[0].message_id if parts else part.message_id
    values = (*key, part.place, part.total, message_id, part.coding, part.content, part.digest)
    tx.execute(_INSERT, (*values, tx.now))
    return _whole(sorted([*parts, Part(*values)], key=lambda one: one.place))


def mark_brought(tx: Tx, part: Part) -> None:
    """The message of this part has gone on: its parts are known by their digests only, and for as long as any message
    where the carrier has ids of its own for them.
    """
    message = _message_of(part)
    if part.is_named:
        tx.execute(_REMEMBER, (tx.now, *message))
    tx.execute(
        f"UPDATE parts SET brought = 1, content = '', kept_at = ? WHERE {_OF_MESSAGE}",
        (tx.now, *message),
    )


def close_message(tx: Tx, part: Part) -> list[Part]:
    """Let nothing more be added to the message of this part, which has waited for long enough: what comes later begins
    another. Gives its parts, in order; none if it has gone on meanwhile.
    """
    message = _message_of(part)
    tx.execute(_CLOSE, message)
    parts = [Part(*row) for row in tx.execute(_CLOSED, message).fetchall()]
    return sorted(parts, key=lambda one: one.place)


def _message_of(part: Part) -> tuple[str, str, str, str]:
    return part.carrier_account, part.sender, part.number, part.message_id


def find_waiting_parts(tx: Tx, carrier_account: str, wait_us: int, most: int) -> list[list[Part]]:
    """Up to `most` messages of this account that have to go on, the oldest first: those that are complete, and those
    whose first part came so long ago. Each is its parts, in order.
    """
    rows = tx.execute(
        "SELECT sender, number, reference FROM parts WHERE carrier_account = ? AND brought <> 1"
        " GROUP BY sender, number, reference HAVING count(*) = max(total) OR min(kept_at) <= ?"
        " ORDER BY min(kept_at) LIMIT ?",
        (carrier_account, tx.now - wait_us, most),
    ).fetchall()
    return [
        [Part(*row[:-1]) for row in tx.execute(_FIND, (carrier_account, *key)).fetchall()] for key in rows
    ]


def forget_parts(tx: Tx, most: int) -> int:
    """Forget up to `most` parts of messages that went on a while ago, and what nobody brings on any more."""
    return tx.execute(
        "DELETE FROM parts WHERE (carrier_account, sender, number, reference, place) IN"
        " (SELECT * FROM (SELECT carrier_account, sender, number, reference, place FROM parts"
        " WHERE brought = 1 AND kept_at <= ? UNION ALL SELECT carrier_account, sender, number, reference, place"
        " FROM parts WHERE brought IN (0, 2) AND kept_at <= ?) AS old LIMIT ?)",
        (tx.now - KNOWN_FOR_US, tx.now - LIFE_US, most),
    ).rowcount


def _whole(parts: list[Part]) -> list[Part]:
    return parts if len(parts) == parts[0].total else []
