"""A server on loopback that does to each connection what a test tells it. A peer, not a double of ours."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Request:
    """`target` as it stood in the request's line; `headers` with names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


class Talk:
    """One connection, as the peer sees it."""

    def __init__(self, peer: "Peer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peer = peer
        self._reader = reader
        self._writer = writer

    async def request(self) -> Request:
        """The next request. Raises IncompleteReadError at the end of the connection."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        line, *fields = head.splitlines()[:-1]
        headers = {
            name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)
        }
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        method, target, _ = line.split(" ")
        request = Request(method, target, headers, body)
        self._peer.requests.append(request)
        return request

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, status: int = 200, body: bytes = b"", content_type: str = "text/plain") -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        await self.say(head.encode() + body)

    async def until_closed(self) -> None:
        """Do nothing until the client hangs up."""
        while await self._reader.read(65536):
            pass
        self._peer.hung_up.set()

    def drop(self) -> None:
        """End the connection without a word."""
        self._writer.transport.abort()


Behaviour = Callable[[Talk], Awaitable[None]]


class Peer:
    """Serves while it is entered. `hung_up` is set when a client ended a connection on which the peer waits."""

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self._behave = behave
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.requests: list[Request] = []
        self.hung_up = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            # A peer that is told nothing more hears the end of the connection, and that is no fault of the test.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._behave(Talk(self, reader, writer))
        finally:
            writer.close()


async def polite(talk: Talk) -> None:
    """Answers every request with 200 and `fine`."""
    while True:
        await talk.request()
        await talk.answer(body=b"fine")


async def stalls(talk: Talk) -> None:
    """Takes a request and never answers."""
    await talk.request()
    await talk.until_closed()
