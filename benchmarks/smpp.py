"""SMPP in and out, beside Kannel (bearerbox and smsbox): the same texts over 1,000 Sessions through the same SMSC, with
receipts. maskline keeps its durability; Kannel syncs nothing.

Kannel knows no Sessions: its smsbox asks a server on the load's core, which looks into a table, to whom each goes on.
The rate is that of a closed loop with so many texts under way; times are from an open loop at half of that.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import cast
from urllib.parse import parse_qs

import psycopg

from benchmarks import load, machine, seed, servers
from benchmarks.cluster import running
from benchmarks.plan import Plan
from benchmarks.report import Goal, Part
from benchmarks.smsc import Smsc
from tests.support.kannel import ABSENT, IS_INSTALLED, Kannel

SESSIONS = 1000
UNDER_WAY = 200
WINDOW = 64
LEAST_S = 2.0
HEAD = ["", "relayed/s", "of Kannel", "p50 ms at half", "p99 ms at half", "CPU us", "lost", "twice"]
CARRY = "UPDATE numbers SET carrier_account = 'north'"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`rate` in texts a second, `cpu_us` for each. Times are in milliseconds, from the instant at which one was due."""

    name: str
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    lost: int
    twice: int


def run(plan: Plan, seeded: seed.Seed) -> Part:
    part = Part("smpp")
    one = load.run(_maskline("maskline", plan, seeded, 1))
    with running(plan.work / "smpp-postgres") as cluster:
        two = load.run(_maskline("two processes", plan, seed.make(plan, cluster), 2))
    outcomes = [one, two]
    kannel = load.run(_kannel(plan, seeded)) if IS_INSTALLED else None
    if kannel is not None:
        outcomes.append(kannel)
    rows = [
        [
            o.name,
            o.rate,
            o.rate / kannel.rate if kannel else None,
            o.p50_ms,
            o.p99_ms,
            o.cpu_us,
            o.lost,
            o.twice,
        ]
        for o in outcomes
    ]
    part.table(f"From handset to handset by SMPP, {UNDER_WAY} texts under way", HEAD, rows)
    for o in (one, two):
        if o.lost or o.twice:
            part.wrong.append(f"{o.name}: {o.lost} texts lost, {o.twice} twice")
    part.goals.append(Goal("p99 at half of the rate, ms", one.p99_ms, at_most=50.0))
    if kannel is None:
        part.text.append(f"  {ABSENT}, so there is nothing to compare with")
    else:
        part.goals += [
            Goal("rate, of Kannel's", one.rate / kannel.rate, at_least=1 / 3, hope=1.0),
            Goal("two processes on PostgreSQL, of Kannel's", two.rate / kannel.rate, at_least=0.5, hope=1.0),
        ]
    part.figures = {"outcomes": [asdict(o) for o in outcomes]}
    return part


def _people(plan: Plan, seeded: seed.Seed) -> list[seed.Recipient]:
    sessions = set(sorted({one.session_sid for one in seeded.recipients})[: min(SESSIONS, plan.sessions)])
    return [one for one in seeded.recipients if one.session_sid in sessions]


async def _measure(name: str, plan: Plan, smsc: Smsc, pids: Sequence[int]) -> Outcome:
    def used_s() -> float:
        return sum(map(machine.family_s, pids))

    seconds = max(LEAST_S, plan.step_s)
    await smsc.keep(UNDER_WAY, seconds)  # to warm up
    before, count = used_s(), len(smsc.came)
    rate = await smsc.keep(UNDER_WAY, seconds)
    cpu_us = (used_s() - before) / max(1, len(smsc.came) - count) * 1e6
    took = await smsc.pace(rate / 2, seconds)

    def at(share: float) -> float:
        return took[min(len(took) - 1, int(len(took) * share))] * 1000 if took else 0.0

    lost = smsc.brought - len(smsc.came)
    return Outcome(name, rate, at(0.5), at(0.99), cpu_us, lost, smsc.again)


async def _maskline(name: str, plan: Plan, seeded: seed.Seed, processes: int) -> Outcome:
    smsc = Smsc(_people(plan, seeded))
    file = plan.work / f"carriers-{processes}.toml"
    lines = [
        '[carriers.north]\nkind = "smpp"\nhost = "127.0.0.1"\nsystem_id = "me"',
        f"port = {await smsc.start()}",
    ]
    file.write_text("\n".join([*lines, f"window = {WINDOW}", ""]))
    env = {"MASKLINE_CARRIERS_FILE": str(file), "MASKLINE_WORKERS": str(processes)}
    server = await asyncio.to_thread(lambda: seeded.serve(f"smpp_{processes}", plan, "all", env=env))
    try:
        _carry(server)
        await smsc.bound(processes)
        return await _measure(name, plan, smsc, [server.pid])
    finally:
        await asyncio.to_thread(server.stop)
        smsc.stop()


def _carry(server: servers.Server) -> None:
    """All numbers are the account's."""
    if isinstance(server.database, str):
        with psycopg.connect(server.database) as connection:
            connection.execute(CARRY)
        return
    embedded = sqlite3.connect(server.database, timeout=30)
    with embedded:
        embedded.execute(CARRY)
    embedded.close()


class _Ask(asyncio.Protocol):
    """Where Kannel asks: it answers to whom a text goes on, and from which number."""

    def __init__(self, partners: dict[tuple[str, str], tuple[str, str]]) -> None:
        self._partners = partners
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in requests:
            query = parse_qs(request.split(b" ", 2)[1].partition(b"?")[2].decode())
            from_, to = self._partners[query["from"][0].strip("+ "), query["to"][0].strip("+ ")]
            text = query["text"][0].encode()
            head = (
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Kannel-DLR-Mask: 1\r\n"
                f"X-Kannel-From: {from_}\r\nX-Kannel-To: {to}\r\nContent-Length: {len(text)}\r\n\r\n"
            )
            self._transport.write(head.encode() + text)


async def _kannel(plan: Plan, seeded: seed.Seed) -> Outcome:
    people = _people(plan, seeded)
    smsc = Smsc(people)
    loop = asyncio.get_running_loop()
    partners = _partners(people)
    asked = await loop.create_server(lambda: _Ask(partners), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{asked.sockets[0].getsockname()[1]}/"
    folder = plan.work / "kannel"
    folder.mkdir()
    kannel = Kannel(folder, await smsc.start(), url, WINDOW)
    try:
        await asyncio.to_thread(_on_the_servers_core, kannel.start)
        await smsc.bound(1)
        return await _measure("Kannel", plan, smsc, kannel.pids)
    finally:
        await asyncio.to_thread(kannel.stop)
        smsc.stop()
        asked.close()


def _partners(people: Sequence[seed.Recipient]) -> dict[tuple[str, str], tuple[str, str]]:
    """From whom and to which number a text comes: from which number and to whom it goes on."""
    sides: dict[str, list[seed.Recipient]] = {}
    for one in people:
        sides.setdefault(one.session_sid, []).append(one)
    return {
        (one.identifier[1:], one.proxy_identifier[1:]): (other.proxy_identifier[1:], other.identifier[1:])
        for first, second in sides.values()
        for one, other in ((first, second), (second, first))
    }


def _on_the_servers_core(start: Callable[[], None]) -> None:
    """What is started in this thread runs there, with all its threads."""
    os.sched_setaffinity(0, {machine.SERVER_CORE})
    start()
