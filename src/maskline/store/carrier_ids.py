"""Under which id its carrier knows a message: what a carrier is asked to find may be another message's, and an id that
is known tells that its carrier has been heard of.
"""

from __future__ import annotations

from collections.abc import Sequence

from maskline.domain.interaction import MessageStatus
from maskline.domain.model import Instant
from maskline.store.engine import Tx

MOST_RECENT = 20_000

_RECENT = """
SELECT carrier_id FROM interactions WHERE account_sid = ? AND type = 'message' AND sid > ? AND outbound_status >= ?
ORDER BY sid LIMIT ?"""


def find_carrier_ids(
    tx: Tx, service_sid: str, session_sid: str, sid: str, carrier_ids: Sequence[str]
) -> tuple[str | None, set[str], Instant]:
    """The carrier's id of this Interaction's message, if it is known by now; which of `carrier_ids` are others'; and
    the time by which the rest of it is stored.
    """
    row = tx.execute(
        "SELECT carrier_id FROM interactions WHERE service_sid = ? AND session_sid = ? AND sid = ?",
        (service_sid, session_sid, sid),
    ).fetchone()
    others = {one for one in carrier_ids if is_known_elsewhere(tx, service_sid, sid, one)}
    return row[0] if row else None, others, tx.now


def is_known_elsewhere(tx: Tx, service_sid: str, sid: str, carrier_id: str | None) -> bool:
    """Whether another Interaction than this one has a message of this id."""
    row = tx.execute(
        "SELECT 1 FROM interactions WHERE service_sid = ? AND carrier_id = ? AND sid <> ?",
        (service_sid, carrier_id, sid),
    ).fetchone()
    return row is not None


def has_heard(tx: Tx, account_sid: str, carrier_account: str, since_sid: str) -> bool:
    """Whether a message of the account, later than this SID, is known to have ended at this carrier account. Up to
    MOST_RECENT messages are looked at, by whatever carrier.
    """
    recent = tx.execute(_RECENT, (account_sid, since_sid, int(MessageStatus.UNDELIVERED), MOST_RECENT))
    return any(carrier_id and carrier_id.startswith(f"{carrier_account}/") for (carrier_id,) in recent)
