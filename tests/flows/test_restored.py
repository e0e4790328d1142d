"""The first start on a restored backup, for everything that may wait in one."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs

from maskline.domain.interaction import MessageStatus
from maskline.domain.model import OutboxState
from maskline.domain.sandbox import Todo
from maskline.flows import restored
from maskline.flows.restored import Restored, begin_anew
from maskline.store.backup import MARK
from maskline.store.meta import find_meta, put_meta
from maskline.store.sandbox import due_todos
from maskline.store.start import StartRequest, start_sends
from tests.support.carrier import UNCERTAIN, UNREACHABLE
from tests.support.house import ACCOUNT, House, person
from tests.support.receiver import receiving
from tests.support.until import until

ADD_TODO = "INSERT INTO sandbox_todo (due_at, sid, kind, payload) VALUES (?, ?, ?, ?)"
RESEND = json.dumps({"on_uncertain": "resend"})


async def begin(house: House, *, resend: bool = False) -> Restored | None:
    """As a server begins on a backup that was made just now."""
    await house.store.write(put_meta, MARK, str(house.clock.now()))
    return await begin_anew(house.store, house.mint, resend=resend)


async def start(house: House, slots: int) -> None:
    """T2, in an earlier life."""
    events = [house.mint.sid("NO") for _ in range(8)]
    await house.store.batch(start_sends, StartRequest("RN-earlier", {house.carrier.name: slots}, events))


async def test_a_database_that_is_no_backup_is_left_alone(house: House) -> None:
    _, ann, _ = await house.pair()
    message = await house.say(ann)
    assert await begin_anew(house.store, house.mint, resend=False) is None
    assert (await house.status(message), await house.events()) == ("queued", [])


async def test_fresh_held_and_started_messages_are_unknown(house: House) -> None:
    _, ann, ben = await house.pair()
    messages = [await house.say(ann, f"{i}") for i in range(3)]
    await start(house, slots=1)  # one started, two held
    messages += [await house.say(ben, "fresh"), await house.say(ann, "fresh, too")]
    outcome = await begin(house)
    assert outcome == Restored(house.clock.now(), sends=5)
    assert await house.statuses() == ["delivery-unknown"] * 5
    told = await house.rows("SELECT interaction_sid FROM events WHERE code = 49001 ORDER BY interaction_sid")
    assert told == [(message.sid,) for message in messages]
    assert await house.store.read(find_meta, MARK) is None
    async with house.working():
        later = await house.say(ann, "after")
        await house.quiet()
    assert house.carrier.bodies(ann.identifier) == ["after"]
    assert house.carrier.bodies(ben.identifier) == []
    assert await house.status(later) == "sent"
    assert await house.outbox() == 0


async def test_messages_that_wait_for_something_are_unknown(house: House) -> None:
    (_, ann, ben), (_, cem, _) = await house.pair(), await house.pair()
    house.carrier.able(look_up=True)
    house.carrier.script(ann.identifier, UNREACHABLE)
    house.carrier.script(ben.identifier, UNCERTAIN)
    house.carrier.answers(UNREACHABLE)
    never = (2**60, cem.proxy_identifier)
    await house.store.write(
        lambda tx: tx.execute("UPDATE numbers SET next_free_at = ? WHERE phone_number = ?", never).rowcount
    )
    async with house.working():
        for one in (ann, ben, cem):
            await house.say(one)
            await house.quiet()
    waiting = [(int(state),) for state in (OutboxState.WAITING, OutboxState.UNCERTAIN, OutboxState.PARKED)]
    assert await house.rows("SELECT state FROM outbox ORDER BY id") == waiting
    assert await begin(house) == Restored(house.clock.now(), sends=3)
    assert await house.statuses() == ["delivery-unknown"] * 3
    assert await house.outbox() == 0


@pytest.mark.parametrize("settings", ["{}", RESEND])
async def test_neither_the_service_nor_the_carrier_has_it_sent_again(house: House, settings: str) -> None:
    """A key is good at its carrier for a day, a backup may be older."""
    house.carrier.able(carrier_keys=True, look_up=True)
    _, ann, _ = await house.pair(await house.service(settings=settings))
    message = await house.say(ann)
    await start(house, slots=1)
    await begin(house)
    async with house.working():
        await house.pass_time(60)
    assert house.carrier.sent == []
    assert await house.status(message) == "delivery-unknown"


async def test_a_report_that_had_told_more_stands(house: House) -> None:
    _, ann, _ = await house.pair()
    message = await house.say(ann)
    sent = int(MessageStatus.SENT)
    await house.store.write(
        lambda tx: tx.execute("UPDATE interactions SET outbound_status = ?", (sent,)).rowcount
    )
    assert await begin(house) == Restored(house.clock.now())
    assert (await house.status(message), await house.events()) == ("sent", [])


async def test_what_was_deleted_goes_without_a_word(house: House) -> None:
    session, ann, _ = await house.pair()
    await house.say(ann)
    await house.delete(session)
    assert await begin(house) == Restored(house.clock.now())
    assert (await house.outbox(), await house.events()) == (0, [])


async def test_what_waits_for_a_verdict_is_unknown_and_nobody_is_asked(house: House) -> None:
    async with receiving() as receiver, receiving() as told:
        service = await house.service(intercept_callback_url=receiver.url, callback_url=told.url)
        _, ann, _ = await house.pair(service)
        received = await house.hear(ann)
        assert await begin(house) == Restored(house.clock.now(), sends=1)
        async with house.working():
            await until(lambda: bool(told.posts))
            await house.quiet()
    assert (receiver.posts, house.carrier.sent) == ([], [])
    assert told.statuses() == ["delivery-unknown"]
    assert await house.status(received.interaction_sid) == "delivery-unknown"
    assert await house.events() == [49001]


async def test_a_strangers_message_is_dropped_with_an_event(house: House) -> None:
    async with receiving() as receiver:
        service = await house.service(0, out_of_session_callback_url=receiver.url)
        number = await house.number(service)
        await house.hear(person(1), number.phone_number, "anybody there?")
        await house.hear(person(1), number.phone_number, "hello?")
        assert await begin(house) == Restored(house.clock.now(), received=2)
        async with house.working():
            await house.quiet()
        assert receiver.posts == []
    assert await house.rows("SELECT DISTINCT code, service_sid FROM events") == [(49001, service.sid)]
    assert await house.outbox() == 0


async def test_an_answer_outside_any_session_is_unknown(house: House) -> None:
    async with receiving() as receiver:
        receiver.answers = [("text/xml", "<Response><Message>Not here.</Message></Response>")]
        service = await house.service(0, out_of_session_callback_url=receiver.url)
        number = await house.number(service)
        async with house.working(slots=0):
            await house.hear(person(1), number.phone_number)
            await until(lambda: bool(receiver.posts))
            await house.quiet()
    assert await begin(house) == Restored(house.clock.now(), sends=1)
    async with house.working():
        await house.quiet()
    assert house.carrier.sent == []
    assert await house.rows("SELECT code, session_sid FROM events") == [(49001, None)]


async def test_callbacks_are_told_again_in_their_order(house: House) -> None:
    async with receiving() as told:
        _, ann, _ = await house.pair(await house.service(callback_url=told.url))
        await house.say(ann)
        await begin(house)
        async with house.working():
            await until(lambda: len(told.posts) == 2)
            await house.quiet()
    assert told.statuses() == ["queued", "delivery-unknown"]


async def test_a_report_that_waits_for_its_message_still_does(house: House) -> None:
    service = await house.service()
    _, ann, _ = await house.pair(service)
    await house.report_of("in-the-future", "delivered", ann.proxy_identifier)
    await begin(house)
    assert await house.rows("SELECT topic FROM outbox") == [("receipt",)]


async def test_texts_that_the_sandbox_had_not_brought_are_not_brought(house: House) -> None:
    _, ann, _ = await house.pair()
    facts = {"id": "SM1", "from": ann.identifier, "to": ann.proxy_identifier, "body": "b", "media": []}
    text, receipt = Todo(0, "SM1", "text", json.dumps(facts)), Todo(0, "SM2", "receipt", "{}")
    added = [(todo.due_at, todo.sid, todo.kind, todo.payload) for todo in (text, receipt)]
    await house.store.write(lambda tx: tx.executemany(ADD_TODO, added))
    assert await begin(house) == Restored(house.clock.now(), received=1)
    assert await house.store.read(due_todos, 9) == ([receipt], None, house.clock.now())
    assert await house.rows("SELECT code, account_sid, service_sid FROM events") == [
        (49001, ACCOUNT, ann.service_sid)
    ]


async def test_a_chosen_resend_sends_what_waited_but_judges_what_was_started(house: House) -> None:
    _, ann, ben = await house.pair()
    messages = [await house.say(ann, "1")]
    await start(house, slots=1)
    messages += [await house.say(ann, "2"), await house.say(ben, "3")]
    assert await begin(house, resend=True) == Restored(house.clock.now(), resends=True)
    assert await house.store.read(find_meta, MARK) is None
    async with house.working():
        await house.quiet()
    assert house.carrier.bodies(ann.identifier) == ["2"]
    assert house.carrier.bodies(ben.identifier) == ["3"]
    assert [await house.status(one) for one in messages] == ["delivery-unknown", "sent", "sent"]


async def test_many_are_given_up_in_steps(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restored, "STEP", 3)
    async with receiving() as told:
        service = await house.service(callback_url=told.url)
        people = [one for _ in range(5) for one in (await house.pair(service))[1:]]
        for one in people:
            await house.say(one)
        with capture_logs() as logs:
            assert await begin(house) == Restored(house.clock.now(), sends=10)
    told = [line["sends"] for line in logs if line["event"] == "restored.giving_up"]
    assert told == sorted(told) and len(set(told)) >= 4, "how far it is"
    assert await house.events() == [49001] * 10
    assert await house.one("SELECT count(*) FROM outbox WHERE topic <> 'callback'") == 0
