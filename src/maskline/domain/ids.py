"""SIDs: two letters that name the kind and 32 hexadecimal digits. Forms and checks only; `mint` makes new ones."""

from __future__ import annotations

import re
from typing import NewType

AccountSid = NewType("AccountSid", str)
ServiceSid = NewType("ServiceSid", str)
NumberSid = NewType("NumberSid", str)
SessionSid = NewType("SessionSid", str)
ParticipantSid = NewType("ParticipantSid", str)
InteractionSid = NewType("InteractionSid", str)
MessageSid = NewType("MessageSid", str)

_FORM = re.compile(r"[A-Za-z]{2}[0-9a-fA-F]{32}")


def is_sid(text: str, prefix: str) -> bool:
    """Whether `text` has the form of a SID of this kind; hexadecimal digits may be of either case."""
    return len(text) == 34 and text[:2] == prefix and _FORM.fullmatch(text) is not None


def canonical(text: str) -> str:
    """The one spelling that is stored: the prefix as it is, the digits in lower case."""
    return text[:2] + text[2:].lower()


def instant_of(sid: str) -> int:
    """The creation instant in a SID of ours, in microseconds UTC at whole milliseconds.

    It is the `date_created` of what the SID names, so that the order of SIDs is the order of (creation, SID).
    """
    return int(sid[2:14], 16) * 1000
