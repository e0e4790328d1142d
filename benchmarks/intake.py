"""Intake: how many messages a second are accepted durably, against the limit and the idiomatic baseline.

All contestants run at the same time on the server's core and are asked in turn, forwards in one round and backwards in
the next; a ratio is always that of two runs of one round, and the median over the rounds is what counts.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial

from benchmarks import load, machine, seed, servers
from benchmarks.plan import Plan
from benchmarks.report import Cell, Goal, Part

VOID_SHARE = 0.25
TURNS = ("constant", "limit", "maskline", "maskline, keyed", "baseline")
ROWS = {
    "limit": ("messages",),
    "baseline": ("interactions", "outbox"),
    "maskline": ("interactions", "outbox"),
}

Wanted = tuple[str, str, float, float | None]
"""Which turn is compared with which, how much it is at the least, and how much is hoped for."""
GOALS: dict[str, Wanted] = {
    "of the limit": ("maskline", "limit", 0.35, 0.5),
    "times the baseline": ("maskline", "baseline", 15.0, None),
    "keyed, of plain": ("maskline, keyed", "maskline", 0.8, None),
}
GOALS_ON_POSTGRES: dict[str, Wanted] = {
    "of the limit": ("maskline", "limit", 0.4, 0.5),
    "times the baseline": ("maskline", "baseline", 20.0, None),
    "keyed, of plain": ("maskline, keyed", "maskline", 0.8, None),
}


@dataclass(slots=True)
class Counted:
    """All requests to one server, warm-up and runs that were taken again included."""

    answered: int = 0
    sent: int = 0
    runs: int = 0


def run(plan: Plan, seeded: seed.Seed) -> Part:
    cluster = seeded.cluster
    part = Part("intake" if cluster is None else "intake-postgres")
    kind = "" if cluster is None else "_postgres"
    requests = plan.work / "requests.txt"
    load.write_requests(requests, ((r.url, seed.body(0)) for r in seeded.recipients))
    runs: dict[tuple[str, int], list[load.ClosedRun]] = defaultdict(list)
    foreign: list[float] = []
    counted = {name: Counted() for name in ("constant", *ROWS)}

    with ExitStack() as stack:
        up = {"constant": stack.enter_context(servers.contestant("constant", plan.work / f"constant{kind}"))}
        for name in ("limit", "baseline"):
            folder = plan.work / f"{name}{kind}"
            up[name] = stack.enter_context(servers.contestant(f"{name}{kind}", folder, cluster))
        up["maskline"] = stack.enter_context(seeded.serve("intake", plan, "api", send_wait_ms=0))
        seed.fill_baseline(up["baseline"].database, seeded.recipients)
        before = {name: _rows(up[name], tables) for name, tables in ROWS.items()}

        def ask(turn: str, connections: int, seconds: float) -> load.ClosedRun:
            name = turn.partition(",")[0]
            count = counted[name]
            keys = f"bench-{count.runs}-" if turn == "maskline, keyed" else None
            seen = load.closed_by_wrk(up[name], requests, connections, seconds, keys=keys)
            count.answered += seen.answered
            count.sent += seen.sent
            count.runs += 1
            if seen.failed:
                part.wrong.append(f"{turn}: {seen.failed} failed requests at {connections} connections")
            return seen

        def in_turn(order: tuple[str, ...], connections: int) -> dict[str, load.ClosedRun]:
            return {turn: ask(turn, connections, plan.seconds) for turn in order}

        for turn in TURNS:
            ask(turn, max(plan.connections), 1)
        for number in range(plan.rounds):
            order = TURNS if number % 2 == 0 else TURNS[::-1]
            for connections in plan.connections:
                one_round = partial(in_turn, order, connections)
                seen, share = machine.quietly(one_round)
                foreign.append(share)
                for turn, result in seen.items():
                    runs[turn, connections].append(result)
        memory = {name: server.rss_mib() for name, server in up.items()}
        time.sleep(1)  # what wrk cut off is still being written
        stored = {name: _rows(up[name], tables) for name, tables in ROWS.items()}

    goals = GOALS if cluster is None else GOALS_ON_POSTGRES
    for connections in plan.connections:
        _judge(part, plan, goals, connections, {turn: runs[turn, connections] for turn in TURNS}, memory)
    rows: list[list[Cell]] = []
    for name in ROWS:
        count = counted[name]
        new = [after - earlier for after, earlier in zip(stored[name], before[name], strict=True)]
        rows.append([name, count.answered, *new, *([None] * (2 - len(new))), count.sent])
        if not all(count.answered <= n <= count.sent for n in new) or len(set(new)) != 1:
            part.wrong.append(
                f"{name}: {count.answered:,} 2xx answers, {count.sent:,} requests sent, but rows {new}"
            )
    part.table(
        "Intake, counted (wrk cuts off what is in flight when a run ends: answered <= rows <= sent)",
        ["", "2xx answers", "rows", "outbox rows", "sent"],
        rows,
    )
    part.text.append(
        f"  other programs took {statistics.median(foreign):.2f} of a core (median), {max(foreign):.2f} at most"
    )
    part.figures = {
        "runs": {f"{turn}, {c} connections": [asdict(r) for r in seen] for (turn, c), seen in runs.items()},
        "rss_mib": memory,
        "foreign": foreign,
        "counted": {name: asdict(count) for name, count in counted.items()},
        "rows": stored,
    }
    return part


def _rows(server: servers.Server, tables: tuple[str, ...]) -> list[int]:
    return server.counts(*(f"SELECT count(*) FROM {table}" for table in tables))


def _judge(
    part: Part,
    plan: Plan,
    goals: dict[str, Wanted],
    connections: int,
    runs: dict[str, list[load.ClosedRun]],
    memory: dict[str, float],
) -> None:
    def ratios(a: str, b: str) -> list[float]:
        return [x.per_s / y.per_s for x, y in zip(runs[a], runs[b], strict=True)]

    rows: list[list[Cell]] = []
    for turn in TURNS:
        seen = runs[turn]
        syncs = [r.syncs_per_1000 for r in seen if r.syncs_per_1000 is not None]
        rows.append(
            [
                turn,
                statistics.median(r.per_s for r in seen),
                statistics.median(r.p50_ms for r in seen),
                statistics.median(r.p99_ms for r in seen),
                statistics.median(r.cpu_us for r in seen),
                statistics.median(syncs) if syncs else None,
                memory[turn.partition(",")[0]],
                statistics.median(ratios(turn, "limit")),
            ]
        )
    part.table(
        f"{part.name.capitalize()}, {connections} connections, {plan.rounds} rounds of {plan.seconds:g} s (medians)",
        ["", "per s", "p50 ms", "p99 ms", "CPU us", "fdatasyncs/1000", "RSS MiB", "of limit"],
        rows,
    )
    for name, (a, b, at_least, hope) in goals.items():
        xs = ratios(a, b)
        part.goals.append(
            Goal(
                f"{connections} connections, {name}",
                statistics.median(xs),
                at_least=at_least,
                spread=(min(xs), max(xs)),
                hope=hope,
            )
        )
    share = statistics.median(ratios("limit", "constant"))
    part.text.append(f"  the limit reaches {share:.2f} of the constant answer (void below {VOID_SHARE})")
    if share < VOID_SHARE:
        part.wrong.append(
            f"VOID: at {connections} connections the limit reached {share:.2f} of the constant answer"
        )
