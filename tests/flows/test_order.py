"""Messages to one Participant are handed over in the order in which they were accepted (contract, promise 3)."""

import pytest

from tests.support.carrier import MISCONFIGURED, REJECTED, THROTTLED, UNCERTAIN, UNREACHABLE
from tests.support.house import VALIDITY_S, House


async def test_messages_are_handed_over_in_the_order_in_which_they_were_accepted(house: House) -> None:
    _, ann, _ = await house.pair()
    async with house.working():
        for i in range(20):
            await house.say(ann, f"{i}")
        await house.quiet()
    assert house.carrier.bodies(ann.identifier) == [f"{i}" for i in range(20)]
    assert await house.statuses() == ["sent"] * 20
    assert await house.outbox() == 0


async def test_messages_accepted_before_a_worker_is_there_keep_their_order(house: House) -> None:
    _, ann, _ = await house.pair()
    for i in range(20):
        await house.say(ann, f"{i}")
    async with house.working():
        await house.quiet()
    assert house.carrier.bodies(ann.identifier) == [f"{i}" for i in range(20)]


async def test_a_message_in_flight_holds_back_the_later_ones_to_that_participant(house: House) -> None:
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        for i in range(3):
            await house.say(ann, f"{i}")
        await house.quiet()
        assert house.carrier.bodies(ann.identifier) == ["0"]
        gate.release()
        await house.quiet()
        assert house.carrier.bodies(ann.identifier) == ["0", "1", "2"]


async def test_a_message_that_must_be_retried_holds_back_the_later_ones(house: House) -> None:
    """Message 1 is throttled twice; 2 and 3 wait for it, and all arrive in order."""
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, THROTTLED, THROTTLED)
    async with house.working():
        for i in (1, 2, 3):
            await house.say(ann, f"{i}")
        await house.quiet()
        assert house.carrier.bodies(ann.identifier) == ["1"]
        await house.pass_time(1)
        assert house.carrier.bodies(ann.identifier) == ["1", "1"]
        await house.pass_time(4)
        assert house.carrier.bodies(ann.identifier) == ["1", "1"]
        await house.pass_time(1)
    assert house.carrier.bodies(ann.identifier) == ["1", "1", "1", "2", "3"]
    assert await house.statuses() == ["sent"] * 3
    assert await house.events() == []


async def test_the_two_directions_do_not_wait_for_each_other(house: House) -> None:
    _, ann, ben = await house.pair()
    house.carrier.gate(ann.identifier)
    async with house.working() as worker:
        await house.say(ann, "to Ann")
        await house.say(ben, "to Ben")
        await house.hear(ann, body="Ann to Ben")
        await house.hear(ben, body="Ben to Ann")
        await house.quiet()
        assert house.carrier.bodies(ann.identifier) == ["to Ann"]
        assert house.carrier.bodies(ben.identifier) == ["to Ben", "Ann to Ben"]
        assert worker.is_running
        house.carrier.mend()
        await house.quiet()
    assert house.carrier.bodies(ann.identifier) == ["to Ann", "Ben to Ann"]


async def test_relayed_and_api_made_messages_to_one_participant_share_one_order(house: House) -> None:
    _, ann, ben = await house.pair()
    house.carrier.script(ann.identifier, UNREACHABLE)
    await house.say(ann, "1")
    await house.hear(ben, body="2")
    await house.say(ann, "3")
    await house.hear(ben, body="4")
    async with house.working():
        await house.pass_time(1)
    assert house.carrier.bodies(ann.identifier) == ["1", "1", "2", "3", "4"]


async def test_the_same_person_in_two_sessions_has_two_orders(house: House) -> None:
    """A retry in one Session holds back nothing in another, on the same handset or not."""
    service = await house.service(2)
    ann = "+12125550100"
    first = await house.add(await house.session(service), ann)
    second = await house.add(await house.session(service), ann)
    house.carrier.script(ann, THROTTLED)
    async with house.working():
        await house.say(first, "first")
        await house.quiet()
        await house.say(second, "second")
        await house.quiet()
        assert house.carrier.bodies(ann) == ["first", "second"]
        await house.pass_time(1)
    assert house.carrier.bodies(ann) == ["first", "second", "first"]


@pytest.mark.parametrize(
    ("step", "status"),
    [(REJECTED, "failed"), (UNCERTAIN, "delivery-unknown")],
    ids=["rejected", "unknown"],
)
async def test_a_message_that_is_over_releases_the_next_at_once(
    house: House, step: Exception, status: str
) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, step)
    for i in (1, 2, 3):
        await house.say(ann, f"{i}")
    async with house.working():
        await house.quiet()  # no time passes
        assert house.carrier.bodies(ann.identifier) == ["1", "2", "3"]
    assert await house.statuses() == [status, "sent", "sent"]


async def test_a_message_whose_validity_is_over_releases_the_next(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, *[THROTTLED] * 100)
    async with house.working():
        await house.say(ann, "1")
        await house.quiet()
        await house.pass_time(VALIDITY_S - 1)
        await house.say(ann, "2")
        house.carrier.mend()
        await house.pass_time(2)
        assert await house.statuses() == ["failed", "sent"]
    assert await house.events() == [49002]


async def test_a_hundred_messages_to_fifty_people_keep_each_persons_order_under_retries(house: House) -> None:
    service = await house.service(3)
    people = [person for _ in range(25) for person in (await house.pair(service))[1:]]
    for i, person in enumerate(people):
        house.carrier.script(
            person.identifier, *[[], [THROTTLED], [UNREACHABLE, REJECTED], [UNCERTAIN]][i % 4]
        )
    async with house.working():
        for number in range(4):
            for person in people:
                await house.say(person, f"{number}")
        await house.quiet()
        await house.pass_time(1)
        await house.pass_time(5)
    for person in people:
        heard = [int(body) for body in house.carrier.bodies(person.identifier)]
        assert heard == sorted(heard)
        assert set(heard) == {0, 1, 2, 3}
    assert await house.outbox() == 0


async def test_a_paused_account_keeps_the_order(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, MISCONFIGURED)
    async with house.working():
        for i in (1, 2, 3):
            await house.say(ann, f"{i}")
        await house.quiet()
        await house.pass_time(60)
    assert house.carrier.bodies(ann.identifier) == ["1", "1", "2", "3"]
