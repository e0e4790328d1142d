"""Stores of any size, loaded by SQL: one Service, of whose Sessions every second one is closed, so that as many
participants are active as there are Sessions. What is asked of a store is drawn from what is in it.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import load, servers
from benchmarks.seed import TEXT, Recipient
from maskline.domain.interaction import MessageStatus

DAY_US = 86_400 * 1_000_000
AGE_US = 30 * DAY_US
"""The Sessions were made one after the other over so long a time."""
IDLE_US = 90 * DAY_US
BATCH = 50_000
EMPTY = 2000
"""Sessions without anybody, to which participants are added."""
AREAS, PEOPLE = ("628", "650"), 8_000_000
"""Where people are, and how many numbers an area has."""
AT_ONCE = 500

COLUMNS = {
    "sessions": """service_sid, sid, unique_name, status, closed_reason, mode, ttl, started_at, ended_at,
        last_interaction_at, active_from_at, seq, check_at, created_at, updated_at""",
    "participants": """service_sid, sid, session_sid, identifier, identifier_key, proxy_identifier,
        proxy_identifier_sid, active, created_at, updated_at""",
    "people": "service_sid, identifier_key, history, participants",
    "interactions": """service_sid, session_sid, sid, account_sid, type, data, participant_sid,
        outbound_participant_sid, outbound_resource_sid, outbound_status, carrier_id, updated_at""",
}

# No Session has one number twice, so that Sessions and participants on a number are as many.
COUNT_IN_USE = """
UPDATE numbers SET in_use = t.count, participants = t.count FROM (
    SELECT proxy_identifier, count(*) AS count FROM participants WHERE active = 1 GROUP BY proxy_identifier
) AS t WHERE phone_number = t.proxy_identifier"""

_KEYS = """
SELECT c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid)
FROM pg_constraint c WHERE c.contype = 'p' AND c.conrelid::regclass::text = ANY(%s)"""
_INDEXES = """
SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
FROM pg_index i WHERE NOT i.indisprimary AND i.indrelid::regclass::text = ANY(%s)"""

Row = tuple[object, ...]
Rows = dict[str, list[Row]]
"""By table."""


@dataclass(slots=True)
class Store:
    """A store of so many Sessions: in a file of the folder, or at the URL."""

    size: int
    folder: Path
    url: str | None = None
    service_sid: str = ""

    def find(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """The rows that a query finds, with `?` for each value."""
        if self.url is None:
            connection: Any = sqlite3.connect(self.folder / "maskline.db")
        else:
            connection, query = psycopg.connect(self.url), query.replace("?", "%s")
        with closing(connection):
            return list(connection.execute(query, values).fetchall())

    def recipients(self, places: Sequence[int]) -> list[Recipient]:
        """Both participants of the Sessions at these places."""
        found = []
        for start in range(0, len(places), AT_ONCE):
            names = [name_of(place) for place in places[start : start + AT_ONCE]]
            found += self.find(
                "SELECT s.service_sid, s.sid, p.sid, p.identifier, p.proxy_identifier FROM sessions s"
                " JOIN participants p ON p.service_sid = s.service_sid AND p.session_sid = s.sid"
                f" WHERE s.service_sid = ? AND s.unique_name IN ({', '.join('?' * len(names))})",
                (self.service_sid, *names),
            )
        return [Recipient(*row) for row in found]

    def empty(self) -> list[str]:
        """SIDs of Sessions that nobody is in yet."""
        rows = self.find(
            "SELECT s.sid FROM sessions s WHERE s.service_sid = ? AND s.sid >= ? AND NOT EXISTS (SELECT 1"
            " FROM participants p WHERE p.service_sid = s.service_sid AND p.session_sid = s.sid)",
            (self.service_sid, self.sid_at(self.size)),
        )
        return [sid for (sid,) in rows]

    def sid_at(self, place: int) -> str:
        """The SID of a Session. They are in the order of their places."""
        query = "SELECT sid FROM sessions WHERE service_sid = ? AND unique_name = ?"
        return str(self.find(query, (self.service_sid, name_of(place)))[0][0])

    @property
    def in_progress(self) -> range:
        """The places of the active Sessions that had messages before."""
        return range(1, self.size, 4)


def name_of(place: int) -> str:
    return f"ride-{place}"


def begin(store: Store, numbers: int) -> None:
    """A Service with so many numbers."""
    with servers.maskline(store.folder, "api", url=store.url) as server:
        store.service_sid = load.run(_begin(server.port, numbers))


async def _begin(port: int, numbers: int) -> str:
    pool = load.Pool(port)
    service = await pool.ask("POST", "/v1/Services", [("UniqueName", "growth")])
    for n in range(numbers):
        form = [("PhoneNumber", f"+1415{2_000_000 + n}")]
        await pool.ask("POST", f"/v1/Services/{service['sid']}/PhoneNumbers", form)
    pool.close()
    return str(service["sid"])


def fill_sqlite(store: Store) -> None:
    with closing(sqlite3.connect(store.folder / "maskline.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-400000")
        for batch in _batches(store, with_messages=False):
            connection.execute("BEGIN")
            for table, rows in batch.items():
                places = ", ".join("?" for _ in COLUMNS[table].split(","))
                connection.executemany(f"INSERT INTO {table} ({COLUMNS[table]}) VALUES ({places})", rows)
            connection.execute("COMMIT")
        connection.execute(COUNT_IN_USE)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fill_postgres(url: str, store: Store) -> None:
    """Each Session has had a message, too. What has to be on the disk is so only once the server has been stopped."""
    tables = list(COLUMNS)
    with psycopg.connect(url, autocommit=True) as connection:
        keys = connection.execute(_KEYS, (tables,)).fetchall()
        indexes = connection.execute(_INDEXES, (tables,)).fetchall()
        # In one transaction, so that nothing of it has to be logged, and nothing has to be read again by a vacuum.
        with connection.transaction():
            for table, name, _ in keys:
                connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
            for name, _ in indexes:
                connection.execute(f"DROP INDEX {name}")
            connection.execute(f"TRUNCATE {', '.join(tables)}")
            for batch in _batches(store, with_messages=True):
                for table, rows in batch.items():
                    copying = f"COPY {table} ({COLUMNS[table]}) FROM STDIN WITH (FREEZE)"
                    with connection.cursor().copy(copying) as copy:
                        copy.write("".join(map(_line, rows)))
        for table, name, definition in keys:
            connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
        for _, definition in indexes:
            connection.execute(definition)
        connection.execute(COUNT_IN_USE)
        connection.execute("ANALYZE")


def _line(row: Row) -> str:
    """A row as COPY reads it; none of the values needs an escape."""
    return "\t".join(["\\N" if value is None else str(value) for value in row]) + "\n"


def _batches(store: Store, *, with_messages: bool) -> Iterator[Rows]:
    """All rows, some thousand Sessions at a time."""
    service_sid, size = store.service_sid, store.size
    rng = random.Random(1)
    pool = store.find("SELECT phone_number, sid FROM numbers ORDER BY phone_number")
    data = json.dumps({"body": TEXT})
    first_us, step_us = time.time_ns() // 1000 - AGE_US, AGE_US // (size + EMPTY)
    for start in range(0, size + EMPTY, BATCH):
        sessions: list[Row] = []
        participants: list[Row] = []
        interactions: list[Row] = []
        people: dict[str, list[str]] = {}
        for i in range(start, min(start + BATCH, size + EMPTY)):
            at = first_us + i * step_us
            is_empty = i >= size
            closed = i % 2 == 0 and not is_empty
            session_sid = _sid("KC", at, rng)
            status = "closed" if closed else "in-progress" if i % 4 == 1 else "open"
            ended = at + step_us if closed else None
            messages = int(with_messages and not is_empty)
            sessions.append(
                (
                    service_sid, session_sid, name_of(i), status, "api" if closed else None, "voice-and-message", 0,
                    None if status == "open" else at, ended, at if messages else None, at, messages,
                    None if closed else at + IDLE_US, at, ended or at,
                )
            )  # fmt: skip
            if is_empty:
                continue
            # The same two people in a closed Session and in the active one after it, on another number.
            writers = [_sid("KP", at, rng, side) for side in (0, 1)]
            for side, sid in enumerate(writers):
                who = _person(i // 2 * 2 + side)
                number, number_sid = pool[(i * 7 + side * 3) % len(pool)]
                participants.append(
                    (
                        service_sid, sid, session_sid, who, who, number, number_sid, int(not closed), at, at,
                    )
                )  # fmt: skip
                people.setdefault(who, []).insert(0, number)
            if messages:
                sid, message_sid = writers[0], _sid("SM", at, rng)
                interactions.append(
                    (
                        service_sid, session_sid, _sid("KI", at, rng), servers.ACCOUNT_SID, "message", data, sid, sid,
                        message_sid, int(MessageStatus.DELIVERED), message_sid, at,
                    )
                )  # fmt: skip
        yield {
            "sessions": sessions,
            "participants": participants,
            "people": [
                (service_sid, who, json.dumps(numbers), len(numbers)) for who, numbers in people.items()
            ],
            "interactions": interactions,
        }


def _person(n: int) -> str:
    return f"+1{AREAS[n // PEOPLE]}{2_000_000 + n % PEOPLE}"


def _sid(prefix: str, at_us: int, rng: random.Random, count: int = 0) -> str:
    return f"{prefix}{at_us // 1000:012x}7{count:03x}{0x8000_0000_0000_0000 | rng.getrandbits(62):016x}"
