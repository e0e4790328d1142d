"""When to try a hand-over again: a schedule by attempt, and the carrier's own wish when it named one."""

from __future__ import annotations

from maskline.domain.model import SECOND, Instant

SEND_DELAYS_S = (1, 5, 15, 60, 300)
CALLBACK_DELAYS_S = (1, 5, 15, 60, 300, 900)
CALLBACK_LIFE_S = 3600
RECEIPT_DELAYS_S = (1, 5, 30, 300, 3600)
RECEIPT_LIFE_S = 86_400


def _delay(schedule: tuple[int, ...], attempts: int) -> int:
    return schedule[min(attempts, len(schedule)) - 1] * SECOND


def next_send_at(now: Instant, attempts: int, retry_after_s: float | None = None) -> Instant:
    """When to hand over again after `attempts` (1 or more) refusals; after the last step, every 300 s.

    A `Retry-After` of the carrier is honoured when it is longer, up to an hour.
    """
    # In this order, what is no number (nan) counts as no wish.
    wished = int(min(max(0.0, retry_after_s or 0.0), 3600.0) * SECOND)
    return Instant(now + max(_delay(SEND_DELAYS_S, attempts), wished))


def next_receipt_at(now: Instant, attempts: int) -> Instant:
    """When to look again for the message that an early delivery report belongs to."""
    return Instant(now + _delay(RECEIPT_DELAYS_S, attempts))


def next_callback_at(now: Instant, attempts: int) -> Instant:
    """When to tell a customer again after `attempts` (1 or more) that failed."""
    return Instant(now + _delay(CALLBACK_DELAYS_S, attempts))
