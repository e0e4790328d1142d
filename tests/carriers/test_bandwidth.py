"""An account at Bandwidth: what is its own. The rest is in the suites that all carriers over HTTP pass."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from twilio.request_validator import RequestValidator

from maskline.carriers.base import CarrierError, Checked, Kind
from maskline.carriers.kinds import read_accounts
from maskline.domain.interaction import CallStatus, MessageStatus
from maskline.domain.markup import Element, parse_xml
from maskline.settings import SettingsError
from tests.carriers.benches import OURS, URL, Bench, bandwidth, outgoing
from tests.carriers.world import NUMBERS, World
from tests.support.bandwidth_api import APPLICATION, CALLBACK_USER, BandwidthApi, basic, options
from tests.support.clock import FakeClock
from tests.support.inside import Inside
from tests.support.peer import Request
from tests.support.receiver import receiving
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN
from tests.support.until import until
from tests.support.vendor import Taken, Trouble

HOOKS = "http://inside.test/carriers/north"


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        north = await stack.enter_async_context(BandwidthApi(clock, *NUMBERS, hooks=HOOKS))
        south = await stack.enter_async_context(BandwidthApi(clock, hooks=HOOKS))
        accounts = {"north": north.table, "south": south.table}
        inside = await stack.enter_async_context(
            Inside(tmp_path / "data", clock, carriers=accounts, sandbox=False)
        )
        world = World(inside, north, south)
        await world.meet()
        yield world


async def test_a_masked_conversation(world: World) -> None:
    assert (await world.bring(world.text(world.ann, "Käse & 🍕 = 50 %+"))).status == 200
    (first,) = await world.sent(1)
    assert (first.from_, first.to, first.body) == (NUMBERS[1], world.ben["identifier"], "Käse & 🍕 = 50 %+")
    pictures = [f"{world.north.url}/api/v2/users/9900000/media/{i}/cat.png" for i in (1, 2)]
    await world.bring(world.text(world.ben, "look", *pictures))
    _, second = await world.sent(2)
    assert (second.from_, second.to, second.body) == (NUMBERS[0], world.ann["identifier"], "look")
    assert all(link.startswith(f"{world.inside.url}/media/") for link in second.media)
    for word in ("delivered", "sending"):
        assert (await world.bring(world.north.report(first, word))).status == 200
    assert await world.legs() == [(70, 70), (70, 40)]
    assert await world.events() == []


@pytest.fixture
def keeps_media(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bandwidth has whatever medium it is asked for, and shows it to who has the credentials."""
    answer = BandwidthApi.answer

    def serve(self: BandwidthApi, request: Request) -> tuple[int, Any]:
        status, content = answer(self, request)
        return (200, b"meow") if "/media/" in request.target and status != 401 else (status, content)

    monkeypatch.setattr(BandwidthApi, "answer", serve)


def picture(vendor: Any) -> str:
    return f"{vendor.url}/api/v2/users/9900000/media/1/cat.png"


@pytest.mark.usefixtures("keeps_media")
async def test_media_are_fetched_with_the_credentials_of_the_account_that_brought_them(world: World) -> None:
    await world.bring(world.text(world.ann, "look", picture(world.north), picture(world.south)))
    (taken,) = await world.sent(1)
    shown, refused = [await world.inside.see(link) for link in taken.media]
    assert (shown.status, shown.raw, shown.headers["content-type"]) == (200, b"meow", "image/png")
    assert refused.status == 502
    assert [request.headers.get("authorization") for request in world.south.requests] == [None]
    said = await world.inside.rows("SELECT data FROM interactions UNION ALL SELECT payload FROM outbox")
    assert "p@ss" not in str(said) and "p%40ss" not in str(said)


@pytest.mark.usefixtures("keeps_media")
async def test_who_has_the_number_cannot_have_media_opened_by_saying_that_they_were_brought(
    world: World,
) -> None:
    path = f"{world.inside.url}/v1/Accounts/{ACCOUNT_SID}/Proxy/{world.service['sid']}/Webhooks/Message"
    form = {
        "MessageSid": "SM1",
        "From": world.ann["identifier"],
        "To": NUMBERS[0],
        "Body": "look",
        "NumMedia": "1",
        "MediaUrl0": picture(world.north),
        "MediaContentType0": "image/png",
    }
    signed = {"X-Twilio-Signature": RequestValidator(AUTH_TOKEN).compute_signature(path, form)}
    assert (await world.bring((path, form, signed))).status == 200
    (taken,) = await world.sent(1)
    assert (await world.inside.see(taken.media[0])).status == 502


