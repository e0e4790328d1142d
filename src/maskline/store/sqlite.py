"""The embedded store: one file, one thread that writes, a few that read.

The writer works in rounds. A round takes what waits at that moment, in the turns' order, runs each function once over
its items under a savepoint, and commits once: group commit without a timer, so a lone request waits for nobody.
Checkpoints run on a second connection, off the commit path. One server owns a file; a lock keeps out a second.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Concatenate

from maskline.clock import Clock, SteadyTime
from maskline.domain import problems
from maskline.domain.model import Instant
from maskline.domain.problems import Problem
from maskline.metrics import (
    DATABASE_BYTES,
    DISK_FREE_BYTES,
    READ_SECONDS,
    ROUND_ITEMS,
    ROUND_SECONDS,
    WAITING_ACCEPTS,
    WAL_BYTES,
    Histogram,
    Metric,
    Sample,
)
from maskline.store.engine import (
    MOST_WAITING,
    Batched,
    ItemT,
    P,
    R,
    ResultT,
    StoreRefused,
    StoreUnavailable,
    Turn,
    Tx,
    Wake,
    no_pseudonym,
)
from maskline.store.inspection import check_log
from maskline.store.migrate import migrate
from maskline.store.rounds import Group, Job, Rounds, turn_of
from maskline.store.sessions import follow_idle_limit

SQLITE = sqlite3.sqlite_version_info
OLDEST_SQLITE = (3, 35, 0)
READERS = 3
READ_LIMIT_S = 1.0
CHECKPOINT_BYTES = 8 << 20
RESTART_BYTES = 64 << 20
CUT_MS = 50
"""How long the log's end may be waited for, which holds up whoever writes."""

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

_Settled = tuple["asyncio.Future[Any]", Any]


