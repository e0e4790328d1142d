"""The commands for the directory: which numbers, short codes and channel senders there are, and who carries them."""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import click

from maskline.carriers.base import Capabilities
from maskline.carriers.kinds import read_accounts
from maskline.carriers.sandbox import SandboxCarrier
from maskline.cli_accounts import choose_account
from maskline.cli_database import on_database, refuse, show, table, transact, with_store
from maskline.clock import SystemClock
from maskline.domain.directory import Unreadable, read_abilities, read_address
from maskline.domain.ids import canonical, is_sid
from maskline.domain.model import SECOND, NumberKind, ProxyNumber
from maskline.domain.phone import identifier_key
from maskline.domain.problems import Problem
from maskline.domain.throughput import gap_of
from maskline.flows.numbers import Entered, delete_own_number, enter, new_entry
from maskline.flows.retention import PAUSE_S
from maskline.mint import Mint
from maskline.settings import Settings
from maskline.store.adoptions import want_all
from maskline.store.engine import Store, Tx
from maskline.store.numbers import find_number, find_number_by_sid, list_numbers, set_gap

STEP = 500
"""So many lines are written in one transaction."""
LONG = 1000
"""So many lines take long enough for a progress bar."""

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_ABILITIES = ("voice", "sms", "mms")
_RATE = "messages_per_second"
_COLUMNS = (
    *("number", "country", "account", "carrier", "service", "reserved", "friendly_name", _RATE),
    *_ABILITIES,
)
LEAST_RATE, MOST_RATE = 0.001, 1000.0


_rate = click.FloatRange(LEAST_RATE, MOST_RATE)


@click.group()
def numbers() -> None:
    """The directory of numbers: whose they are, who carries them, what they can do."""


def _number_json(number: ProxyNumber) -> dict[str, Any]:
    shown = "sid phone_number account_sid carrier_account service_sid friendly_name iso_country is_reserved"
    able = [name for name in _ABILITIES if getattr(number, name)]
    rate = round(SECOND / number.gap_us, 3) if number.gap_us else None
    return {**{name: getattr(number, name) for name in shown.split()}, "capabilities": able, _RATE: rate}


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is to stand in the directory, before its account is known."""

    number: ProxyNumber
    account: str | None
    service: str | None
    reserved: bool
    named: bool
    event_sid: str

    def write(self, tx: Tx) -> tuple[Entered, ProxyNumber]:
        """Have it stand there. Raises Problem, ClickException for its account."""
        number = dataclasses.replace(self.number, account_sid=choose_account(tx, self.account).sid)
        what = enter(tx, number, self.service, self.event_sid, named=self.named, reserved=self.reserved)
        found = find_number(tx, number.phone_number)
        assert found is not None
        return what, found


class _Entries:
    """Makes entries from what was said of them."""

    def __init__(self, settings: Settings) -> None:
        accounts = read_accounts(settings.carriers)
        self._carriers = {name: account.can for name, account in accounts.items()}
        if settings.sandbox:
            self._carriers[SandboxCarrier.name] = SandboxCarrier.can
        self._clock = SystemClock()
        self._mint = Mint(self._clock)

    def make(
        self,
        text: str,
        *,
        country: str | None,
        account: str | None,
        carrier: str | None,
        service: str | None,
        reserved: bool,
        friendly_name: str | None,
        messages_per_second: float | None,
        said: dict[str, bool | None],
    ) -> _Entry:
        """Raises Unreadable."""
        carrier, can = self._choose(carrier)
        if service and not is_sid(service, "KS"):
            raise Unreadable("a Service's SID is KS and 32 hexadecimal digits")
        address = read_address(text, country)
        able = read_abilities(address.kind, said, {name: getattr(can, name) for name in _ABILITIES})
        gap = gap_of(messages_per_second) if messages_per_second is not None else None
        sid = self._mint.sid(address.kind)
        now = self._clock.now()
        return _Entry(
            number=new_entry(sid, address, "", carrier, now, friendly_name, able, gap),
            account=account or None,
            service=canonical(service) if service else None,
            reserved=reserved,
            named=bool(friendly_name),
            event_sid=self._mint.sid("NO"),
        )

    def _choose(self, name: str | None) -> tuple[str, Capabilities]:
        """The carrier account that is named, or the only one there is. Raises Unreadable."""
        known = ", ".join(self._carriers)
        if not known:
            raise Unreadable("the settings have no carrier account, and the sandbox is off")
        if name is None and len(self._carriers) > 1:
            raise Unreadable(f"there are several carrier accounts ({known}); say which carries it")
        chosen = name or known
        if chosen not in self._carriers:
            raise Unreadable(f"the settings have no carrier account {chosen!r}; they have {known}")
        return chosen, self._carriers[chosen]


@numbers.command("add")
@click.argument("number")
@click.option("--country", metavar="ISO", help="Of a short code, which needs it: such as US.")
@click.option("--account", metavar="SID", help="Whose it is; default: the only account there is.")
@click.option("--carrier", metavar="NAME", help="The carrier account that carries it; default: the only one.")
@click.option("--service", metavar="SID", help="Put it into this Service's pool, too.")
@click.option("--reserved", is_flag=True, help="Mark it reserved in the pool: never chosen automatically.")
@click.option("--friendly-name", metavar="NAME", help="Its name; default: the number.")
@click.option(
    "--messages-per-second",
    type=_rate,
    metavar="RATE",
    help="How many messages it sends at most; default: as its carrier account says.",
)
@click.option("--no-voice", "voice", is_flag=True, default=None, flag_value=False, help="It takes no calls.")
@click.option("--no-sms", "sms", is_flag=True, default=None, flag_value=False, help="It takes no texts.")
@click.option("--no-mms", "mms", is_flag=True, default=None, flag_value=False, help="It takes no pictures.")
@click.option(
    "--mms", "mms", is_flag=True, default=None, flag_value=True, help="A short code takes pictures."
)
@on_database
def add_number(
    settings: Settings,
    number: str,
    as_json: bool,
    voice: bool | None,
    sms: bool | None,
    mms: bool | None,
    **said: Any,
) -> None:
    """Add NUMBER to the directory: in E.164 form, a short code, or a channel's sender such as whatsapp:+14155550100."""
    if said["reserved"] and not said["service"]:
        raise click.UsageError("--reserved is for a pool; say which with --service")
    try:
        entry = _Entries(settings).make(number, said={"voice": voice, "sms": sms, "mms": mms}, **said)
    except Unreadable as error:
        raise click.UsageError(str(error)) from None

    def add(tx: Tx) -> tuple[Entered, ProxyNumber]:
        try:
            return entry.write(tx)
        except Problem as problem:
            raise click.ClickException(_said(problem)) from None

    what, added = transact(settings, add)
    if what is Entered.UNCHANGED:
        raise click.ClickException(f"{added.phone_number} is there already, of account {added.account_sid}")
    text = f"{added.phone_number} is {added.sid}, of account {added.account_sid}, carried by {added.carrier_account}"
    text += f" ({_able(added)})"
    text += f", in the pool of {added.service_sid}." if added.service_sid else "."
    show(as_json, _number_json(added), text)


