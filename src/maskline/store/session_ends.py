"""How Sessions end and begin again: closed by the API or at their limit, re-opened, deleted.

`active` of the participants and the counters of their numbers change in the same transaction as the status.
"""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import Any

from maskline.domain import problems
from maskline.domain.ids import canonical
from maskline.domain.model import ProxyNumber, Session, SessionStatus
from maskline.domain.problems import Problem
from maskline.domain.session import as_of
from maskline.store.engine import Tx
from maskline.store.meta import find_meta, put_meta
from maskline.store.people import find_taken, release_numbers
from maskline.store.sessions import ENDED, LAST_USE, SESSION_COLUMNS, make_session, write_session

MOST_CLOSED = 500
"""How many Sessions past their limit one transaction closes at most, so that it holds the writer up for a moment."""

_USED = """
SELECT proxy_identifier, sum(present), sum(former) FROM (
    SELECT proxy_identifier, 1 AS present, 0 AS former FROM participants
    WHERE service_sid = :service AND session_sid = :session AND deleted_at IS NULL
    UNION ALL
    SELECT proxy_identifier, 0, 1 FROM former_numbers
    WHERE service_sid = :service AND session_sid = :session AND active + 0 = 1
) AS few GROUP BY proxy_identifier"""
_NUMBERS = """
SELECT proxy_identifier, count(*) FROM participants WHERE service_sid = ? AND session_sid = ? AND active = 1
GROUP BY proxy_identifier"""

_FORMER_NUMBERS = """
SELECT DISTINCT proxy_identifier FROM former_numbers WHERE service_sid = ? AND session_sid = ? AND active = 1"""


def take_session(tx: Tx, service_sid: str, sid: str) -> Session:
    """The Session to be changed. One that is past its limit is first written down as closed. Raises 20404."""
    row = tx.execute(
        f"SELECT {SESSION_COLUMNS} FROM sessions WHERE service_sid = :service AND sid = :sid",
        {"service": service_sid, "sid": canonical(sid)},
    ).fetchone()
    if row is None:
        raise Problem(problems.NOT_FOUND)
    session = make_session(row)
    now_session = as_of(session, tx.now, tx.idle_close_us)
    if now_session is not session:
        write_closed(tx, now_session)
    return now_session


def _count_numbers(tx: Tx, service_sid: str, session_sid: str, sign: int) -> bool:
    """Lower (-1) or raise (+1) the counters of the numbers that the Session's participants are on, or were before.

    Returns whether there are some that they were on before.
    """
    rows = tx.execute(_USED, {"service": service_sid, "session": session_sid}).fetchall()
    for number, count, former in rows:
        # Only while it is in this pool: a number that left and joined another has begun counting anew.
        tx.execute(
            "UPDATE numbers SET in_use = in_use + :sign, participants = participants + :count,"
            " former = former + :former WHERE phone_number = :number AND service_sid = :service",
            {
                "sign": sign,
                "count": sign * count,
                "former": sign * former,
                "number": number,
                "service": service_sid,
            },
        )
    return any(former for *_, former in rows)


def _free_numbers(tx: Tx, session: Session) -> None:
    """Free the pairs and counters of a Session that was active until now."""
    key = {"service": session.service_sid, "session": session.sid}
    has_former = _count_numbers(tx, session.service_sid, session.sid, -1)
    release_numbers(tx, session.service_sid, session.sid, session.ended_at or tx.now)
    tables = ("participants", "former_numbers") if has_former else ("participants",)
    for table in tables:
        tx.execute(
            f"UPDATE {table} SET active = 0"
            " WHERE service_sid = :service AND session_sid = :session AND active + 0 = 1",
            key,
        )


def write_closed(tx: Tx, session: Session) -> None:
    """Write down that `session`, active until now, is closed as it says: its pairs and counters are freed."""
    _free_numbers(tx, session)
    write_session(tx, session)


def write_reopened(tx: Tx, session: Session) -> None:
    """Write down that `session`, closed until now, is active again. Raises 80604 and 80605."""
    key = {"service": session.service_sid, "session": session.sid}
    for identifier_key, number in tx.execute(
        "SELECT identifier_key, proxy_identifier FROM participants"
        " WHERE service_sid = :service AND session_sid = :session AND deleted_at IS NULL",
        key,
    ).fetchall():
        close_expired_of_person(tx, session.service_sid, identifier_key)
        pair = {"service": session.service_sid, "key": identifier_key, "number": number}
        if not tx.execute(
            "SELECT 1 FROM numbers WHERE phone_number = :number AND service_sid = :service", pair
        ).fetchone():
            raise Problem(problems.PROXY_NOT_IN_SERVICE)
        if number in find_taken(tx, session.service_sid, identifier_key):
            raise Problem(problems.PAIR_IN_USE)
    tx.execute(
        "UPDATE participants SET active = 1"
        " WHERE service_sid = :service AND session_sid = :session AND deleted_at IS NULL",
        key,
    )
    _count_numbers(tx, session.service_sid, session.sid, +1)
    write_session(tx, session)


def _close_if_expired(tx: Tx, rows: list[tuple[Any, ...]]) -> int:
    closed = 0
    for row in rows:
        session = make_session(row)
        now_session = as_of(session, tx.now, tx.idle_close_us)
        if now_session is not session:
            write_closed(tx, now_session)
            closed += 1
    return closed


