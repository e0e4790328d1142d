"""Closed Sessions are deleted when they have been closed for long enough, in steps, and nothing else is."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from maskline.domain import problems
from maskline.domain.model import DAY, SessionStatus
from maskline.domain.problems import Problem
from maskline.flows.retention import Sweeper
from maskline.store.events import insert_event
from maskline.store.sessions import find_session
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, House, opened

DAY_S = 86_400
DAYS = 90


@pytest.fixture
def house(house: House) -> House:
    house.sweeper = Sweeper(house.store, house.clock, house.mint, DAYS * DAY)
    return house


async def is_there(house: House, session: Any) -> bool:
    return await house.store.read(find_session, session.service_sid, session.sid) is not None


@pytest.mark.parametrize("how", ["closed", "expired", "expired and never swept"])
async def test_a_session_goes_90_days_after_its_end_with_all_below_it(house: House, how: str) -> None:
    """Section 5.4; the days count from the end itself, whenever it was written down."""
    service = await house.service()
    session, ann, _ = await house.pair(service, unique_name="ours", ttl=60)
    async with house.working():
        await house.say(ann)
        await house.quiet()
        if how == "closed":
            await house.close(session)
        else:
            house.clock.step(60)
        if how == "expired":
            await house.sweeper.sweep()
    house.clock.step(DAYS * DAY_S - 0.000001)
    await house.sweeper.sweep()
    assert await is_there(house, session)
    assert await house.one("SELECT count(*) FROM interactions") == 1
    house.clock.step(0.000001)
    await house.sweeper.sweep()
    assert not await is_there(house, session)
    for count in (
        "SELECT count(*) FROM sessions",
        "SELECT count(*) FROM participants",
        "SELECT count(*) FROM interactions",
        "SELECT count(*) FROM purges",
    ):
        assert await house.one(count) == 0, count
    assert await house.rows("SELECT in_use, participants FROM numbers") == [(0, 0)]
    await house.session(service, unique_name="ours")


async def test_what_is_active_stays_however_old_it_is(house: House) -> None:
    session, _, _ = await house.pair()
    house.clock.step(10 * DAYS * DAY_S)
    await house.sweeper.sweep()
    assert (await house.fetch(session)).status is SessionStatus.OPEN


async def test_a_reopening_begins_the_days_anew(house: House) -> None:
    session, _, _ = await house.pair()
    await house.close(session)
    house.clock.step((DAYS - 1) * DAY_S)
    await house.reopen(session)
    await house.close(session)
    house.clock.step((DAYS - 1) * DAY_S)
    await house.sweeper.sweep()
    assert await is_there(house, session)


async def test_until_the_sweep_comes_a_session_is_wholly_there(house: House) -> None:
    """Its name is taken, it can be read and re-opened: deleting is one instant, whenever it is."""
    service = await house.service()
    session, ann, _ = await house.pair(service, unique_name="ours")
    await house.close(session)
    house.clock.step(2 * DAYS * DAY_S)
    with pytest.raises(Problem) as caught:
        await house.session(service, unique_name="ours")
    assert caught.value.code is problems.SESSION_NAME_TAKEN
    await house.reopen(session)
    await house.sweeper.sweep()
    assert (await house.hear(ann)).interaction_sid is not None


async def test_a_thousand_go_in_one_sweep(house: House) -> None:
    service = await house.service()
    sessions = await asyncio.gather(*(house.session(service) for _ in range(1100)))
    await asyncio.gather(*(house.close(session) for session in sessions[:1050]))
    house.clock.step(DAYS * DAY_S)
    await house.sweeper.sweep()
    assert await house.rows("SELECT status, count(*) FROM sessions GROUP BY status") == [("open", 50)]
    assert await house.one("SELECT count(*) FROM purges") == 0


@pytest.fixture
async def keeping(tmp_path: Any, clock: FakeClock) -> AsyncIterator[House]:
    async with opened(tmp_path, clock) as store:
        yield House(store, clock)


async def test_with_0_days_everything_is_kept(keeping: House) -> None:
    session, _, _ = await keeping.pair()
    await keeping.close(session)
    keeping.clock.step(100 * 365 * DAY_S)
    await keeping.sweeper.sweep()
    assert await is_there(keeping, session)


async def test_a_worker_keeps_to_the_days_by_itself(house: House) -> None:
    session, _, _ = await house.pair()
    await house.close(session)
    async with house.working():
        await house.pass_time(DAYS * DAY_S)
        await house.pass_time(5)
        assert not await is_there(house, session)


async def test_events_go_after_their_days_and_no_sooner(house: House) -> None:
    house.sweeper = Sweeper(house.store, house.clock, house.mint, event_retention_us=30 * DAY)
    for _ in range(2):
        await house.store.write(insert_event, house.mint.sid("NO"), ACCOUNT, problems.SESSION_EXPIRED)
        house.clock.step(15 * DAY_S)
    await house.sweeper.sweep()
    assert len(await house.events()) == 2
    house.clock.step(0.001)
    await house.sweeper.sweep()
    assert len(await house.events()) == 1


async def test_with_0_days_events_are_kept(house: House) -> None:
    await house.store.write(insert_event, house.mint.sid("NO"), ACCOUNT, problems.SESSION_EXPIRED)
    house.clock.step(100 * 365 * DAY_S)
    await house.sweeper.sweep()
    assert len(await house.events()) == 1
