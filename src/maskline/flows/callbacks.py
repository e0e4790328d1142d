"""A callback from its row to what the customer's server said of it: signed, sent once, told as an attempt.

Which ones are sent and when is the store's; that a receiver that stalls or fails costs nobody else is `lanes`.
"""

from __future__ import annotations

import structlog

from maskline.clock import Clock
from maskline.domain.callback import render_form
from maskline.domain.webhook_url import redact
from maskline.flows.customers import Customers
from maskline.flows.lanes import LaneLoop
from maskline.mint import Mint
from maskline.net import HttpError
from maskline.store.callbacks import TOPIC, Attempt, Callback, claim_callbacks, record_attempts
from maskline.store.engine import Store, Wake

AGAIN_S = 1.0

_log = structlog.get_logger(__name__)


class Callbacks:
    """The flow."""

    def __init__(self, store: Store, clock: Clock, mint: Mint, customers: Customers) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._customers = customers

    def lanes(self, run: str) -> LaneLoop[Callback]:
        return LaneLoop(
            self._store,
            self._clock,
            run,
            topic=TOPIC,
            wake=Wake.CALLBACKS,
            claim=claim_callbacks,
            work=self.tell,
        )

    async def tell(self, callback: Callback, run: str) -> bool:
        """Send a callback that was claimed for this run, and keep how it went. Returns whether it was taken."""
        attempt = await self._send(callback, run)
        while True:
            try:
                await self._store.batch(record_attempts, attempt)
            except Exception:
                _log.exception("callback.record_failed", callback=callback.sid)
                await self._clock.sleep(AGAIN_S)
            else:
                return attempt.good

    async def _send(self, callback: Callback, run: str) -> Attempt:
        interaction = callback.interaction
        attempt = Attempt(
            id=callback.id,
            run=run,
            sid=callback.sid,
            number=callback.attempt,
            account_sid=callback.account_sid,
            service_sid=interaction.service_sid,
            session_sid=interaction.session_sid,
            interaction_sid=interaction.sid,
            url=redact(callback.url),
            began_at=self._clock.now(),
            duration_ms=0,
            status=None,
            error="",
            event_sid=self._mint.sid("NO"),
            bodies=callback.bodies,
        )
        began = self._clock.uptime()
        try:
            attempt.status = await self._post(callback)
        except HttpError as error:
            attempt.status = error.status
            if not attempt.good:  # what follows the head of a 2xx is nothing to us
                attempt.error = str(error)
        except Exception:
            _log.exception("callback.defect", callback=callback.sid)
            attempt.error = "defect"
        attempt.duration_ms = int((self._clock.uptime() - began) * 1000)
        return attempt

    async def _post(self, callback: Callback) -> int:
        account_sid = callback.account_sid
        url = self._customers.account_url(account_sid)
        form = render_form(callback.interaction, account_sid, callback.told, url)
        return (await self._customers.post(callback, form)).status
