"""Calls: who is dialled as whom, what carriers may say of it in whatever order, and how each ends."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from itertools import permutations
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from twilio.request_validator import RequestValidator

from maskline.domain.call import SILENCE_S
from maskline.domain.interaction import CALL_WORDS, CallStatus
from maskline.domain.model import Mode, SessionStatus
from maskline.domain.problems import Problem
from maskline.domain.twiml import Dial, Gather, Hangup, Reject, Say, Verb, render_twiml
from maskline.flows.sessions import remove_interaction
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, AUTH_TOKEN, House
from tests.support.line import Line, a_line
from tests.support.peer import Peer, Talk
from tests.support.receiver import Receiver, receiving
from tests.support.until import until
from tests.wire.facts import samples

AGAIN, REJECT, BUSY = [Hangup()], [Reject()], [Reject("busy")]


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


# Who is dialled


async def test_the_partner_is_dialled_and_sees_their_own_proxy_number(house: House) -> None:
    line, session, ann, ben = await a_line(house)
    call = await line.dial(ann)
    assert (call.number.number, call.dial.caller_id) == (ben.identifier, ben.proxy_identifier)
    assert (call.dial.timeout_s, call.dial.time_limit_s) == (30, 14_400)
    assert b'timeout="30"' in render_twiml([call.dial])
    assert ann.identifier not in render_twiml([call.dial]).decode()
    one = await line.one(session)
    assert (one.type, one.data) == ("voice", "")
    assert one.inbound is not None and one.outbound is not None
    assert (one.inbound.participant_sid, one.outbound.participant_sid) == (ann.sid, ben.sid)
    assert {one.inbound.resource_sid[:2], one.outbound.resource_sid[:2]} == {"CA"}
    assert await line.statuses(session) == ("in-progress", "initiated", "")
    for url, event in ((call.number.status_callback, "status"), (call.dial.action, "dialled")):
        parts = urlsplit(str(url))
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == line.url
        assert parse_qs(parts.query) == {
            "Event": [event],
            "Session": [session.sid],
            "Interaction": [one.sid],
        }
    used = await house.fetch(session)
    assert (used.status, used.last_interaction_at) == (SessionStatus.IN_PROGRESS, house.clock.now())


async def test_a_setting_says_how_long_it_rings(house: House) -> None:
    line, _, ann, _ = await a_line(house, settings={"ring_timeout_s": 45})
    assert (await line.dial(ann)).dial.timeout_s == 45


async def test_mobile_numbers_of_argentina_are_called_with_their_digit(house: House) -> None:
    service = await house.service(0)
    for number in ("+541152200001", "+541152200002"):
        await house.number(service, number)
    session = await house.session(service)
    ann, _ = await house.add(session, "+541123456789"), await house.add(session, "+541123456780")
    call = await Line(house, service).dial(replace(ann, identifier="+5491123456789"))
    assert call.number.number == "+5491123456780"


@pytest.mark.parametrize(
    ("mode", "code"), [(Mode.MESSAGE_ONLY, 80911), (Mode.VOICE_ONLY, None), (Mode.VOICE_AND_MESSAGE, None)]
)
async def test_a_session_takes_calls_by_its_mode(house: House, mode: Mode, code: int | None) -> None:
    line, session, ann, _ = await a_line(house, mode=mode)
    verbs = await line.ring(ann)
    assert (verbs == REJECT) == (code is not None)
    assert await house.events() == ([code] if code else [])
    assert len(await line.interactions(session)) == (0 if code else 1)
    assert (await house.fetch(session)).status == (SessionStatus.OPEN if code else SessionStatus.IN_PROGRESS)


async def test_without_a_partner_nobody_is_dialled(house: House) -> None:
    service = await house.service(2)
    session = await house.session(service)
    line, ann = Line(house, service), await house.add(session)
    assert await line.ring(ann) == REJECT
    assert await house.events() == [80614]


@pytest.mark.parametrize("caller", ["+12125550999", "anonymous", "", "whatsapp:+12125550999"])
async def test_who_has_no_session_is_turned_away(house: House, caller: str) -> None:
    line, session, ann, _ = await a_line(house)
    assert await line.ring(replace(ann, identifier=caller)) == REJECT
    assert await house.events() == [80902]
    assert await line.interactions(session) == []


async def test_a_number_that_is_not_in_the_pool_reaches_nobody(house: House) -> None:
    line, _, ann, _ = await a_line(house)
    _, _, stranger, _ = await a_line(house)
    assert await line.ring(stranger) == AGAIN
    assert await line.ring(replace(ann, proxy_identifier="+14155550999")) == AGAIN
    assert await house.events() == [80905, 80905]


# What becomes of it


@pytest.mark.parametrize("status", ["completed", "busy", "no-answer", "failed", "canceled"])
async def test_each_end_of_the_partners_side_is_the_end_of_the_callers(house: House, status: str) -> None:
    line, session, ann, _ = await a_line(house)
    call = await line.dial(ann)
    for word in ("initiated", "ringing"):
        await call.tell(word)
    assert await line.statuses(session) == ("in-progress", "ringing", "")
    if status == "completed":
        await call.tell("in-progress")
        assert await line.statuses(session) == ("in-progress", "in-progress", "")
    await call.tell(status, CallDuration="7")
    duration = "7" if status == "completed" else "0"
    assert await line.statuses(session) == ("completed", status, f'{{"duration":"{duration}"}}')
    assert await call.over(status, DialCallDuration="9") == AGAIN
    assert await line.statuses(session) == ("completed", status, f'{{"duration":"{duration}"}}')
    assert await house.events() == []


async def test_reports_merge_in_any_order_and_number(house: House) -> None:
    reports = ["initiated", "ringing", "answered", "completed"]
    line, session, ann, _ = await a_line(house)
    for number, order in enumerate(permutations(reports)):
        call = await line.dial(ann, f"CA{number}")
        for word in (*order, order[0]):
            await call.tell(word, **({"CallDuration": "3"} if word == "completed" else {}))
        await call.over("completed", DialCallDuration="3")
    for one in await line.interactions(session):
        assert one.inbound is not None and one.outbound is not None
        assert (CALL_WORDS[one.inbound.status], CALL_WORDS[one.outbound.status]) == ("completed", "completed")
        assert one.data == '{"duration":"3"}'
    assert await house.events() == []


async def test_the_end_of_the_dial_alone_is_enough(house: House) -> None:
    line, session, ann, _ = await a_line(house)
    call = await line.dial(ann)
    assert await call.over("completed", DialCallDuration="12") == AGAIN
    assert await line.statuses(session) == ("completed", "completed", '{"duration":"12"}')


@pytest.mark.parametrize("said", ["", "soon", "-4", "1.5", "9999999"])
async def test_a_duration_that_is_none_is_counted_here(house: House, clock: FakeClock, said: str) -> None:
    line, session, ann, _ = await a_line(house)
    call = await line.dial(ann)
    await call.tell("in-progress")
    clock.advance(42)
    await call.tell("completed", CallDuration=said)
    assert await line.statuses(session) == ("completed", "completed", '{"duration":"42"}')


async def test_two_ends_are_told_and_the_higher_counts(house: House) -> None:
    line, session, ann, _ = await a_line(house)
    call = await line.dial(ann)
    await call.tell("busy")
    await call.tell("completed", CallDuration="5")
    assert await line.statuses(session) == ("completed", "completed", '{"duration":"5"}')
    await call.tell("no-answer")
    assert await line.statuses(session) == ("completed", "completed", '{"duration":"5"}')
    assert await house.events() == [80906, 80906]


async def test_a_report_on_no_call_is_an_event(house: House) -> None:
    line, session, ann, _ = await a_line(house)
    url = f"{line.url}?Event=status&Session={session.sid}&Interaction=KI{'0' * 32}"
    assert await line.ask(url, {"CallStatus": "completed"}) == []
    assert await line.ask(f"{line.url}?Event=dialled", {"DialCallStatus": "completed"}) == AGAIN
    assert await line.ask(f"{line.url}?Event=accept", {"Digits": "1"}) == AGAIN
    assert await line.ask(f"{line.url}?Event=other", {"Digits": "1"}) == AGAIN
    assert await line.ring(ann, CallStatus="completed") == []
    assert await house.events() == [80907, 80907, 80907]


async def test_a_word_that_is_no_status_changes_nothing(house: House) -> None:
    line, session, ann, _ = await a_line(house)
    call = await line.dial(ann)
    for word in ("", "sent", "delivered", "COMPLETELY"):
        await call.tell(word)
    assert await line.statuses(session) == ("in-progress", "initiated", "")
    assert await house.events() == []


@pytest.mark.parametrize(("joined", "status"), [(False, "canceled"), (True, "completed")])
async def test_the_caller_may_hang_up_first(
    house: House, clock: FakeClock, joined: bool, status: str
) -> None:
    line, session, ann, _ = await a_line(house)
    call = await line.dial(ann)
    if joined:
        await call.tell("in-progress")
    clock.advance(6)
    assert await line.ring(ann, CallStatus="completed") == []
    assert await line.statuses(session) == ("completed", status, f'{{"duration":"{6 if joined else 0}"}}')
    assert await line.ring(ann) == AGAIN


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_is_said_statuses_rise_and_the_call_ends(
    house: House, clock: FakeClock, seed: int
) -> None:
    """A carrier that says anything at any time: nothing goes back, nothing is dialled twice, nothing stays open."""
    rng = random.Random(seed)
    accept = rng.choice(["off", "keypress"])
    line, session, ann, _ = await a_line(house, settings={"call_accept": accept})
    call = await line.dial(ann)
    address = str(call.dial.action)
    before = (0, 0)
    for _ in range(25):
        clock.advance(rng.choice([0, 1, 60]))
        word = rng.choice(["initiated", "ringing", "in-progress", "completed", "busy", "canceled", "x"])
        match rng.randrange(6):
            case 0 | 1:
                await call.tell(word, CallDuration=rng.choice(["", "5", "x"]))
            case 2:
                assert await call.over(word) == AGAIN
            case 3:
                keys = {"Digits": rng.choice(["", "1", "2"])}
                await line.ask(address.replace("dialled", rng.choice(["accept", "whisper", "?"])), keys)
            case 4:
                await line.ring(ann, CallStatus=rng.choice(["completed", "in-progress"]))
            case 5:
                verbs = await line.ring(ann)
                fresh = (await line.one(session)).outbound
                assert verbs == AGAIN or (fresh is not None and fresh.status == CallStatus.INITIATED)
        one = await line.one(session)
        assert one.inbound is not None and one.outbound is not None
        now = (one.inbound.status, one.outbound.status)
        assert now >= before and now[1] >= before[1]
        assert (now[0] == CallStatus.COMPLETED) == (now[1] >= CallStatus.CANCELED)
        assert bool(one.data) == (now[0] == CallStatus.COMPLETED)
        before = now
    clock.advance(SILENCE_S)
    await house.sweeper.sweep()
    assert (await line.statuses(session))[0] == "completed"


# The customer


async def test_the_callback_url_is_told_the_start_and_each_status(house: House, receiver: Receiver) -> None:
    line, session, ann, ben = await a_line(house, callback_url=receiver.url)
    async with house.working():
        call = await line.dial(ann)
        await until(lambda: len(receiver.posts) == 1)
        for word in ("initiated", "ringing", "in-progress"):
            await call.tell(word)
        house.clock.advance(2)
        await call.tell("completed", CallDuration="5")
        await call.over("completed", DialCallDuration="5")
        await house.quiet()
    one = await line.one(session)
    assert one.inbound is not None and one.outbound is not None
    calls = f"https://masked.example/2010-04-01/Accounts/{ACCOUNT}/Calls"
    assert receiver.posts[0].form == {
        "inboundParticipantSid": ann.sid,
        "inboundResourceSid": one.inbound.resource_sid,
        "inboundResourceStatus": "in-progress",
        "inboundResourceType": "call",
        "inboundResourceUrl": f"{calls}/{one.inbound.resource_sid}.json",
        "interactionAccountSid": ACCOUNT,
        "interactionData": "",
        "interactionDateCreated": "2027-01-15T08:00:00Z",
        "interactionDateUpdated": "2027-01-15T08:00:00Z",
        "interactionServiceSid": session.service_sid,
        "interactionSessionSid": session.sid,
        "interactionSid": one.sid,
        "interactionType": "Voice",
        "outboundParticipantSid": ben.sid,
        "outboundResourceSid": one.outbound.resource_sid,
        "outboundResourceStatus": "initiated",
        "outboundResourceType": "call",
        "outboundResourceUrl": f"{calls}/{one.outbound.resource_sid}.json",
    }
    sample = samples()["webhooks"]["webhook.callback_url.call.documented.json"]
    assert sorted(receiver.posts[0].form) == sample
    assert [
        (form["inboundResourceStatus"], form["outboundResourceStatus"], form["interactionData"])
        for form in (post.form for post in receiver.posts)
    ] == [
        ("in-progress", "initiated", ""),
        ("in-progress", "ringing", ""),
        ("in-progress", "in-progress", ""),
        ("completed", "completed", '{"duration":"5"}'),
    ]
    assert receiver.posts[-1].form["interactionDateUpdated"] == "2027-01-15T08:00:02Z"
    for post in receiver.posts:
        assert RequestValidator(AUTH_TOKEN).validate(
            receiver.url, post.form, post.headers["x-twilio-signature"]
        )


async def test_the_customer_is_asked_before_anybody_is_dialled(house: House, receiver: Receiver) -> None:
    line, session, ann, ben = await a_line(
        house, intercept_callback_url=receiver.url, callback_url=receiver.url.replace("/calls", "/told")
    )
    async with house.working():
        call = await line.dial(ann)
        assert call.number.number == ben.identifier
        await house.quiet()
    asked, told = receiver.posts
    one = await line.one(session)
    assert one.inbound is not None
    assert (asked.path, told.path) == ("/calls?customer=7", "/told?customer=7")
    assert asked.form == {
        "inboundParticipantSid": ann.sid,
        "inboundResourceSid": one.inbound.resource_sid,
        "inboundResourceStatus": "in-progress",
        "inboundResourceType": "call",
        "inboundResourceUrl": told.form["inboundResourceUrl"],
        "interactionAccountSid": ACCOUNT,
        "interactionData": "",
        "interactionDateCreated": "2027-01-15T08:00:00Z",
        "interactionDateUpdated": "2027-01-15T08:00:00Z",
        "interactionServiceSid": session.service_sid,
        "interactionSessionSid": session.sid,
        "interactionSid": one.sid,
        "interactionType": "Voice",
        "outboundParticipantSid": ben.sid,
    }
    sample = samples()["webhooks"]["webhook.intercept_callback_url.call.documented.json"]
    assert sorted(asked.form) == sorted([*sample, "outboundParticipantSid"])
    assert told.form["outboundResourceStatus"] == "initiated"
    assert RequestValidator(AUTH_TOKEN).validate(
        receiver.url, asked.form, asked.headers["x-twilio-signature"]
    )


@pytest.mark.parametrize(
    ("status", "failure", "passes", "events"),
    [
        (200, "allow", True, []),
        (403, "allow", False, [80909]),
        (500, "allow", True, [49005]),
        (500, "block", False, [80909]),
        (None, "allow", True, [49005]),
        (404, "block", False, [80909]),
    ],
)
async def test_403_blocks_and_what_is_no_verdict_does_as_the_service_says(
    house: House, receiver: Receiver, status: int | None, failure: str, passes: bool, events: list[int]
) -> None:
    receiver.answers = [status]
    line, session, ann, _ = await a_line(
        house, intercept_callback_url=receiver.url, settings={"intercept_failure": failure}
    )
    async with house.working():
        verbs = await line.ring(ann)
    assert [type(verb) for verb in verbs] == [Dial if passes else Reject]
    assert await house.events() == events
    used = await house.fetch(session)
    if passes:
        assert await line.statuses(session) == ("in-progress", "initiated", "")
        assert used.status is SessionStatus.IN_PROGRESS
    else:
        assert verbs == BUSY
        assert await line.statuses(session) == ("completed", None, '{"duration":"0"}')
        assert (used.status, used.last_interaction_at) == (SessionStatus.OPEN, None)
        assert await line.ring(ann) == AGAIN


async def test_a_customer_who_thinks_too_long_is_not_waited_for(house: House, receiver: Receiver) -> None:
    receiver.stalled.clear()
    house.calls._intercept_s = 0.05
    line, _, ann, _ = await a_line(house, intercept_callback_url=receiver.url)
    async with house.working():
        assert [type(verb) for verb in await line.ring(ann)] == [Dial]
    assert await house.events() == [49005]
    receiver.stalled.set()


@pytest.mark.parametrize(("status", "verb"), [(403, Reject), (200, Dial)])
async def test_a_verdict_counts_from_its_head_on(house: House, status: int, verb: type[Verb]) -> None:
    """As of a message: what follows the head may take longer than a caller waits."""

    async def begins(talk: Talk) -> None:
        await talk.request()
        await talk.say(f"HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n12".encode())
        await talk.until_closed()

    house.calls._intercept_s = 0.3
    async with Peer(begins) as peer:
        line, _, ann, _ = await a_line(house, intercept_callback_url=peer.url)
        async with house.working():
            assert [type(each) for each in await line.ring(ann)] == [verb]
    assert await house.events() == ([80909] if status == 403 else [])


async def test_what_changes_while_the_customer_thinks_is_looked_at_again(
    house: House, receiver: Receiver
) -> None:
    line, session, ann, ben = await a_line(house, intercept_callback_url=receiver.url)
    receiver.stalled.clear()

    async def meanwhile(change: Any) -> list[Verb]:
        before = len(receiver.posts)
        ringing = asyncio.create_task(line.ring(ann, f"CA{before}"))
        await until(lambda: len(receiver.posts) > before)
        await change
        receiver.stalled.set()
        verbs = await ringing
        receiver.stalled.clear()
        return verbs

    async with house.working():
        assert await meanwhile(house.remove(ben)) == REJECT
        carl = await house.add(session)
        assert await meanwhile(house.remove(carl)) == REJECT
        await house.add(session)
        assert await meanwhile(house.close(session)) == REJECT
        await house.reopen(session)
        assert await meanwhile(house.delete(session)) == REJECT
        receiver.stalled.set()
    assert await house.events() == [80904, 80904, 80904]


async def test_what_became_of_a_call_is_told_even_where_the_customer_said_nothing(
    house: House, receiver: Receiver
) -> None:
    line, session, ann, _ = await a_line(house, intercept_callback_url=receiver.url)
    receiver.answers = [500]
    receiver.stalled.clear()
    async with house.working():
        ringing = asyncio.create_task(line.ring(ann))
        await until(lambda: len(receiver.posts) == 1)
        await house.close(session)
        receiver.stalled.set()
        assert await ringing == REJECT
    assert await house.events() == [80904]


async def test_a_carrier_that_asks_twice_while_the_customer_thinks_dials_once(
    house: House, receiver: Receiver
) -> None:
    line, session, ann, _ = await a_line(house, intercept_callback_url=receiver.url)
    receiver.stalled.clear()
    async with house.working():
        ringing = [asyncio.create_task(line.ring(ann)) for _ in range(2)]
        await until(lambda: len(receiver.posts) == 2)
        receiver.stalled.set()
        first, second = [await each for each in ringing]
        await house.quiet()
    assert first == second
    assert len(await line.interactions(session)) == 1
    tokens = {post.headers["i-twilio-idempotency-token"] for post in receiver.posts}
    assert len(tokens) == 1


# Whoever answers


async def test_the_partner_has_to_press_a_key_where_the_service_says_so(house: House) -> None:
    line, session, ann, _ = await a_line(house, settings={"call_accept": "keypress"})
    call = await line.dial(ann)
    await call.tell("ringing")
    await call.tell("in-progress")
    gather, hangup = await call.answered()
    assert isinstance(gather, Gather) and isinstance(hangup, Hangup) and gather.action
    assert (gather.num_digits, gather.timeout_s) == (1, 10)
    assert ann.identifier not in render_twiml([gather]).decode()
    assert await line.statuses(session) == ("in-progress", "ringing", "")
    assert await line.ask(gather.action, {"Digits": "2"}) == AGAIN
    assert await line.statuses(session) == ("in-progress", "ringing", "")
    assert await line.ask(gather.action, {"Digits": "1"}) == []
    assert await line.statuses(session) == ("in-progress", "in-progress", "")
    await call.tell("completed", CallDuration="30")
    assert await line.statuses(session) == ("completed", "completed", '{"duration":"30"}')
    assert await line.ask(gather.action, {"Digits": "1"}) == AGAIN


async def test_what_the_partner_hears_is_a_setting(house: House) -> None:
    words = {"call_accept_prompt": "Tiene una llamada. Oprima 1.", "call_accept_language": "es-AR"}
    line, _, ann, _ = await a_line(house, settings={"call_accept": "keypress", **words})
    gather, _ = await (await line.dial(ann)).answered()
    assert isinstance(gather, Gather)
    assert gather.prompts == (Say("Tiene una llamada. Oprima 1.", language="es-AR"),)


async def test_a_voicemail_that_answers_is_no_answer(house: House) -> None:
    line, session, ann, _ = await a_line(house, settings={"call_accept": "keypress"})
    call = await line.dial(ann)
    await call.tell("in-progress")
    await call.tell("completed", CallDuration="14")
    assert await line.statuses(session) == ("completed", "no-answer", '{"duration":"0"}')
    await call.over("completed", DialCallDuration="14")
    assert await line.statuses(session) == ("completed", "no-answer", '{"duration":"0"}')
    assert await house.events() == []


# Again


async def test_a_call_that_comes_in_again_is_no_new_one(house: House) -> None:
    line, session, ann, _ = await a_line(house)
    call = await line.dial(ann)
    assert await line.ring(ann) == [call.dial]
    await call.tell("ringing")
    assert await line.ring(ann) == AGAIN
    await call.tell("completed")
    assert await line.ring(ann) == AGAIN
    assert len(await line.interactions(session)) == 1


@pytest.mark.parametrize("change", ["close", "remove", "delete"])
async def test_a_call_that_comes_in_again_after_its_session_dials_nobody(house: House, change: str) -> None:
    line, session, ann, ben = await a_line(house)
    call = await line.dial(ann)
    assert await line.ring(ann) == [call.dial]
    await getattr(house, change)(ben if change == "remove" else session)
    assert await line.ring(ann) == AGAIN


async def test_a_call_that_nobody_wants_to_be_asked_about_any_more_goes_on(
    house: House, receiver: Receiver
) -> None:
    line, session, ann, _ = await a_line(house, intercept_callback_url=receiver.url)
    receiver.stalled.clear()
    async with house.working():
        ringing = asyncio.create_task(line.ring(ann))
        await until(lambda: len(receiver.posts) == 1)
        await house.store.write(
            lambda tx: tx.execute("UPDATE services SET intercept_callback_url = NULL") and None
        )
        assert [type(verb) for verb in await line.ring(ann)] == [Dial]
        receiver.answers = [403]
        receiver.stalled.set()
        # The first to decide has decided.
        assert [type(verb) for verb in await ringing] == [Dial]
    assert await line.statuses(session) == ("in-progress", "initiated", "")
    assert await house.events() == []


async def test_one_who_plays_the_request_again_later_learns_nothing(house: House, clock: FakeClock) -> None:
    line, _, ann, _ = await a_line(house)
    call = await line.dial(ann)
    await call.tell("completed")
    clock.advance(7 * 86_400 - 1)
    await house.sweeper.sweep()
    assert await line.ring(ann) == AGAIN
    clock.advance(1)
    await house.sweeper.sweep()
    assert await house.rows("SELECT * FROM calls") == []


async def test_a_call_that_is_handed_back_for_ever_is_ended(house: House) -> None:
    line, session, ann, _ = await a_line(house)
    call = await line.dial(ann)
    for _ in range(9):
        assert await line.ring(ann) == [call.dial]
    assert await line.ring(ann) == AGAIN
    assert await line.statuses(session) == ("completed", "canceled", '{"duration":"0"}')
    assert await line.ring(ann) == AGAIN
    assert await house.events() == [49010]


async def test_a_request_that_comes_again_for_ever_does_not_end_who_talk(
    house: House, clock: FakeClock
) -> None:
    line, session, ann, _ = await a_line(house)
    call = await line.dial(ann)
    await call.tell("in-progress")
    for _ in range(12):
        assert await line.ring(ann) == AGAIN
    assert await line.statuses(session) == ("in-progress", "in-progress", "")
    assert await house.events() == [49010]
    clock.advance(SILENCE_S)
    await house.sweeper.sweep()
    assert await line.statuses(session) == ("completed", "completed", "")
    assert await house.events() == [49010, 49011]


# Time


async def test_a_session_that_ends_in_mid_call_does_not_end_the_call(house: House, clock: FakeClock) -> None:
    line, session, ann, _ = await a_line(house, ttl=60)
    call = await line.dial(ann)
    await call.tell("in-progress")
    clock.advance(61)
    await house.sweeper.sweep()
    assert (await house.fetch(session)).closed_reason == "ttl-expired"
    assert await line.statuses(session) == ("in-progress", "in-progress", "")
    assert await line.ring(ann, "CA2") == REJECT
    clock.advance(600)
    await call.tell("completed")
    assert await line.statuses(session) == ("completed", "completed", '{"duration":"661"}')
    ended = await house.fetch(session)
    assert (ended.status, ended.last_interaction_at) == (SessionStatus.CLOSED, session.created_at)
    # What has ended is not known any more as a pair, once that has been written down.
    assert await house.events() == [80902]


async def test_the_end_of_a_call_begins_the_ttl_anew(house: House, clock: FakeClock) -> None:
    line, session, ann, _ = await a_line(house, ttl=60)
    call = await line.dial(ann)
    clock.advance(50)
    await call.tell("completed")
    ended_at = clock.now()
    clock.advance(59)
    assert (await house.fetch(session)).status is SessionStatus.IN_PROGRESS
    assert (await house.fetch(session)).last_interaction_at == ended_at
    clock.advance(1)
    assert (await house.fetch(session)).status is SessionStatus.CLOSED
    # Not yet swept: the pair is known, and its Session has ended.
    assert await line.ring(ann, "CA2") == REJECT
    assert await house.events() == [80904]


@pytest.mark.parametrize(
    ("joined", "status", "data"),
    [(False, "failed", '{"duration":"0"}'), (True, "completed", "")],
)
async def test_a_call_of_which_nothing_is_heard_is_taken_for_ended(
    house: House, clock: FakeClock, receiver: Receiver, joined: bool, status: str, data: str
) -> None:
    line, session, ann, _ = await a_line(house, callback_url=receiver.url)
    async with house.working():
        call = await line.dial(ann)
        if joined:
            await call.tell("in-progress")
        clock.advance(SILENCE_S - 1)
        await house.sweeper.sweep()
        assert (await line.statuses(session))[0] == "in-progress"
        await house.pass_time(1)
        await house.sweeper.sweep()
        await house.quiet()
    assert await line.statuses(session) == ("completed", status, data)
    assert [code for code in await house.events() if code != 80908] == [49011]
    # What is heard after all is believed.
    await call.tell("completed", CallDuration="33")
    assert (await line.statuses(session))[1:] == ("completed", '{"duration":"33"}')


async def test_who_hangs_up_while_the_customer_thinks_has_reached_nobody(
    house: House, receiver: Receiver
) -> None:
    told = receiver.url.replace("/calls", "/told")
    line, session, ann, _ = await a_line(house, intercept_callback_url=receiver.url, callback_url=told)
    receiver.stalled.clear()
    async with house.working():
        ringing = asyncio.create_task(line.ring(ann))
        await until(lambda: len(receiver.posts) == 1)
        assert await line.ring(ann, CallStatus="completed") == []
        receiver.stalled.set()
        assert await ringing == AGAIN
        await house.quiet()
    assert await line.statuses(session) == ("completed", None, '{"duration":"0"}')
    used = await house.fetch(session)
    assert (used.status, used.last_interaction_at) == (SessionStatus.OPEN, None)
    assert [post.path for post in receiver.posts] == ["/calls?customer=7"]
    assert await house.events() == []


async def test_a_call_that_was_asked_about_when_the_process_died_is_ended_too(
    house: House, clock: FakeClock, receiver: Receiver
) -> None:
    line, session, ann, _ = await a_line(house, intercept_callback_url=receiver.url)
    receiver.stalled.clear()
    async with house.working():
        ringing = asyncio.create_task(line.ring(ann))
        await until(lambda: len(receiver.posts) == 1)
        ringing.cancel()
        receiver.stalled.set()
        clock.advance(SILENCE_S)
        await house.sweeper.sweep()
    assert await line.statuses(session) == ("completed", None, '{"duration":"0"}')
    assert (await house.fetch(session)).last_interaction_at is None
    assert await house.events() == [49011]


# Deleting


async def test_a_running_call_is_not_deleted_and_an_ended_one_is(house: House) -> None:
    line, session, ann, _ = await a_line(house)
    call = await line.dial(ann)
    one = await line.one(session)

    async def delete() -> None:
        await house.store.write(remove_interaction, ACCOUNT, session.service_sid, session.sid, one.sid)

    with pytest.raises(Problem) as caught:
        await delete()
    assert caught.value.code.number == 20009
    await call.tell("busy")
    await delete()
    assert await line.interactions(session) == []
    await call.tell("completed", CallDuration="5")
    assert await line.ring(ann) == AGAIN
    assert await house.events() == []


async def test_what_is_heard_of_a_deleted_session_is_dropped(house: House) -> None:
    line, session, ann, _ = await a_line(house)
    call = await line.dial(ann)
    await house.delete(session)
    await house.sweeper.sweep()
    await call.tell("completed", CallDuration="5")
    assert await call.over("completed") == AGAIN
    assert await line.ring(ann) == AGAIN
    assert await house.events() == []
