"""The optout_callback_url: told of every opt-out and opt-in, in order for each person, and never of who it is."""

import json
from collections.abc import AsyncIterator

import pytest
from twilio.request_validator import RequestValidator

from maskline.domain.ids import instant_of
from maskline.domain.model import Participant, Service
from maskline.flows.services import remove_service
from tests.support.carrier import OPTED_OUT
from tests.support.house import ACCOUNT, AUTH_TOKEN, House, person
from tests.support.receiver import Receiver, receiving
from tests.support.until import until

ANN = person(1)
TOKEN = "i-twilio-idempotency-token"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def telling(house: House, receiver: Receiver, numbers: int = 1, **settings: str) -> Service:
    """A Service that tells this receiver."""
    return await house.service(
        numbers, settings=json.dumps({"optout_callback_url": receiver.url, **settings})
    )


async def told(house: House, receiver: Receiver, count: int) -> list[dict[str, str]]:
    """The forms that were posted, so many in all."""
    await until(lambda: len(receiver.posts) >= count)
    await house.quiet()
    assert len(receiver.posts) == count
    return [post.form for post in receiver.posts]


async def sid_of(house: House) -> str:
    return await house.one("SELECT sid FROM optouts")


async def test_a_word_is_told_with_the_sids_of_session_and_participant_and_not_with_the_number(
    house: House, receiver: Receiver
) -> None:
    session, ann, _ = await house.pair(await telling(house, receiver))
    async with house.working():
        await house.hear(ann, body="STOP")
        (form,) = await told(house, receiver, 1)
        sid = await sid_of(house)
        assert form == {
            "optOutSid": sid,
            "optOutType": "opt-out",
            "optOutServiceSid": session.service_sid,
            "optOutAccountSid": ACCOUNT,
            "optOutProxyIdentifier": ann.proxy_identifier,
            "optOutDate": "2027-01-15T08:00:00Z",
            "optOutSessionSid": session.sid,
            "optOutParticipantSid": ann.sid,
        }
        (post,) = receiver.posts
        assert RequestValidator(AUTH_TOKEN).validate(receiver.url, form, post.headers["x-twilio-signature"])
        await house.hear(ann, body="START")
        _, ended = await told(house, receiver, 2)
    assert ended == {**form, "optOutType": "opt-in"}
    assert len({post.headers[TOKEN] for post in receiver.posts}) == 2
    assert await house.outbox() == 0
    assert await house.events() == [80901]
    assert instant_of(sid) <= house.clock.now()


async def test_of_a_stranger_no_session_is_told(house: House, receiver: Receiver) -> None:
    await telling(house, receiver)
    ((number,),) = await house.rows("SELECT phone_number FROM numbers")
    async with house.working():
        await house.hear(ANN, number, "STOP")
        (form,) = await told(house, receiver, 1)
    assert form["optOutProxyIdentifier"] == number
    assert not {"optOutSessionSid", "optOutParticipantSid"} & set(form)
    assert ANN not in str(receiver.posts)


async def test_each_opt_out_that_a_word_ends_is_told_of(house: House, receiver: Receiver) -> None:
    service = await telling(house, receiver, 2, optout_scope="service")
    here, there = [await house.add(await house.session(service), ANN) for _ in range(2)]
    async with house.working():
        await house.hear(here, body="STOP")
        await house.hear(there, body="START")
        begun, ended = await told(house, receiver, 2)
    assert (begun["optOutProxyIdentifier"], begun["optOutParticipantSid"]) == ("", here.sid)
    assert (ended["optOutProxyIdentifier"], ended["optOutParticipantSid"]) == ("", there.sid)
    assert begun["optOutSid"] == ended["optOutSid"]


async def test_what_a_carrier_says_is_told(house: House, receiver: Receiver) -> None:
    _, ann, _ = await house.pair(await telling(house, receiver))
    house.carrier.script(ann.identifier, OPTED_OUT)
    async with house.working():
        await house.say(ann)
        (form,) = await told(house, receiver, 1)
    assert (form["optOutType"], form["optOutParticipantSid"]) == ("opt-out", ann.sid)


