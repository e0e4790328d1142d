"""Memory: what the serving process holds after many messages went all the way to the handsets."""

from __future__ import annotations

import time

from benchmarks import load, seed
from benchmarks.plan import Plan
from benchmarks.report import Goal, Part
from benchmarks.whole import DRAIN_S, LOADERS, WAITING

LIMIT_MIB = 120.0


def run(plan: Plan, seeded: seed.Seed) -> Part:
    part = Part("memory")
    with seeded.serve("memory", plan, "all") as server:
        at_start = server.rss_mib()
        started = time.monotonic()
        messages = seed.Traffic(seeded.recipients).take(plan.messages)
        accepted = len(load.run(load.closed_loop(server, LOADERS, messages)))
        deadline = time.monotonic() + DRAIN_S
        while server.counts(WAITING)[0] and time.monotonic() < deadline:
            time.sleep(0.1)
        took = time.monotonic() - started
        at_end = server.rss_mib()
    part.table(
        "Memory, RSS of the one process (role all, default send wait)",
        ["messages", "2xx answers", "seconds", "MiB at start", "MiB after"],
        [[f"{plan.messages:,}", accepted, took, at_start, at_end]],
    )
    part.goals.append(Goal(f"RSS after {plan.messages:,} messages, MiB", at_end, at_most=LIMIT_MIB))
    if accepted != plan.messages:
        part.wrong.append(f"{plan.messages - accepted:,} of {plan.messages:,} messages were not accepted")
    part.figures = {
        "messages": plan.messages,
        "accepted": accepted,
        "rss_mib": {"start": at_start, "end": at_end},
    }
    return part
