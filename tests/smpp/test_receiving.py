"""What an SMSC brings: answered once it is stored, taken once, and put together where it came in parts."""

import asyncio
import random
from typing import Any

import pytest

from maskline.carriers.base import Accepted, CarrierEvent, Inbound, Report
from maskline.domain.interaction import MessageStatus
from maskline.store.sqlite import SqliteStore
from tests.smpp.conftest import Bring, Desk, at_work
from tests.support.clock import FakeClock
from tests.support.smsc import OK, PERMANENT, TEMPORARY, Smsc
from tests.support.until import turns, until


class Door:
    """Stands before what takes things in: open, shut (they wait), or broken (they fail, stored or not)."""

    def __init__(self) -> None:
        self.brought: list[CarrierEvent] = []
        self.fails = False
        self.fails_after = False
        self.is_open = asyncio.Event()
        self.is_open.set()

    def __call__(self, bring: Bring) -> Bring:
        async def pass_on(event: CarrierEvent) -> bool:
            self.brought.append(event)
            await self.is_open.wait()
            if self.fails:
                raise OSError("the store is away")
            known = await bring(event)
            if self.fails_after:
                raise OSError("the store is away, and has it")
            return known

        return pass_on


async def received(desk: Desk) -> int:
    count: int = await desk.house.one("SELECT count(*) FROM received")
    return count


async def test_a_text_is_relayed_and_answered(desk: Desk) -> None:
    _, ann, ben = await desk.house.pair()
    assert await desk.text(ann, b"hi \x00 \x1be") == OK
    assert await desk.text(ben, "привет".encode("utf-16-be"), data_coding=8) == OK
    assert await desk.bodies() == ["hi @ €", "привет"]
    await until(lambda: not desk.carrier._receiving._tasks)
    await desk.pass_time(9)
    assert await received(desk) == 2

    async def nothing_may_come_again() -> bool:
        return await received(desk) == 0

    await desk.pass_until(nothing_may_come_again)


async def test_the_answer_waits_for_the_store(store: SqliteStore, clock: FakeClock, smsc: Smsc) -> None:
    door = Door()
    async with at_work(store, clock, smsc, bring=door) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        door.is_open.clear()
        answer = desk.text(ann, "hello")
        await until(lambda: door.brought)
        await turns(50)
        assert not answer.done()
        door.is_open.set()
        assert await answer == OK


@pytest.mark.parametrize("stored", [False, True])
async def test_while_the_store_is_away_it_is_put_off_and_comes_again(
    store: SqliteStore, clock: FakeClock, smsc: Smsc, stored: bool
) -> None:
    door = Door()
    async with at_work(store, clock, smsc, bring=door) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        door.fails, door.fails_after = not stored, stored
        assert await desk.text(ann, "hello") == TEMPORARY
        door.fails = door.fails_after = False
        assert await desk.text(ann, "hello") == OK
        assert await desk.bodies() == ["hello"]
        # Whoever writes the same again has written it again.
        assert await desk.text(ann, "hello") == OK
        assert await desk.bodies() == ["hello", "hello"]


async def test_a_defect_of_ours_is_answered_too(store: SqliteStore, clock: FakeClock, smsc: Smsc) -> None:
    def broken(_: CarrierEvent) -> Any:
        raise TypeError("it is not called so")

    async with at_work(store, clock, smsc, bring=lambda _: broken) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        assert await desk.text(ann, "hello") == TEMPORARY
        assert await desk.text(ann, "id:7 stat:DELIVRD", esm_class=4) == TEMPORARY


async def test_the_same_text_twice_is_two_messages(desk: Desk) -> None:
    _, ann, _ = await desk.house.pair()
    assert await asyncio.gather(*(desk.text(ann, "ok") for _ in range(3))) == [OK] * 3
    assert await desk.bodies() == ["ok"] * 3
    assert await desk.house.events() == []


