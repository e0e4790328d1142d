"""A stand-in for a vendor's HTTP API, on loopback: what it takes it remembers, and it can be told to misbehave.

A peer, written from the vendor's public reference. What the next requests meet is scripted (`then`); without a script
they are answered as the vendor would.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Self

from tests.support.peer import Peer, Request, Talk


class Trouble(Enum):
    """What happens to a request instead of the vendor's own answer."""

    STALLS = "it is never answered"
    DROPS = "the connection is lost before it is carried out"
    TAKES_AND_STALLS = "it is carried out and never answered"
    TAKES_AND_DROPS = "it is carried out, and the connection is lost"
    TAKES_AND_FAILS = "it is carried out, and answered 500"
    TAKES_AND_BABBLES = "it is carried out, and answered 201 with a page"
    TAKES_AND_NESTS = "it is carried out, and answered 201 with JSON that is too deep to read"
    TAKES_AND_CUTS_SHORT = "it is carried out, and the answer is cut off in its body"
    PAGE = "a page, 403"
    FAILS = "500, with an error of the vendor's"
    PAGE_500 = "a page, 503"
    PAGE_408 = "a page, 408"
    REDIRECTS = "307 to elsewhere"
    THROTTLES = "429"
    THROTTLES_7 = "429 with Retry-After: 7"
    THROTTLES_UNTIL = "429 with a date in Retry-After"
    REFUSES_CREDENTIALS = "401"


_PAGE = b"<!doctype html><title>Sorry</title>"
_PAGES = {Trouble.PAGE: 403, Trouble.PAGE_408: 408, Trouble.PAGE_500: 503}
_BABBLE = {
    Trouble.TAKES_AND_BABBLES: (_PAGE, "text/html"),
    Trouble.TAKES_AND_NESTS: (b'{"a":' * 10_000, "application/json"),
}


@dataclass(frozen=True)
class Taken:
    """A message that the vendor has."""

    id: str
    from_: str
    to: str
    body: str
    media: tuple[str, ...] = ()


Hook = tuple[str, Any, dict[str, str]]
"""A request of a webhook: its address, form or body, and headers."""


class Vendor:
    """Serves while it is entered. A vendor says what a request is answered, what its errors look like, and what
    it brings.
    """

    until = "Fri, 15 Jan 2027 08:00:07 GMT"
    """7 seconds after the time of the tests' clock."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self._script: deque[Trouble] = deque()
        self._peer = Peer(self._behave)

    def answer(self, request: Request) -> tuple[int, Any]:
        """Carry a request out. The status, and the JSON, or bytes that are something else."""
        raise NotImplementedError

    def error(self, status: int) -> Any:
        """The vendor's JSON of an error of this status."""
        raise NotImplementedError

    @property
    def table(self) -> dict[str, Any]:
        """The `[carriers.NAME]` table of the account that is here."""
        raise NotImplementedError

    def report(self, taken: Taken, word: str) -> Hook:
        """What becomes of a message, as the vendor tells it."""
        raise NotImplementedError

    def text(self, from_: str, to: str, body: str, *media: str, sid: str = "") -> Hook:
        """Somebody writes to a number of the account."""
        raise NotImplementedError

    def then(self, *troubles: Trouble) -> None:
        """What the next requests meet."""
        self._script.extend(troubles)

    @property
    def url(self) -> str:
        return self._peer.url

    @property
    def requests(self) -> list[Request]:
        return self._peer.requests

    @property
    def connections(self) -> int:
        return self._peer.connections

    async def __aenter__(self) -> Self:
        await self._peer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._peer.__aexit__(kind, error, trace)

    async def _behave(self, talk: Talk) -> None:
        while True:
            request = await talk.request()
            trouble = self._script.popleft() if self._script else None
            if trouble is None:
                status, content = self.answer(request)
                await _say(talk, status, content)
            else:
                await self._misbehave(talk, request, trouble)

    async def _misbehave(self, talk: Talk, request: Request, trouble: Trouble) -> None:
        if trouble.name.startswith("TAKES"):
            self.answer(request)
        match trouble:
            case Trouble.STALLS | Trouble.TAKES_AND_STALLS:
                await talk.until_closed()
            case Trouble.DROPS | Trouble.TAKES_AND_DROPS:
                talk.drop()
            case Trouble.TAKES_AND_FAILS | Trouble.FAILS:
                await _say(talk, 500, self.error(500))
            case Trouble.TAKES_AND_BABBLES | Trouble.TAKES_AND_NESTS:
                await talk.answer(201, *_BABBLE[trouble])
            case Trouble.TAKES_AND_CUTS_SHORT:
                await talk.say(b"HTTP/1.1 201 X\r\nContent-Length: 4000\r\n\r\n{")
                talk.drop()
            case Trouble.PAGE | Trouble.PAGE_408 | Trouble.PAGE_500:
                await talk.answer(_PAGES[trouble], _PAGE, "text/html")
            case Trouble.REDIRECTS:
                await talk.say(b"HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
            case Trouble.THROTTLES:
                await _say(talk, 429, self.error(429))
            case Trouble.THROTTLES_7:
                await _say(talk, 429, self.error(429), "7")
            case Trouble.THROTTLES_UNTIL:
                await _say(talk, 429, self.error(429), self.until)
            case Trouble.REFUSES_CREDENTIALS:
                await _say(talk, 401, self.error(401))


async def _say(talk: Talk, status: int, content: Any, retry_after: str = "") -> None:
    is_json = not isinstance(content, bytes)
    body = json.dumps(content).encode() if is_json else content
    kind = "application/json" if is_json else "application/octet-stream"
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    head += f"Retry-After: {retry_after}\r\n" if retry_after else ""
    await talk.say(head.encode() + b"\r\n" + body)
