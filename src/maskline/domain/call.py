"""A call between two people: what a carrier is told to do with it, and what it says became of it.

The carrier is told to dial the partner under the partner's own proxy number. What it says later it says to addresses
that name the Interaction; statuses are ranks and merge, so they may come in any order, any number of times.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from maskline.domain.interaction import CallStatus
from maskline.domain.service_settings import read_settings
from maskline.domain.twiml import Dial, Gather, Hangup, Number, Say, Verb

MOST_ENTRIES = 10
"""How often one call may come in: each Gather and Redirect that hands it back is one more."""
LONGEST_S = 14_400
"""How long two people may be joined, which is how long Twilio joins them by itself."""
SILENCE_S = LONGEST_S + 900
"""How long a call may be without news: as long as it may ring and take, and some minutes."""

ACCEPT_S, ACCEPT_KEY = 10, "1"

_STATUSES = {
    "queued": CallStatus.INITIATED,
    "initiated": CallStatus.INITIATED,
    "ringing": CallStatus.RINGING,
    "answered": CallStatus.IN_PROGRESS,
    "in-progress": CallStatus.IN_PROGRESS,
    "canceled": CallStatus.CANCELED,
    "no-answer": CallStatus.NO_ANSWER,
    "busy": CallStatus.BUSY,
    "failed": CallStatus.FAILED,
    "completed": CallStatus.COMPLETED,
}


class Unanswered(Exception):
    """There is nothing to go on with, and the call ends. The text says why, without what was said."""


class Place(NamedTuple):
    """Which Interaction a call is."""

    service_sid: str
    session_sid: str
    sid: str


@dataclass(frozen=True, slots=True)
class News:
    """What a carrier says of the partner's side. `duration_s`: how long it took, if that was said."""

    status: CallStatus
    duration_s: int | None = None


def read_status(word: str) -> CallStatus | None:
    """A carrier's word for how far a call is; None if it is none."""
    return _STATUSES.get(word.strip().lower())


def read_duration(text: str) -> int | None:
    """Seconds; None for anything else, and for more than a call can take."""
    return int(text) if re.fullmatch("[0-9]{1,6}", text) else None


def is_final(status: int) -> bool:
    """Whether nothing follows this status of a call."""
    return status >= CallStatus.CANCELED


def as_told(status: CallStatus, *, must_accept: bool) -> CallStatus:
    """What a report means while the partner still `must_accept`: whoever has answered may be a machine."""
    if must_accept and status is CallStatus.IN_PROGRESS:
        return CallStatus.RINGING
    if must_accept and status is CallStatus.COMPLETED:
        return CallStatus.NO_ANSWER
    return status


def rings_for_s(stored: str) -> int:
    """How long the partner is rung, by what a Service keeps as its settings."""
    return int(read_settings(stored)["ring_timeout_s"])


def must_accept(stored: str) -> bool:
    """Whether the partner has to press a key before the two are joined."""
    return bool(read_settings(stored)["call_accept"] == "keypress")


class Event(StrEnum):
    """What a carrier says or asks of a call whose partner it was told to dial."""

    STATUS = "status"
    """How far the partner's side is."""
    DIALLED = "dialled"
    """How the dialling ended: what is the caller's side to do now?"""
    WHISPER = "whisper"
    """The partner has answered: what do they hear, alone?"""
    ACCEPT = "accept"
    """The partner has pressed a key."""
    FOLLOW = "follow"
    """What does a customer's server say, whose address is in here?"""
    TELL = "tell"
    """How far somebody is whom a customer had dialled: their server is to hear it, whose address is in here."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the carrier is to say what becomes of a call: below `webhook`, naming the Interaction."""

    webhook: str
    place: Place

    def of(self, event: Event) -> str:
        query = {"Event": event, "Session": self.place.session_sid, "Interaction": self.place.sid}
        return f"{self.webhook}?{urlencode(query)}"


def is_about(url: str | None, event: Event) -> bool:
    """Whether this is an `Address` of this event of a call."""
    return ("Event", event) in parse_qsl((url or "").partition("?")[2])


def place_in(service_sid: str, query: Mapping[str, str]) -> Place:
    """The Interaction that an `Address` names; of none, if it names none."""
    return Place(service_sid, query.get("Session", ""), query.get("Interaction", ""))


def dial(address: Address, to: str, caller_id: str, ring_s: int, *, must_accept: bool) -> list[Verb]:
    """Have the carrier dial `to`, which sees `caller_id`, and say how it goes."""
    number = Number(
        to,
        url=address.of(Event.WHISPER) if must_accept else None,
        status_callback=address.of(Event.STATUS),
        status_callback_event=("initiated", "ringing", "answered", "completed"),
    )
    action = address.of(Event.DIALLED)
    return [Dial((number,), caller_id=caller_id, timeout_s=ring_s, time_limit_s=LONGEST_S, action=action)]


def whisper(address: Address, stored: str) -> list[Verb]:
    """What the partner hears, alone, before the two are joined, by what a Service keeps as its settings."""
    settings = read_settings(stored)
    prompt = Say(settings["call_accept_prompt"], language=settings["call_accept_language"] or None)
    gather = Gather((prompt,), action=address.of(Event.ACCEPT), timeout_s=ACCEPT_S, num_digits=1)
    return [gather, Hangup()]
