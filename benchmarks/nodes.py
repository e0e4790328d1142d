"""One node and two on one PostgreSQL database: what a message takes of whom, what the database's connections wait
for, and what that lets several machines do.

Everything runs on all cores: there is no second machine here, so two nodes gain what is left of these. Requests are
made in a closed loop by wrk and not waited for; where messages are delivered, a run ends when none waits any more.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Self

import psycopg

from benchmarks import cluster, load, machine, seed, servers
from benchmarks.plan import Plan
from benchmarks.report import Cell, Part
from benchmarks.whole import AT_HANDSETS, DRAIN_S, WAITING

CONNECTIONS = 128
"""Of all nodes together."""
ROLES, NODES = ("api", "all"), (1, 2)
MACHINES = 4
SAMPLE_S = 0.02
KEPT = "SELECT count(*) FROM interactions"
TWICE = "SELECT count(*) FROM sandbox_messages WHERE direction = 'to_handset' AND handovers > 1"
ROUNDS = "SELECT sum(round)::bigint FROM runs"

ACTIVITY = """
SELECT coalesce(a.wait_event_type || ':' || a.wait_event, 'running'),
       coalesce(l.mode = 'ExclusiveLock' AND l.granted, false)
FROM pg_stat_activity a LEFT JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory'
WHERE a.datname = %s AND a.application_name = 'maskline' AND a.state <> 'idle'"""
EVENTS = {
    "running": "running",
    "Client:ClientRead": "for maskline",
    "IO:WALSync": "for the sync",
    "LWLock:WALWrite": "for another's sync",
    "Lock:advisory": "for the turn",
    "Lock:transactionid": "for a row",
}
OTHER = "for anything else"


class Sampler(threading.Thread):
    """What the connections of maskline to a database are at, looked at again and again while it is entered."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(name="sampler")
        self._url, self._name = url, name
        self._ended = threading.Event()
        self.looks = 0
        self.seen: Counter[str] = Counter()
        """By event, in all looks together; without those that are at nothing."""
        self.alone: Counter[str] = Counter()
        """Likewise, those only that have the turn alone."""

    def run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._ended.wait(SAMPLE_S):
                self.looks += 1
                for event, alone in connection.execute(ACTIVITY, (self._name,)):
                    self.seen[EVENTS.get(event, OTHER)] += 1
                    self.alone[EVENTS.get(event, OTHER)] += alone

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


@dataclass(frozen=True, slots=True)
class Run:
    """Figures of one run."""

    seconds: float
    messages: int
    answered: int
    sent: int
    ours_s: float
    """CPU seconds of maskline."""
    used: cluster.Used
    rounds: int
    looks: int
    seen: Mapping[str, int]
    alone: Mapping[str, int]

    @property
    def per_s(self) -> float:
        return self.messages / self.seconds

    @property
    def turn_us(self) -> float:
        """How long the turn was held alone, for a message."""
        return sum(self.alone.values()) / max(1, self.looks) / self.per_s * 1e6

    def each(self, figure: float) -> float:
        """Of a figure, what there is for a message."""
        return figure / max(1, self.messages)


@dataclass(slots=True)
class Setup:
    """So many nodes of a role, on a database of their own."""

    role: str
    nodes: Sequence[servers.Server]
    name: str
    postgres: cluster.Cluster
    recipients: list[seed.Recipient]
    runs: list[Run] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{len(self.nodes)}, --role {self.role}"

    def ask(self, plan: Plan, seconds: float, part: Part) -> Run:
        stored = KEPT if self.role == "api" else AT_HANDSETS
        each = CONNECTIONS // len(self.nodes)
        files = []
        for place in range(len(self.nodes)):
            files.append(plan.work / f"nodes-{place}.txt")
            people = random.Random(place).sample(self.recipients, len(self.recipients))
            load.write_requests(files[-1], ((one.url, seed.body(0)) for one in people))
        before, rounds = self.nodes[0].counts(stored, ROUNDS)
        ours_s, used = self._ours_s(), self.postgres.used(self.name)
        began = time.monotonic()
        with Sampler(self.postgres.url(self.name), self.name) as sampler, ThreadPoolExecutor() as pool:
            asking = [
                pool.submit(load.closed_by_wrk, node, file, each, seconds)
                for node, file in zip(self.nodes, files, strict=True)
            ]
            loads = [one.result() for one in asking]
            if self.role != "api":
                self._drain()
        took = time.monotonic() - began
        after, rounds_after = self.nodes[0].counts(stored, ROUNDS)
        run = Run(
            seconds=took,
            messages=after - before,
            answered=sum(one.answered for one in loads),
            sent=sum(one.sent for one in loads),
            ours_s=self._ours_s() - ours_s,
            used=self.postgres.used(self.name).since(used),
            rounds=rounds_after - rounds,
            looks=sampler.looks,
            seen=dict(sampler.seen),
            alone=dict(sampler.alone),
        )
        if not run.answered <= run.messages <= run.sent or any(one.failed for one in loads):
            part.wrong.append(
                f"{self.title}: {run.answered:,} 2xx answers, {run.sent:,} requests sent, {run.messages:,} messages"
            )
        return run

    def _ours_s(self) -> float:
        return sum(machine.family_s(node.pid) for node in self.nodes)

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        while self.nodes[0].counts(WAITING)[0] and time.monotonic() < deadline:
            time.sleep(0.02)


