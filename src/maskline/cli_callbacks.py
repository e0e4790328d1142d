"""`maskline callbacks`: what could not be told to customers, and sending it again."""

from __future__ import annotations

from typing import Any

import click

from maskline.api.render import render_date
from maskline.cli_database import SERVICE_SID, on_database, show, sid_of, table, transact, with_store
from maskline.clock import SystemClock
from maskline.domain.callback import CALLBACK_PREFIX
from maskline.flows.retention import PAUSE_S, STEP
from maskline.settings import Settings
from maskline.store.dead_letters import DeadCallback, find_dead, send_again
from maskline.store.engine import ALL, Store, Tx

MOST = 1000


@click.group()
def callbacks() -> None:
    """Callbacks that were given up after an hour: look at them, send them again."""


def _json(callback: DeadCallback) -> dict[str, Any]:
    return {
        "sid": callback.sid,
        "service_sid": callback.service_sid,
        "session_sid": callback.session_sid,
        "interaction_sid": callback.interaction_sid,
        "resource_status": callback.word,
        "attempts": callback.attempts,
        "date_created": render_date(callback.statuses.at),
    }


@callbacks.command("list")
@click.option("--service", type=SERVICE_SID, metavar="SID", help="Only this Service's.")
@on_database
def list_callbacks(settings: Settings, service: str | None, as_json: bool) -> None:
    """List the callbacks that were given up, up to 1,000, the oldest first."""
    found = [_json(one) for one in transact(settings, find_dead, service, MOST)]
    shown = ("sid", "date_created", "resource_status", "attempts", "service_sid", "interaction_sid")
    headings = ("SID", "CREATED", "STATUS", "ATTEMPTS", "SERVICE", "INTERACTION")
    show(as_json, found, table(headings, [[str(one[name]) for name in shown] for one in found]))


@callbacks.command("resend")
@click.argument("sids", type=sid_of(CALLBACK_PREFIX, "a callback's"), nargs=-1, metavar="SID...")
@click.option(
    "--service", type=SERVICE_SID, metavar="SID", help="All of this Service's instead of named ones."
)
@on_database
def resend(settings: Settings, sids: tuple[str, ...], service: str | None, as_json: bool) -> None:
    """Send callbacks again that were given up, for another hour. A running server does it within a second."""
    if bool(sids) == bool(service):
        raise click.UsageError("name the callbacks by their SIDs, or a Service with --service")
    wanted = set(sids)

    def named(tx: Tx) -> int:
        dead = [one for one in find_dead(tx, None, ALL) if one.sid in wanted]
        if missing := wanted - {one.sid for one in dead}:
            raise click.ClickException(f"no such callback was given up: {', '.join(sorted(missing))}")
        return sum(send_again(tx, one.service_sid, [one.sid]) for one in dead)

    def some(tx: Tx) -> int:
        found = find_dead(tx, service, STEP)
        return sum(send_again(tx, one.service_sid, [one.sid]) for one in found)

    async def all_of_service(store: Store) -> int:
        count, clock = 0, SystemClock()
        while step := await store.write(some):
            count += step
            await clock.sleep(PAUSE_S)
        return count

    count = transact(settings, named) if wanted else with_store(settings, all_of_service)
    show(as_json, {"sent_again": count}, f"{count} callbacks are due again.")
