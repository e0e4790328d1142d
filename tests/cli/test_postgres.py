"""The commands on a PostgreSQL database: the same ones, which find it in the environment."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result
from psycopg.conninfo import conninfo_to_dict

from maskline.store import postgres
from maskline.store.dialect import translate_schema
from maskline.store.migrate import migrations, schema_version, statements
from tests.cli.conftest import Process
from tests.support.eventually import eventually
from tests.support.postgres import ENGINES, PostgresServer
from tests.support.server import RealServer
from tests.support.world import Pair, fresh_number, make_pair

Invoke = Callable[..., Result]

pytestmark = pytest.mark.skipif("postgres" not in ENGINES, reason="PostgreSQL is not usable here")

KEY = "5e" * 32
NEWEST = migrations()[-1][0]


@pytest.fixture
def url(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with nothing in it, which the environment names."""
    url = postgres.fresh()
    monkeypatch.setenv("MASKLINE_DATABASE_URL", url)
    monkeypatch.setenv("MASKLINE_SECRET_KEY", KEY)
    monkeypatch.setenv("MASKLINE_PORT", "0")
    return url


@pytest.fixture
def server(tmp_path: Path, url: str) -> Iterator[RealServer]:
    environment = {"MASKLINE_DATABASE_URL": url, "MASKLINE_ALLOW_PRIVATE_WEBHOOKS": "true"}
    server = RealServer(tmp_path / "data", environment=environment).start()
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture
def pair(server: RealServer) -> Pair:
    """Two people, and a message to the first."""
    pair = make_pair(server.api)
    pair.send(pair.first, "hello")
    return pair


