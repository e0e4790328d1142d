"""An account at Plivo: what is its own. The rest is in the suites that all carriers over HTTP pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from maskline.carriers.base import CarrierError, Kind
from maskline.carriers.plivo import STATUSES, PlivoCarrier
from maskline.carriers.webhooks import WebRequest
from maskline.domain.interaction import CallStatus, MessageStatus
from maskline.domain.markup import Element, parse_xml
from tests.carriers.benches import OURS, URL, Bench, outgoing, plivo
from tests.carriers.test_twilio import EMPTY, released
from tests.carriers.world import NUMBERS, World
from tests.support.clock import FakeClock
from tests.support.inside import Inside
from tests.support.plivo_api import PlivoApi
from tests.support.receiver import receiving
from tests.support.until import until
from tests.support.vendor import Taken, Trouble

UUID = "db3ce55a-7f1d-11e1-8ea7-1231380bc196"


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        north = await stack.enter_async_context(PlivoApi(clock, *NUMBERS))
        inside = await stack.enter_async_context(
            Inside(tmp_path / "data", clock, carriers={"north": north.table}, sandbox=False)
        )
        world = World(inside, north, north)
        await world.meet()
        yield world


async def test_a_masked_conversation(world: World) -> None:
    reply = await world.bring(world.text(world.ann, "Käse & 🍕 = 50 %+"))
    assert (reply.status, reply.raw) == (200, EMPTY)
    (first,) = await world.sent(1)
    assert (first.from_, first.to, first.body) == (NUMBERS[1], world.ben["identifier"], "Käse & 🍕 = 50 %+")
    await world.bring(world.text(world.ben, "look", "https://media.plivo.example/1", "https://s.example/2"))
    _, second = await world.sent(2)
    assert (second.from_, second.to, second.body) == (NUMBERS[0], world.ann["identifier"], "look")
    assert len(second.media) == 2
    assert all(link.startswith(f"{world.inside.url}/media/") for link in second.media)
    for word in ("delivered", "sent"):
        assert (await world.bring(world.north.report(first, word))).status == 200
    assert await world.legs() == [(70, 70), (70, 40)]
    assert await world.events() == []


@pytest.mark.parametrize("word", [*STATUSES, "no-such-word"])
async def test_every_word_of_a_report_is_known(world: World, word: str) -> None:
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    assert (await world.bring(world.north.report(taken, word))).status == 200
    assert await world.legs() == [(70, int(STATUSES.get(word, MessageStatus.SENT)))]


async def test_who_has_opted_out_at_plivo_has_opted_out(world: World) -> None:
    """Plivo takes the message, and says so in its report."""
    for _ in range(2):
        await world.bring(world.text(world.ann, "hi there"))
    first, second = await world.sent(2)
    await world.bring(world.north.report(first, "undelivered", "70"))
    assert await world.events() == []
    await world.bring(world.north.report(second, "failed", "200"))
    assert await world.legs() == [(70, 60), (70, 50)]
    assert [code for code, _ in await world.events()] == [21610]
    optouts = await world.inside.get(f"/v1/Services/{world.service['sid']}/OptOuts")
    ((number, source),) = [(one["identifier"], one["source"]) for one in optouts["opt_outs"]]
    assert (number, source) == (world.ben["identifier"], "carrier")


async def test_what_is_brought_twice_is_relayed_once(world: World) -> None:
    for _ in range(3):
        assert (await world.bring(world.text(world.ann, "once", sid=UUID))).status == 200
    await world.bring(world.text(world.ann, "last"))
    assert [taken.body for taken in await world.sent(2)] == ["once", "last"]


async def test_a_message_whose_answer_was_lost_is_settled_by_its_report(world: World) -> None:
    world.north.then(Trouble.TAKES_AND_DROPS)
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    assert await world.legs() == [(70, 10)]
    await world.bring(world.north.report(taken, "delivered"))
    assert await world.legs() == [(70, 70)]


async def test_a_message_whose_answer_was_lost_is_found_beside_the_one_before(world: World) -> None:
    """Plivo's list does not show what they say, and both were sent in the same second."""
    await world.bring(world.text(world.ann, "heard of"))
    await world.sent(1)
    world.north.then(Trouble.TAKES_AND_FAILS)
    await world.bring(world.text(world.ann, "not heard of"))
    _, lost = await world.sent(2)
    await world.inside.quiet()
    world.inside.clock.advance(1)
    await until(lambda: world.north.requests[-1].method == "GET")
    await world.recorded()
    assert await world.legs() == [(70, 40), (70, 40)]
    ids = await world.inside.rows("SELECT carrier_id FROM interactions ORDER BY sid")
    assert ids == [(f"north/{taken.id}",) for taken in world.north.taken]
    assert ids[1] == (f"north/{lost.id}",)


