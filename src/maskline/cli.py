"""The command line: parses, calls, prints. What a user can mend is said in one sentence, without a traceback.

Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import functools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Concatenate

import click
import uvloop

from maskline import __version__, demo, doctor, runtime
from maskline.api.render import render_date
from maskline.carriers import sandbox
from maskline.clock import SystemClock
from maskline.domain.ids import canonical, is_sid
from maskline.domain.model import ProxyNumber
from maskline.domain.problems import Problem
from maskline.flows.services import new_number
from maskline.mint import Mint, secret
from maskline.runtime import Running, Server, new_account, open_store, open_vault
from maskline.settings import ROLES, Settings, SettingsError, load_settings, sentences
from maskline.store.accounts import Account, find_account, insert_account, list_accounts, replace_token
from maskline.store.engine import P, R, StoreUnavailable, Tx
from maskline.store.migrate import SchemaTooNew, is_behind
from maskline.store.numbers import find_number, insert_number, list_numbers
from maskline.store.sqlite import AlreadyServed, inspect
from maskline.telemetry import configure_logs

CONFIG = Path("maskline.toml")
CARRIERS = (sandbox.NAME,)
_SENTENCES = {name: sentence for name, _, sentence in sentences()}

Command = Callable[..., Any]


class _WrongUsage(click.ClickException):
    exit_code = 2


class _Commands(click.Group):
    """Turns the errors that a user can mend into a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SettingsError, AlreadyServed) as error:
            raise _WrongUsage(str(error)) from None
        except (
            SchemaTooNew,
            runtime.WrongDatabase,
            StoreUnavailable,
            runtime.CannotListen,
            demo.DemoFailed,
        ) as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            if error.filename is None or error.errno == errno.EPIPE:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}") from None


def _setting(*flags: str, **how: Any) -> Callable[[Command], Command]:
    """An option for a setting, with the setting's sentence as its help."""
    name = flags[0].removeprefix("--").replace("-", "_")
    return click.option(*flags, help=_SENTENCES[name], **how)


_port = click.IntRange(0, 65535)
_data = _setting("--data", metavar="DIR")
_config = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"The settings file; default: {CONFIG}, where there is one.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _load(flags: dict[str, Any]) -> Settings:
    """The settings from flags, environment and file. Raises SettingsError."""
    return load_settings(flags, os.environ, flags.pop("config") or CONFIG)


def _schema(settings: Settings) -> int:
    """The version of the database's schema; 0 if there is no database. Raises StoreUnavailable."""
    path = Path(settings.data) / runtime.DATABASE
    return int(inspect(path).meta.get("schema_version", 0)) if path.exists() else 0


def _on_database(command: Command) -> Command:
    """Options that name a database; the command gets its settings. A mistyped directory makes no new database."""

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        settings = _load({name: given.pop(name) for name in ("data", "config")})
        if not (version := _schema(settings)):
            raise click.ClickException(
                f"there is no database in {settings.data}; `maskline serve` and `maskline migrate` make one"
            )
        if is_behind(version):
            raise click.ClickException("the database has an older schema; run `maskline migrate`")
        return command(settings, **given)

    return _data(_config(_json(run)))


