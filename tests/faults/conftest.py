"""Servers that may die, and what is told about them in the end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.lives import FULL, CrashingServer, Lives

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
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a line of figures for the end of the run."""
    lines = request.config.stash.setdefault(_figures, [])
    return lambda line: lines.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (FULL or config.option.verbose > 0) and (lines := config.stash.get(_figures, [])):
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
