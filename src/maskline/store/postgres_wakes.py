"""Wake-ups between processes: a word without content, told after a commit and heard by those that work.

No promise hangs on it: whoever works polls as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from maskline.clock import Clock
from maskline.store.postgres_line import Line

LEAST_S = 0.02
"""How long there is between two words at least. Each is a transaction, and a thread's turn, of its own."""
FULL_S = 0.1
"""The same in a process that works itself, and tells the others of what it has no room for."""
PATIENCE_S = 3.0
"""How long the server may be silent when it is told."""
AGAIN_S = 1.0
"""How long after its connection was lost somebody listens again."""


class Wakes:
    """Two connections at most, each opened when it is needed: one tells, one listens."""

    def __init__(self, dial: Callable[[], psycopg.Connection[Any]], clock: Clock) -> None:
        self._dial = dial
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(2, "maskline-wake")
        self._teller: Line | None = None
        self._listener: psycopg.Connection[Any] | None = None
        self._untold = False
        self._told_at = -FULL_S
        self._closing = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._events: list[asyncio.Event] = []

    async def close(self) -> None:
        """Tell what is untold, and end."""
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)
        if self._telling is not None:
            self._closing.set()
            await self._telling
        await asyncio.to_thread(self._threads.shutdown)
        for connection in (self._teller, self._listener):
            if connection is not None:
                connection.close()

    # Telling

    def tell(self) -> None:
        """Wake those that work in other processes, soon."""
        self._untold = True
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name="wake others")

    async def _tell(self) -> None:
        while self._untold:
            early_s = self._told_at + (FULL_S if self._events else LEAST_S) - self._clock.uptime()
            if early_s > 0:
                await self._clock.wait(self._closing, early_s)
            self._untold = False
            self._told_at = self._clock.uptime()
            with contextlib.suppress(psycopg.Error):  # they poll
                await self._loop.run_in_executor(self._threads, self._notify)

    def _notify(self) -> None:
        if self._teller is None or self._teller.closed:
            self._teller = Line(self._dial(), PATIENCE_S)
            self._teller.run("SET synchronous_commit = off")  # a word waits for no disk
        self._teller.run("NOTIFY maskline")

    # Hearing

    def hear(self, event: asyncio.Event) -> None:
        """Set this event whenever another process tells."""
        self._events.append(event)
        if self._hearing is None:
            self._hearing = asyncio.create_task(self._hear(), name="hear others")

    async def _hear(self) -> None:
        while True:
            with contextlib.suppress(psycopg.Error):
                connection = await self._loop.run_in_executor(self._threads, self._listen)
                await self._hear_on(connection)
            await self._clock.sleep(AGAIN_S)

    def _listen(self) -> psycopg.Connection[Any]:
        if self._listener is not None:
            self._listener.close()
        self._listener = self._dial()
        self._listener.execute("LISTEN maskline")
        return self._listener

    async def _hear_on(self, connection: psycopg.Connection[Any]) -> None:
        """Until the connection is lost. Raises psycopg.OperationalError then."""
        readable, handle = asyncio.Event(), connection.fileno()
        self._loop.add_reader(handle, readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                connection.pgconn.consume_input()
                heard = False
                while (word := connection.pgconn.notifies()) is not None:
                    heard |= self._teller is None or word.be_pid != self._teller.pid
                if heard:
                    for event in self._events:
                        event.set()
        finally:
            self._loop.remove_reader(handle)
