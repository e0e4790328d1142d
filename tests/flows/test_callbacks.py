"""CallbackUrl: every status that moves is told, once, in order, signed; and nobody waits for a receiver."""

from __future__ import annotations

import json

import pytest
from twilio.request_validator import RequestValidator

from maskline.domain.callback import callback_sid
from maskline.domain.interaction import MessageStatus
from maskline.domain.media import Medium
from maskline.flows.lanes import FIRST_PAUSE_S, FORGET_S, MOST_PAUSE_S, SLOTS_EACH, Lanes
from maskline.flows.retention import Sweeper
from maskline.net import MOST_BYTES
from maskline.store.dead_letters import find_dead, send_again
from maskline.store.lanes import MOST_LANES
from tests.support.house import ACCOUNT, AUTH_TOKEN, House
from tests.support.peer import Peer, Talk
from tests.support.receiver import Receiver, receiving
from tests.support.until import until

HOUR = 3600


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


async def told(receiver: Receiver, count: int) -> None:
    await until(lambda: len(receiver.posts) >= count)


async def test_a_message_from_the_api_is_told_from_its_start_to_its_end(
    house: House, receiver: Receiver
) -> None:
    service = await house.service(callback_url=receiver.url)
    _, ann, _ = await house.pair(service)
    async with house.working():
        message = await house.say(ann, "hello, Ann €")
        await told(receiver, 2)
        await house.report(message, MessageStatus.DELIVERED, ann.proxy_identifier)
        await told(receiver, 3)
        await house.quiet()

    assert receiver.statuses() == ["queued", "sent", "delivered"]
    form = receiver.posts[-1].form
    sid = message.outbound.resource_sid
    assert form == {
        "interactionSid": message.sid,
        "interactionSessionSid": message.session_sid,
        "interactionServiceSid": service.sid,
        "interactionAccountSid": ACCOUNT,
        "interactionType": "Message",
        "interactionData": json.dumps({"body": "hello, Ann €"}, ensure_ascii=False, separators=(",", ":")),
        "interactionNumMedia": "0",
        "interactionDateCreated": "2027-01-15T08:00:00Z",
        "interactionDateUpdated": "2027-01-15T08:00:00Z",
        "outboundParticipantSid": ann.sid,
        "outboundResourceSid": sid,
        "outboundResourceStatus": "delivered",
        "outboundResourceType": "message",
        "outboundResourceUrl": f"https://masked.example/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json",
    }
    assert await house.outbox() == 0


async def test_a_relay_is_told_with_both_legs(house: House, receiver: Receiver) -> None:
    _, ann, ben = await house.pair(await house.service(callback_url=receiver.url))
    async with house.working():
        await house.hear(ann)
        await told(receiver, 2)
        await house.quiet()
    assert receiver.statuses("inbound") == ["delivered", "delivered"]
    assert receiver.statuses("outbound") == ["queued", "sent"]
    assert receiver.posts[0].form["inboundParticipantSid"] == ann.sid
    assert receiver.posts[0].form["outboundParticipantSid"] == ben.sid


async def test_media_are_told_with_what_they_are(house: House, receiver: Receiver) -> None:
    _, ann, ben = await house.pair(await house.service(callback_url=receiver.url))
    media = (Medium("https://m.example/0", "image/webp"), Medium("https://m.example/1.mp4"))
    async with house.working():
        await house.hear(ann, body="look", media=media)
        await told(receiver, 1)
        await house.say(ben, "", media=("https://m.example/cat.png",))
        await told(receiver, 3)
        await house.quiet()
    relayed, made = receiver.posts[0].form, receiver.posts[-1].form
    assert {name: value for name, value in relayed.items() if "edia" in name} == {
        "interactionNumMedia": "2",
        "interactionMediaUrl0": "https://m.example/0",
        "interactionMediaUrl1": "https://m.example/1.mp4",
        "MediaUrl0": "https://m.example/0",
        "MediaUrl1": "https://m.example/1.mp4",
        "MediaContentType0": "image/webp",
        "MediaContentType1": "video/mp4",
    }
    assert relayed["inboundResourceSid"][:2] == relayed["outboundResourceSid"][:2] == "MM"
    assert (made["interactionNumMedia"], made["MediaContentType0"]) == ("1", "image/png")
    assert made["outboundResourceSid"][:2] == "MM"