class AlreadyServed(Exception):
    """Another server has this data directory."""


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    try:
        for pragma in (
            "busy_timeout=5000",
            "journal_mode=WAL",
            "synchronous=FULL",
            "cache_size=-16384",
            "temp_store=MEMORY",
            "secure_delete=ON",  # what is deleted is overwritten, however SQLite was built
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_environment(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _ENVIRONMENT


def _told(error: Exception) -> Exception:
    """What a caller is told of an error that its own operation met."""
    if not isinstance(error, sqlite3.Error):
        return error
    interrupted = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
    told = (StoreUnavailable if interrupted or _is_environment(error) else StoreRefused)(str(error))
    told.__cause__ = error
    return told


def _die(error: BaseException) -> None:
    """After a failed sync nobody knows what is on the disk; the only honest state is the one after a restart."""
    os.write(2, f"maskline: the database cannot be written any more, stopping: {error}\n".encode())
    os._exit(1)


def _checkpoint(connection: sqlite3.Connection) -> None:
    """As much as goes without waiting for anybody. What cannot be done now (the disk may be full) stays in the WAL."""
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
            _die(error)


class SqliteStore:
    """`Store` over one SQLite file. With `serve=False` (the command line beside a server) it takes no lock."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        idle_close_us: int = 0,
        pseudonym: Callable[[str], str] = no_pseudonym,
        serve: bool = True,
    ) -> None:
        self.path = path
        self._wal = path.with_name(f"{path.name}-wal")
        self._clock = clock
        self._idle_close_us = idle_close_us
        self._pseudonym = pseudonym
        self._serve = serve
        self._accepts_waiting = 0
        self._subscribers: list[tuple[Wake, asyncio.Event]] = []
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._checkpoint = threading.Event()
        self._closing = False
        self._time = SteadyTime(clock)
        self._commits = 0
        self._counts: Counter[tuple[Metric, tuple[str, ...]]] = Counter()
        self._round_s, self._round_items = Histogram(ROUND_SECONDS), Histogram(ROUND_ITEMS)
        self._read_s = Histogram(READ_SECONDS)

    async def open(self) -> SqliteStore:
        """Lock the file, bring its schema up to date, start the threads.

        Raises AlreadyServed, SchemaTooNew, StoreUnavailable.
        """
        if SQLITE < OLDEST_SQLITE:
            raise StoreUnavailable(
                f"SQLite {sqlite3.sqlite_version} is too old; maskline needs 3.35 or newer"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._serve:
            self._lock = self._take_lock()
        try:
            check_log(self.path)
            self._writer = self._open_writer()
        except BaseException as error:
            if self._serve:
                os.close(self._lock)
            if isinstance(error, sqlite3.Error):
                raise StoreUnavailable(f"the database {self.path} cannot be opened: {error}") from error
            raise
        self._loop = asyncio.get_running_loop()
        self._rounds = Rounds(self._loop, self._clock)
        self._read_pool = ThreadPoolExecutor(READERS, "maskline-read")
        self._threads = [
            threading.Thread(target=self._write_rounds, name="maskline-write", daemon=True),
            threading.Thread(target=self._checkpoints, name="maskline-checkpoint", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def _open_writer(self) -> sqlite3.Connection:
        connection = _connect(self.path)
        try:
            self.path.chmod(0o600)
            connection.execute("PRAGMA wal_autocheckpoint=0")
            # Or the file would keep its largest size, and look for ever as if there were that much to do.
            connection.execute(f"PRAGMA journal_size_limit={RESTART_BYTES}")
            now = self._time.now()
            migrate(connection.execute, now)
            if self._serve:
                connection.execute("BEGIN IMMEDIATE")
                follow_idle_limit(self._tx(connection, now))
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _tx(self, connection: sqlite3.Connection, now: Instant) -> Tx:
        return Tx(connection.execute, connection.executemany, now, self._idle_close_us, self._pseudonym)

    async def close(self) -> None:
        """Finish what waits, then close. Nothing may be handed in afterwards."""
        self._rounds.close()
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
        began = time.perf_counter()
        try:
            return await self._loop.run_in_executor(self._read_pool, self._read, fn, args, kwargs)
        finally:
            self._read_s.note(time.perf_counter() - began)

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
            tx = self._tx(connection, self._time.now())
            return fn(tx, *args, **kwargs)
        except sqlite3.Error as error:
            raise _told(error) from error
        finally:
            connection.set_progress_handler(None, 0)
            connection.execute("ROLLBACK")

    # Handing in

    async def write(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        future: asyncio.Future[R] = self._loop.create_future()
        self._rounds.put((None, (fn, args, kwargs), future))
        return await future

    async def batch(self, batched: Batched[ItemT, ResultT], item: ItemT) -> ResultT:
        if batched.turn is Turn.ACCEPT:
            if self._accepts_waiting >= MOST_WAITING:
                raise Problem(problems.UNAVAILABLE, headers={"Retry-After": "1"})
            self._accepts_waiting += 1
        future: asyncio.Future[ResultT] = self._loop.create_future()
        self._rounds.put((batched, item, future))
        return await future

    async def cut_log(self) -> bool:
        return await asyncio.to_thread(self._cut_log)

    def _cut_log(self) -> bool:
        """The log keeps pages as they were until it is written over, and its tail for long. What is left of it after a
        checkpoint that waits for nobody is little, so writers are held up for a moment only.
        """
        try:
            with closing(_connect(self.path)) as connection:
                _checkpoint(connection)
                connection.execute(f"PRAGMA busy_timeout={CUT_MS}")
                (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
                _die(error)
            return False
        return not busy

    def measures(self) -> Iterator[Sample]:
        for (metric, labels), count in self._counts.items():
            yield metric, labels, count
        yield ROUND_SECONDS, (), self._round_s
        yield ROUND_ITEMS, (), self._round_items
        yield READ_SECONDS, (), self._read_s
        yield WAITING_ACCEPTS, (), self._accepts_waiting
        yield DATABASE_BYTES, (), self.path.stat().st_size
        yield WAL_BYTES, (), self._wal_bytes()
        yield DISK_FREE_BYTES, (), shutil.disk_usage(self.path.parent).free

    def overloaded(self) -> bool:
        return self._accepts_waiting >= MOST_WAITING

    def subscribe(self, wake: Wake) -> asyncio.Event:
        event = asyncio.Event()
        self._subscribers.append((wake, event))
        return event

    def _settle_round(self, settled: list[_Settled], accepts: int, tx: Tx, took_s: float) -> None:
        self._round_s.note(took_s)
        self._round_items.note(len(settled))
        self._counts.update(tx.counted)
        self._settle(settled, accepts, tx.wake)

    def _settle(self, settled: list[_Settled], accepts: int, wake: Wake) -> None:
        self._accepts_waiting -= accepts
        for future, result in settled:
            if future.done():  # its caller has gone away
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        for wanted, event in self._subscribers:
            if wake & wanted:
                event.set()

    # Writing: everything below runs in the writer's thread

    def _write_rounds(self) -> None:
        try:
            while (groups := self._rounds.take()) is not None:
                self._round(groups)
        except BaseException as error:
            # Without its writer the process would take requests and answer none.
            _die(error)

    def _round(self, groups: list[Group]) -> None:
        """Run a round's jobs and commit them; nobody is told before."""
        began = time.perf_counter()
        now = self._time.now()
        tx = self._tx(self._writer, now)
        accepts = sum(len(jobs) for batched, jobs in groups if turn_of(batched) is Turn.ACCEPT)
        try:
            try:
                settled = self._run(tx, groups)
            except Exception as error:
                if _is_environment(error):
                    raise
                # An item that fails fails alone: begin again, and where a group fails run its items one by one.
                self._writer.execute("ROLLBACK")
                tx = self._tx(self._writer, now)
                settled = self._run(tx, groups, guarded=True)
        except Exception as error:
            self._abandon(groups, accepts, error)
            return
        try:
            self._writer.execute("COMMIT")
        except Exception as error:
            self._abandon(groups, accepts, error)
            return
        if tx.started or tx.oldest_us:
            self._rounds.note_starts(tx.started, tx.oldest_us)
        took_s = time.perf_counter() - began
        self._loop.call_soon_threadsafe(self._settle_round, settled, accepts, tx, took_s)
        self._tend_wal()

    def _run(self, tx: Tx, groups: list[Group], *, guarded: bool = False) -> list[_Settled]:
        """Run every job of a round in one transaction.

        Hot functions do not fail as a rule and a savepoint makes SQLite copy each page that it changes, so they run
        without one unless `guarded`. Plain writes may refuse what they are asked, and always have one.
        """
        settled: list[_Settled] = []
        self._writer.execute("BEGIN IMMEDIATE")
        for batched, jobs in groups:
            if batched is None:
                settled += [(job[2], self._alone(tx, job)) for job in jobs]
            elif guarded:
                settled += self._guarded(tx, batched, jobs)
            else:
                results = batched.fn(tx, [job[1] for job in jobs])
                settled += [(job[2], result) for job, result in zip(jobs, results, strict=True)]
        return settled

    def _guarded(self, tx: Tx, batched: Batched[Any, Any], jobs: list[Job]) -> list[_Settled]:
        wake, counted = tx.wake, len(tx.counted)
        self._writer.execute("SAVEPOINT job")
        try:
            results = batched.fn(tx, [job[1] for job in jobs])
            self._writer.execute("RELEASE job")
            return [(job[2], result) for job, result in zip(jobs, results, strict=True)]
        except Exception as error:
            self._undo(error)
            tx.wake = wake
            del tx.counted[counted:]
            return [(job[2], self._alone(tx, job)) for job in jobs]

    def _alone(self, tx: Tx, job: Job) -> Any:
        """The result of one job under a savepoint of its own, or the exception that it gets."""
        batched, work, _ = job
        wake, counted = tx.wake, len(tx.counted)
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
            del tx.counted[counted:]
            return _told(error)
        return result

    def _undo(self, error: Exception) -> None:
        """Back to the savepoint; raises `error` on if it is not one item's but the database's."""
        if _is_environment(error):
            raise error
        self._writer.execute("ROLLBACK TO job")
        self._writer.execute("RELEASE job")

    def _abandon(self, groups: list[Group], accepts: int, error: Exception) -> None:
        # Not only a COMMIT syncs: a transaction that outgrows the cache has the head of the WAL synced before.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
            _die(error)
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")
        failure = StoreUnavailable(str(error))
        failure.__cause__ = error
        settled: list[_Settled] = [(job[2], failure) for _, jobs in groups for job in jobs]
        self._loop.call_soon_threadsafe(self._settle, settled, accepts, Wake.NOBODY)

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
        if size > RESTART_BYTES:
            # Under steady load the other connection never quite catches up, and the file would grow for ever. It has
            # done most of the work; the little that is left is done here, where nobody writes meanwhile. It is not
            # asked now: only one can do it at a time.
            _checkpoint(self._writer)
        elif size > CHECKPOINT_BYTES:
            self._checkpoint.set()

    def _checkpoints(self) -> None:
        connection = _connect(self.path)
        connection.execute("PRAGMA busy_timeout=0")
        while True:
            self._checkpoint.wait()
            if self._closing:
                break
            self._checkpoint.clear()
            _checkpoint(connection)
        connection.close()
