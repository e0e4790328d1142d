"""`maskline optouts`: who gets no messages of a Service; lists of them taken over from elsewhere."""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from typing import Any, TextIO

import click

from maskline.api.render import render_date
from maskline.cli_database import SERVICE_SID, on_database, refuse, show, table, transact, with_store
from maskline.clock import SystemClock
from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.model import Service
from maskline.domain.optout import OPTOUT_PREFIX, Source
from maskline.domain.problems import Problem
from maskline.flows.optouts import create_optout, read_number, read_person
from maskline.flows.retention import PAUSE_S
from maskline.mint import Mint
from maskline.settings import Settings
from maskline.store.engine import Store, Tx
from maskline.store.optouts import (
    OptOut,
    delete_optout,
    find_optout,
    insert_optout,
    list_optouts,
    load_optout,
)
from maskline.store.pages import Seek
from maskline.store.services import list_every_service

STEP = 500
"""So many are written at a time, in some hundredths of a second, so that a running server hardly waits."""
PAGE = 1000
LONG = 1000
COLUMNS = ("identifier", "proxy_identifier")
_PLAIN = ("sid", "service_sid", *COLUMNS, "source", "date_created")

_NONE = "there is no such opt-out; `maskline optouts list` shows what is"

service_option = click.option(
    "--service", type=SERVICE_SID, metavar="SID", help="Of which Service; default: the only one there is."
)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a file: a person, by their identifier key, and a proxy number as it was written."""

    line: int
    person: str
    proxy: str


@click.group()
def optouts() -> None:
    """Who gets no messages of a Service any more."""


def _choose(tx: Tx, sid: str | None) -> Service:
    """The Service that the option names; without one, the only Service there is."""
    known = [one for one in list_every_service(tx) if sid in (None, one.sid)]
    if len(known) > 1:
        raise click.UsageError("there are several Services; say which with --service")
    if not known:
        raise click.ClickException("there is no such Service")
    return known[0]


def _json(optout: OptOut) -> dict[str, Any]:
    return {
        "sid": optout.sid,
        "service_sid": optout.service_sid,
        "identifier": optout.identifier,
        "proxy_identifier": optout.proxy_number or None,
        "source": optout.source,
        "date_created": render_date(optout.created_at),
    }


@optouts.command("list")
@service_option
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print what `import` reads; of erased people there is nothing."
)
@on_database
def show_optouts(settings: Settings, service: str | None, as_csv: bool, as_json: bool) -> None:
    """List a Service's opt-outs, the newest first."""

    async def read(store: Store) -> list[OptOut]:
        chosen = await store.read(_choose, service)
        found: list[OptOut] = []
        key: tuple[str] | None = None
        while True:
            page = await store.read(list_optouts, chosen.sid, Seek(PAGE, key))
            found += page.rows
            if not page.older:
                return found
            key = (page.rows[-1].sid,)

    found = with_store(settings, read)
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((one.identifier, one.proxy_number) for one in found if one.identifier is not None)
        return
    rows = [_json(one) for one in found]
    empty = {"identifier": "(erased)", "proxy_identifier": "(all)"}
    lines = [[str(row[name] or empty.get(name)) for name in _PLAIN] for row in rows]
    show(as_json, rows, table(("SID", "SERVICE", "IDENTIFIER", "FROM", "SOURCE", "CREATED"), lines))


@optouts.command("add")
@click.argument("identifier")
@service_option
@click.option("--proxy", metavar="NUMBER", default="", help="Only from this proxy number; default: from all.")
@on_database
def add_optout(settings: Settings, identifier: str, service: str | None, proxy: str, as_json: bool) -> None:
    """Write down that IDENTIFIER, a phone number or channel address, gets no messages of a Service any more."""
    sid = Mint(SystemClock()).sid(OPTOUT_PREFIX)

    def add(tx: Tx) -> OptOut:
        chosen = _choose(tx, service)
        try:
            return create_optout(tx, chosen.account_sid, chosen.sid, sid, identifier, proxy, None)
        except Problem as problem:
            raise click.ClickException(problem.message) from None

    made = transact(settings, add)
    said = "opts out" if made.sid == sid else "had opted out already"
    show(as_json, _json(made), f"{made.identifier} {said} of messages {_from(made)} ({made.sid}).")


def _from(optout: OptOut) -> str:
    return f"from {optout.proxy_number}" if optout.proxy_number else f"of {optout.service_sid}"


