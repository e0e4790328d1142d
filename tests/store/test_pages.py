"""Paging while rows come and go: nothing is shown twice, and nothing that stayed is left out, forward and back."""

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain import problems
from maskline.domain.model import Instant, NumberKind
from maskline.domain.problems import Problem
from maskline.store.engine import Tx
from maskline.store.interactions import list_interactions
from maskline.store.migrate import migrate
from maskline.store.numbers import list_pool
from maskline.store.pages import Page, Seek
from maskline.store.participants import list_participants
from maskline.store.sandbox import list_handset_messages
from maskline.store.services import list_services
from maskline.store.sessions import list_sessions
from tests.support.clock import START

SERVICE, SESSION, ACCOUNT = "KS" + "0" * 32, "KC" + "0" * 32, "AC" + "0" * 32


def sid(prefix: str, i: int) -> str:
    return f"{prefix}{START // 1000:012x}{i:020x}"


class Table:
    """A list in a database of its own. Rows are told apart by the order in which they were made."""

    def __init__(self, insert: str, delete: str, page: Callable[[Tx, Seek], Page[Any]]):
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self._connection.execute, Instant(START))
        self._tx = Tx(self._connection.execute, self._connection.executemany, Instant(START), 0)
        self._insert, self._delete, self._page = insert, delete, page

    def close(self) -> None:
        self._connection.close()

    def add(self, i: int, created: int) -> None:
        self._tx.execute(self._insert, {"i": i, "at": START + created, **params(i)})

    def remove(self, i: int) -> None:
        self._tx.execute(self._delete, params(i))

    def fetch(self, size: int, key: tuple[Any, ...] | None = None, *, back: bool = False) -> Page[Any]:
        return self._page(self._tx, Seek(size, key, back))


def params(i: int) -> dict[str, str]:
    sids = {prefix: sid(prefix.upper(), i) for prefix in ("kc", "kp", "ki", "ks", "pn", "sm")}
    return {"service": SERVICE, "session": SESSION, "account": ACCOUNT, **sids}


# Of each list: how a row is made, how it is removed, how a page is read.
LISTS: dict[str, Any] = {
    "sessions": (
        """
        INSERT INTO sessions (service_sid, sid, status, mode, ttl, active_from_at, created_at, updated_at)
        VALUES (:service, :kc, 'open', 'voice-and-message', 0, :at, :at, :at)""",
        "DELETE FROM sessions WHERE sid = :kc",
        lambda tx, seek: list_sessions(tx, SERVICE, seek),
    ),
    "participants": (
        """
        INSERT INTO participants (service_sid, sid, session_sid, identifier, identifier_key, proxy_identifier, active,
               created_at, updated_at)
        VALUES (:service, :kp, :session, '+1', :kp, '+2', 1, :at, :at)""",
        "DELETE FROM participants WHERE sid = :kp",
        lambda tx, seek: list_participants(tx, SERVICE, SESSION, seek),
    ),
    "interactions": (
        """
        INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, participant_sid, updated_at)
        VALUES (:service, :session, :ki, 'AC', 'message', '{}', 'KP' || (:i % 2), :at)""",
        "DELETE FROM interactions WHERE sid = :ki",
        lambda tx, seek: list_interactions(tx, SERVICE, SESSION, seek),
    ),
    "services": (
        """
        INSERT INTO services (sid, account_sid, unique_name, default_ttl, geo_match_level, number_selection_behavior,
               settings, created_at, updated_at)
        VALUES (:ks, :account, :ks, 0, 'country', 'prefer-sticky', '{}', :at, :at)""",
        "DELETE FROM services WHERE sid = :ks",
        lambda tx, seek: list_services(tx, ACCOUNT, seek),
    ),
    "numbers": (
        """
        INSERT INTO numbers (phone_number, sid, account_sid, carrier_account, service_sid, friendly_name, calling_code,
               voice, sms, mms, created_at, updated_at)
        VALUES (:pn, :pn, :account, 'x', :service, '', 1, 1, 1, 1, :at, :at)""",
        "DELETE FROM numbers WHERE sid = :pn",
        lambda tx, seek: list_pool(tx, SERVICE, NumberKind.PHONE, seek),
    ),
    "handset messages": (
        """
        INSERT INTO sandbox_messages (account_sid, reference, sid, direction, from_number, to_number, body, media,
               status, handovers, created_at)
        VALUES (:account, :sm, :sm, 'to_handset', '+1', '+2', '', '[]', 'sent', 1, :at)""",
        "DELETE FROM sandbox_messages WHERE sid = :sm",
        lambda tx, seek: list_handset_messages(tx, ACCOUNT, seek, {}),
    ),
}


