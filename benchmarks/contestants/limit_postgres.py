"""The limit on PostgreSQL: the same least row, by the same server, in the database that more than one may have.

asyncpg, one statement for whatever waits, without a timer, over two connections, so that one batch is sent while the
other is synced. What waits is taken by whichever connection is free.
"""

from __future__ import annotations

import asyncio
import os

import asyncpg

from benchmarks.contestants.constant import Receive, Scope, Send, answer, drain
from benchmarks.contestants.limit import ENOUGH, Row, mint

CONNECTIONS = 2

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    sid TEXT COLLATE "C" PRIMARY KEY,
    account_sid TEXT NOT NULL,
    service_sid TEXT NOT NULL,
    session_sid TEXT NOT NULL,
    participant_sid TEXT NOT NULL,
    body TEXT NOT NULL
)
"""
INSERT = """
INSERT INTO messages SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])"""


class Store:
    def __init__(self) -> None:
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._some = asyncio.Event()
        self._writers: list[asyncio.Task[None]] = []
        self._connections: list[asyncpg.Connection] = []

    async def open(self, url: str) -> Store:
        for number in range(CONNECTIONS):
            connection = await asyncpg.connect(url)
            if not number:
                await connection.execute(SCHEMA)
            self._connections.append(connection)
            self._writers.append(asyncio.create_task(self._write(connection)))
        return self

    def add(self, row: Row) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, done))
        self._some.set()
        return done

    async def close(self) -> None:
        for writer in self._writers:
            writer.cancel()
        await asyncio.gather(*self._writers, return_exceptions=True)
        for connection in self._connections:
            await connection.close()

    async def _write(self, connection: asyncpg.Connection) -> None:
        insert = await connection.prepare(INSERT)
        while True:
            await self._some.wait()
            batch, self._waiting = self._waiting[:ENOUGH], self._waiting[ENOUGH:]
            if not self._waiting:
                self._some.clear()
            if not batch:
                continue
            error: Exception | None = None
            try:
                await insert.fetch(*zip(*(row for row, _ in batch), strict=True))
            except asyncpg.PostgresError as exc:
                error = exc
            for _, done in batch:
                if done.done():  # the client went away
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)


_store: Store


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    global _store
    if scope["type"] == "lifespan":
        await receive()
        _store = await Store().open(os.environ["BENCH_URL"])
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await _store.close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await drain(receive)
    await _store.add((mint(), "AC", "KS", "KC", "KP", "data"))
    await answer(send)
