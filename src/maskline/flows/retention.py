"""The sweep: writes down what time has already decided, and removes what has been deleted. Small steps, so that nothing
waits behind it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TypeVar

from maskline.clock import Clock
from maskline.domain.retry import CALLBACK_LIFE_S
from maskline.mint import Mint
from maskline.store.bodies import blank_overdue
from maskline.store.call_course import end_silent_calls, find_silent_calls
from maskline.store.callbacks import bury_expired
from maskline.store.engine import Store, Tx
from maskline.store.erasure import erase_step, find_traces, forget_traces
from maskline.store.events import delete_old_events
from maskline.store.idempotency import delete_expired_keys
from maskline.store.outbox import find_expired
from maskline.store.paces import forget_paces
from maskline.store.part_receipts import forget_part_receipts
from maskline.store.parts import forget_parts
from maskline.store.people import erase_people
from maskline.store.purge import purge_step
from maskline.store.received import delete_old_received
from maskline.store.session_ends import delete_old_sessions, sweep_sessions
from maskline.store.sessionless import delete_old_strangers
from maskline.store.strangers import drop_expired
from maskline.store.tombstones import delete_old_tombstones
from maskline.store.unsendable import Stopped, fail_expired

T = TypeVar("T")

STEP = 500
SESSIONS = 100
"""Fewer at a time than of other rows: to delete one takes several statements."""
PAUSE_S = 0.05
"""Between two steps beside a server, which asks for the database again and again and has to find it free."""
WALK = 5000
MOST_STEPS = 200
KEY_STEPS = 40
"""The walk over the keys sees live ones, too: so many steps each time keep up with 4,000 keyed requests a second."""


async def prune(store: Store, clock: Clock, retention_us: int) -> AsyncIterator[int]:
    """Do once, and to its end, what the sweep does with Sessions that are old and with what lies below deleted ones.

    Gives how many Sessions each step has deleted.
    """
    done = SESSIONS
    while done >= SESSIONS:
        done = await store.write(delete_old_sessions, SESSIONS, retention_us)
        yield done
        await clock.sleep(PAUSE_S)
    while await store.write(purge_step, STEP) >= STEP:
        yield 0
        await clock.sleep(PAUSE_S)


class Sweeper:
    """Remembers where its walks stopped. Safe to run on every node: each step is a transaction that looks again.

    A Session that ended `retention_us` ago is deleted (0: none is), as by DELETE. Until a sweep has come to it, it is
    wholly there for everybody: nothing depends on the instant, unlike that of its end. An event goes after
    `event_retention_us` likewise.
    """

    def __init__(
        self, store: Store, clock: Clock, mint: Mint, retention_us: int = 0, event_retention_us: int = 0
    ) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._retention_us = retention_us
        self._event_retention_us = event_retention_us
        self._began = clock.uptime()
        self._key = ("", "")
        self._outbox = 0

    async def sweep(self) -> list[Stopped]:
        """One pass. Returns the messages whose validity has passed, for whoever waits for them."""
        stopped: list[Stopped] = []
        await self._repeat(sweep_sessions)
        for _ in range(MOST_STEPS):
            late = await self._store.read(find_expired, self._outbox, WALK)
            for step in self._steps(late.sends):
                stopped += await self._store.write(fail_expired, *step)
            for step in self._steps(late.strangers):
                await self._store.write(drop_expired, *step)
            # What waited while no server ran has had no hour yet: it is tried before it is given up.
            if self._clock.uptime() - self._began >= CALLBACK_LIFE_S:
                for step in self._steps(late.callbacks):
                    await self._store.write(bury_expired, *step)
            self._outbox = late.after
            if not self._outbox:
                break
        await self._repeat(partial(delete_old_sessions, retention_us=self._retention_us), SESSIONS)
        await self._repeat(partial(delete_old_strangers, retention_us=self._retention_us))
        await self._repeat(purge_step)
        await self._repeat(erase_step)
        if (last := await self._store.read(find_traces)) is not None and await self._store.cut_log():
            await self._store.write(forget_traces, last)
        for _ in range(KEY_STEPS):
            self._key = await self._store.write(delete_expired_keys, self._key, STEP)
            if self._key == ("", ""):
                break
        await self._repeat(delete_old_received)
        await self._repeat(delete_old_tombstones)
        await self._repeat(forget_parts)
        await self._repeat(forget_part_receipts)
        for _ in range(MOST_STEPS):
            silent = await self._store.read(find_silent_calls, STEP)
            for keys, event_sids in self._steps(silent):
                await self._store.write(end_silent_calls, keys, event_sids)
            if len(silent) < STEP:
                break
        await self._repeat(blank_overdue)
        await self._repeat(forget_paces)
        await self._repeat(erase_people)
        await self._repeat(partial(delete_old_events, retention_us=self._event_retention_us))
        return stopped

    def _steps(self, ids: list[T]) -> Iterator[tuple[list[T], list[str]]]:
        """STEP rows at a time, each with a SID for its event."""
        for i in range(0, len(ids), STEP):
            step = ids[i : i + STEP]
            yield step, [self._mint.sid("NO") for _ in step]

    async def _repeat(self, step: Callable[[Tx, int], int], most: int = STEP) -> None:
        """Take a step of `most` rows again and again, until it finds fewer."""
        for _ in range(MOST_STEPS):
            if await self._store.write(step, most) < most:
                break