def _run(settings: Settings, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run one transaction on the database, beside its server if it has one."""

    async def run() -> R:
        store = await open_store(settings, SystemClock(), open_vault(settings), serve=False)
        try:
            return await store.write(fn, *args, **kwargs)
        finally:
            await store.close()

    return asyncio.run(run())


def _print(as_json: bool, content: Any, text: str) -> None:
    click.echo(json.dumps(content, indent=2, ensure_ascii=False) if as_json else text)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(padded)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="maskline %(version)s")
def main() -> None:
    """A self-hosted server for masked conversations, wire-compatible with Twilio Proxy."""


@main.command()
@_setting("--host", metavar="ADDRESS")
@_setting("--port", type=_port)
@_setting("--ops-port", type=_port)
@_data
@_setting("--database-url", metavar="URL")
@_setting("--workers", type=click.IntRange(1))
@_setting("--role", type=click.Choice(ROLES))
@_setting("--tls-cert", metavar="FILE")
@_setting("--tls-key", metavar="FILE")
@_config
def serve(**flags: Any) -> None:
    """Run the server until SIGINT or SIGTERM."""
    settings = _load(flags)
    configure_logs()

    async def run() -> None:
        server = Server(settings)
        running = await server.start()
        serving = asyncio.create_task(server.serve())
        await asyncio.sleep(0)  # from here on signals stop it in order
        _tell(settings, running)
        await serving

    uvloop.run(run())


def _tell(settings: Settings, running: Running) -> None:
    """What a user has to know of a server that has started. Programs read the address from the first line."""
    if settings.auth_token is not None:
        token = "as given"  # noqa: S105 - says where the token is
    elif running.account_file is not None:
        token = f"in {running.account_file}"
    else:
        token = f"as shown when it was made (another: maskline accounts rotate-token {running.account_sid})"
    lines = [f"maskline listens on {running.address}"]
    if running.url != running.address:
        lines.append(f"Public URL:   {running.url}")
    lines += [
        f"Account SID:  {running.account_sid}",
        f"Auth token:   {token}",
        f"Sandbox:      {'on; messages go to virtual handsets only' if running.sandbox else 'off'}",
        f"Health:       {running.ops_url or 'not served: the default ops port is taken'}",
    ]
    if settings.role == "api":
        lines.append("Role:         api; messages are accepted and wait for a server of role all")
    click.echo("\n".join(lines))


@main.command("demo")
@click.option("--once", is_flag=True, help="Stop after the conversation.")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", help="Loopback address to listen on.")
@click.option("--port", type=_port, help="Port to listen on; default: 8080, or a free one if that is taken.")
@click.option(
    "--data", metavar="DIR", help="Keep the data here; default: a directory that is removed at the end."
)
def play_demo(once: bool, host: str, port: int | None, data: str | None) -> None:
    """Play one masked conversation, then leave the server running. Uses no settings but these."""
    demo.run(host, port, data, once=once)


@main.group()
def accounts() -> None:
    """The accounts that may use the API."""


def _account_json(account: Account) -> dict[str, Any]:
    return {
        "sid": account.sid,
        "friendly_name": account.friendly_name,
        "previous_token_valid": account.previous_digest is not None,
        "date_created": render_date(account.created_at),
        "date_updated": render_date(account.updated_at),
    }


@accounts.command("create")
@click.argument("name", default="")
@_on_database
def create_account(settings: Settings, name: str, as_json: bool) -> None:
    """Make an account and print its auth token, this once."""
    clock, token = SystemClock(), secret()
    account = new_account(Mint(clock), open_vault(settings), clock, None, token, name)
    _run(settings, insert_account, account)
    text = f"Account SID:  {account.sid}\nAuth token:   {token} (shown only now)"
    _print(as_json, {**_account_json(account), "auth_token": token}, text)


@accounts.command("list")
@_on_database
def show_accounts(settings: Settings, as_json: bool) -> None:
    """List the accounts, the oldest first."""
    found = [_account_json(account) for account in _run(settings, list_accounts)]
    rows = [
        (a["sid"], a["date_created"], "yes" if a["previous_token_valid"] else "no", a["friendly_name"])
        for a in found
    ]
    _print(as_json, found, _table(("SID", "CREATED", "PREVIOUS TOKEN VALID", "NAME"), rows))


@accounts.command("rotate-token")
@click.argument("sid")
@click.option(
    "--drop-previous", is_flag=True, help="The token until now stops working too, within 5 seconds."
)
@_on_database
def rotate_token(settings: Settings, sid: str, drop_previous: bool, as_json: bool) -> None:
    """Give an account a new auth token and print it, this once. The one until now stays valid beside it."""
    if not is_sid(sid, "AC"):
        raise click.BadParameter("an Account SID is AC and 32 hexadecimal digits", param_hint="SID")
    sid, token, vault = canonical(sid), secret(), open_vault(settings)
    digest, sealed = vault.digest(token), vault.seal(token, sid)
    if not _run(settings, replace_token, sid, digest, sealed, keep_previous=not drop_previous):
        raise click.ClickException(f"there is no account {sid}; `maskline accounts list` lists them")
    if (first := runtime.read_account_file(settings)) is not None and first[0] == sid:
        runtime.write_account_file(settings, sid, token)
    if settings.account_sid == sid:
        click.echo(
            "The settings give this account's token: change it there too, or the next start sets it back.",
            err=True,
        )
    previous = "no longer valid" if drop_previous else "valid until the next rotation"
    text = f"Auth token:   {token} (shown only now)\nThe token until now is {previous}."
    _print(as_json, {"sid": sid, "auth_token": token, "previous_token_valid": not drop_previous}, text)


@main.group()
def numbers() -> None:
    """The directory of numbers: whose they are, who carries them, what they can do."""


def _number_json(number: ProxyNumber) -> dict[str, Any]:
    shown = "sid phone_number account_sid carrier_account service_sid friendly_name iso_country".split()
    able = [name for name in ("voice", "sms", "mms") if getattr(number, name)]
    return {**{name: getattr(number, name) for name in shown}, "capabilities": able}


@numbers.command("add")
@click.argument("number")
@click.option("--account", metavar="SID", help="Whose it is; default: the only account there is.")
@click.option("--carrier", type=click.Choice(CARRIERS), default=sandbox.NAME, help="Who carries it.")
@click.option("--friendly-name", metavar="NAME", help="Its name; default: the number.")
@click.option("--no-voice", "voice", is_flag=True, default=True, flag_value=False, help="It takes no calls.")
@click.option("--no-sms", "sms", is_flag=True, default=True, flag_value=False, help="It takes no texts.")
@click.option("--no-mms", "mms", is_flag=True, default=True, flag_value=False, help="It takes no pictures.")
@_on_database
def add_number(
    settings: Settings,
    number: str,
    account: str | None,
    carrier: str,
    friendly_name: str | None,
    as_json: bool,
    **capabilities: Any,
) -> None:
    """Add an E.164 NUMBER to the directory; a Service's pool takes it from there."""
    if carrier == sandbox.NAME and not settings.sandbox:
        raise click.UsageError("the sandbox is off in the settings, and no other carrier is configured")
    clock = SystemClock()
    try:
        made = new_number(Mint(clock).sid("PN"), number, "", carrier, clock.now(), friendly_name)
    except Problem as problem:
        raise click.BadParameter(problem.code.sentence, param_hint="NUMBER") from None

    def add(tx: Tx) -> ProxyNumber:
        known = list_accounts(tx) if account is None else [find_account(tx, canonical(account))]
        if len(known) > 1:
            raise click.UsageError("there are several accounts; say whose number it is with --account")
        if not known or (owner := known[0]) is None:
            raise click.ClickException("there is no such account; `maskline accounts list` lists them")
        if (found := find_number(tx, made.phone_number)) is not None:
            raise click.ClickException(
                f"{made.phone_number} is there already, of account {found.account_sid}"
            )
        owned = dataclasses.replace(made, account_sid=owner.sid, **capabilities)
        insert_number(tx, owned)
        return owned

    added = _run(settings, add)
    text = f"{added.phone_number} is {added.sid}, of account {added.account_sid}, carried by {carrier}."
    _print(as_json, _number_json(added), text)


@numbers.command("list")
@click.option("--account", metavar="SID", help="Only this account's.")
@_on_database
def show_numbers(settings: Settings, account: str | None, as_json: bool) -> None:
    """List the directory, in order of number."""
    found = [_number_json(n) for n in _run(settings, list_numbers, account and canonical(account))]
    shown = ("phone_number", "carrier_account", "service_sid", "account_sid")
    rows = [(*(n[name] or "(no pool)" for name in shown), " ".join(n["capabilities"])) for n in found]
    _print(as_json, found, _table(("NUMBER", "CARRIER", "SERVICE", "ACCOUNT", "CAN"), rows))


@main.command()
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 if something is missing.")
@_data
@_config
def migrate(check: bool, **flags: Any) -> None:
    """Bring the database's schema up to date; make the database where there is none."""
    settings = _load(flags)
    version = _schema(settings)
    if not is_behind(version):
        click.echo(f"Up to date: schema {version}.")
        return
    if check:
        said = f"has schema {version}, which is not the newest" if version else "is not there"
        raise click.ClickException(f"the database {said}; run `maskline migrate`")

    async def run() -> None:
        # As a server would: none may run on it, or start, meanwhile.
        store = await open_store(settings, SystemClock(), open_vault(settings))
        await store.close()

    asyncio.run(run())
    click.echo("The database is up to date." if version else f"Made the database in {settings.data}.")


@main.command("doctor")
@_data
@_config
@_json
def run_doctor(as_json: bool, **flags: Any) -> None:
    """Check settings, data directory and database; each problem comes with a remedy."""
    findings: list[doctor.Finding] = []
    for finding in doctor.examine(lambda: _load(flags)):
        findings.append(finding)
        if not as_json:
            click.echo(f"{'ok' if finding.ok else 'PROBLEM':<8}{finding.name}: {finding.says}")
            if finding.remedy:
                click.echo(f"{'':<8}Remedy: {finding.remedy}")
    good = all(finding.ok for finding in findings)
    if as_json:
        _print(True, {"ok": good, "checks": [dataclasses.asdict(finding) for finding in findings]}, "")
    if not good:
        raise click.exceptions.Exit(1)
