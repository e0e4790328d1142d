"""Growth on PostgreSQL: what finding a route, relaying, assigning and accepting cost while the store grows.

All stores are databases of one server, each with a server of maskline's over it; each Session has had a message.
They are asked in turn. With a folder for it (`--stores`) the databases stay, and are used again.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

import psycopg

from benchmarks import cluster, growth, load, machine, seed, servers, stores
from benchmarks.plan import Plan
from benchmarks.report import Cell, Goal, Part
from maskline.domain.model import Instant
from maskline.store.engine import no_pseudonym
from maskline.store.postgres_dial import Dialer
from maskline.store.postgres_tx import PostgresTx
from maskline.store.relay import find_match

LEAST_RATE = 0.65
CONNECTIONS = 64
A_RUN = 12_000
"""More participants than a run has messages for, where the store has them."""
LOADING = (
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "maintenance_work_mem=1GB",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
)
"""While the stores are loaded: what is half done when it fails is thrown away."""
ALL, FEW = "to all Sessions alike", "to as many as the smallest store has"
SIZES = """
SELECT t.relname, pg_relation_size(t.oid), (
    SELECT coalesce(sum(pg_relation_size(i.indexrelid)), 0)::bigint FROM pg_index i WHERE i.indrelid = t.oid
) FROM pg_class t WHERE t.relname = ANY(%s) ORDER BY t.relname"""


# Of the other tables only what is drawn is read, by drawing it.
FILES = """
SELECT pg_relation_filepath(c.oid) FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
JOIN pg_class t ON t.oid = coalesce(i.indrelid, c.oid)
WHERE t.relname = ANY(%s) AND (c.relkind = 'i' OR c.relname = 'sessions')"""


def run(plan: Plan) -> Part:
    part = Part("growth-postgres")
    folder = plan.stores or plan.work / "growth-postgres"
    _load(part, plan, folder)
    with cluster.running(folder) as postgres, ExitStack() as up:
        loaded = [_opened(postgres, folder, size) for size in plan.sizes]
        _tell_sizes(part, loaded)
        machine.read_once(*_asked_at_random(folder, loaded))
        serving: list[servers.Server] = []
        asked: list[dict[str, growth.Ask]] = []
        for store in loaded:
            server = servers.maskline(store.folder, "api", send_wait_ms=0, url=store.url, cluster=postgres)
            serving.append(up.enter_context(server))
            asked.append(_questions(store, server, up))
        growth.judge(part, plan, growth.in_turn(plan, asked))
        _accept(part, plan, postgres, list(zip(loaded, serving, strict=True)))
    return part


# ------------------------------------------------------------------------------------------------------- the stores


def _load(part: Part, plan: Plan, folder: Path) -> None:
    """The databases that are not there yet."""
    with machine.all_cores(), cluster.running(folder, LOADING) as postgres:
        for size in plan.sizes:
            if _name(size) in postgres.names():
                continue
            began = time.monotonic()
            half = f"half_{_name(size)}"
            postgres.drop(half)
            url = postgres.database(half)
            store = stores.Store(size, _data(folder, size), url)
            stores.begin(store, plan.pool)
            stores.fill_postgres(url, store)
            postgres.rename(half, _name(size))
            told = f"Loaded {size:,} Sessions by SQL in {time.monotonic() - began:.0f} s"
            print(told, flush=True)
            part.text.append(told)
    os.sync()


def _opened(postgres: cluster.Cluster, folder: Path, size: int) -> stores.Store:
    """One of them, without what earlier runs left waiting."""
    url = postgres.url(_name(size))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE outbox, received")
        connection.execute("CHECKPOINT")
    store = stores.Store(size, _data(folder, size), url)
    ((store.service_sid,),) = store.find("SELECT sid FROM services")
    return store


def _asked_at_random(folder: Path, loaded: Sequence[stores.Store]) -> Iterator[Path]:
    """The files that messages to random Sessions ask for anywhere."""
    for store in loaded:
        assert store.url is not None
        with psycopg.connect(store.url) as connection:
            for (path,) in connection.execute(FILES, (list(stores.COLUMNS),)):
                yield from (folder / "pg").glob(f"{path}*")


def _name(size: int) -> str:
    return f"growth_{size}"


def _data(folder: Path, size: int) -> Path:
    return folder / f"data-{size}"


def _tell_sizes(part: Part, loaded: Sequence[stores.Store]) -> None:
    rows: list[list[Cell]] = []
    for store in loaded:
        assert store.url is not None
        with psycopg.connect(store.url) as connection:
            found = connection.execute(SIZES, (list(stores.COLUMNS),)).fetchall()
        found.append(("all", *(sum(column) for column in list(zip(*found, strict=True))[1:])))
        rows += [
            [f"{store.size:,}", name, table / store.size, indexes / store.size]
            for name, table, indexes in found
        ]
        part.figures.setdefault("bytes", {})[store.size] = found
    part.table(
        "Bytes a Session, with its two participants and one message",
        ["Sessions", "table", "rows", "indexes"],
        rows,
    )


# ---------------------------------------------------------------------------------------------- one thing at a time


def _questions(store: stores.Store, server: servers.Server, up: ExitStack) -> dict[str, growth.Ask]:
    assert store.url is not None
    line = growth.Line(server.port)
    up.callback(line.close)
    connection = up.enter_context(Dialer(store.url).dial())
    tx = PostgresTx(connection, Instant(time.time_ns() // 1000), 0, no_pseudonym)
    rng = random.Random(3)
    people = store.recipients(rng.sample(store.in_progress, min(growth.SAMPLE, len(store.in_progress))))

    def look_up() -> float:
        """What T1 of a text asks, by the store's own function on a connection like its own: one statement."""
        one = rng.choice(people)
        began = time.perf_counter()
        match = find_match(tx, store.service_sid, one.proxy_identifier, one.identifier)
        took_ms = (time.perf_counter() - began) * 1000
        if match is None or match.session.sid != one.session_sid:
            raise RuntimeError(f"no route for somebody of {one.session_sid}")
        return took_ms

    def write() -> float:
        """A text from a handset, until it is kept for the partner."""
        one = rng.choice(people)
        form = urlencode({"From": one.identifier, "To": one.proxy_identifier, "Body": seed.TEXT}).encode()
        return line.ask(load.request("POST", "/sandbox/messages", form))

    add = growth.questions(store, line)["add a participant"]
    return {"look-up of a route": look_up, "text of a handset": write, "add a participant": add}


