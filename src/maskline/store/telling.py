"""What a customer is to be told: put down in the transaction that moves a status. On the hot path.

A callback is an outbox row of the topic `callback`; `callbacks` sends it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from maskline.domain.callback import Told, callback_sid
from maskline.domain.model import SECOND, OutboxState
from maskline.domain.retry import CALLBACK_LIFE_S
from maskline.store.engine import Tx, Wake

WAITING, HELD = int(OutboxState.WAITING), int(OutboxState.HELD)

_INSERT = """
INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload)
VALUES ('callback', ?, ?, ?, '', ?, ?, ?, ?, ?, ?, ?, '', ?)
ON CONFLICT DO NOTHING"""
_EARLIER = "SELECT 1 FROM outbox WHERE order_key = ? AND state IN (1, 3, 4) AND state <> 0"
_URL = "SELECT callback_url FROM services WHERE sid = ?"


def is_told(tx: Tx, service_sid: str) -> bool:
    """Whether this Service has a CallbackUrl; asked once a transaction."""
    told = tx.told.get(service_sid)
    if told is None:
        row = tx.execute(_URL, (service_sid,)).fetchone()
        told = tx.told[service_sid] = row is not None and row[0] is not None
    return told


def new_callback(
    account_sid: str, service_sid: str, session_sid: str, interaction_sid: str, rank: int, told: Told
) -> tuple[Any, ...]:
    """What `_INSERT` takes for one callback, due at once."""
    return (
        WAITING,
        interaction_sid,
        rank,
        told.at,
        told.at + CALLBACK_LIFE_S * SECOND,
        account_sid,
        service_sid,
        session_sid,
        interaction_sid,
        callback_sid(interaction_sid, rank),
        json.dumps([told.inbound, told.outbound, told.at], separators=(",", ":")),
    )


def insert_first(tx: Tx, callbacks: Sequence[tuple[Any, ...]]) -> None:
    """Tell of Interactions that have just begun."""
    if callbacks:
        tx.executemany(_INSERT, callbacks)
        tx.wake |= Wake.CALLBACKS


def insert_later(tx: Tx, callback: tuple[Any, ...]) -> None:
    """Tell of a status that has moved, after what is still to be told of the same Interaction."""
    if tx.execute(_EARLIER, (callback[1],)).fetchone() is not None:
        callback = (HELD, *callback[1:])
    else:
        tx.wake |= Wake.CALLBACKS
    tx.execute(_INSERT, callback)
