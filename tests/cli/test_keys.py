"""`maskline keys`, subaccounts and the status of accounts: what is made, shown and refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from maskline.vault import Vault

Invoke = Callable[..., Result]
Command = Callable[..., Any]

UNKNOWN = "0" * 32


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


def test_a_secret_is_shown_once_and_kept_as_a_digest(account: str, command: Command, invoke: Invoke) -> None:
    made = command("keys", "create", "Billing")
    assert re.fullmatch("SK[0-9a-f]{32}", made["sid"])
    assert re.fullmatch("[A-Za-z0-9]{32}", made["secret"])
    assert (made["account_sid"], made["friendly_name"]) == (account, "Billing")
    (listed,) = command("keys", "list")
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    shown = invoke("keys", "list", "--data", "data").stdout
    assert made["sid"] in shown and "Billing" in shown and made["secret"] not in shown
    stored = b"".join(path.read_bytes() for path in Path("data").iterdir() if path.name != "secret.key")
    assert made["secret"].encode() not in stored
    assert Vault(Path("data/secret.key").read_text().strip()).digest(made["secret"]).encode() in stored


def test_a_key_is_told_in_words_too(account: str, command: Command, invoke: Invoke) -> None:
    lines = invoke("keys", "create", "--data", "data").stdout.splitlines()
    assert re.fullmatch(r"API key SID:  SK[0-9a-f]{32}", lines[0])
    assert re.fullmatch(r"Secret:       [A-Za-z0-9]{32} \(shown only now\)", lines[1])
    assert lines[2:] == [f"Account SID:  {account}"]


@pytest.mark.usefixtures("account")
def test_keys_go_one_by_one(command: Command, invoke: Invoke) -> None:
    first, second = command("keys", "create"), command("keys", "create")
    assert first["secret"] != second["secret"]
    shouted = "SK" + first["sid"][2:].upper()
    assert command("keys", "delete", shouted) == {"sid": first["sid"], "deleted": True}
    assert [key["sid"] for key in command("keys", "list")] == [second["sid"]]
    again = invoke("keys", "delete", first["sid"], "--data", "data")
    assert (again.exit_code, "there is no API key" in again.output) == (1, True)


def test_whose_key_it_is_must_be_clear(account: str, command: Command, invoke: Invoke) -> None:
    other = command("accounts", "create")["sid"]
    unclear = invoke("keys", "create", "--data", "data")
    assert (unclear.exit_code, "--account" in unclear.output) == (2, True)
    made = {sid: command("keys", "create", "--account", sid)["sid"] for sid in (account, other)}
    for sid, key in made.items():
        assert [listed["sid"] for listed in command("keys", "list", "--account", sid)] == [key]
    assert {listed["sid"] for listed in command("keys", "list")} == set(made.values())


def test_a_subaccount_keeps_its_parent(account: str, command: Command, invoke: Invoke) -> None:
    child = command("accounts", "create", "Branch", "--parent", "AC" + account[2:].upper())
    assert (child["parent_sid"], child["status"]) == (account, "active")
    listed = {each["sid"]: each["parent_sid"] for each in command("accounts", "list")}
    assert listed == {account: None, child["sid"]: account}
    lines = invoke("accounts", "list", "--data", "data").stdout.splitlines()
    assert "PARENT" in lines[0] and "STATUS" in lines[0]
    assert "(none)" in lines[1] and account in lines[2].partition(child["sid"])[2]
    # Parents are one level high.
    refused = invoke("accounts", "create", "--parent", child["sid"], "--data", "data")
    assert (refused.exit_code, "a subaccount itself" in refused.output) == (1, True)
    assert len(command("accounts", "list")) == 2


def test_an_account_is_suspended_activated_and_closed(account: str, command: Command, invoke: Invoke) -> None:
    def status() -> str:
        (listed,) = command("accounts", "list")
        return str(listed["status"])

    for verb, word in (("suspend", "suspended"), ("suspend", "suspended"), ("activate", "active")):
        assert command("accounts", verb, account)["status"] == status() == word
    assert f"{account} is closed" in invoke("accounts", "close", account, "--data", "data").stdout
    for verb in ("activate", "suspend", "close"):
        refused = invoke("accounts", verb, account, "--data", "data")
        assert (refused.exit_code, "is closed, and stays so" in refused.output) == (1, True)
    assert status() == "closed"


def test_a_new_token_leaves_the_status_alone(account: str, command: Command) -> None:
    command("accounts", "suspend", account)
    command("accounts", "rotate-token", account)
    (listed,) = command("accounts", "list")
    assert (listed["status"], listed["previous_token_valid"]) == ("suspended", True)


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["keys", "create"], 1, "there is no account yet"),
        (["keys", "create", "--account", "AC" + UNKNOWN], 1, "there is no account"),
        (["keys", "delete", "SK1"], 2, "SK and 32 hexadecimal digits"),
        (["keys", "delete", "AC" + UNKNOWN], 2, "SK and 32 hexadecimal digits"),
        (["keys", "delete", "SK" + UNKNOWN], 1, "there is no API key"),
        (["accounts", "create", "--parent", "AC1"], 2, "--parent"),
        (["accounts", "create", "--parent", "AC" + UNKNOWN], 1, "there is no account"),
        (["accounts", "suspend", "AC1"], 2, "AC and 32 hexadecimal digits"),
        (["accounts", "suspend", "AC" + UNKNOWN], 1, "there is no account"),
        (["accounts", "activate", "AC" + UNKNOWN], 1, "there is no account"),
        (["accounts", "close", "AC" + UNKNOWN], 1, "there is no account"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    invoke: Invoke, arguments: list[str], code: int, said: str
) -> None:
    result = invoke(*arguments, "--data", "data")
    assert (result.exit_code, said in result.output) == (code, True), result.output