async def test_what_changes_nothing_is_not_told(house: House, receiver: Receiver) -> None:
    _, ann, _ = await house.pair(await telling(house, receiver))
    async with house.working():
        for word in ("START", "UNSTOP", "STOP", "STOP", "end"):
            await house.hear(ann, body=word)
        await told(house, receiver, 1)


async def test_without_a_url_nothing_waits(house: House) -> None:
    _, ann, _ = await house.pair()
    await house.hear(ann, body="STOP")
    assert await house.outbox() == 0


async def test_a_receiver_that_fails_is_told_again_in_order_and_another_person_does_not_wait(
    house: House, receiver: Receiver
) -> None:
    _, ann, ben = await house.pair(await telling(house, receiver))
    receiver.answers = [500]
    async with house.working():
        await house.hear(ann, body="STOP")
        await house.hear(ann, body="UNSTOP")
        await told(house, receiver, 1)
        await house.hear(ben, body="STOP")
        await house.quiet()
        await house.pass_time(1)
        await until(lambda: len(receiver.posts) == 4)
        await house.quiet()
        of_ann = [post for post in receiver.posts if post.form["optOutParticipantSid"] == ann.sid]
        assert [post.form["optOutType"] for post in of_ann] == ["opt-out", "opt-out", "opt-in"]
        assert of_ann[0].headers[TOKEN] == of_ann[1].headers[TOKEN] != of_ann[2].headers[TOKEN]
    assert await house.outbox() == 0
    assert (await house.events()).count(80908) == 1


async def test_after_an_hour_it_is_given_up_and_the_next_one_is_told(
    house: House, receiver: Receiver
) -> None:
    _, ann, _ = await house.pair(await telling(house, receiver))
    receiver.answers = [500] * 9
    async with house.working():
        await house.hear(ann, body="STOP")
        await told(house, receiver, 1)
        for _ in range(13):
            await house.pass_time(300)
            await house.quiet()
        assert await house.outbox() == 0
        count = len(receiver.posts)
        receiver.answers.clear()
        await house.hear(ann, body="UNSTOP")
        await house.pass_time(31)
        forms = await told(house, receiver, count + 1)
    assert {form["optOutType"] for form in forms[:-1]} == {"opt-out"}
    assert forms[-1]["optOutType"] == "opt-in"
    messages = await house.rows("SELECT message FROM events WHERE code = 80908 ORDER BY sid")
    assert [", given up: " in message for (message,) in messages] == [False, True]
    assert "customer=7" not in str(messages)


async def test_what_waits_for_a_url_or_a_service_that_is_gone_is_dropped(
    house: House, receiver: Receiver
) -> None:
    service = await telling(house, receiver)
    other = await telling(house, receiver)
    anns: list[Participant] = [await house.add(await house.session(each)) for each in (service, other)]
    for ann in anns:
        await house.hear(ann, body="STOP")
    assert await house.outbox() == 2
    await house.store.write(
        lambda tx: tx.execute("UPDATE services SET settings = '{}' WHERE sid = ?", (service.sid,)) and None
    )
    await house.store.write(remove_service, ACCOUNT, other.sid)
    async with house.working():
        await house.quiet()
        assert await house.outbox() == 0
    assert receiver.posts == []


async def test_after_a_restart_it_is_told_again_under_the_same_token(
    house: House, receiver: Receiver
) -> None:
    _, ann, _ = await house.pair(await telling(house, receiver))
    receiver.stalled.clear()
    async with house.working():
        await house.hear(ann, body="STOP")
        await until(lambda: len(receiver.posts) == 1)
        await house.store.write(lambda tx: tx.execute("UPDATE outbox SET owner = 'RNbefore'") and None)
        receiver.stalled.set()
        await house.quiet()
    async with house.working():
        await until(lambda: len(receiver.posts) == 2)
        await house.quiet()
    assert receiver.posts[0].form == receiver.posts[1].form
    assert receiver.posts[0].headers[TOKEN] == receiver.posts[1].headers[TOKEN]
    assert await house.outbox() == 0
