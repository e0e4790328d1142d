"""InterceptCallbackUrl: 403 blocks, anything else lets through; order and place are kept; no receiver costs another."""

from __future__ import annotations

import asyncio
import json
from itertools import permutations

import pytest
from twilio.request_validator import RequestValidator

from maskline.domain.interaction import MessageStatus
from maskline.domain.model import SECOND, SessionStatus
from maskline.flows.intercepts import EVENTS
from maskline.flows.lanes import LOOK_S, SLOTS, SLOTS_EACH
from maskline.store.engine import Store, Tx
from maskline.store.interactions import find_interaction
from maskline.store.intercepts import PATIENCE_US, Verdict, claim_intercepts, judge_intercepts
from maskline.store.lanes import LaneClaim
from maskline.store.send_rows import Started
from maskline.store.services import load_service
from maskline.store.start import StartRequest, start_sends
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, AUTH_TOKEN, VALIDITY_S, House
from tests.support.peer import Peer, Talk
from tests.support.receiver import Receiver, receiving
from tests.support.until import turns, until

CLOSED_SERVICE = json.dumps({"intercept_failure": "block"})


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


async def asked(receiver: Receiver, count: int) -> None:
    await until(lambda: len(receiver.posts) >= count)


async def test_the_customer_is_asked_with_the_inbound_leg_before_anything_is_sent(
    house: House, receiver: Receiver
) -> None:
    service = await house.service(intercept_callback_url=receiver.url)
    session, ann, ben = await house.pair(service)
    receiver.stalled.clear()
    async with house.working():
        received = await house.hear(ann, body="may I?")
        await asked(receiver, 1)
        await house.quiet()
        assert house.carrier.sent == []
        waiting = await house.fetch(session)
        assert (waiting.status, waiting.last_interaction_at) == (SessionStatus.OPEN, None)
        receiver.stalled.set()
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert house.carrier.sent[0].to == ben.identifier
    interaction = await house.store.read(find_interaction, service.sid, session.sid, received.interaction_sid)
    assert interaction is not None
    assert interaction.inbound is not None
    (post,) = receiver.posts
    sid = interaction.inbound.resource_sid
    assert post.form == {
        "interactionSid": interaction.sid,
        "interactionSessionSid": session.sid,
        "interactionServiceSid": service.sid,
        "interactionAccountSid": ACCOUNT,
        "interactionType": "Message",
        "interactionData": '{"body":"may I?"}',
        "interactionNumMedia": "0",
        "interactionDateCreated": "2027-01-15T08:00:00Z",
        "interactionDateUpdated": "2027-01-15T08:00:00Z",
        "inboundParticipantSid": ann.sid,
        "inboundResourceSid": sid,
        "inboundResourceStatus": "received",
        "inboundResourceType": "message",
        "inboundResourceUrl": f"https://masked.example/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json",
        "outboundParticipantSid": ben.sid,
    }
    assert RequestValidator(AUTH_TOKEN).validate(receiver.url, post.form, post.headers["x-twilio-signature"])
    used = await house.fetch(session)
    assert (used.status, used.started_at) == (SessionStatus.IN_PROGRESS, house.clock.now())
    assert used.last_interaction_at == house.clock.now()


async def test_403_blocks_and_leaves_a_one_sided_interaction(house: House, receiver: Receiver) -> None:
    receiver.answers = [403]
    async with receiving() as told:
        service = await house.service(intercept_callback_url=receiver.url, callback_url=told.url)
        session, ann, ben = await house.pair(service)
        async with house.working():
            received = await house.hear(ann, body="no way")
            await asked(receiver, 1)
            await house.quiet()
            assert house.carrier.sent == []
            assert told.posts == []
            assert (await house.fetch(session)).status is SessionStatus.OPEN
            await house.hear(ann, body="sorry")
            await until(lambda: len(house.carrier.sent) == 1)
            await house.quiet()
            assert told.statuses() == ["queued", "sent"]
    interaction = await house.store.read(find_interaction, service.sid, session.sid, received.interaction_sid)
    assert interaction is not None
    assert interaction.inbound is not None
    assert interaction.inbound.participant_sid == ann.sid
    assert interaction.outbound is None
    assert await house.rows("SELECT code, interaction_sid FROM events") == [(80909, received.interaction_sid)]
    assert [(one.to, one.body) for one in house.carrier.sent] == [(ben.identifier, "sorry")]


