"""The whole path out over HTTP: from the request to a vendor, which reports that the message was delivered.

The same phases as those of the whole path with an empty outbox, but at the other end is a vendor's API (vendor.py) in
place of the sandbox. maskline has as many messages under way there as an account has slots: 64.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine, seed, servers, vendor
from benchmarks.plan import Plan
from benchmarks.report import Part
from benchmarks.whole import DRAIN_S, WAITING, Phase, measure
from maskline.domain.interaction import MessageStatus

SESSIONS = 1000
KINDS = (vendor.TWILIO, vendor.TELNYX)
REPORTED = f"SELECT count(*) FROM interactions WHERE outbound_status = {MessageStatus.DELIVERED:d}"


@dataclass(frozen=True, slots=True)
class Vendor:
    """The process of a vendor's API, from here."""

    pid: int
    port: int
    carriers: Path
    """What the settings say of the account there."""

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
            return json.load(answer)


@contextmanager
def serving(kind: str, plan: Plan) -> Iterator[Vendor]:
    """A vendor of this kind on the load's core, whose account has all numbers."""
    numbers, carriers = plan.work / f"numbers-{kind}", plan.work / f"carriers-{kind}.toml"
    numbers.write_text("\n".join(seed.all_numbers(plan)))
    command = [sys.executable, "-m", "benchmarks.vendor", kind, str(numbers)]
    with subprocess.Popen(command, cwd=servers.ROOT, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setaffinity(process.pid, {machine.LOAD_CORE})
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
            lines = [f"{name} = {json.dumps(value)}" for name, value in said["table"].items()]
            carriers.write_text("\n".join([f"[carriers.{seed.CARRIER}]", *lines, ""]))
            yield Vendor(process.pid, said["port"], carriers)
        finally:
            process.kill()  # or whatever went wrong would wait for it for ever


@dataclass(slots=True)
class OverHttp(Phase):
    """A server whose numbers are carried by a vendor."""

    vendor: Vendor = field(kw_only=True)

    def seen(self) -> tuple[int, int]:
        taken = self.vendor.ask(vendor.COUNTS)["taken"]
        return taken, self.server.counts(WAITING)[0]

    def handed(self) -> Counter[int]:
        return Counter(seed.number_in(text) for _, _, text in self.vendor.ask(vendor.BOOKS))

    def drain(self) -> None:
        """Until nothing waits, and every report has its answer."""
        Phase.drain(self)
        deadline = time.monotonic() + DRAIN_S
        while time.monotonic() < deadline:
            counts = self.vendor.ask(vendor.COUNTS)
            if sum(counts["told"].values()) == counts["taken"]:
                break
            time.sleep(0.1)

    def check(self, part: Part, recipients: list[seed.Recipient]) -> None:
        """Each message went to its recipient from the number that they know; each report is written down."""
        astray = 0
        for from_, to, text in self.vendor.ask(vendor.BOOKS):
            one = recipients[(seed.number_in(text) - 1) % len(recipients)]
            astray += (from_, to) != (one.proxy_identifier, one.identifier)
        told = self.vendor.ask(vendor.COUNTS)["told"]
        taken = sum(count for status, count in told.items() if status.startswith("2"))
        (written,) = self.server.counts(REPORTED)
        part.text.append(
            f"  {astray:,} to somebody else; {taken:,} reports taken, {sum(told.values()) - taken:,} not, "
            f"{written:,} written down; the vendor itself took "
            f"{machine.cpu_s(self.vendor.pid) / max(1, sum(told.values())) * 1e6:,.0f} us of CPU for each"
        )
        if astray or written != taken:
            part.wrong.append(
                f"{self.name}: {astray:,} messages to somebody else; {taken:,} reports taken, {written:,} written down"
            )


def run(plan: Plan) -> Part:
    part = Part("http")
    plan = dataclasses.replace(plan, sessions=min(SESSIONS, plan.sessions))
    rates: dict[str, float] = {}
    steps: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        with serving(kind, plan) as at:
            seeded = seed.make(plan, carriers=at.carriers)
            env = {seed.CARRIERS_FILE: str(at.carriers)}
            with seeded.serve(f"http-{kind}", plan, "all", env=env) as server:
                traffic = seed.Traffic(seeded.recipients)
                phase = OverHttp(f"over HTTP, {kind}", server, plan, traffic, vendor=at)
                rates[kind], _over = measure(part, phase, plan.first_rate)
                phase.check(part, seeded.recipients)
                steps[kind] = [asdict(step) for step in phase.steps]
    part.figures = {"sustained_per_s": rates, "steps": steps}
    return part