@pytest.mark.parametrize(
    ("word", "code", "status"),
    [
        ("sending", None, MessageStatus.SENT),
        ("sent", None, MessageStatus.SENT),
        ("delivered", None, MessageStatus.DELIVERED),
        ("read", None, MessageStatus.DELIVERED),
        ("failed", None, MessageStatus.FAILED),
        ("failed", 4432, MessageStatus.FAILED),
        ("failed", 5100, MessageStatus.FAILED),
        ("failed", 4720, MessageStatus.UNDELIVERED),
        ("failed", 5620, MessageStatus.UNDELIVERED),
        ("failed", 9999, MessageStatus.UNDELIVERED),
        ("failed", 9902, MessageStatus.SENT),  # no receipt has come
        ("no-such-word", None, MessageStatus.SENT),
    ],
)
async def test_every_word_of_a_report_is_known(
    world: World, word: str, code: int | None, status: MessageStatus
) -> None:
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    assert (await world.bring(world.north.report(taken, word, code))).status == 200
    assert await world.legs() == [(70, int(status))]


@pytest.mark.parametrize("code", [4475, 4775])
async def test_who_has_opted_out_at_bandwidth_has_opted_out(world: World, code: int) -> None:
    await world.bring(world.text(world.ann, "hi there"))
    (taken,) = await world.sent(1)
    await world.bring(world.north.report(taken, "failed", code))
    assert [code for code, _ in await world.events()] == [21610]
    optouts = await world.inside.get(f"/v1/Services/{world.service['sid']}/OptOuts")
    assert [one["identifier"] for one in optouts["opt_outs"]] == [world.ben["identifier"]]


async def test_a_message_whose_answer_was_lost_is_settled_by_its_report(world: World) -> None:
    world.north.then(Trouble.TAKES_AND_DROPS)
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    assert await world.legs() == [(70, 10)]
    await world.bring(world.north.report(taken, "delivered"))
    assert await world.legs() == [(70, 70)]


async def test_a_message_whose_answer_was_lost_is_found_beside_the_one_before(world: World) -> None:
    await world.bring(world.text(world.ann, "heard of"))
    await world.sent(1)
    world.north.then(Trouble.TAKES_AND_FAILS)
    await world.bring(world.text(world.ann, "not heard of"))
    await world.sent(2)
    await world.inside.quiet()
    world.inside.clock.advance(1)
    await until(lambda: world.north.requests[-1].method == "GET")
    await world.recorded()
    ids = await world.inside.rows("SELECT carrier_id FROM interactions ORDER BY sid")
    assert ids == [(f"north/{taken.id}",) for taken in world.north.taken]


async def test_of_what_comes_together_each_is_brought_whatever_becomes_of_the_others(world: World) -> None:
    ann = world.ann["identifier"]
    events = [
        world.north.received(ann, "+14155550199", "for nobody"),
        world.north.received(ann, NUMBERS[0], "for ben"),
        {"type": "something-new"},
    ]
    hook = world.north.say(f"{HOOKS}/message", events)
    for _ in range(2):
        assert (await world.bring(hook)).status == 404
    assert [taken.body for taken in await world.sent(1)] == ["for ben"]
    assert (await world.bring(world.north.say(f"{HOOKS}/message", events[1:]))).status == 200
    assert len(await world.legs()) == 1


# Calls

ANSWERED, ENDED = "2027-01-15T08:00:03.400Z", "2027-01-15T08:00:15.300Z"


