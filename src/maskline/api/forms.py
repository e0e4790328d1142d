"""Parameters: reading them from a query and a body, with a limit on their number, and turning each into what it means.

Absent and empty are different: an absent field is left alone on update, an empty one clears what may be cleared.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TypeVar

from maskline.domain import problems
from maskline.domain.dates import is_day, parse_instant
from maskline.domain.model import DAY, SECOND, Instant
from maskline.domain.problems import Problem
from maskline.domain.webhook_url import is_url

FORM = b"application/x-www-form-urlencoded"
MOST_BYTES = 65_536
MOST_FIELDS = 100
SIGNED_PATHS = ("/v1/Accounts/", "/carriers/")
"""What the paths of webhooks begin with, whose senders sign them."""
MOST_SIGNED_BYTES = 1_048_576
MOST_TTL = 2_147_483_646

_DIGITS = "0123456789abcdefABCDEF"
_BYTES = {f"{high}{low}".encode(): bytes.fromhex(high + low) for high in _DIGITS for low in _DIGITS}

E = TypeVar("E", bound=StrEnum)

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def _invalid(detail: str) -> Problem:
    return Problem(problems.PARAMETER_INVALID, detail)


class Params:
    """The parameters of one request; those of the body win over those of the query."""

    __slots__ = ("_query", "_values")

    def __init__(self, query: dict[str, list[str]], form: dict[str, list[str]]) -> None:
        self._query = query
        self._values = {**query, **form} if query else form

    def all(self) -> dict[str, list[str]]:
        """Every parameter, by name."""
        return self._values

    def has(self, name: str) -> bool:
        """Whether it was given, if only as an empty text."""
        return name in self._values

    def query(self, name: str) -> str | None:
        """A parameter of the query string."""
        values = self._query.get(name)
        return values[-1] if values else None

    def text(self, name: str, most: int | None = None) -> str | None:
        """A text of at most `most` characters, or None if absent. Raises 80701."""
        values = self._values.get(name)
        if not values:
            return None
        text = values[-1]
        if most is not None and len(text) > most:
            raise _invalid(f"{name} (at most {most} characters)")
        return text

    def required(self, name: str, most: int | None = None) -> str:
        """A text that must be there and not be empty. Raises 80701."""
        text = self.text(name, most)
        if not text:
            raise _invalid(f"{name} is required")
        return text

    def texts(self, name: str) -> list[str]:
        """Every value of a repeated parameter."""
        return self._values.get(name, [])

    def integer(self, name: str, least: int, most: int) -> int | None:
        """A whole number within bounds. Raises 80701."""
        text = self.text(name)
        if text is None:
            return None
        if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
            raise _invalid(f"{name} (a whole number from {least} to {most})")
        return int(text)

    def boolean(self, name: str) -> bool | None:
        """`true` or `false` in any letter case, or 1 or 0. Raises 80701."""
        text = self.text(name)
        if text is None:
            return None
        value = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
        if value is None:
            raise _invalid(f"{name} (true or false)")
        return value

    def choice(self, name: str, kind: type[E], **also: E) -> E | None:
        """A word of an enumeration in any letter case; `also` has further spellings. Raises 80701."""
        text = self.text(name)
        if text is None:
            return None
        word = text.lower()
        for member in kind:
            if member.value == word:
                return member
        if (other := also.get(word.replace("-", "_"))) is not None:
            return other
        raise _invalid(f"{name} (one of {', '.join(member.value for member in kind)})")

    def url(self, name: str, most: int = 4000) -> str | None:
        """An http or https URL; an empty text clears (""). Raises 80701."""
        text = self.text(name, most)
        return _check_url(name, text) if text else text

    def urls(self, name: str, most: int, most_length: int = 4000) -> list[str]:
        """The http or https URLs of a repeated parameter; an empty one is none. Raises 80701."""
        texts = [text for text in self.texts(name) if text]
        if not texts:
            return texts
        if len(texts) > most:
            raise _invalid(f"{name} (at most {most})")
        if any(len(text) > most_length for text in texts):
            raise _invalid(f"{name} (at most {most_length} characters)")
        return [_check_url(name, text) for text in texts]

    def instant(self, name: str) -> Instant | None:
        """A date: RFC 3339 with or without fraction and offset, or a bare date as midnight UTC. Raises 80701."""
        text = self.text(name)
        if not text:
            return None
        try:
            return parse_instant(text)
        except ValueError as error:
            raise _invalid(f"{name} ({error})") from None

    def span(self, name: str) -> tuple[Instant, Instant] | None:
        """The day or the second that a date names: when it begins, and when it is over. Raises 80701."""
        at = self.instant(name)
        if at is None:
            return None
        return at, Instant(at + (DAY if is_day(self.text(name) or "") else SECOND))


NO_PARAMS = Params({}, {})


def _check_url(name: str, text: str) -> str:
    if not is_url(text):
        raise _invalid(f"{name} (an absolute http or https URL)")
    return text


def parse_params(method: str, query_string: bytes, body: bytes, content_type: bytes | None) -> Params:
    """A request's parameters. Raises 80701 (encoding), 20413, 20415."""
    query = _parse(query_string, "the query string") if query_string else {}
    if method != "POST" or not body:
        return Params(query, {})
    if content_type != FORM and (content_type or b"").split(b";", 1)[0].strip().lower() != FORM:
        raise Problem(problems.UNSUPPORTED_MEDIA_TYPE)
    return Params(query, _parse(body, "the body"))


def _parse(raw: bytes, what: str) -> dict[str, list[str]]:
    if raw.count(b"&") >= MOST_FIELDS:
        raise Problem(problems.BODY_TOO_LARGE, "too many fields")
    values: dict[str, list[str]] = {}
    try:
        for field in raw.split(b"&"):
            name, _, value = field.partition(b"=")
            if name or value:
                values.setdefault(_decode(name), []).append(_decode(value))
    except UnicodeDecodeError:
        raise _invalid(f"{what} is not valid UTF-8, percent-encoded") from None
    if b"%00" in raw or b"\0" in raw:
        raise _invalid(f"{what} holds U+0000")
    return values


def _decode(raw: bytes) -> str:
    """A name or value; `%` without two hexadecimal digits stands for itself. Raises UnicodeDecodeError."""
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" not in raw:
        return raw.decode("ascii")
    if not raw.isascii():
        raw.decode("ascii")
    first, *rest = raw.split(b"%")
    parts = [first]
    for part in rest:
        byte = _BYTES.get(part[:2])
        parts.append(b"%" + part if byte is None else byte + part[2:])
    return b"".join(parts).decode("utf-8")