async def test_credentials_that_are_refused_pause_the_account(world: World) -> None:
    world.north.token = "changed"
    await world.inside.post(f"{world.ann['url']}/MessageInteractions", {"Body": "hi"})
    await until(lambda: bool(world.north.requests[-1].method == "POST"))
    await world.recorded()
    assert [code for code, _ in await world.events()] == [49003]


# Calls


def dial_in(reply: Any) -> Element:
    """The Dial of an answer."""
    assert (reply.status, reply.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    (dial,) = parse_xml(reply.raw, "text/xml").children
    assert dial.name == "Dial"
    return dial


async def test_a_masked_conversation_by_voice(world: World) -> None:
    ann, ben = world.ann["identifier"], world.ben["identifier"]
    dial = dial_in(await world.bring(world.north.call(ann, NUMBERS[0], sid=UUID)))
    (number,) = dial.children
    said = dial.attributes
    assert (said["callerId"], number.text) == (NUMBERS[1][1:], ben[1:])
    assert (said["timeout"], said["timeLimit"]) == ("30", "14400")
    assert "confirmKey" not in said
    webhook = f"{world.inside.url}/carriers/north/call/{world.service['sid']}?"
    events, action = said["callbackUrl"], said["action"]
    assert events.startswith(webhook) and action.startswith(webhook)
    seen = []
    for told, more in (("answer", {}), ("connected", {"DialBLegTo": ben[1:]})):
        assert (await world.bring(world.north.tell_of_partner(events, told, **more))).status == 200
        seen += await world.legs()
    over = world.north.tell_of_partner(events, "hangup", DialBLegDuration="12", DialBLegBillDuration="60")
    assert (await world.bring(over)).status == 200
    ended = world.north.say_of_call(action, ann, NUMBERS[0], sid=UUID, DialStatus="completed")
    assert (await world.bring(ended)).raw.endswith(b"<Response><Hangup/></Response>")
    assert (await world.bring(world.north.call(ann, NUMBERS[0], "completed", UUID))).status == 200
    assert seen == [(30, 30), (30, 30)]
    sql = "SELECT type, data, inbound_status, outbound_status FROM interactions"
    assert await world.inside.rows(sql) == [("voice", '{"duration":"12"}', 80, 80)]
    assert await world.events() == []


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("busy", CallStatus.BUSY),
        ("no-answer", CallStatus.NO_ANSWER),
        ("timeout", CallStatus.NO_ANSWER),
        ("cancel", CallStatus.CANCELED),
        ("failed", CallStatus.FAILED),
    ],
)
async def test_how_a_call_that_nobody_took_ended_says_the_action(
    world: World, word: str, status: CallStatus
) -> None:
    ann = world.ann["identifier"]
    said = dial_in(await world.bring(world.north.call(ann, NUMBERS[0]))).attributes
    for duration in ("0", "", "x"):
        over = world.north.tell_of_partner(said["callbackUrl"], "hangup", DialBLegDuration=duration)
        assert (await world.bring(over)).status == 200
    assert await world.legs() == [(30, 10)]
    await world.bring(world.north.say_of_call(said["action"], ann, NUMBERS[0], DialStatus=word))
    assert await world.legs() == [(80, int(status))]


