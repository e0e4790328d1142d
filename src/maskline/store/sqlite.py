"""The embedded store: one file, one thread that writes, a few that read.

The writer works in rounds. A round takes what waits at that moment, in the turns' order, runs each function once over
its items under a savepoint, and commits once: group commit without a timer, so a lone request waits for nobody.
Checkpoints run on a second connection, off the commit path. One server owns a file; a lock keeps out a second.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate

from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.model import SECOND, Instant
from maskline.domain.problems import Problem
from maskline.store.engine import (
    MOST_ITEMS,
    MOST_WAITING,
    Batched,
    ItemT,
    P,
    R,
    ResultT,
    StoreUnavailable,
    Turn,
    Tx,
)
from maskline.store.migrate import migrate

OLDEST_SQLITE = (3, 35, 0)
READERS = 3
READ_LIMIT_S = 1.0
CHECKPOINT_BYTES = 8 << 20
RESTART_BYTES = 64 << 20
BEHIND_US = SECOND // 2
LEAST_ACCEPTS = 16

# The database itself has a problem, not one item of a batch: nothing of the round may be acknowledged.
_ENVIRONMENT = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
}

_Job = tuple[Batched[Any, Any] | None, Any, "asyncio.Future[Any]"]
_Settled = tuple["asyncio.Future[Any]", Any]


class AlreadyServed(Exception):
    """Another server has this data directory."""


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    for pragma in ("busy_timeout=5000", "journal_mode=WAL", "synchronous=FULL", "cache_size=-16384"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _is_environment(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _ENVIRONMENT


def _die(error: BaseException) -> None:
    """After a failed sync nobody knows what is on the disk; the only honest state is the one after a restart."""
    os.write(2, f"maskline: the database could not be synced, stopping: {error}\n".encode())
    os._exit(1)


class SqliteStore:
    """`Store` over one SQLite file. With `serve=False` (the command line beside a server) it takes no lock."""

    def __init__(self, path: Path, clock: Clock, *, idle_close_us: int = 0, serve: bool = True) -> None:
        self.path = path
        self._wal = path.with_name(f"{path.name}-wal")
        self._clock = clock
        self._idle_close_us = idle_close_us
        self._serve = serve
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._accepts_waiting = 0
        self._subscribers: list[asyncio.Event] = []
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._checkpoint = threading.Event()
        self._closing = False
        self._last_now = Instant(0)
        self._accept_limit = MOST_ITEMS
        self._commits = 0

    async def open(self) -> SqliteStore:
        """Lock the file, bring its schema up to date, start the threads. Raises AlreadyServed, SchemaTooNew."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise RuntimeError(f"SQLite {sqlite3.sqlite_version} is too old; maskline needs 3.35 or newer")
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._serve:
            self._lock = self._take_lock()
        self._writer = _connect(self.path)
        self.path.chmod(0o600)
        self._writer.execute("PRAGMA wal_autocheckpoint=0")
        migrate(self._writer.execute, self._clock.now())
        self._loop = asyncio.get_running_loop()
        self._read_pool = ThreadPoolExecutor(READERS, "maskline-read")
        self._threads = [
            threading.Thread(target=self._write_rounds, name="maskline-write", daemon=True),
            threading.Thread(target=self._checkpoints, name="maskline-checkpoint", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    async def close(self) -> None:
        """Finish what waits, then close. Nothing may be handed in afterwards."""
        self._jobs.put(None)
        await asyncio.to_thread(self._threads[0].join)
        self._closing = True
        self._checkpoint.set()
        await asyncio.to_thread(self._threads[1].join)
        self._read_pool.shutdown()
        for connection in (*self._readers, self._writer):
            connection.close()
        if self._serve:
            os.close(self._lock)

    def _take_lock(self) -> int:
        handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise AlreadyServed(
                "another maskline server has this data directory; stop it, or choose another with --data"
            ) from None
        return handle

    # Reading

    async def read(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._loop.run_in_executor(self._read_pool, self._read, fn, args, kwargs)

    def _read(self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connect(self.path)
            connection.execute("PRAGMA query_only=ON")
            self._readers.append(connection)
        deadline = time.monotonic() + READ_LIMIT_S
        # A page that takes longer would hold back the checkpoint behind its snapshot.
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 50_000)
        connection.execute("BEGIN")
        try:
            return fn(Tx(connection.execute, self._clock.now(), self._idle_close_us), *args, **kwargs)
        except sqlite3.OperationalError as error:
            if _is_environment(error) or error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise StoreUnavailable(str(error)) from error
            raise
        finally:
            connection.set_progress_handler(None, 0)
            connection.execute("ROLLBACK")

    # Handing in

    async def write(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        future: asyncio.Future[R] = self._loop.create_future()
        self._jobs.put((None, (fn, args, kwargs), future))
        return await future

    async def batch(self, batched: Batched[ItemT, ResultT], item: ItemT) -> ResultT:
        if batched.turn is Turn.ACCEPT:
            if self._accepts_waiting >= MOST_WAITING:
                raise Problem(problems.UNAVAILABLE, headers={"Retry-After": "1"})
            self._accepts_waiting += 1
        future: asyncio.Future[ResultT] = self._loop.create_future()
        self._jobs.put((batched, item, future))
        return await future

    def overloaded(self) -> bool:
        return self._accepts_waiting >= MOST_WAITING

    def subscribe(self) -> asyncio.Event:
        event = asyncio.Event()
        self._subscribers.append(event)
        return event

    def _settle(self, settled: list[_Settled], accepts: int, wake: bool) -> None:
        self._accepts_waiting -= accepts
        for future, result in settled:
            if future.done():  # its caller has gone away
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if wake:
            for event in self._subscribers:
                event.set()

    # Writing: everything below runs in the writer's thread

    def _write_rounds(self) -> None:
        lanes: dict[Batched[Any, Any] | None, deque[_Job]] = {}
        order: list[Batched[Any, Any] | None] = []
        waiting = 0
        stopping = False
        while True:
            if not waiting:
                if stopping:
                    return
                job: Any = self._jobs.get()
            else:
                job = self._next()
            while job is not _NOTHING:
                if job is None:
                    stopping = True
                else:
                    lane = lanes.get(job[0])
                    if lane is None:
                        lane = lanes[job[0]] = deque()
                        order = sorted(lanes, key=_turn_of)
                    lane.append(job)
                    waiting += 1
                job = self._next()
            if not waiting:
                continue
            groups: list[tuple[Batched[Any, Any] | None, list[_Job]]] = []
            for batched in order:
                lane = lanes[batched]
                if lane:
                    most = self._accept_limit if _turn_of(batched) is Turn.ACCEPT else MOST_ITEMS
                    taken = [lane.popleft() for _ in range(min(most, len(lane)))]
                    waiting -= len(taken)
                    groups.append((batched, taken))
            self._round(groups)

    def _next(self) -> Any:
        """The next job; None to stop; _NOTHING if none waits."""
        try:
            return self._jobs.get_nowait()
        except queue.Empty:
            return _NOTHING

    def _round(self, groups: list[tuple[Batched[Any, Any] | None, list[_Job]]]) -> None:
        accepts = sum(len(jobs) for batched, jobs in groups if _turn_of(batched) is Turn.ACCEPT)
        # The clock may step back; what is stored never does.
        self._last_now = now = max(self._clock.now(), self._last_now)
        tx = Tx(self._writer.execute, now, self._idle_close_us)
        settled: list[_Settled] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for batched, jobs in groups:
                if batched is None:
                    settled += [(job[2], self._alone(tx, job)) for job in jobs]
                else:
                    settled += self._group(tx, batched, jobs)
        except Exception as error:
            self._abandon(groups, accepts, error)
            return
        try:
            self._writer.execute("COMMIT")
        except Exception as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
                _die(error)
            self._abandon(groups, accepts, error)
            return
        if tx.started or tx.oldest_us:
            behind = tx.oldest_us > BEHIND_US
            self._accept_limit = max(LEAST_ACCEPTS, tx.started) if behind else MOST_ITEMS
        self._loop.call_soon_threadsafe(self._settle, settled, accepts, tx.wake)
        self._tend_wal()

    def _group(self, tx: Tx, batched: Batched[Any, Any], jobs: list[_Job]) -> list[_Settled]:
        self._writer.execute("SAVEPOINT job")
        wake = tx.wake
        try:
            results = batched.fn(tx, [job[1] for job in jobs])
            self._writer.execute("RELEASE job")
            return [(job[2], result) for job, result in zip(jobs, results, strict=True)]
        except Exception as error:
            self._undo(error)
            tx.wake = wake
            # An item that fails fails alone: run them one by one, in the same round.
            return [(job[2], self._alone(tx, job)) for job in jobs]

    def _alone(self, tx: Tx, job: _Job) -> Any:
        """The result of one job under a savepoint of its own, or the exception that it gets."""
        batched, work, _ = job
        wake = tx.wake
        self._writer.execute("SAVEPOINT job")
        try:
            if batched is None:
                fn, args, kwargs = work
                result = fn(tx, *args, **kwargs)
            else:
                (result,) = batched.fn(tx, [work])
            self._writer.execute("RELEASE job")
        except Exception as error:
            self._undo(error)
            tx.wake = wake
            return error
        return result

    def _undo(self, error: Exception) -> None:
        """Back to the savepoint; raises `error` on if it is not one item's but the database's."""
        if _is_environment(error):
            raise error
        self._writer.execute("ROLLBACK TO job")
        self._writer.execute("RELEASE job")

    def _abandon(
        self, groups: list[tuple[Batched[Any, Any] | None, list[_Job]]], accepts: int, error: Exception
    ) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")
        failure = StoreUnavailable(str(error))
        failure.__cause__ = error
        settled: list[_Settled] = [(job[2], failure) for _, jobs in groups for job in jobs]
        self._loop.call_soon_threadsafe(self._settle, settled, accepts, False)

    # Checkpoints

    def _wal_bytes(self) -> int:
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0

    def _tend_wal(self) -> None:
        self._commits += 1
        if self._commits % 64:
            return
        size = self._wal_bytes()
        if size > CHECKPOINT_BYTES:
            self._checkpoint.set()
        if size > RESTART_BYTES:
            # Under steady load the other connection never quite catches up, and the file would grow for ever. It has
            # done most of the work; the little that is left is done here, where nobody writes meanwhile.
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _checkpoints(self) -> None:
        connection = _connect(self.path)
        connection.execute("PRAGMA busy_timeout=0")
        while True:
            self._checkpoint.wait()
            if self._closing:
                break
            self._checkpoint.clear()
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
                    _die(error)
        connection.close()


_NOTHING: Any = object()


def _turn_of(batched: Batched[Any, Any] | None) -> Turn:
    return Turn.WRITE if batched is None else batched.turn
