"""Connections to whatever servers there are, each used again while it is young.

To each origin only so many at a time, so that one that stalls fills its own and nobody else's. Every address is judged
before it is connected to.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import NamedTuple

from aiohappyeyeballs import AddrInfoType, start_connection

from maskline.domain.http import Answer, Failure, HttpError
from maskline.http1 import Connection

NEXT_ADDRESS_S = 0.25
"""How long one of several addresses is waited for before the next is tried beside it."""
NAME_S = 10.0
MOST_NAMES = 1024

LookUp = Callable[[str, int], Sequence[AddrInfoType]]
"""The addresses of a host. Blocks, and raises OSError."""


class Origin(NamedTuple):
    """Where a server is: what connections to it have in common."""

    tls: bool
    host: str
    port: int


class Limits(NamedTuple):
    """How much of an answer is read and how long there is: to connect, between the pieces of the answer, and until
    which instant of the loop for all of it.
    """

    most_bytes: int
    connect_s: float
    read_s: float
    ends_at: float


class _Pool:
    """The idle connections to one origin, the oldest first, and who wants to use some."""

    __slots__ = ("idle", "room", "users")

    def __init__(self, most: int) -> None:
        self.users = 0
        self.room = asyncio.Semaphore(most)
        self.idle: list[Connection] = []


class Connections:
    """The connections of one client, in the running loop."""

    def __init__(
        self,
        *,
        may_reach: Callable[[str], bool],
        most_each: int,
        idle_s: float,
        tls: ssl.SSLContext | None = None,
        look_up: LookUp | None = None,
    ) -> None:
        self._may_reach = may_reach
        self._most_each = most_each
        self._idle_s = idle_s
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._resolver = _Resolver(look_up or _look_up)
        self._pools: dict[Origin, _Pool] = {}
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def ask(self, origin: Origin, request: bytes, limits: Limits, *, idempotent: bool) -> Answer:
        """Send a request and wait for its answer. Raises HttpError.

        `idempotent`: it does no harm if it arrives twice, so that it is sent once more where a connection that was used
        before ended meanwhile.
        """
        if (pool := self._pools.get(origin)) is None:
            pool = self._pools[origin] = _Pool(self._most_each or sys.maxsize)
        pool.users += 1
        try:
            if pool.room.locked():
                await self._wait(pool, limits.ends_at)
            else:
                await pool.room.acquire()
            try:
                while True:
                    connection = self._take_idle(pool) or await self._connect(origin, pool, limits)
                    used = connection.used
                    try:
                        return await connection.ask(request, limits.most_bytes, limits.read_s, limits.ends_at)
                    except HttpError as error:
                        if not (
                            idempotent and used and error.kind is Failure.BROKEN and error.status is None
                        ):
                            raise
            finally:
                pool.room.release()
        finally:
            pool.users -= 1
            self._forget(origin, pool)

    def close(self) -> None:
        """Drop all connections; calls that are under way fail."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.drop()

    async def _wait(self, pool: _Pool, ends_at: float) -> None:
        try:
            async with asyncio.timeout_at(ends_at):
                await pool.room.acquire()
        except TimeoutError:
            raise HttpError(Failure.BUSY, "took too long") from None

    # Idle connections

    def _take_idle(self, pool: _Pool) -> Connection | None:
        while pool.idle:
            connection = pool.idle.pop()
            if connection.ended:  # and has not been told yet
                continue
            if self._loop.time() - connection.idle_at < self._idle_s:
                return connection
            connection.drop()
        return None

    def _keep(self, pool: _Pool, connection: Connection) -> None:
        connection.idle_at = self._loop.time()
        pool.idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._idle_s, self._sweep_idle)

    def _drop_ended(self, pool: _Pool, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in pool.idle:
            pool.idle.remove(connection)

    def _sweep_idle(self) -> None:
        before = self._loop.time() - self._idle_s
        for origin, pool in list(self._pools.items()):
            while pool.idle and pool.idle[0].idle_at <= before:
                pool.idle.pop(0).drop()
            self._forget(origin, pool)
        oldest = min((pool.idle[0].idle_at for pool in self._pools.values() if pool.idle), default=None)
        self._sweep = None if oldest is None else self._loop.call_at(oldest + self._idle_s, self._sweep_idle)

    def _forget(self, origin: Origin, pool: _Pool) -> None:
        if not pool.users and not pool.idle:
            self._pools.pop(origin, None)

    # New ones

    async def _connect(self, origin: Origin, pool: _Pool, limits: Limits) -> Connection:
        late = Failure.DNS
        try:
            async with asyncio.timeout_at(min(limits.ends_at, self._loop.time() + limits.connect_s)):
                addresses = await self._resolver.find(origin.host, origin.port)
                late = Failure.CONNECT
                connection = await self._connect_to(origin, pool, addresses)
        except TimeoutError:
            raise HttpError(late, "took too long") from None
        except (OSError, RuntimeError) as error:  # uvloop has some errors of its own
            raise _explain(error) from None
        if self._closed:
            connection.drop()
            raise HttpError(Failure.BROKEN, "the client was closed")
        self._open.add(connection)
        return connection

    async def _connect_to(self, origin: Origin, pool: _Pool, addresses: Sequence[AddrInfoType]) -> Connection:
        # Between here and the connection nothing is resolved again.
        addresses = [address for address in addresses if self._may_reach(address[4][0])]
        if not addresses:
            raise HttpError(Failure.REFUSED, "the host's address is none that may be called")
        connected = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S)
        _, connection = await self._loop.create_connection(
            lambda: Connection(partial(self._keep, pool), partial(self._drop_ended, pool)),
            sock=connected,
            ssl=self._context() if origin.tls else None,
            server_hostname=origin.host.rstrip(".") if origin.tls else None,
        )
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


