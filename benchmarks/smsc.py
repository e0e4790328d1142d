"""An SMSC for the load's core: it brings texts from handsets, takes those to handsets, and reports each delivered.

It knows as much of SMPP 3.4 as that takes, on bare asyncio protocols, so that it costs a small part of what is
measured by it.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import cast

from benchmarks.seed import TEXT, Recipient

WAIT_S = 30.0
AGAIN_S = 0.1
_HEAD = struct.Struct(">LLLL")
_BINDS = {1, 2, 9}
_SUBMIT, _DELIVER, _UNBIND, _ENQUIRE, _ANSWER = 4, 5, 6, 0x15, 0x80000000


def _text(source: str, destination: str, kind: int, text: bytes) -> bytes:
    """The body of a deliver_sm between two international numbers."""
    ends = b"\0\1\1" + source.encode() + b"\0\1\1" + destination.encode() + b"\0"
    return ends + bytes((kind, 0, 0)) + b"\0\0" + bytes((0, 0, 0, 0, len(text))) + text


class Bind(asyncio.Protocol):
    def __init__(self, smsc: Smsc) -> None:
        self._smsc = smsc
        self._rest = b""
        self._sequence = 0
        self._unanswered: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def connection_lost(self, _: Exception | None) -> None:
        if self in self._smsc.binds:
            self._smsc.binds.remove(self)

    def deliver(self, source: str, destination: str, kind: int, text: bytes) -> None:
        self._deliver(_text(source, destination, kind, text))

    def _deliver(self, body: bytes) -> None:
        self._sequence += 1
        self._unanswered[self._sequence] = body
        self._say(_DELIVER, self._sequence, body)

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while len(data) - at >= 16:
            length, command, status, sequence = _HEAD.unpack_from(data, at)
            if len(data) - at < length:
                break
            self._hear(command, status, sequence, data[at + 16 : at + length])
            at += length
        self._rest = data[at:]

    def _say(self, command: int, sequence: int, body: bytes = b"") -> None:
        self._transport.write(_HEAD.pack(16 + len(body), command, 0, sequence) + body)

    def _hear(self, command: int, status: int, sequence: int, body: bytes) -> None:
        if command == _DELIVER | _ANSWER:
            brought = self._unanswered.pop(sequence)
            if status:  # not now
                asyncio.get_running_loop().call_later(AGAIN_S, self._deliver, brought)
        elif command == _SUBMIT:
            number = self._smsc.took(body)
            self._say(_SUBMIT | _ANSWER, sequence, b"%d\0" % number)
            self._report(number, body)
        elif command in _BINDS:
            self._say(command | _ANSWER, sequence, b"bench\0")
            if command != 2:
                self._smsc.binds.append(self)
        elif command in (_ENQUIRE, _UNBIND):
            self._say(command | _ANSWER, sequence)

    def _report(self, number: int, body: bytes) -> None:
        """A receipt, from the handset to the number that the text came from."""
        _, rest = body.split(b"\0", 1)
        source, rest = rest[2:].split(b"\0", 1)
        destination = rest[2:].split(b"\0", 1)[0]
        said = (
            b"id:%d sub:001 dlvrd:001 submit date:2601010000 done date:2601010000 stat:DELIVRD err:000 text:"
        )
        self.deliver(destination.decode(), source.decode(), 4, said % number)


class Smsc:
    """Texts carry their numbers, from 1. `people`: who writes, in turn, each to their own proxy number."""

    def __init__(self, people: Sequence[Recipient]) -> None:
        self.binds: list[Bind] = []
        self.came: dict[int, float] = {}
        """When each text was submitted, by its number."""
        self.again = 0
        """How many were submitted once more."""
        self.brought = 0
        self.then: Callable[[], None] = lambda: None
        self._people = cycle([(one.identifier[1:], one.proxy_identifier[1:]) for one in people])

    async def start(self) -> int:
        """Listen. The port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Bind(self), "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def bound(self, count: int) -> None:
        deadline = time.monotonic() + WAIT_S
        while len(self.binds) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(self.binds)} binds, and not {count}")
            await asyncio.sleep(0.05)

    def stop(self) -> None:
        self._server.close()

    def bring(self) -> None:
        """One more text comes from a handset, over the binds in turn."""
        self.brought += 1
        bind = self.binds[self.brought % len(self.binds)]
        bind.deliver(*next(self._people), 0, b"m%09d %s" % (self.brought, TEXT.encode()))

    def took(self, body: bytes) -> int:
        start = body.index(b"m0")
        number = int(body[start + 1 : start + 10])
        if number in self.came:
            self.again += 1
        else:
            self.came[number] = time.monotonic()
            self.then()
        return number

    async def keep(self, window: int, seconds: float) -> float:
        """Have so many under way at any time. How many came each second."""
        first, began = len(self.came), time.monotonic()
        self.then = self.bring
        for _ in range(window):
            self.bring()
        await asyncio.sleep(seconds)
        rate = (len(self.came) - first) / (time.monotonic() - began)
        self.then = lambda: None
        await self.rest()
        return rate

    async def pace(self, rate: float, seconds: float) -> list[float]:
        """Bring texts at this rate, whatever becomes of them. How long each took, in seconds, sorted."""
        rate = max(rate, 1.0)
        first, began = self.brought, time.monotonic()
        count = max(1, round(rate * seconds))
        while (done := self.brought - first) < count:
            due = min(count, int((time.monotonic() - began) * rate) + 1)
            for _ in range(due - done):
                self.bring()
            await asyncio.sleep(0.001)
        await self.rest()
        numbers = range(first + 1, first + count + 1)
        return sorted(
            self.came[one] - (began + (one - first - 1) / rate) for one in numbers if one in self.came
        )

    async def rest(self) -> None:
        """Until all that was brought has come, or nothing comes any more."""
        last, since = -1, time.monotonic()
        while len(self.came) < self.brought and time.monotonic() - since < 5:
            if len(self.came) != last:
                last, since = len(self.came), time.monotonic()
            await asyncio.sleep(0.01)
