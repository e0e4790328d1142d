"""The store for more than one machine: PostgreSQL under any number of processes.

Each process has one connection that writes (`writer`), and a few that read. A write's transaction begins by taking the
cluster's turn, so that the functions of `store` meet nobody else's half-done work, as on SQLite. Rounds of functions
that say that they may (`Batched.side_by_side`) share it. It also marks the row of this run in `runs` with the number of
its round. That row is the heartbeat by which others know that this process
lives, and it tells after a connection was lost at COMMIT whether that round was committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Concatenate

import psycopg

from maskline.clock import Clock, SteadyTime
from maskline.domain.model import Instant
from maskline.metrics import READ_SECONDS, Histogram, Sample
from maskline.store.dialect import translate_schema
from maskline.store.engine import (
    Batched,
    ItemT,
    P,
    R,
    ResultT,
    StoreUnavailable,
    Tx,
    Wake,
    never,
    no_pseudonym,
)
from maskline.store.migrate import Execute, SchemaTooOld, is_behind, migrate, schema_version
from maskline.store.postgres_dial import Dialer
from maskline.store.postgres_engine import (
    ENTER,
    PostgresEngine,
    database_time,
    for_caller,
    in_one_line,
    is_conflict,
    take_turn,
)
from maskline.store.postgres_line import Line
from maskline.store.postgres_tx import Connection, PostgresTx, executing
from maskline.store.postgres_wakes import Wakes
from maskline.store.session_ends import follow_idle_limit
from maskline.store.writer import MOST_REPEATS, Writer

OLDEST_SERVER = 150000
READERS = 4
FURTHER = 3
"""How many connections a process has at most beside those that read: the one that writes, and two for wake-ups."""
READ_LIMIT_MS = 1000
READ_PATIENCE_S = 3.0
"""How long a server may be silent that is read from: longer than it lets anything take."""
BEAT_S = 3.0
SWITCH_S = 0.0001
"""How long the writer, when its server has answered, waits at the most until the event loop lets it go on: with the
interpreter's own 5 ms the server would have nothing to do for longer than a round takes."""

_BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresStore:
    """`Store` over a PostgreSQL database. `run` names this process among all that have the database.

    Time is the database's, unless `own_time`: then it is the clock's, for tests.
    """

    is_shared: ClassVar = True

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        run: str,
        idle_close_us: int = 0,
        pseudonym: Callable[[str], str] = no_pseudonym,
        serve: bool = True,
        own_time: bool = False,
        readers: int = READERS,
    ) -> None:
        self._clock = clock
        self._run = run
        self._most_readers = readers
        self._idle_close_us = idle_close_us
        self._pseudonym = pseudonym
        self._serve = serve
        self._time = SteadyTime(clock) if own_time else None
        self._dialer = Dialer(url)
        self._local = threading.local()
        self._readers: list[Line] = []
        self._read_s = Histogram(READ_SECONDS)

    async def open(self, *, migrate: bool = False) -> PostgresStore:
        """Check the server and its schema, which is made in an empty database, and brought up to date if `migrate`.

        Raises SchemaTooNew, SchemaTooOld, StoreUnavailable.
        """
        sys.setswitchinterval(SWITCH_S)
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._prepare, migrate)
        except psycopg.Error as error:
            raise _cannot_open(error) from None
        self._read_pool = ThreadPoolExecutor(self._most_readers, "maskline-read")
        own_time = None if self._time is None else self._time.now
        self._engine = PostgresEngine(self._dialer, self._run, self._tx, own_time)
        self._wakes = Wakes(self._dialer.dial, self._clock)
        self._writing = Writer(self._engine, self._clock, self._wakes.tell)
        self._beating = asyncio.create_task(self._beat(), name="beat") if self._serve else None
        return self

    def _prepare(self, migrating: bool) -> None:
        with self._dialer.dial() as connection:
            _check_server(connection)
            execute = executing(connection)
            # Of two that start at once, one makes the schema.
            take_turn(connection)
            now = self._time.now() if self._time else database_time(connection)
            version = schema_version(execute)
            if is_behind(version) and version and not migrating:
                raise SchemaTooOld("the database has an older schema; run `maskline migrate`")
            _migrate(execute, now)
            if self._serve:
                # Before its first round, which may be lost at COMMIT: what is not there yet cannot be asked.
                connection.execute(ENTER, (self._run, now))
                connection.execute("BEGIN")
                follow_idle_limit(self._tx(connection, now))
                connection.execute("COMMIT")

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(BEAT_S)
            with contextlib.suppress(StoreUnavailable):
                await self._writing.write(_nothing)

    def _tx(self, connection: Connection, now: Instant | Callable[[], Instant]) -> Tx:
        return PostgresTx(connection, now, self._idle_close_us, self._pseudonym)

    async def close(self) -> None:
        """Finish what waits, then close. Nothing may be handed in afterwards."""
        if self._beating is not None:
            self._beating.cancel()
        await self._writing.close()
        await self._wakes.close()
        self._read_pool.shutdown()
        await asyncio.to_thread(self._engine.close)
        for line in self._readers:
            line.close()

    # Reading

    async def read(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        began = time.perf_counter()
        try:
            return await self._loop.run_in_executor(self._read_pool, self._read, fn, args, kwargs)
        finally:
            self._read_s.note(time.perf_counter() - began)

    def _read(self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        try:
            line, now = self._begin_reading()
            try:
                result = fn(self._tx(line, now), *args, **kwargs)
                # Not ROLLBACK: for that a line forgets every statement that it has prepared.
                line.run("COMMIT")
                return result
            except BaseException:
                if not line.closed:
                    line.run("ROLLBACK")
                raise
        except psycopg.Error as error:
            told = for_caller(error)
        raise told

    def _begin_reading(self) -> tuple[Line, Instant]:
        """An open transaction that reads, and its time; on a new connection if the old one is found to be gone."""
        line = self._reader()
        try:
            return line, self._now_of(line)
        except psycopg.OperationalError:
            line.close()
        line = self._reader()
        return line, self._now_of(line)

    def _now_of(self, line: Line) -> Instant:
        line.begin(_BEGIN_READING)
        now = self._time.now() if self._time else database_time(line)
        line.land()
        return now

    def _reader(self) -> Line:
        line: Line | None = getattr(self._local, "line", None)
        if line is None or line.closed:
            lost, line = line, Line(self._dialer.dial(), READ_PATIENCE_S)
            line.run(f"SET statement_timeout = {READ_LIMIT_MS}")
            self._local.line = line
            self._readers.append(line)
            if lost is not None:
                self._readers.remove(lost)
        return line

    # Handing in

    async def write(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._writing.write(fn, *args, **kwargs)

    def batch(self, batched: Batched[ItemT, ResultT], item: ItemT) -> Coroutine[Any, Any, ResultT]:
        return self._writing.batch(batched, item)

    async def cut_log(self) -> bool:
        return True  # PostgreSQL's log is the operator's, who archives or replicates it

    def measures(self) -> Iterator[Sample]:
        yield from self._writing.measures()
        yield READ_SECONDS, (), self._read_s

    def is_writable(self) -> bool:
        return self._writing.is_working()  # the heartbeat writes, so that this is never older than that

    def overloaded(self) -> bool:
        return self._writing.overloaded()

    def subscribe(self, wake: Wake, is_full: Callable[[], bool] = never) -> asyncio.Event:
        event = self._writing.subscribe(wake, is_full)
        self._wakes.hear(event)
        return event


@contextlib.contextmanager
def opened(url: str) -> Iterator[tuple[Execute, int]]:
    """A connection for a look: its `execute`, outside any transaction, and the server's version, such as 150018.

    Raises StoreUnavailable, from within too.
    """
    try:
        with Dialer(url).dial() as connection:
            _check_server(connection)
            yield executing(connection), connection.info.server_version
    except psycopg.Error as error:
        raise _cannot_open(error) from None


def find_meta(url: str) -> dict[str, str]:
    """What a database notes about itself; nothing if it is empty. Raises StoreUnavailable."""
    with opened(url) as (execute, _):
        (known,) = execute("SELECT to_regclass('meta') IS NOT NULL").fetchone()
        return dict(execute("SELECT name, value FROM meta").fetchall()) if known else {}


def _cannot_open(error: psycopg.Error) -> StoreUnavailable:
    return StoreUnavailable(f"the database cannot be opened: {in_one_line(error)}")


def _check_server(connection: psycopg.Connection[Any]) -> None:
    """Raises StoreUnavailable for a server or a database on which we cannot keep what we promise."""
    if connection.info.server_version < OLDEST_SERVER:
        raise StoreUnavailable("the PostgreSQL server is too old; maskline needs 15 or newer")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreUnavailable(
            f"the database has the encoding {encoding}; make one with ENCODING 'UTF8' TEMPLATE template0"
        )


def _migrate(execute: Execute, now: Instant) -> None:
    """Bring the schema up to date. Nobody writes meanwhile, but servers of the release before go on reading, each table
    in an order of their own: where that is a deadlock, the migration is begun again.
    """
    for left in reversed(range(MOST_REPEATS)):
        try:
            migrate(execute, now, begin="BEGIN", render=translate_schema)
        except psycopg.Error as error:
            if not left or not is_conflict(error):
                raise
        else:
            return


def _nothing(_: Tx) -> None:
    """A round that is only a heartbeat."""
