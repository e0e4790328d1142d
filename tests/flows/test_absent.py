"""A carrier account that is gone from the settings: what it carries waits for it, and whoever is concerned is told."""

from dataclasses import replace

from maskline.domain.directory import read_address
from maskline.flows.absent import Absent
from maskline.flows.numbers import new_entry
from maskline.store.numbers import insert_number
from tests.support.carrier import ScriptedCarrier
from tests.support.house import ACCOUNT, House


def restarted(house: House, *carriers: ScriptedCarrier) -> None:
    """The next server has these accounts."""
    house.messages.carriers = {one.name: one for one in carriers}
    house.looks = [Absent(house.store, house.mint, house.messages.carriers)]


async def test_what_waits_for_it_is_told_of_once_and_goes_in_order_when_it_is_back(house: House) -> None:
    _, ann, _ = await house.pair()
    restarted(house, ScriptedCarrier("south"))
    async with house.working():
        for body in "123":
            await house.say(ann, body)
        for _ in range(10):
            await house.pass_time(2)
        assert await house.statuses() == ["queued"] * 3
        ((account, level, message),) = await house.rows("SELECT account_sid, level, message FROM events")
        assert (account, level) == (ACCOUNT, "ERROR")
        assert message.startswith(f"carrier account {house.carrier.name}: ")
    restarted(house, house.carrier)
    async with house.working():
        await house.pass_time(2)
    assert house.carrier.bodies(ann.identifier) == ["1", "2", "3"]
    assert await house.events() == [49053]


async def test_each_owner_of_its_numbers_in_pools_is_told(house: House) -> None:
    service, other = await house.service(2), "AC" + "d4" * 16
    for i, (account, pool) in enumerate(
        [(other, service.sid), (other, service.sid), ("AC" + "e5" * 16, None)]
    ):
        address = read_address(f"+1415555010{i}")
        entry = new_entry(house.mint.sid("PN"), address, account, house.carrier.name, house.clock.now())
        await house.store.write(insert_number, replace(entry, service_sid=pool))
    absent = Absent(house.store, house.mint, ["south"])
    await absent.look()
    await absent.look()
    assert await house.rows("SELECT account_sid, code FROM events ORDER BY account_sid") == [
        (ACCOUNT, 49053),
        (other, 49053),
    ]


async def test_who_has_all_that_are_needed_is_told_nothing(house: House) -> None:
    await house.service(2)
    await Absent(house.store, house.mint, ["south", house.carrier.name]).look()
    assert await house.events() == []