@pytest.mark.parametrize("pressed", [True, False])
async def test_the_partner_may_have_to_press_a_key(world: World, pressed: bool) -> None:
    settings = f"/v1/Services/{world.service['sid']}/Settings"
    await world.inside.post(settings, {"CallAccept": "keypress"})
    ann, ben = world.ann["identifier"], world.ben["identifier"]
    said = dial_in(await world.bring(world.north.call(ann, NUMBERS[0]))).attributes
    assert (said["confirmKey"], said["confirmTimeout"]) == ("1", "30")
    heard = await world.bring(world.north.say_of_call(said["confirmSound"], NUMBERS[1], ben))
    assert [one.name for one in parse_xml(heard.raw, "text/xml").children] == ["Speak", "Hangup"]
    await world.bring(world.north.tell_of_partner(said["callbackUrl"], "answer"))
    assert await world.legs() == [(30, 20)]  # it may be a machine
    if pressed:
        await world.bring(world.north.tell_of_partner(said["callbackUrl"], "connected"))
        assert await world.legs() == [(30, 30)]
    await world.bring(world.north.tell_of_partner(said["callbackUrl"], "hangup", DialBLegDuration="9"))
    assert await world.legs() == [(80, 80 if pressed else 50)]


async def test_a_stranger_s_call_is_rejected(world: World) -> None:
    reply = await world.bring(world.north.call("+12125550150", NUMBERS[0]))
    assert reply.raw.endswith(b'<Response><Hangup reason="rejected"/></Response>')


async def test_a_customer_is_asked_about_a_stranger_through_us(world: World) -> None:
    async with receiving() as receiver:
        receiver.answers = [
            ("text/xml", '<Response><Gather action="/keys"/></Response>'),
            ("text/xml", '<Response><Say voice="alice" language="de-DE">Tschüs &amp; bye</Say></Response>'),
        ]
        await world.inside.post(world.service["url"], {"OutOfSessionCallbackUrl": receiver.url})
        reply = await world.bring(world.north.call("+12125550150", NUMBERS[0]))
        (gather,) = parse_xml(reply.raw, "text/xml").children
        hook = world.north.say_of_call(
            gather.attributes["action"], "+12125550150", NUMBERS[0], Digits="5", sid=UUID
        )
        (speak,) = parse_xml((await world.bring(hook)).raw, "text/xml").children
        assert (gather.name, speak.name, speak.text) == ("GetDigits", "Speak", "Tschüs & bye")
        assert speak.attributes == {"voice": "WOMAN", "language": "de-DE", "loop": "1"}
        asked = receiver.posts[1]
        assert (asked.path, asked.form["Digits"], asked.form["CallSid"]) == ("/keys", "5", UUID)
        assert (asked.form["From"], asked.form["To"]) == ("+12125550150", NUMBERS[0])


async def test_what_is_said_of_a_call_on_no_number_of_the_service_is_not_heard(world: World) -> None:
    said = dial_in(await world.bring(world.north.call(world.ann["identifier"], NUMBERS[0]))).attributes
    events = said["callbackUrl"]
    for astray in (
        events.replace(NUMBERS[1][1:], "14155550199"),
        events.replace(world.service["sid"], "KS" + "0" * 32),
    ):
        assert (await world.bring(world.north.tell_of_partner(astray, "answer"))).status == 404
    url, form, headers = world.north.tell_of_partner(events, "answer")
    for forged in (url.replace("status", "accept"), f"{url}&x=1"):
        assert (await world.bring((forged, form, headers))).status == 403
    assert await world.legs() == [(30, 10)]


@pytest.mark.parametrize(
    "change", [{"CallUUID": ""}, {"CallUUID": f"{UUID}To"}, {"To": ""}, {"From": "1" * 192}]
)
async def test_a_call_that_makes_no_sense_is_refused(world: World, change: dict[str, str]) -> None:
    form = {"CallUUID": UUID, "CallStatus": "ringing", "From": "12125550150", "To": NUMBERS[0][1:], **change}
    reply = await world.bring(world.north.signed(f"{world.inside.url}/carriers/north/call", form))
    assert (reply.status, reply.json["code"]) == (400, 80701)


