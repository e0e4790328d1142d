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


def outbound_leg_sid(interaction_sid: str, prefix: str = "SM") -> str:
    """The SID of the message (or call) that an Interaction's outbound leg is; MM: one with media."""
    return prefix + interaction_sid[2:]


def inbound_leg_sid(interaction_sid: str, prefix: str = "SM") -> str:
    """The same of its inbound leg: the next lower SID, which `mint` gives to nothing else."""
    return f"{prefix}{interaction_sid[2:-1]}{int(interaction_sid[-1], 16) & 0b1110:x}"


def interaction_of_leg(leg_sid: str) -> InteractionSid:
    """The SID of the Interaction that a message or call is a leg of."""
    return InteractionSid(f"KI{leg_sid[2:-1]}{int(leg_sid[-1], 16) | 1:x}")


def sibling_sid(sid: str, number: int) -> str:
    """The SID of one more of what a SID names, made with it: of the same instant, and another for each number from 1 to
    4095. Its digits differ where those of a SID are random, before the last one, which is what SIDs differ by that
    follow from each other.
    """
    varied = (int(sid[-4:-1], 16) + number) & 0xFFF
    return f"{sid[:-4]}{varied:03x}{sid[-1]}"


def instant_of(sid: str) -> int:
    """The creation instant in a SID of ours, in microseconds UTC at whole milliseconds.

    It is the `date_created` of what the SID names, so that the order of SIDs is the order of (creation, SID).
    """
    return int(sid[2:14], 16) * 1000
