"""Events sent to an account's webhook, in Twilio's form of them: signed, in order, again until they are received.

A webhook that fails raises no event about that, which would have to be sent to it, too: the log says so. While it fails
for an hour or longer, events that are older than an hour are given up.
"""

from __future__ import annotations

import json

import structlog

from maskline.clock import Clock
from maskline.domain.dates import iso_date
from maskline.domain.model import SECOND, Instant
from maskline.domain.retry import CALLBACK_LIFE_S
from maskline.domain.webhook_url import redact
from maskline.flows.customers import Customers
from maskline.flows.lanes import LaneLoop, keep
from maskline.mint import Mint
from maskline.store.alerts import Alert, claim_alerts, give_up_alerts, settle_alerts
from maskline.store.engine import Store, Wake

STEP = 500
PAUSE_S = 0.05

_log = structlog.get_logger(__name__)


def render_form(alert: Alert) -> dict[str, str]:
    """The form. Nothing is known of a request that the event would be about, but its names are all there."""
    event = alert.event
    payload = {
        "resource_sid": event.resource_sid,
        "service_sid": event.service_sid,
        "error_code": str(event.code),
        "more_info": {
            "Msg": event.message,
            "session_sid": event.session_sid,
            "interaction_sid": event.interaction_sid,
        },
        "webhook": {
            "type": "application/json",
            "request": {"url": None, "method": None, "headers": {}, "parameters": {}},
            "response": {"status_code": None, "headers": {}, "body": None},
        },
    }
    return {
        "Sid": event.sid,
        "AccountSid": event.account_sid,
        **({"ParentAccountSid": alert.parent_sid} if alert.parent_sid is not None else {}),
        "Timestamp": iso_date(event.generated_at),
        "Level": event.level,
        "PayloadType": "application/json",
        "Payload": json.dumps(payload, ensure_ascii=False, separators=(",", ":")),
    }


class Alerts:
    """The flow."""

    def __init__(self, store: Store, clock: Clock, _mint: Mint, customers: Customers) -> None:
        self._store = store
        self._clock = clock
        self._customers = customers
        self._failing_since: dict[str, float] = {}

    def lanes(self, run: str) -> LaneLoop[Alert]:
        return LaneLoop(
            self._store,
            self._clock,
            run,
            topic="alert",
            wake=Wake.NOBODY,  # nobody waits for an event: a look each second will do
            claim=claim_alerts,
            work=self.send,
            most_each=1,
        )

    async def send(self, alert: Alert, _run: str) -> bool:
        """Send one event, and keep that it was received or do without it. Returns whether it was received."""
        sent = await self._customers.send(alert, render_form(alert))
        if not sent.good:
            url = redact(alert.url)
            _log.warning("alert.failed", account=alert.account_sid, url=url, error=sent.why)
            await keep(self._clock, lambda: self._give_up(alert.account_sid))
            return False
        self._failing_since.pop(alert.account_sid, None)
        await keep(self._clock, lambda: self._store.batch(settle_alerts, alert.sid))
        return True

    async def _give_up(self, account_sid: str) -> None:
        """Of what waits for a webhook that has failed for long enough, give up what is too old."""
        now = self._clock.uptime()
        if now - self._failing_since.setdefault(account_sid, now) < CALLBACK_LIFE_S:
            return
        before = Instant(self._clock.now() - CALLBACK_LIFE_S * SECOND)
        count = done = await self._store.write(give_up_alerts, account_sid, before, STEP)
        while done == STEP:
            await self._clock.sleep(PAUSE_S)
            done = await self._store.write(give_up_alerts, account_sid, before, STEP)
            count += done
        if count:
            _log.warning("alert.given_up", account=account_sid, count=count)
