"""A carrier that reads no TwiML is led through us: each address that it is given is ours; customers are asked here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlsplit

import pytest
from twilio.request_validator import RequestValidator

from maskline.domain.twiml import Dial, Gather, Hangup, Number, Play, Redirect, Reject, Say, Verb
from maskline.flows.calls import CallRequest
from tests.support.house import ACCOUNT, AUTH_TOKEN, House, person
from tests.support.receiver import Receiver, receiving

STRANGER = person(1)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


class Desk:
    """A carrier by hand, that asks at its own account's addresses."""

    def __init__(self, house: House, service_sid: str, number: str) -> None:
        self.house, self.service_sid, self.number = house, service_sid, number
        self.webhook = f"https://masked.test/carriers/north/call/{service_sid}"

    async def ask(self, url: str = "", account_sid: str = ACCOUNT, **form: str) -> list[Verb]:
        query = dict(parse_qsl(urlsplit(url).query))
        assert url.startswith(f"{self.webhook}?") or not url
        said = {"CallSid": "CA1", "CallStatus": "ringing", "From": STRANGER, "To": self.number, **form}
        request = CallRequest("north", account_sid, self.service_sid, query, said, self.webhook)
        return await self.house.call_relay.answer(request)


@pytest.fixture
async def desk(house: House, receiver: Receiver) -> AsyncIterator[Desk]:
    service = await house.service(0, out_of_session_callback_url=receiver.url)
    number = await house.number(service)
    await house.number(service)
    async with house.working():
        yield Desk(house, service.sid, number.phone_number)


def twiml(inner: str) -> tuple[str, str]:
    return "text/xml", f"<Response>{inner}</Response>"


async def test_a_participant_is_put_through_by_the_carriers_own_addresses(house: House) -> None:
    _, ann, ben = await house.pair(service := await house.service())
    desk = Desk(house, service.sid, ann.proxy_identifier)
    (dial,) = await desk.ask(From=ann.identifier)
    assert isinstance(dial, Dial)
    (number,) = dial.numbers
    assert (number.number, dial.caller_id) == (ben.identifier, ben.proxy_identifier)
    told = {"From": ben.proxy_identifier, "To": ben.identifier, "CallSid": "CA2"}
    assert await desk.ask(number.status_callback or "", CallStatus="in-progress", **told) == []
    ended = await desk.ask(dial.action or "", DialCallStatus="completed", DialCallDuration="7")
    assert ended == [Hangup()]
    rows = await house.rows("SELECT data, inbound_status, outbound_status FROM interactions")
    assert rows == [('{"duration":"7"}', 80, 80)]


async def test_customers_are_asked_from_here(desk: Desk, receiver: Receiver) -> None:
    receiver.answers = [
        twiml(
            '<Gather action="/keys?a=1"><Say>Hello</Say><Play>/hello.mp3</Play></Gather>'
            '<Dial action="/over" method="GET"><Number url="/whisper" statusCallback="/told">+1212</Number></Dial>'
            "<Redirect>/next</Redirect>"
        ),
        twiml("<Say>One</Say><Redirect>/more</Redirect>"),
        twiml("<Hangup/>"),
        200,
    ]
    gather, dial, redirect = await desk.ask()
    assert isinstance(gather, Gather) and isinstance(dial, Dial) and isinstance(redirect, Redirect)
    root = receiver.url.partition("/calls")[0]
    assert gather.prompts == (
        Say("Hello"),
        Play(f"{root}/hello.mp3"),
    )  # what is heard is fetched by the carrier
    (number,) = dial.numbers
    assert isinstance(number, Number)
    assert dial.method == "POST"
    addresses = [gather.action, dial.action, number.url, number.status_callback, redirect.url]
    assert all(address is not None and "keys" not in address for address in addresses)
    say, more = await desk.ask(gather.action or "", CallStatus="in-progress", Digits="1")
    assert say == Say("One") and isinstance(more, Redirect)
    assert await desk.ask(dial.action or "", DialCallStatus="busy") == [Hangup()]
    assert await desk.ask(number.status_callback or "", CallStatus="completed") == []
    _, keys, over, told = receiver.posts
    assert (keys.path, keys.form["Digits"], told.path) == ("/keys?a=1", "1", "/told")
    assert over.path.startswith("/over?") and "DialCallStatus=busy" in over.path
    validator = RequestValidator(AUTH_TOKEN)
    assert validator.validate(f"{root}{keys.path}", keys.form, keys.headers["x-twilio-signature"])
    assert validator.validate(f"{root}{over.path}", {}, over.headers["x-twilio-signature"])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (500, "HTTP 500"),
        (None, "broken"),
        (twiml("<Message>hi</Message>"), "<Message> is not carried out for a call"),
        (twiml("<Record/>"), "12200: <Record> is not served"),
        (("text/xml", "<Response"), "12100: "),
    ],
)
async def test_what_a_customer_does_not_say_ends_the_call(
    house: House, desk: Desk, receiver: Receiver, answer: int | tuple[str, str] | None, why: str
) -> None:
    receiver.answers = [twiml("<Redirect>/next?secret=1</Redirect>"), answer]
    (redirect,) = await desk.ask()
    assert isinstance(redirect, Redirect)
    assert await desk.ask(redirect.url) == [Hangup()]
    ((code, message),) = await house.rows("SELECT code, message FROM events")
    assert code == 80913
    assert why in message and "secret" not in message


