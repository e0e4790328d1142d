"""A Service's own settings: one list of names, defaults and sentences. Twilio's resources gain no fields for them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from maskline.domain import problems
from maskline.domain.model import SECOND, OnUncertain, StoreBodies
from maskline.domain.problems import Problem
from maskline.domain.text import MOST_BODY
from maskline.domain.webhook_url import is_url, leads_to


class Kind(Protocol):
    """What a setting may be. `wanted` says it in words."""

    @property
    def wanted(self) -> str: ...

    def read(self, text: str) -> str | int | None:
        """The value that `text` is; None if it is none."""


MOST_WORD = 40
"""Of characters in an opt-out word."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words, in any letter case."""

    words: tuple[str, ...]

    @property
    def wanted(self) -> str:
        return f"one of {', '.join(self.words)}"

    def read(self, text: str) -> str | None:
        return text.lower() if text.lower() in self.words else None


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds."""

    least: int
    most: int

    @property
    def wanted(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def read(self, text: str) -> int | None:
        good = re.fullmatch("[0-9]{1,9}", text) and self.least <= int(text) <= self.most
        return int(text) if good else None


@dataclass(frozen=True, slots=True)
class Texts:
    """Short texts with commas between them, at least one of them."""

    most_each: int
    most: int = 1600

    @property
    def wanted(self) -> str:
        return f"words with commas between them, each of 1 to {self.most_each} characters, {self.most} in all"

    def read(self, text: str) -> str | None:
        words = [word.strip() for word in text.split(",")]
        good = len(text) <= self.most and all(0 < len(word) <= self.most_each for word in words)
        return ",".join(words) if good else None


@dataclass(frozen=True, slots=True)
class Text:
    """Any text up to a length, as it is."""

    most: int

    @property
    def wanted(self) -> str:
        return f"a text of at most {self.most} characters"

    def read(self, text: str) -> str | None:
        return text if len(text) <= self.most else None


@dataclass(frozen=True, slots=True)
class Url:
    """The address of a customer's server."""

    most: int = 4000

    @property
    def wanted(self) -> str:
        return f"an absolute http or https URL of at most {self.most} characters"

    def read(self, text: str) -> str | None:
        return text if len(text) <= self.most and is_url(text) else None


@dataclass(frozen=True, slots=True)
class Setting:
    """`parameter` is its name in a form."""

    name: str
    parameter: str
    default: str | int
    kind: Kind
    sentence: str

    def read(self, text: str) -> str | int:
        """The value that `text` is. Raises 80701."""
        value = self.kind.read(text)
        if value is None:
            raise Problem(problems.PARAMETER_INVALID, f"{self.parameter} ({self.kind.wanted})")
        return value


_OFF_ON = Choice(("off", "on"))