# ------------------------------------------------------------------------------------------------ many at the same time


@dataclass(frozen=True, slots=True)
class Accepting:
    """A run of POSTs to one store."""

    load: load.ClosedRun
    used: cluster.Used

    def a_message(self, figure: float) -> float:
        return figure / max(1, self.load.answered)


def _accept(
    part: Part, plan: Plan, postgres: cluster.Cluster, up: Sequence[tuple[stores.Store, servers.Server]]
) -> None:
    rng = random.Random(4)
    requests = plan.work / "growth-requests.txt"
    few = plan.sizes[0] // 4
    of_few = {store.size: store.recipients(rng.sample(store.in_progress, few)) for store, _ in up}

    def accept(store: stores.Store, server: servers.Server, to: str) -> Accepting:
        people = of_few[store.size]
        if to == ALL:
            people = store.recipients(rng.sample(store.in_progress, min(A_RUN // 2, len(store.in_progress))))
        rng.shuffle(people)
        load.write_requests(requests, ((one.url, seed.body(0)) for one in people))
        before = postgres.used(_name(store.size))
        seen = load.closed_by_wrk(server, requests, CONNECTIONS, plan.seconds)
        if seen.failed:
            part.wrong.append(f"{store.size:,}, {to}: {seen.failed} failed requests")
        return Accepting(seen, postgres.used(_name(store.size)).since(before))

    runs: dict[tuple[str, int], list[Accepting]] = defaultdict(list)
    for to in (FEW, ALL):
        for store, server in up:
            accept(store, server, to)  # warm-up
        for number in range(plan.rounds):
            order = up if number % 2 == 0 else up[::-1]

            def one_round(
                order: Sequence[tuple[stores.Store, servers.Server]] = order, to: str = to
            ) -> dict[int, Accepting]:
                return {store.size: accept(store, server, to) for store, server in order}

            seen, _share = machine.quietly(one_round)
            for size, run in seen.items():
                runs[to, size].append(run)
    _judge(part, plan, runs)


def _judge(part: Part, plan: Plan, runs: Mapping[tuple[str, int], Sequence[Accepting]]) -> None:
    for to in (FEW, ALL):
        rows: list[list[Cell]] = []
        for size in plan.sizes:
            seen = runs[to, size]
            ratios = [
                one.load.per_s / first.load.per_s
                for one, first in zip(seen, runs[to, plan.sizes[0]], strict=True)
            ]
            figures = (
                [
                    one.load.per_s,
                    one.load.p50_ms,
                    one.load.p99_ms,
                    one.load.cpu_us,
                    one.a_message(one.used.backends_s * 1e6),
                    one.a_message(one.used.wal_bytes / 1024),
                ]
                for one in seen
            )
            rows.append(
                [f"{size:,}", *map(statistics.median, zip(*figures, strict=True)), statistics.median(ratios)]
            )
            if size == plan.sizes[-1]:
                goal = f"POST {to}: rate at {size:,} Sessions, of that at {plan.sizes[0]:,}"
                spread = (min(ratios), max(ratios))
                part.goals.append(Goal(goal, statistics.median(ratios), at_least=LEAST_RATE, spread=spread))
        part.table(
            f"POST MessageInteractions {to}, {CONNECTIONS} connections, "
            f"{plan.rounds} rounds of {plan.seconds:g} s (medians)",
            [
                "Sessions",
                "per s",
                "p50 ms",
                "p99 ms",
                "CPU us",
                "PostgreSQL's CPU us",
                "log KiB",
                "of the smallest",
            ],
            rows,
        )
    part.figures["accepting"] = {
        f"{to}, {size}": [asdict(one) for one in seen] for (to, size), seen in runs.items()
    }
