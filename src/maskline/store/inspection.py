"""A look into an embedded database from outside, beside its server or not. Changes nothing."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from maskline.store.engine import StoreUnavailable
from maskline.store.migrate import Execute

_WITHOUT_LOG = b"\1\1"
"""What a database says that is written without a log: a backup does until it is first opened, and no other of ours."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in a database file: what is wrong with its pages (None: nothing), and what it notes about itself."""

    fault: str | None
    meta: dict[str, str]


@contextmanager
def opened(path: Path) -> Iterator[Execute]:
    """A connection to look through, and to change nothing. Raises StoreUnavailable, within, too."""
    check_log(path)
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
        try:
            connection.execute("PRAGMA query_only=ON")
            yield connection.execute
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database {path} cannot be read: {error}") from error


def inspect(path: Path, *, pages: bool = False) -> Inspection:
    """Look into a database, beside its server or not, and change nothing. Raises StoreUnavailable.

    `pages`: check all of them, which takes as long as it takes to read the file.
    """
    with opened(path) as execute:
        said = execute("PRAGMA quick_check(1)").fetchone()[0] if pages else "ok"
        known = execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone()
        meta = dict(execute("SELECT name, value FROM meta")) if known else {}
    return Inspection(None if said == "ok" else said, meta)


def check_log(path: Path) -> None:
    """Raises StoreUnavailable where a log lies beside the database that is another's, as when a backup has been copied
    over a database: SQLite would write it into this one.
    """
    log = path.with_name(f"{path.name}-wal")
    try:
        with path.open("rb") as file:
            versions = file.read(20)[18:]
        size = log.stat().st_size
    except OSError:  # without both there is nothing to mix up; what cannot be read is told when it is opened
        return
    if versions == _WITHOUT_LOG and size:
        raise StoreUnavailable(
            f"{log} is of another database than {path}, which was copied here without it;"
            " remove that file and restore the backup once more into an empty directory"
        )


def is_served(path: Path) -> bool:
    """Whether a server has this database now."""
    try:
        handle = os.open(path.with_suffix(".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
