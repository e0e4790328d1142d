"""`maskline numbers`: short codes, channel senders, whole files of numbers; what is refused, and what is taken out."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from maskline.carriers.kinds import KINDS
from maskline.cli import main
from tests.support.kind import ScriptedKind
from tests.support.server import ACCOUNT_SID, RealServer
from tests.support.world import fresh_number, make_pair, make_service

Invoke = Callable[..., Result]
Command = Callable[..., Any]

NOBODY = "AC" + "0" * 32


@pytest.fixture
def command(invoke: Invoke) -> Command:
    """Run a command that must succeed on a database without a server, and give its JSON."""
    assert invoke("migrate", "--data", "data").exit_code == 0

    def run(*arguments: str) -> Any:
        result = invoke(*arguments, "--data", "data", "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


@pytest.fixture
def account(command: Command) -> str:
    """The SID of the only account."""
    return str(command("accounts", "create", "Shop")["sid"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    """A server on the data directory `data`."""
    server = RealServer(tmp_path / "data").start()
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture
def load(invoke: Invoke) -> Callable[..., Result]:
    """Import a file of these lines."""

    def load(*lines: str, encoding: str = "utf-8") -> Result:
        Path("numbers.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
        return invoke("numbers", "import", "numbers.csv", "--data", "data")

    return load


def listed(command: Command) -> dict[str, Any]:
    return {each["phone_number"]: each for each in command("numbers", "list")}


# One at a time


def test_a_short_code_has_its_country_and_texts_only(account: str, command: Command) -> None:
    made = command("numbers", "add", "72345", "--country", "us")
    assert made["sid"].startswith("SC")
    assert (made["phone_number"], made["iso_country"], made["capabilities"]) == ("72345", "US", ["sms"])
    assert (made["account_sid"], made["carrier_account"], made["service_sid"]) == (account, "sandbox", None)
    able = command("numbers", "add", "88222", "--country", "GB", "--mms")
    assert (able["iso_country"], able["capabilities"]) == ("GB", ["sms", "mms"])


@pytest.mark.usefixtures("account")
def test_a_channels_sender_is_one_whatever_its_spelling(command: Command, invoke: Invoke) -> None:
    made = command("numbers", "add", "WhatsApp:+14155238886")
    assert made["sid"].startswith("XE")
    assert (made["phone_number"], made["iso_country"]) == ("whatsapp:+14155238886", None)
    assert made["capabilities"] == ["sms", "mms"]
    again = invoke("numbers", "add", "whatsapp:+14155238886", "--data", "data")
    assert (again.exit_code, "is there already" in again.output) == (1, True)


def test_an_entry_joins_a_pool_as_it_is_added_or_later(server: RealServer, command: Command) -> None:
    api = server.api
    service, number = make_service(api, 0), fresh_number()
    sender = command("numbers", "add", "whatsapp:+14155238886", "--service", service["sid"])
    assert sender["service_sid"] == service["sid"]
    assert command("numbers", "add", number)["service_sid"] is None
    kept = command("numbers", "add", number, "--service", "KS" + service["sid"][2:].upper(), "--reserved")
    assert (kept["service_sid"], kept["is_reserved"]) == (service["sid"], True)
    code = command("numbers", "add", "72345", "--country", "US", "--service", service["sid"])
    # Each is listed by its kind, and a sender in neither list.
    pool = api.get(service["links"]["phone_numbers"]).json["phone_numbers"]
    assert [(row["sid"], row["is_reserved"]) for row in pool] == [(kept["sid"], True)]
    codes = api.get(service["links"]["short_codes"]).json["short_codes"]
    assert [row["sid"] for row in codes] == [code["sid"]]


def test_an_entry_is_in_one_pool(server: RealServer, command: Command, invoke: Invoke) -> None:
    first, second = make_service(server.api, 0)["sid"], make_service(server.api, 0)["sid"]
    command("numbers", "add", "whatsapp:+14155238886", "--service", first)
    again = invoke("numbers", "add", "whatsapp:+14155238886", "--service", second, "--data", "data")
    assert (again.exit_code, "another Service" in again.output) == (1, True)
    assert listed(command)["whatsapp:+14155238886"]["service_sid"] == first


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["72345"], 2, "needs its country"),
        (["72345", "--country", "XX"], 2, "ISO 3166"),
        (["+14155550100", "--country", "GB"], 2, "not of country GB"),
        (["tel:+14155550100"], 2, "no address of a known channel"),
        (["+14155550100", "--reserved"], 2, "--service"),
        (["+14155550100", "--service", "KS1"], 2, "KS and 32 hexadecimal digits"),
        (["+14155550100", "--service", "KS" + "0" * 32], 1, "no such Service"),
        (["+14155550100", "--account", NOBODY], 1, "there is no account"),
    ],
)
def test_what_cannot_be_added_is_told_why(
    command: Command, invoke: Invoke, arguments: list[str], code: int, said: str
) -> None:
    result = invoke("numbers", "add", *arguments, "--data", "data")
    assert (result.exit_code, said in result.output) == (code, True), result.output
    assert listed(command) == {}


def test_a_number_with_other_facts_is_not_the_same(account: str, command: Command, invoke: Invoke) -> None:
    command("numbers", "add", "+14155550100", "--no-mms")
    for arguments in ([], ["--no-voice", "--no-mms"], ["--no-mms", "--friendly-name", "x"]):
        result = invoke("numbers", "add", "+14155550100", "--account", account, *arguments, "--data", "data")
        assert (result.exit_code, "is there already" in result.output) == (1, True)
    assert listed(command)["+14155550100"]["capabilities"] == ["voice", "sms"]


# By whom it is carried


@pytest.fixture
def carriers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings have two accounts, which carry texts and calls."""
    monkeypatch.setitem(KINDS, "scripted", ScriptedKind)
    tables = [f'[carriers.{name}]\nkind = "scripted"\ntoken = "t"\n' for name in ("north", "south")]
    Path("maskline.toml").write_text("\n".join(tables))


