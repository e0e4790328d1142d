"""Backups of a PostgreSQL database as the how-to makes them, restored: never again what the original has done since."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result

from tests.support.eventually import eventually
from tests.support.postgres import ENGINES, PostgresServer
from tests.support.server import Api, RealServer
from tests.support.world import make_pair, make_service

Invoke = Callable[..., Result]
Servers = Callable[..., RealServer]

pytestmark = pytest.mark.skipif("postgres" not in ENGINES, reason="PostgreSQL is not usable here")

KEY = "5e" * 32
HANDED_OVER = "SELECT reference FROM sandbox_messages WHERE direction = 'to_handset' ORDER BY 1"
WAITING = "SELECT interaction_sid FROM outbox WHERE topic = 'send' ORDER BY 1"
UNKNOWN = "SELECT sid FROM interactions WHERE outbound_status = 30 ORDER BY 1"
EVENTS = "SELECT interaction_sid FROM events WHERE code = 49001 AND interaction_sid IS NOT NULL ORDER BY 1"
MARKED = "SELECT count(*) FROM meta WHERE name = 'backed_up_at'"
LONG_AGO = "UPDATE runs SET seen_at = least(seen_at, seen_at - 60000000)"
"""The originals were not alive a moment ago, as they are in no restore but a test's."""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Make a server on this database; what still runs in the end is killed."""
    made: list[RealServer] = []

    def server(url: str, role: str = "all") -> RealServer:
        environment = {
            "MASKLINE_DATABASE_URL": url,
            "MASKLINE_SECRET_KEY": KEY,
            "MASKLINE_ROLE": role,
            "MASKLINE_SEND_WAIT_MS": "0",
        }
        made.append(RealServer(tmp_path / f"data{len(made)}", environment=environment).start())
        return made[-1]

    yield server
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.kill()


def write(api: Api, count: int) -> None:
    """So many messages to each of eight people."""
    service = make_service(api)
    pairs = [make_pair(api, service) for _ in range(4)]
    paths = [pair.messages_path(one) for pair in pairs for one in (pair.first, pair.second)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: [api.make(path, {"Body": f"{i}"}) for i in range(count)], paths))


def change(url: str, sql: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(sql)


def deliver(servers: Servers, url: str) -> list[Any]:
    """The original goes on until everything is delivered; what it has handed over."""
    server = servers(url)
    eventually(lambda: not server.rows(WAITING), 30)
    assert server.stop() == 0
    return server.rows(HANDED_OVER)


def mark(invoke: Invoke, url: str) -> Result:
    return invoke("migrate", "--restored", MASKLINE_DATABASE_URL=url, MASKLINE_SECRET_KEY=KEY)


def check_nothing_is_sent_twice(servers: Servers, url: str, handed_over: list[Any]) -> None:
    """What waited in this copy is given up by the first server on it, which then works as any."""
    with psycopg.connect(url) as connection:
        waited, sent = (connection.execute(sql).fetchall() for sql in (WAITING, HANDED_OVER))
    assert waited and len(waited) + len(sent) == len(handed_over)
    restored = servers(url)
    assert restored.rows(UNKNOWN) == restored.rows(EVENTS) == waited
    assert restored.rows(HANDED_OVER) == sent
    assert restored.rows(MARKED) == [(0,)]
    write(restored.api, 1)
    eventually(lambda: not restored.rows(WAITING), 30)
    assert len(restored.rows(HANDED_OVER)) == len(sent) + 8
    assert restored.stop() == 0


def test_a_dump(postgres: PostgresServer, servers: Servers, invoke: Invoke, tmp_path: Path) -> None:
    original, copy = postgres.fresh(), postgres.fresh()
    accepting = servers(original, "api")
    write(accepting.api, 2)
    postgres.run("pg_dump", "--format=custom", f"--file={tmp_path / 'maskline.dump'}", f"--dbname={original}")
    postgres.run("pg_restore", f"--dbname={copy}", str(tmp_path / "maskline.dump"))
    assert accepting.stop() == 0
    handed_over = deliver(servers, original)
    assert len(handed_over) == 16
    change(copy, LONG_AGO)
    marked = mark(invoke, copy)
    assert marked.exit_code == 0 and "Marked as a copy of 20" in marked.output, marked.output
    check_nothing_is_sent_twice(servers, copy, handed_over)


def test_a_base_backup_and_the_log(
    servers: Servers, invoke: Invoke, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What was accepted after the base backup comes from the log."""
    first, second, log = (tmp_path_factory.mktemp(name) for name in ("first", "second", "log"))
    archiving = ("fsync=off", "archive_mode=on", f"archive_command=cp %p {log}/%f")
    server = PostgresServer(first, archiving).start()
    again = PostgresServer(second, ("fsync=off", f"restore_command=cp {log}/%f %p"))
    try:
        url = server.fresh()
        accepting = servers(url, "api")
        write(accepting.api, 1)
        server.run("pg_basebackup", "--checkpoint=fast", f"--pgdata={again.data}", f"--dbname={server.url()}")
        write(accepting.api, 1)
        assert accepting.stop() == 0
        with psycopg.connect(url, autocommit=True) as connection:
            (done,) = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone() or ("",)
        eventually((log / done).exists, 30)
        handed_over = deliver(servers, url)
        (again.data / "recovery.signal").touch()
        again.start()
        copy = again.url(url.partition("?")[0].rpartition("/")[2])
        eventually(lambda: is_primary(copy), 30)
        change(copy, LONG_AGO)
        assert mark(invoke, copy).exit_code == 0
        check_nothing_is_sent_twice(servers, copy, handed_over)
    finally:
        for one in (server, again):
            if (one.data / "postmaster.pid").exists():
                one.stop()


def is_primary(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)


def test_what_is_served_is_no_copy(postgres: PostgresServer, servers: Servers, invoke: Invoke) -> None:
    url = postgres.fresh()
    server = servers(url)
    refused = mark(invoke, url)
    assert refused.exit_code == 1
    assert "less than 15 seconds ago; stop the servers" in refused.output
    assert server.rows(MARKED) == [(0,)]


def test_what_is_not_there_is_not_marked(postgres: PostgresServer, invoke: Invoke) -> None:
    refused = mark(invoke, postgres.fresh())
    assert refused.exit_code == 1 and "restore it first" in refused.output
    both = invoke("migrate", "--restored", "--check")
    assert both.exit_code == 2 and "give one of them" in both.output


def test_two_that_start_at_once_give_up_each_message_once(
    postgres: PostgresServer, servers: Servers, invoke: Invoke
) -> None:
    url = postgres.fresh()
    accepting = servers(url, "api")
    write(accepting.api, 10)
    accepting.kill()
    change(url, LONG_AGO)
    assert mark(invoke, url).exit_code == 0
    with psycopg.connect(url) as connection:
        waited = connection.execute(WAITING).fetchall()
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(servers, [url, url])
    assert one.rows(UNKNOWN) == two.rows(EVENTS) == waited
    for server in (one, two):
        write(server.api, 1)
    eventually(lambda: not one.rows(WAITING), 30)
    assert len(one.rows(HANDED_OVER)) == 16
    assert one.rows(UNKNOWN) == waited
