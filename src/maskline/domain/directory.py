"""What may stand in the directory: a phone number, a short code, a channel's sender. Reads each from text.

Its kind decides what it can do and how it is used; afterwards the SID's prefix tells it everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from maskline.domain.channel import parse_channel
from maskline.domain.model import NumberKind
from maskline.domain.phone import calling_code_of, parse_phone

# Three digits and eight are the least and the most of any country.
_SHORT_CODE = re.compile(r"[0-9]{3,8}")

CAN: dict[NumberKind, dict[str, bool]] = {
    NumberKind.PHONE: {"voice": True, "sms": True, "mms": True},
    NumberKind.SHORT_CODE: {"voice": False, "sms": True, "mms": False},
    NumberKind.CHANNEL: {"voice": False, "sms": True, "mms": True},
}
"""What each kind can do unless it is said otherwise. What cannot call by its kind never can."""


class Unreadable(ValueError):
    """It can stand in no directory, and the text says why, without naming it."""


@dataclass(frozen=True, slots=True)
class Address:
    """`value` is unique in the whole directory. A channel's sender has no country; its calling code is 0."""

    kind: NumberKind
    value: str
    country: str | None
    calling_code: int


def read_address(text: str, country: str | None = None) -> Address:
    """What `text` is. A short code needs its ISO `country`, which no other kind can choose. Raises Unreadable."""
    text, country = text.strip(), country.upper() if country else None
    if _SHORT_CODE.fullmatch(text):
        return _short_code(text, country)
    if ":" in text:
        return _sender(text, country)
    phone = parse_phone(text)
    if phone is None:
        raise Unreadable("it is neither a valid number in E.164 form, such as +14155550100, nor a short code")
    if country not in (None, phone.country):
        raise Unreadable(f"the number is not of country {country}")
    return Address(NumberKind.PHONE, phone.e164, phone.country, phone.calling_code)


def _short_code(digits: str, country: str | None) -> Address:
    if country is None:
        raise Unreadable("a short code needs its country, such as US")
    if (code := calling_code_of(country)) is None:
        raise Unreadable("the country is not one of ISO 3166, such as US")
    return Address(NumberKind.SHORT_CODE, digits, country, code)


def _sender(text: str, country: str | None) -> Address:
    if country is not None:
        raise Unreadable("a channel's sender has no country")
    if (key := parse_channel(text)) is None:
        raise Unreadable(
            "it is no address of a known channel, such as whatsapp:+14155550100 or messenger:1234567890"
        )
    return Address(NumberKind.CHANNEL, key, None, 0)


def read_abilities(
    kind: NumberKind, said: dict[str, bool | None], carried: Mapping[str, bool] = CAN[NumberKind.PHONE]
) -> dict[str, bool]:
    """What it can do, by what is `said`; where nothing is, by its kind and what is `carried`. Raises Unreadable."""
    able = {
        name: CAN[kind][name] and carried[name] if said.get(name) is None else bool(said[name])
        for name in CAN[kind]
    }
    if able["voice"] and not CAN[kind]["voice"]:
        raise Unreadable("only a phone number takes calls")
    if lacking := [name for name in able if able[name] and not carried[name]]:
        raise Unreadable(f"its carrier account carries no {' and no '.join(lacking)}")
    return able
