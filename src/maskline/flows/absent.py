"""Carrier accounts that this server does not have, though they carry numbers of pools: what is sent from these waits,
and nobody else would say so. Whoever owns some is told, once in the life of the process that sweeps.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog

from maskline.domain import problems
from maskline.mint import Mint
from maskline.store.carrier_accounts import find_absent
from maskline.store.engine import Store
from maskline.store.events import insert_event

_log = structlog.get_logger(__name__)


class Absent:
    """`carriers` are the accounts that this process has."""

    def __init__(self, store: Store, mint: Mint, carriers: Collection[str]) -> None:
        self._store = store
        self._mint = mint
        self._passed = {*carriers}
        """Those, and the ones that have been told of."""

    async def look(self) -> None:
        """Tell of those that have come to carry numbers of pools."""
        absent = await self._store.read(lambda tx: find_absent(tx.execute, self._passed))
        for name, owners in absent.items():
            self._passed.add(name)
            _log.error("carrier.absent", carrier=name)
            for account_sid in owners:
                event_sid, said = self._mint.sid("NO"), f"carrier account {name}"
                await self._store.write(insert_event, event_sid, account_sid, problems.CARRIER_ABSENT, said)
