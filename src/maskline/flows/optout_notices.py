"""The optout_callback_url: a customer is told when somebody opts out, and when they opt in again."""

from __future__ import annotations

from maskline.clock import Clock
from maskline.domain.webhook_url import redact
from maskline.flows.customers import Customers
from maskline.flows.lanes import LaneLoop, keep
from maskline.mint import Mint
from maskline.store.engine import Store, Wake
from maskline.store.optout_notices import TOPIC, Telling, Told, claim_notices, settle_notices


class OptOutNotices:
    """The flow."""

    def __init__(self, store: Store, clock: Clock, mint: Mint, customers: Customers) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._customers = customers

    def lanes(self, run: str) -> LaneLoop[Telling]:
        return LaneLoop(
            self._store,
            self._clock,
            run,
            topic=TOPIC,
            wake=Wake.NOTICES,
            claim=claim_notices,
            work=self.tell,
        )

    async def tell(self, telling: Telling, run: str) -> bool:
        """Send a notice that was claimed for this run, and keep how it went. Returns whether it was received."""
        form = telling.notice.form(telling.account_sid, telling.service_sid)
        sent = await self._customers.send(telling, form)
        told = Told(
            id=telling.id,
            run=run,
            sid=telling.sid,
            attempt=telling.attempt,
            account_sid=telling.account_sid,
            service_sid=telling.service_sid,
            failure="" if sent.good else f"{redact(telling.url)} ({sent.why})",
            event_sid=self._mint.sid("NO"),
        )
        await keep(self._clock, lambda: self._store.batch(settle_notices, told))
        return sent.good
