"""What `maskline doctor` looks at: settings, address, data directory, database, key. It changes nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from cryptography.x509 import load_pem_x509_certificates

from maskline.api.render import render_date
from maskline.carriers.base import CarrierEvent, Checked, Means
from maskline.carriers.kinds import CarrierAccount, read_accounts
from maskline.carriers.sandbox import SandboxCarrier
from maskline.clock import SystemClock
from maskline.datadir import ACCOUNT_FILE, DATABASE, KEY_FILE
from maskline.doctor_postgres import SERVERS, examine_server, read_server
from maskline.domain.model import SECOND
from maskline.findings import Finding, backup_of, key_of, schema_of
from maskline.flows.inbox import NoInbox
from maskline.listening import CannotListen, check_address, check_tls
from maskline.net import HttpClient, anywhere
from maskline.settings import Settings, SettingsError
from maskline.store.carrier_accounts import Carried, find_absent, look_up_account
from maskline.store.engine import StoreUnavailable
from maskline.store.inspection import inspect, is_served, opened
from maskline.store.migrate import Execute
from maskline.store.sqlite import OLDEST_SQLITE, SQLITE

T = TypeVar("T")

LEAST_FREE = 256 << 20


def examine(load: Callable[[], Settings]) -> Iterator[Finding]:
    """Look at one thing after the other; what cannot be looked at for an earlier problem is left out."""
    try:
        settings = load()
        check_tls(settings)
        accounts = read_accounts(settings.carriers)
    except SettingsError as error:
        remedy = "correct it in the flag, the environment or the settings file (docs/reference/settings.md)"
        yield Finding("settings", False, str(error), remedy)
        return
    yield Finding("settings", True, f"can be used; the data directory is {settings.data}")
    for file in settings.secret_files:
        if file.stat().st_mode & 0o077:
            yield Finding("secrets", False, f"others may read {file}, which has some", f"chmod 600 {file}")
    if settings.tls_cert is not None:
        yield _certificate(Path(settings.tls_cert))
    yield _public_url(settings)
    yield Finding("sandbox", True, "on; messages go to virtual handsets only" if settings.sandbox else "off")
    yield from _carriers(settings, accounts)
    if settings.database_url is None:
        yield from _embedded(settings)
    else:
        yield from _remote(settings, settings.database_url)
    yield from _at_carriers(settings, accounts)
    yield from _absent(settings, accounts)


def _remote(settings: Settings, url: str) -> Iterator[Finding]:
    """A PostgreSQL database, of which the data directory has no more than the first account."""
    data = Path(settings.data)
    yield _directory(data) if data.is_dir() else _missing(data)
    served = False
    for finding in examine_server(settings, url):
        served = served or finding.name == SERVERS
        yield finding
    if not served:  # one of them may be the one that listens here
        yield _address(settings)


def _embedded(settings: Settings) -> Iterator[Finding]:
    yield _sqlite()
    data = Path(settings.data)
    if not data.is_dir():
        yield _missing(data)
        yield _address(settings)
        return
    yield _directory(data)
    yield _space(data)
    path = data / DATABASE
    served = is_served(path)
    yield Finding("server", True, "is running on it" if served else "none is running on it")
    if not served:
        yield _address(settings)
    if not path.exists():
        yield Finding("database", True, f"{path} is not there yet; `maskline serve` makes it")
    else:
        yield from _database(settings, path)


def _carriers(settings: Settings, accounts: Mapping[str, CarrierAccount]) -> Iterator[Finding]:
    for account in accounts.values():
        yield Finding(f"carrier {account.name}", True, account.kind)
    if not accounts and not settings.sandbox:
        remedy = "write an account into the settings (docs/carriers/index.md), or leave the sandbox on"
        yield Finding("carriers", False, "there is no account, and the sandbox is off", remedy)


def _at_carriers(settings: Settings, accounts: Mapping[str, CarrierAccount]) -> Iterator[Finding]:
    """What the carriers say themselves, of each account and of its numbers in pools."""
    for account in accounts.values():
        known = _look(settings, partial(look_up_account, carrier_account=account.name), Carried([]))
        if known.down_since is not None:
            yield _down(account.name, known.down_since, known.refused)
        for checked in asyncio.run(_ask_carrier(settings, account, known.numbers)):
            yield Finding(f"carrier {account.name}", checked.remedy is None, checked.says, checked.remedy)


async def _ask_carrier(
    settings: Settings, account: CarrierAccount, numbers: Sequence[str]
) -> Sequence[Checked]:
    """What a carrier says of an account, and of these numbers of it. Nothing is changed."""

    async def bring(_: CarrierEvent) -> bool:
        return False

    http = await HttpClient(may_reach=anywhere).open()
    try:
        url = settings.public_url or f"http://{settings.host}:{settings.port}"
        means = Means(http, SystemClock(), bring, NoInbox(), f"{url}/carriers/{account.name}")
        return await account.open(means).check(numbers)
    finally:
        await http.close()


def _look(settings: Settings, look: Callable[[Execute], T], nothing: T) -> T:
    """What is in the database, or `nothing` where there is none or it cannot be read, as has been told before."""
    try:
        if settings.database_url is not None:
            return read_server(settings.database_url, look)
        path = Path(settings.data) / DATABASE
        if not path.exists():
            return nothing
        with opened(path) as execute:
            return look(execute)
    except (StoreUnavailable, SettingsError):
        return nothing


def _absent(settings: Settings, accounts: Mapping[str, CarrierAccount]) -> Iterator[Finding]:
    """Accounts that are gone from the settings, and are needed."""
    known = {*accounts, SandboxCarrier.name} if settings.sandbox else {*accounts}
    remedy = "give the server the account again, or remove the numbers (`maskline numbers remove`)"
    nobody: dict[str, list[str]] = {}
    for name in _look(settings, partial(find_absent, known=known), nobody):
        count = len(_look(settings, partial(look_up_account, carrier_account=name), Carried([])).numbers)
        what = "is off" if name == SandboxCarrier.name else "is not in the settings"
        said = f"{what} and carries numbers in pools ({count}); what is sent from them waits"
        yield Finding(f"carrier {name}", False, said, remedy)


def _down(name: str, since: int, refused: bool) -> Finding:
    why, remedy = "all hand-overs have failed", "see what it, or the way to it, is waiting for"
    if refused:
        why, remedy = "its credentials are refused", "correct them, and start the server again"
    said = f"takes nothing since {render_date(since)}: {why}; its messages wait, and one a minute tries it"
    return Finding(f"carrier {name}", False, said, remedy)


def _certificate(file: Path) -> Finding:
    (certificate, *_) = load_pem_x509_certificates(file.read_bytes())
    begins = int(certificate.not_valid_before_utc.timestamp()) * SECOND
    ends = int(certificate.not_valid_after_utc.timestamp()) * SECOND
    said = f"is valid from {render_date(begins)} to {render_date(ends)}"
    good = begins <= SystemClock().now() <= ends
    return Finding(
        "TLS certificate", good, said, None if good else "get a new one, and start the server again"
    )


def _public_url(settings: Settings) -> Finding:
    if settings.public_url is not None:
        return Finding("public URL", True, settings.public_url)
    try:
        everywhere = ip_address(settings.host).is_unspecified
    except ValueError:
        everywhere = False
    if everywhere:
        said = f"is not given, so what is handed out would lead to {settings.host}, which is nobody's address"
        return Finding("public URL", False, said, "set public_url to the address by which clients come")
    return Finding("public URL", True, "is that of the address that is listened on")


def _address(settings: Settings) -> Finding:
    try:
        check_address(settings)
    except CannotListen as error:
        return Finding("address", False, str(error), "free it, or choose another host and port")
    return Finding("address", True, f"{settings.host}, port {settings.port}, can be listened on")


def _missing(data: Path) -> Finding:
    if data.exists():
        return Finding("data directory", False, f"{data} is not a directory", "name a directory with --data")
    above = next(path for path in data.absolute().parents if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        remedy = "make it for the user that the server runs as, or name another with --data"
        return Finding("data directory", False, f"{data} is not there and cannot be made in {above}", remedy)
    return Finding("data directory", True, f"{data} is not there yet; `maskline serve` makes it")


def _sqlite() -> Finding:
    said = ".".join(map(str, SQLITE))
    oldest = ".".join(map(str, OLDEST_SQLITE))
    if SQLITE < OLDEST_SQLITE:
        remedy = f"use a Python that was built with SQLite {oldest} or newer"
        return Finding("SQLite", False, f"{said} is too old", remedy)
    return Finding("SQLite", True, said)


def _directory(data: Path) -> Finding:
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        remedy = "run this as the user that the server runs as, or give that user the directory"
        return Finding("data directory", False, f"{data} cannot be read and written", remedy)
    names = (KEY_FILE, ACCOUNT_FILE, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm")
    wrong = [path for name in names if (path := data / name).exists() and path.stat().st_mode & 0o077]
    if data.stat().st_mode & 0o022:
        return Finding("data directory", False, "others may write into it", f"chmod go-w {data}")
    if wrong:
        listed = " ".join(map(str, wrong))
        return Finding("data directory", False, f"others may read {listed}", f"chmod 600 {listed}")
    return Finding("data directory", True, "its files are the owner's only")


def _space(data: Path) -> Finding:
    free = shutil.disk_usage(data).free
    said = f"{free >> 20:,} MiB free"
    if free < LEAST_FREE:
        remedy = "make room, or move the data directory to a larger disk while the server is stopped"
        return Finding("disk", False, said, remedy)
    return Finding("disk", True, said)


def _database(settings: Settings, path: Path) -> Iterator[Finding]:
    try:
        found = inspect(path, pages=True)
    except StoreUnavailable as error:
        yield Finding("database", False, str(error), "restore a backup, or repair it with SQLite's .recover")
        return
    if found.fault is not None:
        yield Finding("database", False, f"is damaged: {found.fault}", "stop the server and restore a backup")
        return
    yield Finding("database", True, "can be read, and its pages are whole")
    yield schema_of(found.meta, "stop the server and run `maskline migrate`")
    yield key_of(found.meta, settings)
    yield _clock(int(found.meta.get("migrated_at", 0)))
    yield from backup_of(found.meta)


def _clock(migrated_at: int) -> Finding:
    now = SystemClock().now()
    says = f"it is {render_date(now)}"
    if now < migrated_at:
        return Finding("clock", False, f"{says}, before the database was made", "set the clock, best by NTP")
    return Finding("clock", True, says)
