"""What a customer is to be told: put down in the transaction that moves a status. On the hot path.

A callback is an outbox row of the topic `callback`; `callbacks` sends it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from maskline.domain.callback import Told, callback_sid
from maskline.domain.model import SECOND, OutboxState
from maskline.domain.optout import rules_of
from maskline.domain.retry import CALLBACK_LIFE_S
from maskline.domain.service_settings import bodies_kept, pair_limit
from maskline.store.engine import Tx, Wake, Wants

WAITING, HELD = int(OutboxState.WAITING), int(OutboxState.HELD)

_INSERT = """
INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload)
VALUES ('callback', ?, ?, ?, '', ?, ?, ?, ?, ?, ?, ?, '', ?)
ON CONFLICT DO NOTHING"""
_EARLIER = "SELECT 1 FROM outbox WHERE order_key = ? AND state IN (1, 3, 4) AND state <> 0"
_WANTS = """
SELECT callback_url IS NOT NULL, intercept_callback_url IS NOT NULL, out_of_session_callback_url IS NOT NULL,
       settings
FROM services WHERE sid = ?"""


def wants_of(tx: Tx, service_sid: str) -> Wants:
    """What this Service wants of its traffic; asked once a transaction."""
    wants = tx.wants.get(service_sid)
    if wants is None:
        row = tx.execute(_WANTS, (service_sid,)).fetchone()
        wants = tx.wants[service_sid] = Wants() if row is None else _wants(*row)
    return wants


def _wants(callbacks: int, intercept: int, strangers: int, settings: str) -> Wants:
    asks = bool(callbacks), bool(intercept), bool(strangers)
    return Wants(*asks, bodies_kept(settings), pair_limit(settings), rules_of(settings))


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
