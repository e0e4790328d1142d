"""A callback from its row to what the customer's server said of it: signed, sent once, told as an attempt.

Which ones are sent and when is the store's; that a receiver that stalls or fails costs nobody else is `lanes`.
"""

from __future__ import annotations

from maskline.clock import Clock
from maskline.domain.callback import render_form
from maskline.domain.webhook_url import redact
from maskline.flows.customers import Customers
from maskline.flows.lanes import LaneLoop, keep
from maskline.mint import Mint
from maskline.store.callbacks import TOPIC, Attempt, Callback, claim_callbacks, record_attempts
from maskline.store.engine import Store, Wake


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
        await keep(self._clock, lambda: self._store.batch(record_attempts, attempt))
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
            event_sid="",
            bodies=callback.bodies,
        )
        began = self._clock.uptime()
        form = render_form(
            interaction,
            callback.account_sid,
            callback.statuses,
            self._customers.account_url(callback.account_sid),
        )
        sent = await self._customers.send(callback, form)
        attempt.status = sent.status
        if not sent.good:
            attempt.error, attempt.event_sid = sent.failure, self._mint.sid("NO")
        attempt.duration_ms = int((self._clock.uptime() - began) * 1000)
        return attempt
