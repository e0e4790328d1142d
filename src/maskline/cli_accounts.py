"""The commands for accounts and API keys. A secret is printed once, when it is made."""

from __future__ import annotations

from typing import Any

import click

from maskline.api.forms import Params
from maskline.api.render import render_date
from maskline.cli_database import ACCOUNT_SID, on_database, show, sid_of, table, transact
from maskline.clock import SystemClock
from maskline.datadir import new_account, open_vault, read_account_file, write_account_file
from maskline.domain.ids import canonical
from maskline.domain.problems import Problem
from maskline.domain.webhook_url import leads_to, redact
from maskline.mint import Mint, secret
from maskline.settings import Settings
from maskline.store.accounts import (
    Account,
    AccountStatus,
    find_account,
    insert_account,
    list_accounts,
    replace_token,
    set_events_url,
    set_status,
)
from maskline.store.engine import Tx
from maskline.store.keys import ApiKey, delete_key, insert_key, list_keys

_LISTED = "`maskline accounts list` lists them"


def _load_account(tx: Tx, sid: str) -> Account:
    if (account := find_account(tx, sid)) is None:
        raise click.ClickException(f"there is no account {sid}; {_LISTED}")
    return account


def choose_account(tx: Tx, sid: str | None) -> Account:
    """The account that an option names; without one, the only account there is."""
    if sid is not None:
        return _load_account(tx, canonical(sid))
    known = list_accounts(tx)
    if len(known) > 1:
        raise click.UsageError("there are several accounts; say which with --account")
    if not known:
        raise click.ClickException("there is no account yet; `maskline accounts create` makes one")
    return known[0]


@click.group()
def accounts() -> None:
    """The accounts that may use the API."""


def _account_json(account: Account) -> dict[str, Any]:
    return {
        "sid": account.sid,
        "friendly_name": account.friendly_name,
        "parent_sid": account.parent_sid,
        "status": account.status.value,
        "previous_token_valid": account.previous_digest is not None,
        "events_url": account.events_url and redact(account.events_url),
        "date_created": render_date(account.created_at),
        "date_updated": render_date(account.updated_at),
    }


@accounts.command("create")
@click.argument("name", default="")
@click.option(
    "--parent", "parent_sid", type=ACCOUNT_SID, metavar="SID", help="Make it a subaccount of this account."
)
@on_database
def create_account(settings: Settings, name: str, parent_sid: str | None, as_json: bool) -> None:
    """Make an account and print its auth token, this once."""
    clock, token = SystemClock(), secret()
    account = new_account(Mint(clock), open_vault(settings), clock, None, token, name, parent_sid)

    def create(tx: Tx) -> None:
        if parent_sid is not None and _load_account(tx, parent_sid).parent_sid is not None:
            raise click.ClickException(f"{parent_sid} is a subaccount itself and can have none")
        insert_account(tx, account)

    transact(settings, create)
    text = f"Account SID:  {account.sid}\nAuth token:   {token} (shown only now)"
    show(as_json, {**_account_json(account), "auth_token": token}, text)


@accounts.command("list")
@on_database
def show_accounts(settings: Settings, as_json: bool) -> None:
    """List the accounts, the oldest first."""
    found = [_account_json(account) for account in transact(settings, list_accounts)]
    rows = [
        (
            a["sid"],
            a["date_created"],
            a["status"],
            a["parent_sid"] or "(none)",
            "yes" if a["previous_token_valid"] else "no",
            a["friendly_name"],
        )
        for a in found
    ]
    headings = ("SID", "CREATED", "STATUS", "PARENT", "PREVIOUS TOKEN VALID", "NAME")
    show(as_json, found, table(headings, rows))


@accounts.command("rotate-token")
@click.argument("sid", type=ACCOUNT_SID)
@click.option(
    "--drop-previous", is_flag=True, help="The token until now stops working too, within 5 seconds."
)
@on_database
def rotate_token(settings: Settings, sid: str, drop_previous: bool, as_json: bool) -> None:
    """Give an account a new auth token and print it, this once. The one until now stays valid beside it."""
    token, vault = secret(), open_vault(settings)
    digest, sealed = vault.digest(token), vault.seal(token, sid)
    if not transact(settings, replace_token, sid, digest, sealed, keep_previous=not drop_previous):
        raise click.ClickException(f"there is no account {sid}; {_LISTED}")
    if (first := read_account_file(settings)) is not None and first[0] == sid:
        write_account_file(settings, sid, token)
    if settings.account_sid == sid:
        click.echo(
            "The settings give this account's token: change it there too, or the next start sets it back.",
            err=True,
        )
    previous = "no longer valid" if drop_previous else "valid until the next rotation"
    text = f"Auth token:   {token} (shown only now)\nThe token until now is {previous}."
    show(as_json, {"sid": sid, "auth_token": token, "previous_token_valid": not drop_previous}, text)


