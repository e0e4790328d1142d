"""The table of a Session's changes, to the second, and what each leaves written."""

from dataclasses import replace
from typing import Any

import pytest

from maskline.domain import problems
from maskline.domain.model import SECOND, Instant, Session, SessionStatus
from maskline.domain.problems import Code, Problem
from maskline.mint import Mint
from tests.support.clock import START, FakeClock
from tests.support.house import House

OPEN, IN_PROGRESS, CLOSED = SessionStatus.OPEN, SessionStatus.IN_PROGRESS, SessionStatus.CLOSED


def at(second: float) -> Instant:
    return Instant(START + int(second * SECOND))


async def bring_to(house: House, begin: SessionStatus) -> Session:
    """A Session in this status, ten seconds old."""
    session, ann, _ = await house.pair()
    if begin is IN_PROGRESS:
        await house.say(ann)
    if begin is CLOSED:
        await house.close(session)
    house.clock.step(10)
    return await house.fetch(session)


# (from, to): what is different afterwards, or the code of the refusal.
TABLE: dict[tuple[SessionStatus, SessionStatus], dict[str, Any] | Code] = {
    (OPEN, OPEN): {},
    (OPEN, IN_PROGRESS): {"status": IN_PROGRESS, "started_at": at(10), "updated_at": at(10)},
    (OPEN, CLOSED): {"status": CLOSED, "closed_reason": "api", "ended_at": at(10), "updated_at": at(10)},
    (IN_PROGRESS, OPEN): problems.SESSION_STATUS_INVALID,
    (IN_PROGRESS, IN_PROGRESS): {},
    (IN_PROGRESS, CLOSED): {
        "status": CLOSED,
        "closed_reason": "api",
        "ended_at": at(10),
        "updated_at": at(10),
    },
    (CLOSED, OPEN): problems.SESSION_STATUS_INVALID,
    (CLOSED, IN_PROGRESS): {
        "status": IN_PROGRESS,
        "closed_reason": None,
        "started_at": at(10),
        "ended_at": None,
        "active_from_at": at(10),
        "updated_at": at(10),
    },
    (CLOSED, CLOSED): {},
}


@pytest.mark.parametrize(("begin", "to"), TABLE)
async def test_each_row_of_the_table(house: House, begin: SessionStatus, to: SessionStatus) -> None:
    """Section 5.1: every pair of statuses, and every field that a change touches."""
    before = await bring_to(house, begin)
    expected = TABLE[begin, to]
    if isinstance(expected, Code):
        with pytest.raises(Problem) as caught:
            await house.update(before, to)
        assert caught.value.code is expected
        expected = {}
    else:
        assert await house.update(before, to) == replace(before, **expected)
    assert await house.fetch(before) == replace(before, **expected)
    busy = int((await house.fetch(before)).status is not CLOSED)
    assert await house.rows("SELECT in_use, participants FROM numbers") == [(busy, 2 * busy)]


def test_the_table_decides_every_pair() -> None:
    assert set(TABLE) == {(begin, to) for begin in SessionStatus for to in SessionStatus}


async def test_a_session_that_began_stays_begun_when_it_is_reopened(house: House) -> None:
    session = await bring_to(house, IN_PROGRESS)
    await house.close(session)
    assert (await house.reopen(session)).started_at == session.started_at == START


async def test_a_session_made_in_progress_has_begun(house: House) -> None:
    session = await house.session(await house.service(), status=IN_PROGRESS)
    assert (await house.fetch(session)).started_at == session.created_at


async def test_an_update_that_changes_nothing_writes_nothing(house: House) -> None:
    session = await house.session(await house.service(), ttl=600)
    house.clock.step(10)
    for status, changes in ((None, {}), (OPEN, {}), (None, {"ttl": 600}), (None, {"expiry_at": None})):
        assert await house.update(session, status, **changes) == session == await house.fetch(session)


# New limits


async def test_a_new_limit_counts_from_the_last_use(house: House) -> None:
    session, ann, _ = await house.pair(ttl=600)
    house.clock.step(100)
    await house.say(ann)
    house.clock.step(50)
    await house.update(session, ttl=60)
    house.clock.step(9)
    assert (await house.fetch(session)).status is IN_PROGRESS
    house.clock.step(1)
    assert (await house.fetch(session)).ended_at == at(160)


@pytest.mark.parametrize("change", ["a shorter ttl", "no date any more"])
async def test_a_session_whose_new_limit_has_passed_ends_with_the_update(house: House, change: str) -> None:
    """It was active until now, so it ended now, and the answer says so already."""
    session, ann, _ = await house.pair(
        ttl=10 if change == "no date any more" else 0, expiry_at=at(9000) if "date" in change else None
    )
    house.clock.step(100)
    changes: dict[str, Any] = {"expiry_at": None} if "date" in change else {"ttl": 99}
    ended = await house.update(session, **changes)
    assert (ended.status, ended.closed_reason) == (CLOSED, "ttl-expired")
    assert ended.ended_at == ended.updated_at == at(100)
    assert await house.fetch(session) == ended
    assert await house.rows("SELECT in_use, participants FROM numbers") == [(0, 0)]
    with pytest.raises(Problem) as caught:
        await house.say(ann)
    assert caught.value.code is problems.SESSION_CLOSED


