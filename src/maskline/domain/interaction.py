"""Legs, their statuses, and how two reports on one leg become one: the higher rank wins, so nothing ever goes back.

A status is stored as its rank. Two reports may then arrive in any order, any number of times, and merge to the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from maskline.domain.model import Interaction

NO_BODY = '{"body":""}'
"""The `data` of a message whose text is not kept."""


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
        return WORDS[self]


class CallStatus(IntEnum):
    """The life of a call's leg, in rising order (contract, promise 4)."""

    INITIATED = 10
    RINGING = 20
    IN_PROGRESS = 30
    CANCELED = 40
    NO_ANSWER = 50
    BUSY = 60
    FAILED = 70
    COMPLETED = 80


def _words(statuses: Iterable[IntEnum]) -> dict[int, str]:
    return {int(status): status.name.lower().replace("_", "-") for status in statuses}


WORDS, CALL_WORDS = _words(MessageStatus), _words(CallStatus)


def words_of(interaction_type: str) -> dict[int, str]:
    """Twilio's words for the statuses of the legs of an Interaction of this type."""
    return CALL_WORDS if interaction_type == "voice" else WORDS


def is_over(interaction: Interaction) -> bool:
    """Whether its message has left the outbox, or its call has ended."""
    if interaction.type == "voice":
        legs = (interaction.inbound, interaction.outbound)
        return all(leg is None or leg.status >= CallStatus.CANCELED for leg in legs)
    # Whatever takes a message out of the outbox raises its leg to at least delivery-unknown in the same transaction.
    outbound = interaction.outbound
    return outbound is None or outbound.status >= MessageStatus.DELIVERY_UNKNOWN


def merge(known: int, reported: int) -> int:
    """The status of a leg of which both were said. Commutative, associative, idempotent."""
    return max(known, reported)
