"""Every setting: name, default, and a sentence. A flag beats the environment, which beats `maskline.toml`."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

from maskline.domain.address import parse_networks
from maskline.domain.ids import canonical, is_sid
from maskline.domain.webhook_url import is_url

MOST_NUMBER, MOST_DAYS, MOST_READERS = 1_000_000_000, 36_500, 64

PREFIX = "MASKLINE_"
"""What the names of settings begin with in the environment."""
ROLES = ("all", "api", "worker")

SECRET = frozenset({"auth_token", "secret_key", "database_url"})
"""Settings whose value nobody else should see; so is what a carrier account has."""


class SettingsError(Exception):
    """A setting that cannot be used; the message says which and what to do."""


def _setting(default: Any, sentence: str) -> Any:
    return field(default=default, metadata={"sentence": sentence})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One server's settings. In the environment each is `MASKLINE_` and its name in capitals."""

    data: str = _setting(
        "maskline-data", "Directory of the embedded database, the secret key and the first account."
    )
    host: str = _setting("127.0.0.1", "Address that the server listens on.")
    port: int = _setting(8080, "Port of the API; 0 takes a free one.")
    ops_port: int | None = _setting(
        None,
        "Port of health, readiness with details and metrics, on loopback; default: PORT+1."
        " Each further process takes the next.",
    )
    role: str = _setting(
        "all", "What it does: all, api (accepts and delivers nothing) or worker (delivers and serves no API)."
    )
    workers: int = _setting(1, "Processes; more than 1 needs PostgreSQL.")
    tls_cert: str | None = _setting(None, "File of the TLS certificate chain; goes with tls_key.")
    tls_key: str | None = _setting(None, "File of the TLS private key.")
    account_sid: str | None = _setting(None, "SID of the first account; made at first start unless given.")
    auth_token: str | None = _setting(
        None, "Auth token of the first account; made at first start unless given."
    )
    secret_key: str | None = _setting(
        None, "64 hexadecimal digits that seal secrets; default: DATA/secret.key."
    )
    database_url: str | None = _setting(
        None, "postgresql://… of a PostgreSQL database; default: SQLite under DATA."
    )
    database_readers: int = _setting(
        4, "Connections by which a process reads a PostgreSQL database; it takes up to three more."
    )
    public_url: str | None = _setting(
        None, "Prefix of every URL that is handed out; default: http://HOST:PORT."
    )
    carriers_file: str | None = _setting(
        None,
        "TOML file with carrier accounts, beside those of the settings file: a table [carriers.NAME] each.",
    )
    sandbox: bool = _setting(True, "The sandbox carrier: on while no other carrier account is configured.")
    allow_private_webhooks: bool = _setting(
        False, "Whether customers' callback URLs may lead to loopback and private addresses; on under demo."
    )
    send_wait_ms: int = _setting(
        1000, "How long a POST of a MessageInteraction waits for the carrier's first answer."
    )
    send_validity_s: int = _setting(14400, "A message that could not be handed over by then is failed.")
    send_slots: int = _setting(64, "Messages in flight at one carrier account at a time.")
    rate_limit: int = _setting(
        0, "Requests a second per Service and endpoint kind, over 5 seconds; 0: no limit."
    )
    cors_origin: str = _setting(
        "*", "Whose pages may call the API from a browser: an origin such as https://app.example, * or off."
    )
    guard_services: bool = _setting(
        False,
        "Whether DELETE of a Service that has active Sessions is refused (20009), which Twilio does not do.",
    )
    access_log: bool = _setting(
        False,
        "Whether each request is logged: its id, who asked, method, path without names, status and duration.",
    )
    trusted_proxies: str | None = _setting(
        None, "Addresses and networks of proxies, with commas: their X-Forwarded-For says who asked."
    )
    more_info_url: str = _setting(
        "https://www.twilio.com/docs/errors/",
        "What `more_info` of an error begins with, such as a page of your own; the code follows.",
    )
    idle_close_days: int = _setting(
        90, "Sessions without Ttl and DateExpiry close after so long without use; 0: never."
    )
    retention_days: int = _setting(
        90, "Closed Sessions are deleted, with all below them, so long after they ended; 0: never."
    )
    event_retention_days: int = _setting(30, "Events are deleted when they are so old; 0: never.")
    carriers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The carrier accounts by name, each as its table; `carriers.kinds` knows what may stand there."""
    secret_files: tuple[Path, ...] = ()
    """The files that secrets were read from, which nobody else should be able to read."""


def _kinds() -> dict[str, type]:
    """The type of each setting's value where it has one."""
    hints = get_type_hints(Settings)
    return {
        entry.name: next(
            kind for kind in (bool, int, str) if kind in (hints[entry.name], *get_args(hints[entry.name]))
        )
        for entry in dataclasses.fields(Settings)
        if entry.metadata
    }


