"""What Services want of their traffic, as far as a transaction has to know: asked once in it. On the hot path."""

from __future__ import annotations

from collections.abc import Iterable

from maskline.domain.optout import rules_of
from maskline.domain.service_settings import bodies_kept, pair_limit
from maskline.store.engine import Tx, Wants

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
