"""The worker: starts what is due, hands it over, records what became of it; and sweeps.

One task starts (T2) while slots are free; each started message has a task of its own. A slot is free again only when
its outcome is stored, so at most `slots` messages of an account can be uncertain after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import structlog

from maskline.clock import Clock
from maskline.domain.model import SECOND
from maskline.domain.throughput import Throughput
from maskline.flows.health import LOOK_S
from maskline.flows.lanes import CustomerFlow
from maskline.flows.messages import Messages
from maskline.flows.retention import WALK, Sweeper
from maskline.metrics import SLOTS as SLOTS_METRIC
from maskline.metrics import SLOTS_IN_USE, Sample
from maskline.mint import Mint
from maskline.store.engine import Store, StoreUnavailable, Wake
from maskline.store.lanes import free_orphans
from maskline.store.orphans import OrphanClaim, take_orphans
from maskline.store.receipts import retry_receipts
from maskline.store.runs import Dead, find_dead, find_orphans, forget_dead, take_sweep
from maskline.store.send_rows import Started
from maskline.store.start import StartRequest, start_sends

SLOTS = 64
POLL_S = 1.0
SWEEP_S = 5.0
STOP_S = 15.0
EVENTS = 8
ENDED = 0
"""Since when a run has been silent that has ended in order, or is none that anybody remembers."""

_log = structlog.get_logger(__name__)


class Looks(Protocol):
    """A flow that looks again and again what is to be done, in one process of a database: the one that sweeps."""

    async def look(self) -> None:
        """Do what is to be done now."""


class Worker:
    """Delivers for this process. `run` names this life of it: what a dead run had started is judged, not sent."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        mint: Mint,
        messages: Messages,
        sweeper: Sweeper,
        customers: Sequence[CustomerFlow],
        *,
        run: str,
        slots: int = SLOTS,
        throughput: Mapping[str, Throughput] | None = None,
        looks: Sequence[Looks] = (),
    ) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._messages = messages
        self._sweeper = sweeper
        self._run = run
        self._lanes = [one.lanes(run) for one in customers]
        self._slots = slots
        self._throughput = throughput or {}
        self._looks = looks
        self._sweeps = False
        self._free = dict.fromkeys(messages.carriers, slots)
        self._short = True
        self._ending = 0
        self._lane = ("", "")
        self._count = 0
        self._silent_since = ENDED
        self._settled: set[Dead] = set()
        self._wake = store.subscribe(Wake.SENDS, self._is_full)
        self._sending: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Judge what runs that have ended left behind, then begin."""
        await self._messages.health.begin([*self._free])
        await self._take_over(ENDED)
        self._loops = [
            asyncio.create_task(self._start_loop(), name="start"),
            *(asyncio.create_task(lanes.run(), name=lanes.topic) for lanes in self._lanes),
            asyncio.create_task(self._receipt_loop(), name="receipts"),
            asyncio.create_task(self._sweep_loop(), name="sweep"),
            asyncio.create_task(self._health_loop(), name="health"),
            *(asyncio.create_task(self._look_loop(one), name="look") for one in self._looks),
        ]
        if not self._store.is_shared:  # else whoever waits looks all the time
            self._loops.append(asyncio.create_task(self._waiters_loop(), name="waiters"))

    @property
    def is_running(self) -> bool:
        """Whether every loop lives: what `/readyz` asks."""
        return bool(self._loops) and not any(loop.done() for loop in self._loops)

    def _is_full(self) -> bool:
        return self._stopping or any(free <= 0 for free in self._free.values())

    def measures(self) -> Iterator[Sample]:
        """How much of what it can do at a time it does."""
        for name, free in self._free.items():
            yield SLOTS_METRIC, (name,), self._slots
            yield SLOTS_IN_USE, (name,), self._slots - max(0, free)
        for lanes in self._lanes:
            yield from lanes.measures()

    async def stop(self) -> None:
        """Start nothing more, and give what is being sent a while to end and be recorded."""
        self._stopping = True
        self._wake.set()
        for lanes in self._lanes:
            lanes.stop()
        # The first ones are not cancelled but asked to end: what they mark started must also be handed over.
        for loop in self._loops[1 + len(self._lanes) :]:
            loop.cancel()
        # Nor forever: while the database is away, nobody can say what has been started.
        if self._loops:
            _, hanging = await asyncio.wait(self._loops, timeout=STOP_S)
            for loop in hanging:
                loop.cancel()
            await asyncio.gather(*self._loops, return_exceptions=True)
        if under_way := self._sending.union(*(lanes.under_way for lanes in self._lanes)):
            await asyncio.wait(under_way, timeout=STOP_S)

    async def _start_loop(self) -> None:
        while not self._stopping:
            self._wake.clear()
            pause_s = POLL_S
            try:
                pause_s = await self._start_due()
            except StoreUnavailable as error:
                _log.warning("worker.store_unavailable", error=str(error))
            except Exception:
                _log.exception("worker.defect")
            if pause_s > 0:
                await self._clock.wait(self._wake, pause_s)

    async def _start_due(self) -> float:
        """One T2. Returns how long nothing more can be due, in seconds."""
        health = self._messages.health
        self._short = True  # for all that is known meanwhile
        free = {name: health.slots(name, max(0, count)) for name, count in self._free.items()}
        if not any(free.values()) and not self._ending:
            return POLL_S
        mark = self._clock.uptime()
        self._count += 1
        events = [self._mint.sid("NO") for _ in range(EVENTS)]
        down = health.down()
        request = StartRequest(self._run, free, events, self._count, self._lane, down, self._throughput)
        starts = await self._store.batch(start_sends, request)
        self._lane = starts.lane
        for stopped in starts.stopped:
            self._messages.waiters.settle(stopped)
        for row in starts.started:
            free[row.carrier_account] -= 1
            self._free[row.carrier_account] -= 1
            self._messages.waiters.started(row.interaction_sid)
            health.note_start(row.carrier_account)
            task = asyncio.create_task(self._deliver(row, mark))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        self._short = any(count <= 0 for count in free.values())
        if starts.stopped or starts.more:
            return 0
        if starts.next_due_us is None:
            return POLL_S
        return min(POLL_S, max(0, starts.next_due_us) / SECOND)

    async def _deliver(self, row: Started, mark: float) -> None:
        try:
            await self._finish(row, mark, slot_of=row.carrier_account)
        finally:
            self._free[row.carrier_account] += 1
            if self._short:  # else nothing waits for a slot
                self._wake.set()

    async def _finish(self, row: Started, mark: float, *, slot_of: str = "") -> None:
        outcome = await self._messages.hand_over(row, mark)
        outcome.slot_of = slot_of
        while True:
            self._ending += 1
            if self._short:  # what is recorded frees a slot for what is started in the same round
                self._wake.set()
            try:
                await self._messages.record(outcome, self._run)
            except Exception:
                # The carrier has answered; the outcome must not be lost while this process lives.
                _log.exception("worker.record_failed")
                await self._clock.sleep(POLL_S)
            else:
                return
            finally:
                self._ending -= 1

    async def _receipt_loop(self) -> None:
        while True:
            try:
                while await self._store.write(retry_receipts, [self._mint.sid("NO") for _ in range(64)]):
                    continue
            except Exception:
                _log.exception("worker.receipts_failed")
            await self._clock.sleep(POLL_S)

    async def _sweep_loop(self) -> None:
        while True:
            try:
                await self._sweep()
            except Exception:
                _log.exception("worker.sweep_failed")
            await self._clock.sleep(SWEEP_S)

    async def _health_loop(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            try:
                await self._messages.health.refresh()
            except Exception:
                _log.exception("worker.health_failed")

    async def _look_loop(self, one: Looks) -> None:
        """Apart from health, which must not wait until all is done."""
        while True:
            await self._clock.sleep(LOOK_S)
            try:
                if self._sweeps:
                    await one.look()
            except Exception:
                _log.exception("worker.look_failed")

    async def _waiters_loop(self) -> None:
        wake = self._store.subscribe(Wake.WAITERS)
        while True:
            await wake.wait()
            wake.clear()
            try:
                await self._messages.waiters.check_stored()
            except Exception:
                _log.exception("worker.waiters_failed")

    async def _sweep(self) -> None:
        """One pass, if this run is the one that sweeps."""
        silent_since = await self._store.write(take_sweep, self._run)
        self._sweeps = silent_since is not None
        if silent_since is None:
            return
        # Silent now and at the last pass: where all have been kept waiting for the database, those that live are heard.
        before, self._silent_since = self._silent_since, silent_since
        dead = await self._store.read(find_dead, self._run, before)
        if news := dead - self._settled:
            if died := sum(one.seen_at != ENDED for one in news):
                _log.warning("worker.runs_dead", count=died)
            await self._take_over(before)
            self._settled = dead
        await self._store.write(forget_dead, dead)
        for stopped in await self._sweeper.sweep():
            self._messages.waiters.settle(stopped)

    async def _take_over(self, silent_since: int) -> None:
        """Judge what runs that have been silent since then had started, and make their requests to customers due."""
        after = 0
        while True:
            orphans = await self._store.read(find_orphans, self._run, silent_since, after, WALK)
            if orphans.requests:
                await self._store.write(free_orphans, self._run, silent_since, orphans.requests)
            if orphans.sends:
                claim = OrphanClaim(self._run, silent_since, orphans.sends)
                rows = await self._store.batch(take_orphans, claim)
                mark = self._clock.uptime()
                await asyncio.gather(*(self._finish(row, mark) for row in rows))
            after = orphans.after
            if not after:
                return
