"""The whole path: from the request to the handset, in an open loop, and what happens beyond its capacity.

Each phase runs on a fresh copy of the seeded data: first an empty outbox, then one in which many rows wait behind a
scripted throttle. Every message's text carries its number, and at the end of a phase the sandbox's own table says
which of them came to the handsets.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import asdict, dataclass, field

from benchmarks import load, machine, seed, servers
from benchmarks.plan import Plan
from benchmarks.report import Cell, Goal, Part

KEEPS_UP_S = 0.25
"""A rate is sustained if no more than this many seconds' worth of it is not at the handsets when the step ends,
wherever it waits: for its answer, in the outbox or in flight."""
DRAIN_S = 120.0
LOADERS = 64
WAITING = "SELECT count(*) FROM outbox WHERE topic = 'send'"
HEAD = [
    "offered/s",
    "2xx/s",
    "delivered/s",
    "behind s",
    "backlog",
    "503",
    "failed",
    "unsent",
    "CPU us",
    "syncs/1000",
    "p50 ms",
    "p99 ms",
    "foreign",
    "sustained",
]
AT_HANDSETS = "SELECT count(*) FROM sandbox_messages WHERE direction = 'to_handset' AND handovers > 0"


@dataclass(frozen=True, slots=True)
class Step:
    """One rate offered for some seconds."""

    rate: float
    seconds: float
    offered: int
    unsent: int
    accepted_per_s: float
    """2xx answers while the step lasted."""
    delivered: int
    backlog: int
    """Rows of topic send in the outbox at the end, the parked ones not counted."""
    refused: int
    failed: int
    cpu_us: float
    """The server's CPU time for a message, all of it until nothing waits any more."""
    p50_ms: float
    p99_ms: float
    foreign: float
    began_at: float
    """When its first request was due, in seconds since 1970."""
    syncs_per_1000: float | None = None
    """Syncs of the database for 1,000 messages until nothing waits any more. None where they are not counted."""

    @property
    def behind_s(self) -> float:
        """What is not at the handsets at the end, in seconds of the rate."""
        return (self.offered - self.delivered) / self.rate

    @property
    def on_time(self) -> bool:
        """Whether the load itself kept the rate."""
        return (self.offered + self.unsent) / self.seconds >= 0.95 * self.rate

    @property
    def sustained(self) -> bool:
        return (
            self.on_time and not (self.refused or self.failed or self.unsent) and self.behind_s <= KEEPS_UP_S
        )


class Search(ABC):
    """Steps that are offered to somebody, and the search among them for the highest rate that is kept up with."""

    __slots__ = ()

    plan: Plan
    steps: list[Step]

    @abstractmethod
    def _offer(self, rate: float, seconds: float) -> Step:
        """One step, once, with nothing left under way behind it."""

    def offer(self, rate: float, seconds: float) -> Step:
        """A step, which is taken again if it may have failed because of other programs."""
        step = self._offer(rate, seconds)
        if not step.sustained and step.foreign > machine.FOREIGN_SHARE:
            machine.wait_calm()
            step = self._offer(rate, seconds)
        return step

    def sustained_rate(self, first: float) -> float:
        """The highest rate that is kept up with, by doubling and halving the gap; confirmed over twice the time."""
        low, high, rate = 0.0, float("inf"), first
        while high > low * self.plan.fineness and rate >= 20:
            if self._keeps_up(rate):
                low = rate
                rate = low * 1.6 if high == float("inf") else (low + high) / 2
            else:
                high = rate
                rate = high / 1.6 if low == 0 else (low + high) / 2
        for share in (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6):
            if low and self.offer(share * low, 2 * self.plan.step_s).sustained:
                return share * low
        return 0.0

    def _keeps_up(self, rate: float) -> bool:
        """A step that fails is taken once more: what a shared machine does during one must not bound all the others."""
        return any(self.offer(rate, self.plan.step_s).sustained for _ in range(2))


