"""Requests off the wire and answers onto it, on uvicorn's connections.

uvicorn keeps connections, pipelining, keep-alive and shutdown. What it has no limits for is done here: a request is
handed on when all of it has arrived, within `DEADLINE_S`, with at most so many bytes of headers and body. An
answer is written in one piece. That also costs a third less than a general ASGI exchange.

An offer to speak another protocol (`Upgrade`) is not taken up: the request is answered in HTTP/1.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from maskline.api.forms import MOST_BYTES
from maskline.domain import problems
from maskline.domain.problems import Code

MOST_HEADER_BYTES, MOST_HEADERS = 32_768, 100
RAW = 8  # in chunks of one byte, a body takes six times its size
MOST_RAW_BYTES = RAW * MOST_BYTES  # of a request
MOST_LARGE_BYTES = 64 << 20
"""How much of larger bodies than MOST_BYTES a process holds at a time, beside so much of each."""
MOST_CONNECTIONS = 10_000
DEADLINE_S = 10.0
READ_S = 300.0
"""How long an answer may take to be read where somebody waits for that: the next request, or `Exchange.sent`."""

Reply = tuple[int, bytes, bytes]
"""Status, header lines as they are written, body."""


class Exchange:
    """One request, whole, and how it is answered. uvicorn's protocol knows it as the cycle of its connection.

    `large_bytes` is how much of all bodies that are held is beyond what any may have. `sent` is called when the answer
    has been read or never will be: for those that are too large to have many of.
    """

    large_bytes: ClassVar = 0

    __slots__ = (
        "_connection",
        "_large_bytes",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "message_event",
        "method",
        "more_body",
        "path",
        "query",
        "response_complete",
        "sent",
        "task",
    )

    def __init__(self, connection: Wire) -> None:
        self._connection = connection
        self.method = ""
        self.path = ""
        self.query = b""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self._large_bytes = 0
        self.keep_alive = True
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.message_event = _NOBODY_WAITS
        self.sent: Callable[[], None] | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def peer(self) -> str:
        """The address of who is connected; empty where that is not known."""
        client = self._connection.client
        return client[0] if client else ""

    def has_room_for(self, size: int, most: int) -> bool:
        """Whether so much more of a large body may be held, of `most` in all; it is counted then."""
        if Exchange.large_bytes + size > most:
            return False
        Exchange.large_bytes += size
        self._large_bytes += size
        return True

    def forget_body(self) -> None:
        """Nobody reads it any more."""
        self.body = b""
        Exchange.large_bytes -= self._large_bytes
        self._large_bytes = 0

    async def run_asgi(self, app: Application) -> None:
        """Have the application answer, and write the answer."""
        try:
            connection = self._connection
            status, lines, body = await app(self)
            if connection.flow.write_paused and not self.disconnected:
                await connection.see_it_read()
            parts = [STATUS_LINE[status], app.always]
            for name, value in connection.server_state.default_headers:
                parts += (name, b": ", value, b"\r\n")
            parts.append(lines)
            if status != 204:
                parts.append(b"Content-Length: %d\r\n" % len(body))
            parts.append(b"\r\n" if self.keep_alive else b"Connection: close\r\n\r\n")
            if self.method != "HEAD":
                parts.append(body)
            answer = b"".join(parts)
            if self.sent is None:
                # With all that is answered in this turn of the loop: whoever reads it on this machine, such as a proxy,
                # would else be woken anew by each answer, which costs more than to write it.
                connection.loop.call_soon(self._complete, answer)
                return
            if not connection.transport.is_closing():
                connection.transport.write(answer)
                await connection.see_it_read()
            self._complete()
        finally:
            self._connection.tasks.discard(self.task)
            if self._large_bytes:
                self.forget_body()
            if self.sent is not None:
                self.sent()

    def _complete(self, answer: bytes = b"") -> None:
        """Write the answer if it still has to be; then it is the next request's turn."""
        connection = self._connection
        self.response_complete = True
        if connection.transport.is_closing():
            return
        if answer:
            connection.transport.write(answer)
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()


