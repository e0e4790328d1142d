"""Which messages carriers have brought, by their ids: what comes again is known by that. `receive` writes them down.

Of a carrier that repeats nothing once it has its answer (SMPP), the row goes with the answer; what is left tells the
next run what may come again, after a crash in between, under which id.
"""

from __future__ import annotations

from maskline.domain.model import DAY, SECOND
from maskline.store.engine import Turn, Tx, batched

REPEATED_FOR_US = 600 * SECOND
"""What was not answered may come again for so long."""
LIFE_US = 7 * DAY
"""No carrier repeats itself for so long."""


@batched(Turn.OUTCOME)
def forget_answered(tx: Tx, items: list[tuple[str, str]]) -> list[Exception | None]:
    """These (carrier account, carrier id) have their answer."""
    tx.executemany("DELETE FROM received WHERE carrier_account = ? AND carrier_id = ?", items)
    return [None] * len(items)


def find_unanswered(tx: Tx, carrier_account: str) -> list[str]:
    """The carrier ids of what this account brought lately and may bring again, in the order of their keys."""
    rows = tx.execute(
        "SELECT carrier_id FROM received WHERE carrier_account = ? AND received_at > ?",
        (carrier_account, tx.now - REPEATED_FOR_US),
    ).fetchall()
    return [row[0] for row in rows]


def delete_old_received(tx: Tx, most: int) -> int:
    """Forget up to `most` that were brought longer ago than any is repeated. Returns how many there were."""
    return tx.execute(
        "DELETE FROM received WHERE (carrier_account, carrier_id) IN"
        " (SELECT carrier_account, carrier_id FROM received WHERE received_at < ? LIMIT ?)",
        (tx.now - LIFE_US, most),
    ).rowcount
