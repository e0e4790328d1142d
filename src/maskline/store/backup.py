"""A copy of an embedded database, made beside its server, and the mark by which a database is known for such a copy.

The copy is of one instant. A snapshot is held while it is made, so that the server's commits do not send it back to its
beginning; what is written is synced every few MiB, or the server's own syncs would wait behind all of it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from maskline.domain.model import Instant
from maskline.store.engine import StoreUnavailable, Tx
from maskline.store.runs import LIFE_US

MARK = "backed_up_at"
"""In the meta table of a copy, and of no other database: when it was made."""

STEP_PAGES = 1024
SYNC_STEPS = 2
_BESIDE = ("-wal", "-shm", "-journal")

_MARK = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING"
_MARKED = "SELECT 1 FROM meta WHERE name = ?"
_UNMARK = "DELETE FROM meta WHERE name = ?"


class CannotBackUp(Exception):
    """The copy could not be made. Nothing is left under its name but what was there before."""


def back_up(source: Path, target: Path, now: Instant, progress: Callable[[int, int], None]) -> int:
    """Copy the database to `target`, whole or not at all, readable by its owner only; marked as made `now`.

    `progress` is told how many pages are done, of how many. Returns the size of the copy in bytes. Raises CannotBackUp,
    StoreUnavailable where it is the database that cannot be read.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        with _alone(part) as handle:
            _copy(source, part, lambda: os.fdatasync(handle), progress)
            _seal(part, now)
            os.fsync(handle)
            size = os.fstat(handle).st_size
            part.replace(target)
            _sync_directory(target.parent)
    except OSError as error:
        raise CannotBackUp(f"{target} cannot be written: {error.strerror}") from error
    return size


@contextmanager
def _alone(part: Path) -> Iterator[int]:
    """The empty file that the copy is made in. It is taken away if that fails."""
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotBackUp(f"another backup is being written to {part}") from None
        try:
            _remove_beside(part)  # of one that was killed
            os.fchmod(handle, 0o600)
            os.ftruncate(handle, 0)
            yield handle
        except BaseException:
            _remove_beside(part)
            part.unlink(missing_ok=True)
            raise
    finally:
        os.close(handle)


def _remove_beside(part: Path) -> None:
    for suffix in _BESIDE:
        part.with_name(part.name + suffix).unlink(missing_ok=True)


def _copy(source: Path, part: Path, sync: Callable[[], None], progress: Callable[[int, int], None]) -> None:
    steps = 0

    def step(_: int, remaining: int, total: int) -> None:
        nonlocal steps
        steps += 1
        if steps % SYNC_STEPS == 0:
            sync()
        progress(total - remaining, total)

    try:
        reader = sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database {source} cannot be read: {error}") from error
    with closing(reader):
        try:
            reader.execute("PRAGMA busy_timeout=5000")
            reader.execute("BEGIN")
            reader.execute("SELECT 1 FROM meta").fetchone()  # the snapshot
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the database {source} cannot be read: {error}") from error
        try:
            with closing(_connect(part)) as writer:
                reader.backup(writer, pages=STEP_PAGES, progress=step)
        except sqlite3.Error as error:
            raise CannotBackUp(f"the copy {part} cannot be made: {error}") from error
        reader.execute("ROLLBACK")
        # The server's log has grown meanwhile. What has to be done about that is better done here than by its writer.
        try:
            reader.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
                raise StoreUnavailable(f"the database {source} cannot be written: {error}") from error


def _connect(part: Path) -> sqlite3.Connection:
    """To a file that nobody needs if this process ends before it is done: it is synced when it is whole."""
    connection = sqlite3.connect(part, isolation_level=None)
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    return connection


def _seal(part: Path, now: Instant) -> None:
    """Mark the copy, see that it is sound, and leave it a single file without a log."""
    try:
        with closing(_connect(part)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
            # One that was never started stays what it is: what waits in it is as old as that.
            connection.execute(_MARK, (MARK, str(now)))
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise CannotBackUp(f"the copy {part} cannot be made: {error}") from error
    if said != "ok":
        raise StoreUnavailable(f"the database is damaged, and so would its copy be: {said}")


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_marked(tx: Tx) -> bool:
    """Whether this database is a copy on which no server has begun to work."""
    return tx.execute(_MARKED, (MARK,)).fetchone() is not None


def mark(tx: Tx, run: str) -> Instant | None:
    """This database is a copy, made by other means than `back_up`: when somebody last wrote into what it is a copy of.

    `run` is the caller's own; None, and nothing is marked, where another has this very database.
    """
    (seen_at,) = tx.execute("SELECT max(seen_at) FROM runs WHERE id <> ?", (run,)).fetchone()
    if seen_at is not None and seen_at > tx.now - LIFE_US:
        return None
    made_at = Instant(seen_at or tx.now)
    tx.execute(_MARK, (MARK, str(made_at)))
    return made_at


def unmark(tx: Tx) -> None:
    """This database is a copy no more, but one that is worked on."""
    tx.execute(_UNMARK, (MARK,))
