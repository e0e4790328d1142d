"""What a life of the server leaves to the next, and how it ends in peace."""

import asyncio
from dataclasses import replace

import pytest

from maskline.carriers.base import Accepted, CarrierError, Kind
from maskline.flows.messages import Messages
from maskline.store.engine import Tx
from maskline.store.record import Fate
from maskline.store.start import StartRequest, start_sends
from tests.support.carrier import THROTTLED, UNCERTAIN, ScriptedCarrier
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, VALIDITY_S, House, held_writer, locked_out, opened
from tests.support.until import turns, until

RESEND = '{"on_uncertain": "resend"}'


async def start_in_an_earlier_run(house: House, slots: int = 64) -> int:
    """As a server does that dies before it hands over: T2, and nothing after it."""
    request = StartRequest(
        run="RN-earlier",
        free={house.carrier.name: slots},
        event_sids=[house.mint.sid("NO") for _ in range(8)],
    )
    return len((await house.store.batch(start_sends, request)).started)


# After a restart


async def test_what_an_earlier_run_had_started_becomes_unknown_and_the_rest_goes_on(house: House) -> None:
    _, ann, ben = await house.pair()
    first, second = await house.say(ann, "1"), await house.say(ann, "2")
    third = await house.say(ben, "3")
    assert await start_in_an_earlier_run(house, slots=1) == 1
    async with house.working():
        await house.quiet()
    assert [await house.status(message) for message in (first, second, third)] == [
        "delivery-unknown",
        "sent",
        "sent",
    ]
    assert [message.body for message in house.carrier.sent] == ["2", "3"] or [
        message.body for message in house.carrier.sent
    ] == ["3", "2"]
    assert await house.events() == [49001]
    assert await house.outbox() == 0


async def test_at_most_what_was_in_flight_becomes_unknown(house: House) -> None:
    service = await house.service()
    people = [person for _ in range(50) for person in (await house.pair(service))[1:]]
    for person in people:
        await house.say(person)
    assert await start_in_an_earlier_run(house) == 64
    async with house.working():
        await house.quiet()
    statuses = await house.statuses()
    assert statuses.count("delivery-unknown") == 64
    assert statuses.count("sent") == 36


async def test_unstarted_messages_lose_nothing_by_a_restart(house: House) -> None:
    _, ann, _ = await house.pair()
    for i in range(5):
        await house.say(ann, f"{i}")
    async with house.working():
        await house.quiet()
    assert house.carrier.bodies(ann.identifier) == ["0", "1", "2", "3", "4"]
    assert await house.events() == []


async def test_a_chosen_resend_also_holds_after_a_restart(house: House) -> None:
    _, ann, _ = await house.pair(await house.service(settings=RESEND))
    await house.say(ann, "1")
    await house.say(ann, "2")
    await start_in_an_earlier_run(house)
    async with house.working():
        await house.pass_time(1)
    assert house.carrier.bodies(ann.identifier) == ["1", "2"]
    assert await house.events() == []


async def test_a_carrier_that_can_be_asked_is_asked_after_a_restart(house: House) -> None:
    _, ann, _ = await house.pair()
    message = await house.say(ann, "1")
    await start_in_an_earlier_run(house)
    house.carrier.able(look_up=True)
    house.carrier.answers(Accepted("theirs"))
    async with house.working():
        await house.quiet()
    assert len(house.carrier.asked) == 1
    assert house.carrier.sent == []
    assert await house.status(message) == "sent"


@pytest.mark.parametrize("look_up", [False, True])
async def test_a_carrier_that_takes_keys_gets_it_again_after_a_restart(house: House, look_up: bool) -> None:
    """Under its key a repeat is safe, whether or not the carrier could also be asked."""
    _, ann, _ = await house.pair()
    message = await house.say(ann, "1")
    await start_in_an_earlier_run(house)
    house.carrier.able(carrier_keys=True, look_up=look_up)
    async with house.working():
        await house.pass_time(1)
        await house.pass_time(5)
    assert house.carrier.bodies(ann.identifier) == ["1"]
    assert await house.status(message) == "sent"