@pytest.mark.parametrize("answer", [500, 404, 302, None], ids=["500", "404", "302", "dropped"])
@pytest.mark.parametrize("blocks", [False, True], ids=["allow", "block"])
async def test_no_verdict_lets_through_or_blocks_as_the_service_says(
    house: House, receiver: Receiver, answer: int | None, blocks: bool
) -> None:
    receiver.answers = [answer] * 2
    settings = CLOSED_SERVICE if blocks else "{}"
    service = await house.service(intercept_callback_url=receiver.url, settings=settings)
    _, ann, _ = await house.pair(service)
    async with house.working():
        await house.hear(ann)
        await asked(receiver, 1)
        await house.quiet()
    assert len(house.carrier.sent) == (0 if blocks else 1)
    assert await house.events() == [80909 if blocks else 49005]
    assert await house.outbox() == 0


async def test_a_403_counts_whatever_follows_it(house: House) -> None:
    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(b"HTTP/1.1 403 No\r\nContent-Length: 100000\r\n\r\nhalf")

    async with Peer(behave) as peer:
        _, ann, _ = await house.pair(await house.service(intercept_callback_url=peer.url))
        async with house.working():
            await house.hear(ann)
            await until(lambda: len(peer.requests) == 1)
            await house.quiet()
    assert house.carrier.sent == []
    assert await house.events() == [80909]


async def test_messages_of_the_api_are_not_asked_about(house: House, receiver: Receiver) -> None:
    _, ann, _ = await house.pair(await house.service(intercept_callback_url=receiver.url))
    async with house.working():
        await house.say(ann)
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert receiver.posts == []


async def test_what_waits_for_a_verdict_keeps_its_place(house: House, receiver: Receiver) -> None:
    """Both ways round: a message of the API behind one that is asked about, and one asked about behind it."""
    _, ann, ben = await house.pair(await house.service(intercept_callback_url=receiver.url))
    await house.say(ben, "first")
    await house.hear(ann, body="second")
    await house.say(ben, "third")
    await house.hear(ann, body="fourth")
    receiver.stalled.clear()
    async with house.working():
        await asked(receiver, 1)
        await house.quiet()
        assert [one.body for one in house.carrier.sent] == ["first"]
        receiver.stalled.set()
        await until(lambda: len(house.carrier.sent) == 4)
        await house.quiet()
    assert [one.body for one in house.carrier.sent] == ["first", "second", "third", "fourth"]
    assert len(receiver.posts) == 2
    assert await house.outbox() == 0


async def test_messages_to_one_participant_are_asked_about_at_once_and_sent_in_their_order(
    house: House, receiver: Receiver
) -> None:
    """Or each would wait for the deadline of all before it, where the receiver stalls."""
    _, ann, _ = await house.pair(await house.service(intercept_callback_url=receiver.url))
    receiver.stalled.clear()
    async with house.working():
        for number in range(20):
            await house.hear(ann, body=str(number))
        await asked(receiver, 20)
        assert house.carrier.sent == []
        receiver.stalled.set()
        await until(lambda: len(house.carrier.sent) == 20)
        await house.quiet()
    assert [one.body for one in house.carrier.sent] == [str(number) for number in range(20)]


@pytest.mark.parametrize("order", [*permutations(range(3))])
async def test_verdicts_in_any_order_leave_the_messages_in_theirs(house: House, order: list[int]) -> None:
    _, ann, _ = await house.pair(await house.service(intercept_callback_url="https://shop.example/"))
    await house.store.write(house.open_account)
    for number in range(3):
        await house.hear(ann, body=str(number))
    claimed = await house.store.batch(claim_intercepts, LaneClaim("RN", 0, 10, 10, {}))
    work = sorted(claimed.work, key=lambda one: one.id)  # due at the same instant, they come in any order
    for number in order:
        one, passes = work[number], number != 1
        verdict = Verdict(one.id, "RN", one.sid, passes, "", house.mint.sid("NO"))
        await house.store.batch(judge_intercepts, verdict)
        waiting = await house.rows("SELECT seq FROM outbox WHERE topic = 'send' AND state = 1")
        assert len(waiting) <= 1
    async with house.working():
        await until(lambda: len(house.carrier.sent) == 2)
        await house.quiet()
    assert [one.body for one in house.carrier.sent] == ["0", "2"]
    assert await house.outbox() == 0


async def let_on(house: House) -> None:
    """The one message that waits for a verdict gets it."""
    claimed = await house.store.batch(claim_intercepts, LaneClaim("RN", 0, 10, 10, {}))
    (intercept,) = claimed.work
    verdict = Verdict(intercept.id, "RN", intercept.sid, True, "", house.mint.sid("NO"))
    await house.store.batch(judge_intercepts, verdict)


