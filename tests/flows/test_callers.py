"""Checklist, item 10, for calls: every row of what OutOfSessionCallbackUrl may answer, while the caller waits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from twilio.request_validator import RequestValidator

from maskline.carriers.sandbox_calls import CallScript
from maskline.domain.model import Mode
from maskline.domain.sandbox import CallAnswer, HandsetCall
from maskline.domain.twiml import Dial, Gather, Hangup, Play, Redirect, Reject, Say, Verb
from maskline.flows.handsets import Handsets
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, AUTH_TOKEN, House, person
from tests.support.line import Line
from tests.support.peer import Peer, Talk
from tests.support.receiver import Receiver, receiving
from tests.support.until import until
from tests.wire.facts import samples

STRANGER, PARTNER = person(1), person(2)
REJECT = [Reject()]


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


def twiml(*verbs: str) -> tuple[str, str]:
    return "text/xml; charset=utf-8", f"<Response>{''.join(verbs)}</Response>"


def create(kind: str = "application/json", **fields: object) -> tuple[str, str]:
    return kind, json.dumps({"participantIdentifier": PARTNER, **fields})


class Shop:
    """A Service whose customer is asked about callers, and one of its numbers."""

    def __init__(self, house: House, line: Line, number: str) -> None:
        self.house, self.line, self.number = house, line, number

    async def ring(self, call_sid: str = "CA1", sender: str = STRANGER, **form: str) -> list[Verb]:
        numbers = {"From": sender, "To": self.number}
        return await self.line.ask(
            self.line.url, {"CallSid": call_sid, "CallStatus": "ringing", **numbers, **form}
        )

    async def sessions(self) -> int:
        return int(await self.house.one("SELECT count(*) FROM sessions"))

    async def play(self, clock: FakeClock, **script: Any) -> HandsetCall:
        """The same by the sandbox, to the end of the call."""
        house = self.house
        handsets = Handsets(house.store, clock, house.mint, house.calls, house.call_relay)
        values: dict[str, Any] = {"answer": CallAnswer.ANSWER, "duration_s": 5, "digits": ()} | script
        return await handsets.call(
            self.line.service.sid, CallScript(ACCOUNT, STRANGER, self.number, **values)
        )


@pytest.fixture
async def shop(house: House, receiver: Receiver) -> Shop:
    service = await house.service(0, out_of_session_callback_url=receiver.url)
    number = await house.number(service)
    await house.number(service)
    return Shop(house, Line(house, service), number.phone_number)


async def test_the_customer_is_asked_with_twilios_names_and_what_the_carrier_said(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    async with house.working():
        await shop.ring("CA7", Digits="42", FromCity="NEW YORK", AccountSid="AC" + "f" * 32)
    (post,) = receiver.posts
    places = {
        "From": (STRANGER, "NEW YORK", "NY"),
        "Caller": (STRANGER, "", "NY"),
        "To": (shop.number, "", "CA"),
        "Called": (shop.number, "", "CA"),
    }
    assert post.form == {
        "AccountSid": ACCOUNT,
        "ApiVersion": "2010-04-01",
        "AddOns": '{"status":"successful","message":null,"code":null,"results":{}}',
        "CallSid": "CA7",
        "CallStatus": "ringing",
        "Direction": "inbound",
        "Digits": "42",
        **{
            f"{side}{part}": value
            for side, (number, city, state) in places.items()
            for part, value in (
                ("", number),
                ("City", city),
                ("State", state),
                ("Zip", ""),
                ("Country", "US"),
            )
        },
    }
    assert RequestValidator(AUTH_TOKEN).validate(receiver.url, post.form, post.headers["x-twilio-signature"])


async def test_the_last_session_of_the_pair_is_told_with_both_sides(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    session, ann, ben = await house.pair(shop.line.service, unique_name="order 17", mode=Mode.VOICE_ONLY)
    await house.close(session)
    async with house.working():
        assert await shop.line.ring(ann) == REJECT
    (post,) = receiver.posts
    sample = set(samples()["webhooks"]["webhook.out_of_session_callback_url.call.documented.json"])
    names = {f"{side}ParticipantFriendlyName" for side in ("inbound", "outbound")}
    assert set(post.form) | names == sample | {"ttl"}
    told = {name: value for name, value in post.form.items() if name.startswith("session")}
    assert (told["sessionSid"], told["sessionMode"], told["sessionClosedReason"]) == (
        session.sid,
        "voice-only",
        "api",
    )
    assert post.form["inboundParticipantIdentifier"] == ann.identifier
    assert post.form["outboundParticipantIdentifier"] == ben.identifier
    assert post.form["outboundParticipantProxyIdentifier"] == ben.proxy_identifier


# What may be answered


async def test_twiml_goes_to_the_carrier_with_whole_addresses(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.answers = [
        twiml(
            '<Say language="en-GB">Who is it?</Say><Gather numDigits="4" action="/keys"><Play>a.mp3</Play></Gather>',
            '<Dial callerId="+14155550100" action="?over=1">+14155550101</Dial><Redirect/><Hangup/>',
        )
    ]
    async with house.working():
        verbs = await shop.ring()
    home = receiver.url.partition("/calls")[0]
    say, gather, dial, redirect, hangup = verbs
    assert say == Say("Who is it?", language="en-GB")
    assert gather == Gather((Play(f"{home}/a.mp3"),), num_digits=4, action=f"{home}/keys")
    assert isinstance(dial, Dial) and dial.action == f"{home}/calls?over=1"
    assert (redirect, hangup) == (Redirect(receiver.url), Hangup())
    assert await house.events() == []
    assert await shop.sessions() == 0


@pytest.mark.parametrize(
    ("answer", "events"),
    [
        (twiml("<Record/>"), [12200]),
        (twiml("<Say>first</Say><Enqueue>a</Enqueue>"), [12200]),
        (twiml("<Message>no text is a call</Message>"), [12200]),
        (("text/xml", "<Response>"), [12100]),
        (("application/json", json.dumps(json.dumps({"participantIdentifier": PARTNER}))), [12100]),
        (("text/xml", json.dumps("<Response/>")), [12100]),
        (("application/json", "{}"), [80701, 80902]),
        (("application/json", '{"participantIdentifier": 5}'), [80701, 80902]),
        (("text/html", "<p>created</p>"), [80905]),
        (("text/xml", ""), [80905]),
        (200, [80905]),
        (500, [80913]),
        (404, [80913]),
        (302, [80913]),
        (None, [80913]),
    ],
)
async def test_what_cannot_be_done_turns_the_caller_away_and_says_why(
    house: House, receiver: Receiver, shop: Shop, answer: Any, events: list[int]
) -> None:
    receiver.answers = [answer]
    async with house.working():
        assert await shop.ring() == REJECT
        # Once is enough: the call has ended.
        assert await shop.ring() == [Hangup()]
    assert sorted(await house.events()) == sorted(events)
    assert await shop.sessions() == 0
    messages = [row[0] for row in await house.rows("SELECT message FROM events")]
    assert not [text for text in messages if STRANGER in text or shop.number in text]


async def test_an_empty_response_ends_the_call_without_a_word(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.answers = [twiml()]
    async with house.working():
        assert await shop.ring() == []
    assert await house.events() == []


async def test_a_customer_who_does_not_answer_in_time_is_not_waited_for(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.stalled.clear()
    house.calls._total_s = 0.05
    async with house.working():
        assert await shop.ring() == REJECT
        receiver.stalled.set()
    assert await house.events() == [80913]


async def test_one_who_has_been_answered_is_hung_up_on(house: House, receiver: Receiver, shop: Shop) -> None:
    receiver.answers = [500]
    async with house.working():
        assert await shop.ring(CallStatus="in-progress") == [Hangup()]


# Making a Session


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_a_session_is_made_and_takes_the_call(
    house: House, receiver: Receiver, shop: Shop, kind: str
) -> None:
    receiver.answers = [create(kind, uniqueName="order 17", ttl=600)]
    async with house.working():
        (dial,) = await shop.ring()
    assert isinstance(dial, Dial)
    ((sid, name, ttl, mode),) = await house.rows("SELECT sid, unique_name, ttl, mode FROM sessions")
    assert (name, ttl, mode) == ("order 17", 600, "voice-and-message")
    people = await house.rows("SELECT identifier, proxy_identifier FROM participants ORDER BY sid")
    # The caller is on the number that was called.
    assert people[0] == (STRANGER, shop.number)
    assert (dial.numbers[0].number, dial.caller_id) == people[1]
    assert people[1][0] == PARTNER
    ((session_sid, kind, inbound, outbound),) = await house.rows(
        "SELECT session_sid, type, inbound_status, outbound_status FROM interactions"
    )
    assert (session_sid, kind, inbound, outbound) == (sid, "voice", 30, 10)
    assert await house.events() == []


async def test_where_the_numbers_do_not_text_the_session_is_for_calls(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    await house.store.write(lambda tx: tx.execute("UPDATE numbers SET sms = 0") and None)
    receiver.answers = [create()]
    async with house.working():
        assert [type(verb) for verb in await shop.ring()] == [Dial]
    assert await house.rows("SELECT mode FROM sessions") == [("voice-only",)]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"uniqueName": "taken"}, 80603),
        ({"participantIdentifier": "nobody"}, 80404),
        ({"participantProxyIdentifier": "+14155550999"}, 80606),
        ({"mode": "message-only"}, 80911),
    ],
)
async def test_a_session_that_cannot_be_made_turns_the_caller_away(
    house: House, receiver: Receiver, shop: Shop, fields: dict[str, str], code: int
) -> None:
    await house.session(shop.line.service, unique_name="taken")
    receiver.answers = [create(**fields)]
    async with house.working():
        assert await shop.ring() == REJECT
    events = await house.events()
    assert code in events
    assert (80902 in events) == (code != 80911)


@pytest.mark.parametrize(
    "sender", ["anonymous", "Restricted", "", "+266696687", "+86282452253", "sip:ann@pbx.example"]
)
async def test_for_one_who_hides_their_number_no_session_is_made(
    house: House, receiver: Receiver, shop: Shop, sender: str
) -> None:
    """The next one who hides theirs would be put through to the partner of the first."""
    receiver.answers = [create()]
    async with house.working():
        assert await shop.ring(sender=sender) == REJECT
    assert sorted(await house.events()) == [80404, 80902]
    assert await shop.sessions() == 0


async def test_a_session_that_was_just_made_takes_the_call_of_one_who_lost_the_race(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    """Two calls of one stranger at once: one makes the Session, and both are put through."""
    receiver.answers = [create(uniqueName="one"), create(uniqueName="one")]
    async with house.working():
        first, second = await shop.ring("CA1"), await shop.ring("CA2")
    assert [type(verb) for verb in (*first, *second)] == [Dial, Dial]
    assert await shop.sessions() == 1
    assert len(receiver.posts) == 1


@pytest.mark.parametrize(
    "other", [(500, "", ""), (200, "text/html", "<p>no</p>"), (200, "text/xml", "<Response>")]
)
async def test_a_carrier_that_asks_twice_is_told_what_the_first_answer_led_to(
    house: House, other: tuple[int, str, str]
) -> None:
    """Both requests are of one call: what one of them has put through, the other does not end."""
    answers = [(200, *create()), other]
    gates = [asyncio.Event(), asyncio.Event()]

    async def answer_in_turn(talk: Talk) -> None:
        await talk.request()
        turn = len(peer.requests) - 1
        await gates[turn].wait()
        status, kind, text = answers[turn]
        await talk.answer(status, text.encode(), kind)

    async with Peer(answer_in_turn) as peer, house.working():
        service = await house.service(2, out_of_session_callback_url=peer.url)
        ((number,),) = await house.rows("SELECT phone_number FROM numbers LIMIT 1")
        shop = Shop(house, Line(house, service), number)
        ringing = []
        for turn in (1, 2):
            ringing.append(asyncio.create_task(shop.ring()))
            await until(lambda turn=turn: len(peer.requests) == turn)
        gates[0].set()
        first = await ringing[0]
        gates[1].set()
        second = await ringing[1]
    assert first == second
    assert [type(verb) for verb in first] == [Dial]
    assert await house.events() == []
    assert await house.rows("SELECT inbound_status, outbound_status FROM interactions") == [(30, 10)]


async def test_the_call_is_intercepted_as_if_the_session_had_been_there(
    house: House, receiver: Receiver
) -> None:
    service = await house.service(
        2, out_of_session_callback_url=receiver.url, intercept_callback_url=receiver.url
    )
    ((number,),) = await house.rows("SELECT phone_number FROM numbers LIMIT 1")
    shop = Shop(house, Line(house, service), number)
    receiver.answers = [create(), 403]
    async with house.working():
        assert await shop.ring() == [Reject("busy")]
    assert [("interactionSid" in post.form) for post in receiver.posts] == [False, True]
    assert await house.events() == [80909]


# Handed back


async def test_gather_and_redirect_hand_a_live_call_back(
    house: House, receiver: Receiver, shop: Shop, clock: FakeClock
) -> None:
    """The round trip: keys are gathered, the handler hands the call back, and now the customer knows for whom it is."""
    home = shop.line.url
    receiver.answers = [
        twiml('<Gather numDigits="4" action="/keys"><Say>Order number?</Say></Gather>'),
        twiml(f"<Redirect>{home}</Redirect>"),
        create(),
    ]
    async with house.working():
        call = await shop.play(clock, digits=("1234",), duration_s=30)
    assert [post.path for post in receiver.posts] == ["/calls?customer=7", "/keys", "/calls?customer=7"]
    first, keys, second = (post.form for post in receiver.posts)
    assert first["CallSid"] == keys["CallSid"] == second["CallSid"] == call.sid
    assert (first["CallStatus"], keys["Digits"], second["CallStatus"]) == ("ringing", "1234", "in-progress")
    assert [verb["verb"] for verb in call.verbs] == ["Gather", "Redirect", "Dial", "Hangup"]
    (leg,) = call.legs
    assert (leg["to"], leg["status"], leg["duration"]) == (PARTNER, "completed", 30)
    assert await house.rows("SELECT inbound_status, outbound_status, data FROM interactions") == [
        (80, 80, '{"duration":"30"}')
    ]
    assert await house.events() == []


async def test_a_call_that_is_always_handed_back_is_ended(
    house: House, receiver: Receiver, shop: Shop, clock: FakeClock
) -> None:
    receiver.answers = [twiml(f"<Redirect>{shop.line.url}</Redirect>")] * 20
    async with house.working():
        call = await shop.play(clock)
    assert [verb["verb"] for verb in call.verbs] == ["Redirect"] * 10 + ["Hangup"]
    assert len(receiver.posts) == 10
    assert await house.events() == [49010]


async def test_a_call_that_went_elsewhere_is_forgotten_in_time(
    house: House, receiver: Receiver, shop: Shop, clock: FakeClock
) -> None:
    receiver.answers = [twiml("<Dial>+14155550101</Dial>")]
    async with house.working():
        await shop.ring()
        assert await house.one("SELECT count(*) FROM calls") == 1
        await until(lambda: True)
        clock.advance(4 * 3600 + 900)
        await house.sweeper.sweep()
        assert await house.one("SELECT count(*) FROM calls") == 0
    assert await house.events() == []
