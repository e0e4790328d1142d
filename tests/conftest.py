"""Fixtures that every kind of test may want."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from maskline.mint import Mint
from maskline.store.engine import Store
from maskline.store.postgres import PostgresStore
from maskline.store.sqlite import SqliteStore
from tests.support.clock import FakeClock
from tests.support.house import VAULT
from tests.support.postgres import ENGINES, PostgresServer
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


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One PostgreSQL server for all tests that want a database of it."""
    if "postgres" not in ENGINES:
        pytest.skip("PostgreSQL is not installed")
    server = PostgresServer(tmp_path_factory.mktemp("postgres")).start()
    yield server
    server.stop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What a store promises it promises on every engine, unless a test says that it is about one of them."""
    if "store" in metafunc.fixturenames:
        alone = metafunc.definition.get_closest_marker("engine")
        engines = list(alone.args) if alone else [*ENGINES]
        metafunc.parametrize("store", engines, indirect=True)


@pytest.fixture
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    """A real database, opened as a server opens it, under the test's clock."""
    opened: SqliteStore | PostgresStore
    where: Path | str
    if request.param == "sqlite":
        where = tmp_path / "data" / "maskline.db"
        opened = SqliteStore(where, clock, pseudonym=VAULT.pseudonym)
    else:
        where = request.getfixturevalue("postgres").empty()
        opened = PostgresStore(where, clock, run="RN" + "1" * 32, pseudonym=VAULT.pseudonym, own_time=True)
    await opened.open()
    with private(where):
        yield opened
    await opened.close()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """One real server for all tests that only talk to it; each makes its own Service.

    `ENGINE=postgres` has it on PostgreSQL.
    """
    server = RealServer(tmp_path_factory.mktemp("server") / "data")
    where: Path | str = server.data / "maskline.db"
    if os.environ.get("ENGINE") == "postgres":
        where = request.getfixturevalue("postgres").fresh()
        server.environment = {"MASKLINE_DATABASE_URL": where, "MASKLINE_SECRET_KEY": "5e" * 32}
    server.start()
    yield server
    assert server.stop() == 0, server.log()
    check_private(where, server.log().splitlines())


@pytest.fixture
def api(server: RealServer) -> Api:
    return server.api
