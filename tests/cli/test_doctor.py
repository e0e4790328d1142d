import json
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from maskline import doctor
from maskline.carriers.kinds import KINDS
from tests.cli.conftest import write_certificate
from tests.support.kind import ScriptedKind
from tests.support.server import RealServer

Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def _port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever listens on the default port of the machine is no matter of these tests."""
    monkeypatch.setenv("MASKLINE_PORT", "0")


@pytest.fixture
def database(invoke: Invoke) -> Path:
    assert invoke("migrate", "--data", "data").exit_code == 0
    assert invoke("accounts", "create", "--data", "data").exit_code == 0
    return Path("data/maskline.db")


def examine(invoke: Invoke, **environment: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what is wrong by name."""
    result = invoke("doctor", "--data", "data", "--json", **environment)
    said = json.loads(result.stdout)
    assert said["ok"] == (result.exit_code == 0)
    assert all(bool(check["remedy"]) != check["ok"] for check in said["checks"])
    return result.exit_code, {check["name"]: check["says"] for check in said["checks"] if not check["ok"]}


@pytest.mark.usefixtures("database")
def test_all_is_well(invoke: Invoke) -> None:
    assert examine(invoke) == (0, {})
    text = invoke("doctor", "--data", "data").output
    assert "sandbox: on" in text and "server: none is running on it" in text
    assert "PROBLEM" not in text


def test_before_the_first_start_all_is_well_too(invoke: Invoke) -> None:
    assert examine(invoke) == (0, {})
    assert not Path("data").exists()


def test_it_runs_beside_a_server(tmp_path: Path, invoke: Invoke) -> None:
    server = RealServer(tmp_path / "data").start()
    assert examine(invoke, MASKLINE_PORT=server.url.rpartition(":")[2]) == (0, {})
    assert "server: is running on it" in invoke("doctor", "--data", "data").output
    assert server.stop() == 0


@pytest.mark.usefixtures("database")
def test_a_wrong_key_is_found(invoke: Invoke) -> None:
    Path("data/secret.key").write_text("0" * 64)
    code, wrong = examine(invoke)
    assert code == 1
    assert wrong == {"secret key": "data/secret.key is not the one that this database was made with"}
    _, wrong = examine(invoke, MASKLINE_SECRET_KEY="1" * 64)
    assert wrong == {"secret key": "the secret key given is not the one that this database was made with"}
    Path("data/secret.key").write_text("none")
    assert examine(invoke)[1] == {"secret key": "data/secret.key is not 64 hexadecimal digits"}
    Path("data/secret.key").write_bytes(b"\xff" * 64)
    assert examine(invoke)[1] == {"secret key": "data/secret.key is not 64 hexadecimal digits"}
    Path("data/secret.key").unlink()
    Path("data/secret.key").mkdir(mode=0o700)
    assert examine(invoke)[1] == {"secret key": "data/secret.key cannot be read: Is a directory"}
    Path("data/secret.key").rmdir()
    assert examine(invoke)[1] == {"secret key": "data/secret.key is not there and none is given"}
    # Nothing makes another key in the place of the one that is gone.
    assert "put the key back" in invoke("accounts", "list", "--data", "data").output
    assert not Path("data/secret.key").exists()


@pytest.mark.usefixtures("database")
def test_files_that_others_can_read_are_found(invoke: Invoke) -> None:
    Path("data/secret.key").chmod(0o640)
    assert examine(invoke) == (1, {"data directory": "others may read data/secret.key"})
    assert "Remedy: chmod 600 data/secret.key" in invoke("doctor", "--data", "data").output
    Path("data/secret.key").chmod(0o600)
    Path("data").chmod(0o777)
    assert examine(invoke) == (1, {"data directory": "others may write into it"})