@dataclass(slots=True)
class Phase(Search):
    """One server with what was sent to it so far."""

    name: str
    server: servers.Server
    plan: Plan
    traffic: seed.Traffic
    parked: int = 0
    acknowledged: set[int] = field(default_factory=set)
    steps: list[Step] = field(default_factory=list)

    def seen(self) -> tuple[int, int]:
        """How many messages are at the handsets, and how many rows wait."""
        at_handsets, waiting = self.server.counts(AT_HANDSETS, WAITING)
        return at_handsets, waiting

    def handed(self) -> Counter[int]:
        """How often each message was handed over."""
        connection = self.server.read_only()
        rows = connection.execute(
            "SELECT body, handovers FROM sandbox_messages WHERE direction = 'to_handset' AND handovers > 0"
        )
        handed: Counter[int] = Counter()
        for text, handovers in rows:
            handed[seed.number_in(text)] += handovers
        connection.close()
        return handed

    def backlog(self) -> int:
        return self.server.counts(WAITING)[0] - self.parked

    def _offer(self, rate: float, seconds: float) -> Step:
        delivered = waiting = 0
        before, _ = self.seen()
        cpu, syncs = self.server.cpu_s(), self.server.syncs()

        def at_end() -> None:
            nonlocal delivered, waiting
            delivered, waiting = self.seen()

        seen, foreign = machine.foreign_share(
            lambda: load.run(load.open_loop(self.server, rate, seconds, self.traffic, at_end))
        )
        self.acknowledged.update(seen.acknowledged)
        ok = len(seen.acknowledged)
        self.drain()
        synced = self.server.syncs()
        step = Step(
            rate=rate,
            seconds=seen.seconds,
            offered=seen.offered,
            unsent=seen.unsent,
            accepted_per_s=seen.in_time / seen.seconds,
            delivered=delivered - before,
            backlog=waiting - self.parked,
            refused=seen.statuses[503],
            failed=seen.offered - ok - seen.statuses[503],
            cpu_us=(self.server.cpu_s() - cpu) / max(1, ok) * 1e6,
            p50_ms=seen.latency_ms(0.5),
            p99_ms=seen.latency_ms(0.99),
            foreign=foreign,
            began_at=seen.began_at,
            syncs_per_1000=None if syncs is None or synced is None else (synced - syncs) / max(1, ok) * 1000,
        )
        self.steps.append(step)
        return step

    def drain(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        while self.backlog() > 0 and time.monotonic() < deadline:
            time.sleep(0.1)


def run(plan: Plan, seeded: seed.Seed) -> Part:
    part = Part("whole" if seeded.cluster is None else "whole-postgres")
    with seeded.serve("whole", plan, "all") as server:
        free = Phase("empty outbox", server, plan, seed.Traffic(seeded.recipients))
        rate, over = measure(part, free, plan.first_rate)
    with seeded.serve("parked", plan, "all") as server:
        heads, others = (
            seeded.recipients[: plan.parked_participants],
            seeded.recipients[plan.parked_participants :],
        )
        parked = Phase(f"{plan.parked:,} parked", server, plan, seed.Traffic(others, first=plan.parked + 1))
        _park(part, parked, heads)
        parked_rate, parked_over = measure(part, parked, rate or plan.first_rate)

    part.goals += [
        Goal("sustained, messages a second", rate, at_least=1000.0),
        *_overload_goals("twice that offered", rate, over),
        Goal("sustained behind parked rows, of the above", parked_rate / rate if rate else 0.0, at_least=0.8),
        *_overload_goals("twice that offered, behind parked rows", parked_rate, parked_over),
    ]
    part.figures = {
        "sustained_per_s": {free.name: rate, parked.name: parked_rate},
        "steps": {phase.name: [asdict(s) for s in phase.steps] for phase in (free, parked)},
    }
    return part


def measure(part: Part, phase: Phase, first: float) -> tuple[float, Step | None]:
    """The sustained rate, and a run at twice that."""
    rate = phase.sustained_rate(first)
    over = phase.offer(2 * rate, 2 * phase.plan.step_s) if rate else None
    part.table(
        f"Whole path, {phase.name}: sustained {rate:,.0f} a second",
        HEAD,
        [row_of(step) for step in phase.steps],
    )
    if over is not None and not over.on_time:
        part.wrong.append(f"{phase.name}: the load could not offer {over.rate:,.0f} a second")
    check_handsets(part, phase)
    return rate, over


def row_of(step: Step) -> list[Cell]:
    """A step as the tables show it."""
    return [
        f"{step.rate:,.0f}",
        step.accepted_per_s,
        step.delivered / step.seconds,
        step.behind_s,
        step.backlog,
        step.refused,
        step.failed,
        step.unsent,
        step.cpu_us,
        step.syncs_per_1000,
        step.p50_ms,
        step.p99_ms,
        step.foreign,
        "yes" if step.sustained else "no",
    ]


def _overload_goals(name: str, rate: float, over: Step | None) -> list[Goal]:
    if over is None:
        return []
    return [
        Goal(f"{name}: 2xx answers, of the sustained rate", over.accepted_per_s / rate, at_least=0.9),
        Goal(f"{name}: backlog at the end, seconds", over.backlog / rate, at_most=1.0),
    ]


def _park(part: Part, phase: Phase, heads: list[seed.Recipient]) -> None:
    """Throttles the handsets of `heads`, then fills the outbox with messages to them."""
    plan, server = phase.plan, phase.server

    async def script() -> None:
        pool = load.Pool(server.port)
        for recipient in heads:
            form = [("To", recipient.identifier), ("Outcome", "throttle")]
            await pool.ask("POST", "/sandbox/behaviour", form)
        pool.close()

    load.run(script())
    start = time.monotonic()
    messages = seed.Traffic(heads).take(plan.parked)
    accepted = load.run(load.closed_loop(server, LOADERS, messages))
    (phase.parked,) = server.counts(WAITING)
    part.text.append(
        f"\nParked: {len(accepted):,} messages to {len(heads):,} throttled handsets accepted "
        f"in {time.monotonic() - start:.0f} s, {phase.parked:,} rows wait"
    )
    if not len(accepted) == phase.parked == plan.parked:
        part.wrong.append(
            f"parked: {plan.parked:,} messages, {len(accepted):,} accepted, {phase.parked:,} rows wait"
        )


def check_handsets(part: Part, phase: Phase) -> None:
    """Every message with a 2xx answer is at its handset, handed over once."""
    handed = phase.handed()
    missing = len(phase.acknowledged - handed.keys())
    twice = sum(1 for count in handed.values() if count > 1)
    unasked = len(handed.keys() - phase.acknowledged)
    left = phase.backlog()
    part.text.append(
        f"  {len(phase.acknowledged):,} answered 2xx, {len(handed):,} at the handsets; {missing:,} missing, "
        f"{twice:,} handed over more than once, {unasked:,} without a 2xx, {left:,} still waiting"
    )
    if missing or twice:
        part.wrong.append(
            f"{phase.name}: {missing:,} messages missing at the handset, {twice:,} there more than once"
        )
