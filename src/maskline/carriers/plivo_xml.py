"""Plivo XML, in which Plivo is told what to do with a call, and what Plivo says of one, in Twilio's words.

    <Response><Dial callerId="14155550101" timeout="30" action="https://…" method="POST" callbackUrl="https://…"
      callbackMethod="POST"><Number>12125550177</Number></Dial></Response>
    POST callbackUrl    DialAction=answer&DialBLegUUID=…&DialBLegFrom=14155550101&DialBLegTo=12125550177
    POST callbackUrl    DialAction=hangup&DialBLegUUID=…&DialBLegDuration=11
    POST action         CallUUID=…&From=…&To=…&DialStatus=completed

Plivo asks for the key itself with which the partner takes a call (`confirmKey`), and plays them what `confirmSound`
says meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from maskline.carriers.twilio_forms import read_call
from maskline.carriers.webhooks import CallAsked
from maskline.domain.call import ACCEPT_KEY, ACCEPT_S, Event, is_about
from maskline.domain.markup import escape
from maskline.domain.twiml import Dial, Gather, Hangup, Message, Pause, Play, Redirect, Reject, Say, Verb

# Its words for how a call ended, where they are not Twilio's.
_STATUSES = {"cancel": "canceled", "timeout": "no-answer", "rejected": "failed"}
_VOICES = {"man": "MAN", "woman": "WOMAN", "alice": "WOMAN"}
# What it tells of the partner's side.
_ACTIONS = {"answer": "in-progress", "hangup": "completed"}

CONFIRM_S = 20 + ACCEPT_S
"""How long the partner has for the key, of which the prompt takes a part."""
NUMBER = "Number"
"""In the address that is told of the partner's side: the number of ours that they see, which is not always said."""


def render(verbs: Iterable[Verb]) -> bytes:
    """The document, in UTF-8. Characters that XML does not have are left out."""
    inner = "".join(map(_render, verbs))
    return f'<?xml version="1.0" encoding="UTF-8"?>{_element("Response", inner)}'.encode()


def _render(verb: Verb) -> str:
    match verb:
        case Say(text=text, voice=voice, language=language, loop=loop):
            named = _VOICES.get(voice or "", voice if (voice or "").startswith("Polly.") else None)
            return _element("Speak", escape(text), voice=named, language=language, loop=loop)
        case Play(digits=digits) if digits:
            return _element("DTMF", escape(digits))
        case Play(url=url, loop=loop):
            return _element("Play", escape(url), loop=loop)
        case Pause(length_s=length):
            return _element("Wait", length=max(1, length))
        case Gather():
            return _gather(verb)
        case Dial():
            return _dial(verb)
        case Redirect(url=url, method=method):
            return _element("Redirect", escape(url), method=method)
        case Reject(reason=reason):
            return _element("Hangup", reason=reason)
        case Hangup():
            return _element("Hangup")
        case Message():  # no call does that
            return ""


def _gather(verb: Gather) -> str:
    prompts = "".join(map(_render, verb.prompts))
    if is_about(verb.action, Event.ACCEPT):  # what the partner hears while Plivo waits for the key
        return prompts
    asked: dict[str, Any] = {
        "action": verb.action,
        "method": verb.method,
        "numDigits": verb.num_digits,
        "finishOnKey": verb.finish_on_key or "none",
    }
    if verb.input == ("dtmf",):
        within = max(1, verb.timeout_s)
        gathered = _element("GetDigits", prompts, **asked, timeout=within, digitTimeout=within)
    else:
        gathered = _element(
            "GetInput",
            prompts,
            **asked,
            inputType=" ".join(verb.input),
            executionTimeout=min(60, max(5, verb.timeout_s)),
            language=verb.language,
            hints=verb.hints,
        )
    if verb.action_on_empty_result:
        gathered += _element("Redirect", escape(verb.action or ""), method=verb.method)
    return gathered


def _dial(verb: Dial) -> str:
    first, caller = verb.numbers[0], (verb.caller_id or "").removeprefix("+")
    told = first.status_callback
    if told and caller:
        told += ("&" if "?" in told else "?") + urlencode({NUMBER: caller})
    accepts = is_about(first.url, Event.WHISPER)
    numbers = "".join(
        _element("Number", escape(one.number.removeprefix("+")), sendDigits=one.send_digits or None)
        for one in verb.numbers
    )
    return _element(
        "Dial",
        numbers,
        callerId=caller or None,
        timeout=verb.timeout_s,
        timeLimit=verb.time_limit_s,
        hangupOnStar=verb.hangup_on_star or None,
        action=verb.action,
        method=verb.method if verb.action else None,
        callbackUrl=told,
        callbackMethod="POST" if told else None,
        confirmSound=first.url,
        confirmKey=ACCEPT_KEY if accepts else None,
        confirmTimeout=CONFIRM_S if accepts else None,
    )


def _element(name: str, content: str = "", **attributes: Any) -> str:
    said = "".join(
        f' {key}="{escape(str(value).lower() if isinstance(value, bool) else str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{said}>{content}</{name}>" if content else f"<{name}{said}/>"


def read_asked(form: Mapping[str, str], query: Mapping[str, str]) -> CallAsked:
    """What is asked, or told, of a call. `form` has numbers as we write them. Raises Unreadable."""
    if "DialAction" in form:
        return _read_told(form, query)
    said = {
        "CallSid": form.get("CallUUID", ""),
        "From": form.get("From", ""),
        "To": form.get("To", ""),
        "CallStatus": _word(form.get("CallStatus", "")),
        "Direction": form.get("Direction", ""),
    }
    said |= {ours: form[name] for name, ours in _MORE.items() if name in form}
    if "DialStatus" in form:
        said["DialCallStatus"] = _word(form["DialStatus"])
    return read_call(said)


_MORE = {
    "Digits": "Digits",
    "Speech": "SpeechResult",
    "SpeechConfidenceScore": "Confidence",
    "ForwardedFrom": "ForwardedFrom",
    "CallerName": "CallerName",
}


def _read_told(form: Mapping[str, str], query: Mapping[str, str]) -> CallAsked:
    """What Plivo tells of the partner's side."""
    action, duration = form["DialAction"], form.get("DialBLegDuration", "")
    ours = f"+{query[NUMBER]}" if query.get(NUMBER) else form.get("From", "")
    said = {
        "CallSid": form.get("DialBLegUUID") or form.get("CallUUID", ""),
        "From": ours,
        "To": form.get("DialBLegTo") or ours,
        "CallStatus": _ACTIONS.get(action, ""),
    }
    if action == "connected":  # where a key was asked for, it has been pressed
        return CallAsked(read_call({**said, "Digits": ACCEPT_KEY}).form, Event.ACCEPT)
    if action == "hangup":
        if not re.fullmatch("0*[1-9][0-9]*", duration):  # nobody took it: how it ended is told to `action`
            said["CallStatus"] = ""
        said["CallDuration"] = duration
    return read_call(said)


def _word(status: str) -> str:
    return _STATUSES.get(status, status)
