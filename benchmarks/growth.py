"""Growth: what reading and assigning cost while the store grows a hundredfold.

Three servers are up at once, over stores that were loaded by SQL, and are asked in turn, one request at a time over one
connection each; a ratio is that of two medians of one round.
"""

from __future__ import annotations

import json
import random
import socket
import sqlite3
import statistics
import time
from base64 import urlsafe_b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from benchmarks import load, machine, plot, seed, servers
from benchmarks.plan import Plan
from benchmarks.report import Cell, Goal, Part

MOST_GROWTH = 1.5
DAY_US = 86_400 * 1_000_000
AGE_US = 30 * DAY_US
"""The Sessions were made one after the other over so long a time."""
IDLE_US = 90 * DAY_US
BATCH = 50_000
SAMPLE = 5000
EMPTY = 2000
"""Sessions without anybody, to which participants are added."""
PLOT = "growth.svg"

SESSION = """service_sid, sid, unique_name, status, closed_reason, mode, ttl, expiry_at, started_at, ended_at,
    last_interaction_at, active_from_at, seq, check_at, created_at, updated_at"""
PARTICIPANT = """service_sid, sid, session_sid, identifier, identifier_key, friendly_name, proxy_identifier,
    proxy_identifier_sid, active, deleted_at, created_at, updated_at"""


@dataclass(slots=True)
class Store:
    """One loaded store, and some of what is in it."""

    size: int
    folder: Path
    service_sid: str = ""
    sessions: list[tuple[str, str]] = field(default_factory=list)
    """SIDs and names."""
    people: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    """SIDs of Sessions that nobody is in yet; each is used once."""
    middle: str = ""
    """The SID that half of the Sessions are older than."""


