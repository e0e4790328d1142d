"""Parts of long messages: whatever comes in whatever order, each message goes on whole, and once."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.model import SECOND, Instant
from maskline.domain.part import Part
from maskline.store.engine import Tx
from maskline.store.migrate import migrations, statements
from maskline.store.parts import find_waiting_parts, forget_parts, keep_part, mark_brought
from tests.support.house import House

FIRST = Part("north", "+12125550101", "+14155550100", "8:7", 1, 2, "m1", 0, "6869", "d1")
SECOND_PART = replace(FIRST, place=2, message_id="m2", digest="d2")


async def test_a_message_is_whole_with_its_last_part_and_until_it_went_on(house: House) -> None:
    assert await house.store.write(keep_part, FIRST) == []
    whole = await house.store.write(keep_part, SECOND_PART)
    assert whole == [FIRST, replace(SECOND_PART, message_id="m1")]
    assert await house.store.write(keep_part, SECOND_PART) == whole  # it did not go on
    await house.store.write(mark_brought, FIRST)
    assert await house.store.write(keep_part, SECOND_PART) == []
    assert await house.rows("SELECT DISTINCT content FROM parts") == [("",)]


@pytest.mark.parametrize(
    "other",
    [
        replace(FIRST, carrier_account="south"),
        replace(FIRST, sender="+12125550102"),
        replace(FIRST, number="+14155550101"),
        replace(FIRST, reference="16:7"),
    ],
)
async def test_a_message_has_the_parts_of_one_account_pair_and_reference(house: House, other: Part) -> None:
    await house.store.write(keep_part, FIRST)
    assert await house.store.write(keep_part, replace(other, place=2, digest="d2")) == []


async def test_what_is_whole_or_has_waited_has_to_go_on(house: House) -> None:
    await house.store.write(keep_part, FIRST)
    await house.store.write(keep_part, replace(SECOND_PART, reference="8:8", message_id="m8"))
    house.clock.advance(10)
    await house.store.write(keep_part, SECOND_PART)

    async def waiting(wait_us: int) -> list[list[str]]:
        found = await house.store.read(find_waiting_parts, "north", wait_us, 10)
        return [[part.message_id for part in parts] for parts in found]

    assert await waiting(11 * SECOND) == [["m1", "m1"]]
    assert await waiting(10 * SECOND) == [["m1", "m1"], ["m8"]]
    await house.store.write(mark_brought, FIRST)
    assert await waiting(11 * SECOND) == []


async def test_what_has_waited_longest_goes_first(house: House) -> None:
    for sender in ("+12125550109", "+12125550101", "+12125550105"):
        await house.store.write(keep_part, replace(FIRST, sender=sender))
        house.clock.advance(1)
    found = await house.store.read(find_waiting_parts, "north", 0, 2)
    assert [parts[0].sender for parts in found] == ["+12125550109", "+12125550101"]


arrivals = st.lists(st.tuples(st.integers(1, 3), st.sampled_from("xy"), st.booleans()), max_size=30)


@given(arrivals)
def test_a_message_goes_on_once_and_with_each_of_its_places(arrivals: list[tuple[int, str, bool]]) -> None:
    """Parts of two messages under one reference, in any order and any number of times; now and then a crash comes
    before the whole has gone on.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for _, text in migrations():
            for statement in statements(text):
                connection.execute(statement)
        tx = Tx(connection.execute, connection.executemany, Instant(1), 0)
        gone: list[str] = []
        for i, (place, text, goes_on) in enumerate(arrivals):
            part = replace(FIRST, place=place, total=3, digest=f"{text}{place}", message_id=f"m{i}")
            for _ in range(2):  # whatever is answered late comes again
                whole = keep_part(tx, part)
                assert [one.place for one in whole] in ([], [1, 2, 3])
                assert len({one.message_id for one in whole}) <= 1
                assert not whole or whole[0].message_id not in gone
                if whole and goes_on:
                    mark_brought(tx, whole[0])
                    gone.append(whole[0].message_id)
        waiting = find_waiting_parts(tx, FIRST.carrier_account, 0, 99)
        # Nothing is lost: whatever came is in what went on, or in what waits.
        kept = connection.execute("SELECT DISTINCT digest FROM parts").fetchall()
        assert {digest for (digest,) in kept} == {f"{text}{place}" for place, text, _ in arrivals}
        assert not {parts[0].message_id for parts in waiting} & set(gone)


async def test_what_nobody_asks_for_any_more_is_forgotten(house: House) -> None:
    await house.store.write(keep_part, FIRST)
    house.clock.advance(172_799)
    assert await house.store.write(forget_parts, 10) == 0
    house.clock.advance(1)
    assert await house.store.write(forget_parts, 10) == 1