async def test_a_started_message_of_a_carrier_that_is_gone_becomes_unknown(house: House) -> None:
    _, ann, _ = await house.pair()
    message = await house.say(ann)
    await start_in_an_earlier_run(house)
    house.messages.carriers = {"another": ScriptedCarrier("another")}
    async with house.working():
        await house.quiet()
    assert await house.status(message) == "delivery-unknown"


async def test_a_resend_that_nobody_can_carry_any_more_ends_as_unknown(house: House) -> None:
    """Its first hand-over may have been taken, so at the end of its validity it is not called failed."""
    _, ann, _ = await house.pair(await house.service(settings=RESEND))
    message = await house.say(ann)
    await start_in_an_earlier_run(house)
    house.messages.carriers = {"another": ScriptedCarrier("another")}
    async with house.working():
        await house.pass_time(VALIDITY_S + 5)
        await house.pass_time(10)
    assert await house.status(message) == "delivery-unknown"
    assert await house.events() == [49001]


async def test_what_was_to_be_asked_of_a_carrier_that_is_gone_ends_as_unknown(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.able(look_up=True)
    house.carrier.script(ann.identifier, UNCERTAIN)
    house.carrier.answers(*[CarrierError(Kind.UNREACHABLE)] * 100)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
    house.messages.carriers = {"another": ScriptedCarrier("another")}
    async with house.working():
        await house.pass_time(VALIDITY_S + 5)
        await house.pass_time(10)
    assert await house.status(message) == "delivery-unknown"
    assert await house.outbox() == 0


async def test_a_carrier_that_fails_while_it_is_asked_does_not_keep_the_server_from_starting(
    house: House,
) -> None:
    _, ann, _ = await house.pair()
    message = await house.say(ann)
    await start_in_an_earlier_run(house)
    house.carrier.able(look_up=True)
    house.carrier.answers(ValueError("nonsense"))
    async with house.working() as worker:
        assert worker.is_running
        await house.pass_time(5)
    assert await house.status(message) == "delivery-unknown"


# Before the wire


async def test_a_message_that_was_started_more_than_five_seconds_ago_is_given_back_and_not_sent(
    house: House,
) -> None:
    """A process that was frozen between T2 and the wire must not send what another may have judged meanwhile.

    T2 takes six seconds, and in the same commit the number leaves the pool: if the message was given back, the next T2
    sees that it may not be sent.
    """
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, THROTTLED)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        async with held_writer(house.store):
            house.clock.advance(1)
            await turns(50)
            house.clock.advance(6)
            leaving = asyncio.create_task(house.store.write(_leave_pool))
        await leaving
        await house.quiet()
    assert len(house.carrier.sent) == 1
    assert await house.status(message) == "failed"
    assert await house.events() == [80904]


def _leave_pool(tx: Tx) -> None:
    tx.execute("UPDATE numbers SET service_sid = NULL")


async def test_the_mark_decides_what_is_handed_over(house: House, clock: FakeClock) -> None:
    _, ann, _ = await house.pair()
    await house.say(ann)
    request = StartRequest(run="RN-this", free={house.carrier.name: 1}, event_sids=[])
    mark = clock.uptime()
    (row,) = (await house.store.batch(start_sends, request)).started
    clock.advance(5.001)
    outcome = await house.messages.hand_over(row, mark)
    assert outcome.fate is Fate.GIVEN_BACK
    assert house.carrier.sent == []
    await house.messages.record(outcome, "RN-this")
    # Given back, it is due at once, its attempt not counted.
    mark = clock.uptime()
    (again,) = (await house.store.batch(start_sends, request)).started
    assert again.attempts == row.attempts == 1
    clock.advance(4.999)
    assert (await house.messages.hand_over(again, mark)).fate is Fate.SENT


# Records


async def test_an_outcome_is_recorded_again_until_it_is_stored(house: House) -> None:
    """The carrier has answered; while the database cannot be written, the answer waits and the row stays started."""
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        message = await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        async with locked_out(house.store):
            gate.release()
            for _ in range(4):
                await turns(200)
                house.clock.advance(1)
            assert await house.status(message) == "queued"
            assert house.carrier.bodies(ann.identifier) == ["1"]
        await house.pass_time(1)
        await house.pass_time(1)
    assert await house.statuses() == ["sent", "sent"]
    assert house.carrier.bodies(ann.identifier) == ["1", "2"]