def transfer_in(reply: Any) -> Element:
    """The Transfer of an answer."""
    assert (reply.status, reply.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    (transfer,) = parse_xml(reply.raw, "text/xml").children
    assert transfer.name == "Transfer"
    return transfer


async def test_a_masked_conversation_by_voice(world: World) -> None:
    ann, ben = world.ann["identifier"], world.ben["identifier"]
    transfer = transfer_in(await world.bring(world.north.call(ann, NUMBERS[0], sid="c-1")))
    (number,) = transfer.children
    assert (transfer.attributes["transferCallerId"], number.text) == (NUMBERS[1], ben)
    assert transfer.attributes["callTimeout"] == "30"
    for element in (transfer, number):
        login = element.attributes["username"], element.attributes["password"]
        assert login == (CALLBACK_USER, "e5" * 12)
    webhook = f"{world.inside.url}/carriers/north/call/{world.service['sid']}?"
    answered, over = (number.attributes[f"transfer{name}Url"] for name in ("Answer", "Disconnect"))
    action = transfer.attributes["transferCompleteUrl"]
    assert all(url.startswith(webhook) for url in (answered, over, action))
    # All of it names the caller's side.
    told = world.north.say_of_call(answered, ann, NUMBERS[0], "transferAnswer", answerTime=ANSWERED)
    assert (await world.bring(told)).raw.endswith(b"<Response/>")
    seen = await world.legs()
    times = {"answerTime": ANSWERED, "endTime": ENDED, "cause": "hangup"}
    await world.bring(world.north.say_of_call(over, ann, NUMBERS[0], "transferDisconnect", **times))
    ended = world.north.say_of_call(action, ann, NUMBERS[0], "transferComplete", "c-1", cause="hangup")
    assert (await world.bring(ended)).raw.endswith(b"<Response><Hangup/></Response>")
    hung_up = world.north.call(ann, NUMBERS[0], "disconnect", "c-1", cause="hangup")
    assert (await world.bring(hung_up)).status == 200
    assert seen == [(30, 30)]
    sql = "SELECT type, data, inbound_status, outbound_status FROM interactions"
    assert await world.inside.rows(sql) == [("voice", '{"duration":"12"}', 80, 80)]
    assert await world.events() == []


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        ("busy", CallStatus.BUSY),
        ("rejected", CallStatus.BUSY),
        ("timeout", CallStatus.NO_ANSWER),
        ("cancel", CallStatus.CANCELED),
        ("hangup", CallStatus.CANCELED),  # before anybody had answered
        ("callback-error", CallStatus.FAILED),
        ("something-new", CallStatus.FAILED),
    ],
)
async def test_how_a_call_that_nobody_took_ended_is_known(
    world: World, cause: str, status: CallStatus
) -> None:
    ann = world.ann["identifier"]
    (number,) = transfer_in(await world.bring(world.north.call(ann, NUMBERS[0]))).children
    over = number.attributes["transferDisconnectUrl"]
    told = world.north.say_of_call(over, ann, NUMBERS[0], "transferDisconnect", cause=cause, endTime=ENDED)
    assert (await world.bring(told)).status == 200
    assert await world.legs() == [(80, int(status))]


@pytest.mark.parametrize("digits", ["1", "2", ""])
async def test_the_partner_may_have_to_press_a_key(world: World, digits: str) -> None:
    settings = f"/v1/Services/{world.service['sid']}/Settings"
    await world.inside.post(settings, {"CallAccept": "keypress"})
    ann = world.ann["identifier"]
    (number,) = transfer_in(await world.bring(world.north.call(ann, NUMBERS[0]))).children
    asked = world.north.say_of_call(
        number.attributes["transferAnswerUrl"], ann, NUMBERS[0], "transferAnswer", answerTime=ANSWERED
    )
    gather, hangup = parse_xml((await world.bring(asked)).raw, "text/xml").children
    assert (gather.name, gather.children[0].name, hangup.name) == ("Gather", "SpeakSentence", "Hangup")
    pressed = world.north.say_of_call(
        gather.attributes["gatherUrl"], ann, NUMBERS[0], "gather", digits=digits
    )
    reply = await world.bring(pressed)
    assert reply.raw.endswith(b"<Response/>" if digits == "1" else b"<Response><Hangup/></Response>")
    assert await world.legs() == [(30, 30 if digits == "1" else 10)]
    times = {"answerTime": ANSWERED, "endTime": ENDED, "cause": "hangup"}
    over = number.attributes["transferDisconnectUrl"]
    await world.bring(world.north.say_of_call(over, ann, NUMBERS[0], "transferDisconnect", **times))
    assert await world.legs() == [(80, 80 if digits == "1" else 50)]


async def test_a_stranger_s_call_is_ended(world: World) -> None:
    reply = await world.bring(world.north.call("+12125550150", NUMBERS[0]))
    assert reply.raw.endswith(b"<Response><Hangup/></Response>")


