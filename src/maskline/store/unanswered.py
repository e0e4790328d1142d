"""What a carrier brought and has not been told that it is taken: where a crash came between, it comes again.

A row of `received` is that record. Of a carrier that repeats nothing once it has its answer (SMPP), the row goes with
the answer; what is left tells the next run what may come again, under which id.
"""

from __future__ import annotations

from maskline.domain.model import SECOND
from maskline.store.engine import Turn, Tx, batched

REPEATED_FOR_US = 600 * SECOND
"""What was not answered may come again for so long."""


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
