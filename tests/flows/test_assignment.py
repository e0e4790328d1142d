"""Many at once want a number: nobody gets one that is taken, and nobody is refused one that is free."""

import asyncio

import pytest

from maskline.domain import problems
from maskline.domain.model import Instant
from maskline.domain.problems import Problem
from maskline.flows.numbers import remove_number
from maskline.store.idempotency import Key, Replayed
from maskline.store.participants import Outdated, add_participant
from tests.support.house import ACCOUNT, House, person

ANN = person(1)


async def test_fifty_sessions_at_once_give_one_person_fifty_numbers(house: House) -> None:
    """Checklist 6: fifty concurrent creates of one Identifier with a pool of fifty."""
    service = await house.service(50)
    made = await asyncio.gather(*(house.session(service, ANN) for _ in range(50)))
    numbers = await house.rows("SELECT proxy_identifier FROM participants WHERE active = 1")
    assert len(made) == 50
    assert len(set(numbers)) == 50
    assert await house.rows("SELECT DISTINCT in_use, participants FROM numbers") == [(1, 1)]


async def test_with_one_number_too_few_exactly_one_of_fifty_is_refused(house: House) -> None:
    """Checklist 6: with a pool of forty-nine."""
    service = await house.service(49)
    made = await asyncio.gather(*(house.session(service, ANN) for _ in range(50)), return_exceptions=True)
    refused = [one for one in made if isinstance(one, Problem)]
    assert [one.code for one in refused] == [problems.NO_UNUSED_PROXY]
    assert len([one for one in made if not isinstance(one, BaseException)]) == 49
    assert await house.one("SELECT count(*) FROM sessions") == 49
    assert await house.one("SELECT count(*) FROM participants") == 49


async def test_fifty_participants_at_once_added_to_fifty_sessions_get_fifty_numbers(house: House) -> None:
    service = await house.service(50)
    sessions = [await house.session(service) for _ in range(50)]
    made = await asyncio.gather(*(house.add(session, ANN) for session in sessions))
    assert len({one.proxy_identifier for one in made}) == 50


async def test_one_person_added_twice_at_once_to_one_session_is_there_once(house: House) -> None:
    service = await house.service(3)
    session = await house.session(service)
    made = await asyncio.gather(*(house.add(session, ANN) for _ in range(5)), return_exceptions=True)
    codes = [one.code for one in made if isinstance(one, Problem)]
    assert codes == [problems.PARTICIPANT_ALREADY_IN_SESSION] * 4
    assert await house.one("SELECT count(*) FROM participants") == 1


async def test_a_list_that_others_used_up_is_found_out_after_all_that_is_wrong_with_the_session(
    house: House,
) -> None:
    """Where 80623 has its place in the order of checks: only then is it ranked anew, and for five seconds at most."""
    session, ann, _ = await house.pair()
    for who, code in (
        (ANN, problems.TOO_MANY_PARTICIPANTS),
        (ann.identifier, problems.PARTICIPANT_ALREADY_IN_SESSION),
    ):
        with pytest.raises(Problem) as caught:
            await house.store.write(add_participant, session, house.ranked(session, who, []), ACCOUNT)
        assert caught.value.code is code
    await house.remove(ann)
    with pytest.raises(Outdated):
        await house.store.write(add_participant, session, house.ranked(session, ANN, []), ACCOUNT)


async def test_of_many_at_once_two_get_into_a_session(house: House) -> None:
    session = await house.session(await house.service(3))
    made = await asyncio.gather(*(house.add(session) for _ in range(8)), return_exceptions=True)
    codes = [one.code for one in made if isinstance(one, Problem)]
    assert codes == [problems.TOO_MANY_PARTICIPANTS] * 6


async def test_a_number_leaves_the_pool_or_is_given_never_both(house: House) -> None:
    service = await house.service(2)
    sids = [row[0] for row in await house.rows("SELECT sid FROM numbers")]
    results = await asyncio.gather(
        *(house.session(service, person(i)) for i in range(2, 6)),
        *(remove_number(house.store, ACCOUNT, service.sid, sid) for sid in sids),
        *(house.session(service, person(i)) for i in range(6, 10)),
        return_exceptions=True,
    )
    for result in results:
        assert not isinstance(result, BaseException) or isinstance(result, Problem), result
    used = await house.rows("SELECT DISTINCT proxy_identifier FROM participants WHERE active = 1")
    pool = await house.rows("SELECT phone_number FROM numbers WHERE service_sid IS NOT NULL")
    assert set(used) <= set(pool)