async def test_a_customer_is_asked_about_a_stranger_through_us(world: World) -> None:
    async with receiving() as receiver:
        receiver.answers = [
            ("text/xml", '<Response><Gather action="/keys"/></Response>'),
            ("text/xml", '<Response><Say voice="man" language="de-DE">Tschüs &amp; bye</Say></Response>'),
        ]
        await world.inside.post(world.service["url"], {"OutOfSessionCallbackUrl": receiver.url})
        reply = await world.bring(world.north.call("+12125550150", NUMBERS[0]))
        (gather,) = parse_xml(reply.raw, "text/xml").children
        url = gather.attributes["gatherUrl"]
        hook = world.north.say_of_call(url, "+12125550150", NUMBERS[0], "gather", "c-1", digits="5")
        (speak,) = parse_xml((await world.bring(hook)).raw, "text/xml").children
        assert (speak.name, speak.text) == ("SpeakSentence", "Tschüs & bye")
        assert speak.attributes == {"gender": "male", "locale": "de_DE"}
        asked = receiver.posts[1]
        assert (asked.path, asked.form["Digits"], asked.form["CallSid"]) == ("/keys", "5", "c-1")


async def test_what_is_said_of_a_call_is_believed_for_the_password(world: World) -> None:
    ann = world.ann["identifier"]
    first = world.north.call(ann, NUMBERS[0])
    (number,) = transfer_in(await world.bring(first)).children
    over = number.attributes["transferDisconnectUrl"]
    told = world.north.say_of_call(over, ann, NUMBERS[0], "transferDisconnect", cause="busy")
    for url, body, headers in (first, told):
        forged = {**headers, "Authorization": basic(CALLBACK_USER, "another")}
        assert (await world.bring((url, body, forged))).status == 403
    astray = world.north.say_of_call(over, ann, "+14155550199", "transferDisconnect", cause="busy")
    assert (await world.bring(astray)).status == 404
    assert await world.legs() == [(30, 10)]


@pytest.mark.parametrize("change", [{"callId": ""}, {"callId": 7}, {"to": ""}, {"from": "1" * 192}])
async def test_a_call_that_makes_no_sense_is_refused(world: World, change: dict[str, Any]) -> None:
    url, body, headers = world.north.call("+12125550150", NUMBERS[0])
    hook = (url, json.dumps({**json.loads(body), **change}).encode(), headers)
    assert (await world.bring(hook)).json["code"] == 80701
    assert (await world.bring((url, b"[]", headers))).status == 400


def test_without_a_voice_application_there_are_no_calls() -> None:
    said = {"kind": "bandwidth", **options("https://x.test")}
    accounts = read_accounts({"mute": {**said, "voice_application_id": ""}, "north": said})
    assert [account.can.voice for account in accounts.values()] == [False, True]


# Who shows the password


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (None, "is missing"),
        ("", "is missing"),
        ("é", "does not fit"),
        (basic(CALLBACK_USER, "another"), "does not fit"),
        (basic("another", "e5" * 12), "does not fit"),
        (basic(CALLBACK_USER, "e5" * 12)[:-1], "does not fit"),
    ],
)
async def test_who_does_not_know_the_password_is_refused(world: World, shown: str | None, said: str) -> None:
    url, body, headers = world.text(world.ann, "forged")
    headers = (
        {**headers, "Authorization": shown} if shown is not None else {"Content-Type": "application/json"}
    )
    reply = await world.bring((url, body, headers))
    assert (reply.status, reply.json["code"]) == (403, 20403)
    ((code, message),) = await world.events()
    assert code == 20403 and f"Authorization {said}, at {url}" in message
    assert await world.legs() == []


@pytest.mark.parametrize("missing", ["callback_user", "callback_password"])
def test_without_a_password_there_is_no_account(missing: str) -> None:
    said = options("https://x.test")
    del said[missing]
    with pytest.raises(SettingsError, match=missing):
        read_accounts({"north": {"kind": "bandwidth", **said}})
    with pytest.raises(SettingsError, match="callback_password"):
        read_accounts(
            {"north": {"kind": "bandwidth", **options("https://x.test"), "callback_password": "short"}}
        )


# Bad input