async def test_the_official_validator_accepts_the_signature_and_refuses_another(
    house: House, receiver: Receiver
) -> None:
    _, ann, _ = await house.pair(await house.service(callback_url=receiver.url))
    async with house.working():
        await house.say(ann)
        await told(receiver, 2)
    for post in receiver.posts:
        signature = post.headers["x-twilio-signature"]
        assert RequestValidator(AUTH_TOKEN).validate(receiver.url, post.form, signature)
        tampered = {**post.form, "outboundResourceStatus": "failed"}
        assert not RequestValidator(AUTH_TOKEN).validate(receiver.url, tampered, signature)


async def test_what_fails_is_told_again_in_its_order_under_the_same_token(
    house: House, receiver: Receiver
) -> None:
    receiver.answers = [500, None, 404]
    _, ann, _ = await house.pair(await house.service(callback_url=receiver.url))
    async with house.working():
        await house.say(ann)
        for count, pause_s in ((1, 1), (2, 5), (3, 15)):
            await told(receiver, count)
            await house.quiet()
            await house.pass_time(pause_s)
        await told(receiver, 5)
        await house.quiet()
    assert receiver.statuses() == ["queued"] * 4 + ["sent"]
    tokens = [post.headers["i-twilio-idempotency-token"] for post in receiver.posts]
    assert len(set(tokens[:4])) == 1
    assert tokens[4] != tokens[0]
    assert await house.events() == [80908]
    attempts = await house.rows(
        "SELECT number, status, error <> '' FROM callback_attempts ORDER BY began_at, callback_sid"
    )
    assert attempts == [(1, 500, 0), (2, None, 1), (3, 404, 0), (4, 200, 0), (1, 200, 0)]
    assert {row[0] for row in await house.rows("SELECT url FROM callback_attempts")} == {
        receiver.url.partition("?")[0]
    }


@pytest.mark.parametrize(
    "body", [b"x" * (MOST_BYTES + 1), b"a half"], ids=["too long", "half of what was announced"]
)
async def test_any_2xx_is_taken_as_received_whatever_follows_it(house: House, body: bytes) -> None:
    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + body)

    async with Peer(behave) as peer:
        _, ann, _ = await house.pair(await house.service(callback_url=peer.url))
        async with house.working():
            await house.say(ann)
            await until(lambda: len(peer.requests) == 2)
            await house.quiet()
    assert await house.rows("SELECT number, status, error FROM callback_attempts") == [(1, 200, "")] * 2
    assert await house.outbox() == 0


async def test_after_an_hour_it_is_dead_until_it_is_sent_again(house: House, receiver: Receiver) -> None:
    receiver.answers = [500] * 20
    service = await house.service(callback_url=receiver.url)
    _, ann, _ = await house.pair(service)
    async with house.working():
        message = await house.say(ann)
        for _ in range(14):
            await house.pass_time(HOUR / 12)
        dead = await house.store.read(find_dead, None, 10)
        assert [one.sid for one in dead] == [callback_sid(message.sid, rank) for rank in (1, 40)]
        receiver.answers.clear()
        receiver.posts.clear()
        again = [one.sid for one in dead]
        assert await house.store.write(send_again, service.sid, again) == 2
        await house.quiet()
        await house.pass_time(30)  # what has failed for so long is tried after a pause
        await told(receiver, 2)
        await house.quiet()
    assert receiver.statuses() == ["queued", "sent"]
    assert await house.outbox() == 0


async def test_one_that_nobody_came_to_send_for_an_hour_is_given_up_with_an_event(
    house: House, receiver: Receiver
) -> None:
    _, ann, _ = await house.pair(await house.service(callback_url=receiver.url))
    message = await house.say(ann)
    house.clock.advance(HOUR - 1)
    await house.sweeper.sweep()
    assert await house.store.read(find_dead, None, 10) == []
    house.clock.advance(1)
    await house.sweeper.sweep()
    (dead,) = await house.store.read(find_dead, None, 10)
    assert (dead.sid, dead.attempts) == (callback_sid(message.sid, 1), 0)
    assert await house.rows("SELECT code, interaction_sid FROM events") == [(80908, message.sid)]


