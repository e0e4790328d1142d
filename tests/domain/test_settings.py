"""A flag beats the environment, which beats the file; and what cannot be used is refused in words."""

import re
from pathlib import Path
from typing import Any

import pytest

from maskline.settings import Settings, SettingsError, load_settings, sentences


def load(tmp_path: Path, text: str = "", environment: dict[str, str] | None = None, **flags: Any) -> Settings:
    file = tmp_path / "maskline.toml"
    file.write_text(text)
    return load_settings(flags, environment or {}, file)


def test_the_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings == Settings()
    assert (settings.host, settings.port, settings.role, settings.workers) == ("127.0.0.1", 8080, "all", 1)
    assert (settings.send_wait_ms, settings.send_validity_s, settings.idle_close_days) == (1000, 14400, 90)
    assert (settings.retention_days, settings.event_retention_days) == (90, 30)
    assert settings.sandbox is True


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    text, environment = (
        'port = 1\nhost = "file"\ndata = "file"',
        {"MASKLINE_PORT": "2", "MASKLINE_HOST": "environment"},
    )
    settings = load(tmp_path, text, environment, port=3, host=None)
    assert (settings.port, settings.host, settings.data) == (3, "environment", "file")


def test_an_empty_variable_counts_as_not_given(tmp_path: Path) -> None:
    assert load(tmp_path, "port = 7", {"MASKLINE_PORT": ""}).port == 7


def test_without_a_file_there_are_still_the_defaults(tmp_path: Path) -> None:
    assert load_settings({}, {}, tmp_path / "none.toml") == load_settings({}, {}, None) == Settings()


def test_a_secret_that_is_no_text_is_refused_without_being_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "auth_token = 123456789")
    assert "auth_token" in str(caught.value)
    assert "123456789" not in str(caught.value)


def test_other_variables_are_nobodys_business(tmp_path: Path) -> None:
    assert load(tmp_path, "", {"PORT": "9", "MASKLINE": "x", "HOME": "/"}) == Settings()


@pytest.mark.parametrize("name", ["MASKLINE_RETENTON_DAYS", "MASKLINE_CARRIERS", "MASKLINE_port"])
def test_a_variable_of_ours_that_is_no_setting_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "", {name: "30 secret words"})
    assert str(caught.value) == f"{name}: there is no such setting"
    assert load(tmp_path, "", {name: ""}) == Settings()


@pytest.mark.parametrize("word", ["1", "true", "TRUE", "yes", "on"])
def test_words_for_true(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, "sandbox = false", {"MASKLINE_SANDBOX": word}).sandbox is True


@pytest.mark.parametrize("word", ["0", "false", "False", "no", "off"])
def test_words_for_false(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, "", {"MASKLINE_SANDBOX": word}).sandbox is False