class Line:
    """A keep-alive connection that is asked one thing at a time, with as little as can be around the socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> tuple[float, int, bytes]:
        """Milliseconds from the request to the whole answer, its status and its body."""
        began = time.perf_counter()
        self._socket.sendall(request)
        answer = self._socket.recv(1 << 18)
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._socket.recv(1 << 18)
        length = int(answer[:end].lower().partition(b"content-length: ")[2].split(b"\r", 1)[0])
        while len(answer) < end + 4 + length:
            answer += self._socket.recv(1 << 18)
        return (time.perf_counter() - began) * 1000, int(answer[9:12]), answer[end + 4 :]

    def close(self) -> None:
        self._socket.close()


# ------------------------------------------------------------------------------------------------------- the stores


def make(plan: Plan, size: int) -> Store:
    """A store with so many Sessions, every second one closed, so that as many participants are active."""
    store = Store(size, plan.work / f"growth-{size}")
    with servers.maskline(store.folder, "api") as server:
        store.service_sid = load.run(_begin(server.port, plan.pool))
    _fill(store)
    return store


async def _begin(port: int, numbers: int) -> str:
    pool = load.Pool(port)
    service = await pool.ask("POST", "/v1/Services", [("UniqueName", "growth")])
    for n in range(numbers):
        form = [("PhoneNumber", f"+1415{2_000_000 + n}")]
        await pool.ask("POST", f"/v1/Services/{service['sid']}/PhoneNumbers", form)
    pool.close()
    return str(service["sid"])


def _fill(store: Store) -> None:
    rng = random.Random(1)
    chosen = set(rng.sample(range(store.size), min(SAMPLE, store.size)))
    connection = sqlite3.connect(store.folder / "maskline.db", isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-400000")
    pool = connection.execute("SELECT phone_number, sid FROM numbers ORDER BY phone_number").fetchall()
    in_use: Counter[str] = Counter()
    now_us = time.time_ns() // 1000
    first_us, step_us = now_us - AGE_US, AGE_US // (store.size + EMPTY)
    for start in range(0, store.size + EMPTY, BATCH):
        sessions: list[tuple[object, ...]] = []
        participants: list[tuple[object, ...]] = []
        people: dict[str, list[str]] = {}
        for i in range(start, min(start + BATCH, store.size + EMPTY)):
            at = first_us + i * step_us
            closed = i % 2 == 0 and i < store.size
            session_sid, name = _sid("KC", at, rng), f"ride-{i}"
            status = "closed" if closed else "in-progress" if i % 4 == 1 else "open"
            ended = at + step_us if closed else None
            sessions.append(
                (
                    store.service_sid, session_sid, name, status, "api" if closed else None, "voice-and-message",
                    0, None, None, ended, None, at, 0, None if closed else at + IDLE_US, at, ended or at,
                )
            )  # fmt: skip
            if i >= store.size:
                store.empty.append(session_sid)
                continue
            # The same two people in a closed Session and in the active one after it, on another number.
            pair = [f"+1628{2_000_000 + i // 2 * 2 + side}" for side in (0, 1)]
            for side, who in enumerate(pair):
                number, number_sid = pool[(i * 7 + side * 3) % len(pool)]
                participants.append(
                    (
                        store.service_sid, _sid("KP", at, rng, side), session_sid, who, who, None, number, number_sid,
                        int(not closed), None, at, at,
                    )
                )  # fmt: skip
                people.setdefault(who, []).insert(0, number)
                in_use[number] += not closed
            if i in chosen:
                store.sessions.append((session_sid, name))
                store.people.append(pair[-1])
            if i == store.size // 2:
                store.middle = session_sid
        connection.execute("BEGIN")
        _insert(connection, "sessions", SESSION, sessions)
        _insert(connection, "participants", PARTICIPANT, participants)
        had = [(store.service_sid, who, json.dumps(numbers)) for who, numbers in people.items()]
        _insert(connection, "people", "service_sid, identifier_key, history", had)
        connection.execute("COMMIT")
    # No Session has one number twice, so that Sessions and participants on a number are as many.
    connection.executemany(
        "UPDATE numbers SET in_use = ?, participants = ? WHERE phone_number = ?",
        [(count, count, number) for number, count in in_use.items()],
    )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    rng.shuffle(store.sessions)
    rng.shuffle(store.people)


def _warm(store: Store) -> None:
    """Read it once, so that it is in the machine's memory: a disk's own latency is not what is looked at."""
    with (store.folder / "maskline.db").open("rb") as file:
        while file.read(1 << 20):
            pass


def _insert(
    connection: sqlite3.Connection, table: str, columns: str, rows: Sequence[tuple[object, ...]]
) -> None:
    places = ", ".join("?" for _ in columns.split(","))
    connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)


def _sid(prefix: str, at_us: int, rng: random.Random, count: int = 0) -> str:
    return f"{prefix}{at_us // 1000:012x}7{count:03x}{0x8000_0000_0000_0000 | rng.getrandbits(62):016x}"


# ---------------------------------------------------------------------------------------------------- the questions


def _questions(store: Store) -> dict[str, Iterator[bytes]]:
    """What is asked, each without end."""
    rng = random.Random(2)
    service = f"/v1/Services/{store.service_sid}"
    token = urlsafe_b64encode(json.dumps([False, store.middle]).encode()).decode().rstrip("=")

    def ever(make: Callable[[], bytes]) -> Iterator[bytes]:
        while True:
            yield make()

    def get(path: str) -> bytes:
        return load.request("GET", service + path)

    def add() -> bytes:
        body = urlencode({"Identifier": rng.choice(store.people)}).encode()
        session = store.empty.pop(rng.randrange(len(store.empty)))
        return load.request("POST", f"{service}/Sessions/{session}/Participants", body)

    return {
        "list, first page": ever(lambda: get("/Sessions")),
        "list, a page in the middle": ever(lambda: get(f"/Sessions?PageSize=50&Page=9&PageToken={token}")),
        "list by Status": ever(lambda: get(f"/Sessions?Status={rng.choice(['open', 'closed'])}")),
        "fetch by SID": ever(lambda: get(f"/Sessions/{rng.choice(store.sessions)[0]}")),
        "fetch by UniqueName": ever(lambda: get(f"/Sessions/{rng.choice(store.sessions)[1]}")),
        "add a participant": ever(add),
    }


def run(plan: Plan, _: seed.Seed) -> Part:
    part = Part("growth")
    began = time.monotonic()
    stores = [make(plan, size) for size in plan.sizes]
    megabytes = [(store.folder / "maskline.db").stat().st_size / 1e6 for store in stores]
    for store in stores:
        _warm(store)
    part.text.append(
        f"\nLoaded by SQL in {time.monotonic() - began:.0f} s: "
        + ", ".join(f"{s.size:,} Sessions {mb:,.0f} MB" for s, mb in zip(stores, megabytes, strict=True))
    )
    medians: dict[str, list[list[float]]] = defaultdict(list)
    with ExitStack() as stack:
        lines = []
        for store in stores:
            server = stack.enter_context(servers.maskline(store.folder, "api", send_wait_ms=0))
            lines.append(Line(server.port))
            stack.callback(lines[-1].close)
        asked = [_questions(store) for store in stores]

        def block(question: str, place: int, count: int) -> float:
            times = []
            for _ in range(count):
                ms, status, answer = lines[place].ask(next(asked[place][question]))
                times.append(ms)
                if status not in {200, 201}:
                    part.wrong.append(f"{question}, {stores[place].size:,}: {status} {answer[:200]!r}")
            return statistics.median(times)

        def one_round(order: list[int], count: int) -> dict[str, list[float]]:
            seen: dict[str, list[float]] = {}
            for question in asked[0]:
                by_place = {place: block(question, place, count) for place in order}
                seen[question] = [by_place[place] for place in sorted(by_place)]
            return seen

        places = list(range(len(stores)))
        one_round(places, 2 * plan.asks)  # warm-up
        for number in range(2 * plan.rounds):
            order = places if number % 2 == 0 else places[::-1]
            seen, _share = machine.quietly(partial(one_round, order, plan.asks))
            for question, times in seen.items():
                medians[question].append(times)
    _judge(part, plan, medians)
    return part


def _judge(part: Part, plan: Plan, medians: dict[str, list[list[float]]]) -> None:
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
    part.figures = {"sizes": plan.sizes, "p50_ms": lines, "rounds": medians}
    part.plots[PLOT] = plot.lines("p50 in ms, by Sessions in the store", list(plan.sizes), lines)