def _change_status(settings: Settings, sid: str, status: AccountStatus, as_json: bool) -> None:
    def change(tx: Tx) -> Account:
        account = _load_account(tx, sid)
        if account.status is AccountStatus.CLOSED:
            raise click.ClickException(f"{sid} is closed, and stays so")
        set_status(tx, sid, status)
        return _load_account(tx, sid)

    changed = transact(settings, change)
    show(as_json, _account_json(changed), f"{sid} is {status}; servers know it within 5 seconds.")


@accounts.command("suspend")
@click.argument("sid", type=ACCOUNT_SID)
@on_database
def suspend_account(settings: Settings, sid: str, as_json: bool) -> None:
    """Refuse an account's requests, and its subaccounts', until it is activated again."""
    _change_status(settings, sid, AccountStatus.SUSPENDED, as_json)


@accounts.command("activate")
@click.argument("sid", type=ACCOUNT_SID)
@on_database
def activate_account(settings: Settings, sid: str, as_json: bool) -> None:
    """Serve the requests of a suspended account again."""
    _change_status(settings, sid, AccountStatus.ACTIVE, as_json)


@accounts.command("close")
@click.argument("sid", type=ACCOUNT_SID)
@on_database
def close_account(settings: Settings, sid: str, as_json: bool) -> None:
    """Refuse an account's requests, and its subaccounts', for good."""
    _change_status(settings, sid, AccountStatus.CLOSED, as_json)


@accounts.command("events-url")
@click.argument("sid", type=ACCOUNT_SID)
@click.argument("url", required=False)
@click.option("--off", is_flag=True, help="Send them nowhere.")
@on_database
def set_url(settings: Settings, sid: str, url: str | None, off: bool, as_json: bool) -> None:
    """Send an account's events to URL, and its subaccounts' that have no URL of their own."""
    if bool(url) == off:
        raise click.UsageError("give a URL, or --off")
    if url is not None:
        _check_url(url, settings.public_url)

    def change(tx: Tx) -> Account:
        _load_account(tx, sid)
        set_events_url(tx, sid, url)
        return _load_account(tx, sid)

    changed = transact(settings, change)
    where = "nowhere" if url is None else f"to {redact(url)}"
    show(as_json, _account_json(changed), f"Events of {sid} are sent {where} from now on.")


def _check_url(url: str, home: str | None) -> None:
    """Whether events can be sent there. One that leads to `home`, the server, could have it call itself for ever."""
    try:
        Params({}, {"URL": [url]}).url("URL")
    except Problem as problem:
        raise click.BadParameter(problem.detail, param_hint="URL") from None
    if home is not None and leads_to(url, home):
        raise click.BadParameter("it leads to the server itself", param_hint="URL")


@click.group()
def keys() -> None:
    """API keys: further credentials of an account, one for each program that uses it."""


def _key_json(key: ApiKey) -> dict[str, Any]:
    return {
        "sid": key.sid,
        "account_sid": key.account_sid,
        "friendly_name": key.friendly_name,
        "date_created": render_date(key.created_at),
    }


@keys.command("create")
@click.argument("name", default="")
@click.option("--account", metavar="SID", help="Whose it is; default: the only account there is.")
@on_database
def create_key(settings: Settings, name: str, account: str | None, as_json: bool) -> None:
    """Make an API key and print its secret, this once."""
    clock, made = SystemClock(), secret()
    sid, now, digest = Mint(clock).sid("SK"), clock.now(), open_vault(settings).digest(made)

    def create(tx: Tx) -> ApiKey:
        key = ApiKey(sid, choose_account(tx, account).sid, name, digest, now)
        insert_key(tx, key)
        return key

    key = transact(settings, create)
    text = f"API key SID:  {sid}\nSecret:       {made} (shown only now)\nAccount SID:  {key.account_sid}"
    show(as_json, {**_key_json(key), "secret": made}, text)


@keys.command("list")
@click.option("--account", metavar="SID", help="Only this account's.")
@on_database
def show_keys(settings: Settings, account: str | None, as_json: bool) -> None:
    """List the API keys, the oldest first."""
    found = [_key_json(key) for key in transact(settings, list_keys, account and canonical(account))]
    shown = ("sid", "date_created", "account_sid", "friendly_name")
    rows = [[key[name] for name in shown] for key in found]
    show(as_json, found, table(("SID", "CREATED", "ACCOUNT", "NAME"), rows))


@keys.command("delete")
@click.argument("sid", type=sid_of("SK", "an API key's"))
@on_database
def remove_key(settings: Settings, sid: str, as_json: bool) -> None:
    """Delete an API key; it stops working within 5 seconds."""
    if not transact(settings, delete_key, sid):
        raise click.ClickException(f"there is no API key {sid}; `maskline keys list` lists them")
    show(as_json, {"sid": sid, "deleted": True}, f"{sid} is deleted; servers know it within 5 seconds.")
