"""Legs, their statuses, and how two reports on one leg become one: the higher rank wins, so nothing ever goes back.

A status is stored as its rank. Two reports may then arrive in any order, any number of times, and merge to the same.
"""

from __future__ import annotations

from enum import IntEnum


class MessageStatus(IntEnum):
    """The life of a message's leg, in rising order (contract, promise 4)."""

    QUEUED = 10
    SENDING = 20
    DELIVERY_UNKNOWN = 30
    SENT = 40
    FAILED = 50
    UNDELIVERED = 60
    DELIVERED = 70

    @property
    def word(self) -> str:
        """Twilio's word for it."""
        return _WORDS[self]


_WORDS = {status: status.name.lower().replace("_", "-") for status in MessageStatus}
WORDS: dict[int, str] = {int(status): word for status, word in _WORDS.items()}


def merge(known: int, reported: int) -> int:
    """The status of a leg of which both were said. Commutative, associative, idempotent."""
    return max(known, reported)
