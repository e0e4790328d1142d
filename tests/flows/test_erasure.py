"""A person is erased: nothing that is left names them or says what they wrote, and everybody else stays as they are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest

from maskline.carriers.base import Report
from maskline.domain import problems
from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import SECOND, Participant, Service
from maskline.domain.optout import OPTOUT_PREFIX
from maskline.domain.phone import mask
from maskline.domain.problems import Problem
from maskline.flows import receipts
from maskline.flows.optouts import create_optout
from maskline.flows.people import erase, load_personal_data, read_person
from maskline.flows.retention import STEP
from maskline.flows.sessions import Sessions
from maskline.mint import Mint
from maskline.store.erasure import COST, ERASED, ask_erasure, erase_step, is_being_erased
from maskline.store.idempotency import Key
from maskline.store.participants import find_participant
from maskline.store.personal_data import PersonalData, find_personal_data
from tests.support.carrier import OPTED_OUT, THROTTLED, UNCERTAIN, UNREACHABLE
from tests.support.clock import START, FakeClock
from tests.support.counted import counted
from tests.support.house import ACCOUNT, House, person
from tests.support.receiver import Receiver, receiving
from tests.support.tables import everything
from tests.support.until import until

ANN, BEN = person(1), person(2)
SECRET = "meet me at the usual place"
HOUR = 3600


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def erased(house: House, service: Service, key: str = ANN) -> bool:
    return await erase(house.store, house.clock, ACCOUNT, service.sid, key)


async def held(house: House, service: Service, key: str = ANN) -> PersonalData | None:
    return await house.store.read(find_personal_data, service.sid, key)


async def couple(house: House, service: Service) -> tuple[Any, Participant, Participant]:
    """A Session with Ann and Ben."""
    session = await house.session(service)
    return session, await house.add(session, ANN), await house.add(session, BEN)


async def written(house: House, text: str) -> bool:
    return text in await house.store.read(everything)


# Names


async def test_their_participants_stay_without_a_name_and_deleted(house: House) -> None:
    service = await house.service(2)
    session, ann, ben = await couple(house, service)
    await house.store.write(
        lambda tx: (
            tx.execute("UPDATE participants SET friendly_name = 'Ann' WHERE sid = ?", (ann.sid,)) and None
        )
    )
    house.clock.advance(5)
    assert await erased(house, service)
    now = await house.store.read(find_participant, service.sid, session.sid, ann.sid)
    assert now is not None
    assert (now.identifier, now.identifier_key, now.friendly_name) == (ERASED, ann.sid, None)
    assert now.deleted_at == now.updated_at == house.clock.now()
    assert (now.proxy_identifier, now.created_at) == (ann.proxy_identifier, ann.created_at)
    assert await house.store.read(find_participant, service.sid, session.sid, ben.sid) == ben
    assert not await written(house, ANN)


async def test_their_active_sessions_end_as_if_the_api_had_closed_them(house: House) -> None:
    service = await house.service(2)
    session, _, _ = await couple(house, service)
    closed = await house.close((await couple(house, service))[0])
    house.clock.advance(5)
    assert await erased(house, service)
    now = await house.fetch(session)
    assert (now.status, now.closed_reason, now.ended_at) == ("closed", "api", house.clock.now())
    assert await house.fetch(closed) == closed
    assert await house.rows("SELECT DISTINCT in_use, participants FROM numbers") == [(0, 0)]


async def test_a_session_that_they_had_left_goes_on(house: House) -> None:
    service = await house.service(1)
    session, ann, _ = await couple(house, service)
    await house.remove(ann)
    assert await erased(house, service)
    assert (await house.fetch(session)).status == "open"
    assert not await written(house, ANN)


async def test_of_a_deleted_session_nothing_is_left_either(house: House) -> None:
    service = await house.service(1)
    session, _, _ = await couple(house, service)
    await house.delete(session)
    assert await erased(house, service)
    assert not await written(house, ANN)


async def test_a_session_that_is_opened_again_has_the_other_one_alone(house: House) -> None:
    service = await house.service(1)
    session, ann, ben = await couple(house, service)
    await erased(house, service)
    await house.reopen(session)
    with pytest.raises(Problem) as caught:
        await house.say(ann)
    assert caught.value.code is problems.NOT_FOUND
    await house.hear(ben)
    await house.hear(ANN, ann.proxy_identifier)
    assert await house.events() == [80614, 80905]
    assert (await house.add(session, ANN)).sid != ann.sid


async def test_what_they_had_before_is_forgotten(house: House) -> None:
    service = await house.service(5, settings='{"number_cooldown_s": 3600, "pair_limit": 1}')
    number = [row[0] for row in await house.rows("SELECT phone_number FROM numbers ORDER BY sid")][3]
    session = await house.session(service)
    ann = await house.add(session, ANN, number)
    for _ in range(2):
        await house.hear(ann)
    assert await house.one("SELECT count(*) FROM paces") == 1
    await house.close(session)
    await erased(house, service)
    assert await house.rows("SELECT * FROM people") == await house.rows("SELECT * FROM paces") == []
    assert (await house.add(await house.session(service), ANN)).proxy_identifier != number


async def test_after_that_they_are_a_stranger(house: House) -> None:
    service = await house.service(1)
    _, ann, _ = await couple(house, service)
    await erased(house, service)
    received = await house.hear(ANN, ann.proxy_identifier, SECRET)
    assert received.interaction_sid is None
    assert await house.events() == [80905]


async def test_another_service_and_everybody_else_stay_as_they_are(house: House) -> None:
    service, other = await house.service(1), await house.service(1)
    _, ann, _ = await couple(house, other)
    async with house.working():
        await house.say(ann, SECRET)
        await house.quiet()
    await house.session(service, person(3), BEN)
    before = await house.store.read(everything)
    assert await erased(house, service)
    await house.sweeper.sweep()
    assert await house.store.read(everything) == before


# What was written


async def test_what_they_wrote_and_were_written_is_blanked_and_nothing_else(house: House) -> None:
    service = await house.service(2)
    _, ann, ben = await couple(house, service)
    other = await house.session(service, BEN)
    (ben_elsewhere,) = await house.rows("SELECT sid FROM participants WHERE session_sid = ?", other.sid)
    async with house.working():
        await house.say(ann, "to Ann")
        await house.say(ben, "to Ben")
        await house.hear(ann, body="from Ann")
        await house.hear(ben, body="from Ben")
        await house.messages.create(ACCOUNT, service.sid, other.sid, ben_elsewhere[0], "elsewhere", None)
        await house.quiet()
    assert await erased(house, service)
    data = [row[0] for row in await house.rows("SELECT data FROM interactions ORDER BY sid")]
    assert data == [NO_BODY, '{"body":"to Ben"}', NO_BODY, NO_BODY, '{"body":"elsewhere"}']
    assert await house.statuses() == ["sent"] * 5


async def test_what_the_customer_did_not_let_on_to_them_is_blanked_too(
    house: House, receiver: Receiver
) -> None:
    service = await house.service(1, intercept_callback_url=receiver.url)
    _, _, ben = await couple(house, service)
    receiver.answers = [403]
    async with house.working():
        await house.hear(ben, body=SECRET)
        await house.quiet()
    assert await house.events() == [80909]
    assert await written(house, SECRET)
    assert await erased(house, service)
    assert not await written(house, SECRET)


async def test_how_long_they_talked_is_kept(house: House) -> None:
    service = await house.service(1)
    session, ann, ben = await couple(house, service)
    row = (service.sid, session.sid, house.mint.sid("KI"), ACCOUNT, '{"duration":"5"}', ann.sid, ben.sid)
    await house.store.write(
        lambda tx: (
            tx.execute(
                "INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data,"
                " inbound_participant_sid, outbound_participant_sid, updated_at)"
                " VALUES (?, ?, ?, ?, 'voice', ?, ?, ?, 0)",
                row,
            )
            and None
        )
    )
    assert await erased(house, service)
    assert await house.rows("SELECT data FROM interactions") == [('{"duration":"5"}',)]


# What waits


async def test_what_waits_to_be_sent_to_them_and_from_them_is_not_sent(house: House) -> None:
    """Whatever it waits for; what the API says to the other one goes on."""
    service = await house.service(2)
    _, ann, ben = await couple(house, service)
    house.carrier.always(THROTTLED)
    async with house.working():
        for to in (ann, ann, ben):
            await house.say(to, SECRET)
        await house.hear(ann, body=SECRET)
        await house.hear(ben, body=SECRET)
        await house.quiet()
        states = await house.rows("SELECT DISTINCT state FROM outbox ORDER BY state")
        assert states == [(1,), (3,)]
        assert await erased(house, service)
        house.carrier.mend()
        house.carrier.always(None)
        house.carrier.sent.clear()
        await house.pass_time(HOUR)
    assert [(one.to, one.body) for one in house.carrier.sent] == [(BEN, SECRET)]
    assert await house.statuses() == ["failed", "failed", "sent", "failed", "failed"]
    assert await house.outbox() == 0


async def test_what_nobody_has_looked_at_yet_is_not_sent(house: House) -> None:
    service = await house.service(2)
    _, ann, ben = await couple(house, service)
    for to in (ann, ben):
        await house.say(to, SECRET)
    await house.hear(ann, body=SECRET)
    assert await erased(house, service)
    async with house.working():
        await house.quiet()
    assert [one.to for one in house.carrier.sent] == [BEN]
    assert await house.statuses() == ["failed", "sent", "failed"]


@pytest.mark.parametrize(
    ("answer", "status"), [(None, "sent"), (UNREACHABLE, "failed"), (UNCERTAIN, "delivery-unknown")]
)
async def test_what_is_under_way_is_sent_once_and_not_again(house: House, answer: Any, status: str) -> None:
    service = await house.service(1)
    _, ann, _ = await couple(house, service)
    gate = house.carrier.gate(ANN)
    async with house.working():
        message = await house.say(ann, SECRET)
        await until(lambda: house.carrier.in_flight == 1)
        assert await erased(house, service)
        assert not await written(house, SECRET)
        assert not await written(house, ANN)
        gate.release(answer)
        await house.quiet()
        await house.pass_time(HOUR)
    assert len(house.carrier.sent) == 1
    assert await house.status(message) == status
    assert await house.outbox() == 0


async def test_a_refusal_that_comes_meanwhile_names_nobody(house: House) -> None:
    """It comes between two steps, while the message still stands under their number."""
    service = await house.service(1)
    _, ann, _ = await couple(house, service)
    gate = house.carrier.gate(ANN)
    async with house.working():
        await house.say(ann, SECRET)
        await until(lambda: house.carrier.in_flight == 1)
        await house.store.write(ask_erasure, ACCOUNT, service.sid, ANN)
        gate.release(OPTED_OUT)
        await house.quiet()
        assert await house.rows("SELECT identifier, source FROM optouts") == [(ANN, "carrier")]
        await house.store.write(erase_step, STEP)
    assert await house.rows("SELECT identifier, source FROM optouts") == [(None, "carrier")]


@pytest.mark.parametrize("when", ["between two steps", "afterwards"])
async def test_a_report_of_a_refusal_names_nobody(house: House, when: str) -> None:
    service = await house.service(1)
    _, ann, _ = await couple(house, service)
    async with house.working():
        message = await house.say(ann, SECRET)
        await house.quiet()
    assert message.outbound is not None
    carrier_id = house.carrier.id_of(message.outbound.resource_sid)
    if when == "between two steps":
        await house.store.write(ask_erasure, ACCOUNT, service.sid, ANN)
    else:
        await erased(house, service)
    told = Report(house.carrier.name, ann.proxy_identifier, carrier_id, MessageStatus.FAILED, opted_out=True)
    assert await receipts.report(house.store, house.mint, told)
    expected = [(ANN,)] if when == "between two steps" else []
    assert await house.rows("SELECT identifier FROM optouts") == expected
    await house.store.write(erase_step, STEP)
    assert await house.rows("SELECT identifier FROM optouts WHERE identifier IS NOT NULL") == []


async def test_what_a_carrier_may_have_taken_is_unknown(house: House) -> None:
    """It is asked no more, though it could be."""
    service = await house.service(1)
    house.carrier.can = house.carrier.can.__class__(look_up=True)
    _, ann, _ = await couple(house, service)
    house.carrier.script(ANN, UNCERTAIN)
    async with house.working():
        message = await house.say(ann, SECRET)
        await house.quiet()
        assert await house.rows("SELECT state FROM outbox") == [(5,)]
        assert await erased(house, service)
        await house.pass_time(HOUR)
    assert await house.status(message) == "delivery-unknown"
    assert await house.outbox() == 0


async def test_the_next_one_to_the_other_is_not_held_up_by_what_is_cancelled(house: House) -> None:
    service = await house.service(1)
    _, ann, ben = await couple(house, service)
    house.carrier.script(BEN, THROTTLED)
    async with house.working():
        await house.hear(ann, body=SECRET)
        await house.quiet()
        await house.say(ben, "goes on")
        await house.quiet()
        assert await erased(house, service)
        await house.quiet()
    assert [one.body for one in house.carrier.delivered] == ["goes on"]


async def test_a_verdict_that_is_out_lets_nothing_on(house: House, receiver: Receiver) -> None:
    service = await house.service(1, intercept_callback_url=receiver.url)
    _, ann, _ = await couple(house, service)
    receiver.stalled.clear()
    async with house.working():
        for _ in range(2):
            await house.hear(ann, body=SECRET)
        await until(lambda: len(receiver.posts) == 2)
        assert await erased(house, service)
        assert not await written(house, SECRET)
        receiver.stalled.set()
        await house.quiet()
        await house.pass_time(HOUR)
    assert house.carrier.sent == []
    assert await house.statuses() == ["failed", "failed"]
    assert await house.outbox() == 0


# What they wrote as a stranger

ANSWER = ("text/xml", "<Response><Message>who are you?</Message></Response>")
CREATE = ("application/json", json.dumps({"participantIdentifier": BEN}))


async def write_as_stranger(house: House, service: Service, count: int) -> None:
    """Ann writes to a number of the Service, and is in no Session of it."""
    number = await house.one("SELECT phone_number FROM numbers WHERE service_sid = ?", service.sid)
    for _ in range(count):
        await house.hear(ANN, number, SECRET)


async def test_what_a_stranger_wrote_is_blanked_and_names_nobody(house: House, receiver: Receiver) -> None:
    service = await house.service(1, out_of_session_callback_url=receiver.url)
    async with house.working():
        await write_as_stranger(house, service, 3)
        await until(lambda: len(receiver.posts) == 3)
        await house.quiet()
    assert await held(house, service) == PersonalData(ANN, interactions=3, texts=3)
    assert await erased(house, service)
    assert await held(house, service) is None
    assert not await written(house, SECRET)
    assert not await written(house, ANN)
    assert await house.rows("SELECT DISTINCT data FROM interactions") == [(NO_BODY,)]


@pytest.mark.parametrize("answer", [ANSWER, CREATE], ids=["twiml", "json"])
async def test_what_the_customer_is_being_asked_about_a_stranger_comes_to_nothing(
    house: House, receiver: Receiver, answer: tuple[str, str]
) -> None:
    service = await house.service(1, out_of_session_callback_url=receiver.url)
    receiver.answers = [answer] * 3
    receiver.stalled.clear()
    async with house.working():
        await write_as_stranger(house, service, 3)
        await until(lambda: len(receiver.posts) == 1)
        assert await erased(house, service)
        assert not await written(house, SECRET)
        assert not await written(house, ANN)
        receiver.stalled.set()
        await house.quiet()
    assert house.carrier.sent == []
    assert await house.outbox() == 0
    assert not await written(house, ANN)


async def test_answers_to_a_stranger_that_wait_are_not_sent(house: House, receiver: Receiver) -> None:
    """One that is under way is sent once."""
    service = await house.service(1, out_of_session_callback_url=receiver.url)
    receiver.answers = [ANSWER] * 3
    gate = house.carrier.gate(ANN)
    async with house.working():
        await write_as_stranger(house, service, 3)
        await until(lambda: house.carrier.in_flight == 1 and len(receiver.posts) == 3)
        await house.quiet()
        assert await house.outbox() == 3
        assert await erased(house, service)
        assert not await written(house, ANN)
        gate.release(UNREACHABLE)
        await house.quiet()
        await house.pass_time(HOUR)
    assert len(house.carrier.sent) == 1
    assert await house.outbox() == 0
    assert not await written(house, "who are you?")


# What is told


async def test_what_is_still_told_says_how_far_it_is_and_not_what(house: House, receiver: Receiver) -> None:
    service = await house.service(1, callback_url=receiver.url)
    _, ann, _ = await couple(house, service)
    receiver.answers = [500]
    house.carrier.script(ANN, THROTTLED)
    async with house.working():
        await house.say(ann, SECRET)
        await house.quiet()
        assert await erased(house, service)
        await house.pass_time(30)
        await until(lambda: len(receiver.posts) == 3)
    assert receiver.statuses() == ["queued", "queued", "failed"]
    bodies = [json.loads(post.form["interactionData"])["body"] for post in receiver.posts]
    assert bodies == [SECRET, "", ""]


async def test_what_was_given_up_and_every_attempt_go(house: House, receiver: Receiver) -> None:
    service = await house.service(1, callback_url=receiver.url)
    _, ann, ben = await couple(house, service)
    receiver.answers = [500] * 60
    async with house.working():
        for to in (ann, ben):
            await house.say(to)
        for _ in range(16):
            await house.pass_time(HOUR / 12)
    dead = "SELECT count(*) FROM outbox WHERE state = 6"
    attempts = "SELECT count(DISTINCT interaction_sid) FROM callback_attempts"
    assert (await house.one(dead), await house.one(attempts)) == (4, 2)
    assert await erased(house, service)
    assert (await house.one(dead), await house.one(attempts)) == (2, 1)


async def test_events_show_nothing_of_their_number(house: House) -> None:
    service, other = await house.service(1), await house.service(1)
    ann = person(33)
    number, elsewhere = [row[0] for row in await house.rows("SELECT phone_number FROM numbers ORDER BY sid")]
    for who, to in ((ann, elsewhere), (ann, number), (BEN, number)):
        await house.hear(who, to)
    assert await erased(house, service, ann)
    said = "SELECT message FROM events WHERE service_sid = ? ORDER BY sid"
    here = [row[0].partition(": ")[0] for row in await house.rows(said, service.sid)]
    assert here == [f"from … to {mask(number)}", f"from {mask(BEN)} to {mask(number)}"]
    assert f"from {mask(ann)} to " in await house.one(said, other.sid)


async def test_what_was_made_of_them_under_a_key_is_forgotten(house: House) -> None:
    """The record holds a hash of what was asked; those of others stay."""
    service = await house.service(2)
    scope = f"{ACCOUNT}/{service.sid}"

    def key(name: str) -> Key:
        return Key(scope, name, "POST", "hash")

    session = await house.session(service, ANN, key=key("session"))
    wanted = house.wanted(BEN)
    ben = await house.sessions.add(ACCOUNT, service.sid, session.sid, wanted, key("ben"))
    other = await house.session(service, key=key("other"))
    ann_again = await house.sessions.add(ACCOUNT, service.sid, other.sid, house.wanted(ANN), key("ann"))
    await house.say(ann_again, "to Ann", key("to ann"))
    await house.say(ben, "to Ben", key("to ben"))
    for who in (ANN, BEN):
        sid = house.mint.sid(OPTOUT_PREFIX)
        await house.store.write(create_optout, ACCOUNT, service.sid, sid, who, "", key(f"optout {who}"))
    assert await erased(house, service)
    kept = [("ben",), (f"optout {BEN}",), ("to ben",)]
    assert sorted(await house.rows("SELECT key FROM idempotency")) == kept


# Small steps


async def many(house: House, service: Service, count: int) -> Participant:
    """Ann with so many messages in one Session."""
    _, ann, _ = await couple(house, service)
    rows = [
        (
            service.sid,
            ann.session_sid,
            f"KI{i:032x}",
            ACCOUNT,
            json.dumps({"body": SECRET}),
            ann.sid,
            f"SM{i:032x}",
        )
        for i in range(count)
    ]
    await house.store.write(
        lambda tx: (
            tx.executemany(
                "INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data,"
                " outbound_participant_sid, outbound_resource_sid, outbound_status, updated_at)"
                " VALUES (?, ?, ?, ?, 'message', ?, ?, ?, 70, 0)",
                rows,
            )
            and None
        )
    )
    return ann


async def test_each_step_is_short_and_the_first_takes_the_name(house: House) -> None:
    service = await house.service(1)
    await many(house, service, 4 * STEP)
    await house.store.write(ask_erasure, ACCOUNT, service.sid, ANN)
    steps = 0
    while await house.store.read(is_being_erased, service.sid, ANN):
        done, work = await counted(house, erase_step, STEP)
        assert work.statements < 2 * STEP
        assert work.written <= 2 * STEP + COST
        steps += 1
        assert await house.one("SELECT count(*) FROM participants WHERE identifier = ?", ANN) == 0
        assert done <= STEP + 2 * COST
    assert 4 < steps < 10
    assert not await written(house, SECRET)


async def test_many_sessions_are_ended_in_steps_and_nobody_is_missed(house: House) -> None:
    service = await house.service(120)
    for _ in range(120):
        await house.session(service, ANN)
    await house.store.write(ask_erasure, ACCOUNT, service.sid, ANN)
    left = [120]
    while await house.store.read(is_being_erased, service.sid, ANN):
        _, work = await counted(house, erase_step, STEP)
        assert work.statements < 2 * STEP
        left.append(await house.one("SELECT count(*) FROM participants WHERE active = 1"))
    assert left[0] > left[1] > left[2] > left[3] == 0
    assert await house.rows("SELECT DISTINCT status FROM sessions") == [("closed",)]
    assert await held(house, service) is None


async def test_what_a_request_does_not_wait_for_the_sweep_does(house: House) -> None:
    service = await house.service(1)
    await many(house, service, 4 * STEP)
    assert not await erase(house.store, house.clock, ACCOUNT, service.sid, ANN, patience_s=0)
    assert await held(house, service) == PersonalData(ANN, erasing=True)
    assert await written(house, SECRET)
    await house.sweeper.sweep()
    assert await held(house, service) is None
    assert not await written(house, SECRET)
    assert not await written(house, ANN)


async def test_who_comes_back_meanwhile_is_somebody_new(house: House) -> None:
    service = await house.service(1)
    await many(house, service, 4 * STEP)
    assert not await erase(house.store, house.clock, ACCOUNT, service.sid, ANN, patience_s=0)
    house.clock.advance(0.001)
    session, ann, _ = await couple(house, service)
    await house.sweeper.sweep()
    assert await house.fetch(session) == session
    assert await house.store.read(find_participant, service.sid, session.sid, ann.sid) == ann
    assert await held(house, service) == PersonalData(ANN, 1, 1, 0, 0, 0, 1)


async def test_who_is_added_at_that_very_moment_is_erased_with_the_others(house: House) -> None:
    """A Participant's date is of before the request, and it is written down after it."""
    service = await house.service(3)
    await couple(house, service)
    await house.store.write(ask_erasure, ACCOUNT, service.sid, ANN)
    await couple(house, service)
    while await house.store.write(erase_step, STEP) >= STEP:
        continue
    assert await held(house, service) is None
    assert not await written(house, ANN)