def test_carrier_accounts_are_told_and_what_is_wrong_with_them(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "scripted", ScriptedKind)
    file = Path("carriers.toml")
    file.write_text('[carriers.north]\nkind = "scripted"\ntoken = "t"')
    file.chmod(0o600)
    environment = {"MASKLINE_CARRIERS_FILE": str(file)}
    assert examine(invoke, **environment) == (0, {})
    said = invoke("doctor", "--data", "data", **environment).output
    assert "carrier north: scripted" in said and "sandbox: off" in said
    file.write_text('[carriers.north]\nkind = "scripted"')
    assert examine(invoke, **environment)[1] == {"settings": "carriers.north: it needs the option `token`"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("carriers.toml", '[carriers.north]\nkind = "scripted"\ntoken = "t"'),
        ("maskline.toml", '[carriers.north]\nkind = "scripted"\ntoken = "t"'),
        ("maskline.toml", f'secret_key = "{"0" * 64}"'),
        ("maskline.toml", f'account_sid = "AC{"0" * 32}"\nauth_token = "t"'),
    ],
)
def test_a_file_with_secrets_is_for_its_owner_alone(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setitem(KINDS, "scripted", ScriptedKind)
    file = Path(name)
    file.write_text(text)
    environment = {} if name == "maskline.toml" else {"MASKLINE_CARRIERS_FILE": name}
    for mode in (0o600, 0o400):
        file.chmod(mode)
        assert examine(invoke, **environment) == (0, {})
    for mode in (0o640, 0o604, 0o620):
        file.chmod(mode)
        assert examine(invoke, **environment) == (1, {"secrets": f"others may read {name}, which has some"})
    assert f"Remedy: chmod 600 {name}" in invoke("doctor", "--data", "data", **environment).output


def test_a_settings_file_without_secrets_may_be_read(invoke: Invoke) -> None:
    Path("maskline.toml").write_text("send_slots = 8")
    Path("maskline.toml").chmod(0o644)
    assert examine(invoke) == (0, {})


def test_what_a_carrier_says_is_told_with_its_remedy(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, database: Path
) -> None:
    monkeypatch.setitem(KINDS, "scripted", ScriptedKind)
    file = Path("maskline.toml")
    file.write_text('[carriers.north]\nkind = "scripted"\ntoken = "t"')
    file.chmod(0o600)
    for number, carrier in (("+14155550100", "north"), ("+14155550101", "south"), ("+14155550102", "north")):
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(
                "INSERT INTO numbers (phone_number, sid, account_sid, carrier_account, service_sid, friendly_name,"
                " calling_code, voice, sms, mms, created_at, updated_at)"
                " VALUES (?, ?, 'AC1', ?, 'KS1', '', 1, 1, 1, 0, 1, 1)",
                (number, f"PN{number}", carrier),
            )
    monkeypatch.setattr(ScriptedKind, "wrong", "it has lost 2 numbers")
    code, wrong = examine(invoke)
    assert (code, wrong.pop("carrier north")) == (1, "it has lost 2 numbers")
    gone = "is not in the settings and carries numbers in pools (1); what is sent from them waits"
    assert wrong == {"carrier south": gone}
    assert "Remedy: find them" in invoke("doctor", "--data", "data").output


@pytest.mark.parametrize(
    ("refused", "why"), [(0, "all hand-overs have failed"), (1, "its credentials are refused")]
)
def test_an_account_that_is_down_is_told(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, database: Path, refused: int, why: str
) -> None:
    monkeypatch.setitem(KINDS, "scripted", ScriptedKind)
    file = Path("maskline.toml")
    file.write_text('[carriers.north]\nkind = "scripted"\ntoken = "t"')
    file.chmod(0o600)
    trouble = "INSERT INTO carrier_health VALUES (?, 'AC1', 1, 1, 3, ?, ?, 1)"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(trouble, ("south", 1, 0))
        connection.execute(trouble, ("north", None, 0))
    assert examine(invoke) == (0, {})
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM carrier_health WHERE carrier_account = 'north'")
        connection.execute(trouble, ("north", 1_700_000_000_000_000, refused))
    said = f"takes nothing since 2023-11-14T22:13:20Z: {why}; its messages wait, and one a minute tries it"
    assert examine(invoke) == (1, {"carrier north": said})


def test_a_server_without_any_carrier_is_told(invoke: Invoke) -> None:
    assert examine(invoke, MASKLINE_SANDBOX="off")[1] == {
        "carriers": "there is no account, and the sandbox is off"
    }


def change(database: Path, name: str, value: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))


def test_a_wrong_schema_is_found(database: Path, invoke: Invoke) -> None:
    change(database, "schema_version", "0")
    assert examine(invoke) == (1, {"schema": "0 is not the newest"})
    change(database, "schema_version", "99")
    assert "the database has schema 99" in examine(invoke)[1]["schema"]


def test_a_clock_that_went_back_is_found(database: Path, invoke: Invoke) -> None:
    change(database, "migrated_at", str(4_000_000_000_000_000))
    assert "before the database was made" in examine(invoke)[1]["clock"]


def test_a_damaged_database_is_found(database: Path, invoke: Invoke) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'accounts'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    code, wrong = examine(invoke)
    assert (code, list(wrong)) == (1, ["database"])
    database.write_bytes(b"no database" * 100)
    assert "file is not a database" in examine(invoke)[1]["database"]


@pytest.mark.usefixtures("database")
def test_a_full_disk_is_found(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE", 1 << 60)
    assert list(examine(invoke)[1]) == ["disk"]


def test_settings_that_cannot_be_used_are_found(invoke: Invoke) -> None:
    assert examine(invoke, MASKLINE_WORKERS="2")[1] == {
        "settings": "workers: on SQLite one process owns the database; leave workers at 1"
    }
    Path("data").touch()
    assert examine(invoke) == (1, {"data directory": "data is not a directory"})


def test_an_address_that_is_taken_is_found(invoke: Invoke) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = f"port {port} on 127.0.0.1 is taken; stop what listens there or choose another"
        assert examine(invoke, MASKLINE_PORT=port) == (1, {"address": said})
        assert examine(invoke, MASKLINE_OPS_PORT=port) == (1, {"address": said})


def test_an_address_that_nobody_could_come_back_to_is_found(invoke: Invoke) -> None:
    everywhere = {"MASKLINE_HOST": "0.0.0.0"}  # noqa: S104
    code, wrong = examine(invoke, **everywhere)
    assert (code, list(wrong)) == (1, ["public URL"])
    assert examine(invoke, MASKLINE_PUBLIC_URL="https://masked.example", **everywhere) == (0, {})


def test_a_certificate_that_has_expired_is_found(invoke: Invoke) -> None:
    tls = {"MASKLINE_TLS_CERT": "cert.pem", "MASKLINE_TLS_KEY": "key.pem"}
    write_certificate()
    assert examine(invoke, **tls) == (0, {})
    write_certificate(days=-1)
    code, wrong = examine(invoke, **tls)
    assert (code, list(wrong)) == (1, ["TLS certificate"])


def test_a_data_directory_that_cannot_be_made_is_found(invoke: Invoke) -> None:
    Path("file").touch()
    result = invoke("doctor", "--data", "file/data")
    assert result.exit_code == 1
    assert "file/data is not there and cannot be made in" in result.output
