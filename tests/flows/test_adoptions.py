"""Numbers that join a pool or leave it beside the server: their carriers are told soon, and again where that fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from maskline.carriers.base import CarrierError, Kind, NotCarried
from maskline.domain.directory import read_address
from maskline.domain.model import Service
from maskline.flows.adoptions import MOST, Adoptions
from maskline.flows.numbers import add_to_pool, delete_own_number, enter, new_entry, remove_number
from maskline.store.adoptions import find_adoptions, settle_adoption, want_all
from maskline.store.numbers import insert_number
from tests.support.carrier import Gate, ScriptedCarrier
from tests.support.house import ACCOUNT, House
from tests.support.until import until

NUMBER = "+14155550100"


class Exchange(ScriptedCarrier):
    """A carrier of which somebody else had the number before."""

    def __init__(self, name: str = "north") -> None:
        super().__init__(name)
        self.told: list[tuple[str, ...]] = []
        self.failures: list[Exception] = []

    async def adopt(self, account_sid: str, number: str, keep: Any) -> None:
        self.told.append(("adopt", account_sid, number))
        if self.failures:
            raise self.failures.pop(0)
        await keep("theirs")

    async def release(self, number: str, former: str) -> None:
        self.told.append(("release", number, former))
        if self.failures:
            raise self.failures.pop(0)


class Vendor(ScriptedCarrier):
    """One that knows where the traffic of each number goes: to `theirs`, unless it has been told to bring it here."""

    def __init__(self) -> None:
        super().__init__("north")
        self.places: dict[str, str] = {}
        self.released: list[str] = []
        self.stall: Gate | None = None
        """What the next release waits for, before it has changed anything."""

    async def adopt(self, account_sid: str, number: str, keep: Any) -> None:
        place = self.places.get(number, "theirs")
        if place != "ours":
            await keep(place)
            self.places[number] = "ours"

    async def release(self, number: str, former: str) -> None:
        self.released.append(number)
        if (stall := self.stall) is not None:
            self.stall = None
            await stall.wait()
        if self.places.get(number) == "ours":
            self.places[number] = former


@pytest.fixture
def north() -> Exchange:
    return Exchange()


@asynccontextmanager
async def telling(house: House, *carriers: ScriptedCarrier) -> AsyncIterator[None]:
    task = asyncio.create_task(
        Adoptions(house.store, house.clock, house.mint, {one.name: one for one in carriers}).run()
    )
    try:
        yield
    finally:
        task.cancel()


async def entered(house: House, service: Service | None, number: str = NUMBER, carrier: str = "north") -> str:
    """What `maskline numbers add --service` does."""
    address = read_address(number)
    entry = new_entry(house.mint.sid("PN"), address, ACCOUNT, carrier, house.clock.now())
    sid = service.sid if service else None
    await house.store.write(enter, entry, sid, house.mint.sid("NO"), named=False, reserved=False)
    return entry.sid


async def told(house: House, north: Exchange, count: int) -> None:
    def enough() -> bool:
        house.clock.advance(1)
        return len(north.told) >= count

    await until(enough)


async def test_what_joins_is_adopted_and_what_leaves_goes_back(house: House, north: Exchange) -> None:
    service = await house.service(0)
    async with telling(house, north):
        sid = await entered(house, service)
        await told(house, north, 1)
        assert north.told[0] == ("adopt", ACCOUNT, NUMBER)
        await remove_number(house.store, ACCOUNT, service.sid, sid)
        await until_gone(house)
    assert north.told[-1] == ("release", NUMBER, "theirs")


async def until_gone(house: House, carrier: str = "north") -> None:
    while await house.one("SELECT count(*) FROM adoptions WHERE carrier_account = ?", carrier):
        house.clock.advance(1)


async def test_what_leaves_the_directory_goes_back_too(house: House, north: Exchange) -> None:
    async with telling(house, north):
        sid = await entered(house, await house.service(0))
        await told(house, north, 1)
        await delete_own_number(house.store, ACCOUNT, sid)
        await until_gone(house)
    assert north.told[-1] == ("release", NUMBER, "theirs")


async def test_what_is_in_no_pool_is_nobodys_business(house: House, north: Exchange) -> None:
    async with telling(house, north):
        sid = await entered(house, None)
        assert await house.one("SELECT count(*) FROM adoptions") == 0
        await delete_own_number(house.store, ACCOUNT, sid)
        house.clock.advance(100)
    assert north.told == []


@pytest.mark.parametrize(
    "failure", [CarrierError(Kind.UNREACHABLE, "nobody there"), NotCarried("no such number")], ids=repr
)
async def test_what_fails_is_told_once_and_tried_again(
    house: House, north: Exchange, failure: Exception
) -> None:
    north.failures = [failure] * 3
    async with telling(house, north):
        await entered(house, await house.service(0))
        await told(house, north, 5)  # the last is the look at what was kept
    ((code, message),) = await house.rows("SELECT code, message FROM events")
    assert code == 49031
    assert message.startswith(f"north, +1…00: {failure.args[1]}: ")


async def test_a_defect_keeps_nobody_elses_number_waiting(house: House, north: Exchange) -> None:
    """Such as what was kept of a number by another kind of carrier, which had the account's name before."""
    north.failures = [KeyError("app_id")]
    service, other = await house.service(0), "+14155550101"
    await entered(house, service)
    house.clock.advance(1)
    await entered(house, service, other)
    with capture_logs() as logged:
        async with telling(house, north):
            await told(house, north, 2)
    assert [one[-1] for one in north.told[:2]] == [NUMBER, other]
    assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == ["adoptions.defect"]
    ((_, message),) = await house.rows("SELECT code, message FROM events")
    assert message.startswith("north, +1…")
    assert ": defect: " in message


