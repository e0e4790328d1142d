"""What the tests of the API have in common: clients that check every answer, a second account, a quiet server."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from maskline.clock import SystemClock
from maskline.datadir import new_account, open_store, open_vault
from maskline.domain.directory import read_address
from maskline.domain.ids import ServiceSid
from maskline.flows.numbers import new_entry, new_number
from maskline.mint import Mint, secret
from maskline.store.accounts import insert_account
from maskline.store.engine import Tx
from maskline.store.numbers import insert_number
from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.server import ACCOUNT_SID, RealServer


def beside(server: RealServer, fn: Callable[..., Any], *args: Any) -> None:
    """Write to a server's database as the command line does."""

    async def write() -> None:
        settings = server.settings
        store = await open_store(settings, SystemClock(), open_vault(settings), serve=False)
        try:
            await store.write(fn, *args)
        finally:
            await store.close()

    asyncio.run(write())


@pytest.fixture
def api(server: RealServer) -> CheckedApi:
    return CheckedApi(server.url)


@pytest.fixture(scope="session")
def write_beside(server: RealServer) -> Callable[..., None]:
    """Write to the server's database as the command line does."""
    return lambda fn, *args: beside(server, fn, *args)


@pytest.fixture(scope="session")
def another(server: RealServer) -> Callable[[], CheckedApi]:
    """Make one more account on the same server."""

    def another() -> CheckedApi:
        token, clock = secret(), SystemClock()
        vault = open_vault(server.settings)
        account = new_account(Mint(clock), vault, clock, None, token, "another")
        beside(server, insert_account, account)
        return CheckedApi(server.url, account.sid, token)

    return another


@pytest.fixture(scope="session")
def stranger(another: Callable[[], CheckedApi]) -> CheckedApi:
    """Another account on the same server."""
    return another()


@pytest.fixture
def carry(server: RealServer, api: CheckedApi) -> Callable[..., str]:
    """Write a number with chosen abilities into the directory, and give its SID."""

    def carry(phone_number: str, **abilities: bool) -> str:
        clock = SystemClock()
        sid = Mint(clock).sid("PN")
        number = new_number(sid, phone_number, api.account_sid, "sandbox", clock.now())

        def write(tx: Tx) -> None:
            insert_number(tx, number)
            for name, able in abilities.items():
                tx.execute(f"UPDATE numbers SET {name} = ? WHERE sid = ?", (int(able), sid))  # noqa: S608

        beside(server, write)
        return sid

    return carry


@pytest.fixture
def wire(server: RealServer, api: CheckedApi) -> Callable[..., str]:
    """Put a channel sender into the directory, wired to a Service or to none, and give its SID."""

    def wire(address: str, service_sid: str | None, account_sid: str = api.account_sid) -> str:
        clock = SystemClock()
        sender = read_address(address)
        number = new_entry(Mint(clock).sid(sender.kind), sender, account_sid, "sandbox", clock.now())
        beside(server, insert_number, replace(number, service_sid=service_sid and ServiceSid(service_sid)))
        return number.sid

    return wire


@pytest.fixture(scope="session")
def carry_code_on() -> Callable[[RealServer, str], str]:
    """Write a short code of the United States into a server's directory, and give its SID."""

    def carry_code(server: RealServer, digits: str) -> str:
        clock = SystemClock()
        sid = Mint(clock).sid("SC")
        address = read_address(digits, "US")
        beside(server, insert_number, new_entry(sid, address, ACCOUNT_SID, "sandbox", clock.now()))
        return sid

    return carry_code


@pytest.fixture
def carry_code(server: RealServer, carry_code_on: Callable[[RealServer, str], str]) -> Callable[[str], str]:
    """The same on the server of most tests."""
    return lambda digits: carry_code_on(server, digits)


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server for tests that compare all that is stored before with all that is stored after."""
    server = RealServer(tmp_path_factory.mktemp("quiet") / "data").start()
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture(scope="session")
def stored(quiet: RealServer) -> Callable[[], dict[str, Any]]:
    """All rows of all tables of the quiet server."""

    def stored() -> dict[str, Any]:
        path = quiet.data / "maskline.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables}  # noqa: S608

    # What its first sweep writes down is not what anybody has asked for.
    eventually(lambda: "sweeper" in dict(stored()["meta"]))
    return stored


@pytest.fixture(scope="session")
def intake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckedApi]:
    """A server that answers each message as soon as it is stored, for tests that need many."""
    server = RealServer(
        tmp_path_factory.mktemp("intake") / "data", environment={"MASKLINE_SEND_WAIT_MS": "0"}
    ).start()
    yield CheckedApi(server.url)
    assert server.stop() == 0, server.log()