def _find(tx: Tx, number: str) -> ProxyNumber:
    """What is named by its SID or its value. Raises ClickException."""
    known = any(is_sid(number, kind) for kind in NumberKind)
    found = find_number_by_sid(tx, canonical(number)) if known else find_number(tx, identifier_key(number))
    if found is None:
        raise click.ClickException("it is not in the directory; `maskline numbers list` shows what is")
    return found


def _able(number: ProxyNumber) -> str:
    return " ".join(name for name in _ABILITIES if getattr(number, name)) or "nothing"


def _said(problem: Problem) -> str:
    """What to tell of a refusal. The path of an API that "was not found" says nothing here."""
    return "the account has no such Service" if problem.status == 404 else problem.message


@numbers.command("list")
@click.option("--account", metavar="SID", help="Only this account's.")
@on_database
def show_numbers(settings: Settings, account: str | None, as_json: bool) -> None:
    """List the directory, in order of number."""
    found = [_number_json(n) for n in transact(settings, list_numbers, account and canonical(account))]
    shown = ("phone_number", "carrier_account", "service_sid", "account_sid")
    rows = [(*(n[name] or "(no pool)" for name in shown), " ".join(n["capabilities"])) for n in found]
    show(as_json, found, table(("NUMBER", "CARRIER", "SERVICE", "ACCOUNT", "CAN"), rows))


@numbers.command("import")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@on_database
def import_numbers(settings: Settings, file: TextIO, as_json: bool) -> None:
    """Add what the CSV FILE lists (-: standard input), in steps; what is there already is left alone."""
    faults: list[str] = []
    entries: list[_Line] = []
    for line, entry in _read(file, _Entries(settings)):
        if isinstance(entry, str):
            faults.append(f"line {line}: {entry}")
        else:
            entries.append((line, entry))
    refuse(faults, "nothing was added")
    counts = with_store(settings, lambda store: _write_all(store, entries))
    show(as_json, counts, f"{_told(counts)}.")


def _told(counts: dict[str, int]) -> str:
    joined = f", {counts['joined']} joined a pool" if counts["joined"] else ""
    return f"{counts['added']} added{joined}, {counts['unchanged']} there already"


_Line = tuple[int, _Entry]


class _Undone(Exception):
    """A step that has changed nothing, with what is wrong with it: it was only tried, or something is."""


