"""Rows of the outbox, whatever their topic: how one ends, and how the next of its order key comes."""

from __future__ import annotations

from maskline.domain.model import OutboxState
from maskline.store.engine import Tx, Wake

HELD = int(OutboxState.HELD)

_FINISH = "DELETE FROM outbox WHERE id = ?"
_GIVE_UP = "UPDATE outbox SET state = 6, owner = NULL, started_at = NULL WHERE id = ?"
_NEXT = """
SELECT id, state FROM outbox WHERE order_key = ? AND state <> 0 AND state <> 6 ORDER BY seq LIMIT 1"""
_RELEASE = "UPDATE outbox SET state = 1, due_at = ? WHERE id = ?"


def finish(tx: Tx, row_id: int, order_key: str, *, dead: bool = False) -> None:
    """Take a row out of the outbox, or keep it there for dead; and make the next of its order key due."""
    tx.execute(_GIVE_UP if dead else _FINISH, (row_id,))
    following = tx.execute(_NEXT, (order_key,)).fetchone()
    if following is not None and following[1] == HELD:
        tx.execute(_RELEASE, (tx.now, following[0]))
        tx.wake |= Wake.SENDS | Wake.CALLBACKS


def forget_callbacks(tx: Tx, service_sid: str, interaction_sid: str) -> None:
    """Nothing of the Interaction is told any more, nor kept of what was."""
    tx.execute("DELETE FROM outbox WHERE order_key = ? AND state <> 0", (interaction_sid,))
    tx.execute(
        "DELETE FROM callback_attempts WHERE service_sid = ? AND interaction_sid = ?",
        (service_sid, interaction_sid),
    )
