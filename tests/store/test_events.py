"""Lists of events: whatever is asked for, page by page there and back, and nothing of anybody else's."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain import problems
from maskline.domain.model import SECOND, Instant
from maskline.domain.problems import Code, Problem
from maskline.store.engine import Tx
from maskline.store.events import Event, Wanted, insert_event, list_events, load_event
from maskline.store.migrate import migrate
from maskline.store.pages import Seek
from tests.support.clock import START

CODES = [
    problems.CALLBACK_FAILED,
    problems.SESSION_EXPIRED,
    problems.NO_ACTIVE_SESSION,
    problems.SENDER_NOT_WIRED,
]


def sid(prefix: str, i: int, at_s: int = 0) -> str:
    return f"{prefix}{START // 1000 + at_s * 1000:012x}{i:020x}"


# Of two accounts the one has three Services with two Sessions each, the other one Service with one.
PLACES: list[dict[str, str]] = []
for i in range(7):
    account, service, session = int(i == 6), i // 2, i
    PLACES.append({"account_sid": sid("AC", account)})
    PLACES.append({**PLACES[-1], "service_sid": sid("KS", service)})
    PLACES.append({**PLACES[-1], "session_sid": sid("KC", session)})
    PLACES += [{**PLACES[-1], "interaction_sid": sid("KI", session)}]


@contextmanager
def database() -> Iterator[Tx]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection.execute, Instant(START))
    yield Tx(connection.execute, connection.executemany, Instant(START), 0)
    connection.close()


@pytest.fixture
def tx() -> Iterator[Tx]:
    with database() as tx:
        yield tx


def put(tx: Tx, event_sid: str, where: dict[str, str], code: Code = problems.SESSION_EXPIRED) -> None:
    insert_event(tx, event_sid, code=code, **where)


def fits(event: Event, wanted: Wanted) -> bool:
    names = ("account_sid", "service_sid", "session_sid", "interaction_sid", "level", "code")
    asked = {name: value for name in names if (value := getattr(wanted, name)) is not None}
    return (
        all(getattr(event, name) == value for name, value in asked.items())
        and (wanted.since is None or event.generated_at >= wanted.since)
        and (wanted.until is None or event.generated_at < wanted.until)
    )


def walk(tx: Tx, wanted: Wanted, size: int) -> list[Event]:
    """All pages there, the same back again."""
    there, seek = [], Seek(size)
    while True:
        page = list_events(tx, wanted, seek)
        assert page.newer == (seek.key is not None)
        there.append(page.rows)
        if not page.older:
            break
        assert len(page.rows) == size
        seek = Seek(size, (page.rows[-1].sid,))
    for i in range(len(there) - 1, 0, -1):
        if there[i]:
            page = list_events(tx, wanted, Seek(size, (there[i][0].sid,), True))
            assert (page.rows, page.newer, page.older) == (there[i - 1], i > 1, True)
    return [event for rows in there for event in rows]


seconds = st.none() | st.integers(-1, 9).map(lambda s: Instant(START + s * SECOND))


@given(
    made=st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(CODES), st.integers(0, 8)), max_size=30),
    place=st.sampled_from(PLACES),
    level=st.sampled_from([None, "ERROR", "WARNING", "NOTICE"]),
    code=st.sampled_from([None, 1, *(code.number for code in CODES)]),
    since=seconds,
    until=seconds,
    size=st.integers(1, 5),
)
def test_a_list_holds_what_is_asked_for_and_nothing_else(
    made: list[Any], place: dict[str, str], level: str, code: int, since: Instant, until: Instant, size: int
) -> None:
    wanted = Wanted(**place, level=level, code=code, since=since, until=until)
    with database() as tx:
        for i, (where, what, at_s) in enumerate(made):
            put(tx, sid("NO", i, at_s), where, what)
        everything = [
            load_event(tx, where["account_sid"], sid("NO", i, at_s))
            for i, (where, _, at_s) in enumerate(made)
        ]
        expected = sorted((one for one in everything if fits(one, wanted)), key=lambda e: e.sid, reverse=True)
        assert walk(tx, wanted, size) == expected


def test_what_is_another_accounts_is_in_no_list_whatever_is_named(tx: Tx) -> None:
    for i, where in enumerate(PLACES):
        put(tx, sid("NO", i), where)
    for where in [one for one in PLACES[:24] if len(one) > 1]:
        mine = Wanted(**where)
        assert len(list_events(tx, mine, Seek(50)).rows) > 0
        theirs = list_events(tx, replace(mine, account_sid=sid("AC", 1)), Seek(1))
        assert (theirs.rows, theirs.older) == ([], False)
    with pytest.raises(Problem, match="20404"):
        load_event(tx, sid("AC", 1), sid("NO", 0))


@pytest.mark.parametrize("key", [(7,), ("NO", "NO")])
def test_a_page_token_of_another_list_is_refused(tx: Tx, key: tuple[Any, ...]) -> None:
    with pytest.raises(Problem, match="80701"):
        list_events(tx, Wanted(sid("AC", 0)), Seek(5, key))


def test_an_interaction_of_no_session_has_events_of_none(tx: Tx) -> None:
    where = {**PLACES[3], "session_sid": ""}
    put(tx, sid("NO", 0), where)
    event = load_event(tx, where["account_sid"], sid("NO", 0))
    assert (event.session_sid, event.resource_sid) == (None, where["interaction_sid"])


@pytest.mark.parametrize(
    ("where", "resource"),
    [(PLACES[0], None), *((PLACES[i], list(PLACES[i].values())[-1]) for i in (1, 2, 3))],
)
def test_the_resource_is_the_narrowest_that_an_event_is_about(
    tx: Tx, where: dict[str, str], resource: str | None
) -> None:
    put(tx, sid("NO", 0), where)
    assert load_event(tx, where["account_sid"], sid("NO", 0)).resource_sid == resource


def test_a_page_takes_as_many_steps_however_many_events_there_are() -> None:
    """Steps of SQLite's machine; what stands in a plan as a search may still walk over all rows of a kind."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection.execute, Instant(START))
    tx = Tx(connection.execute, connection.executemany, Instant(START), 0)
    where = PLACES[3]
    asked = [Wanted(**where, level=level) for level in (None, "ERROR", "WARNING")]
    asked += [
        Wanted(where["account_sid"], code=80902),
        Wanted(sid("AC", 1), session_sid=where["session_sid"]),
    ]
    seeks = [Seek(5), Seek(5, (sid("NO", 50),)), Seek(5, (sid("NO", 50),), True)]

    def steps() -> int:
        count = 0

        def step() -> None:
            nonlocal count
            count += 1

        connection.set_progress_handler(step, 1)
        for wanted in asked:
            for seek in seeks:
                list_events(tx, wanted, seek)
        connection.set_progress_handler(None, 1)
        return count

    few = 0
    for i in range(5000):
        put(tx, sid("NO", i), where, CODES[i % 4] if i < 100 else problems.SESSION_EXPIRED)
        few = few or (steps() if i == 100 else 0)
    assert steps() < 1.1 * few
    connection.close()
