"""Brings a database's schema up to date: numbered SQL files, each applied once, in one transaction.

A database newer than the code is refused: old code on a new schema could break promises without noticing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources

from maskline.domain.model import Instant
from maskline.store.engine import Cursor

Execute = Callable[..., Cursor]

_META = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)"


class SchemaTooNew(Exception):
    """The database was written by a newer maskline."""


class SchemaTooOld(Exception):
    """The database has to be brought up to date first, which others that serve it may have to be ready for."""


def migrations() -> list[tuple[int, str]]:
    """(version, SQL text) of every migration there is, in order."""
    files = resources.files("maskline.store").joinpath("schema").iterdir()
    return sorted((int(file.name[:4]), file.read_text()) for file in files if file.name.endswith(".sql"))


def schema_version(execute: Execute) -> int:
    """The version of this database; 0 if it is empty."""
    execute(_META)
    row = execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    return int(row[0]) if row else 0


def is_behind(version: int) -> bool:
    """Whether a database of this version lacks migrations. Raises SchemaTooNew."""
    newest = migrations()[-1][0]
    if version > newest:
        raise SchemaTooNew(
            f"the database has schema {version} and this maskline knows schemas up to {newest};"
            " start the newer maskline that wrote it, or restore an older backup"
        )
    return version < newest


def for_sqlite(statement: str) -> str:
    """A statement of a migration for SQLite."""
    return statement.replace("/*WITHOUT ROWID*/", "WITHOUT ROWID")


def statements(text: str, render: Callable[[str], str] = for_sqlite) -> list[str]:
    """The statements of a migration."""
    text = render(re.sub(r"--[^\n]*", "", text))
    return [statement for part in text.split(";") if (statement := part.strip())]


def migrate(
    execute: Execute,
    now: Instant,
    *,
    begin: str = "BEGIN IMMEDIATE",
    render: Callable[[str], str] = for_sqlite,
) -> int:
    """Apply what is missing and return the version. Raises SchemaTooNew."""
    execute(begin)
    try:
        version = schema_version(execute)
        known = migrations()
        newest = known[-1][0]
        if is_behind(version):
            for number, text in known:
                if number > version:
                    for statement in statements(text, render):
                        execute(statement)
            for name, value in (("schema_version", newest), ("migrated_at", now)):
                execute(
                    "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, str(value)),
                )
    except BaseException:
        execute("ROLLBACK")
        raise
    execute("COMMIT")
    return newest