async def test_a_number_that_is_not_the_accounts_any_more_is_let_go(house: House, north: Exchange) -> None:
    service = await house.service(0)
    async with telling(house, north):
        sid = await entered(house, service)
        await told(house, north, 1)
        north.failures = [NotCarried()]
        await remove_number(house.store, ACCOUNT, service.sid, sid)
        await until_gone(house)
    assert await house.events() == []


async def test_what_is_for_an_account_that_is_not_in_the_settings_waits_until_it_is(
    house: House, north: Exchange
) -> None:
    """And keeps nobody else's number waiting."""
    south, service = Exchange("south"), await house.service(0)
    numbers = [f"+141555501{i:02d}" for i in range(MOST + 1)]
    for number in numbers:
        await entered(house, service, number)
    house.clock.advance(1)
    async with telling(house, south):
        await entered(house, service, "+14155550201", carrier="south")
        await until(lambda: south.told)  # at the first look
        house.clock.advance(100)
    assert await house.events() == []
    async with telling(house, north):
        await told(house, north, len(numbers))
    assert {number for _, _, number in north.told} == {*numbers}


async def test_all_can_be_told_anew(house: House, north: Exchange) -> None:
    async with telling(house, north):
        await entered(house, await house.service(0))
        await told(house, north, 2)
        count = len(north.told)
        assert await house.store.write(want_all, "south") == 0
        assert await house.store.write(want_all, "north") == 1
        await told(house, north, count + 1)
        assert await house.store.write(want_all) == 1


async def test_what_went_before_is_kept_from_the_first_time(house: House, north: Exchange) -> None:
    """A look that finds our own address there does not make it the former one."""
    service = await house.service(0)
    async with telling(house, north):
        sid = await entered(house, service)
        await told(house, north, 3)
        await house.store.write(lambda tx: tx.execute("UPDATE adoptions SET former = 'first'") and None)
        await house.store.write(want_all)
        await told(house, north, 6)
        await remove_number(house.store, ACCOUNT, service.sid, sid)
        await until_gone(house)
    assert north.told[-1] == ("release", NUMBER, "first")


