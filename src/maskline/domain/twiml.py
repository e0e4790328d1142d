"""TwiML, the language in which calls are controlled and texts are answered: reads what customers write, writes our own.

The reader takes bytes from anybody. An attribute that it does not know is passed over, as by Twilio; a verb or a value
that it does not know is refused, since what was meant must not go on without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from maskline.domain import problems
from maskline.domain.markup import Element, Unreadable, escape, parse_xml
from maskline.domain.problems import Code
from maskline.domain.webhook_url import as_sent


class TwimlError(ValueError):
    """It cannot be carried out: 12100 for what is no XML that may be read, 12200 for what is no TwiML.

    `detail` names what is wrong, never a value: values hold numbers and texts.
    """

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(code.number, detail)
        self.code = code
        self.detail = detail


def _invalid(detail: str) -> TwimlError:
    return TwimlError(problems.TWIML_INVALID, detail)


# Each reads the value of an attribute, and raises ValueError, with what it would have taken, for any other.
def _whole(numbers: range) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,6}", text) or int(text) not in numbers:
            raise ValueError(f"a whole number from {numbers[0]} to {numbers[-1]}")
        return int(text)

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    by_lower = {word.lower(): word for word in words}

    def read(text: str) -> str:
        if text.lower() not in by_lower:
            raise ValueError(f"one of {', '.join(words)}")
        return by_lower[text.lower()]

    return read


def _some_of(*words: str) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        if not set(text.split()) <= set(words):
            raise ValueError(f"some of {', '.join(words)}")
        return tuple(word for word in words if word in text.split())

    return read


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError("true or false")
    return text.lower() in ("true", "1")


def _keys(text: str) -> str:
    if not re.fullmatch("[0-9*#]*", text):
        raise ValueError("keys of a telephone")
    return text


def _tones(text: str) -> str:
    if not re.fullmatch("[0-9wW*#,]*", text):
        raise ValueError("keys of a telephone, and w for a pause")
    return text


def _attribute(name: str, default: Any = None, read: Callable[[str], Any] = str, *, url: bool = False) -> Any:
    return field(default=default, metadata={"name": name, "read": read, "url": url})


_METHOD = _one_of("POST", "GET")
_CALL_EVENTS = ("initiated", "ringing", "answered", "completed")


@dataclass(frozen=True, slots=True)
class Say:
    """Read a text aloud; markup of speech inside it is not kept. `loop` 0: until the end of the call."""

    text: str
    voice: str | None = _attribute("voice")
    language: str | None = _attribute("language")
    loop: int = _attribute("loop", 1, _whole(range(1001)))


@dataclass(frozen=True, slots=True)
class Play:
    """Play a recording, or tones."""

    url: str = field(default="", metadata={"url": True})
    loop: int = _attribute("loop", 1, _whole(range(1001)))
    digits: str = _attribute("digits", "", _tones)


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait in silence."""

    length_s: int = _attribute("length", 1, _whole(range(3601)))


@dataclass(frozen=True, slots=True)
class Gather:
    """Take keys while the prompts are heard, and hand them to `action` (None: to whoever wrote this)."""

    prompts: tuple[Say | Play | Pause, ...] = ()
    input: tuple[str, ...] = _attribute("input", ("dtmf",), _some_of("dtmf", "speech"))
    action: str | None = _attribute("action", url=True)
    method: str = _attribute("method", "POST", _METHOD)
    timeout_s: int = _attribute("timeout", 5, _whole(range(601)))
    num_digits: int | None = _attribute("numDigits", None, _whole(range(1, 1001)))
    finish_on_key: str = _attribute("finishOnKey", "#", _keys)
    action_on_empty_result: bool = _attribute("actionOnEmptyResult", False, _flag)
    language: str | None = _attribute("language")
    hints: str | None = _attribute("hints")
    speech_timeout: str | None = _attribute("speechTimeout")


@dataclass(frozen=True, slots=True)
class Number:
    """Whom to dial. `url` is asked, once they answer, what they hear before the two are joined."""

    number: str
    url: str | None = _attribute("url", url=True)
    method: str = _attribute("method", "POST", _METHOD)
    send_digits: str = _attribute("sendDigits", "", _tones)
    status_callback: str | None = _attribute("statusCallback", url=True)
    status_callback_method: str = _attribute("statusCallbackMethod", "POST", _METHOD)
    status_callback_event: tuple[str, ...] = _attribute(
        "statusCallbackEvent", ("completed",), _some_of(*_CALL_EVENTS)
    )


