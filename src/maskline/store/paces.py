"""How fast people write (`pair_limit`): a row for each sender and proxy number, in Services that limit it, and as long
as it counts. It stands in the database, so it holds across restarts and for all nodes.
"""

from __future__ import annotations

import json
from enum import Enum, auto

from maskline.domain.pace import WINDOW_US, Pace
from maskline.store.engine import Tx

_FIND = """
SELECT taken, refused_until FROM paces WHERE service_sid = ? AND identifier_key = ? AND proxy_number = ?"""
_KEEP = """
INSERT INTO paces (service_sid, identifier_key, proxy_number, taken, refused_until, forget_at)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (service_sid, identifier_key, proxy_number) DO UPDATE SET taken = excluded.taken,
       refused_until = excluded.refused_until, forget_at = excluded.forget_at"""


class Admission(Enum):
    """Whether one message is taken."""

    ADMITTED = auto()
    REFUSED_FIRST = auto()
    """It is the one that went too far: from now on its pair is refused."""
    REFUSED = auto()


def count_message(tx: Tx, service_sid: str, sender: str, number: str, limit: int) -> Admission:
    """Count a message of this sender to this number, of which at most `limit` are taken in any 30 seconds."""
    pair = (service_sid, sender, number)
    row = tx.execute(_FIND, pair).fetchone()
    pace = Pace(tuple(json.loads(row[0])), row[1]) if row is not None else Pace()
    if pace.refuses(tx.now):
        return Admission.REFUSED
    pace = pace.with_one_more(limit, tx.now)
    tx.execute(_KEEP, (*pair, json.dumps(pace.taken), pace.refused_until, tx.now + WINDOW_US))
    return Admission.REFUSED_FIRST if pace.refuses(tx.now) else Admission.ADMITTED


def forget_paces(tx: Tx, most: int) -> int:
    """Forget up to `most` pairs that have been quiet for so long that nothing of them counts."""
    return tx.execute(
        "DELETE FROM paces WHERE (service_sid, identifier_key, proxy_number) IN"
        " (SELECT service_sid, identifier_key, proxy_number FROM paces WHERE forget_at <= ?"
        " ORDER BY forget_at LIMIT ?)",
        (tx.now, most),
    ).rowcount
