"""Requests that wait a moment for the first answer to the message that they have made.

What this process starts, or puts aside, its worker tells here. On a database that others have, too, one of them may be
first: what nobody here has said anything about after a moment is looked up there, for all who wait at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from maskline.clock import Clock
from maskline.store.engine import Store, StoreUnavailable
from maskline.store.record import MessagePlace, Recorded, find_recorded
from maskline.store.unsendable import Stopped

MOST_WAITERS = 1000
LOOK_S = 0.05

_log = structlog.get_logger(__name__)

Outcome = tuple[int, int]
"""The status of the message's leg, and since when."""


@dataclass(slots=True, eq=False)
class Waiter:
    """`place`: where to look, once it is known; None again when the message is this process's own."""

    sid: str
    outcome: asyncio.Future[Outcome | None]
    place: MessagePlace | None = None
    looked_for: bool = False


class Waiters:
    """Enter one with `expect`, and leave with `forget`."""

    def __init__(self, store: Store, clock: Clock, wait_s: float) -> None:
        self._store = store
        self._clock = clock
        self._wait_s = wait_s
        self._waiters: dict[str, Waiter] = {}
        self._looking: asyncio.Task[None] | None = None

    def expect(self, sid: str) -> Waiter | None:
        """Something to wait on for the message's first outcome; None if nobody is to wait."""
        if self._wait_s <= 0 or len(self._waiters) >= MOST_WAITERS:
            return None
        loop = asyncio.get_running_loop()
        waiter = self._waiters[sid] = Waiter(sid, loop.create_future())
        loop.call_later(self._wait_s, _give_up, waiter)
        return waiter

    def forget(self, waiter: Waiter) -> None:
        """Nobody waits for it any more."""
        self._waiters.pop(waiter.sid, None)
        if not self._waiters and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def wait(self, waiter: Waiter, place: MessagePlace) -> Outcome | None:
        """The first outcome of the message, which is stored now; None if none came in time."""
        if not waiter.outcome.done():
            waiter.place = place
            if self._store.is_shared and self._looking is None:
                self._looking = asyncio.create_task(self._check_again_and_again(), name="look for outcomes")
        return await waiter.outcome

    def started(self, sid: str) -> None:
        """This process hands the message over, and will tell what becomes of that."""
        if (waiter := self._waiters.get(sid)) is not None:
            waiter.place = None

    def settle(self, outcome: Recorded | Stopped) -> None:
        """Tell whoever waits for this message what became of it: its first answer, or that none comes soon."""
        waiter = self._waiters.get(outcome.interaction_sid)
        if waiter is not None and not waiter.outcome.done():
            waiter.outcome.set_result((outcome.status, outcome.updated_at))

    async def check_stored(self) -> None:
        """Look for all who wait and have heard nothing: some of their messages were put in line, unseen by T2."""
        await self._check([one.place for one in self._waiters.values() if one.place is not None])

    async def _check_again_and_again(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            try:
                await self._check_overdue()
            except StoreUnavailable as error:
                _log.warning("waiting.store_unavailable", error=str(error))

    async def _check_overdue(self) -> None:
        """Who has waited since the last look has waited for long enough to be looked for."""
        lost = [one.place for one in self._waiters.values() if one.place is not None and one.looked_for]
        for waiter in self._waiters.values():
            waiter.looked_for = waiter.place is not None
        await self._check(lost)

    async def _check(self, places: list[MessagePlace]) -> None:
        if places:
            for recorded in await self._store.read(find_recorded, places):
                self.settle(recorded)


def _give_up(waiter: Waiter) -> None:
    if not waiter.outcome.done():
        waiter.outcome.set_result(None)
