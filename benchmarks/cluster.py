"""PostgreSQL for the servers under test: one server with a database for each of them, on the load's core, so that the
servers' core has what they themselves cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks import servers
from tests.support.postgres import PostgresServer

SETTINGS = ("shared_buffers=512MB", "max_wal_size=4GB", "checkpoint_timeout=30min")
"""Beyond PostgreSQL's own defaults, by which what is committed is on the disk."""


class Cluster:
    """`syncs` is the file that counts what all its processes sync."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._server = PostgresServer(folder, SETTINGS)
        self.syncs = folder / "syncs"

    def start(self) -> None:
        with servers.counting_syncs(self.syncs):
            self._server.start()

    def stop(self) -> None:
        self._server.stop("fast")

    def database(self, name: str, template: str = "template0") -> str:
        """The URL of a new database, a copy of the template, which nobody may be connected to."""
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._server.url(name)


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    cluster = Cluster(folder)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
