"""What the sandbox does with TwiML: every verb, in counted seconds, with whoever is dialled in its books first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from twilio.request_validator import RequestValidator

from maskline.carriers.sandbox_calls import MOST_REQUESTS, CallScript, HandsetCalling
from maskline.domain.call import Unanswered
from maskline.domain.sandbox import CallAnswer, HandsetCall
from maskline.domain.twiml import Verb, parse_twiml, resolve
from maskline.flows.calls import CallRequest
from maskline.mint import Mint
from tests.support.house import ACCOUNT, AUTH_TOKEN, House
from tests.support.peer import Peer, Talk

URL = "https://told.example/start"


class Told:
    """Servers that answer each path with its document, and what they were asked. The books are those of this call."""

    def __init__(self, **documents: str) -> None:
        self.documents = documents
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.noted: list[list[str]] = []

    async def ask(self, url: str, method: str, form: Mapping[str, str]) -> list[Verb]:
        name = urlsplit(url).path[1:]
        self.asked.append((name, dict(form)))
        if name not in self.documents:
            raise Unanswered("HTTP 404")
        document = f"<Response>{self.documents[name]}</Response>".encode()
        return resolve(parse_twiml(document), url)

    async def note(self, call: HandsetCall) -> None:
        self.noted.append([leg["to"] for leg in call.legs])

    async def play(self, mint: Mint, **script: Any) -> HandsetCall:
        values: dict[str, Any] = {"answer": CallAnswer.ANSWER, "duration_s": 5, "digits": ()} | script
        calling = HandsetCalling(CallScript(ACCOUNT, "+1", "+2", **values), mint, self.ask, self.note, 0)
        return await calling.run(URL)


def verbs(call: HandsetCall) -> list[tuple[int, str]]:
    return [(verb["at"], verb["verb"]) for verb in call.verbs]


@pytest.mark.parametrize(
    ("document", "status", "took"),
    [
        ("", "completed", [(0, 0)]),
        ("<Reject/><Say>never</Say>", "no-answer", [(0, "Reject")]),
        ('<Reject reason="busy"/>', "busy", [(0, "Reject")]),
        ("<Hangup/><Say>never</Say>", "completed", [(0, "Hangup")]),
        (
            '<Say>Hello there, you</Say><Play>/a.mp3</Play><Pause length="7"/><Reject/>',
            "completed",
            [(0, "Say"), (2, "Play"), (7, "Pause"), (14, "Reject")],
        ),
        ("<Redirect>/next</Redirect><Say>never</Say>", "completed", [(0, "Redirect"), (0, "Say")]),
        ("<Message>no call is a message</Message>", "completed", [(0, "Message"), (0, "error")]),
        ("<Redirect>/nowhere</Redirect>", "completed", [(0, "Redirect"), (0, "error")]),
    ],
)
async def test_verbs_take_their_seconds(mint: Mint, document: str, status: str, took: list[Any]) -> None:
    call = await Told(start=document, next="<Say>Hi</Say>").play(mint)
    assert call.status == status
    assert verbs(call) == ([] if took == [(0, 0)] else took)


async def test_keys_are_given_to_one_gather_after_the_other(mint: Mint) -> None:
    told = Told(
        start='<Gather action="/first" numDigits="2"><Say>Code?</Say></Gather><Say>never</Say>',
        first='<Gather action="/second"/>',
        second='<Gather action="/third" finishOnKey=""/>',
        third='<Gather actionOnEmptyResult="true" action="/fourth" timeout="9"><Say>Well?</Say></Gather>',
        fourth='<Gather timeout="4"/><Say>Nobody</Say>',
    )
    call = await told.play(mint, digits=("1234", "56#78", "9#"))
    assert [form.get("Digits") for _, form in told.asked] == [None, "12", "56", "9#", ""]
    assert verbs(call)[-1] == (2 + 2 + 2 + 1 + 9 + 4, "Say")


async def test_a_call_that_is_sent_on_for_ever_ends(mint: Mint) -> None:
    told = Told(start="<Redirect/>")
    call = await told.play(mint)
    assert len(told.asked) == MOST_REQUESTS
    assert call.verbs[-1]["twiml"] == f"more than {MOST_REQUESTS} requests in one call"


DIAL = (
    '<Dial callerId="+3" timeout="20" timeLimit="60" action="/over"><Number statusCallback="/status"'
    ' statusCallbackEvent="initiated ringing answered completed">+4</Number></Dial>'
)


@pytest.mark.parametrize(
    ("answer", "words", "seconds"),
    [
        (CallAnswer.ANSWER, ["initiated", "ringing", "in-progress", "completed"], 63),
        (CallAnswer.BUSY, ["initiated", "ringing", "busy"], 1),
        (CallAnswer.NO_ANSWER, ["initiated", "ringing", "no-answer"], 20),
        (CallAnswer.FAIL, ["initiated", "ringing", "failed"], 0),
    ],
)
async def test_who_is_dialled_does_as_the_script_says(
    mint: Mint, answer: CallAnswer, words: list[str], seconds: int
) -> None:
    told = Told(start=DIAL, status="", over="<Hangup/>")
    call = await told.play(mint, answer=answer, duration_s=600)
    statuses = [form["CallStatus"] for name, form in told.asked if name == "status"]
    assert statuses == words
    (over,) = [form for name, form in told.asked if name == "over"]
    assert over["DialCallStatus"] == words[-1]
    assert over.get("DialCallDuration") == ("60" if answer is CallAnswer.ANSWER else None)
    (leg,) = call.legs
    assert (leg["from"], leg["to"], leg["status"]) == ("+3", "+4", words[-1])
    assert verbs(call) == [(0, "Dial"), (seconds, "Hangup")]
    # In the books before anybody hears of it.
    assert told.noted[:2] == [[], ["+4"]]


async def test_of_several_the_first_answers_and_without_an_action_it_goes_on(mint: Mint) -> None:
    told = Told(start="<Dial><Number>+4</Number><Number>+5</Number></Dial><Say>Bye</Say>")
    call = await told.play(mint)
    assert [(leg["from"], leg["to"], leg["status"]) for leg in call.legs] == [
        ("+1", "+4", "completed"),
        ("+1", "+5", "canceled"),
    ]
    assert verbs(call) == [(0, "Dial"), (8, "Say")]


@pytest.mark.parametrize(
    ("answer", "rung", "ends"), [("answer", ["+4"], "completed"), ("busy", ["+4", "+5"], "busy")]
)
async def test_one_after_the_other_is_dialled_until_one_answers(
    mint: Mint, answer: str, rung: list[str], ends: str
) -> None:
    numbers = "<Number>+4</Number><Number>+5</Number>"
    told = Told(start=f'<Dial sequential="true" action="/over">{numbers}</Dial>', over="")
    call = await told.play(mint, answer=CallAnswer(answer))
    assert [(leg["to"], leg["status"]) for leg in call.legs] == [(number, ends) for number in rung]
    assert told.noted[1:] == [rung[: count + 1] for count in range(len(rung))] + [rung]
    assert told.asked[-1][1]["DialCallStatus"] == ends


async def test_nobody_answers_faster_than_it_rings(mint: Mint) -> None:
    call = await Told(start='<Dial timeout="2">+4</Dial>').play(mint)
    assert [leg["status"] for leg in call.legs] == ["no-answer"]


@pytest.mark.parametrize("whisper", ["<Hangup/>", "<Dial>+5</Dial>", "<Redirect>/nowhere</Redirect>"])
async def test_who_hears_something_else_first_may_hang_up(mint: Mint, whisper: str) -> None:
    told = Told(start='<Dial action="/over"><Number url="/w">+4</Number></Dial>', w=whisper, over="")
    await told.play(mint)
    assert told.asked[-1][1]["DialBridged"] == "false"
    told.documents["w"] = "<Say>You have a call</Say>"
    await told.play(mint)
    assert told.asked[-1][1]["DialBridged"] == "true"
    assert told.asked[-1][1]["DialCallDuration"] == "7"


# Over the wire


def request(account_sid: str, form: dict[str, str]) -> CallRequest:
    return CallRequest("sandbox", account_sid, "KS" + "0" * 32, {}, form)


async def test_the_webhooks_of_other_accounts_are_not_asked(house: House) -> None:
    theirs, form = await house.service(), {"CallSid": "CA1"}
    another, whisper = "AC" + "0" * 32, "?Event=whisper"
    own = house.calls.webhook(ACCOUNT, theirs.sid) + whisper
    assert await house.call_relay.ask(request(ACCOUNT, form), own, "POST")
    for account, url in (
        (another, own),
        (ACCOUNT, house.calls.webhook(another, theirs.sid) + whisper),
        (another, house.calls.webhook(another, theirs.sid) + whisper),
        (ACCOUNT, house.calls.webhook(ACCOUNT, "KS" + "0" * 32) + whisper),
    ):
        with pytest.raises(Unanswered, match="HTTP 403"):
            await house.call_relay.ask(request(account, form), url, "POST")


async def test_customers_are_asked_as_a_carrier_would(house: House) -> None:
    answers = iter(
        [
            (200, b"<Response><Redirect method='GET'>/b?x=1</Redirect></Response>", "text/xml"),
            (200, b"", "text/plain"),
            (200, b"<Response><Record/></Response>", "text/xml"),
            (500, b"", "text/plain"),
        ]
    )

    async def behave(talk: Talk) -> None:
        while True:
            await talk.request()
            await talk.answer(*next(answers))

    await house.store.write(house.open_account)
    await house.http.open()
    try:
        async with Peer(behave) as peer:
            url = f"{peer.url}/a?t=7"
            form = {"CallSid": "CA1", "Digits": "1 2"}
            (redirect,) = await house.call_relay.ask(request(ACCOUNT, form), url, "POST")
            assert await house.call_relay.ask(request(ACCOUNT, form), redirect.url, redirect.method) == []  # type: ignore[union-attr]
            for reason in ("12200: <Record> is not served: there are no recordings", "HTTP 500"):
                with pytest.raises(Unanswered, match=reason):
                    await house.call_relay.ask(request(ACCOUNT, form), url, "POST")
            for wrong in ("", "ftp://x/", "nothing"):
                with pytest.raises(Unanswered):
                    await house.call_relay.ask(request(ACCOUNT, form), wrong, "POST")
        validator = RequestValidator(AUTH_TOKEN)
        post, get, *_ = peer.requests
        assert (post.target, post.form) == ("/a?t=7", form)
        assert validator.validate(url, post.form, post.headers["x-twilio-signature"])
        assert (get.target, get.body) == ("/b?x=1&CallSid=CA1&Digits=1+2", b"")
        assert validator.validate(f"{peer.url}{get.target}", {}, get.headers["x-twilio-signature"])
    finally:
        await house.http.close()
