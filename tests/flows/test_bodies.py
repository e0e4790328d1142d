"""`store_bodies`: what people wrote stays in the database always, until their message is over, or never."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from maskline.carriers.base import CarrierError
from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import Interaction, Participant
from maskline.store.dead_letters import find_dead, send_again
from maskline.store.interactions import load_interaction
from tests.support.carrier import REJECTED, UNCERTAIN
from tests.support.house import VALIDITY_S, House
from tests.support.receiver import Receiver, receiving
from tests.support.tables import everything
from tests.support.until import until

SECRET = "meet me at the usual place"
NEVER, UNTIL_FINAL = '{"store_bodies": "never"}', '{"store_bodies": "until-final"}'
HOUR, DAY = 3600, 86_400
FINAL = (MessageStatus.FAILED, MessageStatus.UNDELIVERED, MessageStatus.DELIVERED)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def kept(house: House) -> bool:
    """Whether the text stands anywhere in the database."""
    return SECRET in await house.store.read(everything)


def bodies(receiver: Receiver) -> list[str]:
    return [json.loads(post.form["interactionData"])["body"] for post in receiver.posts]


async def send(house: House, to: Participant) -> Interaction:
    """A message that its carrier has taken."""
    message = await house.say(to, SECRET)
    await house.quiet()
    return message


async def test_a_service_keeps_them_as_long_as_the_message_unless_it_says_otherwise(house: House) -> None:
    _, ann, _ = await house.pair()
    async with house.working():
        message = await send(house, ann)
        await house.report(message, MessageStatus.DELIVERED, ann.proxy_identifier)
    assert json.loads(message.data) == {"body": SECRET}
    assert await kept(house)
    assert await house.rows("SELECT * FROM passing_bodies") == []


async def test_one_that_is_never_kept_reaches_its_handset_and_no_table(house: House) -> None:
    _, ann, ben = await house.pair(await house.service(settings=NEVER))
    message = await house.say(ann, SECRET)
    await house.hear(ann, body=SECRET)
    assert message.data == NO_BODY
    assert await house.rows("SELECT DISTINCT data FROM interactions") == [(NO_BODY,)]
    async with house.working():
        await house.quiet()
    sent = [(one.to, one.body) for one in house.carrier.sent]
    assert sorted(sent) == sorted([(ann.identifier, SECRET), (ben.identifier, SECRET)])
    assert not await kept(house)


async def test_of_one_that_is_never_kept_the_callbacks_hold_none(house: House, receiver: Receiver) -> None:
    _, ann, _ = await house.pair(await house.service(settings=NEVER, callback_url=receiver.url))
    async with house.working():
        await send(house, ann)
        await until(lambda: len(receiver.posts) == 2)
    assert bodies(receiver) == ["", ""]


@pytest.mark.parametrize("final", FINAL, ids=lambda status: status.word)
async def test_until_the_end_of_the_message_and_no_longer(house: House, final: MessageStatus) -> None:
    _, ann, ben = await house.pair(await house.service(settings=UNTIL_FINAL))
    async with house.working():
        message = await send(house, ann)
        assert await house.status(message) == "sent"
        assert await kept(house)
        await house.report(message, final, ann.proxy_identifier)
        assert not await kept(house)
        received = await house.hear(ann, body=SECRET)
        await house.quiet()
        assert await kept(house)
        relay = await house.store.read(
            load_interaction, ann.service_sid, ann.session_sid, received.interaction_sid or ""
        )
        await house.report(relay, final, ben.proxy_identifier)
    assert not await kept(house)
    assert await house.rows("SELECT * FROM passing_bodies") == []


async def test_what_no_carrier_takes_is_over(house: House) -> None:
    _, ann, _ = await house.pair(await house.service(settings=UNTIL_FINAL))
    house.carrier.script(ann.identifier, REJECTED)
    async with house.working():
        await send(house, ann)
    assert await house.statuses() == ["failed"]
    assert not await kept(house)


async def test_what_waits_for_too_long_is_over(house: House) -> None:
    _, ann, _ = await house.pair(await house.service(settings=UNTIL_FINAL))
    await house.say(ann, SECRET)
    house.clock.advance(VALIDITY_S)
    await house.sweeper.sweep()
    assert await house.statuses() == ["failed"]
    assert not await kept(house)


@pytest.mark.parametrize(("answer", "status"), [(None, "sent"), (UNCERTAIN, "delivery-unknown")])
async def test_what_nobody_reports_on_is_over_a_day_after_it_could_be_sent(
    house: House, answer: CarrierError | None, status: str
) -> None:
    _, ann, _ = await house.pair(await house.service(settings=UNTIL_FINAL))
    house.carrier.script(ann.identifier, answer)
    async with house.working():
        await send(house, ann)
    assert await house.statuses() == [status]
    house.clock.advance(VALIDITY_S + DAY - 1)
    await house.sweeper.sweep()
    assert await kept(house)
    house.clock.advance(1)
    await house.sweeper.sweep()
    assert not await kept(house)
    assert await house.rows("SELECT * FROM passing_bodies") == []


async def test_a_callback_that_waits_keeps_what_it_promised(house: House, receiver: Receiver) -> None:
    _, ann, _ = await house.pair(await house.service(settings=UNTIL_FINAL, callback_url=receiver.url))
    receiver.answers = [500]
    async with house.working():
        message = await send(house, ann)
        await until(lambda: len(receiver.posts) == 1)
        await house.report(message, MessageStatus.DELIVERED, ann.proxy_identifier)
        await house.quiet()
        assert await kept(house)
        await house.pass_time(1)
        await until(lambda: len(receiver.posts) == 4)
        await house.quiet()
    assert receiver.statuses() == ["queued", "queued", "sent", "delivered"]
    assert bodies(receiver) == [SECRET] * 4
    assert not await kept(house)
    assert await house.rows("SELECT * FROM passing_bodies") == []


async def test_one_that_was_given_up_keeps_nothing(house: House, receiver: Receiver) -> None:
    service = await house.service(settings=UNTIL_FINAL, callback_url=receiver.url)
    _, ann, _ = await house.pair(service)
    receiver.answers = [500] * 30
    async with house.working():
        message = await send(house, ann)
        await house.report(message, MessageStatus.DELIVERED, ann.proxy_identifier)
        await house.quiet()
        assert await kept(house)
        for _ in range(14):
            await house.pass_time(HOUR / 12)
        assert not await kept(house)
        dead = await house.store.read(find_dead, None, 10)
        receiver.answers.clear()
        receiver.posts.clear()
        await house.store.write(send_again, service.sid, [one.sid for one in dead])
        await house.quiet()
        await house.pass_time(30)
        await until(lambda: len(receiver.posts) == len(dead))
    assert bodies(receiver) == [""] * len(dead)


async def test_one_that_nobody_came_to_send_keeps_nothing(house: House, receiver: Receiver) -> None:
    _, ann, _ = await house.pair(await house.service(settings=UNTIL_FINAL, callback_url=receiver.url))
    await house.say(ann, SECRET)
    for _ in range(2):  # the message fails, and what this tells is given up later
        house.clock.advance(VALIDITY_S)
        await house.sweeper.sweep()
    assert not await kept(house)


async def test_a_service_that_is_told_no_more_keeps_nothing_for_it(house: House, receiver: Receiver) -> None:
    service = await house.service(settings=UNTIL_FINAL, callback_url=receiver.url)
    _, ann, _ = await house.pair(service)
    house.carrier.script(ann.identifier, REJECTED)
    receiver.answers = [500]
    async with house.working():
        await send(house, ann)
        await until(lambda: len(receiver.posts) == 1)
        await house.quiet()
        await house.store.write(
            lambda tx: (
                tx.execute("UPDATE services SET callback_url = NULL WHERE sid = ?", (service.sid,)) and None
            )
        )
        assert await kept(house)
        await house.pass_time(1)
    assert not await kept(house)


async def test_the_rule_is_that_of_the_instant_of_the_message(house: House) -> None:
    """What was kept for a while only is blanked in time, though the Service keeps them now."""
    service = await house.service(settings=UNTIL_FINAL)
    _, ann, _ = await house.pair(service)
    async with house.working():
        message = await send(house, ann)
        await house.store.write(
            lambda tx: (
                tx.execute("UPDATE services SET settings = '{}' WHERE sid = ?", (service.sid,)) and None
            )
        )
        await house.report(message, MessageStatus.DELIVERED, ann.proxy_identifier)
    assert await kept(house)
    house.clock.advance(VALIDITY_S + DAY)
    await house.sweeper.sweep()
    assert not await kept(house)
