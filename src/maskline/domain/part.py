"""A part of a long message from a handset, which came as several."""

from __future__ import annotations

from dataclasses import dataclass

OWN_ID = "id:"


@dataclass(frozen=True, slots=True)
class Part:
    """As a carrier brought it. `reference` is one for all parts of a message; `message_id` is the carrier id that the
    whole message will have, which is that of the first part to come. `content` is hexadecimal, in `coding`; `digest`
    tells whether two parts are one. If it begins with OWN_ID, it is what the carrier calls this part, and no other.
    """

    carrier_account: str
    sender: str
    number: str
    reference: str
    place: int
    total: int
    message_id: str
    coding: int
    content: str
    digest: str

    @property
    def is_named(self) -> bool:
        """Whether its carrier has an id of its own for it."""
        return self.digest.startswith(OWN_ID)
