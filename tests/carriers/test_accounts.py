"""Accounts in the settings: which there are, what is refused, and that a secret is not repeated."""

from pathlib import Path
from typing import Any

import pytest

from maskline.carriers.kinds import read_accounts
from maskline.runtime import Server
from maskline.settings import Settings, SettingsError
from tests.support.clock import FakeClock
from tests.support.kind import Bind, ScriptedKind
from tests.support.until import until

pytestmark = pytest.mark.usefixtures("scripted")

SECRET = "s3cr3t-of-mine"


def account(**said: Any) -> dict[str, Any]:
    return {"kind": "scripted", "token": SECRET, **said}


def twilio(**said: Any) -> dict[str, Any]:
    return {"kind": "twilio", "account_sid": "AC" + "0" * 32, "auth_token": SECRET, **said}


def test_there_may_be_several_accounts_of_one_kind() -> None:
    tables = {"north": account(window=2), "south_2": account(binds=[{"port": 1}, {"port": 2}])}
    accounts = read_accounts(tables)
    assert [(one.name, one.kind) for one in accounts.values()] == [
        ("north", "scripted"),
        ("south_2", "scripted"),
    ]
    assert (accounts["north"].options.window, accounts["south_2"].options.window) == (2, 4)
    assert accounts["south_2"].options.binds == (Bind(1), Bind(2))
    assert tables["north"]["kind"] == "scripted"  # what was read is as it was


@pytest.mark.parametrize(
    ("name", "table", "said"),
    [
        ("sandbox", account(), "carriers.sandbox: a carrier account is named"),
        ("North", account(), "carriers.North: a carrier account is named"),
        ("a/b", account(), "carriers.a/b: a carrier account is named"),
        ("n" * 33, account(), "is named"),
        ("", account(), "is named"),
        ("north", SECRET, "carriers.north: must be a table"),
        ("north", {"token": SECRET}, "carriers.north: kind must be one of"),
        ("north", account(kind="twillio"), "carriers.north: kind must be one of"),
        ("north", account(kind=["scripted"]), "carriers.north: kind must be one of"),
        ("north", {"kind": "scripted"}, "carriers.north: it needs the option `token`"),
        ("north", account(tokn=SECRET), "carriers.north: there is no option `tokn`"),
        ("north", account(token=5), "carriers.north: token: Expected `str`, got `int`"),
        ("north", account(token=""), "carriers.north: token: Expected `str` of length >= 1"),
        ("north", account(window="2"), "carriers.north: window: Expected `int`, got `str`"),
        ("north", account(window=11), "carriers.north: window: Expected `int` <= 10"),
        ("north", account(binds=[{"prt": 1}]), "carriers.north: binds[0]: there is no option `prt`"),
        ("north", twilio(webhook_keys={"key": ""}), "carriers.north: webhook_keys[...]: Expected `str` of"),
        ("north", twilio(api_key="SK1"), "carriers.north: api_key and api_secret go together"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(name: str, table: Any, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_accounts({name: table})
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_an_account_works_from_start_to_stop(tmp_path: Path, clock: FakeClock) -> None:
    settings = Settings(
        data=str(tmp_path / "data"),
        port=0,
        ops_port=0,
        public_url="https://masked.test",
        sandbox=False,
        carriers={"north": account(), "south": account()},
    )
    server = Server(settings, clock)
    running = await server.start()
    assert (running.sandbox, running.carriers) == (False, {"north": "scripted", "south": "scripted"})
    north = server._carriers["north"]
    assert isinstance(north, ScriptedKind)
    assert north.means.url == "https://masked.test/carriers/north"
    await until(lambda: bool(north.lives))
    await server.stop()
    assert north.lives == ["run", "closed", "cancelled"]


async def test_an_account_that_cannot_be_read_keeps_the_server_from_starting(tmp_path: Path) -> None:
    settings = Settings(data=str(tmp_path / "data"), port=0, carriers={"north": {"kind": "none"}})
    with pytest.raises(SettingsError):
        await Server(settings).start()
    assert not (tmp_path / "data").exists()
