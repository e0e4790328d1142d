"""An SMSC: the load of the smpp part, and what counts there.

It brings texts in an open loop, as load.py does over HTTP, takes whatever is submitted at once, and a moment later
brings the receipt that was asked for. It lives on a thread of the harness, so that who is bound stays so between steps.
"""

from __future__ import annotations

import asyncio
import threading
import time
from array import array
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import uvloop

from benchmarks import seed
from benchmarks.load import TICK_S
from maskline.carriers.smpp.pdu import (
    HEADER,
    RESPONSE,
    Address,
    Command,
    ShortMessage,
    Status,
    Tag,
    decode_deliver,
    encode,
    encode_submit,
)

T = TypeVar("T")

RECEIPT_S = 0.2
"""A handset has its text so long after it was submitted."""
QUIET_S = 10.0
"""After so long without anything, what is not there is not awaited any more."""
BOUND_S = 30.0
BINDS = (Command.BIND_TRANSCEIVER, Command.BIND_TRANSMITTER, Command.BIND_RECEIVER)
DELIVERED = bytes((2,))
ASKED_FOR = 1


@dataclass(frozen=True, slots=True)
class Route:
    """What one of two people writes, and where it has to come out: E.164 without the plus."""

    sender: str
    number: str
    partner: str
    partners_number: str


def routes(people: Sequence[seed.Recipient]) -> list[Route]:
    """Of these people, in their order; both of each Session are among them."""
    partners: dict[tuple[str, str], seed.Recipient] = {}
    by_session: dict[str, list[seed.Recipient]] = {}
    for one in people:
        by_session.setdefault(one.session_sid, []).append(one)
    for one, other in by_session.values():
        partners[one.session_sid, one.participant_sid] = other
        partners[other.session_sid, other.participant_sid] = one
    made = []
    for one in people:
        other = partners[one.session_sid, one.participant_sid]
        numbers = (one.identifier, one.proxy_identifier, other.identifier, other.proxy_identifier)
        made.append(Route(*(number.removeprefix("+") for number in numbers)))
    return made