async def test_what_is_sent_again_comes_in_order_and_one_by_one(house: House, receiver: Receiver) -> None:
    service = await house.service(callback_url=receiver.url)
    _, ann, _ = await house.pair(service)
    async with house.working():
        receiver.answers = [500] * 20
        message = await house.say(ann)
        for _ in range(14):
            await house.pass_time(HOUR / 12)
        dead = await house.store.read(find_dead, None, 10)
        assert len(dead) == 2
        receiver.answers.clear()
        await house.say(ann)  # the receiver has recovered, and takes many at a time
        await house.pass_time(30)
        receiver.stalled.clear()
        receiver.posts.clear()
        assert await house.store.write(send_again, service.sid, [one.sid for one in reversed(dead)]) == 2
        await house.report(message, MessageStatus.DELIVERED, ann.proxy_identifier)
        await told(receiver, 1)
        await house.quiet()
        assert len(receiver.posts) == 1
        receiver.stalled.set()
        await told(receiver, 3)
        await house.quiet()
    assert receiver.statuses() == ["queued", "sent", "delivered"]
    assert await house.outbox() == 0


async def test_a_receiver_that_stalls_keeps_nobody_else_waiting(house: House, receiver: Receiver) -> None:
    async with receiving() as quick:
        slow_service = await house.service(callback_url=receiver.url)
        _, ann, _ = await house.pair(slow_service)
        _, ben, _ = await house.pair(await house.service(callback_url=quick.url))
        receiver.stalled.clear()
        async with house.working():
            for _ in range(SLOTS_EACH + 10):
                await house.say(ann)
            await told(receiver, SLOTS_EACH)
            await house.say(ben)
            await told(quick, 2)
            assert len(receiver.posts) == SLOTS_EACH
            receiver.stalled.set()
            await told(receiver, 2 * (SLOTS_EACH + 10))


async def test_any_number_of_services_that_wait_keep_nobody_else_waiting(
    house: House, receiver: Receiver
) -> None:
    async with receiving() as gone:
        url = gone.url
    async with house.working():
        for _ in range(2 * MOST_LANES + 1):
            _, ann, _ = await house.pair(await house.service(callback_url=url))
            await house.say(ann)
        await house.quiet()
        for _ in range(3):
            _, ben, _ = await house.pair(await house.service(callback_url=receiver.url))
            await house.say(ben)
            await house.quiet()
    assert receiver.statuses() == ["queued", "sent"] * 3


async def test_a_message_is_delivered_while_nobody_listens(house: House) -> None:
    async with receiving() as gone:
        url = gone.url
    _, ann, _ = await house.pair(await house.service(callback_url=url))
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        assert await house.status(message) == "sent"


async def test_what_waited_while_the_server_was_down_is_tried_before_it_is_given_up(
    house: House, receiver: Receiver
) -> None:
    _, ann, _ = await house.pair(await house.service(callback_url=receiver.url))
    await house.say(ann)
    house.clock.advance(2 * HOUR)
    house.sweeper = Sweeper(house.store, house.clock, house.mint)
    await house.sweeper.sweep()
    assert await house.store.read(find_dead, None, 10) == []
    async with house.working():
        await told(receiver, 2)
    assert receiver.statuses() == ["queued", "sent"]


async def test_what_an_earlier_run_was_telling_is_told_again(house: House, receiver: Receiver) -> None:
    _, ann, _ = await house.pair(await house.service(callback_url=receiver.url))
    await house.say(ann)
    await house.store.write(
        lambda tx: tx.execute("UPDATE outbox SET state = 4, owner = 'RN' WHERE topic = 'callback'") and None
    )
    async with house.working():
        await told(receiver, 2)
    assert receiver.statuses() == ["queued", "sent"]


