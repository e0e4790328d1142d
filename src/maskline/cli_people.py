"""`maskline people`: what is held of somebody, and erasing it."""

from __future__ import annotations

import math
from dataclasses import asdict

import click

from maskline.cli_database import SERVICE_SID, on_database, show, transact, with_store
from maskline.clock import SystemClock
from maskline.domain.phone import mask
from maskline.domain.problems import Problem
from maskline.flows.people import erase, read_person
from maskline.flows.retention import PAUSE_S
from maskline.settings import Settings
from maskline.store.engine import Store, Tx
from maskline.store.personal_data import find_personal_data
from maskline.store.services import find_owner


@click.group()
def people() -> None:
    """What a Service holds of somebody, for data-subject requests: look at it, erase it."""


_service_option = click.option(
    "--service",
    "service_sid",
    type=SERVICE_SID,
    metavar="SID",
    required=True,
    help="The Service, by its SID.",
)


def _whom(number: str) -> str:
    """What the person is matched by."""
    try:
        return read_person(number)
    except Problem:
        raise click.BadParameter("no number and no address", param_hint="NUMBER") from None


def _owner(tx: Tx, service_sid: str) -> str:
    account_sid = find_owner(tx, service_sid)
    if account_sid is None:
        raise click.ClickException(f"there is no Service {service_sid}")
    return account_sid


@people.command("show")
@click.argument("number")
@_service_option
@on_database
def show_person(settings: Settings, number: str, service_sid: str, as_json: bool) -> None:
    """Say how much a Service holds of the person with NUMBER (or channel address): counts, never texts."""
    key = _whom(number)

    def read(tx: Tx) -> dict[str, object] | None:
        _owner(tx, service_sid)
        held = find_personal_data(tx, service_sid, key)
        return asdict(held) if held is not None else None

    held = transact(settings, read)
    if held is None:
        raise click.ClickException(f"nothing is held of {mask(key)}")
    counts = {name: held[name] for name in held if name != "identifier"}
    lines = [f"{name.replace('_', ' ') + ':':<18}{count}" for name, count in counts.items()]
    show(as_json, {"service_sid": service_sid, **held}, "\n".join([f"Held of {mask(key)}:", *lines]))


@people.command("erase")
@click.argument("number")
@_service_option
@on_database
def erase_person(settings: Settings, number: str, service_sid: str, as_json: bool) -> None:
    """Erase the person with NUMBER (or channel address) from a Service."""
    key = _whom(number)

    async def work(store: Store) -> None:
        account_sid = await store.read(_owner, service_sid)
        clock = SystemClock()
        await erase(store, clock, account_sid, service_sid, key, patience_s=math.inf, pause_s=PAUSE_S)

    with_store(settings, work)
    show(as_json, {"service_sid": service_sid, "erased": True}, f"{mask(key)} is erased from {service_sid}.")