async def test_what_broke_off_before_its_answer_is_known_when_it_comes_again(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    door = Door()
    async with at_work(store, clock, smsc, bring=door) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        door.is_open.clear()
        twice = [desk.text(ann, "ok"), desk.text(ann, "ok")]
        await until(lambda: len(door.brought) == 2)
        await desk.cut()
        assert await asyncio.gather(*twice) == [None, None]
        await desk.bound_again()
        again = [desk.text(ann, "ok") for _ in range(3)]  # both again, and a third one
        await until(lambda: len(door.brought) == 5)
        door.is_open.set()
        assert await asyncio.gather(*again) == [OK] * 3
        assert await desk.bodies() == ["ok"] * 3


async def test_what_was_stored_before_a_crash_is_known_when_it_comes_again(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    async with at_work(store, clock, smsc) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        # The process ends between the commit and the response.
        desk.carrier._links[0].answer = lambda *_: False  # type: ignore[method-assign]
        desk.text(ann, "hello")
        while not await desk.bodies():
            await turns()
        await until(lambda: not desk.carrier._receiving._tasks)
    await until(lambda: not smsc.connections)
    async with at_work(store, clock, smsc) as desk:
        await desk.bound()
        assert await desk.text(ann, "hello") == OK
        assert await desk.bodies() == ["hello"]
        assert await desk.text(ann, "hello") == OK
        assert await desk.bodies() == ["hello", "hello"]


async def test_what_was_answered_shortly_before_a_crash_is_taken_and_marked(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    """A connection that ends in a crash loses what the SMSC has not read of it."""
    async with at_work(store, clock, smsc) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        for body in ("long ago", "just now"):
            assert await desk.text(ann, body) == OK
            await until(lambda: not desk.carrier._receiving._tasks)
            await desk.pass_time(11 if body == "long ago" else 1)
    await until(lambda: not smsc.connections)
    async with at_work(store, clock, smsc) as desk:
        await desk.bound()
        for body in ("long ago", "just now"):
            assert await desk.text(ann, body) == OK
        await until(lambda: not desk.carrier._receiving._tasks)
        assert await desk.bodies() == ["long ago", "just now"] * 2
        assert await desk.house.events() == [49042]


async def test_a_good_bye_leaves_nothing_in_doubt_for_the_next_run(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    async with at_work(store, clock, smsc) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        assert await desk.text(ann, "hello") == OK
        await desk.carrier.close()
        assert await received(desk) == 0
    async with at_work(store, clock, smsc) as desk:
        await desk.bound()
        assert await desk.text(ann, "hello") == OK
        await until(lambda: not desk.carrier._receiving._tasks)
        assert await desk.bodies() == ["hello"] * 2
        assert await desk.house.events() == []


async def test_after_ten_minutes_nothing_is_a_repeat(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    door = Door()
    async with at_work(store, clock, smsc, bring=door) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        door.fails_after = True
        assert await desk.text(ann, "hello") == TEMPORARY
        door.fails_after = False
        clock.advance(601)
        assert await desk.text(ann, "hello") == OK
        assert await desk.bodies() == ["hello", "hello"]


async def test_what_comes_again_though_it_was_answered_is_taken_and_marked(desk: Desk) -> None:
    _, ann, _ = await desk.house.pair()
    assert await desk.text(ann, "hello") == OK
    await desk.cut()
    await desk.bound_again()
    assert await desk.text(ann, "hello") == OK
    assert await desk.text(ann, "hello") == OK
    assert await desk.bodies() == ["hello"] * 3
    await until(lambda: not desk.carrier._receiving._tasks)
    assert await desk.house.events() == [49042]  # one, for one that may be a repeat


async def test_a_good_bye_leaves_nothing_in_doubt(desk: Desk) -> None:
    _, ann, _ = await desk.house.pair()
    assert await desk.text(ann, "hello") == OK
    desk.carrier._links[0].unbind()
    await until(lambda: not desk.smsc.connections and not desk.carrier._links)
    await desk.bound_again()
    assert await desk.text(ann, "hello") == OK
    await until(lambda: not desk.carrier._receiving._tasks)
    assert await desk.house.events() == []


async def test_a_number_of_nobody_is_refused_for_good(desk: Desk) -> None:
    answer = desk.smsc.deliver(source_addr="12125550101", destination_addr="14155550199", short_message=b"hi")
    assert await answer == PERMANENT


async def test_what_is_no_text_is_refused_with_an_event(desk: Desk) -> None:
    _, ann, _ = await desk.house.pair()
    assert await desk.text(ann, b"\x01\x02", data_coding=4) == PERMANENT
    assert (
        await desk.text(ann, b"\x06\x05\x04\x0b\x84\x23\xf0data", esm_class=0x40, data_coding=0) == PERMANENT
    )
    assert await desk.bodies() == []
    rows = await desk.house.rows("SELECT code, message FROM events ORDER BY sid")
    assert [row[0] for row in rows] == [49040, 49040]
    assert "data_coding 4" in rows[0][1]
    assert ann.identifier not in rows[0][1]


async def test_what_a_handset_says_of_itself_is_for_nobody(desk: Desk) -> None:
    _, ann, _ = await desk.house.pair()
    assert await desk.text(ann, "seen", esm_class=0x08) == OK
    assert await desk.bodies() == []
    assert await desk.house.events() == []


async def test_data_sm_and_payloads_are_texts_too(desk: Desk) -> None:
    _, ann, _ = await desk.house.pair()
    numbers = {"source_addr": ann.identifier[1:], "destination_addr": ann.proxy_identifier[1:]}
    assert await desk.smsc.deliver("data_sm", **numbers, message_payload=b"by data") == OK
    assert await desk.smsc.deliver(**numbers, message_payload=b"by payload") == OK
    assert await desk.bodies() == ["by data", "by payload"]


# Receipts


async def test_receipts_raise_the_message_that_they_name(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    door = Door()
    async with at_work(
        store, clock, smsc, bring=door, submit_ids="hexadecimal", receipt_ids="decimal"
    ) as desk:
        await desk.bound()
        smsc.ids.append("00FF")
        assert await desk.send("hello") == Accepted("255")
        receipt = (
            b"id:255 sub:001 dlvrd:001 submit date:2611260458 done date:2611260459 stat:DELIVRD err:000 text:"
        )
        numbers = {"source_addr": "12125550101", "destination_addr": "14155550100"}
        assert await smsc.deliver(**numbers, short_message=receipt, esm_class=4) == OK
        assert await smsc.deliver(**numbers, receipted_message_id="0255", message_state=5) == OK
    assert door.brought == [
        Report("north", "+14155550100", "255", MessageStatus.DELIVERED),
        Report("north", "+14155550100", "255", MessageStatus.UNDELIVERED),
    ]


async def test_a_receipt_without_an_id_is_refused_and_told(desk: Desk) -> None:
    _, ann, _ = await desk.house.pair()
    assert await desk.text(ann, "stat:DELIVRD", esm_class=4) == PERMANENT
    assert await desk.house.events() == [49040]


async def test_a_receipt_with_an_id_that_no_database_keeps_is_refused_and_told(desk: Desk) -> None:
    _, ann, _ = await desk.house.pair()
    said = f"id:{random.Random(1).randbytes(3000).hex()} stat:DELIVRD".encode()
    assert await desk.text(ann, "", message_payload=said, esm_class=4) == PERMANENT
    assert await desk.house.events() == [49040]
    assert await desk.text(ann, "hello") == OK


# Parts


def udh(reference: int, total: int, place: int) -> bytes:
    return bytes((5, 0, 3, reference, total, place))


def sar(reference: int, total: int, place: int) -> dict[str, Any]:
    return {"sar_msg_ref_num": reference, "sar_total_segments": total, "sar_segment_seqnum": place}


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
async def test_parts_are_put_together_in_any_order(desk: Desk, order: tuple[int, ...]) -> None:
    _, ann, _ = await desk.house.pair()
    texts = {1: b"one \x1b", 2: b"e two ", 3: b"three"}  # a euro that is cut in two
    for place in order:
        assert await desk.text(ann, udh(7, 3, place) + texts[place], esm_class=0x40) == OK
    assert await desk.bodies() == ["one € two three"]


async def test_parts_by_long_references_and_by_sar_are_put_together(desk: Desk) -> None:
    _, ann, ben = await desk.house.pair()
    whole = "смайл 🙂".encode("utf-16-be")
    for place, part in enumerate((whole[:-2], whole[-2:]), 1):  # an emoji that is cut in two
        header = bytes((6, 8, 4, 1, 2, 2, place))
        assert await desk.text(ann, header + part, esm_class=0x40, data_coding=8) == OK
        assert await desk.text(ben, f"part {place} ", **sar(9, 2, place)) == OK
    assert await desk.bodies() == ["смайл 🙂", "part 1 part 2 "]


async def test_parts_of_several_people_are_not_mixed(desk: Desk) -> None:
    _, ann, ben = await desk.house.pair()
    for place in (1, 2):
        await desk.text(ann, udh(7, 2, place) + b"Ann ", esm_class=0x40)
        await desk.text(ben, udh(7, 2, place) + b"Ben ", esm_class=0x40)
    assert await desk.bodies() == ["Ann Ann ", "Ben Ben "]


async def test_a_part_that_comes_again_changes_nothing(desk: Desk) -> None:
    _, ann, _ = await desk.house.pair()
    for place in (1, 1, 2, 2, 1):
        assert await desk.text(ann, udh(7, 2, place) + b"part", esm_class=0x40) == OK
    assert await desk.bodies() == ["partpart"]


async def test_a_reference_that_is_used_again_is_another_message(desk: Desk) -> None:
    _, ann, _ = await desk.house.pair()
    for text in (b"old", b"new"):
        for place in (1, 2):
            await desk.text(ann, udh(7, 2, place) + text, esm_class=0x40)
    assert await desk.bodies() == ["oldold", "newnew"]


async def test_parts_outlive_the_process(store: SqliteStore, clock: FakeClock, smsc: Smsc) -> None:
    async with at_work(store, clock, smsc) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        assert await desk.text(ann, udh(7, 2, 1) + b"before ", esm_class=0x40) == OK
    await until(lambda: not smsc.connections)
    async with at_work(store, clock, smsc) as desk:
        await desk.bound()
        assert await desk.text(ann, udh(7, 2, 2) + b"after", esm_class=0x40) == OK
        assert await desk.bodies() == ["before after"]


async def test_a_whole_that_was_not_brought_on_is_brought_by_the_next_run_once(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    door = Door()
    async with at_work(store, clock, smsc, bring=door) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        await desk.text(ann, udh(7, 2, 1) + b"one ", esm_class=0x40)
        door.fails_after = True
        assert await desk.text(ann, udh(7, 2, 2) + b"two", esm_class=0x40) == TEMPORARY
        assert await desk.bodies() == ["one two"]
    await until(lambda: not smsc.connections)
    async with at_work(store, clock, smsc) as desk:
        await desk.bound()
        await desk.pass_time(5)
        assert await desk.text(ann, udh(7, 2, 2) + b"two", esm_class=0x40) == OK
        assert await desk.bodies() == ["one two"]


async def test_a_missing_part_is_waited_for_and_then_marked(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    async with at_work(store, clock, smsc, parts_s=30) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        for place in (2, 3, 5):
            await desk.text(ann, udh(7, 6, place) + f"part {place} ".encode(), esm_class=0x40)
        await desk.pass_time(29)
        assert await desk.bodies() == []
        await desk.pass_until(desk.house.events)
        assert await desk.bodies() == ["…part 2 part 3 …part 5 …"]
        assert await desk.house.rows("SELECT code FROM events") == [(49041,)]
        assert await desk.house.rows("SELECT DISTINCT content, brought FROM parts") == [("", 1)]
        clock.advance(600)
        await desk.house.sweeper.sweep()
        assert await desk.house.one("SELECT count(*) FROM parts") == 0


async def test_a_message_that_cannot_go_on_keeps_no_other_waiting(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    def but_one(bring: Bring) -> Bring:
        async def pass_on(event: CarrierEvent) -> bool:
            if isinstance(event, Inbound) and event.from_ == stuck:
                raise ValueError("it cannot be")
            return await bring(event)

        return pass_on

    async with at_work(store, clock, smsc, bring=but_one, parts_s=30) as desk:
        await desk.bound()
        _, *people = await desk.house.pair()
        stuck = min(person.identifier for person in people)  # which is looked at first
        for person in people:
            await desk.text(person, udh(7, 2, 1) + b"half ", esm_class=0x40)
        await desk.pass_until(desk.bodies)
        assert await desk.bodies() == ["half …"]
        assert await desk.house.rows("SELECT brought FROM parts WHERE sender = ?", stuck) == [
            (2,)
        ]  # it has still to go on


async def test_a_place_that_cannot_be_is_a_text_of_its_own(desk: Desk) -> None:
    _, ann, _ = await desk.house.pair()
    for total, place in ((2, 3), (2, 0), (1, 1), (0, 0)):
        assert await desk.text(ann, udh(7, total, place) + b"x", esm_class=0x40) == OK
    assert await desk.bodies() == ["x"] * 4


async def test_nothing_is_read_while_too_much_waits(
    store: SqliteStore, clock: FakeClock, smsc: Smsc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskline.carriers.smpp.link.MOST_TAKEN", 20)
    door = Door()
    async with at_work(store, clock, smsc, bring=door) as desk:
        await desk.bound()
        _, ann, _ = await desk.house.pair()
        door.is_open.clear()
        first = [desk.text(ann, f"number {i}") for i in range(20)]
        await until(lambda: len(door.brought) == 20)
        more = [desk.text(ann, f"number {i}") for i in range(20, 40)]
        await turns(200)
        assert len(door.brought) == 20
        door.is_open.set()
        assert await asyncio.gather(*first, *more) == [OK] * 40
        assert await desk.bodies() == [f"number {i}" for i in range(40)]