@pytest.mark.parametrize(("said", "kept"), [("a\0b", "ab"), ("a\ud83db", "a\ufffdb")])
async def test_a_text_goes_on_without_what_no_text_may_have(world: World, said: str, kept: str) -> None:
    assert (await world.bring(world.text(world.ann, said))).status == 200
    assert [taken.body for taken in await world.sent(1)] == [kept]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"to": ""}, "to is required"),
        ({"to": ["+1"]}, "to is required"),
        ({"to": "1" * 192}, "to (at most 191"),
        ({"message": None}, "message.id is required"),
        ({"message": {"id": "1"}}, "message.from is required"),
        ({"message": {"id": "1" * 192, "from": "+1"}}, "message.id (at most 191"),
        ({"type": "message-failed", "errorCode": [4475], "message": {"id": "1"}}, "message.from is required"),
    ],
)
async def test_what_makes_no_sense_is_refused(world: World, change: dict[str, Any], named: str) -> None:
    event = {**world.north.received("+12125550170", NUMBERS[0], "hi"), **change}
    reply = await world.bring(world.north.say(f"{HOOKS}/message", [event]))
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert named in reply.json["message"]
    assert await world.legs() == []


@pytest.mark.parametrize("content", [{}, None, [1], "x"])
async def test_what_is_no_list_of_events_is_refused(world: World, content: Any) -> None:
    assert (await world.bring(world.north.say(f"{HOOKS}/message", content))).status == 400
    assert (await world.bring(world.north.say(f"{HOOKS}/nothing", []))).status == 403


@pytest.mark.parametrize(
    ("media", "count"),
    [(["https://s.example/1", None, "", 7, {"url": "x"}], 1), (7, 0), ({"0": "https://s.example/1"}, 0)],
)
async def test_odd_media_are_passed_over(world: World, media: Any, count: int) -> None:
    event = world.north.received(world.ann["identifier"], NUMBERS[0], "look")
    event["message"]["media"] = media
    assert (await world.bring(world.north.say(f"{HOOKS}/message", [event]))).status == 200
    (taken,) = await world.sent(1)
    assert len(taken.media) == count


async def test_a_report_on_nothing_that_is_known_waits(world: World) -> None:
    stray = Taken("1", NUMBERS[0], "+12125550170", "")
    assert (await world.bring(world.north.report(stray, "delivered"))).status == 200
    assert await world.inside.rows("SELECT topic, count(*) FROM outbox GROUP BY topic") == [("receipt", 1)]


# What Bandwidth is told, and what it says


async def test_a_send_carries_our_own_sid(clock: FakeClock) -> None:
    async with bandwidth(clock) as bench:
        message = outgoing("hi")
        await bench.carrier.send(message)
        (request,) = bench.vendor.requests
    assert (request.target, json.loads(request.body)) == (
        "/api/v2/users/9900000/messages",
        {
            "applicationId": APPLICATION,
            "from": OURS,
            "to": [message.to],
            "text": "hi",
            "tag": message.sid,
        },
    )


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (403, {"type": "forbidden", "description": "Access Denied"}, Kind.MISCONFIGURED),
        (404, {"status": 404, "error": "Not Found"}, Kind.MISCONFIGURED),
        (400, {"type": "request-validation", "fieldErrors": []}, Kind.REJECTED),
        (403, {"type": "something-new"}, Kind.REJECTED),
    ],
)
async def test_its_own_refusals(
    clock: FakeClock, status: int, content: Any, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BandwidthApi, "answer", lambda *_: (status, content))
    async with bandwidth(clock) as bench:
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.send(outgoing())
    assert caught.value.kind is kind


AWAY = [
    "..",
    "../messages",
    "1/../../messages",
    "1/..",
    "./../messages",
    "%2e%2e/messages",
    ".%2E/messages",
    "..%2fmessages",
    "1%2F..%2F..%2Fmessages",
    "%252e%252e/messages",
    "%2525252525252e./messages",
    "..\\messages",
    "..%5cmessages",
    "..;/messages",
    "..?a=b",
    ".\t./messages",
    ".%09./messages",
]


