"""A Session past its limit is closed from that instant for every reader and every writer, swept or not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from maskline.domain import problems
from maskline.domain.model import (
    DAY,
    SECOND,
    Instant,
    NumberKind,
    Participant,
    ProxyNumber,
    Service,
    Session,
    SessionStatus,
)
from maskline.domain.problems import Code, Problem
from maskline.flows.numbers import change_number, remove_number
from maskline.store.engine import Tx
from maskline.store.numbers import list_pool, load_pool_number
from maskline.store.pages import Seek
from maskline.store.participants import list_participants
from maskline.store.session_ends import as_of_now
from maskline.store.sessions import list_sessions, load_session_by_name
from maskline.store.sqlite import SqliteStore
from tests.support.clock import START, FakeClock
from tests.support.house import ACCOUNT, House, opened, person

ANN = person(1)
LIMIT_S = 60


class World:
    """Ann and Ben in a Session that has just ended by itself; nobody has written that down."""

    def __init__(
        self, house: House, service: Service, session: Session, ann: Participant, ben: Participant
    ) -> None:
        self.house, self.service, self.session, self.ann, self.ben = house, service, session, ann, ben

    async def is_written_down(self) -> bool:
        return await self.house.one("SELECT status FROM sessions WHERE sid = ?", self.session.sid) == "closed"

    async def number(self) -> ProxyNumber:
        def load(tx: Tx) -> ProxyNumber:
            return as_of_now(
                tx, [load_pool_number(tx, self.service.sid, self.ann.proxy_identifier_sid or "")]
            )[0]

        return await self.house.store.read(load)


LIMITS: dict[str, dict[str, Any]] = {
    "ttl": {"ttl": LIMIT_S},
    "date": {"expiry_at": Instant(START + LIMIT_S * SECOND), "ttl": 3600},
}


@pytest.fixture(params=LIMITS)
async def world(request: pytest.FixtureRequest, house: House) -> World:
    service = await house.service()
    session = await house.session(service, unique_name="ours", **LIMITS[request.param])
    world = World(house, service, session, await house.add(session, ANN), await house.add(session))
    house.clock.advance(LIMIT_S)
    assert not await world.is_written_down()
    return world


async def check_refused(code: Code, act: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(Problem) as caught:
        await act()
    assert caught.value.code is code


# Readers


async def test_until_the_last_microsecond_it_is_active(house: House) -> None:
    session, ann, _ = await house.pair(ttl=LIMIT_S)
    house.clock.step(LIMIT_S - 0.000001)
    assert (await house.fetch(session)).status is SessionStatus.OPEN
    await house.hear(ann)
    assert (await house.fetch(session)).status is SessionStatus.IN_PROGRESS
    house.clock.step(LIMIT_S)
    assert (await house.fetch(session)).status is SessionStatus.CLOSED


async def test_fetch_sees_it_closed_at_its_limit(world: World) -> None:
    world.house.clock.advance(1000)
    seen = await world.house.fetch(world.session)
    assert seen.status is SessionStatus.CLOSED
    assert seen.ended_at == seen.updated_at == START + LIMIT_S * SECOND
    assert seen.closed_reason in ("ttl-expired", "date-expiry")


async def test_fetch_by_name_sees_it_closed(world: World) -> None:
    seen = await world.house.store.read(load_session_by_name, world.service.sid, "ours")
    assert seen.status is SessionStatus.CLOSED


async def test_the_list_sees_it_closed(world: World) -> None:
    page = await world.house.store.read(list_sessions, world.service.sid, Seek(50))
    assert [row.status for row in page.rows] == [SessionStatus.CLOSED]


async def test_its_participants_stay(world: World) -> None:
    page = await world.house.store.read(list_participants, world.service.sid, world.session.sid, Seek(50))
    assert {row.sid for row in page.rows} == {world.ann.sid, world.ben.sid}
    assert all(row.deleted_at is None for row in page.rows)


async def test_its_number_counts_it_no_more(world: World) -> None:
    number = await world.number()
    assert (number.in_use, number.participants) == (0, 0)
    page = await world.house.store.read(list_pool, world.service.sid, NumberKind.PHONE, Seek(50))
    (listed,) = await world.house.store.read(as_of_now, page.rows)
    assert listed.in_use == 0


# Writers


async def test_a_message_from_the_api_is_refused(world: World) -> None:
    await check_refused(problems.SESSION_CLOSED, lambda: world.house.say(world.ann))
    assert await world.house.one("SELECT count(*) FROM interactions") == 0


async def test_a_message_from_a_participant_is_out_of_session(world: World) -> None:
    assert (await world.house.hear(world.ann)).interaction_sid is None
    assert await world.house.events() == [80904]
    assert (await world.house.fetch(world.session)).last_interaction_at is None


async def test_an_update_is_refused(world: World) -> None:
    await check_refused(problems.SESSION_CLOSED, lambda: world.house.update(world.session, ttl=3600))


async def test_it_cannot_be_opened_by_way_of_in_progress_to_open(world: World) -> None:
    await check_refused(
        problems.SESSION_STATUS_INVALID, lambda: world.house.update(world.session, SessionStatus.OPEN)
    )


async def test_closing_it_changes_nothing_of_how_it_ended(world: World) -> None:
    before = await world.house.fetch(world.session)
    after = await world.house.close(world.session)
    assert after == before == await world.house.fetch(world.session)


async def test_it_can_be_reopened_and_counts_again(world: World) -> None:
    opened_again = await world.house.reopen(world.session)
    assert opened_again.status is SessionStatus.IN_PROGRESS
    assert opened_again.expiry_at is None
    assert (await world.house.fetch(world.session)).status is SessionStatus.IN_PROGRESS
    number = await world.number()
    assert (number.in_use, number.participants) == (1, 2)
    assert (await world.house.hear(world.ann)).interaction_sid is not None


async def test_it_cannot_be_reopened_once_its_pair_is_taken(world: World) -> None:
    await world.house.add(await world.house.session(world.service), ANN)
    await check_refused(problems.PAIR_IN_USE, lambda: world.house.reopen(world.session))


async def test_a_reopening_takes_over_pairs_of_other_sessions_that_have_ended(world: World) -> None:
    """The other has ended too, and nobody has written it down either."""
    other = await world.house.session(world.service, ttl=10)
    await world.house.add(other, ANN)
    world.house.clock.advance(10)
    assert (await world.house.reopen(world.session)).status is SessionStatus.IN_PROGRESS
    assert (await world.house.fetch(other)).status is SessionStatus.CLOSED
    number = await world.number()
    assert (number.in_use, number.participants) == (1, 2)


async def test_no_participant_can_be_added(world: World) -> None:
    await world.house.store.write(
        lambda tx: tx.execute("DELETE FROM participants WHERE sid = ?", (world.ben.sid,)) and None
    )
    await check_refused(problems.SESSION_CLOSED, lambda: world.house.add(world.session))


async def test_its_pair_is_assigned_again(world: World) -> None:
    """The pool has one number: only an ended Session lets Ann have it again."""
    again = await world.house.add(await world.house.session(world.service), ANN)
    assert again.proxy_identifier == world.ann.proxy_identifier
    assert (await world.house.hear(again)).interaction_sid is None  # no partner yet, but it routes
    assert await world.house.events() == [80614]
    number = await world.number()
    assert (number.in_use, number.participants) == (1, 1)


async def test_its_pair_is_assigned_again_when_asked_for_by_number(world: World) -> None:
    session = await world.house.session(world.service)
    again = await world.house.add(session, ANN, world.ann.proxy_identifier)
    assert again.proxy_identifier == world.ann.proxy_identifier


async def test_its_pair_is_assigned_again_in_a_create_with_participants(world: World) -> None:
    session = await world.house.session(world.service, ANN, person(77))
    assert (await world.house.fetch(session)).status is SessionStatus.OPEN
    number = await world.number()
    assert (number.in_use, number.participants) == (1, 2)


async def test_its_number_can_leave_the_pool(world: World) -> None:
    sid = world.ann.proxy_identifier_sid or ""
    await remove_number(world.house.store, ACCOUNT, world.service.sid, sid)
    assert await world.house.rows("SELECT service_sid, in_use, participants FROM numbers") == [(None, 0, 0)]
    assert await world.is_written_down()


async def test_an_answer_about_its_number_counts_it_no_more(world: World) -> None:
    sid = world.ann.proxy_identifier_sid or ""
    number = await world.house.store.write(change_number, ACCOUNT, world.service.sid, sid, True, "NO")
    assert number.is_reserved
    assert (number.in_use, number.participants) == (0, 0)


async def test_a_participant_that_is_deleted_afterwards_is_counted_once(world: World) -> None:
    await world.house.remove(world.ann)
    number = await world.number()
    assert (number.in_use, number.participants) == (0, 0)
    assert await world.house.rows("SELECT in_use, participants FROM numbers") == [(0, 0)]


async def test_deleting_it_counts_it_once(world: World) -> None:
    await world.house.delete(world.session)
    assert await world.house.rows("SELECT in_use, participants FROM numbers") == [(0, 0)]


@pytest.mark.parametrize("how", ["closed", "closed and swept", "expired"])
async def test_a_session_that_has_ended_is_counted_out_once_when_it_is_deleted(
    house: House, how: str
) -> None:
    service = await house.service()
    session, _, _ = await house.pair(service, ttl=LIMIT_S)
    if how == "expired":
        house.clock.advance(LIMIT_S)
    else:
        await house.close(session)
    if how == "closed and swept":
        await house.sweeper.sweep()
    await house.delete(session)
    await house.sweeper.sweep()
    assert await house.rows("SELECT in_use, participants FROM numbers") == [(0, 0)]
    assert await house.one("SELECT count(*) FROM participants") == 0


# The sweep


async def test_the_sweep_writes_down_what_everybody_saw(world: World) -> None:
    before = await world.house.fetch(world.session)
    world.house.clock.advance(100)
    await world.house.sweeper.sweep()
    assert await world.is_written_down()
    assert await world.house.fetch(world.session) == before
    assert await world.house.rows("SELECT in_use, participants FROM numbers") == [(0, 0)]
    await world.house.sweeper.sweep()
    assert await world.house.rows("SELECT in_use, participants FROM numbers") == [(0, 0)]


async def test_the_sweep_leaves_alone_what_was_used_meanwhile(house: House) -> None:
    session, ann, _ = await house.pair(ttl=LIMIT_S)
    for _ in range(3):
        house.clock.advance(LIMIT_S - 1)
        await house.say(ann)
        await house.sweeper.sweep()
        assert (await house.fetch(session)).status is SessionStatus.IN_PROGRESS
    house.clock.advance(LIMIT_S)
    await house.sweeper.sweep()
    assert await house.one("SELECT status FROM sessions") == "closed"


async def test_a_worker_sweeps_by_itself(house: House) -> None:
    await house.pair(ttl=LIMIT_S)
    async with house.working():
        await house.pass_time(LIMIT_S)
        for _ in range(
            5
        ):  # the sweeper of a cluster is found first, and its pause begins when a pass is over
            await house.pass_time(5)
        assert await house.one("SELECT status FROM sessions") == "closed"


async def test_a_thousand_sessions_that_end_at_once_are_all_swept(house: House) -> None:
    service = await house.service()
    await asyncio.gather(*(house.session(service, ttl=LIMIT_S) for _ in range(1100)))
    house.clock.advance(LIMIT_S)
    await house.sweeper.sweep()
    assert await house.rows("SELECT DISTINCT status FROM sessions") == [("closed",)]


# Idle Sessions


async def test_an_idle_session_is_closed_by_the_operators_limit(tmp_path: Any, clock: FakeClock) -> None:
    async with opened(tmp_path, clock, idle_close_us=90 * DAY) as store:
        house = House(store, clock)
        session, ann, _ = await house.pair()
        clock.advance(89 * 86400)
        await house.say(ann)
        clock.advance(89 * 86400)
        assert (await house.fetch(session)).status is SessionStatus.IN_PROGRESS
        clock.advance(86400)
        seen = await house.fetch(session)
        assert (seen.status, seen.closed_reason) == (SessionStatus.CLOSED, "idle")
        await check_refused(problems.SESSION_CLOSED, lambda: house.say(ann))
        await house.sweeper.sweep()
        assert await house.one("SELECT status FROM sessions") == "closed"


@pytest.mark.parametrize("before_days", [0, 90])
async def test_a_shorter_limit_holds_for_sessions_that_were_made_under_a_longer_one(
    tmp_path: Any, clock: FakeClock, before_days: int
) -> None:
    """The operator changes the setting and restarts: counters, removal and sweep see what readers see."""
    async with opened(tmp_path, clock, idle_close_us=before_days * DAY) as store:
        house = House(store, clock)
        service = await house.service()
        session, ann, _ = await house.pair(service)
    clock.advance(3 * 86400)
    async with opened(tmp_path, clock, idle_close_us=DAY) as store:
        house = House(store, clock)
        world = World(house, service, session, ann, ann)
        assert (await house.fetch(session)).status is SessionStatus.CLOSED
        assert (await world.number()).in_use == 0
        await house.sweeper.sweep()
        assert await world.is_written_down()
        await remove_number(store, ACCOUNT, service.sid, ann.proxy_identifier_sid or "")


async def test_without_limits_a_session_lives_for_ever(
    store: SqliteStore, house: House, clock: FakeClock
) -> None:
    session, _, _ = await house.pair()
    clock.advance(100 * 365 * 86400)
    await house.sweeper.sweep()
    assert (await house.fetch(session)).status is SessionStatus.OPEN
