"""Opt-out and opt-in words: whether a text is one, and what a Service makes of it.

Only the whole text counts, in any letter case and spelled in any of Unicode's ways, with the blanks around it taken
away: STOP 12345 is no opt-out, nor is STOP with a full stop, since Twilio takes single words only. Media beside the
word change nothing: who writes it with a picture means it no less.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from maskline.domain.callback import CALLBACK_PREFIX
from maskline.domain.dates import iso_date
from maskline.domain.model import Instant
from maskline.domain.service_settings import MOST_WORD, read_settings

MOST_DECOMPOSED = 3 * MOST_WORD
"""Of characters in one whose accents are characters of their own."""
OPTOUT_PREFIX = "OO"
UNSTOP = "unstop"
"""An opt-in word whatever a Service's list says, and the only one that is not forwarded."""


class Ask(StrEnum):
    """What a word asks for."""

    OPT_OUT = "opt-out"
    OPT_IN = "opt-in"


class Scope(StrEnum):
    """What a person who has opted out gets no message from."""

    NUMBER = "number"
    SERVICE = "service"


class Source(StrEnum):
    """Where an opt-out comes from."""

    WORD = "word"
    API = "api"
    IMPORT = "import"
    CARRIER = "carrier"


def word_of(text: str) -> str:
    """The text as words are compared; empty if it is too long to be one. For every message that comes in."""
    text = text.strip()
    if text.isascii():
        return " ".join(text.lower().split()) if len(text) <= MOST_WORD else ""
    if len(text) > MOST_DECOMPOSED:
        return ""
    # Canonical caseless matching: letters folded, not just made small, and composed or not.
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold()).split())


def is_dropped(word: str, ask: Ask | None) -> bool:
    """Whether the message that is this word goes no further."""
    return ask is Ask.OPT_OUT or (ask is Ask.OPT_IN and word == UNSTOP)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a Service makes of words (`stop` and `start` are empty where it makes nothing of them) and of opt-outs."""

    stop: frozenset[str]
    start: frozenset[str]
    scope: Scope
    opt_out_reply: str = ""
    opt_in_reply: str = ""
    tells: bool = False
    """Whether the customer wants to be told of opt-outs and opt-ins."""

    def ask_of(self, word: str) -> Ask | None:
        """What a word of `word_of` asks for. A word of both lists is an opt-out."""
        if word in self.stop:
            return Ask.OPT_OUT
        return Ask.OPT_IN if word in self.start else None

    def reply_to(self, ask: Ask) -> str:
        """What somebody is answered whose word asks for this; empty: nothing."""
        return self.opt_out_reply if ask is Ask.OPT_OUT else self.opt_in_reply

    @property
    def obeys(self) -> bool:
        """Whether words are obeyed at all."""
        return bool(self.stop)

    def asked_from(self, number: str) -> str:
        """The proxy number of an opt-out that somebody asked for by writing to this one; "": from all."""
        return "" if self.scope is Scope.SERVICE else number

    def blocks(self, numbers: list[str], number: str) -> bool:
        """Whether somebody who has opted out from these proxy numbers ("": from all) gets no message from `number`."""
        return bool(numbers) if self.scope is Scope.SERVICE else number in numbers or "" in numbers


@dataclass(frozen=True, slots=True)
class Notice:
    """That an opt-out has begun or ended, as the customer is told of it: by SIDs, its own and those of the Session and
    the participant that the person is on this number, if they are one; never by who they are.
    """

    optout_sid: str
    ask: Ask
    number: str
    at: Instant
    session_sid: str | None
    participant_sid: str | None

    @property
    def sid(self) -> str:
        """Its own: an opt-out begins once, and ends once, under the SID that `mint` gives to nothing else."""
        last = int(self.optout_sid[-1], 16)
        return (
            f"{CALLBACK_PREFIX}{self.optout_sid[2:-1]}{last if self.ask is Ask.OPT_OUT else last & 0b1110:x}"
        )

    def form(self, account_sid: str, service_sid: str) -> dict[str, str]:
        """What is posted. Of a stranger there are no keys of a Session and a participant."""
        form = {
            "optOutSid": self.optout_sid,
            "optOutType": self.ask.value,
            "optOutServiceSid": service_sid,
            "optOutAccountSid": account_sid,
            "optOutProxyIdentifier": self.number,
            "optOutDate": iso_date(self.at),
        }
        if self.session_sid is not None and self.participant_sid is not None:
            form |= {"optOutSessionSid": self.session_sid, "optOutParticipantSid": self.participant_sid}
        return form


OBEYS_NOTHING = Rules(frozenset(), frozenset(), Scope.NUMBER)


@lru_cache(maxsize=1024)
def rules_of(stored: str) -> Rules:
    """The rules in what a Service keeps of its settings."""
    settings = read_settings(stored)
    scope = Scope(settings["optout_scope"])
    if settings["stop_words"] == "off":
        return Rules(frozenset(), frozenset(), scope)
    stop, start = (
        frozenset(map(word_of, settings[name].split(","))) - {""}
        for name in ("stop_word_list", "start_word_list")
    )
    replies = settings["optout_reply"], settings["optin_reply"]
    return Rules(stop, start | {UNSTOP}, scope, *replies, tells=bool(settings["optout_callback_url"]))
