"""What is deleted is gone at once, with all below it; the sweep takes the rows away; nothing else is touched."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from maskline.carriers.base import Report
from maskline.domain import problems
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import Interaction, Participant
from maskline.domain.problems import Problem
from maskline.flows.receipts import report
from maskline.flows.retention import STEP
from maskline.flows.services import remove_service
from maskline.flows.sessions import remove_interaction, remove_session
from maskline.store.purge import COST, purge_step
from tests.support.carrier import THROTTLED, UNCERTAIN
from tests.support.counted import Work, counted
from tests.support.house import ACCOUNT, House, person
from tests.support.tables import tables

DELIVERED = MessageStatus.DELIVERED
DAY_S = 24 * 3600

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


async def test_a_guarded_service_goes_once_its_last_session_has_ended(house: House) -> None:
    """Written down or not; and another Service's Sessions are not its own."""
    service, other = await house.service(1), await house.service(1)
    await house.pair(other)
    session, _, _ = await house.pair(service, ttl=60)
    await house.close((await house.pair(service))[0])

    async def delete() -> None:
        await house.store.write(lambda tx: remove_service(tx, ACCOUNT, service.sid, guarded=True))

    house.clock.advance(59)
    with pytest.raises(Problem) as caught:
        await delete()
    assert caught.value.code is problems.NOT_YET_COMPLETE
    assert (await house.fetch(session)).status == "open"
    house.clock.advance(1)
    await delete()
    assert (await rows_of(house, service.sid))["services"] == 0


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


async def delete_interaction(house: House, message: Interaction) -> None:
    arguments = (ACCOUNT, message.service_sid, message.session_sid, message.sid)
    await house.store.write(remove_interaction, *arguments)


async def delete_session(house: House, message: Interaction) -> None:
    await house.store.write(remove_session, ACCOUNT, message.service_sid, message.session_sid)


async def delete_service(house: House, message: Interaction) -> None:
    await house.store.write(remove_service, ACCOUNT, message.service_sid)


Delete = Callable[[House, Interaction], Awaitable[None]]
DELETES: list[Delete] = [delete_interaction, delete_session, delete_service]
BELOW = DELETES[1:]


@pytest.mark.parametrize("outcome", [None, UNCERTAIN], ids=["sent", "delivery-unknown"])
async def test_a_message_that_has_left_the_outbox_can_be_deleted(house: House, outcome: Any) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, outcome)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        assert await house.status(message) == ("sent" if outcome is None else "delivery-unknown")
        await delete_interaction(house, message)
    assert await house.one("SELECT count(*) FROM interactions") == 0


# Reports on what has been deleted


async def sent(house: House) -> tuple[Interaction, Participant]:
    _, ann, _ = await house.pair()
    message = await house.say(ann)
    await house.quiet()
    assert await house.status(message) == "sent"
    return message, ann


@pytest.mark.parametrize("swept", [False, True], ids=["at once", "swept"])
@pytest.mark.parametrize("delete", DELETES)
async def test_a_report_on_a_deleted_message_is_dropped(house: House, delete: Delete, swept: bool) -> None:
    """It waits for nothing, and nobody is told that it was not known."""
    async with house.working():
        message, ann = await sent(house)
        await delete(house, message)
        if swept:
            await house.sweeper.sweep()
        await house.report(message, DELIVERED, ann.proxy_identifier)
        if swept or delete is delete_interaction:
            assert await house.outbox() == 0
        await house.sweeper.sweep()
        for wait_s in (1, 5, DAY_S):
            await house.pass_time(wait_s)
        assert await house.outbox() == 0
    await house.sweeper.sweep()  # to its end: the worker's own may have been on its way
    assert await house.events() == []
    assert await house.one("SELECT count(*) FROM tombstones") == 0


