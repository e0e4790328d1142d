"""Sessions: rows, their names, their end.

`active` of the participants and the counters of their numbers change in the same transaction as the status.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from typing import Any

from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.model import SECOND, Mode, ProxyNumber, Session, SessionStatus
from maskline.domain.problems import Problem
from maskline.domain.session import NEVER, as_of, limit_of
from maskline.store.columns import names_in, parameters, params_of, qualified
from maskline.store.engine import Tx
from maskline.store.meta import find_meta, put_meta
from maskline.store.pages import Page, Seek, fetch_page, key_params
from maskline.store.people import release_numbers

SESSION_COLUMNS = (
    "service_sid, sid, unique_name, status, closed_reason, mode, ttl, expiry_at, started_at, ended_at,"
    " last_interaction_at, active_from_at, created_at, updated_at"
)
COLUMNS_OF_S = qualified(SESSION_COLUMNS, "s")
"""The same, where the Session is `s` in a join."""

# How many Sessions past their limit one transaction writes down at most, so that it holds the writer up for a moment.
MOST_CLOSED = 500

# domain.session.limit_at, where the rows are too many to be looked at one by one.
_LAST_USE = "CASE WHEN last_interaction_at > active_from_at THEN last_interaction_at ELSE active_from_at END"
_ENDED = (
    "s.service_sid = :service AND s.check_at <= :now AND s.status <> 'closed' AND CASE"
    " WHEN s.expiry_at IS NOT NULL THEN s.expiry_at"
    f" WHEN s.ttl > 0 THEN {_LAST_USE} + s.ttl * {SECOND}"
    f" WHEN :idle > 0 THEN {_LAST_USE} + :idle END <= :now"
)


def make_session(row: tuple[Any, ...]) -> Session:
    """A Session from a row of SESSION_COLUMNS, as it was written down."""
    values: list[Any] = list(row)
    values[3], values[5] = SessionStatus(row[3]), Mode(row[5])
    return Session(*values)


def _params(tx: Tx, session: Session) -> dict[str, Any]:
    params = params_of(session)
    limit = limit_of(session, tx.idle_close_us)
    params["check_at"] = None if session.status is SessionStatus.CLOSED or limit >= NEVER else limit
    return params


def find_session(tx: Tx, service_sid: str, sid: str) -> Session | None:
    """The Session as it is now: one that is past its limit is closed, written down or not."""
    row = tx.execute(
        f"SELECT {SESSION_COLUMNS} FROM sessions WHERE service_sid = :service AND sid = :sid",
        {"service": service_sid, "sid": sid},
    ).fetchone()
    return as_of(make_session(row), tx.now, tx.idle_close_us) if row else None


def load_session(tx: Tx, service_sid: str, sid: str) -> Session:
    """The Session with this SID as it is now. Raises 20404."""
    session = find_session(tx, service_sid, canonical(sid))
    if session is None:
        raise Problem(problems.NOT_FOUND)
    return session


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


def load_session_by_name(tx: Tx, service_sid: str, sid_or_name: str) -> Session:
    """The Session with this SID or, failing that, this UniqueName, as it is now. Raises 20404."""
    if is_sid(sid_or_name, "KC"):
        session = find_session(tx, service_sid, canonical(sid_or_name))
        if session is not None:
            return session
    row = tx.execute(
        f"SELECT {SESSION_COLUMNS} FROM sessions WHERE service_sid = :service AND unique_name = :name",
        {"service": service_sid, "name": sid_or_name},
    ).fetchone()
    if row is None:
        raise Problem(problems.NOT_FOUND)
    return as_of(make_session(row), tx.now, tx.idle_close_us)


def insert_session(tx: Tx, session: Session) -> None:
    """Add a Session. Raises 80603 if its name is taken."""
    if session.unique_name is not None:
        taken = tx.execute(
            "SELECT 1 FROM sessions WHERE service_sid = :service AND unique_name = :name",
            {"service": session.service_sid, "name": session.unique_name},
        ).fetchone()
        if taken:
            raise Problem(problems.SESSION_NAME_TAKEN)
    tx.execute(
        f"INSERT INTO sessions ({SESSION_COLUMNS}, check_at) VALUES ({parameters(SESSION_COLUMNS)}, :check_at)",
        _params(tx, session),
    )


def write_session(tx: Tx, session: Session) -> None:
    """Write a changed Session; its participants are untouched."""
    changes = ", ".join(f"{name} = :{name}" for name in [*names_in(SESSION_COLUMNS)[2:], "check_at"])
    tx.execute(
        f"UPDATE sessions SET {changes} WHERE service_sid = :service_sid AND sid = :sid", _params(tx, session)
    )


def use_session(tx: Tx, session: Session) -> None:
    """The Session is used now, unless it has ended: its TTL begins anew, and it is in progress."""
    if session.status is SessionStatus.CLOSED:
        return
    tx.execute(
        "UPDATE sessions SET last_interaction_at = max(coalesce(last_interaction_at, 0), :now),"
        " updated_at = max(updated_at, :now) WHERE service_sid = :service AND sid = :sid",
        {"now": tx.now, "service": session.service_sid, "sid": session.sid},
    )
    if session.status is SessionStatus.OPEN:
        tx.execute(
            "UPDATE sessions SET status = 'in-progress', started_at = coalesce(started_at, :now)"
            " WHERE service_sid = :service AND sid = :sid AND status = 'open'",
            {"now": tx.now, "service": session.service_sid, "sid": session.sid},
        )


def list_sessions(
    tx: Tx, service_sid: str, seek: Seek, *, unique_name: str | None = None, status: str | None = None
) -> Page[Session]:
    """A page of the Service's Sessions as they are now; only those of this name and of this status, if given."""
    params = {
        "service": service_sid,
        "name": unique_name,
        "status": status,
        "now": tx.now,
        "idle": tx.idle_close_us,
        **key_params(seek),
    }

    def now_session(row: tuple[Any, ...]) -> Session:
        return as_of(make_session(row), tx.now, tx.idle_close_us)

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        def select(which: str) -> list[Any]:
            return tx.execute(
                f"SELECT {SESSION_COLUMNS} FROM sessions WHERE service_sid = :service{which}"
                f" ORDER BY {order} LIMIT :limit",
                {**params, "limit": limit},
            ).fetchall()

        if unique_name is not None:
            rows = select(f" AND unique_name = :name AND {condition}")
            return [row for row in rows if status is None or now_session(row).status == status]
        if status is None:
            return select(f" AND {condition}")
        # The first page begins after no SID, too: SQLite enters the index of statuses only where it can seek a SID.
        of_status = " AND status = :status AND " + (condition if seek.key else "sid > ''")
        if status != SessionStatus.CLOSED:
            return select(f"{of_status} AND sid NOT IN (SELECT s.sid FROM sessions s WHERE {_ENDED})")
        ended = tx.execute(
            f"WITH ended AS MATERIALIZED (SELECT {SESSION_COLUMNS} FROM sessions s WHERE {_ENDED})"
            f" SELECT {SESSION_COLUMNS} FROM ended WHERE {condition}",
            params,
        )
        first = heapq.nsmallest if seek.back else heapq.nlargest
        return first(limit, chain(select(of_status), ended), key=itemgetter(1))

    return fetch_page(fetch, ["sid"], seek, now_session)