@pytest.mark.parametrize("off_s", [-HOUR, HOUR])
async def test_a_clock_that_is_wrong_leaves_nobody_and_takes_nobody(house: House, off_s: int) -> None:
    """That of the process that added them; the request bears the database's time."""
    wrong = FakeClock(START + off_s * SECOND)
    house.mint, house.sessions = Mint(wrong), Sessions(house.store, wrong)
    service = await house.service(1)
    await many(house, service, 4 * STEP)
    assert not await erase(house.store, house.clock, ACCOUNT, service.sid, ANN, patience_s=0)
    house.clock.advance(0.001)
    await couple(house, service)
    await house.sweeper.sweep()
    assert await held(house, service) == PersonalData(ANN, 1, 1, 0, 0, 0, 1)


async def test_two_at_once_are_both_unnamed_before_their_traffic_is_gone_through(house: House) -> None:
    service = await house.service(1)
    await many(house, service, 4 * STEP)
    for key in (ANN, BEN):
        await house.store.write(ask_erasure, ACCOUNT, service.sid, key)
    await house.store.write(erase_step, STEP)
    for key in (ANN, BEN):
        assert await house.one("SELECT count(*) FROM participants WHERE identifier_key = ?", key) == 0
    await house.sweeper.sweep()
    assert await house.rows("SELECT * FROM erasures") == []