@dataclass(slots=True)
class Run:
    """What one step brought, and what came of it. A text's time begins when it was due."""

    began_at: float = 0.0
    seconds: float = 0.0
    offered: int = 0
    answered_in_time: int = 0
    relayed_in_time: int = 0
    relayed: int = 0
    refused: int = 0
    times_s: list[float] = field(default_factory=list)

    def time_ms(self, share: float) -> float:
        ordered = sorted(self.times_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


@dataclass(slots=True)
class Books:
    """Of all texts: each by its number, which is its place."""

    due: array[float] = field(default_factory=lambda: array("d"))
    came: array[float] = field(default_factory=lambda: array("d"))
    """When it was submitted to its recipient; 0 as long as it was not."""
    statuses: array[int] = field(default_factory=lambda: array("q"))
    """Of its response; -1 as long as there is none."""
    relayed: int = 0
    twice: int = 0
    astray: int = 0
    """Submitted to somebody else, or from another number, than it should have been."""
    answered: int = 0
    receipts: int = 0
    """So many were asked for."""
    receipts_taken: int = 0
    receipts_refused: int = 0


class Smsc:
    """Of one client, which brings its texts over its connections in turn. Texts are numbered through, and so are the
    PDUs that carry them: text n goes with sequence number 2n + 1, its receipt with 2n + 2.
    """

    def __init__(self) -> None:
        self.books = Books()
        self.port = 0
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smsc")
        self._links: list[_Link] = []
        self._moved_at = 0.0
        self._routes: list[Route] = []
        self._heads: list[bytes] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._ask(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_bound(self, count: int) -> None:
        deadline = time.monotonic() + BOUND_S
        while len(self._links) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(self._links)} connections are bound to the SMSC, and not {count}")
            time.sleep(0.05)

    def route(self, people: Sequence[Route]) -> None:
        """Who writes: these, in turn."""
        self._routes = list(people)
        self._heads = [_before_content(one) for one in people]

    def offer(self, rate: float, seconds: float) -> Run:
        """Bring `rate` texts a second, then wait until all of them are through, receipts too, or nothing moves."""
        return self._ask(self._offer(rate, seconds))

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> int:
        server = await asyncio.get_running_loop().create_server(lambda: _Link(self), "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _offer(self, rate: float, seconds: float) -> Run:
        loop, books = self._loop, self.books
        if not self._links:
            raise RuntimeError("nobody is bound to the SMSC any more")
        first, answered, relayed = len(books.due), books.answered, books.relayed
        total, done, start, began_at = round(rate * seconds), 0, loop.time(), time.time()
        while done < total:
            passed = loop.time() - start
            while done < total and done / rate <= passed:
                self._links[done % len(self._links)].write(self._text(start + done / rate))
                done += 1
            await asyncio.sleep(TICK_S)
        run = Run(began_at=began_at, seconds=loop.time() - start, offered=done)
        run.answered_in_time = books.answered - answered
        run.relayed_in_time = books.relayed - relayed
        await self._settle()
        run.refused = sum(1 for status in books.statuses[first:] if status > 0)
        run.times_s = [
            came - due for came, due in zip(books.came[first:], books.due[first:], strict=True) if came
        ]
        run.relayed = len(run.times_s)
        return run

    async def _settle(self) -> None:
        books = self.books
        self._moved_at = self._loop.time()
        while self._loop.time() < self._moved_at + QUIET_S:
            through = len(books.due) == books.answered == books.relayed
            if through and books.receipts == books.receipts_taken + books.receipts_refused:
                return
            await asyncio.sleep(0.05)

    def _text(self, due: float) -> bytes:
        """The next text, as octets."""
        books = self.books
        number = len(books.due)
        books.due.append(due)
        books.came.append(0.0)
        books.statuses.append(-1)
        content = seed.text(number).encode()  # of letters that are the same in GSM 03.38
        head = self._heads[number % len(self._heads)]
        return encode(Command.DELIVER_SM, Status.OK, 2 * number + 1, head + bytes((len(content),)) + content)

    def bound(self, link: _Link) -> None:
        self._links.append(link)

    def lost(self, link: _Link) -> None:
        if link in self._links:
            self._links.remove(link)

    def submitted(self, link: _Link, sequence: int, body: bytes) -> bytes:
        """Take a text; gives the response."""
        books, now = self.books, self._loop.time()
        message = decode_deliver(body)
        number = seed.number_in(message.content.decode())
        route = self._routes[number % len(self._routes)]
        if books.came[number]:
            books.twice += 1
        else:
            books.came[number] = self._moved_at = now
            books.relayed += 1
        if (message.destination.digits, message.source.digits) != (route.partner, route.partners_number):
            books.astray += 1
        message_id = b"%09d\0" % number
        if message.registered_delivery & ASKED_FOR:
            books.receipts += 1
            self._loop.call_later(RECEIPT_S, self._receipt, link, number, message, message_id)
        return encode(Command.SUBMIT_SM | RESPONSE, Status.OK, sequence, message_id)

    def answered(self, sequence: int, status: int) -> None:
        """The client has answered a text or a receipt."""
        self._moved_at = self._loop.time()
        if sequence % 2:
            self.books.answered += 1
            self.books.statuses[sequence // 2] = status
        elif status:
            self.books.receipts_refused += 1
        else:
            self.books.receipts_taken += 1

    def _receipt(self, link: _Link, number: int, message: ShortMessage, message_id: bytes) -> None:
        said = (
            b"id:%b sub:001 dlvrd:001 submit date:2611260458 done date:2611260458 stat:DELIVRD err:000 text:"
        )
        receipt = ShortMessage(
            source=message.destination,
            destination=message.source,
            content=said % message_id[:-1],
            esm_class=4,
            tlvs={Tag.RECEIPTED_MESSAGE_ID: message_id, Tag.MESSAGE_STATE: DELIVERED},
        )
        link.write(encode(Command.DELIVER_SM, Status.OK, 2 * number + 2, encode_submit(receipt)))


class _Link(asyncio.Protocol):
    """A connection; what is asked in one read is answered in one write."""

    def __init__(self, smsc: Smsc) -> None:
        self._smsc = smsc
        self._buffer = bytearray()
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            Command.SUBMIT_SM: lambda sequence, body: smsc.submitted(self, sequence, body),
            Command.ENQUIRE_LINK: lambda sequence, _: encode(
                Command.ENQUIRE_LINK | RESPONSE, Status.OK, sequence
            ),
            Command.UNBIND: lambda sequence, _: encode(Command.UNBIND | RESPONSE, Status.OK, sequence),
        }

    def write(self, octets: bytes) -> None:
        self._transport.write(octets)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def connection_lost(self, exc: Exception | None) -> None:
        self._smsc.lost(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        start, out = 0, []
        while len(self._buffer) - start >= HEADER.size:
            length, command, status, sequence = HEADER.unpack_from(self._buffer, start)
            if len(self._buffer) - start < length:
                break
            if command == Command.DELIVER_SM | RESPONSE:
                self._smsc.answered(sequence, status)
            elif command in BINDS:
                out.append(encode(command | RESPONSE, Status.OK, sequence, b"bench\0"))
                self._smsc.bound(self)
            elif command in self._answers:
                body = bytes(self._buffer[start + HEADER.size : start + length])
                out.append(self._answers[command](sequence, body))
            start += length
        del self._buffer[:start]
        if out:
            self._transport.write(b"".join(out))


def _before_content(route: Route) -> bytes:
    """The body of a deliver_sm up to the length of its content."""
    empty = ShortMessage(Address(1, 1, route.sender), Address(1, 1, route.number), b"")
    return encode_submit(empty)[:-1]
