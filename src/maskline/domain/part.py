"""A part of a long message from a handset, which came as several."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """As a carrier brought it. `reference` is one for all parts of a message; `message_id` is the carrier id that the
    whole message will have, which is that of the first part to come. `content` is hexadecimal, in `coding`; `digest`
    tells whether two parts are one.
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
