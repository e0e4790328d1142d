"""What commands on a database have in common: their options, one transaction beside the server, what they print."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Concatenate

import click

from maskline.clock import SystemClock
from maskline.datadir import DATABASE, open_store, open_vault, postgres
from maskline.domain.ids import canonical, is_sid
from maskline.settings import Settings, load_settings, sentences
from maskline.store.engine import P, R, Store, Tx
from maskline.store.inspection import inspect
from maskline.store.migrate import is_behind

CONFIG = Path("maskline.toml")
_SENTENCES = {name: sentence for name, _, sentence in sentences()}

MOST_FAULTS = 20
"""So many of the lines that are wrong in a file are told."""

Command = Callable[..., Any]


def sid_of(prefix: str, whose: str) -> Callable[[str], str]:
    """The type of an option or argument that is a SID of one kind: the command gets it as it is stored.

    `whose`: such as `a Service's`.
    """

    def sid(text: str) -> str:
        if not is_sid(text, prefix):
            raise click.BadParameter(f"{whose} SID is {prefix} and 32 hexadecimal digits")
        return canonical(text)

    return sid


ACCOUNT_SID, SERVICE_SID = sid_of("AC", "an account's"), sid_of("KS", "a Service's")


def setting(*flags: str, **how: Any) -> Callable[[Command], Command]:
    """An option for a setting, with the setting's sentence as its help."""
    name = flags[0].removeprefix("--").replace("-", "_")
    return click.option(*flags, help=_SENTENCES[name], **how)


data_option = setting("--data", metavar="DIR")
config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"The settings file; default: {CONFIG}, where there is one.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def load(flags: dict[str, Any]) -> Settings:
    """The settings from flags, environment and file. Raises SettingsError."""
    return load_settings(flags, os.environ, flags.pop("config") or CONFIG)


def schema_version(settings: Settings) -> int:
    """The version of the database's schema; 0 if there is no database. Raises StoreUnavailable."""
    if settings.database_url is not None:
        return int(postgres().find_meta(settings.database_url).get("schema_version", 0))
    path = Path(settings.data) / DATABASE
    return int(inspect(path).meta.get("schema_version", 0)) if path.exists() else 0


def database_name(settings: Settings) -> str:
    """How messages call the database: not by its URL, which may hold a password."""
    return settings.data if settings.database_url is None else "the PostgreSQL database"


def on_database(command: Command) -> Command:
    """Options that name a database; the command gets its settings. A mistyped directory makes no new database."""

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        settings = load({name: given.pop(name) for name in ("data", "config")})
        if not (version := schema_version(settings)):
            raise click.ClickException(
                f"there is no database in {database_name(settings)}; `maskline serve` and `maskline migrate` make one"
            )
        if is_behind(version):
            raise click.ClickException("the database has an older schema; run `maskline migrate`")
        return command(settings, **given)

    return data_option(config_option(json_option(run)))


def with_store(settings: Settings, work: Callable[[Store], Awaitable[R]]) -> R:
    """Work on the database, beside its server if it has one."""

    async def run() -> R:
        store = await open_store(settings, SystemClock(), open_vault(settings), serve=False)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def transact(settings: Settings, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run one transaction on the database, beside its server if it has one."""
    return with_store(settings, lambda store: store.write(fn, *args, **kwargs))


def refuse(faults: Sequence[str], done: str) -> None:
    """Raises ClickException with what is wrong in a file, if anything is, and what was `done` all the same."""
    if faults:
        more = f"\nand {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        raise click.ClickException(f"{done}:\n" + "\n".join(faults[:MOST_FAULTS]) + more)


def show(as_json: bool, content: Any, text: str) -> None:
    """Print `content` as JSON where that was asked for, else `text`."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False) if as_json else text)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of equal width, under their headings."""
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(padded)