def _read(name: str, kind: type, value: Any) -> Any:
    """A value of this type, from what a file or the environment says. Raises SettingsError."""
    if not isinstance(value, str):
        # To Python a bool is an int; to whoever writes `port = true` it is a slip.
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise SettingsError(f"{name}: this setting takes no {type(value).__name__}")
        return value
    if kind is bool:
        word = value.lower()
        if word in ("1", "true", "yes", "on"):
            return True
        if word in ("0", "false", "no", "off"):
            return False
        raise SettingsError(f"{name}: {value!r} is neither true nor false")
    if kind is int:
        try:
            return int(value)
        except ValueError:
            raise SettingsError(f"{name}: {value!r} is not a whole number") from None
    return value


def load_settings(flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None) -> Settings:
    """Put the settings together. Raises SettingsError for one that is unknown or cannot be used."""
    known = _kinds()
    values: dict[str, Any] = {}
    carriers: dict[str, Any] = {}
    secret_files: list[Path] = []
    if file is not None and file.exists():
        content = _load(file)
        carriers = _tables(file, content)
        if carriers or SECRET.intersection(content):
            secret_files.append(file)
        for name, value in content.items():
            if name not in known:
                raise SettingsError(f"{file.name}: there is no setting {name!r}")
            values[name] = _read(f"{file.name}: {name}", known[name], value)
    variables = {f"{PREFIX}{name.upper()}": name for name in known}
    for variable, value in environment.items():
        if not value or not variable.startswith(PREFIX):
            continue
        if variable not in variables:
            raise SettingsError(f"{variable}: there is no such setting")
        name = variables[variable]
        values[name] = _read(variable, known[name], value)
    values.update({name: value for name, value in flags.items() if value is not None})
    if values.get("carriers_file"):
        _add_carriers(other := Path(values["carriers_file"]), carriers)
        secret_files.append(other)
    settings = Settings(
        **{"sandbox": not carriers, **values}, carriers=carriers, secret_files=tuple(secret_files)
    )
    _check(settings)
    return settings


def _load(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file.name}: {error}") from None


