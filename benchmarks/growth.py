"""Growth: what reading and assigning cost while the store grows a hundredfold.

The servers are up at once, over stores that were loaded by SQL (stores.py), and are asked in turn, one request at a
time over one connection each; a ratio is that of two medians of one round.
"""

from __future__ import annotations

import json
import random
import socket
import statistics
import time
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from benchmarks import load, machine, plot, servers, stores
from benchmarks.plan import Plan
from benchmarks.report import Cell, Goal, Part

MOST_GROWTH = 1.5
SAMPLE = 5000
"""Of so many Sessions of a store something is asked."""
ANSWER_S = 30.0
IDLE_S = 5.0
"""After so long a server may close a connection: what is asked then is asked on a new one."""

Ask = Callable[[], float]
"""Asks something once: how many milliseconds the answer took."""
Medians = Mapping[str, Sequence[Sequence[float]]]
"""By question, for each round, those of the stores."""


class Line:
    """A keep-alive connection that is asked one thing at a time, with as little as can be around the socket."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = self._connect()
        self._asked_at = time.monotonic()

    def _connect(self) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def ask(self, request: bytes) -> float:
        """Milliseconds from the request to the whole answer. Raises RuntimeError if it is no 2xx, OSError for none."""
        if time.monotonic() - self._asked_at > IDLE_S:
            self._socket.close()
            self._socket = self._connect()
        began = time.perf_counter()
        self._socket.sendall(request)
        answer = self._receive()
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._receive()
        length = int(answer[:end].lower().partition(b"content-length: ")[2].split(b"\r", 1)[0])
        while len(answer) < end + 4 + length:
            answer += self._receive()
        took_ms = (time.perf_counter() - began) * 1000
        self._asked_at = time.monotonic()
        if answer[9:10] != b"2":
            raise RuntimeError(f"{request[:200]!r} is answered {answer!r}")
        return took_ms

    def _receive(self) -> bytes:
        received = self._socket.recv(1 << 18)
        if not received:
            raise ConnectionError("the server has closed the connection")
        return received

    def close(self) -> None:
        self._socket.close()


def questions(store: stores.Store, line: Line) -> dict[str, Ask]:
    """What is asked of the API."""
    rng = random.Random(2)
    service = f"/v1/Services/{store.service_sid}"
    places = rng.sample(range(store.size), min(SAMPLE, store.size))
    drawn = store.recipients(places)
    empty = store.empty()
    token = json.dumps([False, store.sid_at(store.size // 2)]).encode()
    middle = f"PageSize=50&Page=9&PageToken={urlsafe_b64encode(token).decode().rstrip('=')}"

    def get(path: Callable[[], str]) -> Ask:
        return lambda: line.ask(load.request("GET", f"{service}/Sessions{path()}"))

    def add() -> float:
        body = urlencode({"Identifier": rng.choice(drawn).identifier}).encode()
        session = empty.pop(rng.randrange(len(empty)))
        return line.ask(load.request("POST", f"{service}/Sessions/{session}/Participants", body))

    return {
        "list, first page": get(lambda: ""),
        "list, a page in the middle": get(lambda: f"?{middle}"),
        "list by Status": get(lambda: f"?Status={rng.choice(['open', 'closed'])}"),
        "fetch by SID": get(lambda: f"/{rng.choice(drawn).session_sid}"),
        "fetch by UniqueName": get(lambda: f"/{stores.name_of(rng.choice(places))}"),
        "add a participant": add,
    }


def run(plan: Plan) -> Part:
    part = Part("growth")
    began = time.monotonic()
    loaded = [_load(plan, size) for size in plan.sizes]
    part.text.append(
        f"\nLoaded by SQL in {time.monotonic() - began:.0f} s: "
        + ", ".join(f"{s.size:,} Sessions {_file(s).stat().st_size / 1e6:,.0f} MB" for s in loaded)
    )
    with ExitStack() as up:
        asked = []
        for store in loaded:
            server = up.enter_context(servers.maskline(store.folder, "api", send_wait_ms=0))
            line = Line(server.port)
            up.callback(line.close)
            asked.append(questions(store, line))
        medians = in_turn(plan, asked)
    judge(part, plan, medians)
    return part


def _load(plan: Plan, size: int) -> stores.Store:
    """A store that was read once, so that it is in the machine's memory: a disk's own latency is not looked at."""
    store = stores.Store(size, plan.work / f"growth-{size}")
    stores.begin(store, plan.pool)
    stores.fill_sqlite(store)
    machine.read_once(_file(store))
    return store


def _file(store: stores.Store) -> Path:
    return store.folder / "maskline.db"


def in_turn(plan: Plan, asked: Sequence[Mapping[str, Ask]]) -> Medians:
    """Ask each question of one store after the other, forwards in one round and backwards in the next."""

    def one_round(order: Sequence[int], count: int) -> dict[str, list[float]]:
        seen: dict[str, list[float]] = {}
        for question in asked[0]:
            by_place = {
                place: statistics.median(asked[place][question]() for _ in range(count)) for place in order
            }
            seen[question] = [by_place[place] for place in sorted(by_place)]
        return seen

    medians: dict[str, list[list[float]]] = defaultdict(list)
    places = range(len(asked))
    one_round(places, 2 * plan.asks)  # warm-up
    for number in range(2 * plan.rounds):
        order = places if number % 2 == 0 else places[::-1]
        seen, _share = machine.quietly(partial(one_round, order, plan.asks))
        for question, times in seen.items():
            medians[question].append(times)
    return medians


def judge(part: Part, plan: Plan, medians: Medians) -> None:
    rows: list[list[Cell]] = []
    lines: dict[str, list[float]] = {}
    for question, rounds in medians.items():
        lines[question] = [statistics.median(times) for times in zip(*rounds, strict=True)]
        ratios = [times[-1] / times[0] for times in rounds]
        rows.append([question, *lines[question], statistics.median(ratios)])
        part.goals.append(
            Goal(
                f"{question}: p50 at {plan.sizes[-1]:,} Sessions, of that at {plan.sizes[0]:,}",
                statistics.median(ratios),
                at_most=MOST_GROWTH,
                spread=(min(ratios), max(ratios)),
            )
        )
    part.table(
        f"Growth, p50 in ms by Sessions in the store, a pool of {plan.pool}, {2 * plan.rounds} rounds of {plan.asks}",
        ["", *(f"{size:,}" for size in plan.sizes), "growth"],
        rows,
    )
    part.figures |= {"sizes": plan.sizes, "p50_ms": lines, "rounds": medians}
    part.plots[f"{part.name}.svg"] = plot.lines(
        "p50 in ms, by Sessions in the store", list(plan.sizes), lines
    )