def close_expired_of_person(tx: Tx, service_sid: str, identifier_key: str) -> None:
    """Write down the end of every Session past its limit that holds this person."""
    rows = tx.execute(
        f"SELECT {SESSION_COLUMNS} FROM sessions WHERE service_sid = :service AND sid IN (SELECT session_sid"
        " FROM participants WHERE service_sid = :service AND identifier_key = :key AND active = 1)",
        {"service": service_sid, "key": identifier_key},
    ).fetchall()
    _close_if_expired(tx, rows)


def close_expired_on_number(tx: Tx, number: ProxyNumber) -> int:
    """Write down the end of Sessions past their limit that use this number, at most MOST_CLOSED; how many they were."""
    rows = tx.execute(
        f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE {ENDED} AND EXISTS ("
        "SELECT 1 FROM participants p WHERE p.service_sid = s.service_sid AND p.session_sid = s.sid"
        " AND p.proxy_identifier = :number AND p.active = 1 UNION ALL"
        " SELECT 1 FROM former_numbers f WHERE f.service_sid = s.service_sid AND f.session_sid = s.sid"
        " AND f.proxy_identifier = :number AND f.active = 1) LIMIT :most",
        {
            "service": number.service_sid,
            "now": tx.now,
            "idle": tx.idle_close_us,
            "number": number.phone_number,
            "most": MOST_CLOSED,
        },
    ).fetchall()
    return _close_if_expired(tx, rows)


def count_ended(tx: Tx, service_sid: str) -> dict[str, tuple[int, int]]:
    """Of the Sessions that ended, but are not yet swept: how many had each number, with how many participants.

    The Sessions first, for they are few: in a join PostgreSQL might begin with the participants, who are many.
    """
    params = {"service": service_sid, "now": tx.now, "idle": tx.idle_close_us}
    sessions = tx.execute(f"SELECT s.service_sid, s.sid FROM sessions s WHERE {ENDED}", params).fetchall()
    ended: dict[str, tuple[int, int]] = {}
    for had, let_go in zip(
        tx.list_each(_NUMBERS, sessions), tx.list_each(_FORMER_NUMBERS, sessions), strict=True
    ):
        participants = dict.fromkeys(map(itemgetter(0), let_go), 0) | dict(had)
        for number, more in participants.items():
            before = ended.get(number, (0, 0))
            ended[number] = (before[0] + 1, before[1] + more)
    return ended


def as_of_now(tx: Tx, numbers: list[ProxyNumber]) -> list[ProxyNumber]:
    """Pool numbers with their counters as they are now: Sessions that ended, but are not yet swept, left out."""
    if not numbers or not any(number.in_use for number in numbers):
        return numbers
    ended = count_ended(tx, numbers[0].service_sid or "")
    return [
        replace(number, in_use=number.in_use - less[0], participants=number.participants - less[1])
        if (less := ended.get(number.phone_number)) is not None
        else number
        for number in numbers
    ]


def sweep_sessions(tx: Tx, most: int) -> int:
    """Look at up to `most` Sessions whose `check_at` has come; close them, or set when to look again."""
    rows = tx.execute(
        f"SELECT {SESSION_COLUMNS} FROM sessions WHERE check_at <= :now ORDER BY check_at LIMIT :most",
        {"now": tx.now, "most": most},
    ).fetchall()
    for row in rows:
        session = make_session(row)
        now_session = as_of(session, tx.now, tx.idle_close_us)
        if now_session is session:
            write_session(tx, session)
        else:
            write_closed(tx, now_session)
    return len(rows)


def follow_idle_limit(tx: Tx) -> None:
    """After a change of the operator's idle limit: `check_at` is a lower bound again, of every Session it concerns."""
    if find_meta(tx, "idle_close_us") == str(tx.idle_close_us):
        return
    tx.execute(
        f"UPDATE sessions SET check_at = CASE WHEN :idle > 0 THEN {LAST_USE} + :idle END"
        " WHERE status <> 'closed' AND ttl = 0 AND expiry_at IS NULL",
        {"idle": tx.idle_close_us},
    )
    put_meta(tx, "idle_close_us", str(tx.idle_close_us))


def delete_session(tx: Tx, session: Session) -> None:
    """Make a Session and all below it unreachable and free its name, pairs and numbers; what waits to be sent is not.

    `purge_step` removes the rest.
    """
    key = {"service": session.service_sid, "session": session.sid}
    if session.status is not SessionStatus.CLOSED:
        _free_numbers(tx, session)
    tx.execute("DELETE FROM sessions WHERE service_sid = :service AND sid = :session", key)
    tx.execute("INSERT INTO purges VALUES (:service, :session) ON CONFLICT DO NOTHING", key)


def count_old_sessions(tx: Tx, retention_us: int) -> int:
    """How many Sessions ended `retention_us` ago or earlier (0: never)."""
    if retention_us == 0:
        return 0
    (count,) = tx.execute(
        "SELECT count(*) FROM sessions WHERE status = 'closed' AND ended_at <= ?", (tx.now - retention_us,)
    ).fetchone()
    return int(count)


def delete_old_sessions(tx: Tx, most: int, retention_us: int) -> int:
    """Delete up to `most` Sessions that ended `retention_us` ago or earlier (0: never)."""
    if retention_us == 0:
        return 0
    rows = tx.execute(
        f"SELECT {SESSION_COLUMNS} FROM sessions WHERE status = 'closed' AND ended_at <= ? ORDER BY ended_at LIMIT ?",
        (tx.now - retention_us, most),
    ).fetchall()
    for row in rows:
        delete_session(tx, make_session(row))
    return len(rows)
