"""Callbacks, put into the outbox by the transaction that moves a status; `callbacks` sends them. On the hot path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from maskline.domain.callback import LegStatuses, callback_sid
from maskline.domain.model import SECOND, OutboxState
from maskline.domain.retry import CALLBACK_LIFE_S
from maskline.store.engine import Tx, Wake

WAITING, HELD = int(OutboxState.WAITING), int(OutboxState.HELD)

_encode = msgspec.json.Encoder().encode

_INSERT = """
INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload)
VALUES ('callback', ?, ?, ?, '', ?, ?, ?, ?, ?, ?, ?, '', ?)
ON CONFLICT DO NOTHING"""
_EARLIER = "SELECT 1 FROM outbox WHERE order_key = ? AND state IN (1, 3, 4) AND state + 0 <> 0 LIMIT 1"


def new_callback(
    account_sid: str,
    service_sid: str,
    session_sid: str,
    interaction_sid: str,
    rank: int,
    statuses: LegStatuses,
) -> tuple[Any, ...]:
    """What `_INSERT` takes for one callback, due at once."""
    return (
        WAITING,
        interaction_sid,
        rank,
        statuses.at,
        statuses.at + CALLBACK_LIFE_S * SECOND,
        account_sid,
        service_sid,
        session_sid,
        interaction_sid,
        callback_sid(interaction_sid, rank),
        _encode((statuses.inbound, statuses.outbound, statuses.at)).decode(),
    )


def queue_first(tx: Tx, callbacks: Sequence[tuple[Any, ...]]) -> None:
    """Tell of Interactions that have just begun."""
    if callbacks:
        tx.executemany(_INSERT, callbacks)
        tx.wake |= Wake.CALLBACKS


def queue_later(tx: Tx, callbacks: Sequence[tuple[Any, ...]]) -> None:
    """Tell of statuses that have moved, each of another Interaction, after what is still to be told of it."""
    earlier = tx.find_each(_EARLIER, [(callback[1],) for callback in callbacks])
    if None in earlier:
        tx.wake |= Wake.CALLBACKS
    states = (WAITING if one is None else HELD for one in earlier)
    tx.executemany(
        _INSERT, [(state, *callback[1:]) for state, callback in zip(states, callbacks, strict=True)]
    )
