"""Requests to customers' servers: what waits in the lanes of Services is claimed and done, some of each Service at a
time. A receiver that stalls or fails costs nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import structlog

from maskline.clock import Clock
from maskline.domain.model import SECOND
from maskline.metrics import CUSTOMER_SECONDS, CUSTOMER_UNDER_WAY, Histogram, Sample
from maskline.store.engine import Batched, Store, StoreUnavailable, Wake
from maskline.store.lanes import Claimed, LaneClaim

SLOTS, SLOTS_EACH = 128, 32
SPARE = 1024
"""How many more there may be where all SLOTS are taken: a Service that has no request under way then has one of these,
so that a few whose receivers stall at once, or are slow for good, keep nobody else waiting.
"""
LOOK_S = 0.25
"""How long there is between two looks for such Services."""
CLAIMS = 16
"""How many claims in a row may find nothing before there is a pause, though there are more lanes to look at."""
POLL_S = 1.0
AGAIN_S = 1.0

MOST_PAUSE_S = 30.0
FIRST_PAUSE_S = 0.5
FORGET_S = 3600.0

_log = structlog.get_logger(__name__)


class Work(Protocol):
    """What is claimed."""

    @property
    def service_sid(self) -> str: ...


WorkT = TypeVar("WorkT", bound=Work)


class Lanes:
    """How many requests each Service may have under way: `most` while its receiver answers; after a failure one at a
    time, after a pause of `first_pause_s` that doubles with each. All that fail have about `most_failing` together
    (unless said: `most`), so that places are left for the others. Of those that were under way together, the first
    failure counts; after FORGET_S without another it is forgotten. Time is an argument, in seconds that never step.
    """

    def __init__(
        self, most: int, first_pause_s: float = FIRST_PAUSE_S, most_failing: int | None = None
    ) -> None:
        self.most = most
        self._most_failing = most_failing or most
        self._first_pause_s = first_pause_s
        self._under_way: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def busy(self, now: float) -> dict[str, int]:
        """How many of its places each Service does not have now."""
        for service_sid in [sid for sid, until in self._until.items() if now - until > FORGET_S]:
            self._forget(service_sid)
        taken = dict(self._under_way)
        full = sum(self._under_way.get(service_sid, 0) for service_sid in self._until) >= self._most_failing
        for service_sid, until in self._until.items():
            none = full or now < until or service_sid in self._under_way
            taken[service_sid] = self.most if none else self.most - 1
        return taken

    def next_at(self, now: float) -> float | None:
        """When the next pause ends; None if there is none."""
        return min((until for until in self._until.values() if until > now), default=None)

    def began(self, service_sid: str) -> None:
        """One more is under way."""
        self._under_way[service_sid] = self._under_way.get(service_sid, 0) + 1

    def ended(self, service_sid: str, now: float, *, good: bool) -> None:
        """One is no longer under way."""
        left = self._under_way[service_sid] - 1
        if left:
            self._under_way[service_sid] = left
        else:
            del self._under_way[service_sid]
        if good:
            self._forget(service_sid)
        elif now >= self._until.get(service_sid, now):
            failures = self._failures[service_sid] = self._failures.get(service_sid, 0) + 1
            self._until[service_sid] = now + min(
                MOST_PAUSE_S, self._first_pause_s * 2 ** min(failures - 1, 10)
            )

    def _forget(self, service_sid: str) -> None:
        self._failures.pop(service_sid, None)
        self._until.pop(service_sid, None)


class LaneLoop(Generic[WorkT]):
    """Does what waits of one topic, from `run` until it is told to `stop`. `work` says whether the receiver answered
    well; what has been claimed is done to its end. Of each Service up to `most_each` are done at a time. `new_events`
    makes SIDs for what a claim may have to tell.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        run: str,
        *,
        topic: str,
        wake: Wake,
        claim: Batched[LaneClaim, Claimed[WorkT]],
        work: Callable[[WorkT, str], Awaitable[bool]],
        most_each: int = SLOTS_EACH,
        first_pause_s: float = FIRST_PAUSE_S,
        new_events: Callable[[], list[str]] = list,
    ) -> None:
        self.topic = topic
        self._store = store
        self._clock = clock
        self._run = run
        self._began = clock.uptime()
        self._wake = store.subscribe(wake, self._is_full)
        self._claim = claim
        self._work = work
        self._lanes = Lanes(most_each, first_pause_s, SLOTS_EACH)
        self._new_events = new_events
        self._lane = ""
        self._look_at = 0.0
        self._short = True
        self._stopping = False
        self._work_s = Histogram(CUSTOMER_SECONDS)
        self.under_way: set[asyncio.Task[None]] = set()

    def _is_full(self) -> bool:
        return self._stopping or len(self.under_way) >= SLOTS

    def measures(self) -> Iterator[Sample]:
        """How many are under way, and how long they took."""
        yield CUSTOMER_UNDER_WAY, (self.topic,), len(self.under_way)
        yield CUSTOMER_SECONDS, (self.topic,), self._work_s

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Claim and begin what is due, whatever goes wrong meanwhile."""
        while not self._stopping:
            self._wake.clear()
            pause_s = POLL_S
            try:
                pause_s = await self._begin_due()
            except StoreUnavailable as error:
                _log.warning("lanes.store_unavailable", error=str(error))
            except Exception:
                _log.exception("lanes.defect")
            if pause_s > 0:
                await self._clock.wait(self._wake, pause_s)

    async def _begin_due(self) -> float:
        """Begin what is due. Returns how long nothing more can be, in seconds."""
        lanes, now = self._lanes, self._clock.uptime()
        free, spare = SLOTS - len(self.under_way), 0
        if free <= 0:
            free, spare = 0, SPARE + free
            if spare <= 0:
                return POLL_S
            if now < self._look_at:
                return self._look_at - now
            self._look_at = now + LOOK_S
        claims = 0
        while True:
            claim = LaneClaim(
                run=self._run,
                running_us=int((now - self._began) * SECOND),
                free=free,
                most_each=lanes.most,
                busy=lanes.busy(now),
                lane=self._lane,
                event_sids=self._new_events(),
                spare=spare,
            )
            self._short = True  # for all that is known meanwhile
            claimed = await self._store.batch(self._claim, claim)
            self._short = claimed.short
            self._lane = claimed.lane
            claims += 1
            if claimed.work or claimed.dropped or not claimed.more or claims == CLAIMS:
                break
        for one in claimed.work:
            lanes.began(one.service_sid)
            task = asyncio.create_task(self._do(one))
            self.under_way.add(task)
            task.add_done_callback(self.under_way.discard)
        if claimed.dropped or (claimed.work and claimed.short):
            return 0
        pause_s = POLL_S
        if claimed.next_due_us is not None:
            pause_s = min(pause_s, claimed.next_due_us / SECOND)
        if (next_at := lanes.next_at(now)) is not None:
            pause_s = min(pause_s, next_at - now)
        return max(0.001, pause_s)

    async def _do(self, one: WorkT) -> None:
        good, began = False, self._clock.uptime()
        try:
            good = await self._work(one, self._run)
        finally:
            now = self._clock.uptime()
            self._work_s.note(now - began)
            self._lanes.ended(one.service_sid, now, good=good)
            if self._short or not good:  # else nothing waits for its place, and nothing else has changed
                self._wake.set()


async def keep(clock: Clock, record: Callable[[], Awaitable[object]]) -> None:
    """Write down what became of a request, by `record`. It has been made and must not be forgotten while this process
    lives, so this goes on for as long as the database cannot do it.
    """
    while True:
        try:
            await record()
        except Exception:
            _log.exception("lanes.record_failed")
            await clock.sleep(AGAIN_S)
        else:
            return


class CustomerFlow(Protocol):
    """A flow whose work waits in lanes."""

    def lanes(self, run: str) -> LaneLoop[Any]:
        """What does its work in this run of the worker."""