@pytest.mark.usefixtures("account", "carriers")
def test_a_number_is_carried_by_the_account_that_is_named(command: Command, invoke: Invoke) -> None:
    made = command("numbers", "add", "+14155550100", "--carrier", "south")
    assert (made["carrier_account"], made["capabilities"]) == ("south", ["voice", "sms"])
    less = command("numbers", "add", "+14155550101", "--carrier", "south", "--no-voice")
    assert less["capabilities"] == ["sms"]
    sender = command("numbers", "add", "whatsapp:+14155238886", "--carrier", "north")
    assert (sender["carrier_account"], sender["capabilities"]) == ("north", ["sms"])
    text = invoke("numbers", "add", "+14155550102", "--carrier", "north", "--data", "data").output
    assert "carried by north (voice sms)." in text
    listing = invoke("numbers", "list", "--data", "data").output
    assert [line.split()[1] for line in listing.splitlines()[1:]] == ["south", "south", "north", "north"]


@pytest.mark.usefixtures("account", "carriers")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there are several carrier accounts (north, south); say which"),
        (["--carrier", "west"], "the settings have no carrier account 'west'; they have north, south"),
        (["--carrier", "sandbox"], "no carrier account 'sandbox'"),
        (["--carrier", "north", "--mms"], "its carrier account carries no mms"),
    ],
)
def test_an_account_that_cannot_carry_it_is_refused(
    command: Command, invoke: Invoke, arguments: list[str], said: str
) -> None:
    result = invoke("numbers", "add", "+14155550100", *arguments, "--data", "data")
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert listed(command) == {}


