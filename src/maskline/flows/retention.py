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
from maskline.store.start import Stopped, fail_expired, find_expired

STEP = 500
WALK = 5000
RECEIVED_LIFE_US = 7 * DAY
MOST_STEPS = 200
KEY_STEPS = 40
"""The walk over the keys sees live ones, too: so many steps each time keep up with 4,000 keyed requests a second."""


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
        self._outbox = 0

    async def sweep(self) -> list[Stopped]:
        """One pass. Returns the messages whose validity has passed, for whoever waits for them."""
        stopped: list[Stopped] = []
        for _ in range(MOST_STEPS):
            if await self._store.write(sweep_sessions, STEP) < STEP:
                break
        for _ in range(MOST_STEPS):
            late, self._outbox = await self._store.read(find_expired, self._outbox, WALK)
            for i in range(0, len(late), STEP):
                step = late[i : i + STEP]
                stopped += await self._store.write(fail_expired, step, [self._mint.sid("NO") for _ in step])
            if not self._outbox:
                break
        for _ in range(MOST_STEPS):
            if not await self._store.write(purge_step, STEP):
                break
        for _ in range(KEY_STEPS):
            self._key = await self._store.write(delete_expired_keys, self._key, STEP)
            if self._key == ("", ""):
                break
        for _ in range(MOST_STEPS):
            if await self._store.write(delete_old_received, STEP) < STEP:
                break
        return stopped
