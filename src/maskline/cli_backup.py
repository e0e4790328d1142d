"""The `backup` command: a copy of the database, beside its server."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from maskline.api.render import render_date
from maskline.cli_database import config_option, data_option, json_option, load, show
from maskline.clock import SystemClock
from maskline.datadir import ACCOUNT_FILE, DATABASE, KEY_FILE
from maskline.doctor import LEAST_FREE
from maskline.settings import Settings
from maskline.store.backup import back_up
from maskline.store.inspection import inspect


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there already.")
@data_option
@config_option
@json_option
def backup(file: Path, force: bool, as_json: bool, **flags: str) -> None:
    """Copy the database to FILE, beside its server; marked, so that a restore sends nothing twice."""
    settings = load(flags)
    if settings.database_url is not None:
        raise click.UsageError(
            "of a PostgreSQL database use pg_dump, or base backups with the log archived"
            " (docs/how-to/use-postgresql.md tells how, and what makes a restore send nothing twice)"
        )
    source = Path(settings.data) / DATABASE
    if not source.exists():
        raise click.ClickException(f"there is no database in {settings.data}")
    _check(file, source, force)
    inspect(source)  # to read it is to write its log into it, which had better be its own
    now = SystemClock().now()
    with click.progressbar(length=1, label=f"Copying {source}", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        size = back_up(source, file, now, progress)
    content = {
        "file": str(file),
        "bytes": size,
        "backed_up_at": render_date(now),
        "left_out": [KEY_FILE, ACCOUNT_FILE],
    }
    show(as_json, content, f"Copied {size:,} bytes to {file}.\n{_left_out(settings)}")


def _check(file: Path, source: Path, force: bool) -> None:
    """Whether a copy may be put there. Raises ClickException."""
    directory = file.absolute().parent
    if not directory.is_dir():
        raise click.ClickException(f"{file} cannot be written: {directory} is not a directory")
    if directory.samefile(source.parent):
        raise click.ClickException(
            f"{file} is in the data directory; keep backups where they are not lost with it"
        )
    if file.is_dir():
        raise click.ClickException(f"{file} is a directory; name a file in it")
    if file.exists() and not force:
        raise click.ClickException(f"{file} is there already; name another, or give --force to replace it")
    if file.with_name(f"{file.name}-wal").exists():
        raise click.ClickException(
            f"{file} is a database that was opened, with a log beside it; name another"
        )
    need, free = source.stat().st_size, shutil.disk_usage(directory).free
    if directory.stat().st_dev == source.stat().st_dev:  # whose room the server needs as well
        need += LEAST_FREE
    if free < need:
        raise click.ClickException(
            f"{file} needs {need >> 20:,} MiB, and {free >> 20:,} MiB are free in {directory}"
        )


def _left_out(settings: Settings) -> str:
    data = Path(settings.data)
    key = "the secret key" if settings.secret_key is not None else f"the secret key {data / KEY_FILE}"
    return (
        f"Not in it: {key}, without which nobody can start a server on it: keep a copy elsewhere.\n"
        f"Nor is {data / ACCOUNT_FILE}; without that, `maskline accounts rotate-token` makes a new token."
    )
