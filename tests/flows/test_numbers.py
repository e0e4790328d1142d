"""The pool's limits and their event; taking a number out while many Sessions past their limit still hold it."""

from typing import Any

import pytest

from maskline.carriers.base import Carrier, NotCarried
from maskline.domain.directory import read_address
from maskline.domain.model import ProxyNumber, Service
from maskline.domain.problems import Problem
from maskline.flows.numbers import (
    Entered,
    add_to_pool,
    change_number,
    delete_own_number,
    enter,
    new_entry,
    remove_number,
)
from maskline.store.engine import Tx
from maskline.store.numbers import insert_number
from maskline.store.participants import load_candidates
from maskline.store.session_ends import MOST_CLOSED
from tests.support.carrier import ScriptedCarrier
from tests.support.house import ACCOUNT, House, proxy

WHATSAPP = "whatsapp:+14155238886"


async def fill(house: House, service: Service, how_many: int, *, reserved: bool) -> None:
    """Put so many numbers into the pool, past the code that watches its limit."""

    def write(tx: Tx) -> None:
        for i in range(how_many):
            tx.execute(
                "INSERT INTO numbers (phone_number, sid, account_sid, carrier_account, service_sid, friendly_name,"
                " calling_code, voice, sms, mms, is_reserved, created_at, updated_at)"
                " VALUES (?, ?, ?, 'scripted', ?, '', 1, 1, 1, 1, ?, 1, 1)",
                (f"+1{reserved:d}{i}", f"PN{reserved:d}{i:031d}", ACCOUNT, service.sid, reserved),
            )

    await house.store.write(write)


async def entered(
    house: House, text: str, service: Service | None = None, carrier: str = "scripted", **fields: Any
) -> Entered:
    address = read_address(text, "US" if text.isdigit() else None)
    number = new_entry(house.mint.sid(address.kind), address, ACCOUNT, carrier, house.clock.now())
    said = {"named": False, "reserved": False, **fields}
    return await house.store.write(enter, number, service and service.sid, house.mint.sid("NO"), **said)


async def change(house: House, number: ProxyNumber, *, reserved: bool) -> ProxyNumber:
    assert number.service_sid is not None
    return await house.store.write(
        change_number, ACCOUNT, number.service_sid, number.sid, reserved, house.mint.sid("NO")
    )


class Elsewhere(ScriptedCarrier):
    """An account that has none of the numbers."""

    async def adopt(self, account_sid: str, number: str, keep: Any) -> None:
        raise NotCarried("it has no such number")


async def joined(house: House, service: Service, *, carried_by: str, **carriers: Carrier) -> ProxyNumber:
    """Put a number that the directory has into the pool."""
    address = read_address("+14155550100")
    number = new_entry(house.mint.sid("PN"), address, ACCOUNT, carried_by, house.clock.now())
    await house.store.write(insert_number, number)
    return await add_to_pool(
        house.store,
        carriers,
        ACCOUNT,
        service.sid,
        sid=number.sid,
        number=None,
        reserved=False,
        event_sid=house.mint.sid("NO"),
        key=None,
    )


async def test_a_number_whose_carrier_account_is_not_there_joins_no_pool(house: House) -> None:
    service = await house.service(0)
    with pytest.raises(Problem) as caught:
        await joined(house, service, carried_by="north", south=ScriptedCarrier("south"))
    assert caught.value.code.number == 80301
    assert "Carrier account north, which carries it, is not in the settings or off" in caught.value.message
    assert await house.one("SELECT count(*) FROM numbers WHERE service_sid IS NOT NULL") == 0


async def test_a_number_that_its_carrier_account_does_not_have_joins_no_pool(house: House) -> None:
    service = await house.service(0)
    with pytest.raises(Problem) as caught:
        await joined(house, service, carried_by="north", north=Elsewhere("north"))
    assert caught.value.code.number == 80301
    assert "Carrier account north does not carry it (it has no such number)" in caught.value.message
    assert await house.one("SELECT count(*) FROM numbers WHERE service_sid IS NOT NULL") == 0


@pytest.mark.parametrize(("reserved", "nearly"), [(False, 425), (True, 4250)])
async def test_a_pool_that_is_nearly_full_is_told_once(house: House, reserved: bool, nearly: int) -> None:
    service = await house.service(0)
    await fill(house, service, nearly - 2, reserved=reserved)
    for told in ([], [80624], [80624], [80624]):
        last = await house.number(service, reserved=reserved)
        assert await house.events() == told
    ((message, service_sid),) = await house.rows("SELECT message, service_sid FROM events")
    assert message.startswith(f"{nearly} {'reserved' if reserved else 'unreserved'} numbers")
    assert service_sid == service.sid
    # The other sort has its own count.
    await change(house, last, reserved=not reserved)
    assert await house.events() == [80624]


