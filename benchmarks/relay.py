"""Relays: from one handset to the other, with a CallbackUrl that is told of each, and with one that is dead.

Texts are handed in at the sandbox in an open loop. A message's time is from the instant at which it was due to be
written until it stands in the books of the partner's handset. Every phase runs on a fresh copy of the seeded data.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from urllib.parse import urlencode

from benchmarks import load, machine, seed, servers
from benchmarks.plan import Plan
from benchmarks.report import Goal, Part
from benchmarks.whole import HEAD, Phase, Step, check_handsets, row_of

SESSIONS = 1000
RATES = (100.0, 300.0, 1000.0)
CALLBACKS = "SELECT count(*) FROM outbox WHERE topic = 'callback'"
PRIVATE = {"MASKLINE_ALLOW_PRIVATE_WEBHOOKS": "true"}


class Texts(seed.Traffic):
    """What handsets write, each to its own proxy number."""

    def __init__(self, people: list[seed.Recipient]) -> None:
        super().__init__(people)
        self._people = cycle(
            urlencode({"From": one.identifier, "To": one.proxy_identifier}).encode() for one in people
        )

    def __next__(self) -> load.Message:
        number, self.next = self.next, self.next + 1
        form = next(self._people) + b"&" + seed.body(number)
        return number, load.request("POST", "/sandbox/messages", form)


@dataclass(frozen=True, slots=True)
class Times:
    """How long messages took to the handset at a rate, in milliseconds."""

    step: Step
    p50_ms: float
    p99_ms: float
    callbacks_left: int


@contextmanager
def receiver() -> Iterator[str]:
    """A customer's server on the load's core."""
    command = [sys.executable, "-m", "benchmarks.receiver"]
    with subprocess.Popen(command, cwd=servers.ROOT, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setaffinity(process.pid, {machine.LOAD_CORE})
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/told"
        finally:
            process.kill()  # or whatever went wrong would wait for it for ever


def dead_url() -> str:
    """Where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/told"


def run(plan: Plan, seeded: seed.Seed) -> Part:
    part = Part("relay")
    sessions = sorted({one.session_sid for one in seeded.recipients})[: min(SESSIONS, plan.sessions)]
    people = [one for one in seeded.recipients if one.session_sid in set(sessions)]
    rates: dict[str, float] = {}
    times: list[Times] = []
    with receiver() as url:
        for name, told in (("told", url), ("dead", dead_url()), ("not told", "")):
            with seeded.serve(f"relay-{name.replace(' ', '-')}", plan, "all", env=PRIVATE) as server:
                load.run(_set_url(server.port, people, told))
                phase = Phase(name, server, plan, Texts(people))
                if name == "told":
                    times = [_timed(phase, rate) for rate in RATES]
                rates[name] = phase.sustained_rate(plan.first_rate / 2)
                part.table(
                    f"Relays, CallbackUrl {name}: sustained {rates[name]:,.0f} a second",
                    HEAD,
                    [row_of(step) for step in phase.steps],
                )
                check_handsets(part, phase)
    part.table(
        "From handset to handset, CallbackUrl told",
        ["offered/s", "p50 ms", "p99 ms", "behind s", "callbacks left"],
        [
            [f"{one.step.rate:,.0f}", one.p50_ms, one.p99_ms, one.step.behind_s, one.callbacks_left]
            for one in times
        ],
    )
    dead = rates["dead"] / rates["told"] if rates["told"] else 0.0
    part.goals += [
        Goal("relayed with callbacks, messages a second", rates["told"], at_least=700.0, hope=1500.0),
        Goal("with a dead CallbackUrl, of that", dead, at_least=0.9),
    ]
    part.figures = {"sustained_per_s": rates, "times": [asdict(one) for one in times]}
    return part


async def _set_url(port: int, people: list[seed.Recipient], url: str) -> None:
    pool = load.Pool(port)
    for service_sid in sorted({one.service_sid for one in people}):
        await pool.ask("POST", f"/v1/Services/{service_sid}", [("CallbackUrl", url)])
    pool.close()


def _timed(phase: Phase, rate: float) -> Times:
    """A step at this rate, and how long its messages took to the handset."""
    step = phase.offer(rate, phase.plan.step_s)
    count = step.offered + step.unsent
    first = phase.traffic.next - count
    (left,) = phase.server.counts(CALLBACKS)
    connection = phase.server.read_only()
    arrived = {
        seed.number_in(text): at / 1e6
        for text, at in connection.execute(
            "SELECT body, created_at FROM sandbox_messages WHERE direction = 'to_handset'"
        )
    }
    connection.close()
    took = sorted(
        arrived[number] - (step.began_at + (number - first) / rate)
        for number in range(first, first + count)
        if number in arrived
    )

    def at(share: float) -> float:
        return took[min(len(took) - 1, int(len(took) * share))] * 1000 if took else 0.0

    return Times(step, at(0.5), at(0.99), left)