@dataclass(frozen=True, slots=True)
class Dial:
    """Call all of `numbers` at once, or one after the other (`sequential`), and join the first who answers. What is
    not said the carrier decides.
    """

    numbers: tuple[Number, ...]
    caller_id: str | None = _attribute("callerId")
    timeout_s: int | None = _attribute("timeout", None, _whole(range(1, 601)))
    action: str | None = _attribute("action", url=True)
    method: str = _attribute("method", "POST", _METHOD)
    time_limit_s: int | None = _attribute("timeLimit", None, _whole(range(1, 86_401)))
    hangup_on_star: bool = _attribute("hangupOnStar", False, _flag)
    answer_on_bridge: bool = _attribute("answerOnBridge", False, _flag)
    sequential: bool = _attribute("sequential", False, _flag)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Go on with what `url` says; empty: with whoever wrote this."""

    url: str = field(default="", metadata={"url": True})
    method: str = _attribute("method", "POST", _METHOD)


@dataclass(frozen=True, slots=True)
class Reject:
    """Do not take the call."""

    reason: str = _attribute("reason", "rejected", _one_of("rejected", "busy"))


@dataclass(frozen=True, slots=True)
class Hangup:
    """End the call."""


@dataclass(frozen=True, slots=True)
class Message:
    """Send a text; without `to` it answers whoever wrote."""

    body: str = ""
    media: tuple[str, ...] = field(default=(), metadata={"url": True})
    to: str | None = _attribute("to")
    from_: str | None = _attribute("from")
    action: str | None = _attribute("action", url=True)
    method: str = _attribute("method", "POST", _METHOD)
    status_callback: str | None = _attribute("statusCallback", url=True)


Verb = Message | Say | Play | Gather | Redirect | Dial | Pause | Reject | Hangup
Part = Verb | Number
_Made = TypeVar("_Made", bound=Part)

# Markup of speech, of which Say keeps the text.
_SPEECH = "break emphasis lang p phoneme prosody s say-as speak sub w amazon:effect amazon:domain".split()
_RECORDS = "there are no recordings"
_UNSERVED = {"Record": _RECORDS}


def parse_twiml(body: bytes, content_type: str = "") -> list[Verb]:
    """The verbs of a document, of which `content_type` says the charset at most. Raises TwimlError."""
    try:
        root = parse_xml(body, content_type)
    except Unreadable as error:
        raise TwimlError(problems.TWIML_UNREADABLE, str(error)) from None
    if root.name != "Response":
        raise _invalid(f"the document is a {_shown(root.name)}, not a Response")
    if root.text:
        raise _invalid("there is text outside of every verb")
    return [_read_verb(node) for node in root.children]


def _shown(name: str) -> str:
    return f"<{name if len(name) <= 30 else name[:30] + '…'}>"


def _only(node: Element, *names: str) -> None:
    """Raise 12200 if anything but these is inside."""
    for child in node.children:
        if child.name not in names:
            raise _unknown(child.name, f" in {_shown(node.name)}")


def _unknown(name: str, where: str = "") -> TwimlError:
    why = _UNSERVED.get(name)
    return _invalid(f"{_shown(name)}{where} is not served{f': {why}' if why else ''}")


def _read_verb(node: Element) -> Verb:
    match node.name:
        case "Say":
            return _say(node)
        case "Play":
            return _play(node)
        case "Pause":
            return _pause(node)
        case "Gather":
            _only(node, "Say", "Play", "Pause")
            prompt = {"Say": _say, "Play": _play, "Pause": _pause}
            return _make(Gather, node, prompts=tuple(prompt[child.name](child) for child in node.children))
        case "Dial":
            return _dial(node)
        case "Redirect":
            _only(node)
            return _make(Redirect, node, url=node.text)
        case "Reject":
            _only(node)
            return _make(Reject, node)
        case "Hangup":
            _only(node)
            return Hangup()
        case "Message" | "Sms":
            return _message(node)
        case name:
            raise _unknown(name)


def _say(node: Element) -> Say:
    _only(node, *_SPEECH)
    return _make(Say, node, text=node.whole_text)


def _play(node: Element) -> Play:
    _only(node)
    play = _make(Play, node, url=node.text)
    if not play.url and not play.digits:
        raise _invalid("<Play> has neither an address nor digits")
    return play


def _pause(node: Element) -> Pause:
    _only(node)
    return _make(Pause, node)


def _dial(node: Element) -> Dial:
    _only(node, "Number")
    if node.attributes.get("record", "do-not-record") not in ("do-not-record", "false"):
        raise _invalid(f"<Dial record> is not served: {_RECORDS}")
    numbers: list[Number] = []
    for child in node.children:
        _only(child)
        numbers.append(_make(Number, child, number=child.text))
    if node.text:
        numbers.append(Number(node.text))
    if not numbers or not all(number.number for number in numbers):
        raise _invalid("<Dial> has no number")
    if len(numbers) > 1 and node.text:
        raise _invalid("<Dial> has both text and elements")
    return _make(Dial, node, numbers=tuple(numbers))


def _message(node: Element) -> Message:
    _only(node, "Body", "Media")
    for child in node.children:
        _only(child)
    bodies = [child.text for child in node.children if child.name == "Body"]
    media = tuple(child.text for child in node.children if child.name == "Media" and child.text)
    if len(bodies) > 1 or (bodies and node.text):
        raise _invalid("<Message> has more than one text")
    message = _make(Message, node, body=bodies[0] if bodies else node.text, media=media)
    if not message.body and not media:
        raise _invalid("<Message> has neither a text nor media")
    return message


def _make(kind: type[_Made], node: Element, **content: Any) -> _Made:
    """The element with what `node` says by its attributes; an empty one says nothing, but for finishOnKey."""
    for each in fields(kind):
        name = each.metadata.get("name")
        value = node.attributes.get(name) if name else None
        if value is None or (not value and name != "finishOnKey"):
            continue
        try:
            content[each.name] = each.metadata["read"](value)
        except ValueError as error:
            raise _invalid(f"{name} of <{node.name}> must be {error}") from None
    return kind(**content)


def resolve(verbs: Iterable[Verb], base: str) -> list[Verb]:
    """The verbs with every address complete, as seen from `base`, whose answer they are."""
    return [_resolved(verb, base) for verb in verbs]


def _resolved(element: _Made, base: str) -> _Made:
    changes: dict[str, Any] = {}
    for each in fields(element):
        value = getattr(element, each.name)
        if isinstance(value, tuple) and value and not isinstance(value[0], str):
            changes[each.name] = tuple(_resolved(inner, base) for inner in value)
        elif each.metadata.get("url") and isinstance(value, tuple):
            changes[each.name] = tuple(_join(base, inner) for inner in value)
        elif each.metadata.get("url") and value:
            changes[each.name] = _join(base, value)
    if isinstance(element, Gather) and element.action is None:
        changes["action"] = base
    if isinstance(element, Redirect) and not element.url:
        changes["url"] = base
    return replace(element, **changes) if changes else element


def _join(base: str, url: str) -> str:
    try:
        whole = urljoin(base, url)
        parts = urlsplit(as_sent(whole))
    except ValueError:
        raise _invalid("an address in it is none") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _invalid("an address in it is none of http or https")
    return whole


def reroute(verbs: Iterable[Verb], through: Callable[[str, str, bool], str]) -> list[Verb]:
    """The verbs with each address that is used during the call given by `through(method, address, asks)`, and posted
    to. What does not `ask` tells only.
    """
    return [_rerouted(verb, through) for verb in verbs]


def _rerouted(element: _Made, through: Callable[[str, str, bool], str]) -> _Made:
    changes: dict[str, Any] = {}
    for place, method, asks in _USED.get(type(element), ()):
        if url := getattr(element, place):
            changes |= {place: through(getattr(element, method), url, asks), method: "POST"}
    if isinstance(element, Dial):
        changes["numbers"] = tuple(_rerouted(number, through) for number in element.numbers)
    return replace(element, **changes) if changes else element


_USED: dict[type, tuple[tuple[str, str, bool], ...]] = {
    Gather: (("action", "method", True),),
    Redirect: (("url", "method", True),),
    Dial: (("action", "method", True),),
    Number: (("url", "method", True), ("status_callback", "status_callback_method", False)),
}


def render_twiml(verbs: Iterable[Verb]) -> bytes:
    """The document, in UTF-8. Characters that XML does not have are left out."""
    inner = "".join(_render(verb) for verb in verbs)
    response = f"<Response>{inner}</Response>" if inner else "<Response/>"
    return f'<?xml version="1.0" encoding="UTF-8"?>{response}'.encode()


def _render(element: Part) -> str:
    name = type(element).__name__
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in _attributes(element))
    content = "".join(_contents(element))
    return f"<{name}{attributes}>{content}</{name}>" if content else f"<{name}{attributes}/>"


def _attributes(element: Part) -> Iterator[tuple[str, str]]:
    for each in fields(element):
        value = getattr(element, each.name)
        if "name" not in each.metadata or value == each.default:
            continue
        if isinstance(value, tuple):
            value = " ".join(value)
        yield each.metadata["name"], str(value).lower() if isinstance(value, bool) else str(value)


def _contents(element: Part) -> Iterator[str]:
    match element:
        case Say(text=text) | Play(url=text) | Redirect(url=text) | Number(number=text):
            yield escape(text)
        case Gather(prompts=inner) | Dial(numbers=inner):
            yield from map(_render, inner)
        case Message(body=body, media=media):
            if not media:
                yield escape(body)
                return
            if body:
                yield f"<Body>{escape(body)}</Body>"
            yield from (f"<Media>{escape(url)}</Media>" for url in media)
        case _:
            return