async def test_a_pool_that_is_nearly_full_by_a_switch_is_told(house: House) -> None:
    service = await house.service(0)
    await fill(house, service, 424, reserved=False)
    number = await house.number(service, reserved=True)
    await change(house, number, reserved=True)
    assert await house.events() == []
    await change(house, number, reserved=False)
    await change(house, number, reserved=False)
    assert await house.events() == [80624]


async def test_a_refused_add_tells_nothing(house: House) -> None:
    service, other = await house.service(0), await house.service(0)
    taken = await house.number(other)
    await fill(house, service, 424, reserved=False)
    with pytest.raises(Problem):
        await house.number(service, taken.phone_number)
    assert await house.events() == []


async def test_short_codes_count_and_senders_do_not(house: House) -> None:
    service = await house.service(0)
    await fill(house, service, 499, reserved=False)
    assert await entered(house, WHATSAPP, service) is Entered.ADDED
    assert await entered(house, "72345", service) is Entered.ADDED
    with pytest.raises(Problem) as refused:
        await entered(house, "72346", service)
    assert refused.value.code.number == 80622
    assert await entered(house, "messenger:1234567890", service) is Entered.ADDED


async def test_a_sender_is_never_among_the_numbers_to_choose_from(house: House) -> None:
    service = await house.service(0)
    await entered(house, WHATSAPP, service)
    await entered(house, "72345", service)
    pool = await house.store.read(load_candidates, service.sid, reserved=True)
    assert [number.phone_number for number in pool] == ["72345"]


async def test_what_stands_in_the_directory_is_left_alone_joins_or_differs(house: House) -> None:
    service = await house.service(0)
    assert await entered(house, proxy(1)) is Entered.ADDED
    assert await entered(house, proxy(1)) is Entered.UNCHANGED
    assert await entered(house, proxy(1), service, reserved=True) is Entered.JOINED
    assert await entered(house, proxy(1), service, reserved=True) is Entered.UNCHANGED
    assert await entered(house, proxy(1)) is Entered.UNCHANGED
    # `named`: its name was chosen, and is the one that it has; otherwise no name was said.
    assert await entered(house, proxy(1), named=True) is Entered.UNCHANGED


@pytest.mark.parametrize(
    ("carrier", "service", "code"),
    [("another", False, 21422), ("scripted", True, 80104)],
    ids=["another carrier", "reserved there, not here"],
)
async def test_what_differs_from_the_directory_is_refused(
    house: House, carrier: str, service: bool, code: int
) -> None:
    pool = await house.service(0)
    await entered(house, proxy(1), pool, reserved=True)
    with pytest.raises(Problem) as refused:
        await entered(house, proxy(1), pool if service else None, carrier=carrier)
    assert refused.value.code.number == code


async def hold(house: House, service: Service, how_many: int, **fields: Any) -> None:
    """So many Sessions, each with somebody on the pool's only number."""
    for i in range(how_many):
        await house.session(service, f"+1212{2 + i // 10_000}{i // 1000 % 10}1{i % 1000:04d}", **fields)


async def in_use(house: House) -> int:
    count: int = await house.one("SELECT in_use FROM numbers WHERE service_sid IS NOT NULL")
    return count


async def test_a_number_leaves_whatever_many_sessions_past_their_limit_hold_it(house: House) -> None:
    service = await house.service()
    sid = await house.one("SELECT sid FROM numbers")
    await hold(house, service, MOST_CLOSED * 2 + 1, ttl=60)
    house.clock.advance(61)
    await remove_number(house.store, ACCOUNT, service.sid, sid)
    assert await house.rows("SELECT service_sid, in_use FROM numbers") == [(None, 0)]
    assert await house.rows("SELECT DISTINCT status FROM sessions") == [("closed",)]


@pytest.mark.parametrize("whole", [False, True], ids=["from the pool", "from the directory"])
async def test_what_was_written_down_stands_though_the_number_stays(house: House, whole: bool) -> None:
    service = await house.service()
    sid = await house.one("SELECT sid FROM numbers")
    await hold(house, service, MOST_CLOSED + 1, ttl=60)
    live = await house.session(service, "+16465550120")
    house.clock.advance(61)
    assert await in_use(house) == MOST_CLOSED + 2
    where = (sid,) if whole else (service.sid, sid)
    take_out: Any = delete_own_number if whole else remove_number
    with pytest.raises(Problem) as refused:
        await take_out(house.store, ACCOUNT, *where)
    assert refused.value.code.number == 80611
    assert await in_use(house) == 1
    assert (await house.fetch(live)).status.value == "open"