async def test_a_service_without_a_url_tells_nothing_and_one_that_loses_it_no_more(
    house: House, receiver: Receiver
) -> None:
    _, ann, _ = await house.pair(await house.service())
    await house.say(ann)
    assert await house.one("SELECT count(*) FROM outbox WHERE topic = 'callback'") == 0
    _, ben, _ = await house.pair(await house.service(callback_url=receiver.url))
    await house.say(ben)
    await house.store.write(lambda tx: tx.execute("UPDATE services SET callback_url = NULL") and None)
    async with house.working():
        await house.quiet()
    assert receiver.posts == []
    assert await house.outbox() == 0


async def test_with_an_interaction_go_its_callbacks_and_their_attempts(
    house: House, receiver: Receiver
) -> None:
    receiver.answers = [500]
    session, ann, _ = await house.pair(await house.service(callback_url=receiver.url))
    async with house.working():
        await house.say(ann)
        await told(receiver, 1)
        await house.quiet()
        assert await house.one("SELECT count(*) FROM callback_attempts") == 1
        await house.delete(session)
        await house.sweeper.sweep()
        await house.quiet()
        await house.pass_time(60)
    assert len(receiver.posts) == 1
    assert await house.outbox() == 0
    assert await house.one("SELECT count(*) FROM callback_attempts") == 0


async def test_of_a_deleted_session_nothing_is_told_though_its_rows_are_there_still(
    house: House, receiver: Receiver
) -> None:
    receiver.answers = [500]
    session, ann, _ = await house.pair(await house.service(callback_url=receiver.url))
    async with house.working():
        message = await house.say(ann)
        await told(receiver, 1)
        await house.quiet()
        await house.delete(session)
        await house.report(message, MessageStatus.DELIVERED, ann.proxy_identifier)
        await house.pass_time(1)
        assert await house.one("SELECT count(*) FROM interactions") == 1
    assert len(receiver.posts) == 1


def fail(lanes: Lanes, at: float, together: int = 1) -> None:
    for _ in range(together):
        lanes.began("KS1")
    for _ in range(together):
        lanes.ended("KS1", at, good=False)


def test_the_pause_doubles_with_each_failure_and_not_with_those_that_were_under_way_together() -> None:
    lanes, now = Lanes(32), 100.0
    pauses = []
    for _ in range(8):
        fail(lanes, now, together=32)
        pauses.append((lanes.next_at(now) or 0) - now)
        now += pauses[-1]
    assert pauses == [FIRST_PAUSE_S * 2**i for i in range(6)] + [MOST_PAUSE_S] * 2


def test_after_a_failure_one_place_is_free_when_the_pause_is_over() -> None:
    lanes = Lanes(32)
    fail(lanes, 100)
    assert lanes.busy(100) == {"KS1": 32}
    assert lanes.busy(100 + FIRST_PAUSE_S) == {"KS1": 31}
    lanes.began("KS1")
    assert lanes.busy(100 + FIRST_PAUSE_S) == {"KS1": 32}
    lanes.ended("KS1", 101, good=True)
    assert lanes.busy(101) == {}


def test_all_services_that_fail_have_the_places_of_one_together() -> None:
    lanes = Lanes(2)
    for service_sid in ("KS1", "KS2", "KS3"):
        lanes.began(service_sid)
        lanes.ended(service_sid, 100, good=False)
    at = 100 + FIRST_PAUSE_S
    lanes.began("KS1")
    assert lanes.busy(at) == {"KS1": 2, "KS2": 1, "KS3": 1}
    lanes.began("KS2")
    lanes.began("KS4")
    assert lanes.busy(at) == {"KS1": 2, "KS2": 2, "KS3": 2, "KS4": 1}
    lanes.ended("KS1", at, good=True)
    assert lanes.busy(at) == {"KS2": 2, "KS3": 1, "KS4": 1}


def test_a_service_that_has_nothing_to_tell_any_more_is_forgotten() -> None:
    lanes = Lanes(32)
    fail(lanes, 100)
    assert lanes.busy(100 + FORGET_S) == {"KS1": 31}
    assert lanes.busy(101 + FORGET_S) == {}
    assert lanes.next_at(0) is None
