"""Addresses of messaging channels, such as `whatsapp:+14155550100` and `messenger:1234567890`: a scheme and a name.

Whoever has such an address is written to from a sender of the same channel. A sender is a row of the number directory,
wired to one Service; it is in no pool.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from maskline.domain.phone import identifier_key, parse_phone

_FORM = re.compile(r"[A-Za-z]+:[!-~]+")

# A channel's name here, and what its addresses look like. Facebook's are digits, or the name of a page.
_CHANNELS: dict[str, Callable[[str, bool], object]] = {
    "whatsapp": lambda address, possible: parse_phone(address, possible=possible),
    "messenger": lambda address, _: re.fullmatch(r"[A-Za-z0-9._-]+", address),
}


def parse_channel(text: str, *, possible: bool = False) -> str | None:
    """The key of a channel address, by which it is matched (see `phone.identifier_key`).

    None unless the channel is a known one and the address is one of it; a number in it must be valid, or `possible`. A
    plus sign may have come as a space.
    """
    if not _FORM.fullmatch(text := text.replace(" ", "+")):
        return None
    key = identifier_key(text)
    scheme, _, address = key.partition(":")
    is_address = _CHANNELS.get(scheme)
    return key if is_address is not None and is_address(address, possible) else None


def scheme_of(key: str) -> str:
    """The channel of an address that has been read, empty for a number."""
    scheme, colon, _ = key.partition(":")
    return scheme if colon else ""