@pytest.mark.parametrize("delete", BELOW)
async def test_a_report_on_a_message_that_was_in_flight_when_it_was_deleted_is_dropped(
    house: House, delete: Delete
) -> None:
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await delete(house, message)
        await house.sweeper.sweep()
        gate.release()
        await house.quiet()
        await house.report(message, DELIVERED, ann.proxy_identifier)
        assert await house.outbox() == 0


async def test_a_report_that_came_too_early_is_dropped_once_its_message_is_deleted(house: House) -> None:
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await house.report(message, DELIVERED, ann.proxy_identifier)
        await delete_session(house, message)
        await house.sweeper.sweep()
        gate.release()
        await house.quiet()
        await house.pass_time(5)
        assert await house.outbox() == 0
    assert await house.events() == []


async def test_a_tombstone_stops_no_other_report(house: House) -> None:
    async with house.working():
        message, ann = await sent(house)
        other = await house.say(ann)
        await house.quiet()
        await delete_interaction(house, message)
        assert await house.report(other, DELIVERED, ann.proxy_identifier)
        unknown = Report(house.carrier.name, ann.proxy_identifier, "never heard of", DELIVERED)
        assert not await report(house.store, house.mint, unknown)
        assert await house.outbox() == 1
        await house.pass_time(DAY_S)
        await house.pass_time(1)
    assert await house.events() == [80907]


async def test_history_leaves_no_tombstones(house: House) -> None:
    """Only what a carrier may still report on: not what was delivered days ago."""
    async with house.working():
        message, ann = await sent(house)
        await house.report(message, DELIVERED, ann.proxy_identifier)
        await house.pass_time(DAY_S)
        await delete_session(house, message)
        await house.sweeper.sweep()
    assert await house.one("SELECT count(*) FROM interactions") == 0
    assert await house.one("SELECT count(*) FROM tombstones") == 0


# Bodies


@pytest.mark.parametrize("delete", DELETES)
async def test_nothing_that_was_written_is_left_of_a_deleted_message(house: House, delete: Delete) -> None:
    """Neither the text nor, with the Service, anybody's number, in any table."""
    async with house.working():
        _, ann, ben = await house.pair()
        messages = [await house.say(ann, "a secret")]
        assert (await house.hear(ben, body="a secret")).interaction_sid is not None
        await house.quiet()
        assert await mentions(house, "a secret") == {"interactions"}
        if delete is delete_interaction:
            rows = await house.rows("SELECT sid FROM interactions WHERE inbound_resource_sid IS NOT NULL")
            await house.store.write(remove_interaction, ACCOUNT, ann.service_sid, ann.session_sid, rows[0][0])
        await delete(house, messages[0])
        await house.sweeper.sweep()
        assert await mentions(house, "a secret") == set()
        if delete is delete_service:
            assert await mentions(house, ann.identifier) == await mentions(house, ben.identifier) == set()


@pytest.mark.parametrize("delete", BELOW)
async def test_nothing_that_waited_to_be_sent_is_left(house: House, delete: Delete) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, THROTTLED)
    async with house.working():
        message = await house.say(ann, "a secret")
        await house.say(ann, "a secret")
        await house.quiet()
        assert await mentions(house, "a secret") == {"interactions", "outbox"}
        await delete(house, message)
        await house.sweeper.sweep()
        assert await mentions(house, "a secret") == set()
    assert len(house.carrier.sent) == 1


async def mentions(house: House, text: str) -> set[str]:
    """The tables with a row that holds this text."""
    return {name for name, rows in (await house.store.read(tables)).items() if text in rows}


# Short transactions


