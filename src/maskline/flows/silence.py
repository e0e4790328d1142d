"""Carriers that take messages and never report on them, though their kind does: an event says so, once until they do.

The legs stay `sent`. What this process hands over starts the clock of its account, a report stops it; before anything
is said, the database is asked whether another process has heard.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from maskline.clock import Clock
from maskline.domain import problems
from maskline.mint import Mint
from maskline.store.carrier_ids import has_heard
from maskline.store.engine import Store
from maskline.store.events import insert_event

POLL_S = 30.0
_log = structlog.get_logger(__name__)


class Silence:
    """`limits_s`: for how long each account that reports may be silent; what is not in it may for ever."""

    def __init__(self, store: Store, clock: Clock, mint: Mint, limits_s: Mapping[str, float]) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._limits_s = limits_s
        self._since: dict[str, tuple[float, str, str]] = {}
        self._told: set[str] = set()

    def sent(self, carrier_account: str, account_sid: str, interaction_sid: str) -> None:
        """The carrier has taken a message of this account's."""
        if carrier_account in self._limits_s and carrier_account not in self._since:
            self._since[carrier_account] = (self._clock.uptime(), account_sid, interaction_sid)

    def reported(self, carrier_account: str) -> None:
        """The carrier has reported on a message."""
        self._since.pop(carrier_account, None)
        self._told.discard(carrier_account)

    async def run(self) -> None:
        """Look every now and then, for ever."""
        while True:
            await self._clock.sleep(POLL_S)
            for carrier_account in list(self._since):
                try:
                    await self._look(carrier_account)
                except Exception:
                    _log.exception("silence.failed")

    async def _look(self, carrier_account: str) -> None:
        since, account_sid, sid = self._since[carrier_account]
        if carrier_account in self._told or self._clock.uptime() - since < self._limits_s[carrier_account]:
            return
        if await self._store.read(has_heard, account_sid, carrier_account, sid):
            self.reported(carrier_account)
            return
        self._told.add(carrier_account)
        said = f"carrier account {carrier_account}"
        await self._store.write(
            insert_event, self._mint.sid("NO"), account_sid, problems.CARRIER_SILENT, said
        )
