"""An item that fails fails alone: 64 handed in together with a bad one at each place, for each hot function."""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from maskline.domain import problems
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import SECOND
from maskline.domain.problems import Problem
from maskline.domain.sandbox import HandOver
from maskline.flows.messages import encode_data
from maskline.store.accept import accept_messages
from maskline.store.engine import Batched, StoreRefused, Tx, Wake
from maskline.store.receipts import Receipt, merge_receipts
from maskline.store.receive import receive_messages
from maskline.store.record import Fate, record_outcomes
from maskline.store.relay import NewInbound
from maskline.store.sandbox import hand_over
from maskline.store.start import StartRequest, start_sends
from tests.support.house import ACCOUNT, VALIDITY_S, House, held_writer

ITEMS = 64
SAMPLE = (0, 31, 63)


@dataclass
class Hot:
    """A hot function, good items for it, ways to spoil one, and which items are in the tables."""

    function: Batched[Any, Any]
    make: Callable[[House, int], Awaitable[list[Any]]]
    spoil: dict[str, tuple[Callable[[House, Any], Any], type[Exception]]]
    stored: Callable[[Tx, list[Any]], list[bool]]
    is_answered: Callable[[Any, Any], bool]


def values(tx: Tx, sql: str) -> set[Any]:
    """The only column of all rows."""
    rows = [row[0] for row in tx.execute(sql).fetchall()]
    assert len(rows) == len(set(rows))
    return set(rows)


def all_or_nothing(item: Any, *parts: bool) -> bool:
    """Whether an item is stored; half of one never is."""
    assert len(set(parts)) == 1, item
    return parts[0]


# accept


async def make_messages(house: House, many: int) -> list[Any]:
    people = await two_people(house)
    return [house.message(people[i % 2], f"{i}") for i in range(many)]


async def two_people(house: House) -> Any:
    if not hasattr(house, "people"):
        house.people = (await house.pair())[1:]
        house.first = await house.say(house.people[0], "the first")
    return house.people


def accepted(tx: Tx, items: list[Any]) -> list[bool]:
    interactions = values(tx, "SELECT sid FROM interactions")
    sends = values(tx, "SELECT interaction_sid FROM outbox WHERE topic = 'send'")
    return [all_or_nothing(item, item.sid in interactions, item.sid in sends) for item in items]


# receive


async def make_inbound(house: House, many: int) -> list[Any]:
    ann, _ = await two_people(house)
    return [
        NewInbound(
            carrier_account=house.carrier.name,
            carrier_id=house.mint.sid("IN"),
            to=ann.proxy_identifier,
            sender=ann.identifier_key,
            data=encode_data(f"{i}"),
            validity_us=VALIDITY_S * SECOND,
            sid=house.mint.sid("KI"),
            inbound_sid=house.mint.sid("SM"),
            outbound_sid=house.mint.sid("SM"),
            event_sid=house.mint.sid("NO"),
            brought_by=house.carrier.name,
        )
        for i in range(many)
    ]


def received(tx: Tx, items: list[Any]) -> list[bool]:
    interactions = values(tx, "SELECT sid FROM interactions")
    sends = values(tx, "SELECT interaction_sid FROM outbox WHERE topic = 'send'")
    known = values(tx, "SELECT carrier_id FROM received")
    return [
        all_or_nothing(item, item.sid in interactions, item.sid in sends, item.carrier_id in known)
        for item in items
    ]


# start