async def _write_all(store: Store, entries: list[_Line]) -> dict[str, int]:
    """Write the entries, a step at a time, so that a server hardly waits; each is tried before the first is written.

    Raises ClickException with what is wrong.
    """
    steps = [entries[i : i + STEP] for i in range(0, len(entries), STEP)]
    faults: list[str] = []
    for step in steps if len(steps) > 1 else ():
        try:
            await store.write(_write, step, only_try=True)
        except _Undone as undone:
            faults += undone.args
        await SystemClock().sleep(PAUSE_S)
    refuse(faults, "nothing was added")
    counts = {what.value: 0 for what in Entered}
    for step in steps:
        try:
            for what in await store.write(_write, step, only_try=False):
                counts[what] += 1
        except _Undone as undone:  # what was tried apart may not go together
            done = "nothing was added"
            if step is not steps[0]:
                done = (
                    f"what stands before line {step[0][0]} is there ({_told(counts)}), and nothing was added from there"
                    " on; correct these lines and import the file again"
                )
            refuse(undone.args, done)
        if step is not steps[-1]:
            await SystemClock().sleep(PAUSE_S)
    return counts


def _write(tx: Tx, step: list[_Line], *, only_try: bool) -> list[Entered]:
    """Have these stand in the directory. Raises _Undone."""
    done, faults = [], []
    for line, entry in step:
        try:
            done.append(entry.write(tx)[0])
        except Problem as problem:
            faults.append(f"line {line}: {_said(problem)}")
        except click.ClickException as error:
            faults.append(f"line {line}: {error.message}")
    if faults or only_try:
        raise _Undone(*faults)
    return done


def _read(file: TextIO, entries: _Entries) -> Iterator[tuple[int, _Entry | str]]:
    """The lines with their numbers, each as an entry or as what is wrong with it."""
    reader = csv.DictReader(file, strict=True)
    try:
        header = reader.fieldnames or ()
        if "number" not in header or len(set(header)) < len(header) or not set(header) <= set(_COLUMNS):
            yield 1, f"the first line names the columns: number, and any of {', '.join(_COLUMNS[1:])}"
            return
        rows = [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError:
        yield 1, "the file is not UTF-8"
        return
    except csv.Error as error:
        yield reader.reader.line_num, str(error)
        return
    with click.progressbar(
        rows, label=f"Reading {len(rows)} lines", file=sys.stderr, hidden=len(rows) < LONG
    ) as bar:
        for line, row in bar:
            try:
                yield line, _make(row, entries)
            except Unreadable as error:
                yield line, str(error)


def _make(row: dict[str | Any, Any], entries: _Entries) -> _Entry:
    if None in row or None in row.values():
        raise Unreadable("it has more or fewer fields than the first line")
    said: dict[str, Any] = {name: (row.get(name) or "").strip() or None for name in _COLUMNS}
    words = {name: _word(name, said.pop(name)) for name in (*_ABILITIES, "reserved")}
    said[_RATE] = _read_rate(said[_RATE])
    reserved = words.pop("reserved") or False
    if reserved and not said["service"]:
        raise Unreadable("reserved is for a pool; give its service")
    return entries.make(said.pop("number") or "", said=words, reserved=reserved, **said)


def _read_rate(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise Unreadable(f"{_RATE} is a number from {LEAST_RATE:g} to {MOST_RATE:g}")
    return rate


def _word(name: str, text: str | None) -> bool | None:
    if text is None:
        return None
    if (word := _WORDS.get(text.lower())) is None:
        raise Unreadable(f"{name} is yes or no")
    return word


@numbers.command("adopt")
@click.option("--carrier", metavar="NAME", help="Only those that this carrier account carries.")
@on_database
def adopt_numbers(settings: Settings, carrier: str | None, as_json: bool) -> None:
    """Have the server tell carriers anew where to bring what comes to the numbers in pools."""
    if carrier is not None and carrier not in read_accounts(settings.carriers):
        raise click.UsageError(f"the settings have no carrier account {carrier!r}")
    count = transact(settings, want_all, carrier)
    show(as_json, {"numbers": count}, f"{count} numbers; the server tells their carriers within seconds.")


@numbers.command("rate")
@click.argument("number")
@click.argument("messages_per_second", type=_rate, required=False)
@on_database
def set_rate(settings: Settings, number: str, messages_per_second: float | None, as_json: bool) -> None:
    """Have NUMBER, or what has this SID, send so many messages a second at most; without that, as its account says."""

    def write(tx: Tx) -> ProxyNumber:
        found = _find(tx, number)
        set_gap(tx, found, gap_of(messages_per_second) if messages_per_second is not None else None)
        return _find(tx, found.sid)

    found = transact(settings, write)
    rate = (
        "as its carrier account says" if messages_per_second is None else f"{messages_per_second:g} a second"
    )
    show(as_json, _number_json(found), f"{found.phone_number} sends {rate}.")


@numbers.command("remove")
@click.argument("number")
@on_database
def remove_number(settings: Settings, number: str, as_json: bool) -> None:
    """Take NUMBER, or what has this SID, out of the directory and its pool; refused while active Sessions use it."""
    found = transact(settings, _find, number)
    try:
        with_store(settings, lambda store: delete_own_number(store, found.account_sid, found.sid))
    except Problem as problem:
        raise click.ClickException(problem.message) from None
    show(
        as_json,
        {"sid": found.sid, "phone_number": found.phone_number, "removed": True},
        f"{found.phone_number} ({found.sid}) is out of the directory.",
    )
