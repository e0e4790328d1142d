"""How fast a number and a carrier account may send: so many messages a second, counted over a window.

What is kept is one instant, from which on the next message may go. A window's worth may go at once after a pause.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskline.domain.model import SECOND


@dataclass(frozen=True, slots=True)
class Throughput:
    """Of a carrier account: the time from one message to the next over all its numbers, and for each number that says
    nothing of it; 0: there is no limit.
    """

    gap_us: int = 0
    number_gap_us: int = 0
    window_us: int = SECOND


UNLIMITED = Throughput()


def gap_of(messages_per_second: float | None) -> int:
    """The time from one message to the next."""
    return round(SECOND / messages_per_second) if messages_per_second else 0


def next_free(free_at: int, now: int, gap_us: int, window_us: int) -> int:
    """When the message after one that goes now may go; `free_at`, not after `now`, is when this one might have gone."""
    slack_us = max(0, window_us - gap_us)
    return max(free_at, now - slack_us) + gap_us
