"""The Sessions that every part runs over: made once through maskline's own HTTP API, then copied for each run."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import psycopg

from benchmarks import load, servers
from benchmarks.cluster import Cluster
from benchmarks.plan import Plan

CALLERS = 16
SEED = "seed"
CARRIER, CARRIERS_FILE = "bench", "MASKLINE_CARRIERS_FILE"
TEXT = "Your driver is two minutes away, please come outside"


@dataclass(frozen=True, slots=True)
class Recipient:
    service_sid: str
    session_sid: str
    participant_sid: str
    identifier: str
    proxy_identifier: str

    @property
    def url(self) -> str:
        return (
            f"/v1/Services/{self.service_sid}/Sessions/{self.session_sid}"
            f"/Participants/{self.participant_sid}/MessageInteractions"
        )


@dataclass(frozen=True, slots=True)
class Seed:
    folder: Path
    recipients: list[Recipient]
    """Both Participants of every Session, in an order that has nothing to do with that of the tables."""

    cluster: Cluster | None = None
    """Where the database is, if it is no file in the folder."""

    def serve(
        self,
        name: str,
        plan: Plan,
        role: str,
        *,
        send_wait_ms: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> servers.Server:
        """maskline on a copy of this."""
        folder = plan.work / name
        url = None
        if self.cluster is None:
            shutil.copytree(self.folder, folder)
        else:
            url = self.cluster.database(name, SEED)
        return servers.maskline(
            folder, role, send_wait_ms=send_wait_ms, env=env, url=url, cluster=self.cluster
        )


def text(number: int) -> str:
    """A text that carries the message's number, so that it can be told from all others at the other end."""
    return f"m{number:09d} {TEXT}"


def body(number: int) -> bytes:
    return f"Body={quote_plus(text(number))}".encode()


def number_in(text: str) -> int:
    return int(text[1:10])


class Traffic:
    """An endless stream of messages to the given recipients in turn; no number twice."""

    def __init__(self, recipients: list[Recipient], first: int = 1) -> None:
        self._recipients = cycle(recipients)
        self.next = first

    def __iter__(self) -> Iterator[load.Message]:
        return self

    def __next__(self) -> load.Message:
        number, self.next = self.next, self.next + 1
        return number, load.request("POST", next(self._recipients).url, body(number))

    def take(self, count: int) -> Iterator[load.Message]:
        return (next(self) for _ in range(count))


def make(plan: Plan, cluster: Cluster | None = None, carriers: Path | None = None) -> Seed:
    """In a file, or in a database of this cluster. With a file of carrier accounts, CARRIER carries the numbers."""
    carried = "" if carriers is None else f"-{carriers.stem}"
    folder = plan.work / (f"{SEED}{carried}" if cluster is None else f"{SEED}{carried}-postgres")
    url = None if cluster is None else cluster.database(SEED)
    env = {} if carriers is None else {CARRIERS_FILE: str(carriers)}
    with servers.maskline(folder, "api", url=url, env=env) as server:
        if carriers is not None:
            lines = ["number,carrier", *(f"{one},{CARRIER}" for one in all_numbers(plan))]
            servers.command(folder, ["numbers", "import", "-"], "\n".join(lines), env=env, url=url)
        mode = [] if carriers is None else [("Mode", "message-only")]
        recipients = load.run(_fill(server.port, plan, mode))
    random.Random(1).shuffle(recipients)
    return Seed(folder, recipients, cluster)


def _number(service: int, place: int) -> str:
    return f"+1415{200 + service}{place:04d}"


def all_numbers(plan: Plan) -> list[str]:
    return [_number(service, place) for service in range(plan.services) for place in range(plan.numbers)]


async def _fill(port: int, plan: Plan, mode: list[tuple[str, str]]) -> list[Recipient]:
    pool = load.Pool(port)

    services: list[str] = []
    for s in range(plan.services):
        service = await pool.ask("POST", "/v1/Services", [("UniqueName", f"benchmark-{s}")])
        services.append(service["sid"])
        for n in range(plan.numbers):
            form = [("PhoneNumber", _number(s, n))]
            await pool.ask("POST", f"/v1/Services/{service['sid']}/PhoneNumbers", form)

    recipients: list[Recipient] = []
    waiting = iter(range(plan.sessions))

    async def caller() -> None:
        for i in waiting:
            sessions = f"/v1/Services/{services[i % plan.services]}/Sessions"
            people = [json.dumps({"Identifier": f"+1628{2_000_000 + 2 * i + side}"}) for side in (0, 1)]
            form = [("UniqueName", f"ride-{i}"), *mode, *(("Participants", person) for person in people)]
            session = await pool.ask("POST", sessions, form)
            listed = await pool.ask("GET", f"{sessions}/{session['sid']}/Participants")
            recipients.extend(
                Recipient(
                    p["service_sid"], p["session_sid"], p["sid"], p["identifier"], p["proxy_identifier"]
                )
                for p in listed["participants"]
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())
    pool.close()
    if len(recipients) != 2 * plan.sessions:
        raise RuntimeError(f"{plan.sessions} Sessions have {len(recipients)} Participants")
    return recipients


def fill_baseline(database: Path | str, recipients: list[Recipient]) -> None:
    """The same Services, Sessions and Participants into the baseline's tables."""
    token = hashlib.sha256(servers.AUTH_TOKEN.encode()).hexdigest()
    rows: dict[str, Iterable[tuple[str, ...]]] = {
        "accounts (sid, token_sha256)": [(servers.ACCOUNT_SID, token)],
        "services (sid, account_sid)": {(r.service_sid, servers.ACCOUNT_SID) for r in recipients},
        "sessions (sid, service_sid, status)": {(r.session_sid, r.service_sid, "open") for r in recipients},
        "participants (sid, session_sid, identifier, proxy_identifier)": [
            (r.participant_sid, r.session_sid, r.identifier, r.proxy_identifier) for r in recipients
        ],
    }
    postgres = isinstance(database, str)
    connection: Any = psycopg.connect(database) if isinstance(database, str) else sqlite3.connect(database)
    with connection:
        for table, values in rows.items():
            places = ", ".join(["%s" if postgres else "?"] * (table.count(",") + 1))
            connection.cursor().executemany(f"INSERT INTO {table} VALUES ({places})", list(values))
    connection.close()