async def many_sessions(house: House, service_sid: str, count: int) -> None:
    """Not all at once: PostgreSQL may look meanwhile how many rows there are, and would find many pages of none."""
    now = house.clock.now()
    rows = [(service_sid, f"KC{i:032x}", now, now, now) for i in range(count)]
    insert = (
        "INSERT INTO sessions (service_sid, sid, status, mode, ttl, active_from_at, created_at, updated_at)"
        " VALUES (?, ?, 'open', 'voice-and-message', 0, ?, ?, ?)"
    )
    for start in range(0, count, 2000):
        some = rows[start : start + 2000]
        await house.store.write(lambda tx, some=some: tx.executemany(insert, some) and None)
    # As PostgreSQL does by itself before long: until then it may go by what was there in another test.
    await house.store.write(lambda tx: tx.execute("ANALYZE sessions") and None)


async def purge(house: House, most_steps: int = 10_000) -> list[Work]:
    """Take the sweep's steps and tell what each did."""
    steps = []
    for _ in range(most_steps):
        done, work = await counted(house, purge_step, STEP)
        steps.append(work)
        if done < STEP:
            break
    return steps


async def test_deleting_a_service_of_100_000_sessions_holds_nobody_up(house: House) -> None:
    service = await house.service(3)
    await many_sessions(house, service.sid, 100_000)
    _, work = await counted(house, remove_service, ACCOUNT, service.sid)
    assert work.statements <= 5
    assert work.written == 1 + 3 + 3 + 1  # itself, its numbers and their carriers, a note for the sweep
    for step in await purge(house, 20):
        assert step.statements <= STEP
        assert step.written <= 2 * STEP


async def test_each_step_below_a_service_is_small_and_all_of_them_take_all(house: House) -> None:
    service = await house.service()
    await many_sessions(house, service.sid, 700)
    async with house.working():
        session, ann, _ = await house.pair(service)
        for _ in range(5):
            await house.say(ann)
        await house.quiet()
    others = [
        (service.sid, session.sid, f"KI{i:032x}", ACCOUNT, f"scripted/{i}", house.clock.now())
        for i in range(1500)
    ]
    insert = (
        "INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, carrier_id,"
        " outbound_status, updated_at) VALUES (?, ?, ?, ?, 'message', '{}', ?, 40, ?)"
    )
    await house.store.write(lambda tx: tx.executemany(insert, others) and None)
    await house.store.write(remove_service, ACCOUNT, service.sid)
    for step in await purge(house):
        assert step.statements <= STEP + COST
        assert step.written <= 3 * STEP  # a removed row may leave a tombstone or a note for the sweep
    assert await rows_of(house, service.sid) == dict.fromkeys(TABLES, 0)
    assert await house.one("SELECT count(*) FROM purges") == 0
    assert await house.one("SELECT count(*) FROM tombstones") == 1505


async def test_a_session_that_thousands_were_in_is_deleted_in_a_few_rows(house: House) -> None:
    """Deleted participants and what waits for them go in steps; pairs, numbers and the name are free at once."""
    service = await house.service()
    session, ann, ben = await house.pair(service)
    house.carrier.script(ann.identifier, THROTTLED)
    async with house.working():
        for i in range(20):
            await house.say(ann, f"{i}")
        await house.quiet()
    copy = (
        "INSERT INTO participants SELECT service_sid, ?, session_sid, identifier, ?, friendly_name, proxy_identifier,"
        " proxy_identifier_sid, 0, created_at, created_at, updated_at FROM participants WHERE sid = ?"
    )
    rows = [(f"KP{i:032x}", f"+1213{i:07}", ben.sid) for i in range(3000)]
    await house.store.write(lambda tx: tx.executemany(copy, rows) and None)
    _, work = await counted(house, remove_session, ACCOUNT, service.sid, session.sid)
    assert work.statements <= 12
    assert work.written <= 6
    assert await house.rows("SELECT in_use, participants FROM numbers") == [(0, 0)]
    await house.add(await house.session(service), ann.identifier)
    for step in await purge(house):
        assert step.statements <= STEP
        assert step.written <= 2 * STEP
    assert await house.one("SELECT count(*) FROM participants") == 1
    assert await house.outbox() == 0
    assert len(house.carrier.sent) == 1