class _Resolver:
    """Addresses of hosts, each asked for once at a time and remembered for a moment.

    Each look-up has a thread of its own: the loop has few for that, and a handful of names whose servers do not answer
    would hold them all. It may outlive the call that began it.
    """

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._loop = asyncio.get_running_loop()
        self._known: dict[tuple[str, int], tuple[float, Sequence[AddrInfoType]]] = {}
        self._asked: dict[tuple[str, int], asyncio.Future[Sequence[AddrInfoType] | None]] = {}

    async def find(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """Raises HttpError."""
        with suppress(ValueError):
            ip_address(host)
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        key = host, port
        until, addresses = self._known.get(key, (0.0, ()))
        if self._loop.time() < until:
            return addresses
        if key not in self._asked:
            self._ask(key)
        found = await asyncio.shield(self._asked[key])
        if found is None:
            raise HttpError(Failure.DNS, "the host's name does not resolve")
        return found

    def _ask(self, key: tuple[str, int]) -> None:
        answer = self._asked[key] = self._loop.create_future()

        def settle(found: Sequence[AddrInfoType] | None) -> None:
            del self._asked[key]
            if found is not None:
                if len(self._known) >= MOST_NAMES:
                    self._known.clear()
                self._known[key] = self._loop.time() + NAME_S, found
            answer.set_result(found)

        def look_up() -> None:
            found: Sequence[AddrInfoType] | None
            try:
                found = self._look_up(*key)
            except (OSError, UnicodeError):  # or a label is empty or too long
                found = None
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(settle, found)

        # A daemon: the process may end while a look-up stalls.
        threading.Thread(target=look_up, name="resolver", daemon=True).start()


def _look_up(host: str, port: int) -> Sequence[AddrInfoType]:
    """The system's resolver."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)


def _explain(error: Exception) -> HttpError:
    """Why there is no connection, in words without addresses."""
    match error:
        case ssl.SSLCertVerificationError():
            return HttpError(Failure.TLS, error.verify_message)
        case ssl.SSLError():
            return HttpError(Failure.TLS, "no TLS could be agreed on")
        case OSError(errno=int() as number):
            return HttpError(Failure.CONNECT, os.strerror(number))
        case _:
            return HttpError(Failure.CONNECT, "none of the host's addresses could be reached")
