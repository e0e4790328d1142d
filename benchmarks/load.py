"""The load, two kinds of it.

`closed_by_wrk`: so many connections, each asking again as soon as it is answered. wrk costs the load's core least.
`open_loop`: requests leave at a fixed rate, whatever the server does, and latency counts from the instant at which a
request was due. Written on bare asyncio protocols, a small part of what the server spends on the same request.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import httptools
import uvloop

from benchmarks.servers import ACCOUNT_SID, AUTH_TOKEN, Server

T = TypeVar("T")

AUTHORIZATION = "Basic " + b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()).decode()
MOST_CONNECTIONS = 4096
"""An open loop that would need more leaves requests unsent, and says how many. The server refuses at 2,000 waiting."""
LAST_ANSWER_S = 60.0
TICK_S = 0.001


# ------------------------------------------------------------------------------------------------------ closed loop


@dataclass(frozen=True, slots=True)
class ClosedRun:
    """What one run of wrk saw, and what the server used meanwhile."""

    per_s: float
    p50_ms: float
    p99_ms: float
    answered: int
    """2xx answers."""
    sent: int
    """At most so many requests left: `answered`, those cut off at the end of the run, and one for wrk's start."""
    failed: int
    cpu_us: float
    """The server's CPU time for each answer."""
    syncs_per_1000: float | None


def write_requests(path: Path, messages: Iterable[tuple[str, bytes]]) -> None:
    """The file that requests.lua reads."""
    path.write_bytes(b"".join(url.encode() + b"\t" + body + b"\n" for url, body in messages))


def closed_by_wrk(
    server: Server, requests: Path, connections: int, seconds: float, *, keys: str | None = None
) -> ClosedRun:
    """With `keys`, a prefix not used before, each request carries a fresh Idempotency-Key."""
    script = Path(__file__).with_name("requests.lua")
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "30s",
        "-s",
        str(script),
    ]
    command += [
        f"http://127.0.0.1:{server.port}/",
        "--",
        str(requests),
        AUTHORIZATION,
        *([keys] if keys else []),
    ]
    cpu, syncs = server.cpu_s(), server.syncs()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used, synced = server.cpu_s() - cpu, server.syncs()
    seen = json.loads(output.splitlines()[-1])
    answered = int(seen["answered"]) - int(seen["bad"])
    return ClosedRun(
        per_s=answered / seen["seconds"],
        p50_ms=seen["p50_ms"],
        p99_ms=seen["p99_ms"],
        answered=answered,
        sent=seen["sent"],
        failed=int(seen["bad"]) + int(seen["broken"]),
        cpu_us=used / max(1, answered) * 1e6,
        syncs_per_1000=None
        if syncs is None or synced is None
        else (synced - syncs) / max(1, answered) * 1000,
    )


# ---------------------------------------------------------------------------------------------- a client on asyncio


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def request(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {AUTHORIZATION}\r\n"
    if method == "POST":
        head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


Then = Callable[[int, bytes], None]
"""Takes status and body; status 0 is a connection that ended before the answer."""


class _Connection(asyncio.Protocol):
    """A keep-alive connection with one request in flight at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._then: Then | None = None
        self._transport: asyncio.Transport | None = None

    def send(self, data: bytes, then: Then) -> None:
        assert self._transport is not None
        self._then = then
        self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        then, self._then = self._then, None
        body, self._chunks = b"".join(self._chunks), []
        self._pool.idle.append(self)
        if then is not None:
            then(self._parser.get_status_code(), body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lost(self)
        then, self._then = self._then, None
        if then is not None:
            then(0, b"")


class Pool:
    """Connections to one server, opened when none is idle, the one used last taken first."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._all: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self.idle: list[_Connection] = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < MOST_CONNECTIONS + 256:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MOST_CONNECTIONS + 256), hard))

    async def open(self, count: int) -> None:
        for _ in range(count):
            self.idle.append(await self._connect())

    def submit(self, data: bytes, then: Then) -> bool:
        """False if the request cannot leave because too many already wait."""
        if self.idle:
            self.idle.pop().send(data, then)
        elif len(self._all) + len(self._opening) < MOST_CONNECTIONS:
            task = self._loop.create_task(self._open_and_send(data, then))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            return False
        return True

    async def send(self, data: bytes) -> tuple[int, bytes]:
        answer: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
        if not self.submit(data, lambda status, body: answer.set_result((status, body))):
            raise RuntimeError("too many requests at once")
        return await answer

    async def ask(self, method: str, path: str, form: list[tuple[str, str]] | None = None) -> Any:
        """The answer's JSON; anything but a 2xx is an error."""
        status, answer = await self.send(request(method, path, urlencode(form).encode() if form else b""))
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path} answered {status}: {answer.decode(errors='replace')}")
        return json.loads(answer) if answer else None

    def lost(self, connection: _Connection) -> None:
        self._all.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def close(self) -> None:
        for connection in list(self._all):
            connection.close()

    async def _connect(self) -> _Connection:
        _, connection = await self._loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        self._all.add(connection)
        return connection

    async def _open_and_send(self, data: bytes, then: Then) -> None:
        try:
            connection = await self._connect()
        except OSError:
            then(0, b"")
        else:
            connection.send(data, then)