@pytest.mark.parametrize("answer", [500, None, ("text/plain", "OK"), ("text/xml", "<Response")])
async def test_what_a_customer_says_to_what_it_is_only_told_is_nothing(
    house: House, desk: Desk, receiver: Receiver, answer: int | tuple[str, str] | None
) -> None:
    receiver.answers = [twiml('<Dial><Number statusCallback="/told">+1212</Number></Dial>'), answer]
    (dial,) = await desk.ask()
    assert isinstance(dial, Dial)
    told = dial.numbers[0].status_callback or ""
    assert await desk.ask(told, CallStatus="completed") == []
    assert (receiver.posts[1].path, receiver.posts[1].form["CallStatus"]) == ("/told", "completed")
    assert await desk.ask(told[:-4], CallStatus="completed") == []
    assert len(receiver.posts) == 2 and await house.events() == []


async def test_an_address_that_is_not_ours_or_of_another_account_leads_nowhere(
    desk: Desk, receiver: Receiver
) -> None:
    receiver.answers = [twiml("<Redirect>/next</Redirect>")]
    (redirect,) = await desk.ask()
    assert isinstance(redirect, Redirect)
    for url, account_sid in (
        (redirect.url[:-4], ACCOUNT),
        (f"{desk.webhook}?Event=follow", ACCOUNT),
        (f"{desk.webhook}?Event=follow&Address=https://evil.example", ACCOUNT),
        (redirect.url, "AC" + "0" * 32),
    ):
        assert await desk.ask(url, account_sid) == [Hangup()]
    assert len(receiver.posts) == 1


async def test_a_call_that_is_handed_back_is_routed_by_the_carriers_addresses(
    house: House, desk: Desk, receiver: Receiver
) -> None:
    service_webhook = house.calls.webhook(ACCOUNT, desk.service_sid)
    receiver.answers = [
        twiml(f"<Redirect>{service_webhook}</Redirect>"),
        ("application/json", f'{{"participantIdentifier": "{person(2)}"}}'),
    ]
    (redirect,) = await desk.ask()
    assert isinstance(redirect, Redirect) and redirect.url.startswith(f"{desk.webhook}?")
    (dial,) = await desk.ask(redirect.url)
    assert isinstance(dial, Dial)
    assert (dial.action or "").startswith(f"{desk.webhook}?Event=dialled")
    assert [number.number for number in dial.numbers] == [person(2)]


async def test_without_an_answer_a_stranger_is_refused(desk: Desk) -> None:
    assert await desk.ask() == [Reject()]


@pytest.mark.parametrize("spelt", ["{}", " {}", "+{}"])
@pytest.mark.parametrize("step", ["first", "later"])
async def test_nobody_calls_under_the_number_of_another_account(
    house: House, desk: Desk, receiver: Receiver, step: str, spelt: str
) -> None:
    """Who is called would call back whoever has it. Their carrier, whose numbers both are, would not mind."""
    theirs = await house.number(await house.service(0))
    await house.store.write(
        lambda tx: (
            tx.execute("UPDATE numbers SET account_sid = 'ACother' WHERE sid = ?", (theirs.sid,)) and None
        )
    )
    dialling = twiml(f'<Dial callerId="{spelt.format(theirs.phone_number[1:])}">+12122010002</Dial>')
    receiver.answers = [twiml("<Redirect>/next</Redirect>"), dialling] if step == "later" else [dialling]
    verbs = await desk.ask()
    if step == "later":
        (redirect,) = verbs
        assert isinstance(redirect, Redirect)
        verbs = await desk.ask(redirect.url)
    assert not any(isinstance(verb, Dial) for verb in verbs)
    ((code, message),) = await house.rows("SELECT code, message FROM events WHERE code <> 80902")
    assert code == (12200 if step == "first" else 80913)
    assert "callerId" in message and theirs.phone_number[1:] not in message


async def test_a_call_goes_under_an_own_number_or_one_that_is_nobodys(desk: Desk, receiver: Receiver) -> None:
    for number in (desk.number, STRANGER, "+12125550199"):
        receiver.answers = [twiml(f'<Dial callerId="{number}">+12122010002</Dial>')]
        (dial,) = await desk.ask(CallSid=f"CA{number}")
        assert isinstance(dial, Dial) and dial.caller_id == number