# Who has signed


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("X-Plivo-Signature-V3", "{}"),
        ("X-Plivo-Signature-Ma-V3", "{}"),
        ("X-Plivo-Signature-V3", "bm90IHRoaXM=,{}"),
        ("X-Plivo-Signature-V3", "{}, bm90IHRoaXM="),
    ],
)
async def test_one_of_the_signatures_has_to_fit(world: World, header: str, form: str) -> None:
    url, fields, headers = world.text(world.ann, "signed")
    signature = form.format(headers.pop("X-Plivo-Signature-V3"))
    assert (await world.bring((url, fields, {**headers, header: signature}))).status == 200
    assert [taken.body for taken in await world.sent(1)] == ["signed"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"X-Plivo-Signature-V3": "x"}, "does not fit"),
        ({"X-Plivo-Signature-V3": ""}, "does not fit"),
        ({"X-Plivo-Signature-V3": "é"}, "does not fit"),
        ({"X-Plivo-Signature-V3-Nonce": "1"}, "does not fit"),
        ({"X-Plivo-Signature-V3-Nonce": ""}, "does not fit"),
        ({"X-Plivo-Signature-V3": None}, "is missing"),
        ({"X-Plivo-Signature-V3": None, "X-Plivo-Signature-V2": "x"}, "is missing"),
    ],
)
async def test_what_it_has_not_signed_is_refused(
    world: World, changes: dict[str, str | None], said: str
) -> None:
    url, form, headers = world.text(world.ann, "forged")
    headers = {name: value for name, value in {**headers, **changes}.items() if value is not None}
    reply = await world.bring((url, form, headers))
    assert (reply.status, reply.json["code"]) == (403, 20403)
    ((code, message),) = await world.events()
    assert code == 20403 and f"X-Plivo-Signature-V3 {said}, at {url}" in message
    assert await world.legs() == []


async def test_what_was_signed_is_neither_another_text_nor_at_another_address(world: World) -> None:
    url, form, headers = world.text(world.ann, "as it was")
    for other in ({"Text": "another"}, {"To": NUMBERS[1][1:]}, {"Media1": "https://s.example/1"}):
        assert (await world.bring((url, {**form, **other}, headers))).status == 403
    assert (await world.bring((url.replace("/message", "/status/SM1"), form, headers))).status == 403


async def test_a_signature_counts_for_its_own_fields_only(world: World) -> None:
    """What is signed has no borders: with the next field moved into its id, it would be another message."""
    url, form, headers = world.text(world.ann, "once")
    moved = {**form, "MessageUUID": f"{form['MessageUUID']}PowerpackUUID"}
    del moved["PowerpackUUID"]
    assert (await world.bring((url, moved, headers))).status == 400
    assert await world.legs() == []


# Bad input


async def test_a_text_goes_on_without_what_no_text_may_have(world: World) -> None:
    assert (await world.bring(world.text(world.ann, "a\0b"))).status == 200
    assert [taken.body for taken in await world.sent(1)] == ["ab"]


@pytest.mark.parametrize(
    ("what", "change", "named"),
    [
        ("message", {"From": ""}, "From is required"),
        ("message", {"To": ""}, "To is required"),
        ("message", {"MessageUUID": ""}, "MessageUUID is required"),
        ("message", {"MessageUUID": "1"}, "MessageUUID"),
        ("message", {"From": "1" * 200}, "From (at most 191"),
        ("status/SM1", {"From": ""}, "From is required"),
        ("status/SM1", {"MessageUUID": "x"}, "MessageUUID"),
    ],
)
async def test_what_is_signed_and_makes_no_sense_is_refused(
    world: World, what: str, change: dict[str, str], named: str
) -> None:
    form = {"From": "12125550170", "To": NUMBERS[0][1:], "Status": "sent", "MessageUUID": UUID, **change}
    reply = await world.bring(world.north.signed(f"{world.inside.url}/carriers/north/{what}", form))
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert named in reply.json["message"]
    assert await world.legs() == []


@pytest.mark.parametrize("what", ["nothing", "message/x", "status"])
async def test_there_is_nothing_at_another_address(world: World, what: str) -> None:
    hook = world.north.signed(f"{world.inside.url}/carriers/north/{what}", {"To": NUMBERS[0][1:]})
    assert (await world.bring(hook)).status == 403