def has_active_session(tx: Tx, service_sid: str) -> bool:
    """Whether some Session of the Service is active now."""
    return (
        tx.execute(
            "SELECT 1 FROM sessions WHERE service_sid = :service AND status IN ('open', 'in-progress')"
            f" AND sid NOT IN (SELECT s.sid FROM sessions s WHERE {_ENDED}) LIMIT 1",
            {"service": service_sid, "now": tx.now, "idle": tx.idle_close_us},
        ).fetchone()
        is not None
    )


# The end of a Session


_USED = """
SELECT proxy_identifier, sum(present), sum(former) FROM (
    SELECT proxy_identifier, 1 AS present, 0 AS former FROM participants
    WHERE service_sid = :service AND session_sid = :session AND deleted_at IS NULL
    UNION ALL
    SELECT proxy_identifier, 0, 1 FROM former_numbers
    WHERE service_sid = :service AND session_sid = :session AND active + 0 = 1
) AS few GROUP BY proxy_identifier"""


def _count_out(tx: Tx, service_sid: str, session_sid: str, sign: int) -> bool:
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


def _free(tx: Tx, session: Session) -> None:
    """Free the pairs and counters of a Session that was active until now."""
    key = {"service": session.service_sid, "session": session.sid}
    has_former = _count_out(tx, session.service_sid, session.sid, -1)
    release_numbers(tx, session.service_sid, session.sid, session.ended_at or tx.now)
    tables = ("participants", "former_numbers") if has_former else ("participants",)
    for table in tables:
        tx.execute(
            f"UPDATE {table} SET active = 0"
            " WHERE service_sid = :service AND session_sid = :session AND active + 0 = 1",
            key,
        )