@pytest.mark.parametrize("under_way", [0, 1])
async def test_a_verdict_does_not_pass_messages_that_came_before_and_that_nobody_has_looked_at(
    house: House, under_way: int
) -> None:
    """Nor does what ends meanwhile have it pass them."""
    _, ann, ben = await house.pair(await house.service(intercept_callback_url="https://shop.example/"))
    await house.store.write(house.open_account)
    bodies = ["first", "second", "third"]
    for body in bodies:
        await house.say(ben, body)
    await house.hear(ann, body="fourth")
    started = await start(house, under_way)
    await let_on(house)
    while await house.outbox():
        for row in started:
            await house.messages.record(await house.messages.hand_over(row, house.clock.uptime()), "RN")
        started = await start(house, 64)
        assert len(started) <= 1
    assert [one.body for one in house.carrier.sent] == [*bodies, "fourth"]


async def test_a_verdict_does_not_pass_what_a_process_has_taken_in_that_is_an_hour_behind(
    house: House, store: Store, clock: FakeClock
) -> None:
    _, ann, ben = await house.pair(await house.service(intercept_callback_url="https://shop.example/"))
    _, other, _ = await house.pair(await house.service())
    await house.store.write(house.open_account)
    await house.say(other)
    await House(store, FakeClock(clock.now() - 3600 * SECOND)).say(ben, "first")
    await house.hear(ann, body="second")
    await let_on(house)
    while started := await start(house, 64):
        for row in started:
            await house.messages.record(await house.messages.hand_over(row, house.clock.uptime()), "RN")
    assert [one.body for one in house.carrier.sent if one.to == ben.identifier] == ["first", "second"]


@pytest.mark.engine("sqlite")
async def test_a_post_hears_at_once_that_a_verdict_has_put_its_message_in_line(
    store: Store, clock: FakeClock, receiver: Receiver
) -> None:
    """Of several processes, each looks for it."""
    house = House(store, clock, wait_s=60)
    _, ann, ben = await house.pair(await house.service(intercept_callback_url=receiver.url))
    gate = house.carrier.gate(ben.identifier)
    async with house.working(slots=1):
        first = asyncio.create_task(house.say(ben, "first"))
        await until(lambda: house.carrier.sent)
        second = asyncio.create_task(house.say(ben, "second"))
        await house.quiet()
        assert not second.done()
        await house.hear(ann, body="third")
        message = await asyncio.wait_for(second, 10)
        assert message.outbound is not None and message.outbound.status == MessageStatus.QUEUED
        gate.release()
        await first
        await until(lambda: len(house.carrier.sent) == 3)
        await house.quiet()
    assert [one.body for one in house.carrier.sent] == ["first", "second", "third"]


async def start(house: House, slots: int) -> list[Started]:
    request = StartRequest("RN", {house.carrier.name: slots}, [])
    return (await house.store.batch(start_sends, request)).started


@pytest.mark.engine("sqlite")
async def test_a_verdict_costs_no_more_however_many_messages_to_others_wait(house: House) -> None:
    """Steps of SQLite's machine: sending may be far behind, and every verdict is a turn of the writer."""
    service = await house.service(intercept_callback_url="https://shop.example/")
    _, other, _ = await house.pair(await house.service())
    await house.store.write(house.open_account)
    steps = []
    for backlog in (5, 300):
        _, ann, _ = await house.pair(service)
        for _ in range(backlog):
            await house.say(other)
        await house.hear(ann)
        (intercept,) = (await house.store.batch(claim_intercepts, LaneClaim("RN", 0, 10, 10, {}))).work
        verdict = Verdict(intercept.id, "RN", intercept.sid, True, "", house.mint.sid("NO"))
        steps.append(await house.store.write(count_steps, verdict))
    assert steps[1] < 1.2 * steps[0], steps


def count_steps(tx: Tx, verdict: Verdict) -> int:
    connection = tx.execute.__self__  # type: ignore[attr-defined]
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    connection.set_progress_handler(step, 1)
    try:
        judge_intercepts.fn(tx, [verdict])
    finally:
        connection.set_progress_handler(None, 1)
    return count