@pytest.fixture
def command(invoke: Invoke) -> Callable[..., Any]:
    """Run a command that must succeed; what it says in JSON."""

    def run(*arguments: str) -> Any:
        result = invoke(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


def change(url: str, sql: str, *values: Any) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(sql, values)


def set_schema(url: str, version: int) -> None:
    change(url, "UPDATE meta SET value = %s WHERE name = 'schema_version'", str(version))


# serve, and what goes on beside it


def test_the_first_start_makes_everything_and_the_next_finds_it(
    serving: Callable[..., Process], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASKLINE_DATABASE_URL")
    first = serving("--database-url", url)
    sid = first.told("Account SID")
    assert first.told("Auth token") == "in data/account.env"
    assert first.stop() == (0, "")
    second = serving("--database-url", url)
    assert second.told("Account SID") == sid
    assert second.stop() == (0, "")
    assert [path.name for path in Path("data").iterdir()] == ["account.env"]


def test_every_scene_is_played(server: RealServer, invoke: Invoke) -> None:
    played = invoke(
        *("play", "all", "--url", server.url),
        MASKLINE_ACCOUNT_SID=server.api.account_sid,
        MASKLINE_AUTH_TOKEN=server.api.token,
    )
    assert played.exit_code == 0, played.output
    assert "NOT GOOD" not in played.output


def test_commands_work_beside_the_server(server: RealServer, pair: Pair, command: Callable[..., Any]) -> None:
    service = pair.service["sid"]
    account = command("accounts", "create", "second")
    assert [a["sid"] for a in command("accounts", "list")] == [server.api.account_sid, account["sid"]]
    key = command("keys", "create", "--account", server.api.account_sid)
    assert server.api.get("/v1/Services").status == 200
    assert [k["sid"] for k in command("keys", "list", "--account", server.api.account_sid)] == [key["sid"]]
    number = fresh_number()
    command("numbers", "add", number, "--account", server.api.account_sid, "--service", service)
    assert number in {row["phone_number"] for row in command("numbers", "list")}
    command("optouts", "add", pair.first["identifier"], "--service", service)
    (optout,) = command("optouts", "list", "--service", service)
    refused = pair.send(pair.first, "not wanted")
    command("optouts", "remove", optout["sid"], "--service", service)
    (event,) = command("events", "list", "--interaction", refused["sid"])
    assert event["error_code"] == "21610"
    held = command("people", "show", pair.first["identifier"], "--service", service)
    assert held["texts"] == 2
    assert command("callbacks", "list") == []
    pair.api.make(pair.session["url"], {"Status": "closed"})
    change(
        server.environment["MASKLINE_DATABASE_URL"], "UPDATE sessions SET ended_at = ended_at - 86400000000"
    )
    assert command("prune", "--days", "1") == {"days": 1, "sessions_deleted": 1}
    assert server.api.get(pair.session["url"]).status == 404


def test_a_backup_is_not_ours_to_make(server: RealServer, invoke: Invoke) -> None:
    refused = invoke("backup", "copy.db")
    assert refused.exit_code == 2
    assert "use pg_dump" in refused.output and "docs/how-to/use-postgresql.md" in refused.output


# migrate


def test_migrate_makes_and_checks_the_schema(url: str, invoke: Invoke) -> None:
    checked = invoke("migrate", "--check")
    assert (checked.exit_code, "the database is not there" in checked.output) == (1, True)
    assert "there is no database" in invoke("accounts", "list").output
    made = invoke("migrate")
    assert (made.exit_code, made.output) == (0, "Made the database in the PostgreSQL database.\n")
    assert invoke("migrate", "--check").output == f"Up to date: schema {NEWEST}.\n"


def test_an_older_schema_is_refused_until_it_is_migrated(
    url: str, invoke: Invoke, started: Callable[..., Process]
) -> None:
    assert invoke("migrate").exit_code == 0
    set_schema(url, NEWEST - 1)
    said = "the database has an older schema; run `maskline migrate`"
    assert started("serve").end() == (1, f"Error: {said}\n")
    assert said in invoke("accounts", "list").output
    checked = invoke("migrate", "--check")
    assert (checked.exit_code, f"has schema {NEWEST - 1}, which is not" in checked.output) == (1, True)


def make_schema(url: str, version: int) -> None:
    """What a release that knew no newer one has left."""
    with psycopg.connect(url) as connection:
        schema_version(connection.execute)  # which makes the table for it
        for number, text in migrations():
            for statement in statements(text, translate_schema) if number <= version else []:
                connection.execute(statement.encode())
        connection.execute("INSERT INTO meta VALUES ('schema_version', %s)", (str(version),))


class Reader:
    """Has read numbers, and goes on to the outbox as soon as a migration that has changed that waits for the numbers.
    A context.
    """

    WAITS = "SELECT 1 FROM pg_locks WHERE relation = 'numbers'::regclass AND NOT granted"

    def __init__(self, url: str) -> None:
        self._url = url
        self._reading = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._reading.wait(30)

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _read(self) -> None:
        with psycopg.connect(self._url) as connection, psycopg.connect(self._url) as looking:
            connection.execute("SET deadlock_timeout = '1min'")  # the other one is the one to lose
            connection.execute("SELECT count(*) FROM numbers")
            self._reading.set()
            eventually(lambda: looking.execute(self.WAITS).fetchone(), 30)
            connection.execute("SELECT count(*) FROM outbox")


def test_a_migration_is_begun_again_where_it_met_somebody_who_reads(url: str, invoke: Invoke) -> None:
    """Servers of the release before go on reading meanwhile, in an order of their own."""
    make_schema(url, 4)
    with Reader(url):
        migrated = invoke("migrate")
    assert (migrated.exit_code, migrated.output) == (0, "The database is up to date.\n")
    assert invoke("migrate", "--check").output == f"Up to date: schema {NEWEST}.\n"


def test_a_newer_schema_is_refused(url: str, invoke: Invoke, started: Callable[..., Process]) -> None:
    assert invoke("migrate").exit_code == 0
    set_schema(url, NEWEST + 1)
    code, said = started("serve").end()
    assert code == 1 and f"the database has schema {NEWEST + 1}" in said


# doctor


def examine(invoke: Invoke, **environment: str) -> tuple[int, dict[str, str]]:
    """The exit code, and what is wrong by name."""
    result = invoke("doctor", "--json", **environment)
    said = json.loads(result.stdout)
    assert said["ok"] == (result.exit_code == 0)
    assert all(bool(check["remedy"]) != check["ok"] for check in said["checks"])
    return result.exit_code, {check["name"]: check["says"] for check in said["checks"] if not check["ok"]}


def test_doctor_before_and_after_the_first_start(
    url: str, invoke: Invoke, serving: Callable[..., Process]
) -> None:
    relaxed = {"setting fsync", "setting full_page_writes"}
    assert examine(invoke)[1].keys() == relaxed, "the tests' server is told to be quick"
    server = serving()
    text = invoke("doctor").output
    assert "database: PostgreSQL " in text
    assert "servers: 1 process has the database now" in text
    assert "ok      clock: the server's is 0.0" in text
    assert f"ok      schema: {NEWEST}, the newest" in text
    assert "secret key: the secret key given fits the database" in text
    assert server.stop() == (0, "")
    assert "servers:" not in invoke("doctor").output


@pytest.mark.parametrize("value", ["off", "local"])
def test_what_is_told_is_what_holds_for_our_connections(url: str, invoke: Invoke, value: str) -> None:
    """A database may be relaxed about its commits; ours wait all the same."""
    change(
        url, "ALTER DATABASE {} SET synchronous_commit = {}".format(conninfo_to_dict(url)["dbname"], value)
    )
    assert "setting synchronous_commit" not in examine(invoke)[1]
    with postgres.opened(url) as (execute, _):
        assert execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_a_server_that_counts_no_rows_is_found(url: str, invoke: Invoke) -> None:
    assert "setting track_counts" not in examine(invoke)[1]
    change(url, "ALTER DATABASE {} SET track_counts = off".format(conninfo_to_dict(url)["dbname"]))
    assert "planned by what was there once" in examine(invoke)[1]["setting track_counts"]


def test_too_few_connections_are_found(url: str, invoke: Invoke) -> None:
    for readers, takes in (("4", 7), ("1", 4)):
        said = examine(invoke, MASKLINE_WORKERS="1000", MASKLINE_DATABASE_READERS=readers)[1]["connections"]
        assert f"a process takes {takes}" in said


def test_another_key_is_found(url: str, invoke: Invoke) -> None:
    assert invoke("migrate").exit_code == 0
    wrong = examine(invoke, MASKLINE_SECRET_KEY="1" * 64)[1]
    assert wrong["secret key"] == "the secret key given is not the one that this database was made with"


def test_a_user_without_rights_is_told(postgres: PostgresServer, url: str, invoke: Invoke) -> None:
    change(url, "CREATE ROLE guest LOGIN")
    try:
        as_guest = url.replace("postgres@", "guest@")
        assert "rights" in examine(invoke, MASKLINE_DATABASE_URL=as_guest)[1]
        refused = invoke("migrate", MASKLINE_DATABASE_URL=as_guest)
        assert (refused.exit_code, "permission denied for schema public" in refused.output) == (1, True)
    finally:
        change(url, "DROP ROLE guest")


# What cannot be reached, and what nobody may read


@pytest.mark.parametrize(
    "wrong",
    [
        "postgresql://us:se%zzcret@/x",
        "postgresql://us:secret@/x?no_such_setting=1",
        "postgresql://us:sec@ret@localhost:1/x",
        "postgresql://us:sec/ret@localhost:1/x",
        "postgresql://us:secret@localhost:1/x",
        "postgresql://us:secret@no.such.host.invalid/x",
    ],
)
@pytest.mark.parametrize(
    "arguments", [("serve",), ("doctor",), ("migrate",), ("accounts", "list")], ids="/".join
)
def test_the_password_of_the_url_is_never_told(
    url: str, invoke: Invoke, arguments: tuple[str, ...], wrong: str
) -> None:
    result = invoke(*arguments, MASKLINE_DATABASE_URL=wrong)
    assert result.exit_code in (1, 2)
    assert "database" in result.output
    assert not any(part in result.output for part in ("zzcret", "secret", "sec@", "ret@", '"sec"'))