def _tables(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The carrier accounts among what a file says; they are taken out of it."""
    tables = content.pop("carriers", {})
    if not isinstance(tables, dict):
        raise SettingsError(f"{file.name}: carriers: each carrier account is a table [carriers.NAME]")
    return tables


def _add_carriers(file: Path, carriers: dict[str, Any]) -> None:
    try:
        content = _load(file)
    except OSError as error:
        raise SettingsError(f"carriers_file: {file}: {error.strerror}") from None
    tables = _tables(file, content)
    if content:
        raise SettingsError(f"{file.name}: has tables [carriers.NAME] only, and not {next(iter(content))!r}")
    for name in tables:
        if name in carriers:
            raise SettingsError(f"{file.name}: carriers.{name}: the settings file has this account, too")
    carriers.update(tables)


def _check(settings: Settings) -> None:
    if settings.role not in ROLES:
        raise SettingsError(f"role: {settings.role!r} is not one of {', '.join(ROLES)}")
    _check_database(settings)
    # Which would mean every address, this directory, and a token that nobody knows.
    for name in ("host", "data", "auth_token"):
        if getattr(settings, name) == "":
            raise SettingsError(f"{name}: must not be empty")
    if (settings.account_sid is None) != (settings.auth_token is None):
        raise SettingsError("account_sid and auth_token go together: give both or neither")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingsError("tls_cert and tls_key go together: give both or neither")
    for name, least, most in (
        ("send_wait_ms", 0, MOST_NUMBER),
        ("send_validity_s", 1, MOST_NUMBER),
        ("send_slots", 1, MOST_NUMBER),
        ("database_readers", 1, MOST_READERS),
        ("rate_limit", 0, MOST_NUMBER),
        ("idle_close_days", 0, MOST_DAYS),
        ("retention_days", 0, MOST_DAYS),
        ("event_retention_days", 0, MOST_DAYS),
    ):
        if getattr(settings, name) < least:
            raise SettingsError(f"{name}: must be at least {least}")
        if getattr(settings, name) > most:
            raise SettingsError(f"{name}: must be at most {most:,}")
    for name in ("port", "ops_port"):
        if not 0 <= (getattr(settings, name) or 0) <= 65535:
            raise SettingsError(f"{name}: must be between 0 and 65535")
    key = settings.secret_key
    if key is not None and (len(key) != 64 or set(key.lower()) - set("0123456789abcdef")):
        raise SettingsError("secret_key: must be 64 hexadecimal digits (openssl rand -hex 32 makes one)")
    sid = settings.account_sid
    if sid is not None and not (is_sid(sid, "AC") and sid == canonical(sid)):
        raise SettingsError("account_sid: must be AC and 32 lower-case hexadecimal digits")
    _check_addresses(settings)


def _check_database(settings: Settings) -> None:
    if settings.database_url is not None:
        if not re.match(r"postgres(ql)?://", settings.database_url):
            raise SettingsError("database_url: must begin with postgresql://; leave it out to use SQLite")
        if _is_torn(settings.database_url):
            raise SettingsError("database_url: in a user name or password write @ as %40 and / as %2F")
        if settings.secret_key is None:
            raise SettingsError(
                "secret_key: is required with database_url, and the same for every server of the database"
                " (openssl rand -hex 32 makes one)"
            )
        return
    if settings.workers != 1:
        raise SettingsError("workers: on SQLite one process owns the database; leave workers at 1")
    if settings.role == "worker":
        raise SettingsError(
            "role: on SQLite one server owns the database; use role all, or api to accept only"
        )


def _is_torn(url: str) -> bool:
    """Whether the rest of a password would be taken for the server's name, and told in errors."""
    authority, _, rest = url.partition("://")[2].partition("/")
    return authority.count("@") > 1 or "@" in rest.partition("?")[0]


def _check_addresses(settings: Settings) -> None:
    if not re.fullmatch(r"|off|\*|https?://[A-Za-z0-9.:\[\]-]+", settings.cors_origin):
        raise SettingsError("cors_origin: must be *, off or one origin, such as https://app.example")
    try:
        parse_networks(settings.trusted_proxies or "")
    except ValueError as error:
        raise SettingsError(f"trusted_proxies: {error}; such as 10.0.0.0/8,192.168.1.5") from None
    for name in ("public_url", "more_info_url"):
        url = getattr(settings, name)
        if url is not None and not (is_url(url) and re.fullmatch("[!-~]+", url)):
            raise SettingsError(f"{name}: must be an absolute http or https URL, in ASCII without blanks")
    if set(settings.public_url or "") & set("?#"):
        raise SettingsError("public_url: is a prefix of addresses, and can have neither query nor fragment")


def sentences() -> list[tuple[str, Any, str]]:
    """(name, default, sentence) of every setting, for help and docs."""
    return [
        (entry.name, entry.default, entry.metadata["sentence"])
        for entry in dataclasses.fields(Settings)
        if entry.metadata
    ]