async def test_a_stalling_receiver_costs_nobody_else_and_its_own_only_their_patience(
    house: House, receiver: Receiver
) -> None:
    receiver.stalled.clear()
    stalling = await house.service(10, intercept_callback_url=receiver.url)
    other = await house.service(intercept_callback_url=receiver.url + "&other=1")
    pairs = [await house.pair(stalling) for _ in range(40)]
    async with receiving() as quick:
        await house.store.write(
            lambda tx: (
                tx.execute(
                    "UPDATE services SET intercept_callback_url = ? WHERE sid = ?", (quick.url, other.sid)
                )
                and None
            )
        )
        _, ann, ben = await house.pair(other)
        async with house.working():
            for _, writer, _ in pairs:
                await house.hear(writer)
            await asked(receiver, 32)
            await house.hear(ann)
            await until(lambda: len(house.carrier.sent) == 1)
            await house.quiet()
            assert house.carrier.sent[0].to == ben.identifier
            assert len(receiver.posts) == 32
            await house.pass_time(PATIENCE_US / SECOND + 1)
            await until(lambda: len(house.carrier.sent) == 9)
            await house.quiet()
            assert await house.events() == [49005] * 8
            receiver.stalled.set()
            await until(lambda: len(house.carrier.sent) == 41)
            await house.quiet()
    assert len({one.to for one in house.carrier.sent}) == 41


async def test_what_came_while_nobody_worked_is_asked_about_though_the_process_is_an_hour_behind(
    store: Store, clock: FakeClock, receiver: Receiver
) -> None:
    house = House(store, FakeClock(clock.now() - 3600 * SECOND))
    _, ann, _ = await house.pair(await house.service(intercept_callback_url=receiver.url))
    await house.hear(ann)
    clock.advance(PATIENCE_US / SECOND + 1)
    async with house.working():
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert (len(receiver.posts), await house.events()) == (1, [])