def find_taken(tx: Tx, service_sid: str, identifier_key: str) -> set[str]:
    """The numbers that this person cannot be given once more: on which they are in an active Session, or were before it
    moved.
    """
    rows = tx.execute(
        "SELECT proxy_identifier FROM participants"
        " WHERE service_sid = :service AND identifier_key = :key AND active = 1"
        " UNION ALL SELECT proxy_identifier FROM former_numbers"
        " WHERE service_sid = :service AND identifier_key = :key AND active = 1",
        {"service": service_sid, "key": identifier_key},
    ).fetchall()
    return {number for (number,) in rows}


def write_closed(tx: Tx, session: Session) -> None:
    """Write down that `session`, active until now, is closed as it says: its pairs and counters are freed."""
    _free(tx, session)
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
    _count_out(tx, session.service_sid, session.sid, +1)
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
        f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE {_ENDED} AND EXISTS ("
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


_HAD = """
SELECT proxy_identifier, count(*) FROM participants WHERE service_sid = ? AND session_sid = ? AND active = 1
GROUP BY proxy_identifier"""

_LET_GO = """
SELECT DISTINCT proxy_identifier FROM former_numbers WHERE service_sid = ? AND session_sid = ? AND active = 1"""


def count_ended(tx: Tx, service_sid: str) -> dict[str, tuple[int, int]]:
    """Of the Sessions that ended, but are not yet swept: how many had each number, with how many participants.

    The Sessions first, for they are few: in a join PostgreSQL might begin with the participants, who are many.
    """
    params = {"service": service_sid, "now": tx.now, "idle": tx.idle_close_us}
    sessions = tx.execute(f"SELECT s.service_sid, s.sid FROM sessions s WHERE {_ENDED}", params).fetchall()
    ended: dict[str, tuple[int, int]] = {}
    for had, let_go in zip(tx.list_each(_HAD, sessions), tx.list_each(_LET_GO, sessions), strict=True):
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
        f"UPDATE sessions SET check_at = CASE WHEN :idle > 0 THEN {_LAST_USE} + :idle END"
        " WHERE status <> 'closed' AND ttl = 0 AND expiry_at IS NULL",
        {"idle": tx.idle_close_us},
    )
    put_meta(tx, "idle_close_us", str(tx.idle_close_us))


# Deleting


def delete_session(tx: Tx, session: Session) -> None:
    """Make a Session and all below it unreachable and free its name, pairs and numbers; what waits to be sent is not.

    `purge_step` removes the rest.
    """
    key = {"service": session.service_sid, "session": session.sid}
    if session.status is not SessionStatus.CLOSED:
        _free(tx, session)
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
