"""The Session's lifecycle as a table, and when it ends by itself.

A Session past its limit is closed from that instant for every reader and writer, whether or not the sweep has
written it down yet: everybody looks at it through `as_of`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from maskline.domain import problems
from maskline.domain.model import SECOND, Instant, Session, SessionStatus
from maskline.domain.problems import Problem

OPEN, IN_PROGRESS, CLOSED = SessionStatus.OPEN, SessionStatus.IN_PROGRESS, SessionStatus.CLOSED

Transition = Literal["stay", "start", "close", "reopen"]

# (from, to by an update of the API): what it means. What is not listed is 80608.
TRANSITIONS: dict[tuple[SessionStatus, SessionStatus], Transition] = {
    (OPEN, OPEN): "stay",
    (OPEN, IN_PROGRESS): "start",
    (OPEN, CLOSED): "close",
    (IN_PROGRESS, IN_PROGRESS): "stay",
    (IN_PROGRESS, CLOSED): "close",
    (CLOSED, CLOSED): "stay",
    (CLOSED, IN_PROGRESS): "reopen",
}

NEVER = Instant(2**62)


def limit_at(
    ttl: int, expiry_at: int | None, active_from_at: int, last_interaction_at: int | None, idle_close_us: int
) -> int:
    """When a Session with these columns ends by itself (`NEVER` if it does not).

    `DateExpiry` wins over `Ttl`; with neither, it ends `idle_close_us` after its last use (0: never). Interactions
    move the last two, not the first.
    """
    if expiry_at is not None:
        return expiry_at
    last_use = max(active_from_at, last_interaction_at or 0)
    if ttl > 0:
        return last_use + ttl * SECOND
    return last_use + idle_close_us if idle_close_us > 0 else NEVER


def limit_of(session: Session, idle_close_us: int) -> Instant:
    """When `session` ends by itself."""
    return Instant(
        limit_at(
            session.ttl, session.expiry_at, session.active_from_at, session.last_interaction_at, idle_close_us
        )
    )


def _reason(session: Session) -> str:
    if session.expiry_at is not None:
        return "date-expiry"
    return "ttl-expired" if session.ttl > 0 else "idle"


def as_of(session: Session, now: Instant, idle_close_us: int) -> Session:
    """The session as it is at `now`: closed at its limit if that has passed, else unchanged."""
    if session.status is CLOSED:
        return session
    limit = limit_of(session, idle_close_us)
    if now < limit:
        return session
    return replace(
        session,
        status=CLOSED,
        closed_reason=_reason(session),
        ended_at=limit,
        updated_at=max(limit, session.updated_at),
    )


def transition(session: Session, to: SessionStatus) -> Transition:
    """What an update to `to` means. Raises 80608 for what the table does not have."""
    meaning = TRANSITIONS.get((session.status, to))
    if meaning is None:
        raise Problem(problems.SESSION_STATUS_INVALID, f"Status {session.status} to {to}")
    return meaning


def start(session: Session, now: Instant) -> Session:
    """In progress from `now` on, unless it has been before."""
    return replace(session, status=IN_PROGRESS, started_at=session.started_at or now)


def close(session: Session, now: Instant) -> Session:
    """Closed by the API at `now`."""
    return replace(
        session,
        status=CLOSED,
        closed_reason="api",
        ended_at=now,
        updated_at=max(now, session.updated_at),
    )


def reopen(session: Session, now: Instant) -> Session:
    """In progress again. An expiry date that has passed is dropped, and the TTL counts from now."""
    expiry_at = session.expiry_at if session.expiry_at is not None and session.expiry_at > now else None
    return replace(
        session,
        status=IN_PROGRESS,
        closed_reason=None,
        started_at=session.started_at or now,
        ended_at=None,
        expiry_at=expiry_at,
        active_from_at=now,
        updated_at=max(now, session.updated_at),
    )