# The end


async def test_a_graceful_stop_waits_for_what_is_in_flight_and_starts_nothing_more(house: House) -> None:
    service = await house.service()
    (_, ann, _), (_, ben, _) = await house.pair(service), await house.pair(service)
    gate = house.carrier.gate(ann.identifier)
    worker = house.new_worker()
    await worker.start()
    await house.say(ann, "1")
    await house.say(ann, "2")
    await house.quiet()
    stopping = asyncio.create_task(worker.stop())
    await turns(50)
    assert not stopping.done()
    await house.say(ben, "too late")
    await house.quiet()
    gate.release()
    async with asyncio.timeout(10):
        await stopping
    assert [message.body for message in house.carrier.sent] == ["1"]
    assert await house.statuses() == ["sent", "queued", "queued"]
    assert not worker.is_running
    async with house.working():
        await house.quiet()
    assert await house.statuses() == ["sent"] * 3
    assert await house.events() == []


async def test_a_stop_while_messages_are_being_started_leaves_none_unknown(house: House) -> None:
    """T2 is under way when the stop comes: what it marks started is still handed over."""
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, THROTTLED)
    worker = house.new_worker()
    await worker.start()
    await house.say(ann)
    await house.quiet()
    async with held_writer(house.store):
        house.clock.advance(1)
        await turns(50)
        stopping = asyncio.create_task(worker.stop())
        await turns(50)
    async with asyncio.timeout(20):
        await stopping
    async with house.working():
        await house.quiet()
    assert await house.statuses() == ["sent"]
    assert len(house.carrier.sent) == 2
    assert await house.events() == []


async def test_a_server_that_was_stopped_leaves_nothing_started(tmp_path: object) -> None:
    """Stopped at any moment of a busy minute and started again: nothing is unknown, nothing is sent twice."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        house = House(store, clock)
        service = await house.service()
        people = [person for _ in range(5) for person in (await house.pair(service))[1:]]
        for moment in range(12):
            worker = house.new_worker(slots=3)
            await worker.start()
            sending = [asyncio.create_task(house.say(person, f"{moment}")) for person in people]
            await turns(moment * 7)
            await worker.stop()
            await asyncio.gather(*sending)
        async with house.working():
            await house.quiet()
        for person in people:
            assert house.carrier.bodies(person.identifier) == [f"{moment}" for moment in range(12)]
        assert await house.events() == []
        assert set(await house.statuses()) == {"sent"}


async def test_a_worker_reports_that_it_runs(house: House) -> None:
    worker = house.new_worker()
    assert not worker.is_running
    await worker.start()
    assert worker.is_running
    await worker.stop()
    assert not worker.is_running


async def test_without_carriers_nothing_is_waited_for(house: House) -> None:
    """A process that only accepts answers at once."""
    _, ann, _ = await house.pair()
    options = replace(house.options, wait_s=60)
    nobody = Messages(house.store, house.clock, house.mint, {}, options, house.relay)
    async with asyncio.timeout(30):
        made = await nobody.create(ACCOUNT, ann.service_sid, ann.session_sid, ann.sid, "hello", None)
    assert await house.status(made.interaction) == "queued"


async def test_a_defect_of_one_message_does_not_stop_the_worker(house: House) -> None:
    """A row that cannot be read as a message ends as unknown, and the others go on."""
    _, ann, ben = await house.pair()
    broken = await house.say(ann)
    await house.store.write(
        lambda tx: (
            tx.execute("UPDATE outbox SET payload = 'no JSON' WHERE recipient = ?", (ann.identifier,))
            and None
        )
    )
    await house.say(ben)
    async with house.working() as worker:
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
        assert worker.is_running
    assert await house.status(broken) == "delivery-unknown"
    assert house.carrier.bodies(ben.identifier) == ["hello there"]
