"""Fixtures that every kind of test may want."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from maskline.mint import Mint
from maskline.store.sqlite import SqliteStore
from tests.support.clock import FakeClock
from tests.support.house import VAULT
from tests.support.private import LOG, check_private, note_exception, private
from tests.support.server import Api, RealServer

settings.register_profile("ci", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "long", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

structlog.configure(processors=[note_exception, LOG])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def mint(clock: FakeClock) -> Mint:
    return Mint(clock)


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    """A real database, opened as a server opens it, under the test's clock."""
    store = await SqliteStore(tmp_path / "data" / "maskline.db", clock, pseudonym=VAULT.pseudonym).open()
    with private(store.path):
        yield store
    await store.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """One real server for all tests that only talk to it; each makes its own Service."""
    server = RealServer(tmp_path_factory.mktemp("server") / "data").start()
    yield server
    assert server.stop() == 0, server.log()
    check_private(server.data / "maskline.db", server.log().splitlines())


@pytest.fixture
def api(server: RealServer) -> Api:
    return server.api
