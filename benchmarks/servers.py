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
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import machine

ROOT = Path(__file__).resolve().parent.parent

# The account of every contestant. Made up, and good for nothing but a benchmark on loopback.
ACCOUNT_SID = "AC" + "d4" * 16
AUTH_TOKEN = "e5" * 16

UVICORN = [
    "--host", "127.0.0.1", "--loop", "uvloop", "--http", "httptools", "--lifespan", "on",
    "--no-access-log", "--no-server-header", "--no-proxy-headers", "--log-level", "warning",
]  # fmt: skip

START_S, STOP_S = 30.0, 30.0


class Server:
    """One running server: where it listens, where its database is, and what it has used."""

    def __init__(
        self, name: str, command: list[str], port: int, database: Path, env: Mapping[str, str]
    ) -> None:
        self.name = name
        self.port = port
        self.database = database
        folder = database.parent
        self._log = folder / f"{name}.log"
        self._syncs = folder / f"{name}.syncs"
        self._syncs.write_bytes(bytes(8))
        environment = {**os.environ, **env}
        if shim := _shim():
            environment |= {"LD_PRELOAD": str(shim), "BENCH_SYNCS": str(self._syncs)}
        self._counts_syncs = shim is not None
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the harness only, which then stops its servers
            )
        os.sched_setaffinity(self._process.pid, {machine.SERVER_CORE})  # its threads will inherit it

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_s(self) -> float:
        return machine.cpu_s(self.pid)

    def rss_mib(self) -> float:
        return machine.rss_mib(self.pid)

    def syncs(self) -> int | None:
        return int.from_bytes(self._syncs.read_bytes(), sys.byteorder) if self._counts_syncs else None

    def counts(self, *queries: str) -> list[int]:
        """What queries for one number each find in the server's database, all at one instant."""
        connection = self.read_only()
        try:
            return list(
                connection.execute("SELECT " + ", ".join(f"({query})" for query in queries)).fetchone()
            )
        finally:
            connection.close()

    def read_only(self) -> sqlite3.Connection:
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


def contestant(module: str, folder: Path) -> Server:
    """One of benchmarks/contestants, on a database of its own."""
    folder.mkdir(parents=True)
    port = _free_port()
    database = folder / f"{module}.db"
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        f"benchmarks.contestants.{module}:app",
        "--port",
        str(port),
        *UVICORN,
    ]
    return Server(module, command, port, database, {"BENCH_DATABASE": str(database)}).wait_ready()


def maskline(
    folder: Path, role: str, *, send_wait_ms: int | None = None, env: Mapping[str, str] | None = None
) -> Server:
    """maskline itself on the data directory `folder`, with default settings but for the account, the given wait and
    what else is in `env`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    env = {"MASKLINE_ACCOUNT_SID": ACCOUNT_SID, "MASKLINE_AUTH_TOKEN": AUTH_TOKEN, **(env or {})}
    if send_wait_ms is not None:
        env["MASKLINE_SEND_WAIT_MS"] = str(send_wait_ms)
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
    return Server("maskline", command, port, folder / "maskline.db", env).wait_ready("/readyz")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
