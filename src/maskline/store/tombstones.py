"""What carriers may still report on though it has been deleted: their ids of the messages, nothing else of them.

A report that finds no message waits for one and ends as an event; one that finds a tombstone is dropped at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from maskline.domain.interaction import MessageStatus
from maskline.domain.model import SECOND, Instant
from maskline.domain.retry import RECEIPT_LIFE_S
from maskline.store.engine import Tx


def bury(tx: Tx, carrier_ids: Iterable[str]) -> None:
    """Leave a tombstone for each, for as long as a report looks for its message."""
    until = tx.now + RECEIPT_LIFE_S * SECOND
    tx.executemany(
        "INSERT INTO tombstones (carrier_id, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(carrier_id, until) for carrier_id in carrier_ids],
    )


def bury_deleted(tx: Tx, rows: Iterable[tuple[str | None, int | None, Instant]]) -> None:
    """Leave one for each deleted message that a report may still come on: its carrier's id, the status of its outbound
    leg, and when it moved last. What no carrier has taken has no id.
    """
    recent = tx.now - RECEIPT_LIFE_S * SECOND
    bury(
        tx,
        [
            carrier_id
            for carrier_id, status, updated_at in rows
            if carrier_id is not None and ((status or 0) < MessageStatus.FAILED or updated_at > recent)
        ],
    )


def is_buried(tx: Tx, carrier_id: str) -> bool:
    """Whether the message with this id of its carrier has been deleted, not long ago."""
    return are_buried(tx, [carrier_id])[0]


def are_buried(tx: Tx, carrier_ids: Sequence[str]) -> list[bool]:
    """The same of many."""
    rows = tx.find_each(
        "SELECT expires_at FROM tombstones WHERE carrier_id = ?", [(one,) for one in carrier_ids]
    )
    return [row is not None and row[0] > tx.now for row in rows]


def delete_old_tombstones(tx: Tx, most: int) -> int:
    """Forget up to `most` that have stood for long enough."""
    return tx.execute(
        "DELETE FROM tombstones WHERE carrier_id IN"
        " (SELECT carrier_id FROM tombstones WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
        (tx.now, most),
    ).rowcount
