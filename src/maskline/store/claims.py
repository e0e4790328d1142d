"""Which leg is known under which id of a carrier: what a carrier is asked to find may be another leg's."""

from __future__ import annotations

from collections.abc import Sequence

from maskline.store.engine import Tx


def find_claims(
    tx: Tx, service_sid: str, session_sid: str, sid: str, carrier_ids: Sequence[str]
) -> tuple[str | None, set[str]]:
    """The carrier's id of this Interaction's message, if it is known by now; and which of `carrier_ids` are others'."""
    row = tx.execute(
        "SELECT carrier_id FROM interactions WHERE service_sid = ? AND session_sid = ? AND sid = ?",
        (service_sid, session_sid, sid),
    ).fetchone()
    return row[0] if row else None, {one for one in carrier_ids if is_claimed(tx, service_sid, sid, one)}


def is_claimed(tx: Tx, service_sid: str, sid: str, carrier_id: str | None) -> bool:
    """Whether another Interaction than this one has a message of this id."""
    row = tx.execute(
        "SELECT 1 FROM interactions WHERE service_sid = ? AND carrier_id = ? AND sid <> ?",
        (service_sid, carrier_id, sid),
    ).fetchone()
    return row is not None