async def test_a_report_on_nothing_that_is_known_waits(world: World) -> None:
    stray = Taken(UUID, NUMBERS[0], "+12125550170", "")
    world.north.callbacks[UUID] = f"{world.inside.url}/carriers/north/status/SM{'9' * 32}"
    assert (await world.bring(world.north.report(stray, "delivered"))).status == 200
    assert await world.inside.rows("SELECT topic, count(*) FROM outbox GROUP BY topic") == [("receipt", 1)]


# What Plivo is told, and what it says, of a message


async def test_whatsapp_goes_and_comes_by_its_own_kind(clock: FakeClock) -> None:
    async with plivo(clock) as bench:
        sent = outgoing("hi", "whatsapp:+12125550177", from_=f"whatsapp:{OURS}", media=("https://x.test/1",))
        with pytest.raises(CarrierError):  # the stand-in has none
            await bench.carrier.send(sent)
        (request,) = bench.vendor.requests
        assert b'"type":"whatsapp"' in request.body and b'"dst":"12125550177"' in request.body
        (message,) = read(bench, {"Type": "whatsapp", "Body": "hi"})
        assert (message.from_, message.to, message.body) == (
            "whatsapp:+12125550177",
            f"whatsapp:{OURS}",
            "hi",
        )


def read(bench: Bench, change: dict[str, str]) -> Any:
    """What the carrier makes of a webhook that is signed."""
    assert isinstance(bench.vendor, PlivoApi) and isinstance(bench.carrier, PlivoCarrier)
    form = {"From": "12125550177", "To": OURS[1:], "MessageUUID": UUID, **change}
    url, form, headers = bench.vendor.signed(f"{URL}/message", form)
    headers = {name.lower(): value for name, value in headers.items()}
    headers["content-type"] = "application/x-www-form-urlencoded"
    return bench.carrier.hear(WebRequest(("message",), url, headers, urlencode(form).encode()))


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("12125550177", "+12125550177"),
        ("+12125550177", "+12125550177"),
        ("72345", "72345"),
        ("AMAZON", "AMAZON"),
    ],
)
async def test_numbers_have_a_plus_sign_here(clock: FakeClock, said: str, number: str) -> None:
    async with plivo(clock) as bench:
        (message,) = read(bench, {"From": said, "Text": "hi"})
    assert message.from_ == number


async def test_media_come_in_their_order_whatever_their_count_says(clock: FakeClock) -> None:
    fields = {f"Media{i}": f"https://s.example/{i}" for i in (10, 2, 1)}
    async with plivo(clock) as bench:
        (message,) = read(
            bench, {**fields, "Media3": "", "Mediax": "https://s.example/x", "MediaCount": "-1"}
        )
    assert [medium.url for medium in message.media] == [f"https://s.example/{i}" for i in (1, 2, 10)]


@pytest.mark.parametrize("to", ["12125550177<12125550178", "messenger:1", "+1212x"])
async def test_nobody_else_is_written_to(clock: FakeClock, to: str) -> None:
    """Plivo takes several recipients, parted by `<`."""
    async with plivo(clock) as bench:
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.send(outgoing(to=to))
        assert caught.value.kind is Kind.REJECTED
        assert bench.vendor.requests == []


async def test_who_has_to_pay_first_is_told_so(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlivoApi, "answer", lambda self, _: (402, self.error(402)))
    async with plivo(clock) as bench:
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.send(outgoing())
    assert caught.value.kind is Kind.MISCONFIGURED


# Where a number's traffic goes


async def test_all_numbers_come_here_by_one_application_and_go_back(world: World) -> None:
    north = world.north
    (own,) = (one for one in north.applications.values() if one["app_name"].startswith("maskline-north-"))
    assert set(north.numbers.values()) == {own["app_id"]}
    hooks = f"{world.inside.url}/carriers/north"
    assert own["message_url"] == f"{hooks}/message"
    assert own["answer_url"] == own["hangup_url"] == own["fallback_answer_url"] == f"{hooks}/call"
    await world.inside.request("DELETE", world.service["url"])
    await released(world)
    assert set(north.numbers.values()) == {north.before}


