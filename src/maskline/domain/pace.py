"""How fast one sender may write to one proxy number: so many messages in any 30 seconds, and whoever goes beyond is
refused for 30 seconds from then.
"""

from __future__ import annotations

from typing import NamedTuple

from maskline.domain.model import SECOND

WINDOW_US = 30 * SECOND


class Pace(NamedTuple):
    """What is known of a pair: when the messages of the last 30 seconds were taken, and until when none is."""

    taken: tuple[int, ...] = ()
    refused_until: int = 0

    def refuses(self, now: int) -> bool:
        """Whether the pair is being refused at this instant."""
        return now < self.refused_until

    def with_one_more(self, limit: int, now: int) -> Pace:
        """After one more message of a pair that is not being refused: it is taken, or it begins a refusal."""
        recent = tuple(at for at in self.taken if now < at + WINDOW_US)
        if len(recent) >= limit:
            return Pace((), now + WINDOW_US)
        return Pace((*recent, now), 0)
