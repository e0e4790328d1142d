"""PostgreSQL for the servers under test: one server with a database for each of them, on the load's core, so that the
servers' core has what they themselves cost.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg

from benchmarks import machine, servers
from tests.support.postgres import PostgresServer

SETTINGS = ("shared_buffers=512MB", "max_wal_size=4GB", "checkpoint_timeout=30min")
"""Beyond PostgreSQL's own defaults, by which what is committed is on the disk."""


class Used(NamedTuple):
    """What a server has used up."""

    backends_s: float
    """CPU seconds of the processes that serve one database."""
    others_s: float
    """Those of all others of the server's."""
    wal_bytes: int
    syncs: int

    def since(self, before: Used) -> Used:
        return Used(
            self.backends_s - before.backends_s,
            self.others_s - before.others_s,
            self.wal_bytes - before.wal_bytes,
            self.syncs - before.syncs,
        )


class Cluster:
    """`syncs` is the file that counts what all its processes sync."""

    def __init__(self, folder: Path, settings: Sequence[str] = SETTINGS) -> None:
        """What is in the folder already stays."""
        folder.mkdir(parents=True, exist_ok=True)
        self._server = PostgresServer(folder, settings)
        self.syncs = folder / "syncs"

    def start(self) -> None:
        with servers.counting_syncs(self.syncs):
            self._server.start()
        machine.adopt(self._server.pid)

    def stop(self) -> None:
        self._server.stop("fast")

    def url(self, name: str) -> str:
        return self._server.url(name)

    def database(self, name: str, template: str = "template0") -> str:
        """The URL of a new database, a copy of the template, which nobody may be connected to."""
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def names(self) -> set[str]:
        """The names of its databases."""
        with psycopg.connect(self._server.url()) as connection:
            return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}

    def used(self, name: str) -> Used:
        """What was used up by now, for the database of this name apart."""
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            (wal,) = connection.execute(
                "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
            ).fetchone() or (0,)
        backends_s = others_s = 0.0
        for pid, title in machine.children(self._server.pid):
            try:
                used_s = machine.cpu_s(pid)
            except (FileNotFoundError, ProcessLookupError):  # one that vacuums has ended meanwhile
                continue
            if f" {name} " in title:
                backends_s += used_s
            else:
                others_s += used_s
        return Used(backends_s, others_s, wal, int.from_bytes(self.syncs.read_bytes(), sys.byteorder))

    def rename(self, name: str, new: str) -> None:
        self._run(f"ALTER DATABASE {name} RENAME TO {new}")

    def drop(self, name: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {name}")

    def _run(self, statement: str) -> None:
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def running(folder: Path, settings: Sequence[str] = SETTINGS) -> Iterator[Cluster]:
    cluster = Cluster(folder, settings)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