async def test_what_others_have_changed_meanwhile_is_theirs(world: World) -> None:
    north = world.north
    theirs = north.make("theirs")
    north.numbers[NUMBERS[0]] = theirs
    await world.inside.request("DELETE", world.service["url"])
    await released(world)
    assert north.numbers == {NUMBERS[0]: theirs, NUMBERS[1]: north.before}


async def test_a_number_without_an_application_goes_back_to_the_default(world: World) -> None:
    north = world.north
    north.numbers["+14155550105"] = ""
    await world.put_down("+14155550105")
    number = (await world.join("+14155550105")).json
    assert north.numbers["+14155550105"]
    await world.inside.request("DELETE", number["url"])
    await released(world)
    assert north.requests[-1].body == b"{}"


async def test_a_number_that_the_account_has_not_joins_no_pool(world: World) -> None:
    await world.put_down("+14155550106")
    reply = await world.join("+14155550106")
    assert (reply.status, reply.json["code"]) == (400, 80301)


@pytest.mark.parametrize("trouble", [Trouble.FAILS, Trouble.PAGE, Trouble.TAKES_AND_BABBLES])
async def test_while_plivo_cannot_be_asked_no_number_joins(world: World, trouble: Trouble) -> None:
    north = world.north
    north.numbers["+14155550105"] = north.before
    await world.put_down("+14155550105")
    north.then(trouble)
    assert (await world.join("+14155550105")).json["code"] == 80502
    assert north.numbers["+14155550105"] == north.before
    assert (await world.join("+14155550105")).status == 201


async def test_a_short_code_is_set_up_by_hand(world: World) -> None:
    north = world.north
    asked = len(north.requests)
    sid = await world.put_down("72345")
    path = f"/v1/Services/{world.service['sid']}/ShortCodes"
    assert (await world.inside.request("POST", path, {"Sid": sid})).status == 201
    assert len(north.requests) == asked


async def keep(_: str) -> None:
    pass


async def test_its_application_is_found_behind_many_others_and_set_anew(clock: FakeClock) -> None:
    async with plivo(clock) as bench:
        vendor: Any = bench.vendor
        for i in range(45):
            vendor.make(f"other-{i}")
        await bench.carrier.adopt("AC1", OURS, keep)
        own = vendor.applications[vendor.numbers[OURS]]
        count = len(vendor.applications)
        own["message_url"] = "https://elsewhere.example"
        await bench.carrier.adopt("AC1", OURS, keep)
        assert own["message_url"] == f"{URL}/message"
        assert len(vendor.applications) == count


@pytest.mark.parametrize("meta", [{"next": "/v1/…"}, True, [], None])
async def test_a_list_that_never_ends_is_not_read_for_ever(
    clock: FakeClock, meta: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlivoApi, "_page", lambda _, objects, __: {"meta": meta, "objects": objects})
    async with plivo(clock) as bench:
        if isinstance(meta, dict):
            with pytest.raises(CarrierError, match="too many applications"):
                await bench.carrier.adopt("AC1", OURS, keep)
            assert len(bench.vendor.requests) == 51
        else:
            await bench.carrier.adopt("AC1", OURS, keep)


# What the doctor hears


async def said(bench: Bench, *numbers: str) -> list[str]:
    before = len(bench.vendor.requests)
    found = [one.says for one in await bench.carrier.check(numbers)]
    assert {request.method for request in bench.vendor.requests[before:]} <= {"GET"}  # it changes nothing
    return found


async def test_the_doctor_hears_how_the_account_is(clock: FakeClock) -> None:
    async with plivo(clock) as bench:
        good, problem = await said(bench, OURS, "72345")
        assert good == "Plivo takes its credentials"
        assert problem == f"+1…00 does not bring its traffic to {URL} (app_id)"
        await bench.carrier.adopt("AC1", OURS, keep)
        assert await said(bench, OURS) == [good]
        vendor: Any = bench.vendor
        vendor.applications[vendor.numbers[OURS]]["message_method"] = "GET"
        assert (await said(bench, OURS))[1].endswith("(message_method)")
        assert (await said(bench, "+14155550199"))[1] == "+1…99: the account at Plivo has no such number"
        bench.vendor.then(Trouble.REFUSES_CREDENTIALS)
        assert await said(bench, OURS) == ["cannot be asked: misconfigured (status 401)"]