# -------------------------------------------------------------------------------------------------------- open loop


Message = tuple[int, bytes]
"""The number that the message's body carries, and the request."""


@dataclass(slots=True)
class OpenRun:
    """What an open loop offered, and what came back."""

    began_at: float = 0.0
    """When the first request was due, in seconds since 1970."""
    seconds: float = 0.0
    offered: int = 0
    unsent: int = 0
    in_time: int = 0
    """2xx answers that came before the last request left."""
    statuses: Counter[int] = field(default_factory=Counter)
    acknowledged: list[int] = field(default_factory=list)
    """The numbers of all messages answered 2xx."""
    latencies_s: list[float] = field(default_factory=list)

    def latency_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


class _OpenLoop:
    def __init__(self, pool: Pool, messages: Iterator[Message]) -> None:
        self._pool = pool
        self._messages = messages
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._offering = True
        self._silent = asyncio.Event()
        self.run = OpenRun()

    async def offer(self, rate: float, seconds: float) -> None:
        total, done, start = round(rate * seconds), 0, self._loop.time()
        self.run.began_at = time.time()
        while done < total:
            passed = self._loop.time() - start
            while done < total and done / rate <= passed:
                self._send(start + done / rate)
                done += 1
            await asyncio.sleep(TICK_S)
        self._offering = False
        self.run.seconds = self._loop.time() - start

    async def wait_answers(self) -> None:
        """What is not answered in time lacks in the statuses."""
        if self._waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._silent.wait(), LAST_ANSWER_S)

    def _send(self, due: float) -> None:
        number, data = next(self._messages)
        if self._pool.submit(data, lambda status, _body: self._answered(number, due, status)):
            self.run.offered += 1
            self._waiting += 1
        else:
            self.run.unsent += 1

    def _answered(self, number: int, due: float, status: int) -> None:
        run = self.run
        run.statuses[status] += 1
        if 200 <= status < 300:
            run.acknowledged.append(number)
            run.latencies_s.append(self._loop.time() - due)
            run.in_time += self._offering
        self._waiting -= 1
        if not self._waiting and not self._offering:
            self._silent.set()


async def open_loop(
    server: Server, rate: float, seconds: float, messages: Iterator[Message], at_end: Callable[[], None]
) -> OpenRun:
    """Offers `rate` messages a second; calls `at_end` when the last has left, then waits for the answers."""
    pool = Pool(server.port)
    await pool.open(64)
    loop = _OpenLoop(pool, messages)
    await loop.offer(rate, seconds)
    at_end()
    await loop.wait_answers()
    pool.close()
    return loop.run


async def closed_loop(server: Server, connections: int, messages: Iterable[Message]) -> list[int]:
    """Sends all messages, `connections` at a time; answers the numbers of those with a 2xx answer."""
    pool = Pool(server.port)
    await pool.open(connections)
    waiting = iter(messages)
    acknowledged: list[int] = []

    async def caller() -> None:
        for number, data in waiting:
            status, _ = await pool.send(data)
            if 200 <= status < 300:
                acknowledged.append(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(caller())
    pool.close()
    return acknowledged