@pytest.mark.parametrize(
    ("text", "environment", "names"),
    [
        ("prot = 1", {}, "prot"),
        ("port = 1.5", {}, "port"),
        ("port = true", {}, "port"),
        ("sandbox = 1", {}, "sandbox"),
        ("data = 3", {}, "data"),
        ('data = ""', {}, "data"),
        ('host = ""', {}, "host"),
        (f'account_sid = "AC{"0" * 32}"\nauth_token = ""', {}, "auth_token"),
        ("port = ", {}, "maskline.toml"),
        ("", {"MASKLINE_PORT": "many"}, "MASKLINE_PORT"),
        ("", {"MASKLINE_PORT": "65536"}, "port"),
        ("", {"MASKLINE_PORT": "-1"}, "port"),
        ("", {"MASKLINE_SANDBOX": "perhaps"}, "MASKLINE_SANDBOX"),
        ("", {"MASKLINE_ROLE": "boss"}, "role"),
        ("", {"MASKLINE_ROLE": "worker"}, "role"),
        ("", {"MASKLINE_CORS_ORIGIN": "app.example"}, "cors_origin"),
        ("", {"MASKLINE_TRUSTED_PROXIES": "proxy.example"}, "trusted_proxies"),
        ("", {"MASKLINE_TRUSTED_PROXIES": "10.0.0.1/8"}, "trusted_proxies"),
        ("", {"MASKLINE_CORS_ORIGIN": "https://app.example/page"}, "cors_origin"),
        ('cors_origin = "*\\r\\nX: y"', {}, "cors_origin"),
        ("", {"MASKLINE_WORKERS": "2"}, "workers"),
        ("", {"MASKLINE_DATABASE_URL": "mysql://x"}, "database_url"),
        ("", {"MASKLINE_DATABASE_URL": "postgresql://x"}, "secret_key"),
        ("", {"MASKLINE_ACCOUNT_SID": "AC" + "0" * 32}, "auth_token"),
        ("", {"MASKLINE_AUTH_TOKEN": "t"}, "account_sid"),
        ("", {"MASKLINE_ACCOUNT_SID": "AC1", "MASKLINE_AUTH_TOKEN": "t"}, "account_sid"),
        ("", {"MASKLINE_TLS_CERT": "c"}, "tls_key"),
        ("", {"MASKLINE_TLS_KEY": "k"}, "tls_cert"),
        ("", {"MASKLINE_SECRET_KEY": "0" * 63}, "secret_key"),
        ("", {"MASKLINE_SECRET_KEY": "g" * 64}, "secret_key"),
        ("", {"MASKLINE_PUBLIC_URL": "example.com"}, "public_url"),
        ("", {"MASKLINE_PUBLIC_URL": "https://exam ple.com"}, "public_url"),
        ("", {"MASKLINE_PUBLIC_URL": "https://[::1"}, "public_url"),
        ("", {"MASKLINE_PUBLIC_URL": "https://example.com:port"}, "public_url"),
        ("", {"MASKLINE_PUBLIC_URL": "https://example.com?a=b"}, "public_url"),
        ("", {"MASKLINE_MORE_INFO_URL": "docs.example/errors/"}, "more_info_url"),
        ("", {"MASKLINE_MORE_INFO_URL": "https://"}, "more_info_url"),
        ("", {"MASKLINE_SEND_WAIT_MS": "-1"}, "send_wait_ms"),
        ("", {"MASKLINE_SEND_VALIDITY_S": "0"}, "send_validity_s"),
        ("", {"MASKLINE_SEND_SLOTS": "0"}, "send_slots"),
        ("", {"MASKLINE_DATABASE_READERS": "0"}, "database_readers"),
        ("", {"MASKLINE_DATABASE_READERS": "65"}, "database_readers"),
        ("", {"MASKLINE_IDLE_CLOSE_DAYS": "-1"}, "idle_close_days"),
        ("", {"MASKLINE_RETENTION_DAYS": "36501"}, "retention_days"),
        ("", {"MASKLINE_EVENT_RETENTION_DAYS": "-1"}, "event_retention_days"),
        ("", {"MASKLINE_SEND_WAIT_MS": "10000000000"}, "send_wait_ms"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    tmp_path: Path, text: str, environment: dict[str, str], names: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, environment)
    assert names in str(caught.value)


def test_a_secret_is_not_repeated_in_the_error_about_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "", {"MASKLINE_SECRET_KEY": "5ec2e7" * 10})
    assert "5ec2e7" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "maskline.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError):
        load_settings({}, {}, file)


NORTH, SOUTH = (
    '[carriers.north]\nkind = "x"',
    '[carriers.south]\nkind = "y"\n[[carriers.south.binds]]\nport = 1',
)


def test_carrier_accounts_are_tables_of_the_file_and_of_one_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "secret.toml").write_text(SOUTH)
    environment = {"MASKLINE_CARRIERS_FILE": str(tmp_path / "secret.toml")}
    settings = load(tmp_path, f"port = 1\n{NORTH}", environment)
    assert settings.carriers == {"north": {"kind": "x"}, "south": {"kind": "y", "binds": [{"port": 1}]}}
    assert settings.port == 1
    assert load(tmp_path, "", environment).carriers == {"south": {"kind": "y", "binds": [{"port": 1}]}}
    assert "kind" not in repr(settings)


def test_the_sandbox_is_on_while_no_carrier_account_is_configured(tmp_path: Path) -> None:
    assert load(tmp_path).sandbox is True
    assert load(tmp_path, NORTH).sandbox is False
    assert load(tmp_path, NORTH, {"MASKLINE_SANDBOX": "true"}).sandbox is True
    assert load(tmp_path, f"sandbox = true\n{NORTH}").sandbox is True
    assert load(tmp_path, "sandbox = false").sandbox is False


@pytest.mark.parametrize(
    ("text", "other", "says"),
    [
        ("carriers = 3", None, "maskline.toml: carriers"),
        ("", "", None),
        ("", "port = 1", "secret.toml: has tables [carriers.NAME] only, and not 'port'"),
        ("", "[north]\nkind = 'x'", "not 'north'"),
        ("", "carriers = 'x'", "secret.toml: carriers"),
        ("", "[carriers", "secret.toml"),
        (NORTH, NORTH, "secret.toml: carriers.north: the settings file has this account, too"),
    ],
)
def test_what_is_said_of_carriers_is_refused_where_it_cannot_be_so(
    tmp_path: Path, text: str, other: str | None, says: str | None
) -> None:
    environment = {}
    if other is not None:
        (tmp_path / "secret.toml").write_text(other)
        environment = {"MASKLINE_CARRIERS_FILE": str(tmp_path / "secret.toml")}
    if says is None:
        assert load(tmp_path, text, environment).carriers == {}
        return
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, environment)
    assert says in str(caught.value)


def test_a_carriers_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "", {"MASKLINE_CARRIERS_FILE": str(tmp_path / "none.toml")})
    assert "none.toml: No such file" in str(caught.value)


def test_every_setting_has_a_sentence() -> None:
    for name, _, sentence in sentences():
        assert re.fullmatch(r"[A-Za-z0-9].*\.", sentence), name