def run(plan: Plan) -> Part:
    part = Part("nodes")
    with machine.all_cores(), cluster.running(plan.work / "nodes") as postgres, ExitStack() as up:
        seeded = seed.make(plan, postgres)
        setups = [_setup(plan, seeded, up, role, count) for role in ROLES for count in NODES]
        for setup in setups:
            setup.ask(plan, 1, part)  # warm-up
        for number in range(plan.rounds):
            for setup in setups if number % 2 == 0 else setups[::-1]:
                seen, _share = machine.quietly(partial(setup.ask, plan, plan.seconds, part))
                setup.runs.append(seen)
        for setup in setups:
            (twice,) = setup.nodes[0].counts(TWICE)
            if twice:
                part.wrong.append(f"{setup.title}: {twice:,} messages handed over more than once")
    _show(part, plan, setups)
    part.figures = {setup.title: [asdict(one) for one in setup.runs] for setup in setups}
    return part


def _setup(plan: Plan, seeded: seed.Seed, up: ExitStack, role: str, count: int) -> Setup:
    assert seeded.cluster is not None
    name = f"nodes_{role}_{count}"
    url = seeded.cluster.database(name, seed.SEED)
    nodes = [
        up.enter_context(
            servers.maskline(
                plan.work / f"{name}_{place}", role, send_wait_ms=0, url=url, cores=machine.ALLOWED
            )
        )
        for place in range(count)
    ]
    return Setup(role, nodes, name, seeded.cluster, seeded.recipients)


def _show(part: Part, plan: Plan, setups: Sequence[Setup]) -> None:
    ones = {setup.role: setup.runs for setup in setups if len(setup.nodes) == 1}
    rows: list[list[Cell]] = []
    for setup in setups:
        ratios = [one.per_s / other.per_s for one, other in zip(setup.runs, ones[setup.role], strict=True)]
        figures = (
            [
                one.per_s,
                one.each(one.ours_s * 1e6),
                one.each(one.used.backends_s * 1e6),
                one.each(one.used.others_s * 1e6),
                one.each(one.used.wal_bytes),
                one.each(one.used.syncs * 1000),
                one.rounds / one.seconds,
                one.messages / max(1, one.rounds),
            ]
            for one in setup.runs
        )
        per_s, *others = map(statistics.median, zip(*figures, strict=True))
        rows.append([setup.title, per_s, statistics.median(ratios), *others])
    part.table(
        f"Nodes on one database, {CONNECTIONS} connections, {plan.rounds} rounds of {plan.seconds:g} s (medians)",
        [
            "nodes",
            "per s",
            "of one",
            "maskline's CPU us",
            "backends'",
            "PostgreSQL's other",
            "log bytes",
            "syncs/1000",
            "rounds/s",
            "messages a round",
        ],
        rows,
    )
    events = [*EVENTS.values(), OTHER]
    part.table(
        "How many of maskline's connections are at it at a moment; in brackets those that have the turn alone",
        ["nodes", *events],
        [[setup.title, *(_at_it(setup.runs, event) for event in events)] for setup in setups],
    )
    part.table(
        f"What would limit {MACHINES} machines, messages a second",
        [
            "as by",
            f"{MACHINES} cores of maskline",
            "cores of PostgreSQL for that",
            "one of these carries",
            "turn alone, us a message",
            "so at most",
        ],
        [_limits(setup) for setup in setups],
    )


def _at_it(runs: Sequence[Run], event: str) -> str:
    looks = max(1, sum(one.looks for one in runs))
    seen, alone = (
        sum(of.get(event, 0) for of in ofs) / looks
        for ofs in ([r.seen for r in runs], [r.alone for r in runs])
    )
    return f"{seen:.2f} ({alone:.2f})"


def _limits(setup: Setup) -> list[Cell]:
    """What would be the limit where each node had a core of its own."""

    def median(figure: Callable[[Run], float]) -> float:
        return statistics.median(map(figure, setup.runs))

    ours_us = median(lambda one: one.each(one.ours_s * 1e6))
    theirs_us = median(lambda one: one.each((one.used.backends_s + one.used.others_s) * 1e6))
    turn_us = median(lambda one: one.turn_us)
    offered = MACHINES * 1e6 / ours_us
    return [
        setup.title,
        offered,
        offered * theirs_us / 1e6,
        1e6 / theirs_us,
        turn_us,
        1e6 / turn_us if turn_us else None,
    ]