async def test_erasing_again_and_erasing_nobody_is_done(house: House) -> None:
    service = await house.service(1)
    await couple(house, service)
    for key in (ANN, ANN, person(77), "BANK", "whatsapp:+12125550100"):
        assert await erased(house, service, key)
    assert await held(house, service) is None
    with pytest.raises(Problem) as caught:
        await erase(house.store, house.clock, ACCOUNT, "KS" + "0" * 32, ANN)
    assert caught.value.code is problems.NOT_FOUND


@pytest.mark.engine("sqlite")
async def test_the_log_of_the_database_is_cut_off(house: House) -> None:
    """Also where somebody reads meanwhile: it is tried again."""
    service = await house.service(1)
    await couple(house, service)

    def raw() -> bytes:
        return b"".join(file.read_bytes() for file in house.store.path.parent.glob("maskline.db*"))

    assert await erased(house, service)
    assert ANN.encode() in raw()
    reader = sqlite3.connect(house.store.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT 1 FROM meta").fetchone()
    await house.sweeper.sweep()
    assert ANN.encode() in raw()
    reader.close()
    await house.sweeper.sweep()
    assert ANN.encode() not in raw()
    await house.sweeper.sweep()
    assert await house.rows("SELECT value FROM meta WHERE name = 'erased_at'") == []


# What is held


async def test_what_is_held_is_told_in_numbers(house: House) -> None:
    service = await house.service(3)
    _, ann, ben = await couple(house, service)
    closed, ann_before, _ = await couple(house, service)
    async with house.working():
        await house.say(ann_before)
        await house.say(ben)
        await house.hear(ann)
        await house.quiet()
    await house.close(closed)
    await house.say(ann)
    assert await held(house, service) == PersonalData(ANN, 2, 1, 3, 3, 1, 2)
    with pytest.raises(Problem) as caught:
        await house.store.read(load_personal_data, ACCOUNT, service.sid, person(77))
    assert caught.value.code is problems.NOT_FOUND


@pytest.mark.parametrize("text", ["", "  ", "+" * 192])
def test_what_is_nobodys_number_is_not_found(text: str) -> None:
    with pytest.raises(Problem) as caught:
        read_person(text)
    assert caught.value.code is problems.NOT_FOUND


@pytest.mark.parametrize(
    ("text", "key"), [(" 12125550100", "+12125550100"), ("WhatsApp:+5215512345678", "whatsapp:+525512345678")]
)
def test_a_person_is_found_as_everywhere(text: str, key: str) -> None:
    assert read_person(text) == key
