"""BXML, in which Bandwidth is told what to do with a call, and what Bandwidth says of one, in Twilio's words.

    <Response><Transfer transferCallerId="+14155550101" callTimeout="30" transferCompleteUrl="https://…" username="…" …>
      <PhoneNumber transferAnswerUrl="https://…" transferDisconnectUrl="https://…" username="…" …>+12125550177
      </PhoneNumber></Transfer></Response>
    POST transferAnswerUrl        {"eventType": "transferAnswer", "callId": "c-95ac8d6e-…", "from": "+1…", "to": "+1…"}
    POST transferDisconnectUrl    {"eventType": "transferDisconnect", "cause": "busy", …}
    POST transferCompleteUrl      {"eventType": "transferComplete", "cause": "hangup", …}

What `from` and `to` say is of the caller's side, in all of them. Each address is given with the name and the password
that are to be shown there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from maskline.carriers.twilio_forms import read_call
from maskline.carriers.webhooks import CallAsked, text_at
from maskline.domain.markup import escape
from maskline.domain.twiml import (
    Dial,
    Gather,
    Hangup,
    Message,
    Number,
    Pause,
    Play,
    Redirect,
    Reject,
    Say,
    Verb,
)

# What its events say of the side that they are about. The others are of a call that goes on.
_STATUSES = {"initiate": "ringing", "disconnect": "completed"}

# Its words for how a side ended; any other is a failure.
_CAUSES = {
    "hangup": "completed",
    "busy": "busy",
    "rejected": "busy",
    "timeout": "no-answer",
    "cancel": "canceled",
}

_GENDERS = {"man": "male", "woman": "female", "alice": "female"}
MOST_REPEATS = 10
"""How often a prompt is said at most: each time it has to be written once more."""


class Bxml:
    """Writes documents for an account whose callbacks show this name and password."""

    def __init__(self, username: str, password: str) -> None:
        self._login = {"username": username, "password": password}

    def render(self, verbs: Iterable[Verb]) -> bytes:
        """The document, in UTF-8. Characters that XML does not have are left out."""
        inner = "".join(map(self._render, verbs))
        return f'<?xml version="1.0" encoding="UTF-8"?>{_element("Response", inner)}'.encode()

    def _render(self, verb: Verb) -> str:
        match verb:
            case Say(text=text, voice=voice, language=language, loop=loop):
                gender, locale = _GENDERS.get(voice or ""), (language or "").replace("-", "_")
                said = _element("SpeakSentence", escape(text), gender=gender, locale=locale or None)
                return said * _times(loop)
            case Play(digits=digits) if digits:
                return _element("SendDtmf", escape(digits))
            case Play(url=url, loop=loop):
                return _element("PlayAudio", escape(url)) * _times(loop)
            case Pause(length_s=length):
                return _element("Pause", duration=length)
            case Gather():
                return self._gather(verb)
            case Dial():
                return self._dial(verb)
            case Redirect(url=url, method=method):
                return _element("Redirect", redirectUrl=url, redirectMethod=method, **self._login)
            case Reject() | Hangup():
                return _element("Hangup")
            case Message():  # no call does that
                return ""

    def _gather(self, verb: Gather) -> str:
        # It has no silence between prompts.
        prompts = "".join(self._render(one) for one in verb.prompts if not isinstance(one, Pause))
        within = min(60, max(1, verb.timeout_s))
        return _element(
            "Gather",
            prompts,
            gatherUrl=verb.action,
            gatherMethod=verb.method,
            **self._login,
            terminatingDigits=verb.finish_on_key or None,
            maxDigits=verb.num_digits,
            firstDigitTimeout=within,
            interDigitTimeout=within,
            **({"input": " ".join(verb.input), "language": verb.language} if "speech" in verb.input else {}),
            hints=verb.hints,
        )

    def _dial(self, verb: Dial) -> str:
        return _element(
            "Transfer",
            "".join(map(self._number, verb.numbers)),
            transferCallerId=verb.caller_id,
            callTimeout=min(300, verb.timeout_s) if verb.timeout_s else None,
            transferCompleteUrl=verb.action,
            transferCompleteMethod=verb.method if verb.action else None,
            **self._login,
        )

    def _number(self, number: Number) -> str:
        # Where they are to hear nothing, that they have answered is only told.
        answered, told = number.url or number.status_callback, number.status_callback
        return _element(
            "PhoneNumber",
            escape(number.number),
            transferAnswerUrl=answered,
            transferAnswerMethod="POST" if answered else None,
            transferDisconnectUrl=told,
            transferDisconnectMethod="POST" if told else None,
            **self._login,
        )


def _times(loop: int) -> int:
    return min(loop or MOST_REPEATS, MOST_REPEATS)


def _element(name: str, content: str = "", **attributes: Any) -> str:
    said = "".join(f' {key}="{escape(str(value))}"' for key, value in attributes.items() if value is not None)
    return f"<{name}{said}>{content}</{name}>" if content else f"<{name}{said}/>"


def read_asked(event: Mapping[str, Any]) -> CallAsked:
    """What is asked, or told, of a call. Raises Unreadable."""
    kind, cause = text_at(event, "eventType"), text_at(event, "cause")
    ended = _CAUSES.get(cause, "failed")
    said = {
        "CallSid": text_at(event, "callId"),
        "From": text_at(event, "from"),
        "To": text_at(event, "to"),
        "CallStatus": _STATUSES.get(kind, "in-progress"),
        "Direction": text_at(event, "direction"),
    }
    if kind == "gather":
        said["Digits"] = text_at(event, "digits")
    elif kind == "transferComplete":
        said["DialCallStatus"] = ended
    elif kind == "transferDisconnect":
        took_s = _seconds(text_at(event, "answerTime"), text_at(event, "endTime"))
        # Whoever has not answered has not hung up.
        said["CallStatus"] = ended if took_s is not None or ended != "completed" else "canceled"
        said["CallDuration"] = str(took_s) if took_s is not None else ""
    return read_call(said)


def _seconds(begin: str, end: str) -> int | None:
    """How long it took; None if that is not said."""
    try:
        took = dt.datetime.fromisoformat(end) - dt.datetime.fromisoformat(begin)
    except (ValueError, TypeError):
        return None
    return max(0, round(took.total_seconds()))
