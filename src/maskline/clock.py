"""The only door to time. Everything that needs an instant or a pause is given a Clock; tests give a fake one."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Protocol

from maskline.domain.model import Instant


class Clock(Protocol):
    """Wall time for what is stored, uptime for what is measured."""

    def now(self) -> Instant:
        """Microseconds UTC since 1970."""

    def uptime(self) -> float:
        """Seconds that go on through suspends and never step: whether a sender was frozen shows here."""

    def processor_time(self) -> float:
        """Seconds that this process has used of the processors."""

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task."""

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Pause until `event` is set or the time is over; whether it was set."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Instant:
        return Instant(time.time_ns() // 1000)

    def uptime(self) -> float:
        return time.clock_gettime(_BOOTTIME)

    def processor_time(self) -> float:
        return time.process_time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return False
        return True


# CLOCK_BOOTTIME counts suspends; where it is missing (macOS) the monotonic clock is the nearest.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SteadyTime:
    """Wall time for what is stored: it never goes back. Where the wall clock was set back, it goes on at half its speed
    until that has caught up, so that what is due still comes due. Safe to use from any thread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = Instant(0)
        self._uptime = clock.uptime()

    def now(self) -> Instant:
        """Microseconds UTC since 1970, never less than before."""
        with self._lock:
            wall, uptime = self._clock.now(), self._clock.uptime()
            passed_us = int((uptime - self._uptime) * 1_000_000)
            self._last = max(wall, Instant(self._last + max(0, passed_us) // 2))
            self._uptime = uptime
            return self._last