@pytest.mark.parametrize(
    ("url", "is_shut"),
    [
        ("/api/v2/users/9900000/media/1/cat.png?a=b", True),
        ("/api/v2/users/9900000/media/1/my%20..cat.%2e.png", True),
        ("/api/v2/users/9900000/media/1/100%25%2Fcat...", True),
        *((f"/api/v2/users/9900000/media/{path}", False) for path in AWAY),
        ("/api/v2/users/9900001/media/1/cat.png", False),
        ("/api/v2/users/9900000/messages", False),
        ("/elsewhere", False),
    ],
)
async def test_only_its_own_media_are_opened(clock: FakeClock, url: str, is_shut: bool) -> None:
    async with bandwidth(clock) as bench:
        for host in (bench.vendor.url, "https://evil.example"):
            opened = bench.carrier.fetchable(host + url)
            if is_shut and host == bench.vendor.url:
                assert opened == f"{host}{url}".replace("://", "://api-user:p%40ss%2Fw%3Ard@")
            else:
                assert opened == host + url


# What the doctor hears


async def said(bench: Bench) -> list[str]:
    before = len(bench.vendor.requests)
    found = [one.says for one in await bench.carrier.check([OURS])]
    assert {request.method for request in bench.vendor.requests[before:]} <= {"GET"}  # it changes nothing
    return found


async def test_the_doctor_hears_how_the_account_is(clock: FakeClock) -> None:
    async with bandwidth(clock) as bench:
        vendor: Any = bench.vendor
        good = "Bandwidth takes its credentials"
        assert await said(bench) == [good]
        vendor.user_shown = "another"
        assert await said(bench) == [
            good,
            "its application's callbacks show another name than callback_user",
        ]
        vendor.user_shown, vendor.voice_hooks = CALLBACK_USER, "https://before.example"
        _, problem = await said(bench)
        assert problem == (
            f"its voice application does not bring its traffic to {URL}/call"
            " (CallInitiatedCallbackUrl, CallStatusCallbackUrl)"
        )
        vendor.hooks = "https://before.example"
        _, problem = await said(bench)
        assert (
            problem == f"its application does not bring its traffic to {URL}/message"
            " (CallbackUrl, InboundCallbackUrl, MsgCallbackUrl, OutboundCallbackUrl)"
        )
        vendor.password = "changed"
        assert await said(bench) == ["cannot be asked: misconfigured (status 401)"]


async def test_the_doctor_hears_where_its_numbers_are(clock: FakeClock) -> None:
    async with bandwidth(clock) as bench:
        vendor: Any = bench.vendor
        good = Checked("Bandwidth takes its credentials")
        assert await bench.carrier.check([OURS, "72345", "+442079460000"]) == [good]
        unknown = "+14155550199"
        _, problem = await bench.carrier.check([OURS, unknown])
        assert problem.says == "+1…99: the account at Bandwidth has no such number" and problem.remedy
        vendor.voice_location = "another"
        _, problem = await bench.carrier.check([OURS])
        assert problem.says == "+1…00 is in a location that does not use the account's applications"
        vendor.voice_location, vendor.location = "", ""
        assert len(await bench.carrier.check([OURS])) == 2
        vendor.owner = "another"
        assert (await bench.carrier.check([OURS]))[1].says.endswith("has no such number")


async def test_that_numbers_cannot_be_looked_up_is_told_once(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = BandwidthApi.answer

    def serve(self: BandwidthApi, request: Request) -> tuple[int, Any]:
        return (403, self.error(403)) if "/tns/" in request.target else answer(self, request)

    monkeypatch.setattr(BandwidthApi, "answer", serve)
    async with bandwidth(clock) as bench:
        _, problem = await bench.carrier.check([OURS, OURS])
    assert problem.says == "where its numbers are cannot be looked up: misconfigured (status 403)"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<Application/>", "does not bring its traffic"),
        (b"<", "cannot be read"),
        (b"\xff", "cannot be read"),
        (None, "cannot be looked up: misconfigured (status 403)"),
    ],
)
async def test_an_application_that_cannot_be_looked_at_is_told(
    clock: FakeClock, content: bytes | None, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = BandwidthApi.answer

    def serve(self: BandwidthApi, request: Request) -> tuple[int, Any]:
        if "/applications/" not in request.target:
            return answer(self, request)
        return (200, content) if content is not None else (403, self.error(403))

    monkeypatch.setattr(BandwidthApi, "answer", serve)
    async with bandwidth(clock) as bench:
        good, bad = await bench.carrier.check([])
    assert good.remedy is None and problem in bad.says and bad.remedy is not None
