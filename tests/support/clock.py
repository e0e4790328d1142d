"""A clock that stands still until a test moves it. Whoever pauses on it wakes when its time has come."""

import asyncio
import heapq
from itertools import count

from maskline.domain.model import SECOND, Instant

START = Instant(1_800_000_000 * SECOND)


class FakeClock:
    """`Clock` for tests: `advance` moves all of it (processor time by `busy`), `step` moves wall time alone."""

    def __init__(self, now: int = START) -> None:
        self._now = now
        self._uptime = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._processor_time = 0.0
        self.busy = 0.0

    def now(self) -> Instant:
        return Instant(self._now)

    def uptime(self) -> float:
        return self._uptime

    def processor_time(self) -> float:
        return self._processor_time

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._uptime + seconds, next(self._order), future))
        await future

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        sleeper = asyncio.ensure_future(self.sleep(seconds))
        waiter = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({sleeper, waiter}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waiter.cancel()
        return event.is_set()

    def step(self, seconds: float) -> None:
        """Move the wall clock alone, as an administrator or NTP would; it may go back."""
        self._now += int(seconds * SECOND)

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whoever's pause is over."""
        self.step(seconds)
        self._uptime += seconds
        self._processor_time += seconds * self.busy
        while self._sleepers and self._sleepers[0][0] <= self._uptime:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)
