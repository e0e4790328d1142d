"""The sandbox carrier: what cannot be brought holds nothing else up, and its books tell the truth."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskline.carriers.base import CarrierError, CarrierEvent, Inbound, Kind, Outgoing
from maskline.carriers.sandbox import AGAIN_S, MOST_AT_ONCE, SandboxCarrier
from maskline.domain.ids import NumberSid, ServiceSid
from maskline.domain.model import SECOND
from maskline.domain.sandbox import NAME, Abilities, HandsetMessage, Outcome, Todo
from maskline.flows.ledger import StoreLedger
from maskline.flows.numbers import new_number
from maskline.mint import Mint
from maskline.runtime import Server
from maskline.settings import Settings
from maskline.store.engine import StoreUnavailable
from maskline.store.numbers import insert_number
from maskline.store.sandbox import set_abilities, set_script
from maskline.store.sqlite import SqliteStore
from maskline.store.start import StartRequest, start_sends
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, House
from tests.support.private import logged
from tests.support.server import Api
from tests.support.until import turns, until

PROXY, HANDSET = "+14152990001", "+12122010001"
KEYS, LOOK_UP = Abilities(carrier_keys=True), Abilities(look_up=True)


class Ledger(StoreLedger):
    """The real books, which can be unreadable, or slow to be told what was read."""

    def __init__(self, store: SqliteStore) -> None:
        super().__init__(store)
        self.reads = 0
        self.unreadable = 0
        self.told = asyncio.Event()
        self.told.set()

    async def due(self, most: int) -> tuple[list[Todo], int | None, int]:
        if self.unreadable:
            self.unreadable -= 1
            raise StoreUnavailable
        found = await super().due(most)
        self.reads += 1
        await self.told.wait()
        return found


class Desk:
    """A sandbox over a real store, and what it has brought. What is in `refused` cannot be brought."""

    def __init__(self, store: SqliteStore, clock: FakeClock, mint: Mint) -> None:
        self.store, self.clock, self.mint = store, clock, mint
        self.ledger = Ledger(store)
        self.carrier = SandboxCarrier(self.ledger, clock, mint, self.bring)
        self.brought: list[CarrierEvent] = []
        self.refused: set[str] = set()
        self.tries = 0

    async def bring(self, event: CarrierEvent) -> None:
        name = event.body if isinstance(event, Inbound) else event.number
        if name in self.refused:
            self.tries += 1
            raise StoreUnavailable
        self.brought.append(event)

    def texts(self) -> list[str]:
        return [event.body for event in self.brought if isinstance(event, Inbound)]

    def reports(self) -> list[str]:
        return [event.carrier_id for event in self.brought if not isinstance(event, Inbound)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """With `run` under way, and at its rest; it must live to the end."""
        task = asyncio.create_task(self.carrier.run())
        await self.rests()
        yield task
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def rests(self) -> None:
        """Until `run` has read once more, and waits."""
        reads = self.ledger.reads
        self.carrier._wake.set()
        await until(lambda: self.ledger.reads > reads)
        await turns()

    async def add(self, body: str) -> None:
        """A text in the books that nobody has tried to bring yet, due now."""
        sid, now = self.mint.sid("SM"), self.clock.now()
        row = HandsetMessage(sid, sid, ACCOUNT, "from_handset", HANDSET, PROXY, body, "[]", "sent", 1, now)
        facts = {"id": sid, "to": PROXY, "from": HANDSET, "body": body, "media": []}
        todo = await self.ledger.add_text(row, json.dumps(facts))
        assert todo is not None
        await self.ledger.postpone([todo], 0)

    async def text(self, body: str) -> Any:
        return await self.carrier.text(ACCOUNT, HANDSET, PROXY, body, [], [])

    def outgoing(self, to: str = HANDSET) -> Outgoing:
        return Outgoing(self.mint.sid("SM"), ACCOUNT, PROXY, to, "hello")

    async def script(self, outcome: Outcome, delay_ms: int | None = None, to: str = HANDSET) -> None:
        await self.store.write(set_script, ACCOUNT, to, outcome, delay_ms, 1)

    async def able(self, abilities: Abilities) -> None:
        await self.store.write(set_abilities, ACCOUNT, abilities)

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return await self.store.read(lambda tx: tx.execute(sql).fetchall())

    async def todos(self) -> list[tuple[Any, ...]]:
        return await self.rows("SELECT due_at, sid FROM sandbox_todo ORDER BY due_at, sid")

    async def books(self) -> list[tuple[Any, ...]]:
        return await self.rows("SELECT sid, status, handovers FROM sandbox_messages")


@pytest.fixture
async def desk(store: SqliteStore, clock: FakeClock, mint: Mint) -> Desk:
    number = new_number(NumberSid("PN1"), PROXY, ACCOUNT, NAME, clock.now())
    await store.write(insert_number, replace(number, service_sid=ServiceSid("KS1")))
    return Desk(store, clock, mint)


# Bringing


async def test_what_cannot_be_brought_keeps_nothing_else_from_being_brought(desk: Desk) -> None:
    desk.refused.add("poison")
    for _ in range(MOST_AT_ONCE):
        await desk.add("poison")
    desk.clock.advance(0.001)
    await desk.add("good")
    async with desk.running():
        await until(lambda: desk.texts() == ["good"])
    assert desk.tries == MOST_AT_ONCE


async def test_what_arrived_of_a_page_is_not_brought_again_with_the_rest(desk: Desk) -> None:
    desk.refused.add("poison")
    for body in ("one", "poison", "two"):
        await desk.add(body)
    with logged() as logs:
        async with desk.running():
            await until(lambda: desk.tries == 1)
            for tries in (2, 3):
                await desk.rests()
                desk.clock.advance(1)
                await until(lambda tries=tries: desk.tries == tries)
            await desk.rests()
            assert sorted(desk.texts()) == ["one", "two"]
            ((due_at, _),) = await desk.todos()
            assert due_at == desk.clock.now() + SECOND
            desk.refused.clear()
            desk.clock.advance(1)
            await until(lambda: len(desk.texts()) == 3)
            await desk.rests()
    assert await desk.todos() == []
    assert [log["event"] for log in logs].count("sandbox.bring_failed") == 1


async def test_a_text_that_cannot_be_brought_is_an_error_and_comes_later(desk: Desk) -> None:
    async with desk.running():
        desk.refused.add("hi")
        with pytest.raises(StoreUnavailable):
            await desk.text("hi")
        assert len(await desk.todos()) == 1
        desk.refused.clear()
        await desk.rests()
        assert desk.texts() == []
        desk.clock.advance(1)
        await until(lambda: desk.texts() == ["hi"])
        await desk.rests()
    assert await desk.todos() == []


async def test_a_report_that_cannot_be_brought_early_leaves_the_answer_as_it_is(desk: Desk) -> None:
    await desk.script(Outcome.RECEIPT_EARLY)
    desk.refused.add(PROXY)
    accepted = await desk.carrier.send(desk.outgoing())
    assert desk.tries == 1
    desk.refused.clear()
    async with desk.running():
        desk.clock.advance(1)
        await until(lambda: desk.reports() == [accepted.carrier_id])


async def test_what_somebody_else_has_brought_is_not_postponed(desk: Desk) -> None:
    await desk.add("x")
    (todo,), _, _ = await desk.ledger.due(9)
    await desk.ledger.done([todo])
    await desk.ledger.postpone([todo], 2 * SECOND)
    assert await desk.todos() == []


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
async def test_the_books_go_by_their_own_time(desk: Desk, clock: FakeClock, mint: Mint, ahead_s: int) -> None:
    """The clock of the process that has the carrier is an hour off: nothing is late, and nobody looks all the time."""
    other = Desk(desk.store, FakeClock(clock.now() + ahead_s * SECOND), mint)
    other.refused.add("x")
    with pytest.raises(StoreUnavailable):
        await other.text("x")
    other.refused.clear()
    async with other.running():
        reads = other.ledger.reads
        await turns(100)
        assert other.ledger.reads == reads
        for one in (clock, other.clock):
            one.advance(AGAIN_S)
        await until(lambda: other.texts() == ["x"])


async def test_books_that_cannot_be_read_are_read_again(desk: Desk) -> None:
    async with desk.running() as task:
        desk.ledger.unreadable = 2
        for left in (1, 0):
            desk.carrier._wake.set()
            await until(lambda left=left: desk.ledger.unreadable == left)
            await turns()
            assert not task.done()
            desk.clock.advance(1)
        await desk.add("x")
        await desk.rests()
        await until(lambda: desk.texts() == ["x"])


async def test_a_hand_over_during_the_read_is_not_overlooked(desk: Desk) -> None:
    async with desk.running():
        reads = desk.ledger.reads
        desk.ledger.told.clear()
        desk.carrier._wake.set()
        await until(lambda: desk.ledger.reads > reads)
        accepted = await desk.carrier.send(desk.outgoing())
        desk.ledger.told.set()
        await until(lambda: desk.ledger.reads > reads + 1)
        await turns()
        desk.clock.advance(0.02)
        await until(lambda: desk.reports() == [accepted.carrier_id])


async def test_a_far_off_report_makes_no_other_one_late(desk: Desk) -> None:
    await desk.script(Outcome.RECEIPT_LATE, 600_000)
    await desk.carrier.send(desk.outgoing())
    async with desk.running():
        reads = desk.ledger.reads
        accepted = await desk.carrier.send(desk.outgoing())
        await until(lambda: desk.ledger.reads > reads)
        await turns()
        desk.clock.advance(0.02)
        await until(lambda: desk.reports() == [accepted.carrier_id])


async def test_a_hand_over_whose_report_is_not_the_next_wakes_nobody(desk: Desk) -> None:
    async with desk.running():
        reads = desk.ledger.reads
        await desk.carrier.send(desk.outgoing())
        await until(lambda: desk.ledger.reads > reads)
        await turns()
        reads = desk.ledger.reads
        for _ in range(5):
            await desk.carrier.send(desk.outgoing())
        await turns()
        assert desk.ledger.reads == reads
        desk.clock.advance(0.02)
        await until(lambda: len(desk.reports()) == 6)


async def test_a_server_whose_sandbox_brings_nothing_more_is_not_ready(tmp_path: Path) -> None:
    server = Server(Settings(data=str(tmp_path / "data"), port=0))
    running = await server.start()
    try:
        assert running.ops_urls
        api = Api(running.ops_urls[0])
        ready = await asyncio.to_thread(api.get, "/readyz", auth=False)
        assert (ready.status, ready.json["checks"]["sandbox"]) == (200, True)
        (task,) = (task for task in server._tasks if task.get_name() == "carrier sandbox")
        task.cancel()
        await until(task.done)
        ready = await asyncio.to_thread(api.get, "/readyz", auth=False)
        assert (ready.status, ready.json["checks"]["sandbox"]) == (503, False)
    finally:
        await server.stop()


# The books


async def fails(desk: Desk, message: Outgoing, kind: Kind) -> None:
    with pytest.raises(CarrierError) as caught:
        await desk.carrier.send(message)
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("outcome", "kind", "found"),
    [
        (Outcome.FAIL, Kind.REJECTED, False),
        (Outcome.UNCERTAIN_LOST, Kind.UNCERTAIN, False),
        (Outcome.THROTTLE, Kind.THROTTLED, False),
        (Outcome.UNREACHABLE, Kind.UNREACHABLE, False),
        (Outcome.UNCERTAIN_DELIVERED, Kind.UNCERTAIN, True),
        (Outcome.DELIVER, None, True),
        (Outcome.UNDELIVER, None, True),
    ],
)
async def test_only_what_was_taken_is_found(
    desk: Desk, outcome: Outcome, kind: Kind | None, found: bool
) -> None:
    await desk.able(LOOK_UP)
    await desk.script(outcome)
    message = desk.outgoing()
    if kind is None:
        accepted = await desk.carrier.send(message)
        assert await desk.carrier.look_up(message) == [accepted.carrier_id]
    else:
        await fails(desk, message, kind)
        assert bool(await desk.carrier.look_up(message)) is found


async def test_under_the_same_key_the_answer_is_the_same(desk: Desk) -> None:
    await desk.able(KEYS)
    await desk.script(Outcome.FAIL)
    refused = desk.outgoing()
    for _ in range(3):
        await fails(desk, refused, Kind.REJECTED)
    taken = desk.outgoing()
    accepted = await desk.carrier.send(taken)
    await desk.script(Outcome.FAIL)
    assert await desk.carrier.send(taken) == accepted
    assert sorted(row[1:] for row in await desk.books()) == [("delivered", 1), ("failed", 1)]


async def test_under_the_same_key_what_was_lost_is_new(desk: Desk) -> None:
    await desk.able(KEYS)
    await desk.script(Outcome.UNCERTAIN_LOST)
    message = desk.outgoing()
    await fails(desk, message, Kind.UNCERTAIN)
    accepted = await desk.carrier.send(message)
    assert await desk.carrier.send(message) == accepted
    assert await desk.books() == [(accepted.carrier_id, "delivered", 2)]


async def test_what_is_taken_at_the_second_try_is_found_under_the_name_that_its_report_bears(
    desk: Desk,
) -> None:
    await desk.script(Outcome.UNCERTAIN_LOST)
    message = desk.outgoing()
    await fails(desk, message, Kind.UNCERTAIN)
    await desk.carrier.send(message)
    found = await desk.carrier.look_up(message)
    async with desk.running():
        desk.clock.advance(0.02)
        await until(desk.reports)
    assert desk.reports() == found


@pytest.mark.parametrize(
    ("outcome", "kind"), [(Outcome.FAIL, Kind.REJECTED), (Outcome.UNCERTAIN_LOST, Kind.UNCERTAIN)]
)
async def test_a_repeat_that_is_not_taken_takes_nothing_from_a_handset(
    desk: Desk, outcome: Outcome, kind: Kind
) -> None:
    message = desk.outgoing()
    accepted = await desk.carrier.send(message)
    await desk.script(outcome)
    await fails(desk, message, kind)
    assert await desk.books() == [(accepted.carrier_id, "delivered", 2)]
    assert await desk.carrier.look_up(message) == [accepted.carrier_id]


async def test_a_refused_message_whose_refusal_nobody_heard_is_never_called_sent(
    desk: Desk,
) -> None:
    house = House(desk.store, desk.clock, carrier=desk.carrier)  # type: ignore[arg-type]
    _, ann, _ = await house.pair()
    await desk.able(LOOK_UP)
    await desk.script(Outcome.FAIL, to=ann.identifier)
    message = await house.say(ann)
    assert message.outbound is not None
    # An earlier run: it started the message, handed it over, and was killed before it wrote the refusal down.
    await start_in_an_earlier_run(house)
    sid = message.outbound.resource_sid
    refused = Outgoing(sid, ACCOUNT, ann.proxy_identifier, ann.identifier, "hello")
    await fails(desk, refused, Kind.REJECTED)
    worker = house.new_worker()
    await worker.start()
    try:
        for _ in range(50):
            if await house.status(message) not in ("queued", "sending"):
                break
            desk.clock.advance(1)
            await turns()
        assert await house.status(message) == "delivery-unknown"
    finally:
        await worker.stop()


async def start_in_an_earlier_run(house: House) -> None:
    request = StartRequest("RN-earlier", {house.carrier.name: 1}, [house.mint.sid("NO") for _ in range(8)])
    assert len((await house.store.batch(start_sends, request)).started) == 1
