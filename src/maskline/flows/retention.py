"""The sweep: writes down what time has already decided, and removes what has been deleted. Small steps, so that nothing
waits behind it.
"""

from __future__ import annotations

from maskline.clock import Clock
from maskline.domain.model import DAY
from maskline.mint import Mint
from maskline.store.engine import Store, Tx
from maskline.store.idempotency import delete_expired_keys
from maskline.store.sessions import purge_step, sweep_sessions
from maskline.store.start import Failed, fail_expired

STEP = 500
FAIL_STEP = 64
RECEIVED_LIFE_US = 7 * DAY
MOST_STEPS = 200


def delete_old_received(tx: Tx, most: int) -> int:
    """Forget up to `most` carrier ids after 7 days; no carrier repeats itself for so long."""
    return tx.execute(
        "DELETE FROM received WHERE (carrier_account, carrier_id) IN"
        " (SELECT carrier_account, carrier_id FROM received WHERE received_at < ? LIMIT ?)",
        (tx.now - RECEIVED_LIFE_US, most),
    ).rowcount


class Sweeper:
    """Remembers where its walks stopped. Safe to run on every node: each step is a transaction that looks again."""

    def __init__(self, store: Store, clock: Clock, mint: Mint) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._key = ("", "")

    async def sweep(self) -> list[Failed]:
        """One pass. Returns the messages whose validity has passed, for whoever waits for them."""
        failed: list[Failed] = []
        for _ in range(MOST_STEPS):
            if await self._store.write(sweep_sessions, STEP) < STEP:
                break
        for _ in range(MOST_STEPS):
            step = await self._store.write(fail_expired, [self._mint.sid("NO") for _ in range(FAIL_STEP)])
            failed += step
            if len(step) < FAIL_STEP:
                break
        for _ in range(MOST_STEPS):
            if not await self._store.write(purge_step, STEP):
                break
        self._key = await self._store.write(delete_expired_keys, self._key, STEP)
        await self._store.write(delete_old_received, STEP)
        return failed
