"""`migrate --distribute`: on Citus, where that is, and what is said where it is not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result

from maskline.store.citus import DISTRIBUTED
from tests.support.citus import STAND_IN
from tests.support.eventually import eventually
from tests.support.kannel import free_ports
from tests.support.postgres import ENGINES, FAST, PostgresServer
from tests.support.server import RealServer
from tests.support.world import Pair, make_pair

Invoke = Callable[..., Result]

pytestmark = pytest.mark.skipif("postgres" not in ENGINES, reason="PostgreSQL is not usable here")


def named(monkeypatch: pytest.MonkeyPatch, url: str) -> str:
    """The environment names this database."""
    monkeypatch.setenv("MASKLINE_DATABASE_URL", url)
    monkeypatch.setenv("MASKLINE_SECRET_KEY", "5e" * 32)
    return url


@pytest.fixture
def url(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with nothing in it, without Citus."""
    return named(monkeypatch, postgres.fresh())


@pytest.fixture
def citus(postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that is a cluster of itself."""
    if not ask(postgres.url(), "SELECT 1 FROM pg_available_extensions WHERE name = 'citus'"):
        pytest.skip("PostgreSQL here has no Citus extension")
    (port,) = free_ports(1)
    own = ("shared_preload_libraries=citus", "listen_addresses=localhost", f"port={port}")
    server = PostgresServer(tmp_path, (*FAST, *own)).start()
    url = f"postgresql://postgres@localhost:{port}/postgres"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION citus")
    yield named(monkeypatch, url)
    server.stop()


def ask(url: str, question: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(question.encode()).fetchall()


def served(data: Path, url: str) -> RealServer:
    return RealServer(data, environment={"MASKLINE_DATABASE_URL": url}).start()


def bodies(server: RealServer, pair: Pair) -> list[str]:
    """What has reached the handset of the first of them, the last text first."""
    handset = f"/sandbox/messages?To=%2B{pair.first['identifier'][1:]}"
    return [one["body"] for one in server.api.get(handset).json["messages"]]


def test_a_conversation_goes_on_over_distributed_tables(citus: str, tmp_path: Path, invoke: Invoke) -> None:
    server = served(tmp_path / "data", citus)
    pair = make_pair(server.api)
    pair.send(pair.first, "before")
    assert server.stop() == 0
    done = invoke("migrate", "--distribute")
    assert done.exit_code == 0, done.output
    spread = ask(citus, "SELECT logicalrelid::text FROM pg_dist_partition WHERE partmethod = 'h'")
    assert {table for (table,) in spread} == {*DISTRIBUTED}
    again = invoke("migrate", "--distribute")
    assert (again.exit_code, "Distributed" in again.output) == (0, False)
    server = served(tmp_path / "data", citus)
    pair.api.url = server.url
    pair.send(pair.first, "after")
    eventually(lambda: bodies(server, pair) == ["after", "before"])
    text = {"From": pair.second["identifier"], "To": pair.second["proxy_identifier"], "Body": "a text"}
    server.api.make("/sandbox/messages", text)
    eventually(lambda: bodies(server, pair) == ["a text", "after", "before"])
    assert make_pair(server.api).session["sid"] != pair.session["sid"]
    assert server.stop() == 0


def test_without_citus_it_says_what_is_missing(url: str, invoke: Invoke) -> None:
    refused = invoke("migrate", "--distribute")
    assert refused.exit_code == 1
    assert "no Citus extension" in refused.output
    assert "Traceback" not in refused.output
    assert ask(url, "SELECT to_regclass('meta')") == [(None,)]  # nor is anything made there


def test_each_table_is_told(url: str, invoke: Invoke) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(STAND_IN)
    done = invoke("migrate", "--distribute")
    assert done.exit_code == 0, done.output
    told = [f"Distributed {table}." for table in DISTRIBUTED]
    assert done.output.splitlines()[1:] == [*told, "All large tables are distributed."]
    again = invoke("migrate", "--distribute")
    assert again.output.splitlines()[1:] == ["All large tables are distributed."]


def test_what_is_served_is_not_distributed(url: str, tmp_path: Path, invoke: Invoke) -> None:
    server = served(tmp_path / "data", url)
    refused = invoke("migrate", "--distribute")
    assert server.stop() == 0
    assert refused.exit_code == 1
    assert "stop the servers" in refused.output


def test_only_postgresql_can_be_distributed(invoke: Invoke) -> None:
    refused = invoke("migrate", "--distribute", "--data", "data")
    assert refused.exit_code == 1
    assert "only a PostgreSQL database" in refused.output
    assert invoke("migrate", "--distribute", "--check", "--data", "data").exit_code == 2