@pytest.mark.usefixtures("account", "carriers")
def test_a_file_names_the_account_of_each_number(command: Command, load: Callable[..., Result]) -> None:
    assert load("number,carrier", "+14155550100,north", "+14155550101,south").exit_code == 0
    assert {value: row["carrier_account"] for value, row in listed(command).items()} == {
        "+14155550100": "north",
        "+14155550101": "south",
    }
    moved = load("number,carrier", "+14155550100,south")
    assert (moved.exit_code, "with another carrier" in moved.output) == (1, True)


@pytest.mark.usefixtures("account")
def test_without_any_carrier_account_nothing_is_added(invoke: Invoke) -> None:
    result = invoke("numbers", "add", "+14155550100", "--data", "data", MASKLINE_SANDBOX="off")
    assert (result.exit_code, "no carrier account, and the sandbox is off" in result.output) == (2, True)


@pytest.mark.usefixtures("account", "carriers")
def test_carriers_are_told_anew_where_to_bring_it(command: Command, invoke: Invoke) -> None:
    command("numbers", "add", "+14155550100", "--carrier", "north")
    assert command("numbers", "adopt") == {"numbers": 0}  # it is in no pool
    result = invoke("numbers", "adopt", "--carrier", "west", "--data", "data")
    assert (result.exit_code, "no carrier account 'west'" in result.output) == (2, True)
    with closing(sqlite3.connect("data/maskline.db")) as connection, connection:
        connection.execute("UPDATE numbers SET service_sid = 'KS1'")
    assert command("numbers", "adopt", "--carrier", "south") == {"numbers": 0}
    assert command("numbers", "adopt", "--carrier", "north") == {"numbers": 1}


# How fast it is


@pytest.mark.usefixtures("account")
def test_a_number_has_a_rate_of_its_own_or_its_accounts(command: Command, invoke: Invoke) -> None:
    made = command("numbers", "add", "+14155550100", "--messages-per-second", "0.5")
    assert made["messages_per_second"] == 0.5
    assert command("numbers", "add", "+14155550101")["messages_per_second"] is None
    assert command("numbers", "rate", "+14155550101", "30")["messages_per_second"] == 30
    assert command("numbers", "rate", made["sid"])["messages_per_second"] is None
    said = invoke("numbers", "rate", "+14155550100", "2.5", "--data", "data").output
    assert said == "+14155550100 sends 2.5 a second.\n"
    assert {one["messages_per_second"] for one in listed(command).values()} == {2.5, 30}
    for rate in ("0", "-1", "1001", "fast"):
        assert invoke("numbers", "rate", "+14155550100", rate, "--data", "data").exit_code == 2
    assert invoke("numbers", "rate", "+14155550199", "1", "--data", "data").exit_code == 1


@pytest.mark.usefixtures("account")
def test_a_file_gives_rates(command: Command, load: Callable[..., Result]) -> None:
    assert load("number,messages_per_second", "+14155550100,1", "+14155550101,").exit_code == 0
    assert [one["messages_per_second"] for one in listed(command).values()] == [1, None]
    for rate in ("0", "fast", "1e9", "nan"):
        refused = load("number,messages_per_second", f"+14155550102,{rate}")
        assert "line 2: messages_per_second is a number from 0.001 to 1000" in refused.output
    other = load("number,messages_per_second", "+14155550100,2")
    assert "line 2: It is there already, with another carrier, name, rate or capability" in other.output


# Taking out


@pytest.mark.usefixtures("account")
def test_an_entry_is_removed_by_value_or_by_sid(command: Command, invoke: Invoke) -> None:
    number = command("numbers", "add", "+14155550100")
    code = command("numbers", "add", "72345", "--country", "US")
    command("numbers", "add", "whatsapp:+14155238886")
    removed = command("numbers", "remove", "SC" + code["sid"][2:].upper())
    assert removed == {"sid": code["sid"], "phone_number": "72345", "removed": True}
    assert command("numbers", "remove", "+14155550100")["sid"] == number["sid"]
    told = invoke("numbers", "remove", "WHATSAPP:+14155238886", "--data", "data")
    assert "whatsapp:+14155238886" in told.stdout
    assert listed(command) == {}
    again = invoke("numbers", "remove", number["sid"], "--data", "data")
    assert (again.exit_code, "not in the directory" in again.output) == (1, True)


