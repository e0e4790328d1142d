"""Sessions: their rows, as they are found, listed and written. How they end is `session_ends`."""

from __future__ import annotations

import heapq
from itertools import chain
from operator import itemgetter
from typing import Any

from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.model import SECOND, Mode, Session, SessionStatus
from maskline.domain.problems import Problem
from maskline.domain.session import NEVER, as_of, limit_of
from maskline.store.columns import names_in, parameters, params_of, qualified
from maskline.store.engine import Tx
from maskline.store.pages import Page, Seek, fetch_page, key_params

SESSION_COLUMNS = (
    "service_sid, sid, unique_name, status, closed_reason, mode, ttl, expiry_at, started_at, ended_at,"
    " last_interaction_at, active_from_at, created_at, updated_at"
)
COLUMNS_OF_S = qualified(SESSION_COLUMNS, "s")
"""The same, where the Session is `s` in a join."""

# Apart from what every message runs: setting a status, if only to what it is, writes into its index.
START_SESSION = """
UPDATE sessions SET status = 'in-progress', started_at = coalesce(started_at, ?)
WHERE service_sid = ? AND sid = ? AND status = 'open'"""

# domain.session.limit_at, where the rows are too many to be looked at one by one: the active Sessions of a Service
# that are past their limit.
LAST_USE = "CASE WHEN last_interaction_at > active_from_at THEN last_interaction_at ELSE active_from_at END"
ENDED = (
    "s.service_sid = :service AND s.check_at <= :now AND s.status <> 'closed' AND CASE"
    " WHEN s.expiry_at IS NOT NULL THEN s.expiry_at"
    f" WHEN s.ttl > 0 THEN {LAST_USE} + s.ttl * {SECOND}"
    f" WHEN :idle > 0 THEN {LAST_USE} + :idle END <= :now"
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
        tx.execute(START_SESSION, (tx.now, session.service_sid, session.sid))


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
            return select(f"{of_status} AND sid NOT IN (SELECT s.sid FROM sessions s WHERE {ENDED})")
        ended = tx.execute(
            f"WITH ended AS MATERIALIZED (SELECT {SESSION_COLUMNS} FROM sessions s WHERE {ENDED})"
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
            f" AND sid NOT IN (SELECT s.sid FROM sessions s WHERE {ENDED}) LIMIT 1",
            {"service": service_sid, "now": tx.now, "idle": tx.idle_close_us},
        ).fetchone()
        is not None
    )
