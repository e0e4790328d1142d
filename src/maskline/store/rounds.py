"""Which waiting writes one round of the writer takes: everything that waits at that moment, in the turns' order.

Whatever is handed in during one turn of the event loop reaches the writer together. There is no timer: a lone request
waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections import deque
from typing import Any

from maskline.clock import Clock
from maskline.domain.model import SECOND
from maskline.store.engine import MOST_ITEMS, Batched, Turn

LEAST_ACCEPTS = 16
LEAST_EVERY_S = 0.2
BEHIND_US = SECOND // 2
BEHIND_SHARE, AHEAD_SHARE = 0.6, 1.2
"""What a saturated server accepts of what it sends: less while it is behind, so that the backlog shrinks, and a little
more while it is not, so that what waits does not come in all at once."""
NOTED_S = 1.0
SATURATED, SATURATED_FOR_S = 0.4, 0.25

Job = tuple["Batched[Any, Any] | None", Any, "asyncio.Future[Any]"]
"""What to run (None: a plain write, whose function is in the item), its item, and who waits for the result."""

Group = tuple["Batched[Any, Any] | None", list[Job]]


def turn_of(batched: Batched[Any, Any] | None) -> Turn:
    """When a job is served within a round."""
    return Turn.WRITE if batched is None else batched.turn


class Rounds:
    """Between the event loop, which puts jobs in, and the writer's thread, which takes them out a round at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._pending: list[Job] = []
        self._queue: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._lanes: dict[Batched[Any, Any] | None, deque[Job]] = {}
        self._order: list[Batched[Any, Any] | None] = []
        self._waiting = 0
        self._closed = False
        self._behind = False
        self._credit = 0.0
        self._noted_at = -NOTED_S
        self._least_at = 0.0
        self._load = Load(clock)

    # The event loop's side

    def put(self, job: Job) -> None:
        """Hand a job in."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(job)

    def close(self) -> None:
        """No more will come; `take` ends once everything has been taken."""
        self._flush()
        self._queue.put(None)

    def _flush(self) -> None:
        if self._pending:
            self._queue.put(self._pending)
            self._pending = []

    # The writer's side

    def take(self) -> list[Group] | None:
        """The next round's groups; waits if nothing waits. None: closed, and everything has been taken."""
        while True:
            if not self._waiting:
                if self._closed:
                    return None
                self._sort(self._queue.get())
            try:
                while True:
                    self._sort(self._queue.get_nowait())
            except queue.Empty:
                pass
            if self._waiting and (groups := self._groups()):
                return groups
            if self._waiting:  # accepts only, and none may be taken now
                with contextlib.suppress(queue.Empty):
                    self._sort(self._queue.get(timeout=LEAST_EVERY_S))

    def take_waiting(self) -> list[Group]:
        """All that waits at this moment, whatever its turn."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._sort(self._queue.get_nowait())
        groups: list[Group] = [(batched, list(lane)) for batched, lane in self._lanes.items() if lane]
        for lane in self._lanes.values():
            lane.clear()
        self._waiting = 0
        return groups

    def _sort(self, jobs: list[Job] | None) -> None:
        if jobs is None:
            self._closed = True
            return
        for job in jobs:
            lane = self._lanes.get(job[0])
            if lane is None:
                lane = self._lanes[job[0]] = deque()
                self._order = sorted(self._lanes, key=turn_of)
            lane.append(job)
        self._waiting += len(jobs)

    def _groups(self) -> list[Group]:
        groups: list[Group] = []
        for batched in self._order:
            if lane := self._lanes[batched]:
                accept = turn_of(batched) is Turn.ACCEPT
                most = self._most_accepts() if accept else MOST_ITEMS
                taken = [lane.popleft() for _ in range(min(most, len(lane)))]
                self._waiting -= len(taken)
                if accept:
                    self._credit = max(0.0, self._credit - len(taken))
                if taken:
                    groups.append((batched, taken))
        return groups

    def _most_accepts(self) -> int:
        if not self._load.is_saturated() or self._clock.uptime() - self._noted_at > NOTED_S:
            return MOST_ITEMS
        if self._credit >= 1:
            return int(self._credit)
        now = self._clock.uptime()
        if now < self._least_at:
            return 0
        self._least_at = now + LEAST_EVERY_S
        return LEAST_ACCEPTS

    def note_starts(self, started: int, oldest_us: int) -> None:
        """How many sends a round started, and how long the oldest that it could not start has waited.

        While the processor is at its limit, about as much is accepted as was started (and a few each moment): less
        when sending has fallen behind. Behind a slow carrier everything is accepted: there it would only turn
        callers away.
        """
        behind = oldest_us > BEHIND_US
        if behind and not self._behind:
            self._credit = 0.0
        self._behind = behind
        self._credit = min(self._credit + started * (BEHIND_SHARE if behind else AHEAD_SHARE), MOST_ITEMS)
        self._noted_at = self._clock.uptime()


class Load:
    """Whether this process uses up a processor, looked at every so often."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.uptime()
        self._used = clock.processor_time()
        self._saturated = False

    def is_saturated(self) -> bool:
        """Whether it did so in the last stretch that was looked at."""
        at = self._clock.uptime()
        if at - self._at >= SATURATED_FOR_S:
            used = self._clock.processor_time()
            self._saturated = used - self._used >= SATURATED * (at - self._at)
            self._at, self._used = at, used
        return self._saturated
