"""`pair_limit`: who writes too fast to one number is refused for a while, and one event tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskline.domain.model import Participant
from tests.support.clock import FakeClock
from tests.support.house import House, opened, person

LIMIT = '{"pair_limit": 3}'


async def write(house: House, who: Participant, count: int) -> int:
    """How many of so many messages were taken."""
    return sum([(await house.hear(who)).interaction_sid is not None for _ in range(count)])


async def test_one_too_many_and_none_is_taken_for_half_a_minute(house: House) -> None:
    _, ann, ben = await house.pair(await house.service(settings=LIMIT))
    assert await write(house, ann, 3) == 3
    house.clock.advance(29)
    assert await house.events() == []
    assert await write(house, ann, 5) == 0
    assert await house.events() == [14107]
    assert await write(house, ben, 1) == 1  # the other direction is another pair
    house.clock.advance(29.999)
    assert await write(house, ann, 1) == 0
    house.clock.advance(0.001)
    assert await write(house, ann, 4) == 3
    assert await house.events() == [14107] * 2
    sessions = await house.rows("SELECT seq FROM sessions")
    assert sessions == [(7,)]


async def test_the_event_names_both_numbers_masked(house: House) -> None:
    service = await house.service(settings=LIMIT)
    _, ann, _ = await house.pair(service)
    await write(house, ann, 4)
    ((service_sid, message),) = await house.rows("SELECT service_sid, message FROM events")
    assert service_sid == service.sid
    assert f"from +1…{ann.identifier[-2:]} to +1…{ann.proxy_identifier[-2:]}: " in message


async def test_a_slow_stream_is_never_refused(house: House) -> None:
    _, ann, _ = await house.pair(await house.service(settings=LIMIT))
    for _ in range(20):
        assert await write(house, ann, 1) == 1
        house.clock.advance(10)
    assert await house.events() == []


async def test_a_stranger_is_refused_too(house: House) -> None:
    service = await house.service(settings=LIMIT)
    number = await house.one("SELECT phone_number FROM numbers WHERE service_sid = ?", service.sid)
    for _ in range(6):
        await house.hear(person(1), number)
    assert await house.events() == [80905] * 3 + [14107]


async def test_a_repeat_of_the_carriers_does_not_count(house: House) -> None:
    _, ann, _ = await house.pair(await house.service(settings=LIMIT))
    for _ in range(6):
        await house.hear(ann, carrier_id="the same")
    assert await write(house, ann, 2) == 2
    assert await house.events() == []


async def test_it_holds_across_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    async with opened(tmp_path, clock) as store:
        house = House(store, clock)
        _, ann, _ = await house.pair(await house.service(settings=LIMIT))
        await write(house, ann, 4)
    async with opened(tmp_path, clock) as store:
        house.store = store
        assert await write(house, ann, 1) == 0


async def test_who_has_been_quiet_is_forgotten(house: House) -> None:
    _, ann, _ = await house.pair(await house.service(settings=LIMIT))
    await write(house, ann, 1)
    house.clock.advance(29.999)
    await house.sweeper.sweep()
    assert await house.one("SELECT count(*) FROM paces") == 1
    house.clock.advance(0.001)
    await house.sweeper.sweep()
    assert await house.one("SELECT count(*) FROM paces") == 0


@pytest.mark.parametrize("settings", ["{}", '{"pair_limit": 0}'])
async def test_without_a_limit_nobody_is_counted(house: House, settings: str) -> None:
    _, ann, _ = await house.pair(await house.service(settings=settings))
    assert await write(house, ann, 200) == 200
    assert await house.one("SELECT count(*) FROM paces") == 0
