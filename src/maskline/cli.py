"""The command line: parses, calls, prints. What a user can mend is said in one sentence, without a traceback.

Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import gc
import sys
from typing import Any

import click
import uvloop

from maskline import __version__, demo, doctor
from maskline.api.render import render_date
from maskline.cli_accounts import accounts, keys
from maskline.cli_backup import backup
from maskline.cli_callbacks import callbacks
from maskline.cli_database import (
    config_option,
    data_option,
    database_name,
    json_option,
    load,
    on_database,
    schema_version,
    setting,
    show,
)
from maskline.cli_events import events
from maskline.cli_numbers import numbers
from maskline.cli_optouts import optouts
from maskline.cli_people import people
from maskline.cli_play import play_scene
from maskline.clock import SystemClock
from maskline.datadir import WrongDatabase, open_store, open_vault, postgres
from maskline.domain.model import DAY, Instant
from maskline.findings import Finding
from maskline.flows.restored import Restored
from maskline.flows.retention import prune
from maskline.listening import CannotListen, Listening, listen
from maskline.mint import Mint
from maskline.play.client import StepFailed
from maskline.processes import Process, fork_processes
from maskline.runtime import Running, Server
from maskline.settings import ROLES, Settings, SettingsError
from maskline.store.backup import CannotBackUp, mark
from maskline.store.citus import CannotDistribute, check_citus, distribute
from maskline.store.engine import StoreUnavailable
from maskline.store.migrate import SchemaTooNew, SchemaTooOld, is_behind
from maskline.store.postgres_inspection import inspect_server
from maskline.store.session_ends import count_old_sessions
from maskline.store.sqlite import AlreadyServed
from maskline.telemetry import configure_logs

# How many objects more, and how many passes over the young and the middle-aged, before garbage is looked for.
GARBAGE_THRESHOLDS = (20_000, 20, 50)

_IN_USE = "somebody wrote into this database less than 15 seconds ago; stop the servers, and {} then"

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
            SchemaTooOld,
            WrongDatabase,
            StoreUnavailable,
            CannotListen,
            CannotBackUp,
            CannotDistribute,
            StepFailed,
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
@click.option(
    "--resend-restored",
    is_flag=True,
    help="The first start on a restored backup sends what waited in it, though it may have been sent before.",
)
@config_option
def serve(resend_restored: bool, **flags: Any) -> None:
    """Run the server until SIGINT or SIGTERM."""
    settings = load(flags)
    configure_logs(StoreUnavailable)
    listening: Listening | None = None
    process: Process | None = None
    if settings.workers > 1:
        listening = listen(settings)
        process = fork_processes(settings.workers)

    async def run() -> None:
        server = Server(
            settings,
            resend_restored=resend_restored,
            listening=listening,
            index=process.index if process else 0,
        )
        server.heed_signals()
        if process is not None:
            process.heed_signals()
        running = await server.start()
        serving = asyncio.create_task(server.serve(process.lifeline if process else None))
        # What is there now stays, and requests leave few cycles: looking at all of it for garbage every few hundred
        # objects cost several per cent of a busy server's time.
        gc.freeze()
        gc.set_threshold(*GARBAGE_THRESHOLDS)
        if process is None or process.first:
            _tell(settings, running, resend_restored)
        if process is not None:
            process.tell_ready()
        await serving

    uvloop.run(run())


def _tell(settings: Settings, running: Running, resend_restored: bool) -> None:
    """What a user has to know of a server that has started. Programs read the address from the first line."""
    if settings.auth_token is not None:
        token = "as given"  # noqa: S105 - says where the token is
    elif running.account_file is not None:
        token = f"in {running.account_file}"
    else:
        token = f"as shown when it was made (another: maskline accounts rotate-token {running.account_sid})"
    lines = [f"maskline listens on {running.address}" if running.address else "maskline listens nowhere"]
    if running.url != running.address:
        lines.append(f"Public URL:   {running.url}")
    lines += [
        f"Account SID:  {running.account_sid}",
        f"Auth token:   {token}",
        f"Sandbox:      {'on; messages go to virtual handsets only' if running.sandbox else 'off'}",
    ]
    if running.carriers:
        told = ", ".join(f"{name} ({kind})" for name, kind in running.carriers.items())
        lines.append(f"Carriers:     {told}")
    if running.restored is not None:
        lines.append(f"Restored:     {_outcome(running.restored)}")
    elif resend_restored:
        lines.append("Restored:     nothing; leave --resend-restored out, or the next restore sends again")
    lines.append(f"Health:       {' '.join(running.ops_urls) or 'not served: the default ops port is taken'}")
    if settings.role == "api":
        lines.append("Role:         api; messages are accepted and wait for a server of role all or worker")
    if settings.role == "worker":
        lines.append("Role:         worker; what others accept is delivered, and the API is not served here")
    click.echo("\n".join(lines))


def _outcome(restored: Restored) -> str:
    backup_of = f"the backup of {render_date(restored.made_at)}"
    if restored.resends:
        return f"{backup_of}; what waited in it is sent, and may arrive twice"
    said = f"{backup_of}; {restored.sends} messages that waited in it are delivery-unknown"
    return f"{said}, {restored.received} from people were not passed on" if restored.received else said


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


main.add_command(play_scene)
main.add_command(accounts)
main.add_command(keys)
main.add_command(callbacks)
main.add_command(events)
main.add_command(people)
main.add_command(numbers)
main.add_command(optouts)
main.add_command(backup)


@main.command()
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 if something is missing.")
@click.option(
    "--restored",
    is_flag=True,
    help="Mark the database as a restored copy, so that the first start on it sends nothing twice.",
)
@click.option(
    "--distribute",
    "spread",
    is_flag=True,
    help="Have Citus spread the large tables over its machines, by Service (PostgreSQL with that extension).",
)
@data_option
@config_option
def migrate(check: bool, restored: bool, spread: bool, **flags: Any) -> None:
    """Bring the database's schema up to date; make the database where there is none."""
    settings = load(flags)
    if check and restored:
        raise click.UsageError("--check changes nothing, and --restored does: give one of them")
    if check and spread:
        raise click.UsageError("--check changes nothing, and --distribute does: give one of them")
    if spread and settings.database_url is None:
        raise click.ClickException("only a PostgreSQL database with the Citus extension can be distributed")
    version = schema_version(settings)
    if restored and not version:
        raise click.ClickException(f"there is no database in {database_name(settings)}; restore it first")
    if not is_behind(version):
        click.echo(f"Up to date: schema {version}.")
    elif check:
        said = f"has schema {version}, which is not the newest" if version else "is not there"
        raise click.ClickException(f"the database {said}; run `maskline migrate`")
    if spread and settings.database_url is not None and is_behind(version):
        with postgres().opened(settings.database_url) as (execute, _):
            check_citus(execute)  # before anything is made there
    marked = None
    if restored or is_behind(version):
        marked = asyncio.run(_migrate(settings, restored=restored))
    if is_behind(version):
        click.echo(
            "The database is up to date." if version else f"Made the database in {database_name(settings)}."
        )
    if marked is not None:
        click.echo(
            f"Marked as a copy of {render_date(marked)}: the first start gives up what waits in it, or with"
            " --resend-restored sends it."
        )
    if spread:
        assert settings.database_url is not None
        _distribute(settings.database_url)


