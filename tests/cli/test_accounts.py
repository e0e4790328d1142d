"""Accounts and numbers, made beside a running server."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, Api, RealServer

Invoke = Callable[..., Result]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    """A server on the data directory `data`, whose first account is given."""
    server = RealServer(tmp_path / "data").start()
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture
def database(invoke: Invoke) -> None:
    """A database in the data directory `data`, without a server and without accounts."""
    assert invoke("migrate", "--data", "data").exit_code == 0


def is_let_in(server: RealServer, sid: str, token: str, scheme: str = "Basic") -> bool:
    """`scheme`: another spelling makes another header, which the server cannot have remembered."""
    api = Api(server.url, sid, token)
    header = api._auth.replace("Basic", scheme)
    return api.get("/v1/Services", headers={"Authorization": header}).status == 200


def test_a_new_account_is_let_in_at_once(server: RealServer, invoke: Invoke) -> None:
    made = json.loads(invoke("accounts", "create", "Shop", "--data", "data", "--json").stdout)
    assert made["friendly_name"] == "Shop"
    assert is_let_in(server, made["sid"], made["auth_token"])
    assert not is_let_in(server, made["sid"], AUTH_TOKEN)
    listed = json.loads(invoke("accounts", "list", "--data", "data", "--json").stdout)
    assert [account["sid"] for account in listed] == [ACCOUNT_SID, made["sid"]]
    assert "auth_token" not in listed[1]
    shown = invoke("accounts", "list", "--data", "data").stdout
    assert made["sid"] in shown and made["auth_token"] not in shown


def test_a_rotated_token_works_beside_the_previous_one(server: RealServer, invoke: Invoke) -> None:
    rotated = invoke("accounts", "rotate-token", ACCOUNT_SID, "--data", "data", "--json")
    second = json.loads(rotated.stdout)["auth_token"]
    assert is_let_in(server, ACCOUNT_SID, second)
    assert is_let_in(server, ACCOUNT_SID, AUTH_TOKEN)
    assert json.loads(invoke("accounts", "list", "--data", "data", "--json").stdout)[0][
        "previous_token_valid"
    ]

    dropped = invoke("accounts", "rotate-token", ACCOUNT_SID, "--drop-previous", "--data", "data")
    assert "no longer valid" in dropped.stdout
    for token in (AUTH_TOKEN, second):
        assert not is_let_in(server, ACCOUNT_SID, token, "basic")


def test_a_rotation_keeps_the_first_account_file_true(server: RealServer, invoke: Invoke) -> None:
    made = json.loads(invoke("accounts", "create", "--data", "data", "--json").stdout)
    file = Path("data/account.env")
    file.write_text(f"MASKLINE_ACCOUNT_SID={made['sid']}\nMASKLINE_AUTH_TOKEN={made['auth_token']}\n")
    arguments = ("accounts", "rotate-token", made["sid"], "--data", "data", "--json")
    token = json.loads(invoke(*arguments).stdout)["auth_token"]
    assert file.read_text().splitlines()[1] == f"MASKLINE_AUTH_TOKEN={token}"
    # Where the settings give the token, they have the last word, and that is said.
    told = invoke(*arguments, MASKLINE_ACCOUNT_SID=made["sid"], MASKLINE_AUTH_TOKEN=token)
    assert "the next start sets it back" in told.stderr


def test_a_number_that_was_added_can_join_a_pool(server: RealServer, invoke: Invoke) -> None:
    added = invoke("numbers", "add", "+14155550100", "--no-voice", "--no-mms", "--data", "data", "--json")
    number = json.loads(added.stdout)
    assert (number["account_sid"], number["capabilities"]) == (ACCOUNT_SID, ["sms"])
    service = server.api.make("/v1/Services", {"UniqueName": "a"})
    joined = server.api.make(f"/v1/Services/{service['sid']}/PhoneNumbers", {"Sid": number["sid"]})
    assert joined["phone_number"] == "+14155550100"
    assert (joined["capabilities"]["sms_inbound"], joined["capabilities"]["voice_inbound"]) == (True, False)
    (listed,) = json.loads(invoke("numbers", "list", "--data", "data", "--json").stdout)
    assert listed == {**number, "service_sid": service["sid"]}


@pytest.mark.usefixtures("database")
def test_whose_number_it_is_must_be_clear(invoke: Invoke) -> None:
    def add(*arguments: str) -> Result:
        return invoke("numbers", "add", "+14155550100", *arguments, "--data", "data")

    def create() -> str:
        return json.loads(invoke("accounts", "create", "--data", "data", "--json").stdout)["sid"]

    assert (add().exit_code, add("--account", ACCOUNT_SID).exit_code) == (1, 1)
    first, second = create(), create()
    assert "--account" in (unclear := add()).output and unclear.exit_code == 2
    assert second in add("--account", second).output
    again = add("--account", first)
    assert again.exit_code == 1 and f"of account {second}" in again.output
    assert second in invoke("numbers", "list", "--data", "data").output
    assert second not in invoke("numbers", "list", "--account", first, "--data", "data").output


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["numbers", "add", "+1415"], {}, 2, "E.164"),
        (["numbers", "add", "+14155550100"], {"MASKLINE_SANDBOX": "off"}, 2, "the sandbox is off"),
        (["numbers", "add", "+14155550100", "--carrier", "pigeon"], {}, 2, "'pigeon'"),
        (["accounts", "rotate-token", "AC1"], {}, 2, "32 hexadecimal digits"),
        (["accounts", "rotate-token", ACCOUNT_SID], {}, 1, "there is no account"),
        (["accounts", "list"], {"MASKLINE_SECRET_KEY": "0" * 64}, 1, "another secret key"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    invoke: Invoke, arguments: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    result = invoke(*arguments, "--data", "data", **environment)
    assert (result.exit_code, said in result.output) == (code, True)


@pytest.mark.parametrize("command", [["accounts", "create"], ["numbers", "list"]])
def test_a_mistyped_directory_makes_no_database(invoke: Invoke, command: list[str]) -> None:
    result = invoke(*command, "--data", "dta")
    assert result.exit_code == 1
    assert "there is no database in dta" in result.output
    assert not Path("dta").exists()


def set_schema(version: int) -> None:
    with closing(sqlite3.connect("data/maskline.db")) as connection, connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", (str(version),))


def test_migrate_makes_a_database_and_says_what_is_missing(invoke: Invoke) -> None:
    check = ("migrate", "--check", "--data", "data")
    missing = invoke(*check)
    assert missing.exit_code == 1 and "is not there" in missing.output
    assert not Path("data").exists()
    made = invoke("migrate", "--data", "data")
    assert (made.exit_code, made.output) == (0, "Made the database in data.\n")
    assert invoke(*check).exit_code == 0
    assert invoke("migrate", "--data", "data").output.startswith("Up to date")
    set_schema(0)
    assert invoke(*check).exit_code == 1


@pytest.mark.usefixtures("database")
def test_a_database_that_is_newer_is_left_alone(invoke: Invoke) -> None:
    set_schema(99)
    for command in (["migrate"], ["migrate", "--check"], ["accounts", "list"]):
        result = invoke(*command, "--data", "data")
        assert result.exit_code == 1
        assert "the database has schema 99" in result.output


def test_a_database_that_is_served_is_not_migrated(server: RealServer, invoke: Invoke) -> None:
    set_schema(0)
    assert "run `maskline migrate`" in invoke("migrate", "--check", "--data", "data").output
    refused = invoke("migrate", "--data", "data")
    assert (refused.exit_code, "another maskline server" in refused.output) == (2, True)
    set_schema(1)


URL = "https://ann:secret@shop.example/events?key=hidden#rc=2"


def test_events_are_sent_where_an_account_wants_them(server: RealServer, invoke: Invoke) -> None:
    account = ("accounts", "events-url", ACCOUNT_SID)
    said = invoke(*account, URL, "--data", "data")
    assert (said.exit_code, "to https://shop.example/events from now on" in said.stdout) == (0, True)
    assert server.rows("SELECT events_url FROM accounts") == [(URL,)]
    listed = invoke("accounts", "list", "--data", "data", "--json").stdout
    assert json.loads(listed)[0]["events_url"] == "https://shop.example/events"
    assert "secret" not in listed and "hidden" not in listed
    made = json.loads(invoke(*account, "--off", "--data", "data", "--json").stdout)
    assert made["events_url"] is None
    assert server.rows("SELECT events_url FROM accounts") == [(None,)]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((ACCOUNT_SID,), 2, "give a URL, or --off"),
        ((ACCOUNT_SID, URL, "--off"), 2, "give a URL, or --off"),
        ((ACCOUNT_SID, "shop.example"), 2, "an absolute http or https URL"),
        ((ACCOUNT_SID, f"https://shop.example/{'x' * 4000}"), 2, "at most 4000 characters"),
        ((ACCOUNT_SID, "https://masked.example:443/v1/Services"), 2, "leads to the server itself"),
        (("AC1", URL), 2, "AC and 32 hexadecimal digits"),
        (("AC" + "0" * 32, URL), 1, "there is no account AC0"),
    ],
)
def test_where_events_cannot_be_sent_is_refused_and_nothing_is_changed(
    server: RealServer, invoke: Invoke, arguments: tuple[str, ...], code: int, says: str
) -> None:
    home = {"MASKLINE_PUBLIC_URL": "https://masked.example"}
    result = invoke("accounts", "events-url", *arguments, "--data", "data", **home)
    assert (result.exit_code, says in result.stderr) == (code, True), result.output
    assert "secret" not in result.output
    assert server.rows("SELECT events_url FROM accounts") == [(None,)]
