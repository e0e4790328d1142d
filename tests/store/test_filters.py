"""Lists that are asked for a part: what a filter shows is what the whole list would show of it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.ids import ServiceSid, SessionSid
from maskline.domain.model import SECOND, Instant, Mode, Session, SessionStatus
from maskline.store.engine import Tx
from maskline.store.migrate import migrate
from maskline.store.pages import Page, Seek
from maskline.store.sessions import insert_session, list_sessions
from tests.support.clock import START

SERVICE, OTHER = ServiceSid("KS" + "0" * 32), ServiceSid("KS" + "1" * 32)
IDLE_US = 50 * SECOND


@contextmanager
def database(now: int, idle_close_us: int) -> Iterator[Tx]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection.execute, Instant(START))
    yield Tx(connection.execute, connection.executemany, Instant(now), idle_close_us)
    connection.close()


def session(i: int, status: SessionStatus, ttl: int, expires_s: int | None, service: ServiceSid) -> Session:
    closed = status is SessionStatus.CLOSED
    return Session(
        service_sid=service,
        sid=SessionSid(f"KC{START // 1000:012x}{i:020x}"),
        unique_name=f"name {i}",
        status=status,
        closed_reason="api" if closed else None,
        mode=Mode.VOICE_AND_MESSAGE,
        ttl=ttl,
        expiry_at=None if expires_s is None else Instant(START + expires_s * SECOND),
        started_at=None,
        ended_at=Instant(START) if closed else None,
        last_interaction_at=None,
        active_from_at=Instant(START),
        created_at=Instant(START),
        updated_at=Instant(START),
    )


def walk(page: Callable[[Seek], Page[Session]], size: int, *, back: bool) -> list[Session]:
    """All rows of a list, newest first, page by page; backwards from the key below all others."""
    rows: list[Session] = []
    key: tuple[Any, ...] | None = ("",) if back else None
    while True:
        one = page(Seek(size, key, back))
        rows = [*one.rows, *rows] if back else [*rows, *one.rows]
        if not (one.newer if back else one.older):
            return rows
        assert len(one.rows) == size
        key = (one.rows[0].sid if back else one.rows[-1].sid,)


SESSIONS = st.lists(
    st.tuples(
        st.sampled_from(SessionStatus),
        st.sampled_from([0, 5, 20, 2000]),
        st.none() | st.integers(1, 100),
        st.sampled_from([SERVICE, SERVICE, OTHER]),
    ),
    max_size=30,
)


@given(
    made=SESSIONS, age_s=st.integers(0, 110), size=st.integers(1, 7), idle_us=st.sampled_from([0, IDLE_US])
)
def test_sessions_of_a_status_are_those_that_have_it_now(
    made: list[Any], age_s: int, size: int, idle_us: int
) -> None:
    """Nobody sweeps here: a Session past its limit is closed in both directions."""
    with database(START, idle_us) as tx:
        for i, one in enumerate(made):
            insert_session(tx, session(i, *one))
        tx.now = Instant(START + age_s * SECOND)
        everything = list_sessions(tx, SERVICE, Seek(1000)).rows
        for status in (*SessionStatus, "failed", "unknown"):
            expected = [row for row in everything if row.status == status]
            for back in (False, True):

                def page(seek: Seek, status: str = status) -> Page[Session]:
                    return list_sessions(tx, SERVICE, seek, status=status)

                assert walk(page, size, back=back) == expected


@pytest.mark.parametrize(
    ("age_s", "asked", "shown"),
    [
        (4, "open", True),
        (4, "closed", False),
        (5, "open", False),
        (5, "closed", True),
        (5, None, True),
        (5, "failed", False),
    ],
)
def test_a_name_and_a_status_are_both_asked_for(age_s: int, asked: str | None, shown: bool) -> None:
    with database(START, 0) as tx:
        for i, service in enumerate((SERVICE, SERVICE, OTHER)):
            insert_session(tx, session(i, SessionStatus.OPEN, 5, None, service))
        tx.now = Instant(START + age_s * SECOND)
        page = list_sessions(tx, SERVICE, Seek(50), unique_name="name 1", status=asked)
        assert [row.unique_name for row in page.rows] == ["name 1"] * shown
        assert not list_sessions(tx, SERVICE, Seek(50), unique_name="name 2").rows
