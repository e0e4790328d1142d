"""The InterceptCallbackUrl: before a message goes on to the partner, the customer is asked, and 403 blocks it."""

from __future__ import annotations

from collections.abc import Mapping

from maskline.clock import Clock
from maskline.domain.callback import render_intercept
from maskline.domain.webhook_url import redact
from maskline.flows.customers import CustomerRequest, Customers
from maskline.flows.lanes import LaneLoop, keep
from maskline.mint import Mint
from maskline.store.engine import Store, Wake
from maskline.store.intercepts import TOPIC, Intercept, Verdict, claim_intercepts, judge_intercepts

BLOCKED = 403
EVENTS = 64


class Intercepts:
    """The flow."""

    def __init__(self, store: Store, clock: Clock, mint: Mint, customers: Customers) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._customers = customers

    def lanes(self, run: str) -> LaneLoop[Intercept]:
        return LaneLoop(
            self._store,
            self._clock,
            run,
            topic=TOPIC,
            wake=Wake.ASKS,
            claim=claim_intercepts,
            work=self.ask,
            first_pause_s=0,  # who waits for a verdict is not helped by a pause
            new_events=lambda: [self._mint.sid("NO") for _ in range(EVENTS)],
        )

    async def ask(self, intercept: Intercept, run: str) -> bool:
        """Ask about a message that was claimed for this run. Returns whether there was a verdict."""
        form = render_intercept(
            intercept.interaction, intercept.account_sid, self._customers.account_url(intercept.account_sid)
        )
        status, failure = await verdict_of(self._customers, intercept, form)
        verdict = Verdict(
            id=intercept.id,
            run=run,
            sid=intercept.sid,
            passes=status != BLOCKED and not (failure and intercept.blocks),
            failure=failure,
            event_sid=self._mint.sid("NO"),
        )
        await keep(self._clock, lambda: self._store.batch(judge_intercepts, verdict))
        return not failure


async def verdict_of(
    customers: Customers, request: CustomerRequest, form: Mapping[str, str], within_s: float | None = None
) -> tuple[int | None, str]:
    """The HTTP status of the answer, and why it is no verdict, if it is none. Raises nothing.

    `within_s`: how long there is for it, whatever the URL allows.
    """
    sent = await customers.send(request, form, within_s)
    if sent.good or sent.status == BLOCKED:
        return sent.status, ""
    return sent.status, f"{redact(request.url)} ({sent.why})"
