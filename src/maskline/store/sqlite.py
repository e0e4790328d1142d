"""The embedded store: one file, one thread that writes (`writer`), a few that read.

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
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Concatenate

from maskline.clock import Clock, SteadyTime
from maskline.domain.model import Instant
from maskline.metrics import (
    DATABASE_BYTES,
    DISK_FREE_BYTES,
    READ_SECONDS,
    WAL_BYTES,
    Histogram,
    Sample,
)
from maskline.store.engine import (
    Batched,
    ItemT,
    P,
    R,
    ResultT,
    StoreRefused,
    StoreUnavailable,
    Tx,
    Wake,
    never,
    no_pseudonym,
)
from maskline.store.inspection import check_log
from maskline.store.migrate import migrate
from maskline.store.session_ends import follow_idle_limit
from maskline.store.writer import Writer

SQLITE = sqlite3.sqlite_version_info
OLDEST_SQLITE = (3, 35, 0)
READERS = 3
READ_LIMIT_S = 1.0
CHECKPOINT_BYTES = 8 << 20
RESTART_PAGES = 16_384
"""With so many in the log it is begun anew: some 64 MiB, and what comes until that is seen."""
MOST_LOG_BYTES = 128 << 20
"""What its file may keep. A commit that makes it grow waits twice as long for the disk."""
WRITER_CACHE_KIB = 8192
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

# A write that failed has changed nothing that counts: what it added to the log, or to its index, is not looked at. So
# fails what goes beyond a quota, and all where the kernel takes no more writes. No other error of the disk passes.
_PASSING = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}


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


def _is_failing(error: BaseException) -> bool:
    """Whether nobody knows any more what is on the disk."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_IOERR and code not in _PASSING


def _for_caller(error: Exception) -> Exception:
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


def _checkpoint(connection: sqlite3.Connection) -> int:
    """As much as goes without waiting for anybody; how many pages the log had. What cannot be done now (the disk may be
    full) stays in the log.
    """
    try:
        (_, pages, _) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error as error:
        if _is_failing(error):
            _die(error)
        return 0
    return int(pages)


class _Engine:
    """What the writer writes through. `begin` opens its transactions, `tend` is called after each."""

    def __init__(
        self, connection: sqlite3.Connection, begin: Callable[..., Tx], tend: Callable[[], None]
    ) -> None:
        self._connection = connection
        self.begin = begin
        self.tend = tend
        self.execute = connection.execute
        self.for_caller = _for_caller
        self.die = _die

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def is_conflict(self, error: Exception) -> bool:
        return False  # whoever else writes does so for a moment, and is waited for

    def is_environment(self, error: Exception) -> bool:
        # Not only a COMMIT syncs: a transaction that outgrows the cache has the head of the WAL synced before.
        if _is_failing(error):
            _die(error)
        return _is_environment(error)


class SqliteStore:
    """`Store` over one SQLite file. With `serve=False` (the command line beside a server) it takes no lock."""

    is_shared: ClassVar = False

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
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._checkpoint = threading.Event()
        self._caught_up = False
        self._closing = False
        self._time = SteadyTime(clock)
        self._commits = 0
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
        self._read_pool = ThreadPoolExecutor(READERS, "maskline-read")
        self._checkpointing = threading.Thread(
            target=self._checkpoints, name="maskline-checkpoint", daemon=True
        )
        self._checkpointing.start()
        self._writing = Writer(_Engine(self._writer, self._begin, self._tend_wal), self._clock)
        return self

    def _open_writer(self) -> sqlite3.Connection:
        connection = _connect(self.path)
        try:
            self.path.chmod(0o600)
            connection.execute("PRAGMA wal_autocheckpoint=0")
            # Less than a reader has: in a file below 1 GiB, SQLite goes through all of the cache at the end of each
            # transaction that has split a page, which nearly all of them do.
            connection.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")
            connection.execute(f"PRAGMA journal_size_limit={MOST_LOG_BYTES}")
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

    def _begin(self, *, side_by_side: bool = False) -> Tx:  # here one writes at a time, whatever it is
        now = self._time.now()
        self._writer.execute("BEGIN IMMEDIATE")
        return self._tx(self._writer, now)

    async def close(self) -> None:
        """Finish what waits, then close. Nothing may be handed in afterwards."""
        await self._writing.close()
        self._closing = True
        self._checkpoint.set()
        await asyncio.to_thread(self._checkpointing.join)
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
            raise _for_caller(error) from error
        finally:
            connection.set_progress_handler(None, 0)
            connection.execute("ROLLBACK")

    # Handing in

    async def write(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._writing.write(fn, *args, **kwargs)

    def batch(self, batched: Batched[ItemT, ResultT], item: ItemT) -> Coroutine[Any, Any, ResultT]:
        return self._writing.batch(batched, item)

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
            if _is_failing(error):
                _die(error)
            return False
        return not busy

    def measures(self) -> Iterator[Sample]:
        yield from self._writing.measures()
        yield READ_SECONDS, (), self._read_s
        yield DATABASE_BYTES, (), self.path.stat().st_size
        yield WAL_BYTES, (), self._wal_bytes()
        yield DISK_FREE_BYTES, (), shutil.disk_usage(self.path.parent).free

    def is_writable(self) -> bool:
        return (
            True  # where it is not, whoever writes is told so; nothing else would find out that it is again
        )

    def overloaded(self) -> bool:
        return self._writing.overloaded()

    def subscribe(self, wake: Wake, is_full: Callable[[], bool] = never) -> asyncio.Event:
        return self._writing.subscribe(wake, is_full)

    # Checkpoints

    def _wal_bytes(self) -> int:
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0

    def _tend_wal(self) -> None:
        if self._caught_up:
            # Under steady load the other connection never quite catches up, and the file would grow for ever. It has
            # just left off; the little that was written since is done here, where nobody writes meanwhile.
            self._caught_up = False
            _checkpoint(self._writer)
        self._commits += 1
        if self._commits % 64 == 0 and self._wal_bytes() > CHECKPOINT_BYTES:
            self._checkpoint.set()

    def _checkpoints(self) -> None:
        connection = _connect(self.path)
        connection.execute("PRAGMA busy_timeout=0")
        while True:
            self._checkpoint.wait()
            if self._closing:
                break
            self._checkpoint.clear()
            if _checkpoint(connection) > RESTART_PAGES:
                _checkpoint(connection)  # what was written during the first one: what is left then is little
                self._caught_up = True
        connection.close()
