"""`maskline optouts`: listed, written down, ended; whole files of them, beside a server that goes on working."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from maskline import cli_optouts
from tests.support.server import RealServer
from tests.support.world import Pair, make_pair, make_service

Invoke = Callable[..., Result]
Command = Callable[..., Any]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    """A server on the data directory `data`."""
    server = RealServer(tmp_path / "data").start()
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture
def pair(server: RealServer) -> Pair:
    return make_pair(server.api)


@pytest.fixture
def command(invoke: Invoke) -> Command:
    """Run a command that must succeed, and give its JSON."""

    def run(*arguments: str) -> Any:
        result = invoke("optouts", *arguments, "--data", "data", "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


@pytest.fixture
def load(invoke: Invoke) -> Callable[..., Result]:
    """Import a file of these lines."""

    def load(*lines: str, encoding: str = "utf-8") -> Result:
        Path("people.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
        return invoke("optouts", "import", "people.csv", "--data", "data")

    return load


def test_an_opt_out_is_added_listed_and_removed(pair: Pair, command: Command) -> None:
    ann = pair.first["identifier"]
    made = command("add", ann)
    assert (made["identifier"], made["proxy_identifier"], made["source"]) == (ann, None, "api")
    assert command("add", ann) == made
    assert command("list") == [made]
    assert pair.api.get(f"/v1/Services/{pair.service['sid']}/OptOuts/{made['sid']}").json["identifier"] == ann
    assert command("remove", ann) == {**made, "removed": True}
    assert command("list") == []


def test_one_from_a_single_number_is_removed_by_its_number_or_by_its_sid(
    pair: Pair, command: Command
) -> None:
    ann, proxy = pair.first["identifier"], pair.first["proxy_identifier"]
    for end in ([ann, "--proxy", proxy], None):
        made = command("add", ann, "--proxy", proxy)
        assert made["proxy_identifier"] == proxy
        assert command("remove", *(end or [made["sid"]]))["sid"] == made["sid"]
    assert command("list") == []


def test_what_is_said_is_for_people(pair: Pair, invoke: Invoke) -> None:
    ann, proxy = pair.first["identifier"], pair.first["proxy_identifier"]
    said = invoke("optouts", "add", ann, "--data", "data").stdout
    assert said.startswith(f"{ann} opts out of messages of {pair.service['sid']} (OO")
    assert "had opted out already" in invoke("optouts", "add", ann, "--data", "data").stdout
    invoke("optouts", "add", ann, "--proxy", proxy, "--data", "data")
    head, *rows = invoke("optouts", "list", "--data", "data").stdout.splitlines()
    assert head.split() == ["SID", "SERVICE", "IDENTIFIER", "FROM", "SOURCE", "CREATED"]
    assert [row.split()[3] for row in rows] == [proxy, "(all)"]
    assert "has ended" in invoke("optouts", "remove", ann, "--data", "data").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["add", "nobody"], 1, "Identifier"),
        (["add", "+12125550110", "--proxy", "+14155559999"], 1, "not in this Service's pool"),
        (["remove", "+12125550110"], 1, "there is no such opt-out"),
        (["remove", "OO" + "0" * 32], 1, "there is no such opt-out"),
        (["list", "--service", "KS1"], 2, "KS and 32 hexadecimal digits"),
        (["list", "--service", "KS" + "0" * 32], 1, "there is no such Service"),
    ],
)
def test_what_cannot_be_done_is_told(
    pair: Pair, invoke: Invoke, arguments: list[str], code: int, said: str
) -> None:
    result = invoke("optouts", *arguments, "--data", "data")
    assert (result.exit_code, said in result.output) == (code, True), result.output


def test_of_several_services_one_is_named(pair: Pair, invoke: Invoke, command: Command) -> None:
    other = make_service(pair.api)
    assert invoke("optouts", "list", "--data", "data").exit_code == 2
    made = command("add", "+12125550110", "--service", other["sid"])
    assert made["service_sid"] == other["sid"]
    assert command("list", "--service", pair.service["sid"]) == []


def test_a_file_is_imported_and_what_is_listed_can_be_imported(
    pair: Pair, invoke: Invoke, command: Command, load: Callable[..., Result]
) -> None:
    proxy = pair.first["proxy_identifier"]
    lines = [
        "identifier,proxy_identifier",
        "+12125550110,",
        f"+12125550111,{proxy}",
        "",
        "whatsapp:+12125550112",
    ]
    assert load(*lines).stdout.strip() == "3 added, 0 there already."
    assert load("+12125550110", " +12125550113 , ").stdout.strip() == "1 added, 1 there already."
    found = command("list")
    assert {(one["identifier"], one["proxy_identifier"]) for one in found} == {
        ("+12125550110", None),
        ("+12125550111", proxy),
        ("whatsapp:+12125550112", None),
        ("+12125550113", None),
    }
    assert {one["source"] for one in found} == {"import"}

    exported = invoke("optouts", "list", "--csv", "--data", "data").stdout
    for one in found:
        command("remove", one["sid"])
    assert load(exported, encoding="utf-8-sig").stdout.strip() == "4 added, 0 there already."
    assert [one["identifier"] for one in command("list")] == [one["identifier"] for one in found][::-1]


def test_of_a_file_with_a_wrong_line_nothing_is_taken(
    pair: Pair, command: Command, load: Callable[..., Result]
) -> None:
    result = load("identifier", "+12125550110", "nobody", "+12125550111,+14155559999", "+12125550112,,", ",")
    assert result.exit_code == 1
    for line in (
        "line 3: Identifier",
        "line 4: +1…99: The proxy number",
        "line 5: it has more than 2 fields",
    ):
        assert line in result.output
    assert command("list") == []
    assert "not UTF-8" in load("+12125550110é", encoding="latin-1").output


def test_ten_thousand_lines_are_written_in_steps_beside_a_server_that_goes_on(
    pair: Pair, command: Command, load: Callable[..., Result]
) -> None:
    lines = [f"+1212{2_000_000 + i}" for i in range(10_000)]
    assert load(*lines).stdout.strip().endswith("10000 added, 0 there already.")
    with closing(sqlite3.connect("data/maskline.db")) as connection:
        # What is written in one transaction is written at one instant.
        steps = connection.execute("SELECT count(*) FROM optouts GROUP BY created_at").fetchall()
    assert steps == [(cli_optouts.STEP,)] * 20
    assert {one["identifier"] for one in command("list")} == set(lines)
    assert pair.send(pair.first, "still here")["sid"]
