"""What is deleted is gone at once, with all below it; the sweep takes the rows away; nothing else is touched."""

import asyncio

import pytest

from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.flows.services import remove_service
from maskline.flows.sessions import remove_interaction
from tests.support.carrier import THROTTLED
from tests.support.house import ACCOUNT, House, person

TABLES = {
    "sessions": "SELECT count(*) FROM sessions WHERE service_sid = ?",
    "participants": "SELECT count(*) FROM participants WHERE service_sid = ?",
    "people": "SELECT count(*) FROM people WHERE service_sid = ?",
    "interactions": "SELECT count(*) FROM interactions WHERE service_sid = ?",
    "outbox": "SELECT count(*) FROM outbox WHERE service_sid = ?",
    "numbers": "SELECT count(*) FROM numbers WHERE service_sid = ?",
    "services": "SELECT count(*) FROM services WHERE sid = ?",
}


async def rows_of(house: House, service_sid: str) -> dict[str, int]:
    return {name: await house.one(sql, service_sid) for name, sql in TABLES.items()}


async def test_a_deleted_service_takes_all_below_it_along_and_nothing_else(house: House) -> None:
    gone, stays = await house.service(2, unique_name="ours"), await house.service(2)
    for service in (gone, stays):
        for _ in range(3):
            _, ann, ben = await house.pair(service)
            for i in range(5):
                await house.say(ann, f"{i}")
                await house.hear(ben, body=f"{i}")
    before = await rows_of(house, stays.sid)
    await house.store.write(remove_service, ACCOUNT, gone.sid)
    # At once: its name and its numbers are free, and it cannot be reached.
    assert (await rows_of(house, gone.sid))["services"] == 0
    await house.service(0, unique_name="ours")
    assert (
        await house.rows("SELECT in_use, participants FROM numbers WHERE service_sid IS NULL") == [(0, 0)] * 2
    )
    with pytest.raises(Problem) as caught:
        await house.session(gone)
    assert caught.value.code is problems.NOT_FOUND
    async with house.working():
        await house.pass_time(5)
        await house.pass_time(5)
    assert await rows_of(house, gone.sid) == dict.fromkeys(TABLES, 0)
    assert await rows_of(house, stays.sid) == {**before, "outbox": 0}
    assert len(house.carrier.sent) == 30
    assert await house.one("SELECT count(*) FROM purges") == 0


async def test_a_service_with_thousands_of_rows_is_taken_away_in_steps(house: House) -> None:
    service = await house.service()
    session, ann, _ = await house.pair(service)
    rows = [
        (service.sid, session.sid, f"KI{i:032x}", ACCOUNT, "message", "{}", ann.sid, house.clock.now())
        for i in range(3000)
    ]
    insert = (
        "INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, participant_sid,"
        " updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    )
    await house.store.write(lambda tx: tx.executemany(insert, rows) and None)
    await asyncio.gather(*(house.session(service) for _ in range(600)))
    await house.store.write(remove_service, ACCOUNT, service.sid)
    await house.sweeper.sweep()
    assert await rows_of(house, service.sid) == dict.fromkeys(TABLES, 0)


async def test_a_deleted_session_is_gone_at_once_and_its_name_and_numbers_are_free(house: House) -> None:
    service = await house.service()
    session = await house.session(service, unique_name="ours")
    await house.add(session, person(1))
    await house.delete(session)
    with pytest.raises(Problem) as caught:
        await house.fetch(session)
    assert caught.value.code is problems.NOT_FOUND
    with pytest.raises(Problem):
        await house.delete(session)
    again = await house.session(service, person(1), unique_name="ours")
    assert await house.rows("SELECT in_use, participants FROM numbers") == [(1, 1)]
    await house.sweeper.sweep()
    assert (await house.fetch(again)).sid == again.sid
    assert await house.one("SELECT count(*) FROM participants") == 1


async def test_a_message_in_flight_outlives_its_session_in_peace(house: House) -> None:
    session, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working() as worker:
        await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        await house.delete(session)
        await house.pass_time(5)
        gate.release()
        await house.quiet()
        assert worker.is_running
    assert house.carrier.bodies(ann.identifier) == ["1"]
    assert await house.outbox() == 0
    assert await house.one("SELECT count(*) FROM interactions") == 0


async def test_a_message_that_is_not_over_cannot_be_deleted(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, THROTTLED)
    arguments = (ACCOUNT, ann.service_sid, ann.session_sid)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        with pytest.raises(Problem) as caught:
            await house.store.write(remove_interaction, *arguments, message.sid)
        assert caught.value.code is problems.NOT_YET_COMPLETE
        await house.pass_time(1)
        await house.store.write(remove_interaction, *arguments, message.sid)
    assert await house.one("SELECT count(*) FROM interactions") == 0
    with pytest.raises(Problem) as caught:
        await house.store.write(remove_interaction, *arguments, message.sid)
    assert caught.value.code is problems.NOT_FOUND


@pytest.mark.parametrize("looked_at", [False, True], ids=["fresh", "held"])
async def test_a_message_that_waits_to_be_sent_cannot_be_deleted(house: House, looked_at: bool) -> None:
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    arguments = (ACCOUNT, ann.service_sid, ann.session_sid)
    if not looked_at:
        message = await house.say(ann)
        with pytest.raises(Problem) as caught:
            await house.store.write(remove_interaction, *arguments, message.sid)
        assert caught.value.code is problems.NOT_YET_COMPLETE
        return
    async with house.working():
        await house.say(ann)
        message = await house.say(ann)
        await house.quiet()
        with pytest.raises(Problem) as caught:
            await house.store.write(remove_interaction, *arguments, message.sid)
        assert caught.value.code is problems.NOT_YET_COMPLETE
        gate.release()