async def test_some_that_stall_and_take_all_the_places_keep_nobody_else_waiting(
    house: House, receiver: Receiver
) -> None:
    receiver.stalled.clear()
    async with receiving() as quick:
        _, ann, ben = await house.pair(await house.service(intercept_callback_url=quick.url))
        async with house.working():
            for _ in range(SLOTS // SLOTS_EACH):
                stalling = await house.service(1, intercept_callback_url=receiver.url)
                for _ in range(SLOTS_EACH + 1):
                    await house.hear((await house.pair(stalling))[1])
            await house.quiet()
            for count in (1, 2):
                await house.hear(ann)
                await house.pass_time(LOOK_S)
                await until(lambda sent=count: len(house.carrier.sent) == sent)
            assert {one.to for one in house.carrier.sent} == {ben.identifier}
            receiver.stalled.set()


async def test_where_no_verdict_blocks_messages_wait_for_their_turn(house: House, receiver: Receiver) -> None:
    receiver.stalled.clear()
    service = await house.service(10, intercept_callback_url=receiver.url, settings=CLOSED_SERVICE)
    pairs = [await house.pair(service) for _ in range(40)]
    async with house.working():
        for _, writer, _ in pairs:
            await house.hear(writer)
        await asked(receiver, 32)
        await house.pass_time(PATIENCE_US / SECOND + 1)
        assert house.carrier.sent == []
        receiver.stalled.set()
        await until(lambda: len(house.carrier.sent) == 40)
        await house.quiet()
    assert await house.events() == []


async def test_a_message_past_its_validity_fails_unasked(house: House, receiver: Receiver) -> None:
    receiver.stalled.clear()
    service = await house.service(10, intercept_callback_url=receiver.url, settings=CLOSED_SERVICE)
    pairs = [await house.pair(service) for _ in range(33)]
    async with house.working():
        for _, writer, _ in pairs:
            await house.hear(writer)
        await asked(receiver, 32)
        await house.quiet()
        house.clock.advance(VALIDITY_S + 1)
        await house.sweeper.sweep()
        assert await house.events() == [49002]
        receiver.stalled.set()
        await house.quiet()


async def test_after_a_restart_what_was_being_asked_is_asked_again_under_the_same_token(
    house: House, receiver: Receiver
) -> None:
    receiver.stalled.clear()
    _, ann, _ = await house.pair(await house.service(intercept_callback_url=receiver.url))
    async with house.working():
        await house.hear(ann)
        await asked(receiver, 1)
        state = await house.rows("SELECT state, owner FROM outbox")
        receiver.stalled.set()
        await house.quiet()
    (sent,) = house.carrier.sent
    # As if the process had died before the verdict was stored, and before anything was sent.
    await house.store.write(lambda tx: put_back(tx, state[0][1]))
    house.carrier.sent.clear()
    async with house.working():
        await asked(receiver, 2)
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert house.carrier.sent[0].sid == sent.sid
    tokens = {post.headers["i-twilio-idempotency-token"] for post in receiver.posts}
    assert len(tokens) == 1


def put_back(tx, owner) -> None:
    tx.execute(
        "INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, owner, started_at, account_sid,"
        " service_sid, session_sid, interaction_sid, message_sid, recipient, payload)"
        " SELECT 'intercept', 4, i.outbound_participant_sid, 1, p.proxy_identifier, ?1, ?1 + 100000000, ?2, ?1,"
        " i.account_sid, i.service_sid, i.session_sid, i.sid, i.outbound_resource_sid, p.identifier_key, i.data"
        " FROM interactions i JOIN participants p ON p.service_sid = i.service_sid AND p.sid ="
        " i.outbound_participant_sid",
        (tx.now, owner),
    )
    tx.execute("UPDATE interactions SET outbound_status = ?", (int(MessageStatus.QUEUED),))


async def test_without_its_url_what_waits_goes_on(house: House, receiver: Receiver) -> None:
    service = await house.service(intercept_callback_url=receiver.url)
    _, ann, _ = await house.pair(service)
    await house.hear(ann)
    await house.store.write(
        lambda tx: tx.execute("UPDATE services SET intercept_callback_url = NULL") and None
    )
    assert (await house.store.read(load_service, ACCOUNT, service.sid)).intercept_callback_url is None
    async with house.working():
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert receiver.posts == []


async def test_many_that_nobody_is_asked_about_any_more_go_on_at_once(
    house: House, receiver: Receiver
) -> None:
    """However many: not so many a second as are asked about at a time."""
    service = await house.service(10, intercept_callback_url=receiver.url)
    for _ in range(100):
        _, ann, _ = await house.pair(service)
        await house.hear(ann)
    await house.store.write(
        lambda tx: tx.execute("UPDATE services SET intercept_callback_url = NULL") and None
    )
    async with house.working():
        await until(lambda: len(house.carrier.sent) == 100)
        await house.quiet()
    assert receiver.posts == []


async def test_many_whose_turn_does_not_come_go_on_at_once(house: House, receiver: Receiver) -> None:
    receiver.stalled.clear()
    service = await house.service(10, intercept_callback_url=receiver.url)
    writers = [(await house.pair(service))[1] for _ in range(SLOTS_EACH + 2 * EVENTS + 1)]
    async with house.working():
        for writer in writers:
            await house.hear(writer)
        await asked(receiver, SLOTS_EACH)
        await house.pass_time(PATIENCE_US / SECOND + 1)
        await until(lambda: len(house.carrier.sent) == 2 * EVENTS + 1)
        receiver.stalled.set()
        await house.quiet()


async def test_of_a_deleted_session_nothing_is_asked_or_sent(house: House, receiver: Receiver) -> None:
    receiver.stalled.clear()
    service = await house.service(intercept_callback_url=receiver.url)
    session, ann, _ = await house.pair(service)
    async with house.working():
        for _ in range(SLOTS_EACH + 1):
            await house.hear(ann)
        await asked(receiver, SLOTS_EACH)
        await house.delete(session)
        receiver.stalled.set()
        await turns(3)
        await house.quiet()
        await house.sweeper.sweep()
    assert house.carrier.sent == []
    assert len(receiver.posts) == SLOTS_EACH
    assert await house.outbox() == 0


async def test_a_session_that_closes_meanwhile_still_delivers_what_it_took(
    house: House, receiver: Receiver
) -> None:
    receiver.stalled.clear()
    session, ann, ben = await house.pair(await house.service(intercept_callback_url=receiver.url))
    async with house.working():
        await house.hear(ann)
        await asked(receiver, 1)
        closed = await house.close(session)
        receiver.stalled.set()
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert house.carrier.sent[0].to == ben.identifier
    assert (await house.fetch(session)).last_interaction_at == closed.last_interaction_at


@pytest.mark.parametrize("bodies", ["until-final", "never"])
async def test_the_customer_is_asked_with_a_body_that_is_not_kept(
    house: House, receiver: Receiver, bodies: str
) -> None:
    receiver.answers = [403]
    service = await house.service(
        intercept_callback_url=receiver.url, settings=json.dumps({"store_bodies": bodies})
    )
    _, ann, _ = await house.pair(service)
    async with house.working():
        await house.hear(ann, body="between us")
        await asked(receiver, 1)
        await house.quiet()
        await house.hear(ann, body="once more")
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert [post.form["interactionData"] for post in receiver.posts] == [
        '{"body":"between us"}',
        '{"body":"once more"}',
    ]
    assert house.carrier.sent[0].body == "once more"
    assert (await house.rows("SELECT data FROM interactions ORDER BY sid"))[0] == ('{"body":""}',)
