"""Phone numbers: reading E.164, the key that numbers are matched by, and the mask that logs may show.

The only home of `phonenumbers`. Mexico and Argentina write a mobile number in two ways, with and without a digit
after the country code (`+521…`, `+549…`); everywhere inside there is only the one without, and `dial_form` inserts the
digit where a carrier needs it. What a number is matched by never depends on its being valid: inbound senders may be
anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NewType

import phonenumbers

from maskline.domain.service_settings import read_settings

E164 = NewType("E164", str)

# A client that does not encode its plus sign sends a space. Fewer digits after one are a short code, not a number.
_E164 = re.compile(r"\+[1-9][0-9]{1,14}| [1-9][0-9]{6,14}")
_SCHEME = re.compile(r"([A-Za-z]{1,20}):(.*)", re.DOTALL)
_CALLING_CODES = frozenset(f"{code}" for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE)

_MOBILE_DIGIT = {"+52": "1", "+54": "9"}
_NATIONAL_DIGITS = 10  # in Mexico and in Argentina, the mobile digit not counted
_PREFIX = {"+52": "mexico_prefix", "+54": "argentina_prefix"}
_DIALLED = {"message": frozenset({"on"}), "voice": frozenset({"on", "calls"})}
# ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN, UNAVAILABLE on a telephone's keys: what carriers say of hidden numbers.
_HIDDEN = frozenset({"+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"})
_KIND = phonenumbers.PhoneNumberType
_PEOPLES = frozenset({_KIND.FIXED_LINE, _KIND.MOBILE, _KIND.FIXED_LINE_OR_MOBILE, _KIND.UNKNOWN})
"""What may be somebody's phone, and is no service such as a toll-free number."""


@dataclass(frozen=True, slots=True)
class Phone:
    """A number. `country` is ISO 3166, None where a number belongs to none (such as +800, or one that is not valid)."""

    e164: E164
    country: str | None
    calling_code: int


def parse_phone(text: str, *, possible: bool = False) -> Phone | None:
    """The number that `text` is, None unless it is E.164 and valid in its country's numbering plan.

    `possible`: a number will do that has as many digits as some of its country, and a calling code.
    """
    e164 = _read(text)
    return _look_up(e164, possible) if e164 else None


def country_of(e164: str) -> str | None:
    """The ISO country of a valid number; None for any other text and for numbers of no country."""
    phone = parse_phone(e164)
    return phone.country if phone else None


def calling_code_of(country: str) -> int | None:
    """The calling code of an ISO country; None if there is no such country."""
    return phonenumbers.country_code_for_region(country) or None


def identifier_key(text: str) -> str:
    """What an identifier or an inbound sender is matched by: two spellings of one address have one key.

    Numbers in E.164 form; channel addresses (`whatsapp:+1…`, `messenger:123`) with their scheme in lower case; short
    codes, alphanumeric senders and everything else as they are, stripped.
    """
    if e164 := _read(text):
        return e164
    text = text.strip()
    if channel := _SCHEME.fullmatch(text):
        scheme, address = channel.groups()
        return f"{scheme.lower()}:{_read(address) or _address_key(address.strip())}"
    return _address_key(text)


def dial_form(key: str, interaction_type: str, stored: str) -> str:
    """What a carrier is given to reach the identifier with this key by a message or a call (`voice`).

    `stored` is what the Service keeps of its settings. Whatever is dialled here is matched by the same key again.
    """
    setting = _PREFIX.get(key[:3])
    if setting is None or read_settings(stored)[setting] not in _DIALLED[interaction_type]:
        return key
    return mobile_form(key)


def is_caller(key: str) -> bool:
    """Whether a caller with this key can be known again, and is nobody who hides their number."""
    return key not in _HIDDEN and parse_phone(key, possible=True) is not None


def mobile_form(key: str) -> str:
    """The number with this key as it is written with its country's mobile digit; the key itself where it has none."""
    digit = _MOBILE_DIGIT.get(key[:3])
    if digit is None or len(key) != 3 + _NATIONAL_DIGITS or not _E164.fullmatch(key) or not _is_peoples(key):
        return key
    return key[:3] + digit + key[3:]


def mask(text: str) -> str:
    """`text` as logs, events and errors may show it: `+1…34`, `whatsapp:+44…12`, `…34`."""
    if channel := _SCHEME.fullmatch(text):
        scheme, address = channel.groups()
        return f"{scheme.lower()}:{_mask_address(address)}"
    return _mask_address(text)


def _address_key(text: str) -> str:
    return _read(text) or text


def _mask_address(text: str) -> str:
    text = text.strip()
    code = _calling_code(text)
    shown = text[: len(code) + 1] if code else ""
    return f"{shown}…{text[-2:]}" if len(text) - len(shown) > 4 else f"{shown}…"


def _calling_code(text: str) -> str:
    """The country calling code that a number in E.164 form begins with; empty for any other text."""
    if not _E164.fullmatch(text):
        return ""
    # No calling code is the beginning of another, so the first that fits is the one.
    return next((text[1:end] for end in (2, 3, 4) if text[1:end] in _CALLING_CODES), "")


def _read(text: str) -> E164 | None:
    """`text` in E.164 form without a mobile digit, None if it has another form. On the inbound hot path."""
    if not _E164.fullmatch(text):
        return None
    e164 = f"+{text[1:]}"
    country = e164[:3]
    if country in _MOBILE_DIGIT and e164[3:4] == _MOBILE_DIGIT[country] and len(e164) == 4 + _NATIONAL_DIGITS:
        e164 = country + e164[4:]
    return E164(e164)


@lru_cache(maxsize=4096)
def _look_up(e164: E164, possible: bool) -> Phone | None:
    for spelling in _spellings(e164):
        try:
            number = phonenumbers.parse(spelling)
        except phonenumbers.NumberParseException:
            return None
        # Anything that libphonenumber has to mend (a trunk zero, a domestic prefix) is no E.164.
        mended = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) != spelling
        if mended or not (
            phonenumbers.is_valid_number(number) or (possible and phonenumbers.is_possible_number(number))
        ):
            continue
        region = phonenumbers.region_code_for_number(number)
        country = region if region and region.isalpha() else None
        return Phone(e164, country, number.country_code or 0)
    return None


@lru_cache(maxsize=4096)
def _is_peoples(key: str) -> bool:
    return phonenumbers.number_type(phonenumbers.parse(key)) in _PEOPLES


def _spellings(e164: E164) -> Iterator[str]:
    """The number itself, then with its mobile digit: a numbering plan may hold it only so."""
    yield e164
    digit = _MOBILE_DIGIT.get(e164[:3])
    if digit and len(e164) == 3 + _NATIONAL_DIGITS:
        yield e164[:3] + digit + e164[3:]
