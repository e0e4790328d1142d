"""A customer's URL: what of it is sent and signed, what its fragment asks of the connection, and what logs may show.

The fragment is never sent. It is where Twilio's users override how their server is called
(`#ct=2000&rt=5000&tt=15000&rc=2&rp=4xx,5xx,ct,rt,all`); what is unknown or no number in it is passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from urllib.parse import parse_qsl, quote, urlsplit

# Each in ms: least, most, default.
_CONNECT_MS = (100, 10_000, 5_000)
_READ_MS = (100, 15_000, 15_000)
_TOTAL_MS = (100, 15_000, 15_000)
_RETRIES = (0, 5, 1)

_NUMBER = re.compile(r"[0-9]{1,9}")
_PRINTABLE = "".join(map(chr, range(ord("!"), ord("~") + 1)))


class Trouble(StrEnum):
    """What may be tried again, in the words of the URL."""

    CLIENT_ERROR = "4xx"
    SERVER_ERROR = "5xx"
    CONNECT = "ct"
    """No connection: DNS, connect or TLS failed or took too long. Nothing was sent."""
    READ = "rt"
    """No whole answer to what was sent."""


_RETRY_ON = frozenset({Trouble.CONNECT})


@dataclass(frozen=True, slots=True)
class Overrides:
    """How a customer's server is called. `total_s` is for all tries together."""

    connect_s: float = _CONNECT_MS[2] / 1000
    """For finding the host, connecting and TLS."""
    read_s: float = _READ_MS[2] / 1000
    """Until the head of the answer is there, and then between its pieces."""
    total_s: float = _TOTAL_MS[2] / 1000
    retries: int = _RETRIES[2]
    retry_on: frozenset[Trouble] = _RETRY_ON


def parse_overrides(url: str) -> Overrides:
    """What the fragment of `url` asks for, within limits."""
    asked = dict(parse_qsl(url.partition("#")[2]))
    words = asked.get("rp", "").split(",")
    retry_on = frozenset(trouble for trouble in Trouble if trouble in words or "all" in words)
    return Overrides(
        connect_s=_number(asked.get("ct"), _CONNECT_MS) / 1000,
        read_s=_number(asked.get("rt"), _READ_MS) / 1000,
        total_s=_number(asked.get("tt"), _TOTAL_MS) / 1000,
        retries=_number(asked.get("rc"), _RETRIES),
        retry_on=retry_on or _RETRY_ON,
    )


def _number(text: str | None, limits: tuple[int, int, int]) -> int:
    least, most, default = limits
    if text is None or not _NUMBER.fullmatch(text):
        return default
    return min(max(int(text), least), most)


@lru_cache(maxsize=4096)
def as_sent(url: str) -> str:
    """`url` without its fragment, and with percent signs, punycode and a first slash where it cannot be sent as it is.

    Signed is what is sent, since the receiver knows nothing else. Raises ValueError if it is no URL.
    """
    scheme, mark, rest = url.partition("#")[0].partition("://")
    if not mark:
        raise ValueError("not a URL")
    end = next((place for place, sign in enumerate(rest) if sign in "/?"), len(rest))
    userinfo, at, host = rest[:end].rpartition("@")
    path = rest[end:] if rest[end:].startswith("/") else f"/{rest[end:]}"
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    return f"{scheme}{mark}{_quote(userinfo)}{at}{host}{_quote(path)}"


def is_url(text: str) -> bool:
    """Whether it is an absolute http or https URL that can be sent."""
    try:
        parts = urlsplit(as_sent(text))
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return good and all(ord(character) > 32 for character in text)


def leads_to(url: str, home: str) -> bool:
    """Whether both lead to the same host and port; HTTP and HTTPS at their usual ports are taken for one.

    Raises ValueError if either is no URL.
    """
    return _place(url) == _place(home)


def _place(url: str) -> tuple[str, int | None]:
    parts = urlsplit(as_sent(url))
    return (parts.hostname or "").rstrip("."), None if parts.port in (80, 443) else parts.port


@lru_cache(maxsize=4096)
def redact(url: str) -> str:
    """`url` as logs and events may show it: scheme, host, port and path."""
    try:
        parts = urlsplit(as_sent(url))
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "…"
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}"


def _quote(text: str) -> str:
    return quote(text, safe=_PRINTABLE)