@pytest.mark.parametrize("off_s", [-3600, 3600])
async def test_a_limit_is_by_the_clock_of_the_database(house: House, off_s: int) -> None:
    house.mint = Mint(FakeClock(START + off_s * SECOND))
    session = await house.session(await house.service(), status=IN_PROGRESS, ttl=600)
    assert (session.active_from_at, session.started_at) == (START, START)
    house.clock.step(599)
    assert (await house.fetch(session)).status is IN_PROGRESS
    house.clock.step(1)
    assert (await house.fetch(session)).ended_at == at(600)


@pytest.mark.parametrize("off_s", [-3600, 3600])
async def test_a_date_has_passed_by_the_clock_of_the_database(house: House, off_s: int) -> None:
    house.mint = Mint(FakeClock(START + off_s * SECOND))
    service = await house.service()
    with pytest.raises(Problem):
        await house.session(service, expiry_at=at(-60))
    await house.session(service, expiry_at=at(60))


async def test_a_date_wins_over_a_ttl_however_it_is_used(house: House) -> None:
    """Section 5.2: longer or shorter than the Ttl, and no interaction moves it."""
    for expiry_s, ttl in ((60, 600), (600, 60)):
        began = house.clock.now()
        session, ann, _ = await house.pair(ttl=ttl, expiry_at=Instant(began + expiry_s * SECOND))
        house.clock.step(expiry_s - 1)
        await house.say(ann)
        house.clock.step(1)
        seen = await house.fetch(session)
        assert (seen.status, seen.closed_reason) == (CLOSED, "date-expiry")
        assert seen.ended_at == began + expiry_s * SECOND


async def test_a_message_that_is_refused_restarts_nothing(house: House) -> None:
    """Section 5.2: only what passes is an interaction."""
    session, ann, ben = await house.pair(ttl=60)
    await house.remove(ben)
    house.clock.step(59)
    assert (await house.hear(ann)).interaction_sid is None  # it has no partner
    house.clock.step(1)
    seen = await house.fetch(session)
    assert (seen.closed_reason, seen.last_interaction_at, seen.started_at) == ("ttl-expired", None, None)


@pytest.mark.parametrize("new", [{}, {"ttl": 30}, {"expiry_at": at(500)}], ids=str)
async def test_a_reopening_after_expiry_begins_anew(house: House, new: dict[str, Any]) -> None:
    """The past date is cleared unless another comes along, and the Ttl counts from the re-opening."""
    session, _, _ = await house.pair(ttl=60, expiry_at=at(100))
    house.clock.step(200)
    opened = await house.update(session, IN_PROGRESS, **new)
    assert opened.expiry_at == new.get("expiry_at")
    assert (opened.status, opened.closed_reason, opened.ended_at) == (IN_PROGRESS, None, None)
    lasts_s = 300 if "expiry_at" in new else new.get("ttl", 60)
    house.clock.step(lasts_s - 0.000001)
    assert (await house.fetch(session)).status is IN_PROGRESS
    house.clock.step(0.000001)
    assert (await house.fetch(session)).ended_at == at(200 + lasts_s)


@pytest.mark.parametrize("status", [None, IN_PROGRESS, CLOSED])
async def test_a_date_that_has_passed_is_refused(house: House, status: SessionStatus | None) -> None:
    session, _, _ = await house.pair()
    house.clock.step(10)
    for second in (9, 10):
        with pytest.raises(Problem) as caught:
            await house.update(session, status, expiry_at=at(second))
        assert caught.value.code is problems.PARAMETER_INVALID
    assert await house.fetch(session) == session


async def test_a_name_stays_taken_until_its_session_is_deleted(house: House) -> None:
    """Section 5.3: closed ones, those that ended by themselves and those re-opened keep theirs."""
    service = await house.service()
    session = await house.session(service, unique_name="ours", ttl=60)

    async def check_taken() -> None:
        with pytest.raises(Problem) as caught:
            await house.session(service, unique_name="ours")
        assert caught.value.code is problems.SESSION_NAME_TAKEN

    await check_taken()
    house.clock.step(60)
    await check_taken()
    await house.sweeper.sweep()
    await check_taken()
    await house.reopen(session)
    await house.close(session)
    await check_taken()
    await house.session(await house.service(), unique_name="ours")  # another Service's names are its own
    await house.session(service, unique_name="Ours")  # and letters count
    await house.delete(session)
    await house.session(service, unique_name="ours")
