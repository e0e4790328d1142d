"""One statement for many rows of values gives, on every engine, what it gives for each alone."""

from typing import Any

import pytest

from maskline.store.engine import Store, StoreRefused, Tx
from maskline.store.people import forget_participants
from maskline.store.waves import waves

TEXTS = [
    "plain",
    "",
    "NULL",
    "null",
    '"',
    "\\",
    '\\"',
    "{a,b}",
    "a,b",
    " spaces ",
    "tab\tline\n",
    "Grüße, 你好 🎈",
    "'quoted'",
]
_PUT = (
    "INSERT INTO paces (service_sid, identifier_key, proxy_number, taken, refused_until, forget_at) VALUES "
)
PUT = f"{_PUT}(?, 'KEY', ?, ?, ?, max(?, 5)) ON CONFLICT DO NOTHING"
NUMBERS = [0, 1, -1, 2**31, 2**63 - 1, -(2**63)]
ALL = "SELECT service_sid, proxy_number, taken, refused_until, forget_at FROM paces ORDER BY proxy_number"


def put(tx: Tx, rows: list[Any]) -> int:
    return tx.executemany(PUT, rows).rowcount


@pytest.mark.parametrize("count", [1, 2, len(TEXTS)])
async def test_values_come_in_as_they_are(store: Store, count: int) -> None:
    rows = [(text, f"{i:02}", text * 2, NUMBERS[i % len(NUMBERS)], i) for i, text in enumerate(TEXTS[:count])]
    assert await store.write(put, rows) == count
    found = await store.read(lambda tx: tx.execute(ALL).fetchall())
    assert [tuple(row) for row in found] == [(*row[:4], max(row[4], 5)) for row in rows]


async def test_what_is_there_already_is_left_out(store: Store) -> None:
    rows = [("KS", f"{i}", "", 0, 0) for i in range(4)]
    assert await store.write(put, rows[:2]) == 2
    assert await store.write(put, rows) == 2
    assert await store.write(put, []) <= 0


async def test_a_place_may_hold_values_and_none(store: Store) -> None:
    def mark(tx: Tx, marks: list[Any]) -> list[Any]:
        tx.executemany(
            "INSERT INTO tombstones (carrier_id, expires_at) VALUES (?, ?)", [("a", 1), ("b", 2), ("c", 3)]
        )
        tx.executemany(
            "UPDATE tombstones SET expires_at = coalesce(?1, expires_at), carrier_id = coalesce(?2, carrier_id)"
            " WHERE carrier_id = ?3",
            marks,
        )
        return sorted(map(tuple, tx.execute("SELECT * FROM tombstones").fetchall()))

    assert await store.write(mark, [(None, "x", "a"), (9, None, "b"), (None, None, "c")]) == [
        ("b", 9),
        ("c", 3),
        ("x", 1),
    ]
    await store.write(lambda tx: tx.execute("DELETE FROM tombstones") and None)
    assert await store.write(mark, [(None, None, "a"), (None, None, "b")]) == [("a", 1), ("b", 2), ("c", 3)]


FIND = (
    "SELECT proxy_number, taken FROM paces WHERE service_sid = ? AND proxy_number >= ? ORDER BY proxy_number"
)
RAISE = """
UPDATE paces SET refused_until = refused_until + ?1 WHERE proxy_number = ?2 RETURNING proxy_number, refused_until"""
TAKE = "DELETE FROM paces WHERE service_sid = ? AND proxy_number = ? RETURNING proxy_number"


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_each_finds_its_own(store: Store, count: int) -> None:
    def work(tx: Tx) -> list[Any]:
        put(tx, [("KS", f"{i}", f"taken {i}", 10 * i, 0) for i in range(3)])
        one = tx.find_each(f"{FIND} LIMIT 1", [("KS", "1"), ("none", "0"), ("KS", "0")][:count])
        several = tx.list_each(FIND, [("KS", "1"), ("none", "0"), ("KS", "2")][:count])
        raised = tx.find_each(RAISE, [(7, "2"), (7, "none"), (-1, "0")][:count])
        gone = tx.find_each(TAKE, [("KS", "2"), ("none", "1"), ("KS", "0")][:count])
        return [one, several, raised, gone]

    one, several, raised, gone = await store.write(work)
    assert [row and tuple(row) for row in one] == [("1", "taken 1"), None, ("0", "taken 0")][:count]
    wanted = [[("1", "taken 1"), ("2", "taken 2")], [], [("2", "taken 2")]]
    assert [[tuple(row) for row in rows] for rows in several] == wanted[:count]
    assert [row and tuple(row) for row in raised] == [("2", 27), None, ("0", -1)][:count]
    assert [row and tuple(row) for row in gone] == [("2",), None, ("0",)][:count]
    left = await store.read(lambda tx: tx.execute(ALL).fetchall())
    assert [row[1] for row in left] == {0: ["0", "1", "2"], 1: ["0", "1"], 3: ["1"]}[count]


@pytest.mark.engine("postgres")
@pytest.mark.parametrize("bad", [object(), b"bytes", 1.5, 3, "a\0b"])
async def test_a_place_holds_texts_or_integers(store: Store, bad: Any) -> None:
    rows = [("KS", "1", "", 0, 0), ("KS", "2", bad, 0, 0)]
    with pytest.raises(StoreRefused):
        await store.write(put, rows)


async def test_of_a_person_two_participants_may_go_at_once(store: Store) -> None:
    def forget(tx: Tx) -> list[Any]:
        tx.executemany(
            "INSERT INTO people (service_sid, identifier_key, history, participants) VALUES ('KS', ?, '[]', ?)",
            [("ann", 2), ("bob", 3), ("cleo", 1)],
        )
        forget_participants(tx, "KS", ["ann", "bob", "ann", "cleo", "bob"])
        rows = tx.execute("SELECT identifier_key, participants, erase_at IS NULL FROM people").fetchall()
        return sorted((row[0], row[1], bool(row[2])) for row in rows)

    assert await store.write(forget) == [("ann", 0, False), ("bob", 1, True), ("cleo", 0, False)]


def test_waves_part_what_is_about_the_same() -> None:
    assert waves([]) == []
    assert waves("abc") == [[0, 1, 2]]
    assert waves("abacaab") == [[0, 1, 3], [2, 6], [4], [5]]
