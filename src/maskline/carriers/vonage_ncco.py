"""NCCO, in which Vonage is told what to do with a call, and what Vonage says of one, in Twilio's words.

    [{"action": "connect", "from": "14155550101", "timeout": 30, "limit": 7200, "eventUrl": ["https://…"],
      "eventMethod": "POST", "endpoint": [{"type": "phone", "number": "12125550177"}]}]
    POST eventUrl    {"uuid": "…", "from": "14155550101", "to": "12125550177", "status": "answered",
                      "direction": "outbound"}
    [{"action": "talk", "text": "Press 1", "bargeIn": true}, {"action": "input", "type": ["dtmf"], "eventUrl": […]}]
    POST eventUrl    {"uuid": "…", "from": …, "to": …, "dtmf": {"digits": "1", "timed_out": false}}
    [{"action": "notify", "payload": {"CallSid": "…", "From": "+1212…", "To": "+1415…"}, "eventUrl": […]}]
    POST eventUrl    {"payload": {"CallSid": …}, …}

When all actions are done the call ends. A `notify` asks how to go on; of the call it says what we have it say. How the
partner's side ended is told to its `eventUrl` before that. Nothing in it hangs up on who has answered. Where the
partner has to accept the call, Vonage is therefore to find out whether they are a machine, and hang up on that; `human`
accepts it. Whom a customer wants to hear something first is not dialled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from maskline.carriers.twilio_forms import read_call
from maskline.carriers.webhooks import CallAsked, text_at
from maskline.domain.call import ACCEPT_KEY, Event, is_about
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

# Its words for how far a call is, where they are not Twilio's. That a machine has answered is no step.
_STATUSES = {
    "started": "initiated",
    "answered": "in-progress",
    "cancelled": "canceled",
    "unanswered": "no-answer",
    "timeout": "no-answer",
    "rejected": "failed",
    "disconnected": "completed",
    "machine": "",
    "human": "in-progress",
}
ENDS = {"completed", "busy", "cancelled", "unanswered", "timeout", "rejected", "failed", "disconnected"}

MOST_TEXT, MOST_DIGITS, MOST_WAIT_S, LONGEST_S = 1500, 20, 10, 7200
"""Characters of a `talk`, keys of an `input` and how long it waits for them, and how long two people may be joined."""
GOES_ON = "GoesOn"
"""In the address of an input: where no key is pressed, the call goes on with what comes next."""
SAID = ("CallSid", "From", "To")


def render(verbs: Iterable[Verb], call: Mapping[str, str]) -> bytes:
    """The document, of the call of which this was said. What follows an end is left out."""
    actions: list[dict[str, Any]] = []
    for verb in verbs:
        if isinstance(verb, Hangup | Reject):
            break
        actions += _render(verb, call)
        if isinstance(verb, Redirect):
            break
    return msgspec.json.encode(actions)


def _render(verb: Verb, call: Mapping[str, str]) -> list[dict[str, Any]]:
    match verb:
        case Say() | Play() | Pause():
            return _heard(verb)
        case Gather():
            return _gather(verb)
        case Dial():
            asked = [] if is_about(verb.action, Event.DIALLED) else _ask(verb.action, call)
            numbers = [one for one in verb.numbers if not one.url or is_about(one.url, Event.WHISPER)]
            return [_connect(verb, number) for number in numbers] + asked
        case Redirect(url=url):
            return _ask(url, call)
        case Hangup() | Reject() | Message():  # the last of which no call does
            return []


def _heard(verb: Say | Play | Pause, **more: Any) -> list[dict[str, Any]]:
    match verb:
        case Say(text=text, language=language, loop=loop):
            pieces = [text[start : start + MOST_TEXT] for start in range(0, len(text), MOST_TEXT)]
            said = _without_none(language=language, loop=loop if loop != 1 else None)
            return [{"action": "talk", "text": piece, **said, **more} for piece in pieces]
        case Play(url=url, loop=loop):  # it plays no tones
            said = _without_none(loop=loop if loop != 1 else None)
            return [{"action": "stream", "streamUrl": [url], **said, **more}] if url else []
        case Pause(length_s=length):
            return [{"action": "wait", "timeout": length}]


def _gather(verb: Gather) -> list[dict[str, Any]]:
    prompts = [one for prompt in verb.prompts for one in _heard(prompt, bargeIn=True)]
    asked: dict[str, Any] = {"action": "input", "type": list(verb.input)}
    if "dtmf" in verb.input:
        asked["dtmf"] = {
            "timeOut": min(verb.timeout_s, MOST_WAIT_S),
            "maxDigits": min(verb.num_digits or MOST_DIGITS, MOST_DIGITS),
            "submitOnHash": "#" in verb.finish_on_key,
        }
    if "speech" in verb.input:
        hints = [hint.strip() for hint in (verb.hints or "").split(",") if hint.strip()]
        asked["speech"] = _without_none(language=verb.language, context=hints or None)
    url = verb.action or ""
    if not verb.action_on_empty_result:
        url += f"{'&' if '?' in url else '?'}{GOES_ON}=1"
    return [*prompts, {**asked, "eventUrl": [url], "eventMethod": "POST"}]


def _connect(verb: Dial, number: Number) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"type": "phone", "number": number.number.removeprefix("+")}
    if number.send_digits:  # half a second is a p
        endpoint["dtmfAnswer"] = number.send_digits.replace("w", "p").replace("W", "pp").replace(",", "p")
    told = number.status_callback
    return {
        "action": "connect",
        **_without_none(
            **{"from": verb.caller_id.removeprefix("+") if verb.caller_id else None},
            timeout=verb.timeout_s,
            limit=min(verb.time_limit_s, LONGEST_S) if verb.time_limit_s else None,
            eventUrl=[told] if told else None,
            eventMethod="POST" if told else None,
            machineDetection="hangup" if number.url else None,
        ),
        "endpoint": [endpoint],
    }


def _ask(url: str | None, call: Mapping[str, str]) -> list[dict[str, Any]]:
    """Have it ask how to go on."""
    said = {name: call.get(name, "") for name in SAID}
    return [{"action": "notify", "payload": said, "eventUrl": [url], "eventMethod": "POST"}] if url else []


def read_asked(said: Mapping[str, Any], query: Mapping[str, str]) -> CallAsked | None:
    """What is asked, or told, of a call; None: nothing is, and the call goes on. Raises Unreadable."""
    payload = said.get("payload")
    if isinstance(payload, dict):
        form = {name: text_at(payload, name) for name in SAID}
        return read_call({**form, "CallStatus": "in-progress"})
    form = {
        "CallSid": text_at(said, "uuid"),
        "From": number_of(text_at(said, "from")),
        "To": number_of(text_at(said, "to")),
        "CallStatus": _word(said) if "status" in said else "ringing",
        **_told(said),
    }
    if text_at(said, "status") == "human":
        return CallAsked(read_call({**form, "Digits": ACCEPT_KEY}).form, Event.ACCEPT)
    if "dtmf" in said or "speech" in said:
        form["CallStatus"] = "in-progress"
        if GOES_ON in query and not form.get("Digits") and not form.get("SpeechResult"):
            return None
    return read_call(form)


def read_end(said: Mapping[str, Any]) -> CallAsked:
    """That the caller's side has ended. Raises Unreadable."""
    numbers = {"From": number_of(text_at(said, "from")), "To": number_of(text_at(said, "to"))}
    return read_call({**numbers, "CallSid": text_at(said, "uuid"), "CallStatus": "completed"})


def _told(said: Mapping[str, Any]) -> dict[str, str]:
    """What else is said, where it is."""
    duration = said.get("duration")
    found = {
        "CallDuration": str(duration) if isinstance(duration, int) else text_at(said, "duration"),
        "SpeechResult": text_at(said, "speech", "results", 0, "text"),
        "Confidence": str(text_at(said, "speech", "results", 0, "confidence")),
    }
    told = {name: value for name, value in found.items() if value}
    return told | ({"Digits": text_at(said, "dtmf", "digits")} if "dtmf" in said else {})


def _word(said: Mapping[str, Any]) -> str:
    """Twilio's word for how far a call is; empty where that says nothing. One that nobody took ends in another word
    before it is `completed`.
    """
    status = text_at(said, "status")
    if status == "completed" and not text_at(said, "start_time"):
        return ""
    return _STATUSES.get(status, status)


def number_of(text: str) -> str:
    """A number of Vonage's as E.164; what is none, such as a hidden one, as it is."""
    return f"+{text}" if text.isdecimal() else text


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