async def test_a_create_is_all_or_nothing(house: House) -> None:
    """The second participant cannot be given a number: the Session and the first are not there either."""
    service = await house.service(1)
    other = await house.session(service)
    await house.add(other, ANN)
    with pytest.raises(Problem) as caught:
        await house.session(service, person(2), ANN, unique_name="ours")
    assert caught.value.code is problems.NO_UNUSED_PROXY
    assert await house.one("SELECT count(*) FROM sessions") == 1
    assert await house.one("SELECT count(*) FROM participants") == 1
    assert await house.rows("SELECT in_use, participants FROM numbers") == [(1, 1)]
    await house.session(service, unique_name="ours")


async def test_the_same_key_at_once_makes_one_session(house: House) -> None:
    service = await house.service(5)
    key = Key(service.sid, "k", "POST Sessions", "hash")
    made = await asyncio.gather(
        *(house.session(service, ANN, key=key) for _ in range(10)), return_exceptions=True
    )
    replayed = {one.resource_sid for one in made if isinstance(one, Replayed)}
    (first,) = [one for one in made if not isinstance(one, BaseException)]
    assert replayed == {first.sid}
    assert await house.one("SELECT count(*) FROM sessions") == 1
    assert await house.one("SELECT count(*) FROM participants") == 1


async def test_a_refused_create_leaves_its_key_unused(house: House) -> None:
    service = await house.service(0)
    key = Key(service.sid, "k", "POST Sessions", "hash")
    with pytest.raises(Problem) as caught:
        await house.session(service, ANN, key=key)
    assert caught.value.code is problems.EMPTY_POOL
    assert await house.one("SELECT count(*) FROM idempotency") == 0
    await house.number(service)
    assert (await house.session(service, ANN, key=key)).sid


async def test_a_sticky_person_gets_the_number_of_before(house: House) -> None:
    service = await house.service(5)
    session = await house.session(service)
    first = await house.add(session, ANN)
    await house.close(session)
    for i in range(2, 12):  # load elsewhere does not matter
        await house.session(service, person(i))
    again = await house.add(await house.session(service), ANN)
    assert again.proxy_identifier == first.proxy_identifier


@pytest.mark.parametrize("settings", ["{}", '{"prefer_unused": "on"}'])
async def test_a_session_past_its_limit_is_no_load_and_no_use(house: House, settings: str) -> None:
    """The sweep has not come by yet: its number counts as free of people all the same."""
    service = await house.service(2, settings=settings)
    first, second = [row[0] for row in await house.rows("SELECT phone_number FROM numbers ORDER BY sid")]
    ended = await house.session(service, ttl=60)
    for _ in range(2):
        await house.add(ended, proxy_identifier=second)
    await house.add(await house.session(service), proxy_identifier=first)
    house.clock.advance(60)
    assert (await house.add(await house.session(service))).proxy_identifier == second


async def test_a_deleted_participant_frees_the_pair_at_once_and_may_not_return(house: House) -> None:
    service = await house.service(1)
    session = await house.session(service)
    ann = await house.add(session, ANN)
    await house.remove(ann)
    with pytest.raises(Problem) as caught:
        await house.add(session, ANN)
    assert caught.value.code is problems.PARTICIPANT_WAS_DELETED
    assert (await house.add(await house.session(service), ANN)).proxy_identifier == ann.proxy_identifier
    with pytest.raises(Problem) as caught:
        await house.remove(ann)
    assert caught.value.code is problems.NOT_FOUND


async def test_dates_are_those_of_the_creation(house: House) -> None:
    session = await house.session(await house.service(), expiry_at=Instant(house.clock.now() + 5_000_000))
    ann = await house.add(session)
    assert ann.created_at == ann.updated_at == session.created_at == house.clock.now()
