"""One HTTP/1.1 connection: a request at a time, and what is taken for its answer.

The other side may be slow and may lie. What is read is bounded in bytes and in time, and whatever is not one whole
answer ends the connection. It knows nothing of addresses, and of what is sent only the bytes.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import cast

import httptools

from maskline.domain.http import Answer, Failure, HttpError

MOST_HEAD = 32_768
MOST_TIMES = 8
"""How often the largest body may have come, with all that is around it: bytes one by one make chunks of six each."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FOREIGN = frozenset({b"br", b"zstd", b"compress", b"x-compress"})
_LOST = "the connection was lost before the end of the answer"


class Connection(asyncio.Protocol):
    """`on_idle` is told when it can be used again, `on_closed` when it has ended.

    `used`: it has brought an answer before. `idle_at` is the owner's. Instants are the loop's.
    """

    __slots__ = (
        "_answer",
        "_body",
        "_complete",
        "_deadline",
        "_ends_at",
        "_head",
        "_headers",
        "_keep_alive",
        "_loop",
        "_most_bytes",
        "_on_closed",
        "_on_idle",
        "_parser",
        "_read_s",
        "_received",
        "_status",
        "_timer",
        "_transport",
        "idle_at",
        "used",
    )

    def __init__(
        self, on_idle: Callable[[Connection], None], on_closed: Callable[[Connection], None]
    ) -> None:
        self._on_idle = on_idle
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        # Some that mean well write so, and nothing is passed on that others could read in another way.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._answer: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._status: int | None = None
        self.used = False
        self.idle_at = 0.0

    async def ask(self, request: bytes, most_bytes: int, read_s: float, ends_at: float) -> Answer:
        """Send a request and wait for its answer. Raises HttpError.

        `read_s`: how long there is until its head is there, and then between its pieces.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        self._most_bytes = most_bytes
        self._read_s = read_s
        self._ends_at = ends_at
        self._received = 0
        self._complete = False
        self._begin()
        self._deadline = min(ends_at, self._loop.time() + read_s)
        # One that an earlier request has left will do where it comes in time: it looks again.
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm_timer()
        self._transport.write(request)
        try:
            return await answer
        finally:
            if self._answer is answer:  # its caller has gone away
                self._fail(Failure.BROKEN, _LOST)

    @property
    def ended(self) -> bool:
        """Whether it can carry nothing more."""
        return self._transport.is_closing()

    def drop(self) -> None:
        """End it; a call that is under way fails."""
        self._transport.abort()

    # The loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # it would pass for the next answer
            self.drop()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Failure.BROKEN, "the answer is not HTTP")
            return
        if self._complete:
            self._finish(keep=self._keep_alive and not self._transport.get_write_buffer_size())
        elif self._status is None and self._received > MOST_HEAD:
            self._fail(Failure.BROKEN, "the answer is not HTTP")
        elif self._received > MOST_HEAD + MOST_TIMES * self._most_bytes:
            self._fail_large()
        elif self._status is not None:
            self._deadline = min(self._ends_at, self._loop.time() + self._read_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_closed(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._answer is None:
            return
        names = self._headers.keys()
        if exc is None and self._status is not None and not names & {b"content-length", b"transfer-encoding"}:
            self._finish(keep=False)
        else:
            self._fail(Failure.BROKEN, _LOST)

    # The parser's side

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep_alive = False

    def on_status(self, status: bytes) -> None:
        self._measure(len(status))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status is None:  # else it is a trailer
            self._headers.setdefault(name.lower(), value)
        self._measure(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and not self._complete:
            self._status = status

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._body += body
        if len(self._body) > self._most_bytes:
            self._fail_large()

    def on_message_complete(self) -> None:
        if self._status is None:  # of the kind 100 Continue: the answer is still to come
            self._begin()
        elif not self._complete:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    # Both

    def _begin(self) -> None:
        self._status = None
        self._head = 0
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()

    def _measure(self, size: int) -> None:
        self._head += size
        if self._head > MOST_HEAD:
            self._fail(Failure.BROKEN, "the answer is not HTTP")

    def _check_deadline(self) -> None:
        self._timer = None
        if self._answer is None:
            return
        if self._loop.time() < self._deadline:
            self._arm_timer()
        else:
            self._fail(Failure.TIMEOUT, "took too long")

    def _arm_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._check_deadline)

    def _finish(self, *, keep: bool) -> None:
        answer, status = self._answer, self._status
        if answer is None or status is None:  # it failed on its way
            return
        try:
            told = _read(status, self._headers, bytes(self._body), self._most_bytes)
        except HttpError as error:
            self._fail(error.kind, error.detail)
            return
        self._answer = None
        self.used = True
        if keep and not answer.cancelled():
            self._on_idle(self)
        else:
            self.drop()
        if not answer.done():
            answer.set_result(told)

    def _fail(self, kind: Failure, detail: str) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            return
        self.drop()
        if not answer.done():
            answer.set_exception(HttpError(kind, detail, self._status))

    def _fail_large(self) -> None:
        self._fail(Failure.TOO_LARGE, f"more than {self._most_bytes} bytes")


def _read(status: int, headers: dict[bytes, bytes], body: bytes, most_bytes: int) -> Answer:
    """An answer from what came. Raises HttpError."""
    coding = headers.get(b"content-encoding")
    return Answer(
        status,
        _text(headers, b"content-type").encode("ascii", "replace").decode(),
        body if coding is None else _unpack(coding.lower(), body, most_bytes),
        _text(headers, b"location") or None if status in _REDIRECTS else None,
        _text(headers, b"retry-after"),
    )


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    value = headers.get(name)
    return "" if value is None else value.decode("utf-8", "surrogateescape")


def _unpack(coding: bytes, body: bytes, most_bytes: int) -> bytes:
    """What was packed though nobody asked for it. Raises HttpError."""
    if coding in {b"gzip", b"x-gzip"}:
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    elif coding == b"deflate":  # some leave out the frame that it ought to have
        unpacker = zlib.decompressobj(zlib.MAX_WBITS if body[:1] == b"\x78" else -zlib.MAX_WBITS)
    elif coding in _FOREIGN:
        raise HttpError(Failure.BROKEN, "the answer is packed, though that was not asked for")
    else:
        return body
    try:
        unpacked = unpacker.decompress(body, most_bytes + 1)
    except zlib.error:
        raise HttpError(Failure.BROKEN, "the answer is packed and cannot be unpacked") from None
    if len(unpacked) > most_bytes:
        raise HttpError(Failure.TOO_LARGE, f"more than {most_bytes} bytes")
    if body and not unpacker.eof:
        raise HttpError(Failure.BROKEN, "the answer is packed and cannot be unpacked")
    return unpacked
