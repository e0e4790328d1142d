"""Which messages carriers have brought, by their ids: what comes again is known by that. `receive` writes them down.

Of a carrier that repeats nothing once it has heard its answer (SMPP), the row notes the answer, and goes when that must
have arrived; what is left tells the next run what may come again, after a crash in between, under which id.
"""

from __future__ import annotations

from collections.abc import Sequence

from maskline.domain.model import DAY, SECOND
from maskline.store.engine import Turn, Tx, batched

REPEATED_FOR_US = 600 * SECOND
"""What may come again does so within that time."""
LIFE_US = 7 * DAY
"""No carrier repeats itself for so long."""


@batched(Turn.OUTCOME)
def mark_answered(tx: Tx, items: list[tuple[str, str]]) -> list[Exception | None]:
    """These (carrier account, carrier id) have been answered; nobody knows yet whether that was heard."""
    marks = [(tx.now, *item) for item in items]
    tx.executemany("UPDATE received SET answered_at = ? WHERE carrier_account = ? AND carrier_id = ?", marks)
    return [None] * len(items)


def forget_settled(tx: Tx, items: Sequence[tuple[str, str]]) -> None:
    """These (carrier account, carrier id) will not come again."""
    tx.executemany("DELETE FROM received WHERE carrier_account = ? AND carrier_id = ?", items)


def find_unsettled(tx: Tx, carrier_account: str) -> list[tuple[str, bool]]:
    """The carrier ids of what this account brought lately and may bring again, in the order of their keys; and whether
    it was answered.
    """
    rows = tx.execute(
        "SELECT carrier_id, answered_at IS NOT NULL FROM received WHERE carrier_account = ? AND received_at > ?",
        (carrier_account, tx.now - REPEATED_FOR_US),
    ).fetchall()
    return [(carrier_id, bool(answered)) for carrier_id, answered in rows]


def delete_old_received(tx: Tx, most: int) -> int:
    """Forget up to `most` that were brought longer ago than any is repeated. Returns how many there were."""
    return tx.execute(
        "DELETE FROM received WHERE (carrier_account, carrier_id) IN"
        " (SELECT carrier_account, carrier_id FROM received WHERE received_at < ? LIMIT ?)",
        (tx.now - LIFE_US, most),
    ).rowcount