class Application(Protocol):
    """What answers requests. `always`: header lines of every answer."""

    always: bytes

    async def __call__(self, exchange: Exchange) -> Reply:
        """The answer. Raises nothing."""

    def refusal(self, code: Code) -> Reply:
        """The answer to what is no request that could be handed on."""

    def most_bytes(self, path: str) -> int:
        """The most that a body may have which is sent to this path; never less than MOST_BYTES."""


class _Nobody:
    """Stands for the event that uvicorn sets when more of a body comes: here nobody waits for parts."""

    def set(self) -> None:
        return


_NOBODY_WAITS = _Nobody()


class Wire(HttpToolsProtocol):
    """One connection. `deadline_s`: how long a request may take to arrive, or a new connection to send one."""

    deadline_s = DEADLINE_S
    most_connections = MOST_CONNECTIONS
    most_large_bytes = MOST_LARGE_BYTES

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(config, server_state, app_state, **kwargs)
        self._application: Application = config.app
        self._exchange = Exchange(self)
        self._body: list[bytes] = []
        self._size = 0  # of what the parser told: of the head, then of the body
        self._raw = 0  # of what came since the head began
        self._segment = 0
        self._framing = b""
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._arriving = True  # a new connection owes a request
        self.url = b""
        self._refused = False
        self._refusal = b""
        self._idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > self.most_connections:
            self.transport.abort()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self._forget_what_arrives()
        for waiting, _ in self.pipeline:
            waiting.forget_body()  # type: ignore[attr-defined]
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._segment = len(data)
        self._feed(data)
        if self._arriving:
            self._count_raw(self._segment)
        self._expect_more()

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while not self._refused:
            try:
                if self._framing:
                    self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % self._framing)
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            except httptools.HttpParserError:
                self.logger.warning("Invalid HTTP request received.")
                self._refuse(problems.MALFORMED_REQUEST)
            else:
                return

    def _count_raw(self, size: int) -> None:
        """Count what has come of a request, for the parser keeps a header to itself until it is complete."""
        self._raw += size
        if self._in_head and self._raw > MOST_HEADER_BYTES:
            self._refuse(problems.HEADERS_TOO_LARGE)
        elif self._raw > MOST_RAW_BYTES and self._raw > RAW * self._most_bytes():
            self._refuse(problems.BODY_TOO_LARGE)

    def _most_bytes(self) -> int:
        return self._application.most_bytes(self._exchange.path)

    def _expect_more(self) -> None:
        if self._refused:
            return
        if not self._arriving and self._is_busy():
            self._unwatch()
        elif self._deadline is None:
            self._watch()  # for the rest of a request; or, after line ends that belong to none, for the next one

    def _watch(self) -> None:
        self._deadline = self.loop.call_later(self.deadline_s, self._too_slow)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._arriving and self.url:
            self._refuse(problems.BODY_TOO_SLOW)
        else:
            self.transport.close()

    # The parser's words

    def on_message_begin(self) -> None:
        if self._refused:
            return
        if self._framing:  # the request goes on whose end the parser told too early
            self._framing = b""
            return
        self._unwatch()
        self._exchange = Exchange(self)
        self._arriving = self._in_head = True
        self._size = self._raw = 0
        self._body = []
        self.url = b""

    def on_url(self, url: bytes) -> None:
        if self._in_head:
            self._size += len(url)
            if self._size > MOST_HEADER_BYTES:
                self._refuse(problems.HEADERS_TOO_LARGE)
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer
        self._size += len(name) + len(value) + 4
        if self._size > MOST_HEADER_BYTES:
            self._refuse(problems.HEADERS_TOO_LARGE)
        headers = self._exchange.headers
        headers[name.lower()] = value
        if len(headers) > MOST_HEADERS:
            self._refuse(problems.HEADERS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        if self._refused or not self._in_head:
            return
        exchange, parser = self._exchange, self.parser
        exchange.method = parser.get_method().decode("ascii")
        exchange.path, exchange.query = _split_url(self.url)
        exchange.keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        self._in_head = False
        self._size = 0
        if parser.should_upgrade():
            # The parser takes what follows for another protocol: it will be told again that a body does.
            framing = (b"content-length", b"transfer-encoding")
            self._framing = b"".join(
                b"%b: %b\r\n" % (name, exchange.headers[name]) for name in framing if name in exchange.headers
            )
        if exchange.headers.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._size += len(body)
        if self._size > MOST_BYTES:
            if self._size > self._most_bytes():
                self._refuse(problems.BODY_TOO_LARGE)
                return
            size = min(len(body), self._size - MOST_BYTES)
            if not self._exchange.has_room_for(size, self.most_large_bytes):
                self._refuse(problems.UNAVAILABLE)
                return
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._refused or self._framing:
            return
        self._arriving = False
        self._segment = 0  # how much of it belongs to the next request, the parser does not tell
        exchange = self._exchange
        if len(self._body) == 1:
            exchange.body = self._body[0]
        else:
            exchange.body, self._body = b"".join(self._body), []
        exchange.more_body = False
        busy = self._is_busy()
        self.cycle = exchange  # type: ignore[assignment]
        if busy:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self._application))  # type: ignore[arg-type]
        else:
            self._start_asgi_task(exchange, self._application)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """As uvicorn's, but that the task itself says when it is over: a callback would cost a turn of the loop."""
        cycle.task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(cycle.task)

    async def see_it_read(self) -> None:
        """Wait until nearly all that was written has gone out. Who does not read it is cut off."""
        try:
            async with asyncio.timeout(READ_S):
                await self.flow.drain()
        except TimeoutError:
            self.transport.abort()

    def _is_busy(self) -> bool:
        cycle: Any = self.cycle  # None until the first request, whatever uvicorn declares
        return cycle is not None and not cycle.response_complete

    def on_response_complete(self) -> None:
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal:
            self._hang_up(self._refusal)
        else:
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._keep_alive(self.timeout_keep_alive)

    def _keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close if nothing has come since the last answer. One timer goes on through all of a connection: to cancel it
        and set another for each answer would cost a fiftieth of a request.
        """
        self.timeout_keep_alive_task = None
        if self._arriving or self._is_busy():
            return  # the next answer sets it again
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._keep_alive(left_s)
        else:
            super().timeout_keep_alive_handler()

    # What cannot be handed on

    def _refuse(self, code: Code) -> None:
        """Answer that this is no request to work on, and close; but first come the answers to those before it."""
        if self._refused:
            return
        self._refused = True
        self._forget_what_arrives()
        self._unwatch()
        status, lines, body = self._application.refusal(code)
        parts = [STATUS_LINE[status], self._application.always]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts += (lines, b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body), body)
        if self._is_busy():
            self._refusal = b"".join(parts)
        else:
            self._hang_up(b"".join(parts))

    def _forget_what_arrives(self) -> None:
        if self._arriving:
            self._arriving = False
            self._body = []
            self._exchange.forget_body()

    def _hang_up(self, last_words: bytes) -> None:
        """Write, and close once the peer has closed or its time is up: closing on what it still sends could reset
        the connection before it has read why.
        """
        self.transport.write(last_words)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._deadline = self.loop.call_later(self.deadline_s, self.transport.abort)
        else:
            self.transport.close()


def _split_url(url: bytes) -> tuple[str, bytes]:
    """Path and query of a request's URL, which is absolute only where a proxy is spoken to."""
    if url.startswith(b"/") and b"#" not in url:
        path, _, query = url.partition(b"?")
        return path.decode("latin-1"), query
    parsed = httptools.parse_url(url)
    return parsed.path.decode("latin-1"), parsed.query or b""