def test_a_number_in_use_is_not_removed(server: RealServer, command: Command, invoke: Invoke) -> None:
    pair = make_pair(server.api)
    sid = pair.first["proxy_identifier_sid"]
    refused = invoke("numbers", "remove", sid, "--data", "data")
    assert (refused.exit_code, "Active Sessions use this number" in refused.output) == (1, True)
    pair.send(pair.first, "it is there still")
    server.api.make(pair.session["url"], {"Status": "closed"})
    assert command("numbers", "remove", sid)["removed"] is True
    assert server.api.get(pair.service["links"]["phone_numbers"]).json["phone_numbers"] == []


# Whole files


@pytest.mark.usefixtures("account")
def test_a_file_is_taken_in_and_taken_in_again(command: Command, load: Callable[..., Result]) -> None:
    lines = [
        "number,country,friendly_name,voice,mms",
        "+14155550100,,Front desk,no,",
        "+442079460000,GB,,,yes",
        "",
        "72345,US,,,",
        "whatsapp:+14155238886,,,,",
        "+14155550100,,Front desk,No,TRUE",
    ]
    assert load(*lines).output == "4 added, 1 there already.\n"
    known = listed(command)
    assert {value: row["sid"][:2] for value, row in known.items()} == {
        "+14155550100": "PN",
        "+442079460000": "PN",
        "72345": "SC",
        "whatsapp:+14155238886": "XE",
    }
    assert known["+14155550100"]["friendly_name"] == "Front desk"
    assert known["+14155550100"]["capabilities"] == ["sms", "mms"]
    assert load(*lines).output == "0 added, 5 there already.\n"
    assert load(*lines, encoding="utf-8-sig").output == "0 added, 5 there already.\n"
    assert listed(command) == known


def test_a_file_can_fill_pools_and_name_accounts(
    server: RealServer, command: Command, load: Callable[..., Result]
) -> None:
    other = command("accounts", "create")["sid"]
    service = make_service(server.api, 0)
    numbers = [fresh_number() for _ in range(3)]
    command("numbers", "add", numbers[0], "--account", ACCOUNT_SID)
    lines = [
        "number,account,service,reserved",
        f"{numbers[0]},{ACCOUNT_SID},{service['sid']},",
        f"{numbers[1]},{ACCOUNT_SID},{service['sid']},yes",
        f"{numbers[2]},{other},,",
    ]
    assert load(*lines).output == "2 added, 1 joined a pool, 0 there already.\n"
    pool = server.api.get(service["links"]["phone_numbers"]).json["phone_numbers"]
    assert {row["phone_number"]: row["is_reserved"] for row in pool} == {numbers[0]: False, numbers[1]: True}
    assert listed(command)[numbers[2]]["account_sid"] == other
    assert load(*lines).output == "0 added, 3 there already.\n"


@pytest.mark.usefixtures("account")
def test_of_a_long_file_nothing_is_added_if_a_line_is_wrong(
    command: Command, load: Callable[..., Result]
) -> None:
    """Whichever step it is in."""
    command("numbers", "add", "+14155550700", "--no-voice")
    result = load("number", *(f"+1415555{number:04d}" for number in range(1100)))
    assert result.exit_code == 1
    assert "nothing was added:\nline 702: It is there already" in result.output
    assert len(listed(command)) == 1


