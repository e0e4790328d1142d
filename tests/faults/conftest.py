"""Servers that may die, and what is told about them in the end."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.lives import FULL, CrashingServer, Lives
from tests.support.postgres import PostgresServer

_figures = pytest.StashKey[list[str]]()


@pytest.fixture
def lives(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lives]:
    """A server with an empty database that can be made to die at a chosen commit. Not started. On SQLite, unless the
    test names an engine.
    """
    server = CrashingServer(tmp_path / "data")
    if getattr(request, "param", "sqlite") == "postgres":
        server.environment |= request.getfixturevalue("postgres").settings()
    yield Lives(server)
    server.bury()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server that may die."""
    (tmp_path / "postgres").mkdir()
    server = PostgresServer(tmp_path / "postgres").start()
    yield server
    with contextlib.suppress(AssertionError):
        server.stop()


@pytest.fixture
def node(database: PostgresServer, tmp_path: Path) -> Iterator[CrashingServer]:
    """One server on it. Not started."""
    server = CrashingServer(tmp_path / "data", environment=database.settings())
    yield server
    server.bury()


@pytest.fixture
def other(node: CrashingServer, tmp_path: Path) -> Iterator[CrashingServer]:
    """A second one on the same database, with the same key."""
    server = replace(node, data=tmp_path / "other", environment=dict(node.environment))
    yield server
    server.bury()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a line of figures for the end of the run."""
    lines = request.config.stash.setdefault(_figures, [])
    return lambda line: lines.append(f"{request.node.name}: {line}")


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A C file of this directory, compiled to be preloaded (LD_PRELOAD)."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    built = tmp_path_factory.mktemp("preloaded")

    def compiled(name: str) -> Path:
        library = built / f"{name}.so"
        source = Path(__file__).with_name(f"{name}.c")
        flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-pthread"]
        if not library.exists():
            subprocess.run(["gcc", *flags, "-o", library, source], check=True)
        return library

    return compiled


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (FULL or config.option.verbose > 0) and (lines := config.stash.get(_figures, [])):
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
