"""What comes to a carrier account's own addresses, below `/carriers/NAME/`, and what it is answered.

A carrier reads a request (`hear`) without doing anything about it: what it holds is brought, or a call is answered, and
then the carrier says in its own dialect that this is done.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_qp
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable
from urllib.parse import parse_qsl

import msgspec

from maskline.carriers.base import Carrier, CarrierEvent
from maskline.domain.part import Part
from maskline.domain.twiml import Verb

FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 100
KEPT = "surrogateescape"
"""What keeps bytes in a text that are no UTF-8, for whoever signs it as it came."""
_NO_OBJECT = "the body is no JSON object"
_NO_ESCAPE = re.compile(rb"%(?![\dA-Fa-f]{2})")
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""U+0000 as it stands in JSON, behind what may be escaped before it."""
_SURROGATE = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u[dD](?:[89abAB][\dA-Fa-f]{2}(\\u[dD][c-fC-F][\dA-Fa-f]{2})?|[c-fC-F][\dA-Fa-f]{2})"
)
"""The same of half a character, with its other half if that follows."""


def text_at(content: Any, *place: str | int) -> str:
    """The text at this place in JSON; empty if there is none."""
    for step in place:
        try:
            content = content[step]
        except (KeyError, IndexError, TypeError):
            return ""
    return content if isinstance(content, str) else ""


def required_at(content: Any, *place: str | int, most: int) -> str:
    """The same, where it must be there and not be empty. Raises Unreadable."""
    name = ".".join(map(str, place))
    if not (text := text_at(content, *place)):
        raise Unreadable(f"{name} is required")
    if len(text) > most:
        raise Unreadable(f"{name} (at most {most} characters)")
    return text


def readable(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What fields say, the last of a name, without U+0000, which no text of ours may have."""
    return {_meant(name).replace("\0", ""): _meant(value).replace("\0", "") for name, value in fields}


def _meant(text: str) -> str:
    """A text as its sender may have meant it, whose bytes may be no UTF-8: Windows-1252 if none of them is more
    than ASCII in UTF-8, else UTF-8 with U+FFFD for what is broken.
    """
    raw = text.encode("utf-8", KEPT)
    whole = raw.decode("utf-8", "ignore")
    if len(whole.encode()) == len(raw):
        return whole
    return raw.decode("cp1252" if whole.isascii() else "utf-8", "replace")


def _decode(raw: bytes) -> str:
    """A name or value of a form, which may be a stranger's megabyte of escapes: read as quoted-printable, which is the
    same behind another sign, it takes a tenth of the time and no memory for each. `%` without two hexadecimal digits
    stands for itself.
    """
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        escaped = _NO_ESCAPE.sub(b"%25", raw).replace(b"=", b"=3D").replace(b"%", b"=")
        raw = a2b_qp(escaped)
    return raw.decode("utf-8", KEPT)


def _whole(found: re.Match[bytes]) -> bytes:
    """A character of which both halves are there, as it stands; U+FFFD for half of one."""
    before, other_half = found.groups()
    return found[0] if other_half else before + rb"\ufffd"


@dataclass(frozen=True, slots=True)
class WebRequest:
    """`what` is the rest of the path, such as `message`; `url` the whole address under the public URL, as it is signed.

    Header names are in lower case.
    """

    what: tuple[str, ...]
    url: str
    headers: Mapping[str, str]
    body: bytes

    def query(self) -> dict[str, str]:
        """What stands in the address. Raises Unreadable."""
        try:
            return dict(parse_qsl(self.url.partition("?")[2], max_num_fields=MOST_FIELDS))
        except ValueError:
            raise Unreadable("the address has too many fields") from None

    def form(self) -> list[tuple[str, str]]:
        """The fields of a body that is a form, as they may be signed, with bytes that are no UTF-8 as they came
        (KEPT). Raises Unreadable.
        """
        if self.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
            raise Unreadable("the body is no form")
        if self.body.count(b"&") >= MOST_FIELDS:
            raise Unreadable("the body has too many fields")
        fields = (field.partition(b"=") for field in self.body.split(b"&") if field)
        return [(_decode(name), _decode(value)) for name, _, value in fields]

    def form_as_signed(self) -> list[tuple[str, str]]:
        """The same of one whose signature is in or over its fields: what cannot be read is not signed. Raises
        NotSigned.
        """
        try:
            return self.form()
        except Unreadable as error:
            raise NotSigned(str(error)) from None

    def json(self) -> dict[str, Any]:
        """A body that is a JSON object, without U+0000. Raises Unreadable."""
        content = self._json(_NUL.sub(rb"\1", self.body))
        if not isinstance(content, dict):
            raise Unreadable(_NO_OBJECT)
        return content

    def json_as_signed(self) -> dict[str, Any]:
        """The same of one whose fields are signed: with U+0000, and with bytes that are no UTF-8 as they came (KEPT).
        Raises NotSigned.
        """
        try:
            content = json.loads(_SURROGATE.sub(_whole, self.body).decode("utf-8", KEPT))
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise NotSigned(_NO_OBJECT)
        return content

    def json_list(self) -> list[dict[str, Any]]:
        """A body that is a JSON list of objects, without U+0000. Raises Unreadable."""
        content = self._json(_NUL.sub(rb"\1", self.body))
        if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
            raise Unreadable("the body is no JSON list of objects")
        return content

    @staticmethod
    def _json(body: bytes) -> Any:
        """What a body says in JSON, with U+FFFD for half a character, and as it may have been meant if it is no UTF-8;
        None if it is none.
        """
        try:
            body.decode()
        except UnicodeDecodeError:
            body = _meant(body.decode("utf-8", KEPT)).encode()
        try:
            return msgspec.json.decode(_SURROGATE.sub(_whole, body))
        except (msgspec.DecodeError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class WebAnswer:
    content: bytes
    content_type: str
    status: int = 200


@dataclass(frozen=True, slots=True)
class CallAsked:
    """A carrier asks what to do with a call: `form` is what it says of it, in Twilio's names. `event` is what it is
    about, where the address does not say (`domain.call.Event`).
    """

    form: Mapping[str, str]
    event: str = ""

    @property
    def to(self) -> str:
        """The number that was called."""
        return self.form["To"]


class NotSigned(Exception):
    """Whoever sent this does not know the account's secret. `detail` says what is wrong; `said_to` finds the number
    that it is said to be for, if any, of which nothing is proven. That may take reading all of it, which a stranger may
    want us to do again and again.
    """

    def __init__(self, detail: str, said_to: Callable[[], str] = str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.said_to = said_to


class Unreadable(Exception):
    """It is signed and makes no sense: the text names what is wrong, without values."""


@runtime_checkable
class HasWebhooks(Carrier, Protocol):
    """A carrier that brings things by requests to its account's addresses.

    `reads_twiml`: it reads TwiML and asks at whatever address stands in it, signing as Twilio does. Any other is given
    addresses below `…/call/SERVICE` only, in its own dialect, and its `CallAsked` speaks in Twilio's words.
    """

    reads_twiml: ClassVar[bool]

    def hear(self, request: WebRequest) -> Sequence[CarrierEvent | Part] | CallAsked | None:
        """What a request brings or asks; None: there is nothing at this address. Raises NotSigned, Unreadable."""

    def answer(self, verbs: Sequence[Verb] = (), asked: CallAsked | None = None) -> WebAnswer:
        """That what it brought is kept, or what is to be done with the call that it `asked` about."""
