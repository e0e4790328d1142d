"""The command line: parses, calls, prints. What a user can mend is said in one sentence, without a traceback.

Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
from typing import Any

import click
import uvloop

from maskline import __version__, demo, doctor
from maskline.carriers import sandbox
from maskline.cli_accounts import accounts, choose_account, keys
from maskline.cli_database import (
    config_option,
    data_option,
    json_option,
    load,
    on_database,
    schema_version,
    setting,
    show,
    table,
    transact,
)
from maskline.clock import SystemClock
from maskline.datadir import WrongDatabase, open_store, open_vault
from maskline.domain.ids import canonical
from maskline.domain.model import ProxyNumber
from maskline.domain.problems import Problem
from maskline.flows.services import new_number
from maskline.mint import Mint
from maskline.runtime import CannotListen, Running, Server
from maskline.settings import ROLES, Settings, SettingsError
from maskline.store.engine import StoreUnavailable, Tx
from maskline.store.migrate import SchemaTooNew, is_behind
from maskline.store.numbers import find_number, insert_number, list_numbers
from maskline.store.sqlite import AlreadyServed
from maskline.telemetry import configure_logs

CARRIERS = (sandbox.NAME,)
_port = click.IntRange(0, 65535)


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
            WrongDatabase,
            StoreUnavailable,
            CannotListen,
            demo.DemoFailed,
        ) as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            if error.filename is None or error.errno == errno.EPIPE:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}") from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="maskline %(version)s")
def main() -> None:
    """A self-hosted server for masked conversations, wire-compatible with Twilio Proxy."""


@main.command()
@setting("--host", metavar="ADDRESS")
@setting("--port", type=_port)
@setting("--ops-port", type=_port)
@data_option
@setting("--database-url", metavar="URL")
@setting("--workers", type=click.IntRange(1))
@setting("--role", type=click.Choice(ROLES))
@setting("--tls-cert", metavar="FILE")
@setting("--tls-key", metavar="FILE")
@config_option
def serve(**flags: Any) -> None:
    """Run the server until SIGINT or SIGTERM."""
    settings = load(flags)
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


main.add_command(accounts)
main.add_command(keys)


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
@on_database
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
        owner = choose_account(tx, account)
        if (found := find_number(tx, made.phone_number)) is not None:
            raise click.ClickException(
                f"{made.phone_number} is there already, of account {found.account_sid}"
            )
        owned = dataclasses.replace(made, account_sid=owner.sid, **capabilities)
        insert_number(tx, owned)
        return owned

    added = transact(settings, add)
    text = f"{added.phone_number} is {added.sid}, of account {added.account_sid}, carried by {carrier}."
    show(as_json, _number_json(added), text)


@numbers.command("list")
@click.option("--account", metavar="SID", help="Only this account's.")
@on_database
def show_numbers(settings: Settings, account: str | None, as_json: bool) -> None:
    """List the directory, in order of number."""
    found = [_number_json(n) for n in transact(settings, list_numbers, account and canonical(account))]
    shown = ("phone_number", "carrier_account", "service_sid", "account_sid")
    rows = [(*(n[name] or "(no pool)" for name in shown), " ".join(n["capabilities"])) for n in found]
    show(as_json, found, table(("NUMBER", "CARRIER", "SERVICE", "ACCOUNT", "CAN"), rows))


@main.command()
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 if something is missing.")
@data_option
@config_option
def migrate(check: bool, **flags: Any) -> None:
    """Bring the database's schema up to date; make the database where there is none."""
    settings = load(flags)
    version = schema_version(settings)
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
@data_option
@config_option
@json_option
def run_doctor(as_json: bool, **flags: Any) -> None:
    """Check settings, data directory and database; each problem comes with a remedy."""
    findings: list[doctor.Finding] = []
    for finding in doctor.examine(lambda: load(flags)):
        findings.append(finding)
        if not as_json:
            click.echo(f"{'ok' if finding.ok else 'PROBLEM':<8}{finding.name}: {finding.says}")
            if finding.remedy:
                click.echo(f"{'':<8}Remedy: {finding.remedy}")
    good = all(finding.ok for finding in findings)
    if as_json:
        show(True, {"ok": good, "checks": [dataclasses.asdict(finding) for finding in findings]}, "")
    if not good:
        raise click.exceptions.Exit(1)
