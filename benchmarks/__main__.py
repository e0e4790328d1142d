"""From the root: `python -m benchmarks [PART] [--rounds N] [--seconds S] [--quick]`; the parts are below."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks import (
    cluster,
    growth,
    growth_postgres,
    intake,
    machine,
    memory,
    nodes,
    over_http,
    relay,
    report,
    seed,
    smpp,
    whole,
)
from benchmarks.plan import Plan, quick

T = TypeVar("T")
Measure = Callable[[], report.Part]
Seeded = Mapping[str, Callable[[Plan, seed.Seed], report.Part]]

HERE = Path(__file__).resolve().parent
PARTS: Seeded = {
    "intake": intake.run,
    "whole": whole.run,
    "relay": relay.run,
    "memory": memory.run,
}
ON_POSTGRES: Seeded = {
    "intake-postgres": intake.run,
    "whole-postgres": whole.run,
}
BY_THEMSELVES: Mapping[str, Callable[[Plan], report.Part]] = {
    "http": over_http.run,
    "smpp": smpp.run,
    "growth": growth.run,
    "growth-postgres": growth_postgres.run,
    "nodes": nodes.run,
}
"""Those that make what they run over."""


def _sizes(given: str) -> tuple[int, ...]:
    return tuple(sorted(map(int, given.split(","))))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measures maskline (benchmarks/README.md)."
    )
    parser.add_argument(
        "part", nargs="?", choices=[*PARTS, *ON_POSTGRES, *BY_THEMSELVES, "all"], default="all"
    )
    parser.add_argument("--rounds", type=int, help="rounds of the intake part, default 5")
    parser.add_argument(
        "--seconds",
        type=float,
        help="length of one intake run, default 3; a step of the whole path is 2 s longer",
    )
    parser.add_argument(
        "--sizes",
        type=_sizes,
        help="Sessions in the stores of the growth parts, default 10000,100000,1000000",
    )
    parser.add_argument(
        "--stores",
        type=Path,
        help="a folder in which growth-postgres leaves its stores, and finds them again",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run of a few minutes; its figures mean nothing"
    )
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk is missing. On Debian and Ubuntu: apt-get install wrk")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are stopped
    about = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    (HERE / "work").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HERE / "work") as work:
        plan = quick(Path(work)) if arguments.quick else Plan(Path(work))
        given = {name: getattr(arguments, name) for name in ("rounds", "seconds", "sizes", "stores")}
        plan = dataclasses.replace(
            plan, **{name: value for name, value in given.items() if value is not None}
        )
        facts = machine.describe(plan.work)
        print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
        if machine.SERVER_CORE == machine.LOAD_CORE:
            print("Only one core: server and load share it, and no figure below is worth much.")
        os.sched_setaffinity(0, {machine.LOAD_CORE})
        parts = []

        def measure(name: str, run: Measure) -> None:
            print(f"Measuring {name}", flush=True)
            parts.append(run())
            print(parts[-1].show() + "\n", flush=True)

        def measure_seeded(several: Seeded, postgres: cluster.Cluster | None) -> None:
            seeded = seed.make(plan, postgres)
            for name, run in several.items():
                measure(name, partial(run, plan, seeded))

        def chosen(several: Mapping[str, T]) -> dict[str, T]:
            return {name: run for name, run in several.items() if arguments.part in (name, "all")}

        if several := chosen(PARTS):
            print(f"Seeding {plan.sessions:,} Sessions", flush=True)
            measure_seeded(several, None)
        if several := chosen(ON_POSTGRES):
            print(f"Seeding {plan.sessions:,} Sessions on PostgreSQL", flush=True)
            with cluster.running(plan.work / "postgres") as one:
                measure_seeded(several, one)
        for name, run in chosen(BY_THEMSELVES).items():
            measure(name, partial(run, plan))
    kept = report.save(HERE / "results", {**about, "machine": facts, "quick": plan.quick}, parts)
    print(f"Kept in {kept.relative_to(HERE.parent)}")
    if plan.quick:
        print("A quick run: it shows that everything works, its figures mean nothing.")
    wrong = [line for part in parts for line in part.wrong]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
