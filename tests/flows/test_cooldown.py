"""A number that somebody has left cools down: for so long it is not given to the same person again by itself."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from maskline.domain import problems
from maskline.domain.assign import Refusal
from maskline.domain.model import SECOND, Instant, Mode, Participant, Service, Session
from maskline.domain.problems import Problem
from maskline.flows.sessions import choose
from maskline.store.engine import Tx
from maskline.store.numbers import find_number_by_sid
from maskline.store.participants import Outdated, add_participant
from maskline.store.services import load_service
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, House, person

ANN, BEN = person(1), person(2)
COOLING = '{"number_cooldown_s": 100}'


async def given(house: House, service: Service, who: str = ANN) -> str | None:
    """The number that somebody would be given now; None where each one is in use or cooling down."""
    wanted = house.wanted(who)

    def look(tx: Tx) -> str | None:
        chosen = choose(tx, load_service(tx, ACCOUNT, service.sid), Mode.VOICE_AND_MESSAGE, wanted)
        if isinstance(chosen, Refusal):
            assert chosen.code is problems.NO_UNUSED_PROXY
            return None
        number = find_number_by_sid(tx, chosen[0])
        return number and number.phone_number

    return await house.store.read(look)


async def refusal(house: House, session: Session) -> str:
    """What a create says that finds no number."""
    with pytest.raises(Problem) as caught:
        await house.add(session, ANN)
    assert caught.value.code is problems.NO_UNUSED_PROXY
    return caught.value.detail


async def close(house: House, session: Session, ann: Participant) -> Instant:
    await house.close(session)
    return house.clock.now()


async def delete(house: House, session: Session, ann: Participant) -> Instant:
    await house.delete(session)
    await house.sweeper.sweep()
    return house.clock.now()


async def close_and_delete(house: House, session: Session, ann: Participant) -> Instant:
    left_at = await close(house, session, ann)
    house.clock.advance(30)
    await delete(house, session, ann)
    return left_at


async def remove(house: House, session: Session, ann: Participant) -> Instant:
    await house.remove(ann)
    return house.clock.now()


async def remove_and_close(house: House, session: Session, ann: Participant) -> Instant:
    left_at = await remove(house, session, ann)
    house.clock.advance(30)
    await house.close(session)
    return left_at


Leave = Callable[[House, Session, Participant], Awaitable[Instant]]


@pytest.mark.parametrize("leave", [close, delete, close_and_delete, remove, remove_and_close])
async def test_who_leaves_a_number_does_not_get_it_again_for_so_long(
    house: House, clock: FakeClock, leave: Leave
) -> None:
    service = await house.service(1, settings=COOLING)
    session, other = await house.session(service), await house.session(service)
    ann = await house.add(session, ANN)
    clock.advance(500)
    left_at = await leave(house, session, ann)
    assert await refusal(house, other) == "+1…01 (1 cooling down)"
    assert await given(house, service, BEN) == ann.proxy_identifier
    clock.advance((left_at + 100 * SECOND - clock.now()) / SECOND - 0.001)
    assert await given(house, service) is None
    clock.advance(0.001)
    assert (await house.add(other, ANN)).proxy_identifier == ann.proxy_identifier


@pytest.mark.parametrize("swept", [False, True])
@pytest.mark.parametrize("limit", ["ttl", "expiry_at"])
async def test_a_session_that_ends_by_itself_is_left_at_its_limit(
    house: House, clock: FakeClock, limit: str, swept: bool
) -> None:
    """Whenever that is written down: by the sweep 40 s later, by the create that asks, or not before 100 s are over."""
    service = await house.service(1, settings=COOLING)
    fields: dict[str, Any] = (
        {"ttl": 60} if limit == "ttl" else {"expiry_at": Instant(clock.now() + 60 * SECOND)}
    )
    await house.session(service, ANN, **fields)
    clock.advance(100)
    if swept:
        await house.sweeper.sweep()
    assert await given(house, service) is None
    clock.advance(59.999)
    assert await refusal(house, await house.session(service)) == "+1…01 (1 cooling down)"
    clock.advance(0.001)
    assert await house.add(await house.session(service), ANN)


async def test_a_session_that_ended_long_ago_leaves_nothing_behind(house: House, clock: FakeClock) -> None:
    service = await house.service(1, settings=COOLING)
    await house.session(service, ANN, ttl=60)
    clock.advance(160)
    assert await house.add(await house.session(service), ANN)
    assert await house.rows("SELECT released FROM people") == [("{}",)]


async def test_another_number_is_given_meanwhile_though_the_old_one_is_sticky(house: House) -> None:
    service = await house.service(2, settings=COOLING)
    first = await house.session(service)
    ann = await house.add(first, ANN)
    await house.close(first)
    again = await house.add(await house.session(service), ANN)
    assert again.proxy_identifier != ann.proxy_identifier


async def test_a_refusal_says_that_numbers_cool_down(house: House) -> None:
    """Of a pool where all are taken it does not say so; where only cooling ones are left it does."""
    service = await house.service(2, settings=COOLING)
    first, second, third = [await house.session(service) for _ in range(3)]
    await house.add(first, ANN)
    await house.add(second, ANN)
    assert await refusal(house, third) == "+1…01"
    await house.close(first)
    assert await refusal(house, third) == "+1…01 (1 cooling down)"
    await house.close(second)
    assert await refusal(house, third) == "+1…01 (2 cooling down)"


async def test_a_cooling_number_may_be_asked_for_and_a_session_reopened(house: House) -> None:
    service = await house.service(1, settings=COOLING)
    session = await house.session(service)
    ann = await house.add(session, ANN)
    await house.close(session)
    other = await house.session(service)
    named = await house.add(other, ANN, ann.proxy_identifier)
    assert named.proxy_identifier == ann.proxy_identifier
    await house.remove(named)
    await house.reopen(session)
    assert await house.one("SELECT participants FROM numbers") == 1


async def test_leaving_again_begins_the_time_anew(house: House, clock: FakeClock) -> None:
    service = await house.service(1, settings=COOLING)
    session = await house.session(service)
    await house.add(session, ANN)
    for _ in range(2):
        await house.close(session)
        clock.advance(60)
        await house.reopen(session)
    await house.close(session)
    clock.advance(99)
    assert await given(house, service) is None
    clock.advance(1)
    assert await given(house, service) is not None


async def test_without_the_setting_nothing_is_kept_and_nothing_cools(house: House) -> None:
    service = await house.service(1)
    session = await house.session(service, ANN)
    await house.close(session)
    assert await house.rows("SELECT released FROM people") == [("{}",)]
    assert await given(house, service) is not None


async def test_the_setting_of_now_decides(house: House, clock: FakeClock) -> None:
    """What was left under one setting is judged by the one that is in force when somebody asks."""
    service = await house.service(1, settings=COOLING)
    await house.close(await house.session(service, ANN))

    async def set_to(settings: str) -> None:
        await house.store.write(
            lambda tx: tx.execute("UPDATE services SET settings = ?", (settings,)) and None
        )

    await set_to("{}")
    assert await given(house, service) is not None
    await set_to('{"number_cooldown_s": 200}')
    clock.advance(150)
    assert await given(house, service) is None
    clock.advance(50)
    assert await given(house, service) is not None


async def test_what_has_cooled_is_forgotten_when_something_is_left(house: House, clock: FakeClock) -> None:
    service = await house.service(3, settings=COOLING)
    left = []
    for _ in range(5):
        session = await house.session(service)
        left.append(((await house.add(session, ANN)).proxy_identifier, clock.now()))
        await house.close(session)
        clock.advance(60)
    assert json.loads(await house.one("SELECT released FROM people")) == dict(left[-2:])


async def test_a_list_that_was_ranked_before_somebody_left_is_looked_at_again(house: House) -> None:
    """Between ranking and writing the person was given that number and left it: it has to be ranked anew."""
    service = await house.service(1, settings=COOLING)
    ranked = [await house.one("SELECT sid FROM numbers")]
    ann = await house.add(await house.session(service), ANN)
    await house.remove(ann)
    again = await house.session(service)
    with pytest.raises(Outdated):
        await house.store.write(
            add_participant, again, house.ranked(again, ANN, ranked, cooldown_us=100 * SECOND), ACCOUNT
        )
    added = await house.store.write(add_participant, again, house.ranked(again, ANN, ranked), ACCOUNT)
    assert added.proxy_identifier == ann.proxy_identifier