def _distribute(url: str) -> None:
    with postgres().opened(url) as (execute, _):
        if inspect_server(execute, SystemClock()).runs:
            raise click.ClickException(_IN_USE.format("distribute it"))
        for table in distribute(execute):
            click.echo(f"Distributed {table}.")
    click.echo("All large tables are distributed.")


async def _migrate(settings: Settings, *, restored: bool) -> Instant | None:
    """On SQLite as a server would: none may run on it, or start, meanwhile."""
    clock = SystemClock()
    run = Mint(clock).sid("RN")
    store = await open_store(settings, clock, open_vault(settings), run=run, migrate=True)
    try:
        if not restored:
            return None
        marked = await store.write(mark, run)
    finally:
        await store.close()
    if marked is None:
        raise click.ClickException(_IN_USE.format("mark it again"))
    return marked


@main.command("prune")
@click.option(
    "--days",
    type=click.IntRange(1, 36500),
    metavar="N",
    help="How long ago they must have ended; default: retention_days of the settings.",
)
@on_database
def prune_database(settings: Settings, days: int | None, as_json: bool) -> None:
    """Delete closed Sessions that ended long ago, with all below them."""
    days = settings.retention_days if days is None else days
    retention_us = days * DAY

    async def run() -> int:
        clock = SystemClock()
        store = await open_store(settings, clock, open_vault(settings), serve=False)
        try:
            count = await store.read(count_old_sessions, retention_us)
            deleted = 0
            with click.progressbar(length=count, label=f"Deleting {count} Sessions", file=sys.stderr) as bar:
                async for done in prune(store, clock, retention_us):
                    deleted += done
                    bar.update(done)
        finally:
            await store.close()
        return deleted

    deleted = asyncio.run(run())
    text = f"Deleted {deleted} Sessions that ended {days} days ago or earlier."
    if days == 0:
        text = "Deleted no Sessions: retention_days is 0, and --days was not given."
    show(as_json, {"days": days, "sessions_deleted": deleted}, text)


@main.command("doctor")
@data_option
@config_option
@json_option
def run_doctor(as_json: bool, **flags: Any) -> None:
    """Check settings, data directory and database; each problem comes with a remedy."""
    findings: list[Finding] = []
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
