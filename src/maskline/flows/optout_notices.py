"""The optout_callback_url: a customer is told when somebody opts out, and when they opt in again."""

from __future__ import annotations

from maskline.clock import Clock
from maskline.domain.webhook_url import redact
from maskline.flows.customers import Customers
from maskline.flows.lanes import LaneLoop, keep
from maskline.mint import Mint
from maskline.store.engine import Store, Wake
from maskline.store.optout_notices import TOPIC, ClaimedNotice, NoticeOutcome, claim_notices, settle_notices


class OptOutNotices:
    """The flow."""

    def __init__(self, store: Store, clock: Clock, mint: Mint, customers: Customers) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._customers = customers

    def lanes(self, run: str) -> LaneLoop[ClaimedNotice]:
        return LaneLoop(
            self._store,
            self._clock,
            run,
            topic=TOPIC,
            wake=Wake.NOTICES,
            claim=claim_notices,
            work=self.tell,
        )

    async def tell(self, claimed: ClaimedNotice, run: str) -> bool:
        """Send a notice that was claimed for this run, and keep how it went. Returns whether it was received."""
        form = claimed.notice.form(claimed.account_sid, claimed.service_sid)
        sent = await self._customers.send(claimed, form)
        told = NoticeOutcome(
            id=claimed.id,
            run=run,
            sid=claimed.sid,
            attempt=claimed.attempt,
            account_sid=claimed.account_sid,
            service_sid=claimed.service_sid,
            failure="" if sent.good else f"{redact(claimed.url)} ({sent.why})",
            event_sid=self._mint.sid("NO"),
        )
        await keep(self._clock, lambda: self._store.batch(settle_notices, told))
        return sent.good