@optouts.command("remove")
@click.argument("identifier")
@service_option
@click.option(
    "--proxy", metavar="NUMBER", default="", help="The one from this proxy number; default: from all."
)
@on_database
def remove_optout(
    settings: Settings, identifier: str, service: str | None, proxy: str, as_json: bool
) -> None:
    """End the opt-out of IDENTIFIER, or the one of this SID: they take messages again."""

    def remove(tx: Tx) -> OptOut:
        chosen = _choose(tx, service)
        try:
            found = _load(tx, chosen.sid, identifier, proxy)
        except Problem as problem:
            raise click.ClickException(_NONE if problem.status == 404 else problem.message) from None
        delete_optout(tx, chosen.sid, found.sid)
        return found

    gone = transact(settings, remove)
    show(as_json, {**_json(gone), "removed": True}, f"{gone.sid} has ended.")


def _load(tx: Tx, service_sid: str, identifier: str, proxy: str) -> OptOut:
    """That of this SID, or of this person. Raises 20404, 80404, 80605."""
    if is_sid(identifier, OPTOUT_PREFIX):
        return load_optout(tx, service_sid, canonical(identifier))
    found = find_optout(tx, service_sid, read_person(identifier), read_number(tx, service_sid, proxy))
    if found is None:
        raise Problem(problems.NOT_FOUND)
    return found


@optouts.command("import")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@service_option
@on_database
def import_optouts(settings: Settings, file: TextIO, service: str | None, as_json: bool) -> None:
    """Write down who stands in FILE (-: standard input), a person a line; nothing if a line is wrong."""
    lines, faults = _read(file)
    chosen = transact(settings, _choose, service)
    proxies = {line.proxy for line in lines}
    numbers, unknown = transact(settings, _find_numbers, chosen.sid, proxies)
    faults += [f"line {line.line}: {unknown[line.proxy]}" for line in lines if line.proxy in unknown]
    refuse(faults, "nothing was added")
    mint = Mint(SystemClock())

    def write(tx: Tx, step: list[tuple[str, _Line]]) -> int:
        owner = (chosen.account_sid, chosen.sid)
        return sum(
            insert_optout(tx, sid, *owner, line.person, numbers[line.proxy], Source.IMPORT)
            for sid, line in step
        )

    async def write_all(store: Store) -> int:
        added = 0
        with click.progressbar(
            length=len(lines), label=f"Writing {len(lines)} lines", file=sys.stderr, hidden=len(lines) < LONG
        ) as bar:
            for i in range(0, len(lines), STEP):
                step = [(mint.sid(OPTOUT_PREFIX), line) for line in lines[i : i + STEP]]
                added += await store.write(write, step)
                bar.update(len(step))
                await SystemClock().sleep(PAUSE_S)
        return added

    added = with_store(settings, write_all)
    counts = {"added": added, "unchanged": len(lines) - added}
    show(as_json, counts, f"{added} added, {counts['unchanged']} there already.")


def _read(file: TextIO) -> tuple[list[_Line], list[str]]:
    """The lines, and what is wrong with those that are none."""
    reader = csv.reader(file, strict=True)
    try:
        rows = [(reader.line_num, [field.strip() for field in row]) for row in reader]
    except UnicodeDecodeError:
        return [], ["line 1: the file is not UTF-8"]
    except csv.Error as error:
        return [], [f"line {reader.line_num}: {error}"]
    if rows and rows[0][1] in (list(COLUMNS), list(COLUMNS[:1])):
        del rows[0]
    lines, faults = [], []
    with click.progressbar(
        rows, label=f"Reading {len(rows)} lines", file=sys.stderr, hidden=len(rows) < LONG
    ) as bar:
        for number, row in bar:
            if not any(row):
                continue
            if len(row) > len(COLUMNS):
                faults.append(f"line {number}: it has more than {len(COLUMNS)} fields")
                continue
            try:
                lines.append(_Line(number, read_person(row[0]), "".join(row[1:])))
            except Problem as problem:
                faults.append(f"line {number}: {problem.message}")
    return lines, faults


def _find_numbers(tx: Tx, service_sid: str, proxies: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The proxy numbers that these are, and why some are none."""
    numbers, unknown = {}, {}
    for proxy in proxies:
        try:
            numbers[proxy] = read_number(tx, service_sid, proxy)
        except Problem as problem:
            unknown[proxy] = problem.message
    return numbers, unknown
