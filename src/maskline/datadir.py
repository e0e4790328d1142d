"""The data directory: the database, its secret key, and the first account's credentials."""

from __future__ import annotations

import fcntl
import os
import secrets
from importlib import import_module
from pathlib import Path
from types import ModuleType

from maskline.clock import Clock
from maskline.domain.ids import AccountSid
from maskline.domain.model import DAY
from maskline.mint import Mint, secret
from maskline.settings import Settings, SettingsError
from maskline.store.accounts import Account, find_account, insert_account, list_accounts, replace_token
from maskline.store.engine import Store, Tx
from maskline.store.meta import find_meta, put_meta
from maskline.store.sqlite import SqliteStore
from maskline.vault import Vault

DATABASE = "maskline.db"
KEY_FILE = "secret.key"
ACCOUNT_FILE = "account.env"


def postgres() -> ModuleType:
    """The store for PostgreSQL, whose driver not everybody has. Raises SettingsError."""
    try:
        return import_module("maskline.store.postgres")
    except ImportError as error:
        raise SettingsError(f"database_url: {error}; install maskline[postgres]") from None


class WrongDatabase(Exception):
    """The secret key given is not the one that this database was made with."""


def open_vault(settings: Settings) -> Vault:
    """The vault over the secret key: the one given, else the one in the data directory, made at first use.

    Raises SettingsError for a key file that holds no key, WrongDatabase for one that is gone while its database is not.
    """
    if settings.secret_key is not None:
        return Vault(settings.secret_key)
    path = Path(settings.data) / KEY_FILE
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)  # of two that start at once, one makes the key
        if not path.exists():
            if (path.parent / DATABASE).exists():
                raise WrongDatabase(
                    f"the database is there and its secret key {path} is not;"
                    " put the key back, or give it as secret_key"
                )
            write_private(path, secrets.token_hex(32) + "\n")
    finally:
        os.close(directory)
    try:
        return Vault(path.read_text().strip())
    except ValueError:
        raise SettingsError(
            f"secret_key: {path} does not hold 64 hexadecimal digits; put the key back"
        ) from None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    part = path.with_suffix(".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


async def open_store(
    settings: Settings,
    clock: Clock,
    vault: Vault,
    *,
    run: str = "",
    serve: bool = True,
    migrate: bool = False,
) -> Store:
    """The opened database. `run` names this process among those that may have it; `migrate`: bring an older PostgreSQL
    database up to date, too.

    Raises AlreadyServed, SchemaTooNew, SchemaTooOld, SettingsError, StoreUnavailable, WrongDatabase.
    """
    idle_close_us = settings.idle_close_days * DAY
    store: Store
    if settings.database_url is None:
        path = Path(settings.data) / DATABASE
        store = await SqliteStore(
            path, clock, idle_close_us=idle_close_us, pseudonym=vault.pseudonym, serve=serve
        ).open()
    else:
        store = (
            await postgres()
            .PostgresStore(
                settings.database_url,
                clock,
                run=run or Mint(clock).sid("RN"),
                idle_close_us=idle_close_us,
                pseudonym=vault.pseudonym,
                serve=serve,
                readers=settings.database_readers,
            )
            .open(migrate=migrate)
        )

    def check_key(tx: Tx) -> bool:
        known = find_meta(tx, "key_id")
        if known is None:
            put_meta(tx, "key_id", vault.key_id)
        return known in (None, vault.key_id)

    if not await store.write(check_key):
        await store.close()
        raise WrongDatabase("this database was made with another secret key; give the one it was made with")
    return store


def write_account_file(settings: Settings, sid: str, token: str) -> None:
    """Write down the first account's credentials, in a form that a shell can source."""
    Path(settings.data).mkdir(parents=True, exist_ok=True, mode=0o700)
    text = f"MASKLINE_ACCOUNT_SID={sid}\nMASKLINE_AUTH_TOKEN={token}\n"
    write_private(Path(settings.data) / ACCOUNT_FILE, text)


def read_account_file(settings: Settings) -> tuple[str, str] | None:
    """The first account's SID and token; None where the server did not make it."""
    path = Path(settings.data) / ACCOUNT_FILE
    if not path.exists():
        return None
    lines = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    return lines.get("MASKLINE_ACCOUNT_SID", ""), lines.get("MASKLINE_AUTH_TOKEN", "")


def new_account(
    mint: Mint,
    vault: Vault,
    clock: Clock,
    sid: str | None,
    token: str,
    name: str,
    parent_sid: str | None = None,
) -> Account:
    """An account with this token; with a parent, its subaccount."""
    account_sid = AccountSid(sid or mint.sid("AC"))
    now = clock.now()
    digest, sealed = vault.digest(token), vault.seal(token, account_sid)
    return Account(account_sid, name, digest, sealed, None, now, now, parent_sid)


async def ensure_account(store: Store, settings: Settings, mint: Mint, vault: Vault, clock: Clock) -> str:
    """The first account's SID: taken from the settings as given, or made at the first start and written to a file."""
    given_sid, given_token = settings.account_sid, settings.auth_token
    token = given_token or secret()
    account = new_account(mint, vault, clock, given_sid, token, "first account")

    def ensure(tx: Tx) -> str:
        if given_sid is None:
            if existing := list_accounts(tx):
                return existing[0].sid
        elif (known := find_account(tx, given_sid)) is not None:
            if not vault.matches(token, known.token_digest):
                replace_token(tx, given_sid, account.token_digest, account.token_sealed, keep_previous=False)
            return given_sid
        insert_account(tx, account)
        if given_sid is None:
            # Before the commit: a token that nobody was told is lost, a file without its account is written anew.
            write_account_file(settings, account.sid, token)
        return account.sid

    return await store.write(ensure)
