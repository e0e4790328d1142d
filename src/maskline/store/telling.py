"""What a customer is to be told: put down in the transaction that moves a status. On the hot path.

A callback is an outbox row of the topic `callback`; `callbacks` sends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from maskline.domain.callback import Told, callback_sid
from maskline.domain.model import SECOND, OutboxState
from maskline.domain.optout import rules_of
from maskline.domain.retry import CALLBACK_LIFE_S
from maskline.domain.service_settings import bodies_kept, pair_limit
from maskline.store.engine import Tx, Wake, Wants

WAITING, HELD = int(OutboxState.WAITING), int(OutboxState.HELD)

_encode = msgspec.json.Encoder().encode

_INSERT = """
INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload)
VALUES ('callback', ?, ?, ?, '', ?, ?, ?, ?, ?, ?, ?, '', ?)
ON CONFLICT DO NOTHING"""
_EARLIER = "SELECT 1 FROM outbox WHERE order_key = ? AND state IN (1, 3, 4) AND state + 0 <> 0 LIMIT 1"
_WANTS = """
SELECT callback_url IS NOT NULL, intercept_callback_url IS NOT NULL, out_of_session_callback_url IS NOT NULL,
       settings
FROM services WHERE sid = ?"""


def wants_of(tx: Tx, service_sid: str) -> Wants:
    """What this Service wants of its traffic; asked once a transaction."""
    wants = tx.wants.get(service_sid)
    if wants is None:
        ask_wants(tx, [service_sid])
        wants = tx.wants[service_sid]
    return wants


def ask_wants(tx: Tx, service_sids: Iterable[str]) -> None:
    """Ask what these want, for `wants_of` to know."""
    unknown = [sid for sid in dict.fromkeys(service_sids) if sid not in tx.wants]
    for sid, row in zip(unknown, tx.find_each(_WANTS, [(sid,) for sid in unknown]), strict=True):
        tx.wants[sid] = Wants() if row is None else _wants(*row)


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
        _encode((told.inbound, told.outbound, told.at)).decode(),
    )


def insert_first(tx: Tx, callbacks: Sequence[tuple[Any, ...]]) -> None:
    """Tell of Interactions that have just begun."""
    if callbacks:
        tx.executemany(_INSERT, callbacks)
        tx.wake |= Wake.CALLBACKS


def insert_later(tx: Tx, callbacks: Sequence[tuple[Any, ...]]) -> None:
    """Tell of statuses that have moved, each of another Interaction, after what is still to be told of it."""
    earlier = tx.find_each(_EARLIER, [(callback[1],) for callback in callbacks])
    if None in earlier:
        tx.wake |= Wake.CALLBACKS
    states = (WAITING if one is None else HELD for one in earlier)
    tx.executemany(
        _INSERT, [(state, *callback[1:]) for state, callback in zip(states, callbacks, strict=True)]
    )
