"""Starts and stops the servers under test, on the servers' core and with their fsyncs counted."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import psycopg

from benchmarks import machine

if TYPE_CHECKING:
    from benchmarks.cluster import Cluster

ROOT = Path(__file__).resolve().parent.parent

# The account of every contestant. Made up, and good for nothing but a benchmark on loopback.
ACCOUNT_SID = "AC" + "d4" * 16
AUTH_TOKEN = "e5" * 16
SECRET_KEY = "f6" * 32

UVICORN = [
    "--host", "127.0.0.1", "--loop", "uvloop", "--http", "httptools", "--lifespan", "on",
    "--no-access-log", "--no-server-header", "--no-proxy-headers", "--log-level", "warning",
]  # fmt: skip

START_S, STOP_S = 30.0, 30.0


class Server:
    """One running server: where it listens, where its database is (a file, or at a URL), and what it has used. With a
    database at a URL the syncs are those of all who have it, while they are counted in `syncs`.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        port: int,
        database: Path | str,
        env: Mapping[str, str],
        folder: Path,
        syncs: Path | None = None,
        cores: Collection[int] = (machine.SERVER_CORE,),
    ) -> None:
        self.name = name
        self.port = port
        self.database = database
        self._log = folder / f"{name}.log"
        self._syncs = folder / f"{name}.syncs"
        with counting_syncs(self._syncs), self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **env},
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the harness only, which then stops its servers
            )
        self._syncs = syncs or self._syncs
        os.sched_setaffinity(self._process.pid, cores)  # its threads will inherit it

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_s(self) -> float:
        return machine.cpu_s(self.pid)

    def rss_mib(self) -> float:
        return machine.rss_mib(self.pid)

    def syncs(self) -> int | None:
        return int.from_bytes(self._syncs.read_bytes(), sys.byteorder) if _shim() else None

    def counts(self, *queries: str) -> list[int]:
        """What queries for one number each find in the server's database, all at one instant."""
        connection = self.read_only()
        try:
            return list(
                connection.execute("SELECT " + ", ".join(f"({query})" for query in queries)).fetchone()
            )
        finally:
            connection.close()

    def read_only(self) -> Any:
        """A connection, of whichever driver."""
        if isinstance(self.database, str):
            return psycopg.connect(self.database)
        return sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)

    def wait_ready(self, path: str | None = None) -> Self:
        """Until `path` answers 200; without one, until something listens."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if path is None:
                    socket.create_connection(("127.0.0.1", self.port), 1).close()
                else:
                    urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2).close()
                return self
            except OSError:  # refused, or not ready: urllib's errors are of this kind too
                time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{self.name} did not become ready:\n{self.log_tail()}")

    def log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()


def contestant(module: str, folder: Path, cluster: Cluster | None = None) -> Server:
    """One of benchmarks/contestants, on a database of its own."""
    folder.mkdir(parents=True)
    port = _free_port()
    database = folder / f"{module}.db" if cluster is None else cluster.database(module)
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        f"benchmarks.contestants.{module}:app",
        "--port",
        str(port),
        *UVICORN,
    ]
    env = {"BENCH_DATABASE": str(folder / f"{module}.db"), "BENCH_URL": str(database)}
    syncs = cluster.syncs if cluster is not None else None
    return Server(module, command, port, database, env, folder, syncs).wait_ready()


def maskline(
    folder: Path,
    role: str,
    *,
    send_wait_ms: int | None = None,
    env: Mapping[str, str] | None = None,
    url: str | None = None,
    cluster: Cluster | None = None,
    cores: Collection[int] = (machine.SERVER_CORE,),
) -> Server:
    """maskline itself on the data directory `folder`, or on the database at `url`, with default settings but for the
    account, the given wait and what else is in `env`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    env = {"MASKLINE_ACCOUNT_SID": ACCOUNT_SID, "MASKLINE_AUTH_TOKEN": AUTH_TOKEN, **(env or {})}
    if send_wait_ms is not None:
        env["MASKLINE_SEND_WAIT_MS"] = str(send_wait_ms)
    env |= _database(url)
    command = [
        sys.executable,
        "-m",
        "maskline",
        "serve",
        "--role",
        role,
        "--port",
        str(port),
        "--data",
        str(folder),
    ]
    syncs = cluster.syncs if cluster is not None else None
    database = url or folder / "maskline.db"
    return Server("maskline", command, port, database, env, folder, syncs, cores).wait_ready("/readyz")


def command(
    folder: Path, arguments: list[str], given: str, *, env: Mapping[str, str], url: str | None = None
) -> None:
    """One of maskline's commands on the data that `maskline` would serve, with its standard input."""
    run = [sys.executable, "-m", "maskline", *arguments, "--data", str(folder)]
    subprocess.run(
        run,
        cwd=ROOT,
        env={**os.environ, **env, **_database(url)},
        input=given,
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _database(url: str | None) -> dict[str, str]:
    return {} if url is None else {"MASKLINE_DATABASE_URL": url, "MASKLINE_SECRET_KEY": SECRET_KEY}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def counting_syncs(file: Path) -> Iterator[None]:
    """Whatever is started meanwhile counts its syncs in this file."""
    file.write_bytes(bytes(8))
    shim = _shim()
    given = {"LD_PRELOAD": str(shim), "BENCH_SYNCS": str(file)} if shim else {}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_built: list[Path | None] = []


def _shim() -> Path | None:
    """The library that counts fsyncs; None on a machine without a C compiler."""
    if not _built:
        compiler = shutil.which("cc") or shutil.which("gcc")
        target = ROOT / "benchmarks" / "work" / "syncs.so"
        target.parent.mkdir(exist_ok=True)
        source = ROOT / "benchmarks" / "syncs.c"
        done = compiler and subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", "-o", str(target), str(source), "-ldl"], check=False
        )
        _built.append(target if done and done.returncode == 0 else None)
    return _built[0]