async def test_a_number_that_is_entered_under_another_account_goes_back_at_the_first(
    house: House, north: Exchange
) -> None:
    """Though that could not be told of it before."""
    south, service = Exchange("south"), await house.service(0)
    async with telling(house, north, south):
        sid = await entered(house, service)
        await told(house, north, 2)
        north.failures = [CarrierError(Kind.UNREACHABLE, "nobody there")] * 2
        await delete_own_number(house.store, ACCOUNT, sid)
        sid = await entered(house, service, carrier="south")
        await told(house, south, 2)
        await until_gone(house, "north")
        assert (north.told[-1], north.failures) == (("release", NUMBER, "theirs"), [])
        assert {what for what, *_ in south.told} == {"adopt"}
        await delete_own_number(house.store, ACCOUNT, sid)
        await until_gone(house, "south")
    assert south.told[-1] == ("release", NUMBER, "theirs")


# From one pool into another, while the carrier is still being told that they have left the first


async def added(house: House, vendor: Vendor, service: Service, number: str = NUMBER) -> str:
    """What the API does."""
    if await house.one("SELECT count(*) FROM numbers WHERE phone_number = ?", number) == 0:
        entry = new_entry(house.mint.sid("PN"), read_address(number), ACCOUNT, "north", house.clock.now())
        await house.store.write(insert_number, entry)
    sid = await house.one("SELECT sid FROM numbers WHERE phone_number = ?", number)
    await add_to_pool(
        house.store,
        {vendor.name: vendor},
        ACCOUNT,
        service.sid,
        sid=sid,
        number=None,
        reserved=False,
        event_sid=house.mint.sid("NO"),
        key=None,
    )
    return sid


async def settled(house: House) -> None:
    """Until nothing is to be told any more."""
    while await house.one("SELECT count(*) FROM adoptions WHERE due_at IS NOT NULL"):
        house.clock.advance(1)


async def releasing(house: House, vendor: Vendor) -> None:
    """Until it has been told to let one go."""

    def begun() -> bool:
        house.clock.advance(1)
        return bool(vendor.released)

    await until(begun)


async def test_a_number_that_joins_a_pool_while_it_is_let_go_is_brought_here_all_the_same(
    house: House,
) -> None:
    vendor, first, second = Vendor(), await house.service(0), await house.service(0)
    sid = await added(house, vendor, first)
    async with telling(house, vendor):
        await settled(house)
        vendor.stall = stall = Gate()
        await remove_number(house.store, ACCOUNT, first.sid, sid)
        await releasing(house, vendor)
        await added(house, vendor, second)
        stall.release()
        await settled(house)
        assert vendor.places == {NUMBER: "ours"}
        await remove_number(house.store, ACCOUNT, second.sid, sid)
        await until_gone(house)
    assert vendor.places == {NUMBER: "theirs"}


async def test_one_that_joins_before_its_turn_is_not_let_go(house: House) -> None:
    vendor, first, second = Vendor(), await house.service(0), await house.service(0)
    numbers = [NUMBER, "+14155550101"]
    sids = [await added(house, vendor, first, number) for number in numbers]
    async with telling(house, vendor):
        await settled(house)
        vendor.stall = stall = Gate()
        for sid in sids:
            await remove_number(house.store, ACCOUNT, first.sid, sid)
        await releasing(house, vendor)
        (waiting,) = set(numbers) - set(vendor.released)
        await added(house, vendor, second, waiting)
        stall.release()
        await settled(house)
    assert waiting not in vendor.released
    assert vendor.places[waiting] == "ours"


async def test_what_was_told_too_late_is_told_anew(house: House) -> None:
    """Of two processes, one lets a number go, slowly, and the other has long seen that it is in a pool again."""
    vendor, service = Vendor(), await house.service(0)
    sid = await added(house, vendor, service)
    async with telling(house, vendor):
        await settled(house)
    await remove_number(house.store, ACCOUNT, service.sid, sid)
    (leaving,) = await house.store.read(find_adoptions, 1)
    house.clock.advance(1)
    await added(house, vendor, service)
    async with telling(house, vendor):
        await settled(house)
        await vendor.release(NUMBER, "theirs")
        await house.store.write(settle_adoption, leaving)
        await settled(house)
    assert vendor.places == {NUMBER: "ours"}