def test_a_long_file_is_written_in_steps_and_can_be_taken_in_again(
    server: RealServer, command: Command, load: Callable[..., Result]
) -> None:
    service = make_service(server.api, 0)["sid"]
    numbers = [f"+1415555{number:04d}" for number in range(600)]
    result = load("number,account,service", *(f"{number},{ACCOUNT_SID},{service}" for number in numbers))
    assert result.exit_code == 1
    done = "what stands before line 502 is there (500 added, 0 there already), and nothing was added from there on"
    assert f"{done}; correct these lines and import the file again:\nline 502: " in result.output
    assert len(listed(command)) == 500
    rest = load("number,account", *(f"{number},{ACCOUNT_SID}" for number in numbers))
    assert rest.output == "100 added, 500 there already.\n"


@pytest.mark.usefixtures("account")
def test_standard_input_is_a_file(command: Command) -> None:
    arguments = ["numbers", "import", "-", "--data", "data", "--json"]
    result = CliRunner().invoke(main, arguments, input="number\n+14155550100\n", catch_exceptions=False)
    assert json.loads(result.stdout) == {"added": 1, "joined": 0, "unchanged": 0}
    assert list(listed(command)) == ["+14155550100"]


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["number", "+14155550100", "+1415"], "line 3: it is neither"),
        (["number", "+14155550100", "72345"], "line 3: a short code needs its country"),
        (["number,voice", "+14155550100,perhaps"], "line 2: voice is yes or no"),
        (["number,country,voice", "72345,US,yes"], "line 2: only a phone number takes calls"),
        (
            ["number,carrier", "+14155550100,pigeon"],
            "line 2: the settings have no carrier account 'pigeon'; they have sandbox",
        ),
        (["number,account", f"+14155550100,{NOBODY}"], "line 2: there is no account"),
        (["number,service", f"+14155550100,KS{'0' * 32}"], "line 2: the account has no such Service"),
        (["number,service", "+14155550100,x"], "line 2: a Service's SID is KS"),
        (["number,reserved", "+14155550100,yes"], "line 2: reserved is for a pool"),
        (["number,mms", "+14155550100,yes", "+14155550100,no"], "line 3: It is there already"),
        (["number", "+14155550100,x"], "line 2: it has more or fewer fields"),
        (["number,mms", "+14155550100"], "line 2: it has more or fewer fields"),
        (["+14155550100"], "line 1: the first line names the columns"),
        (["number,colour", "+14155550100,red"], "line 1: the first line names the columns"),
        (["number,number", "+14155550100,"], "line 1: the first line names the columns"),
        ([""], "line 1: the first line names the columns"),
        (["number", '"+14155550100'], "line 2: unexpected end of data"),
    ],
)
def test_a_file_with_a_fault_adds_nothing(
    command: Command, load: Callable[..., Result], lines: list[str], said: str
) -> None:
    result = load(*lines)
    assert (result.exit_code, said in result.output) == (1, True), result.output
    assert listed(command) == {}


@pytest.mark.usefixtures("account")
def test_all_faults_are_told_and_no_whole_number(command: Command, load: Callable[..., Result]) -> None:
    result = load("number", *(f"+1555123{i:04d}" for i in range(30)), "+14155550100")
    assert result.exit_code == 1
    assert result.output.count("line ") == 20
    assert "and 10 more" in result.output
    assert "+1555" not in result.output
    assert listed(command) == {}


@pytest.mark.usefixtures("account")
def test_a_file_of_another_encoding_is_told(command: Command, load: Callable[..., Result]) -> None:
    result = load("number,friendly_name", "+14155550100,Müller", encoding="latin-1")
    assert (result.exit_code, "not UTF-8" in result.output) == (1, True)
    assert listed(command) == {}


@pytest.mark.usefixtures("account")
def test_a_long_file_tells_that_it_takes_a_while(command: Command, load: Callable[..., Result]) -> None:
    lines = [f"+1415555{i:04d}" for i in range(1200)]
    result = load("number", *lines)
    assert result.stdout == "1200 added, 0 there already.\n"
    assert result.stderr == "Reading 1200 lines\n"
    assert len(listed(command)) == 1200