SETTINGS = (
    Setting(
        "on_uncertain",
        "OnUncertain",
        OnUncertain.DELIVERY_UNKNOWN.value,
        Choice(tuple(choice.value for choice in OnUncertain)),
        "What becomes of a message whose hand-over has no known outcome: marked delivery-unknown, or sent again"
        " (it may then arrive twice).",
    ),
    Setting(
        "intercept_failure",
        "InterceptFailure",
        "allow",
        Choice(("allow", "block")),
        "What becomes of a message or call when the InterceptCallbackUrl gives no verdict (it cannot be reached, is too"
        " slow, or answers 5xx): let through, as Twilio does, or blocked.",
    ),
    Setting(
        "ring_timeout_s",
        "RingTimeoutS",
        30,
        Whole(5, 60),
        "How long, in seconds, the partner's phone rings before a call counts as not answered.",
    ),
    Setting(
        "call_accept",
        "CallAccept",
        "off",
        Choice(("off", "keypress")),
        "Whether whoever answers a call has to press 1 before the two are joined, so that no voicemail takes it.",
    ),
    Setting(
        "call_accept_prompt",
        "CallAcceptPrompt",
        "You have a call. Press 1 to take it.",
        Text(500),
        "What is said to whoever has to press a key.",
    ),
    Setting(
        "call_accept_language",
        "CallAcceptLanguage",
        "",
        Text(20),
        "The language in which that is said, such as es-AR; empty: the carrier's own.",
    ),
    Setting(
        "geo_fallback",
        "GeoFallback",
        "off",
        _OFF_ON,
        "Whether a participant for whom no number meets the GeoMatchLevel gets another one of the country, or none.",
    ),
    Setting(
        "geo_radius_km",
        "GeoRadiusKm",
        80,
        Whole(1, 20_000),
        "How far apart the centres of two area codes may be for the GeoMatchLevel radius.",
    ),
    Setting(
        "prefer_unused",
        "PreferUnused",
        "off",
        _OFF_ON,
        "Whether numbers on which nobody is active are given before all others, also before one the participant had.",
    ),
    Setting(
        "number_cooldown_s",
        "NumberCooldownS",
        0,
        Whole(0, 28 * 86_400),
        "How long, in seconds, a number that a person has left is not given to the same person again by itself, so"
        " that a late reply cannot reach somebody else.",
    ),
    Setting(
        "identifier_check",
        "IdentifierCheck",
        "valid",
        Choice(("valid", "possible")),
        "What the number in an Identifier must be: valid in its country's numbering plan, or just possible, for test"
        " systems with made-up numbers such as +15551234567.",
    ),
    Setting(
        "mexico_prefix",
        "MexicoPrefix",
        "off",
        _OFF_ON,
        "Whether numbers of Mexico are called and texted with the 1 after +52 that its networks once needed.",
    ),
    Setting(
        "argentina_prefix",
        "ArgentinaPrefix",
        "calls",
        Choice(("off", "calls", "on")),
        "Whether numbers of Argentina are called, or called and texted, with the 9 after +54 that mobile phones need."
        " Nothing in a number tells a mobile phone from a landline there: where participants have landlines, off.",
    ),
    Setting(
        "mms_fallback",
        "MmsFallback",
        "links",
        Choice(("links", "fail")),
        "What becomes of a message with media whose proxy number carries none: its text is sent with links to them, or"
        " it fails.",
    ),
    Setting(
        "store_bodies",
        "StoreBodies",
        StoreBodies.ALWAYS.value,
        Choice(tuple(choice.value for choice in StoreBodies)),
        "Whether the texts of messages stay in their Interactions: always, until their message is delivered or has"
        " failed (and this has been told to the CallbackUrl), or never. It holds for messages from then on.",
    ),
    Setting(
        "pair_limit",
        "PairLimit",
        0,
        Whole(0, 100),
        "How many messages from one sender to one proxy number are taken in any 30 seconds (0: any number); one more,"
        " and all from this sender to this number are refused for 30 seconds.",
    ),
    Setting(
        "fail_over",
        "FailOver",
        "wait",
        Choice(("wait", "move")),
        "What becomes of messages from a proxy number whose carrier account is down: they wait for it, or their Session"
        " moves to numbers of other accounts, from which they go on.",
    ),
    Setting(
        "fail_over_notice",
        "FailOverNotice",
        "This conversation goes on from this number.",
        Text(MOST_BODY),
        "What somebody is told, from their new number, when their Session has moved.",
    ),
    Setting(
        "stop_words",
        "StopWords",
        "on",
        _OFF_ON,
        "Whether opt-out words are obeyed: dropped and written down as opt-outs. Off: they are forwarded like any other"
        " text, and it is for the application to obey them; opt-outs that are there still count.",
    ),
    Setting(
        "stop_word_list",
        "StopWordList",
        "STOP,STOPALL,UNSUBSCRIBE,CANCEL,END,QUIT,REVOKE,OPTOUT,ARRET,ARRETE,ARRETT",
        Texts(MOST_WORD),
        "The texts that are opt-outs, in any letter case.",
    ),
    Setting(
        "start_word_list",
        "StartWordList",
        "START,YES,DEBUT",
        Texts(MOST_WORD),
        "The texts that end an opt-out, and are forwarded. So does UNSTOP always, which is not forwarded.",
    ),
    Setting(
        "optout_scope",
        "OptoutScope",
        "number",
        Choice(("number", "service")),
        "From what a person who has opted out gets no messages any more: the proxy number that they wrote to, or all"
        " of the Service.",
    ),
    Setting(
        "optout_reply",
        "OptoutReply",
        "",
        Text(MOST_BODY),
        "What somebody is answered who opts out by a word, where their carrier does not do so by itself.",
    ),
    Setting(
        "optin_reply",
        "OptinReply",
        "",
        Text(MOST_BODY),
        "What somebody is answered who ends an opt-out by a word.",
    ),
    Setting(
        "optout_callback_url",
        "OptoutCallbackUrl",
        "",
        Url(),
        "Told when somebody opts out by a word, or at a carrier, and when they opt in again.",
    ),
)


def read_settings(stored: str) -> dict[str, Any]:
    """Every setting with its value, from what a Service keeps."""
    kept = json.loads(stored)
    return {setting.name: kept.get(setting.name, setting.default) for setting in SETTINGS}


@lru_cache(maxsize=4096)
def bodies_kept(stored: str) -> StoreBodies:
    """How long the bodies of messages are kept. On the hot path."""
    return StoreBodies(read_settings(stored)["store_bodies"])


def blocks_on_failure(stored: str) -> bool:
    """Whether no verdict of the InterceptCallbackUrl blocks."""
    return bool(read_settings(stored)["intercept_failure"] == "block")


@lru_cache(maxsize=4096)
def pair_limit(stored: str) -> int:
    """How many messages of a pair are taken in 30 seconds; 0: any number. On the hot path."""
    return int(read_settings(stored)["pair_limit"])


def cooldown_us(stored: str) -> int:
    """How long a number that somebody has left cools down for them, in microseconds; 0: it does not."""
    return int(read_settings(stored)["number_cooldown_s"]) * SECOND


def moves_on_outage(stored: str) -> bool:
    """Whether Sessions move where their carrier account is down."""
    return bool(read_settings(stored)["fail_over"] == "move")


def change_settings(stored: str, form: dict[str, list[str]], home: str = "") -> str:
    """What the Service keeps after a form has been posted; an empty value restores the default. Raises 80701.

    A URL that leads to `home`, this server, could call itself for ever.
    """
    kept = json.loads(stored)
    by_parameter = {setting.parameter: setting for setting in SETTINGS}
    for parameter, values in form.items():
        setting = by_parameter.get(parameter)
        if setting is None:
            known = ", ".join(by_parameter)
            raise Problem(problems.PARAMETER_INVALID, f"There is no such setting (there are: {known})")
        if value := values[-1]:
            kept[setting.name] = setting.read(value)
            if isinstance(setting.kind, Url) and home and leads_to(value, home):
                raise Problem(problems.PARAMETER_INVALID, f"{parameter} (it leads to this server itself)")
        else:
            kept.pop(setting.name, None)
    return json.dumps(kept, sort_keys=True)