async def make_requests(house: House, many: int) -> list[Any]:
    if not hasattr(house, "crowd"):
        service = await house.service()
        house.crowd = [one for _ in range(many // 2) for one in (await house.pair(service))[1:]]
    await house.store.write(lambda tx: tx.execute("DELETE FROM outbox") and None)
    await asyncio.gather(*(house.store.batch(accept_messages, house.message(one)) for one in house.crowd))
    return [
        StartRequest(run=house.mint.sid("RN"), free={house.carrier.name: 1}, event_sids=[])
        for _ in range(many)
    ]


def started(tx: Tx, items: list[Any]) -> list[bool]:
    runs = values(tx, "SELECT owner FROM outbox WHERE owner IS NOT NULL")
    return [item.run in runs for item in items]


# record


async def make_outcomes(house: House, many: int) -> list[Any]:
    await make_requests(house, many)
    request = StartRequest(run="RN", free={house.carrier.name: many}, event_sids=[])
    rows = (await house.store.batch(start_sends, request)).started
    assert len(rows) == many
    return [house.outcome(row, "RN", Fate.UNCERTAIN) for row in rows]


def recorded(tx: Tx, items: list[Any]) -> list[bool]:
    waiting = values(tx, "SELECT interaction_sid FROM outbox")
    queued = values(tx, "SELECT sid FROM interactions WHERE outbound_status = 10")
    return [
        all_or_nothing(item, item.interaction_sid not in waiting, item.interaction_sid not in queued)
        for item in items
    ]


# receipts


async def make_receipts(house: House, many: int) -> list[Any]:
    ann, _ = await two_people(house)
    return [
        Receipt(ann.proxy_identifier, house.mint.sid("scripted/"), int(MessageStatus.DELIVERED))
        for _ in range(many)
    ]


def kept(tx: Tx, items: list[Any]) -> list[bool]:
    reports = values(tx, "SELECT order_key FROM outbox WHERE topic = 'receipt'")
    return [item.carrier_id in reports for item in items]


# the sandbox's hand-over


async def make_hand_overs(house: House, many: int) -> list[Any]:
    return [
        HandOver(
            house.mint.sid("SM"),
            house.mint.sid("SM"),
            ACCOUNT,
            "+14155550100",
            f"+1212555{i:04d}",
            "hello",
            "[]",
        )
        for i in range(many)
    ]


def handed_over(tx: Tx, items: list[Any]) -> list[bool]:
    messages = values(tx, "SELECT sid FROM sandbox_messages")
    todos = {json.loads(payload)["carrier_id"] for payload in values(tx, "SELECT payload FROM sandbox_todo")}
    return [all_or_nothing(item, item.sid in messages, item.sid in todos) for item in items]


def having(**fields: Any) -> Callable[[House, Any], Any]:
    return lambda house, item: replace(item, **fields)


BINDING = having(data=object()), StoreRefused
SURROGATE = having(data='{"body":"\ud800"}'), UnicodeEncodeError
DEFECT = having(validity_us=None), TypeError

HOT: dict[str, Hot] = {
    "accept": Hot(
        accept_messages,
        make_messages,
        {
            "a SID that is there": (
                lambda house, item: replace(
                    item, sid=house.first.sid, session_sid=house.people[0].session_sid
                ),
                StoreRefused,
            ),
            "a value that cannot be bound": BINDING,
            "a lone surrogate": SURROGATE,
            "a defect": DEFECT,
            "a Problem": (having(participant_sid="KP" + "0" * 32), Problem),
        },
        accepted,
        lambda item, answer: answer.sid == item.sid and not answer.replayed,
    ),
    "receive": Hot(
        receive_messages,
        make_inbound,
        {
            "a SID that is there": (
                lambda house, item: replace(item, sid=house.first.sid),
                StoreRefused,
            ),
            "a value that cannot be bound": BINDING,
            "a lone surrogate": SURROGATE,
            "a defect": DEFECT,
        },
        received,
        lambda item, answer: answer.interaction_sid == item.sid and not answer.repeated,
    ),
    "start": Hot(
        start_sends,
        make_requests,
        {
            "a value that cannot be bound": (having(run=object()), StoreRefused),
            "a defect": (having(free=None), TypeError),
        },
        started,
        lambda item, answer: len(answer.started) == 1,
    ),
    "record": Hot(
        record_outcomes,
        make_outcomes,
        {
            "a value that must not be missing": (having(account_sid=None), StoreRefused),
            "a value that cannot be bound": (having(carrier_id=object()), StoreRefused),
        },
        recorded,
        lambda item, answer: answer.interaction_sid == item.interaction_sid,
    ),
    "receipts": Hot(
        merge_receipts,
        make_receipts,
        {
            "a value that must not be missing": (having(number=None), StoreRefused),
            "a value that cannot be bound": (having(carrier_id=object()), StoreRefused),
        },
        kept,
        lambda item, answer: answer is False,
    ),
    "hand-over": Hot(
        hand_over,
        make_hand_overs,
        {
            "a value that must not be missing": (having(body=None), StoreRefused),
            "a value that cannot be bound": (having(body=object()), StoreRefused),
            "a lone surrogate": (having(body="\ud800"), UnicodeEncodeError),
        },
        handed_over,
        lambda item, answer: answer.sid == item.sid,
    ),
}
WAYS = [(name, way) for name, hot in HOT.items() for way in hot.spoil]


async def together(house: House, function: Batched[Any, Any], items: list[Any]) -> list[Any]:
    """The answers, exceptions included, to items that reach the writer in one round."""
    async with held_writer(house.store):
        tasks = [asyncio.create_task(house.store.batch(function, item)) for item in items]
    return await asyncio.gather(*tasks, return_exceptions=True)


def clear(tx: Tx) -> None:
    """Away with what earlier places left, but for the message that is there when a SID comes again."""
    tx.execute("DELETE FROM interactions WHERE sid <> (SELECT min(sid) FROM interactions)")
    for table in ("outbox", "received", "events", "sandbox_messages", "sandbox_todo"):
        tx.execute(f"DELETE FROM {table}")  # noqa: S608


async def check_one_bad(house: House, hot: Hot, way: str, place: int) -> None:
    await house.store.write(clear)
    items = await hot.make(house, ITEMS)
    spoil, expected = hot.spoil[way]
    items[place] = spoil(house, items[place])
    answers = await together(house, hot.function, items)
    assert isinstance(answers[place], expected), (way, place, answers[place])
    if expected is Problem:
        assert answers[place].code is problems.NOT_FOUND
    good = [(item, answer) for item, answer in zip(items, answers, strict=True) if item is not items[place]]
    assert all(hot.is_answered(item, answer) for item, answer in good)
    assert await house.store.read(hot.stored, [item for item, _ in good]) == [True] * (ITEMS - 1)
    if way != "a SID that is there":
        assert await house.store.read(hot.stored, [items[place]]) == [False]


@pytest.mark.parametrize("name", HOT)
async def test_of_64_a_bad_one_fails_alone_wherever_it_stands(house: House, name: str) -> None:
    hot = HOT[name]
    ways = list(hot.spoil)
    # A process hands in one request to start at a time, each looks at all that waits, and 64 of them take their time.
    for place in range(0, ITEMS, 9 if name == "start" else 1):
        await check_one_bad(house, hot, ways[place % len(ways)], place)


@pytest.mark.parametrize(("name", "way"), WAYS, ids=[f"{name}: {way}" for name, way in WAYS])
async def test_of_64_one_that_is_bad_in_any_way_fails_alone(house: House, name: str, way: str) -> None:
    for place in SAMPLE:
        await check_one_bad(house, HOT[name], way, place)


@pytest.mark.parametrize("name", HOT)
async def test_64_good_items_are_all_stored(house: House, name: str) -> None:
    hot = HOT[name]
    items = await hot.make(house, ITEMS)
    answers = await together(house, hot.function, items)
    assert all(hot.is_answered(item, answer) for item, answer in zip(items, answers, strict=True))
    assert await house.store.read(hot.stored, items) == [True] * ITEMS


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize("name", HOT)
async def test_no_statement_is_compiled_again_for_what_it_is_given(house: House, name: str) -> None:
    """SQLite does so for each value that is compared with a column which some partial index compares with a constant,
    and takes many times as long for it as for the statement.
    """
    hot = HOT[name]
    compiled: list[tuple[Any, ...]] = []

    def note(*what: Any) -> int:
        compiled.append(what)
        return sqlite3.SQLITE_OK

    house.store._writer.set_authorizer(note)
    for _ in range(3):
        items = await hot.make(house, 8)
        compiled.clear()
        answers = await together(house, hot.function, items)
        assert all(hot.is_answered(item, answer) for item, answer in zip(items, answers, strict=True))
    assert compiled == []


@pytest.mark.parametrize("name", HOT)
async def test_64_bad_items_all_fail_and_nothing_is_stored(house: House, name: str) -> None:
    hot = HOT[name]
    items = await hot.make(house, ITEMS)
    spoil, expected = hot.spoil["a value that cannot be bound"]
    items = [spoil(house, item) for item in items]
    answers = await together(house, hot.function, items)
    assert [isinstance(answer, expected) for answer in answers] == [True] * ITEMS
    assert await house.store.read(hot.stored, items) == [False] * ITEMS


async def test_bad_items_of_several_functions_in_one_round_fail_alone(house: House) -> None:
    made = {name: await HOT[name].make(house, 8) for name in ("accept", "receive", "receipts", "hand-over")}
    items: list[tuple[str, Any, bool]] = []
    for name, good in made.items():
        spoil, _ = HOT[name].spoil["a value that cannot be bound"]
        items += [(name, spoil(house, item) if i == 3 else item, i == 3) for i, item in enumerate(good)]
    async with held_writer(house.store):
        tasks = [asyncio.create_task(house.store.batch(HOT[name].function, item)) for name, item, _ in items]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(answer, StoreRefused) for answer in answers] == [bad for _, _, bad in items]
    for name in made:
        mine = [(item, bad) for of, item, bad in items if of == name]
        stored = await house.store.read(HOT[name].stored, [item for item, _ in mine])
        assert stored == [not bad for _, bad in mine]


# Plain writes


def put(tx: Tx, name: str, way: str) -> str:
    """A plain write of two statements; a bad one has done its first when it fails."""
    tx.execute("INSERT INTO meta VALUES (?, 'first')", (f"{name}-1",))
    match way:
        case "Problem":
            raise Problem(problems.PARAMETER_INVALID)
        case "constraint":
            tx.execute("INSERT INTO meta VALUES (?, 'again')", (f"{name}-1",))
        case "binding":
            tx.execute("INSERT INTO meta VALUES (?, ?)", (f"{name}-2", object()))
        case "SQL":
            tx.execute("INSERT INTO nowhere VALUES (1)")
        case "defect":
            raise ZeroDivisionError
    tx.execute("INSERT INTO meta VALUES (?, 'second')", (f"{name}-2",))
    return name


BAD_WRITES = {
    "Problem": Problem,
    "constraint": StoreRefused,
    "binding": StoreRefused,
    "SQL": StoreRefused,
    "defect": ZeroDivisionError,
}


async def test_of_64_plain_writes_a_bad_one_fails_alone_wherever_it_stands(house: House) -> None:
    ways = list(BAD_WRITES)
    for place in range(ITEMS):
        way = ways[place % len(ways)]
        async with held_writer(house.store):
            tasks = [
                asyncio.create_task(house.store.write(put, f"{place}/{i}", way if i == place else "good"))
                for i in range(ITEMS)
            ]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[place], BAD_WRITES[way])
        assert [a for i, a in enumerate(answers) if i != place] == [
            f"{place}/{i}" for i in range(ITEMS) if i != place
        ]
        names = await house.rows("SELECT name FROM meta WHERE name LIKE ?", f"{place}/%")
        assert len(names) == 2 * (ITEMS - 1)
        assert not [name for (name,) in names if name.startswith(f"{place}/{place}-")]


@pytest.mark.engine("sqlite")  # on PostgreSQL a word of an earlier commit may still be on its way
async def test_a_bad_item_asks_for_no_worker(house: House) -> None:
    """What was undone wakes nobody."""
    (message,) = await make_messages(house, 1)
    event = house.store.subscribe(Wake.SENDS)
    with pytest.raises(UnicodeEncodeError):
        await house.store.batch(accept_messages, replace(message, data="\ud800"))
    await house.store.write(lambda tx: None)
    assert not event.is_set()
    await house.store.batch(accept_messages, message)
    await house.store.write(lambda tx: None)
    assert event.is_set()
