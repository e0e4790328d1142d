"""The Session's lifecycle, and when it ends by itself, against a second statement of both."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain import problems
from maskline.domain.ids import ServiceSid, SessionSid
from maskline.domain.model import SECOND, Instant, Mode, Session, SessionStatus
from maskline.domain.problems import Problem
from maskline.domain.session import (
    NEVER,
    TRANSITIONS,
    as_of,
    close,
    limit_at,
    limit_of,
    reopen,
    start,
    transition,
)

OPEN, IN_PROGRESS, CLOSED = SessionStatus.OPEN, SessionStatus.IN_PROGRESS, SessionStatus.CLOSED

INSTANTS = st.integers(1, 1000).map(lambda s: Instant(s * SECOND))


def a_session(**fields: Any) -> Session:
    values: dict[str, Any] = {
        "service_sid": ServiceSid("KS" + "0" * 32),
        "sid": SessionSid("KC" + "0" * 32),
        "unique_name": None,
        "status": OPEN,
        "closed_reason": None,
        "mode": Mode.VOICE_AND_MESSAGE,
        "ttl": 0,
        "expiry_at": None,
        "started_at": None,
        "ended_at": None,
        "last_interaction_at": None,
        "active_from_at": Instant(SECOND),
        "created_at": Instant(SECOND),
        "updated_at": Instant(SECOND),
    }
    return Session(**{**values, **fields})


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    created = draw(INSTANTS)
    last = draw(st.none() | st.integers(0, 500).map(lambda s: Instant(created + s * SECOND)))
    return a_session(
        status=draw(st.sampled_from([OPEN, IN_PROGRESS])),
        ttl=draw(st.sampled_from([0, 0, 1, 60, 3600])),
        expiry_at=draw(st.none() | INSTANTS),
        last_interaction_at=last,
        active_from_at=created,
        created_at=created,
        updated_at=max(created, last or created),
    )


# The table


@pytest.mark.parametrize(
    ("status", "to", "meaning"),
    [
        (OPEN, OPEN, "stay"),
        (OPEN, IN_PROGRESS, "start"),
        (OPEN, CLOSED, "close"),
        (IN_PROGRESS, IN_PROGRESS, "stay"),
        (IN_PROGRESS, OPEN, None),
        (IN_PROGRESS, CLOSED, "close"),
        (CLOSED, CLOSED, "stay"),
        (CLOSED, IN_PROGRESS, "reopen"),
        (CLOSED, OPEN, None),
    ],
)
def test_what_an_update_to_a_status_means(
    status: SessionStatus, to: SessionStatus, meaning: str | None
) -> None:
    session = a_session(status=status)
    if meaning is None:
        with pytest.raises(Problem) as caught:
            transition(session, to)
        assert caught.value.code is problems.SESSION_STATUS_INVALID
    else:
        assert transition(session, to) == meaning


def test_every_pair_of_statuses_is_decided() -> None:
    """The rows above are all that the table has, so a new one is tested too."""
    assert len(TRANSITIONS) == 7


# When it ends by itself


def independent_limit(session: Session, idle_close_us: int) -> int | None:
    """The rules as a person would tell them, one after the other."""
    if session.expiry_at is not None:  # a date is a date, used or not
        return session.expiry_at
    quiet_since = session.active_from_at
    if session.last_interaction_at is not None and session.last_interaction_at > quiet_since:
        quiet_since = session.last_interaction_at
    if session.ttl != 0:
        return quiet_since + 1_000_000 * session.ttl
    if idle_close_us != 0:
        return quiet_since + idle_close_us
    return None


IDLE = st.sampled_from([0, 10 * SECOND, 5000 * SECOND])


@given(sessions(), IDLE)
def test_the_limit_is_what_the_rules_say(session: Session, idle_close_us: int) -> None:
    limit = limit_of(session, idle_close_us)
    assert (None if limit >= NEVER else limit) == independent_limit(session, idle_close_us)
    assert limit == limit_at(
        session.ttl, session.expiry_at, session.active_from_at, session.last_interaction_at, idle_close_us
    )


@given(sessions(), st.integers(0, 10_000), IDLE)
def test_a_session_is_closed_from_its_limit_on_and_unchanged_before(
    session: Session, second: int, idle_close_us: int
) -> None:
    now = Instant(second * SECOND)
    limit = independent_limit(session, idle_close_us)
    seen = as_of(session, now, idle_close_us)
    if limit is None or now < limit:
        assert seen is session
        return
    assert seen.status is CLOSED
    assert seen.ended_at == limit  # not when somebody happened to look
    assert seen.updated_at == max(limit, session.updated_at)
    reason = "date-expiry" if session.expiry_at else "ttl-expired" if session.ttl else "idle"
    assert seen.closed_reason == reason
    untouched = {"status": OPEN, "ended_at": None, "updated_at": 0, "closed_reason": None}
    assert replace(seen, **untouched) == replace(session, **untouched)


@given(sessions(), st.lists(st.integers(0, 10_000), min_size=1), IDLE)
def test_looking_again_changes_nothing_that_was_seen(
    session: Session, seconds: list[int], idle_close_us: int
) -> None:
    """Once closed it stays closed, with the same dates, whoever looks and whenever it is written down."""
    first_seen: Session | None = None
    for second in sorted(seconds):
        seen = as_of(session, Instant(second * SECOND), idle_close_us)
        if first_seen is not None:
            assert seen == first_seen
            assert as_of(first_seen, Instant(second * SECOND), idle_close_us) is first_seen
        elif seen.status is CLOSED:
            first_seen = seen


@given(sessions(), st.integers(1, 500))
def test_an_interaction_moves_the_end_by_ttl_and_never_the_date(session: Session, later: int) -> None:
    used = replace(session, last_interaction_at=Instant(session.updated_at + later * SECOND))
    before, after = limit_of(session, 0), limit_of(used, 0)
    if session.expiry_at is not None or session.ttl == 0:
        assert after == before
    else:
        assert after == used.last_interaction_at + session.ttl * SECOND > before


def test_a_session_without_limits_never_ends() -> None:
    session = a_session()
    assert as_of(session, Instant(2**61), 0) is session


# Any sequence of legal events


STEPS = st.tuples(
    st.sampled_from(["close", "reopen", "start", "message", "ttl", "expiry", "look"]), st.integers(0, 100)
)


@given(sessions(), st.lists(STEPS, max_size=20), IDLE)
def test_any_sequence_of_legal_events_ends_in_a_legal_state(
    session: Session, steps: list[tuple[str, int]], idle_close_us: int
) -> None:
    now = session.updated_at
    for step, seconds in steps:
        before = session
        now = Instant(now + seconds * SECOND)
        session = as_of(session, now, idle_close_us)
        active = session.status is not CLOSED
        match step:
            case "close" if active:
                assert transition(session, CLOSED) == "close"
                session = close(session, now)
            case "reopen" if not active:
                assert transition(session, IN_PROGRESS) == "reopen"
                session = reopen(session, now)
            case "start" | "message" if active:
                transition(session, IN_PROGRESS)
                session = replace(
                    start(session, now),
                    last_interaction_at=now if step == "message" else session.last_interaction_at,
                    updated_at=now,
                )
            case "ttl" if active:
                session = replace(session, ttl=seconds, updated_at=now)
            case "expiry" if active and seconds:
                session = replace(session, expiry_at=Instant(now + seconds * SECOND), updated_at=now)
        # What is seen of it:
        session_now = as_of(session, now, idle_close_us)
        closed = session_now.status is CLOSED
        assert (session_now.ended_at is not None) == closed == (session_now.closed_reason is not None)
        assert session_now.updated_at >= before.updated_at
        assert session_now.created_at == before.created_at
        assert closed or limit_of(session_now, idle_close_us) > now


@given(sessions(), st.integers(0, 5000))
def test_a_session_that_is_reopened_is_active_at_once(session: Session, later: int) -> None:
    """An expiry date that has passed is dropped, one ahead is kept; the TTL counts from the re-opening."""
    now = Instant(session.updated_at + later * SECOND)
    opened = reopen(close(session, now), now)
    assert as_of(opened, now, 0) is opened
    assert opened.status is IN_PROGRESS
    assert opened.started_at == (session.started_at or now)
    ahead = session.expiry_at is not None and session.expiry_at > now
    assert opened.expiry_at == (session.expiry_at if ahead else None)
    if not ahead and session.ttl:
        assert limit_of(opened, 0) >= now + session.ttl * SECOND


@pytest.mark.parametrize("change", [close, reopen])
def test_a_clock_that_stepped_back_does_not_take_the_date_of_update_with_it(change: Any) -> None:
    session = a_session(updated_at=Instant(100 * SECOND), status=CLOSED if change is reopen else OPEN)
    assert change(session, Instant(40 * SECOND)).updated_at == 100 * SECOND
