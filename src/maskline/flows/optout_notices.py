"""The optout_callback_url: a customer is told when somebody opts out, and when they opt in again."""

from __future__ import annotations

import structlog

from maskline.clock import Clock
from maskline.domain.webhook_url import redact
from maskline.flows.customers import Customers
from maskline.flows.lanes import LaneLoop
from maskline.mint import Mint
from maskline.net import HttpError
from maskline.store.engine import Store, Wake
from maskline.store.optout_notices import TOPIC, Telling, Told, claim_notices, settle_notices

AGAIN_S = 1.0

_log = structlog.get_logger(__name__)


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
            wake=Wake.CALLBACKS,
            claim=claim_notices,
            work=self.tell,
        )

    async def tell(self, telling: Telling, run: str) -> bool:
        """Send a notice that was claimed for this run, and keep how it went. Returns whether it was received."""
        told = Told(
            id=telling.id,
            run=run,
            sid=telling.sid,
            attempt=telling.attempt,
            account_sid=telling.account_sid,
            service_sid=telling.service_sid,
            failure=await self._post(telling),
            event_sid=self._mint.sid("NO"),
        )
        while True:
            try:
                await self._store.batch(settle_notices, told)
            except Exception:
                _log.exception("notice.record_failed", notice=telling.sid)
                await self._clock.sleep(AGAIN_S)
            else:
                return not told.failure

    async def _post(self, telling: Telling) -> str:
        """Send it once; why it was not received, if it was not."""
        form = telling.notice.form(telling.account_sid, telling.service_sid)
        failure = "defect"
        status: int | None = None
        try:
            status = (await self._customers.post(telling, form)).status
        except HttpError as error:  # what follows the head of a 2xx is nothing to us
            status, failure = error.status, str(error)
        except Exception:
            _log.exception("notice.defect", notice=telling.sid)
        if status is not None and 200 <= status < 300:
            return ""
        return f"{redact(telling.url)} ({status if status is not None else failure})"
