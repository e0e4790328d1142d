"""`maskline events`: what went wrong with traffic, read from the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click

from maskline.api.render import render_date
from maskline.cli_database import Command, on_database, show, sid_of, table, transact
from maskline.domain.model import SECOND, Instant
from maskline.settings import Settings
from maskline.store.accounts import list_accounts
from maskline.store.engine import Tx
from maskline.store.events import Event, Wanted, list_events
from maskline.store.pages import Seek

MOST = 1000
_DATES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ")


def _of(name: str, prefix: str, owner: str) -> Callable[[Command], Command]:
    """An option that asks for the events of one account, Service, Session or Interaction, by its SID."""
    return click.option(
        f"--{name}", type=sid_of(prefix, f"{owner}'s"), metavar="SID", help=f"Only {owner}'s, by its SID."
    )


@click.group()
def events() -> None:
    """What went wrong with traffic."""


def _json(event: Event) -> dict[str, Any]:
    return {
        "sid": event.sid,
        "account_sid": event.account_sid,
        "service_sid": event.service_sid,
        "session_sid": event.session_sid,
        "interaction_sid": event.interaction_sid,
        "error_code": str(event.code),
        "log_level": event.level.lower(),
        "alert_text": event.message,
        "date_generated": render_date(event.generated_at),
    }


def _find(tx: Tx, wanted: Wanted) -> list[Event]:
    """The newest events that are wanted, of all accounts where none, nor anything of one, is named."""
    owners = (wanted.account_sid, wanted.service_sid, wanted.session_sid, wanted.interaction_sid)
    each = [wanted] if any(owners) else [replace(wanted, account_sid=one.sid) for one in list_accounts(tx)]
    found = [event for one in each for event in list_events(tx, one, Seek(MOST)).rows]
    return sorted(found, key=lambda event: event.sid, reverse=True)[:MOST]


@events.command("list")
@_of("account", "AC", "an account")
@_of("service", "KS", "a Service")
@_of("session", "KC", "a Session")
@_of("interaction", "KI", "an Interaction")
@click.option("--code", type=click.IntRange(0), help="Only those of this code.")
@click.option("--level", type=click.Choice(["error", "warning"]), help="Only those of this level.")
@click.option("--since", metavar="DATE", type=click.DateTime(_DATES), help="Only those since then, UTC.")
@on_database
def show_events(
    settings: Settings,
    account: str | None,
    service: str | None,
    session: str | None,
    interaction: str | None,
    code: int | None,
    level: str | None,
    since: datetime | None,
    as_json: bool,
) -> None:
    """List events, up to 1,000, the newest first."""
    wanted = Wanted(account, service, session, interaction, level and level.upper(), code)
    if since is not None:
        at = Instant(int(since.replace(tzinfo=UTC).timestamp()) * SECOND)
        wanted = replace(wanted, since=at)
    found = transact(settings, _find, wanted)
    rows = [
        (
            render_date(event.generated_at) or "",
            event.level.lower(),
            str(event.code),
            event.resource_sid or "(none)",
            event.message,
        )
        for event in found
    ]
    text = table(("GENERATED", "LEVEL", "CODE", "RESOURCE", "TEXT"), rows)
    show(as_json, [_json(event) for event in found], text)
