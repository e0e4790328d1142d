"""The whole path over SMPP: in by deliver_sm, out to the partner by submit_sm with its receipt, beside Kannel.

Each has an SMSC of its own (smsc.py), which brings texts of the people in 1,000 Sessions in an open loop. A text's
time is from the instant at which it was due until it was submitted to the partner. All are up at once and are asked
in turn.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks import kannel, machine, seed, servers
from benchmarks.cluster import running
from benchmarks.plan import Plan
from benchmarks.report import Cell, Goal, Part
from benchmarks.smsc import Route, Smsc, routes
from benchmarks.whole import Search, Step
from maskline.domain.interaction import MessageStatus
from tests.support.kannel import ABSENT, IS_INSTALLED

SESSIONS = 1000
ACCOUNT = """
[carriers.{name}]
kind = "smpp"
host = "127.0.0.1"
port = {port}
system_id = "maskline"
password = "bench"
window = {window}
"""
WINDOW = 64
"""Of unanswered submit_sm on a connection, of maskline and of Kannel."""
OURS, TWO, KANNEL = "maskline", "two processes", "Kannel"
HEAD = [
    "offered/s",
    "answered/s",
    "relayed/s",
    "behind s",
    "refused",
    "failed",
    "CPU us",
    "p50 ms",
    "p99 ms",
    "foreign",
    "sustained",
]
REPORTED = f"SELECT count(*) FROM interactions WHERE outbound_status = {MessageStatus.DELIVERED:d}"
REPORTED_S = 10.0


@dataclass(slots=True)
class Relay(Search):
    """Who is bound to an SMSC, with what was brought to them so far."""

    name: str
    smsc: Smsc
    processes: Sequence[servers.Server]
    plan: Plan
    people: Sequence[Route]
    """Who writes, in turn."""
    connections: int
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.smsc.route(self.people)
        self.smsc.wait_bound(self.connections)

    def cpu_s(self) -> float:
        return sum(machine.family_s(process.pid) for process in self.processes)

    def _offer(self, rate: float, seconds: float) -> Step:
        cpu = self.cpu_s()
        seen, foreign = machine.foreign_share(lambda: self.smsc.offer(rate, seconds))
        step = Step(
            rate=rate,
            seconds=seen.seconds,
            offered=seen.offered,
            unsent=0,
            accepted_per_s=seen.answered_in_time / seen.seconds,
            delivered=seen.relayed_in_time,
            backlog=seen.offered - seen.answered_in_time,
            refused=seen.refused,
            failed=seen.offered - seen.relayed - seen.refused,
            cpu_us=(self.cpu_s() - cpu) / max(1, seen.relayed) * 1e6,
            p50_ms=seen.time_ms(0.5),
            p99_ms=seen.time_ms(0.99),
            foreign=foreign,
            began_at=seen.began_at,
        )
        self.steps.append(step)
        return step


def run(plan: Plan) -> Part:
    part = Part("smpp")
    plan = dataclasses.replace(plan, sessions=min(SESSIONS, plan.sessions))
    with ExitStack() as up:
        relays = [_maskline(OURS, plan, up, 1), _maskline(TWO, plan, up, 2)]
        if IS_INSTALLED:
            relays.append(_kannel(plan, up, relays[0].people))
        else:
            part.text.append(f"\n{ABSENT} (bearerbox and smsbox): nothing is beside maskline")
        rates = _search(plan, relays)
        half = statistics.median(rates[OURS]) / 2
        halves = {relay.name: relay.offer(half, 2 * plan.step_s) for relay in relays if half}
        for relay in relays:
            part.table(
                f"Over SMPP, {relay.name}: sustained {statistics.median(rates[relay.name]):,.0f} a second",
                HEAD,
                [_row(step) for step in relay.steps],
            )
            _check_books(part, relay)
            if relay.name != KANNEL:
                _check_reports(part, relay)
    part.table(
        f"At half of maskline's rate, {half:,.0f} a second",
        ["", *HEAD[1:]],
        [[name, *_row(step)[1:]] for name, step in halves.items()],
    )
    _add_goals(part, rates, halves)
    part.figures = {
        "sustained_per_s": rates,
        "half": {name: dataclasses.asdict(step) for name, step in halves.items()},
        "steps": {relay.name: [dataclasses.asdict(step) for step in relay.steps] for relay in relays},
    }
    return part


def _maskline(name: str, plan: Plan, up: ExitStack, processes: int) -> Relay:
    """One process on SQLite, or several on PostgreSQL."""
    smsc = up.enter_context(Smsc())
    carriers = plan.work / f"carriers-{processes}.toml"
    carriers.write_text(ACCOUNT.format(name=seed.CARRIER, port=smsc.port, window=WINDOW))
    folder = plan.work / "smpp-postgres"
    cluster = up.enter_context(running(folder)) if processes > 1 else None
    seeded = seed.make(plan, cluster, carriers)
    env = {seed.CARRIERS_FILE: str(carriers), "MASKLINE_WORKERS": str(processes)}
    server = up.enter_context(seeded.serve(f"smpp_{processes}", plan, "all", env=env))
    return Relay(name, smsc, [server], plan, routes(seeded.recipients), processes)


def _kannel(plan: Plan, up: ExitStack, people: Sequence[Route]) -> Relay:
    smsc = up.enter_context(Smsc())
    programs = up.enter_context(kannel.relaying(plan.work / "kannel", smsc.port, WINDOW, people))
    return Relay(KANNEL, smsc, programs, plan, people, 1)


def _search(plan: Plan, relays: list[Relay]) -> dict[str, list[float]]:
    """The sustained rates of each, one for each turn, forwards in one turn and backwards in the next."""
    rates: dict[str, list[float]] = {relay.name: [] for relay in relays}
    for turn in range(plan.turns):
        for relay in relays if turn % 2 == 0 else reversed(relays):
            machine.wait_calm()
            known = rates[relay.name]
            rates[relay.name].append(
                relay.sustained_rate(known[-1] if known and known[-1] else plan.first_rate)
            )
    return rates


def _row(step: Step) -> list[Cell]:
    return [
        f"{step.rate:,.0f}",
        step.accepted_per_s,
        step.delivered / step.seconds,
        step.behind_s,
        step.refused,
        step.failed,
        step.cpu_us,
        step.p50_ms,
        step.p99_ms,
        step.foreign,
        "yes" if step.sustained else "no",
    ]


def _check_books(part: Part, relay: Relay) -> None:
    """Every text that was taken was submitted, once and to the partner. Kannel is held to nothing."""
    books = relay.smsc.books
    taken = sum(1 for status in books.statuses if status == 0)
    missing = sum(
        1 for status, came in zip(books.statuses, books.came, strict=True) if status == 0 and not came
    )
    part.text.append(
        f"  {len(books.due):,} texts brought, {taken:,} taken, {books.relayed:,} relayed; {missing:,} missing, "
        f"{books.twice:,} submitted more than once, {books.astray:,} to somebody else; "
        f"{books.receipts:,} receipts asked for, {books.receipts_taken:,} taken"
    )
    if relay.name != KANNEL and (missing or books.twice or books.astray):
        part.wrong.append(
            f"{relay.name}: {missing:,} texts missing, {books.twice:,} submitted more than once, "
            f"{books.astray:,} to somebody else"
        )


def _check_reports(part: Part, relay: Relay) -> None:
    """Every receipt that was taken is written down."""
    (server,) = relay.processes
    taken, deadline = relay.smsc.books.receipts_taken, time.monotonic() + REPORTED_S
    while (written := server.counts(REPORTED)[0]) < taken and time.monotonic() < deadline:
        time.sleep(0.1)
    if written != taken:
        part.wrong.append(f"{relay.name}: {taken:,} receipts taken, {written:,} written down")


def _add_goals(part: Part, rates: dict[str, list[float]], halves: dict[str, Step]) -> None:
    if KANNEL in rates and all(rates[KANNEL]):
        for name, least in ((OURS, 1 / 3), (TWO, 0.5)):
            ratios = [own / theirs for own, theirs in zip(rates[name], rates[KANNEL], strict=True)]
            middle, spread = statistics.median(ratios), (min(ratios), max(ratios))
            part.goals.append(
                Goal(f"{name} over SMPP, of Kannel's rate", middle, at_least=least, spread=spread, hope=1.0)
            )
    elif KANNEL in rates:
        part.text.append("\nKannel sustained no rate in some turn, so there is no ratio")
    if OURS in halves:
        part.goals.append(Goal("at half of its own rate, p99 in ms", halves[OURS].p99_ms, at_most=50.0))
