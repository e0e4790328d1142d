"""The client that a test is about, and a line about each at the end of the run."""

from collections.abc import Callable

import pytest

from tests.clients.official import OfficialClient

_lines = pytest.StashKey[list[str]]()


@pytest.fixture
def official(request: pytest.FixtureRequest) -> OfficialClient:
    """The client that the test's parameter names."""
    client = OfficialClient(request.param)
    if not client.is_installed:
        pytest.skip("official clients are not installed (make clients)")
    return client


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a line for the end of the run."""
    return request.config.stash.setdefault(_lines, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(_lines, []):
        terminalreporter.section("official clients")
        for line in lines:
            terminalreporter.write_line(line)