def key_of(kind: str, row: Any) -> tuple[Any, ...]:
    """What the API puts into a page token."""
    return (row.created_at, row.sid) if kind == "numbers" else (row.sid,)


# Between two pages, rows come and go: (add so many, remove those at these places of what is there).
CHANGES = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.integers(0, 200), max_size=5)), min_size=1, max_size=8
)


@pytest.mark.parametrize("kind", LISTS)
@given(count=st.integers(0, 40), size=st.integers(1, 9), changes=CHANGES, step=st.sampled_from([0, 1, 1000]))
def test_paging_under_change_never_repeats_and_never_loses_what_stayed(
    kind: str, count: int, size: int, changes: list[tuple[int, list[int]]], step: int
) -> None:
    """Forward to the end and back to the beginning. With `step` 0 all rows are of one instant."""
    table = Table(*LISTS[kind])
    there: list[int] = []
    made = 0

    def add(many: int) -> None:
        nonlocal made
        for _ in range(many):
            table.add(made, made * step)
            there.append(made)
            made += 1

    def change(turn: int) -> None:
        more, places = changes[turn % len(changes)]
        add(more)
        for place in places:
            if there:
                table.remove(there.pop(place % len(there)))

    def walk(key: tuple[Any, ...] | None, *, back: bool) -> tuple[list[str], Any]:
        """Names in the order in which they were seen, newest first, and the last row seen in that direction."""
        seen: list[str] = []
        edge = None
        # However fast rows come, a walk ends: new rows are newer, and a walk back is let run out.
        for turn in range(200):
            page = table.fetch(size, key, back=back)
            assert len(page.rows) <= size
            names = [row.sid for row in page.rows]
            seen = names + seen if back else seen + names
            if page.rows:
                edge = page.rows[0] if back else page.rows[-1]
            if not (page.newer if back else page.older):
                return seen, edge
            assert len(page.rows) == size
            key = key_of(kind, edge)
            if turn < 10:
                change(turn)
        raise AssertionError("the walk does not end")

    add(count)
    before = set(there)
    forward, last = walk(None, back=False)
    stayed = {sid(forward[0][:2], i) for i in before & set(there)} if forward else set()
    assert len(forward) == len(set(forward)), "something was shown twice"
    assert forward == sorted(forward, reverse=True)
    assert stayed <= set(forward), "something that stayed was left out"
    if last is not None:
        before = set(there)
        backward, _ = walk(key_of(kind, last), back=True)
        stayed = {sid(forward[0][:2], i) for i in before & set(there)}
        assert len(backward) == len(set(backward)), "something was shown twice on the way back"
        assert backward == sorted(backward, reverse=True)
        newer = {name for name in stayed if name > last.sid}
        assert newer <= set(backward), "something that stayed was left out on the way back"
    table.close()


@pytest.mark.parametrize("kind", LISTS)
def test_a_page_tells_truly_whether_there_are_more(kind: str) -> None:
    table = Table(*LISTS[kind])
    empty = table.fetch(3)
    assert (empty.rows, empty.newer, empty.older) == ([], False, False)
    for i in range(6):
        table.add(i, i)
    first = table.fetch(3)
    assert (len(first.rows), first.newer, first.older) == (3, False, True)
    second = table.fetch(3, key_of(kind, first.rows[-1]))
    assert (len(second.rows), second.newer, second.older) == (3, True, False)
    back = table.fetch(3, key_of(kind, second.rows[0]), back=True)
    assert back.rows == first.rows
    assert (back.newer, back.older) == (False, True)
    assert len(table.fetch(6).rows) == 6
    assert not table.fetch(6).older
    table.close()


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("key", [("a", "b", "c"), (1,), (True,), ("a", 1), (1, 1), ("a", "b")], ids=str)
def test_a_token_of_another_list_is_refused(kind: str, key: tuple[Any, ...]) -> None:
    table = Table(*LISTS[kind])
    with pytest.raises(Problem) as caught:
        table.fetch(3, key)
    assert caught.value.code is problems.PARAMETER_INVALID
    table.close()


def test_a_participants_messages_are_paged_by_themselves() -> None:
    """Those of others neither shorten a page nor count as more."""
    insert, delete, _ = LISTS["interactions"]
    table = Table(insert, delete, lambda tx, seek: list_interactions(tx, SERVICE, SESSION, seek, "KP1"))
    for i in range(20):
        table.add(i, i)
    first = table.fetch(5)
    second = table.fetch(5, (first.rows[-1].sid,))
    assert [row.sid for row in first.rows + second.rows] == [sid("KI", i) for i in range(19, 0, -2)]
    assert (first.older, second.older) == (True, False)
    table.close()
