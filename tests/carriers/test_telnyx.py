"""An account at Telnyx: what is its own. The rest is in the suite that all carriers over HTTP pass."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from maskline.carriers.base import CarrierError, Checked, Kind
from maskline.carriers.kinds import read_accounts
from maskline.carriers.telnyx import KINDS, STATUSES
from maskline.domain.twiml import Dial, Gather, Hangup, Reject, Say, parse_twiml
from tests.carriers.benches import OURS, THEIRS, URL, outgoing, telnyx
from tests.carriers.world import NUMBERS, World
from tests.support.clock import FakeClock
from tests.support.inside import Inside
from tests.support.peer import Request
from tests.support.private import note
from tests.support.receiver import receiving
from tests.support.telnyx_api import API_KEY, APPLICATION, OTHERS_PROFILE, PROFILE, PUBLIC_KEY, TelnyxApi
from tests.support.twilio_api import OPTED_OUT
from tests.support.vendor import Trouble


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        north = await stack.enter_async_context(TelnyxApi(clock, *NUMBERS))
        inside = await stack.enter_async_context(
            Inside(tmp_path / "data", clock, carriers={"north": north.table}, sandbox=False)
        )
        world = World(inside, north)
        await world.meet()
        yield world


async def test_a_masked_conversation(world: World) -> None:
    reply = await world.bring(world.text(world.ann, "Käse & 🍕 = 50 %+", "https://s3.example/ME1"))
    assert reply.status == 200
    (first,) = await world.sent(1)
    assert (first.from_, first.to, first.body) == (NUMBERS[1], world.ben["identifier"], "Käse & 🍕 = 50 %+")
    assert first.media[0].startswith(f"{world.inside.url}/media/")
    await world.bring(world.text(world.ben, "how much?"))
    _, second = await world.sent(2)
    assert (second.from_, second.to, second.body) == (NUMBERS[0], world.ann["identifier"], "how much?")
    for word in ("delivered", "sent", "no-such-word"):
        assert (await world.bring(world.north.report(first, word))).status == 200
    assert await world.legs() == [(70, 70), (70, 40)]
    assert await world.events() == []


@pytest.mark.parametrize("word", STATUSES)
async def test_every_word_of_a_report_is_known(world: World, word: str) -> None:
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    await world.bring(world.north.report(taken, word))
    assert await world.legs() == [(70, int(STATUSES[word]))]


async def test_what_is_brought_twice_is_relayed_once(world: World) -> None:
    hook = world.text(world.ann, "once")
    for _ in range(3):
        assert (await world.bring(hook)).status == 200
    await world.bring(world.text(world.ann, "last"))
    assert [taken.body for taken in await world.sent(2)] == ["once", "last"]


@pytest.mark.parametrize(("field", "place"), [("to", 0), ("to", 2), ("cc", 1)])
async def test_what_goes_to_a_group_is_for_the_number_that_it_is_brought_for(
    world: World, field: str, place: int
) -> None:
    url, body, _ = world.text(world.ann, "to you all", "https://s3.example/ME1")
    payload = json.loads(body)["data"]["payload"]
    (ours,) = payload["to"]
    others = [{"phone_number": f"+1212555013{i}", "status": "delivered"} for i in range(4)]
    payload |= {"to": others[:2], "cc": others[2:]}
    payload[field].insert(place, ours)
    assert (await world.bring(world.north.event(url, "message.received", payload))).status == 200
    (taken,) = await world.sent(1)
    assert (taken.from_, taken.to, taken.body) == (NUMBERS[1], world.ben["identifier"], "to you all")


async def test_a_message_whose_answer_was_lost_is_settled_by_its_report(world: World) -> None:
    world.north.then(Trouble.TAKES_AND_DROPS)
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    assert await world.legs() == [(70, 10)]
    await world.bring(world.north.report(taken, "delivered"))
    assert await world.legs() == [(70, 70)]
    await world.inside.pass_time(1)
    assert len(world.north.taken) == 1


async def test_who_has_opted_out_at_telnyx_has_opted_out(world: World) -> None:
    session = await world.inside.post(world.service["links"]["sessions"])
    person = await world.inside.post(session["links"]["participants"], {"Identifier": OPTED_OUT})
    note(OPTED_OUT, "hello there")
    await world.inside.post(f"{person['url']}/MessageInteractions", {"Body": "hello there"})
    await world.recorded()
    optouts = f"/v1/Services/{world.service['sid']}/OptOuts"
    while not (found := (await world.inside.get(optouts))["opt_outs"]):
        pass
    assert [one["source"] for one in found] == ["carrier"]


async def test_who_has_opted_out_may_be_told_by_a_report(world: World) -> None:
    for _ in range(2):
        await world.bring(world.text(world.ann, "hi there"))
    first, second = await world.sent(2)
    await world.bring(world.north.report(first, "delivery_failed", "40008"))
    assert await world.events() == []
    await world.bring(world.north.report(second, "sending_failed", "40001", "40300"))
    assert [code for code, _ in await world.events()] == [21610]
    optouts = await world.inside.get(f"/v1/Services/{world.service['sid']}/OptOuts")
    assert [one["identifier"] for one in optouts["opt_outs"]] == [world.ben["identifier"]]


async def test_what_else_the_profile_brings_is_another_s(world: World) -> None:
    url = f"{world.inside.url}/carriers/north/message"
    for kind in ("message.finalized", "messaging-profile.spend-limit-reached"):
        assert (await world.bring(world.north.event(url, kind, {"id": "x"}))).status == 200
    assert await world.inside.rows("SELECT topic FROM outbox") == []


# Calls


async def test_a_masked_conversation_by_voice(world: World) -> None:
    ann, ben = world.ann["identifier"], world.ben["identifier"]
    reply = await world.bring(world.north.call(ann, NUMBERS[0], sid="v3:caller"))
    assert (reply.status, reply.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    (dial,) = parse_twiml(reply.raw)
    assert isinstance(dial, Dial)
    (number,) = dial.numbers
    assert (dial.caller_id, number.number) == (NUMBERS[1], ben)
    webhook = f"{world.inside.url}/carriers/north/call/{world.service['sid']}?"
    status, action = number.status_callback or "", dial.action or ""
    assert status.startswith(webhook) and action.startswith(webhook)
    for word in ("initiated", "ringing", "in-progress"):
        told = world.north.say_of_call(status, NUMBERS[1], ben, word, "v3:called")
        assert (await world.bring(told)).status == 200
    over = {"DialCallStatus": "completed", "DialCallDuration": "12"}
    ended = await world.bring(
        world.north.say_of_call(action, ann, NUMBERS[0], "in-progress", "v3:caller", **over)
    )
    assert parse_twiml(ended.raw) == [Hangup()]
    assert (await world.bring(world.north.call(ann, NUMBERS[0], "completed", "v3:caller"))).status == 200
    sql = "SELECT type, data, inbound_status, outbound_status FROM interactions"
    assert await world.inside.rows(sql) == [("voice", '{"duration":"12"}', 80, 80)]
    assert await world.events() == []


async def test_the_partner_may_have_to_press_a_key(world: World) -> None:
    settings = f"/v1/Services/{world.service['sid']}/Settings"
    await world.inside.post(settings, {"CallAccept": "keypress"})
    ben = world.ben["identifier"]
    reply = await world.bring(world.north.call(world.ann["identifier"], NUMBERS[0]))
    (dial,) = parse_twiml(reply.raw)
    assert isinstance(dial, Dial)
    asked = world.north.say_of_call(dial.numbers[0].url or "", NUMBERS[1], ben, "in-progress", "v3:called")
    gather, hangup = parse_twiml((await world.bring(asked)).raw)
    assert isinstance(gather, Gather) and hangup == Hangup()
    for digits, verbs in (("2", [Hangup()]), ("1", [])):
        pressed = world.north.say_of_call(
            gather.action or "", NUMBERS[1], ben, "in-progress", "v3:called", Digits=digits
        )
        assert parse_twiml((await world.bring(pressed)).raw) == verbs
    assert await world.legs() == [(30, 30)]


async def test_a_stranger_s_call_is_rejected(world: World) -> None:
    reply = await world.bring(world.north.call("+12125550150", NUMBERS[0]))
    assert parse_twiml(reply.raw) == [Reject("rejected")]


async def test_a_customer_is_asked_about_a_stranger_through_us(world: World) -> None:
    async with receiving() as receiver:
        receiver.answers = [
            ("text/xml", '<Response><Gather action="/keys"/></Response>'),
            ("text/xml", "<Response><Say>Bye</Say></Response>"),
        ]
        await world.inside.post(world.service["url"], {"OutOfSessionCallbackUrl": receiver.url})
        reply = await world.bring(world.north.call("+12125550150", NUMBERS[0]))
        (gather,) = parse_twiml(reply.raw)
        assert isinstance(gather, Gather)
        hook = world.north.say_of_call(
            gather.action or "", "+12125550150", NUMBERS[0], "in-progress", Digits="5"
        )
        assert parse_twiml((await world.bring(hook)).raw) == [Say("Bye")]
        assert (receiver.posts[1].path, receiver.posts[1].form["Digits"]) == ("/keys", "5")


async def test_what_is_said_of_a_call_on_no_number_of_the_service_is_not_heard(world: World) -> None:
    reply = await world.bring(world.north.call(world.ann["identifier"], NUMBERS[0]))
    (dial,) = parse_twiml(reply.raw)
    assert isinstance(dial, Dial)
    status, ben = dial.numbers[0].status_callback or "", world.ben["identifier"]
    told = world.north.say_of_call(status, "+14155550199", ben, "completed")
    assert (await world.bring(told)).status == 404
    astray = status.replace(world.service["sid"], "KS" + "0" * 32)
    assert (await world.bring(world.north.say_of_call(astray, NUMBERS[1], ben, "completed"))).status == 404
    url, body, headers = world.north.say_of_call(status, NUMBERS[1], ben, "completed")
    assert (await world.bring((url, body + b"&x=1", headers))).status == 403
    many = f"{status}&" + "&".join(f"x{i}=1" for i in range(100))
    assert (await world.bring(world.north.say_of_call(many, NUMBERS[1], ben, "completed"))).status == 400
    assert await world.legs() == [(30, 10)]


@pytest.mark.parametrize("change", [{"CallSid": ""}, {"To": ""}, {"From": "1" * 192}])
async def test_a_call_that_makes_no_sense_is_refused(world: World, change: dict[str, str]) -> None:
    form = {"CallSid": "v3:1", "CallStatus": "ringing", "From": "+12125550150", "To": NUMBERS[0], **change}
    url, kind = f"{world.inside.url}/carriers/north/call", "application/x-www-form-urlencoded"
    hook = world.north.signed(url, urlencode(form).encode(), kind)
    assert (await world.bring(hook)).status == 400


# Who has signed


def change(headers: dict[str, str], **said: str | None) -> dict[str, str]:
    changed = {**headers, **{f"telnyx-{name.replace('_', '-')}": value for name, value in said.items()}}
    return {name: value for name, value in changed.items() if value is not None}


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"signature_ed25519": None}, "telnyx-signature-ed25519 is missing"),
        ({"signature_ed25519": "é"}, "telnyx-signature-ed25519 does not fit"),
        ({"signature_ed25519": "AAAA"}, "telnyx-signature-ed25519 does not fit"),
        ({"signature_ed25519": "A" * 86 + "=="}, "telnyx-signature-ed25519 does not fit"),
        ({"timestamp": None}, "telnyx-timestamp is missing"),
        ({"timestamp": "-1"}, "telnyx-timestamp is missing"),
        ({"timestamp": "1"}, "telnyx-signature-ed25519 does not fit"),
    ],
)
async def test_what_it_has_not_signed_is_refused(
    world: World, said: dict[str, str | None], wrong: str
) -> None:
    url, body, headers = world.text(world.ann, "forged")
    assert (await world.bring((url, body, change(headers, **said)))).status == 403
    ((code, message),) = await world.events()
    assert code == 20403 and wrong in message
    assert await world.legs() == []


async def test_another_body_is_refused(world: World) -> None:
    url, body, headers = world.text(world.ann, "forged")
    assert (await world.bring((url, body.replace(b"forged", b"mended"), headers))).status == 403
    assert (await world.bring((url, body + b" ", headers))).status == 403
    assert (await world.bring((url, b"\xff", headers))).status == 403
    assert await world.legs() == []


@pytest.mark.parametrize(("late_s", "status"), [(300, 200), (302, 403), (-299, 200), (-302, 403)])
async def test_what_was_signed_long_ago_is_refused(world: World, late_s: int, status: int) -> None:
    note("", "again")
    hook = world.north.text(world.ann["identifier"], NUMBERS[0], "again", late_s=late_s)
    assert (await world.bring(hook)).status == status
    if status == 403:
        ((_, message),) = await world.events()
        assert "telnyx-timestamp is more than 300 s from now" in message


# Bad input


@pytest.mark.parametrize(("said", "kept"), [("a\0b", "ab"), ("a\ud83db", "a\ufffdb")])
async def test_a_text_goes_on_without_what_no_text_may_have(world: World, said: str, kept: str) -> None:
    assert (await world.bring(world.text(world.ann, said))).status == 200
    assert [taken.body for taken in await world.sent(1)] == [kept]


@pytest.mark.parametrize(
    ("what", "change", "named"),
    [
        ("message", {"from": None}, "from.phone_number is required"),
        ("message", {"from": "+12125550170"}, "from.phone_number is required"),
        ("message", {"to": []}, "to.0.phone_number is required"),
        ("message", {"id": ""}, "id is required"),
        ("message", {"id": "x" * 192}, "id (at most 191"),
        ("status/SM1", {"from": {}}, "from.phone_number is required"),
    ],
)
async def test_what_is_signed_and_makes_no_sense_is_refused(
    world: World, what: str, change: dict[str, Any], named: str
) -> None:
    payload = {
        "id": "1",
        "from": {"phone_number": world.ann["identifier"]},
        "to": [{"phone_number": NUMBERS[0], "status": "sent"}],
        **change,
    }
    url = f"{world.inside.url}/carriers/north/{what}"
    reply = await world.bring(world.north.event(url, "message.received", payload))
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert named in reply.json["message"]
    assert await world.legs() == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": 1}', b'{"data": {"payload": []}}'])
async def test_what_is_no_event_brings_nothing(world: World, body: bytes) -> None:
    url = f"{world.inside.url}/carriers/north/message"
    assert (await world.bring(world.north.signed(url, body))).status in (200, 400)
    assert (await world.bring(world.north.signed(url.replace("message", "status/SM1"), body))).status == 400
    assert await world.legs() == []


# Its codes


@pytest.mark.parametrize("code", KINDS)
async def test_its_own_codes(clock: FakeClock, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: TelnyxApi, __: Request) -> tuple[int, object]:
        return 400, {"errors": [{"code": code, "title": "no", "detail": f"to {THEIRS}"}]}

    monkeypatch.setattr(TelnyxApi, "answer", refuse)
    async with telnyx(clock) as bench:
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.send(outgoing())
    assert (caught.value.kind, caught.value.detail) == (KINDS[code], f"status 400, code {code}")


async def test_a_record_of_another_message_is_not_this_one(clock: FakeClock) -> None:
    async with telnyx(clock) as bench:
        message = outgoing("hi", handed_at=clock.now())
        await bench.carrier.send(outgoing("hi"))
        assert list(await bench.carrier.look_up(message)) == []
        assert isinstance(bench.vendor, TelnyxApi)
        for junk in (1, None, {}, {"delivery_status_webhook_url": f"{URL}/status/{message.sid}"}):
            bench.vendor.records.append(junk)  # type: ignore[arg-type]
        bench.vendor.answer = lambda _: (200, {"data": bench.vendor.records})  # type: ignore[method-assign,attr-defined]
        assert list(await bench.carrier.look_up(message)) == []


# Where the traffic of numbers goes


async def test_numbers_come_into_the_profile_and_go_back(world: World) -> None:
    resource, hook = world.north.resources[NUMBERS[0]], f"{world.inside.url}/carriers/north/message"
    profile = world.north.profiles[PROFILE]
    assert resource["messaging_profile_id"] == PROFILE
    assert (profile["webhook_url"], profile["webhook_failover_url"]) == (hook, hook)
    assert resource["connection_id"] == APPLICATION
    assert world.north.applications[APPLICATION]["voice_url"] == hook.replace("message", "call")
    await world.inside.request("DELETE", world.service["url"])
    while resource["connection_id"] != "7":
        world.inside.clock.advance(5)
        await world.inside.rows("SELECT 1")
    assert resource["messaging_profile_id"] == OTHERS_PROFILE


class Kept:
    """What was kept of a number."""

    former = ""

    async def __call__(self, former: str) -> None:
        self.former = former


@pytest.mark.parametrize("number", [OURS, "72345"])
@pytest.mark.parametrize("before", [OTHERS_PROFILE, ""])
async def test_a_number_goes_back_to_where_it_was(clock: FakeClock, number: str, before: str) -> None:
    async with telnyx(clock) as bench:
        assert isinstance(bench.vendor, TelnyxApi)
        calls = {"connection_id": "7"} if number == OURS else {}
        resource = bench.vendor.own(number, messaging_profile_id=before, **calls)
        kept = Kept()
        await bench.carrier.adopt("AC1", number, kept)
        assert resource["messaging_profile_id"] == PROFILE
        assert json.loads(kept.former) == {"messaging_profile_id": before, **calls}
        asked = len(bench.vendor.requests)
        again = Kept()
        await bench.carrier.adopt("AC1", number, again)
        assert again.former == "" and {one.method for one in bench.vendor.requests[asked:]} == {"GET"}
        await bench.carrier.release(number, kept.former)
        # A short code has to be in some profile.
        assert resource["messaging_profile_id"] == (before if before or number == OURS else PROFILE)
        await bench.carrier.release(number, kept.former)


async def test_what_others_have_changed_meanwhile_is_theirs(clock: FakeClock) -> None:
    async with telnyx(clock) as bench:
        assert isinstance(bench.vendor, TelnyxApi)
        kept = Kept()
        await bench.carrier.adopt("AC1", OURS, kept)
        resource = bench.vendor.resources[OURS]
        resource["messaging_profile_id"] = "another"
        await bench.carrier.release(OURS, kept.former)
        assert (resource["messaging_profile_id"], resource["connection_id"]) == ("another", "7")


@pytest.mark.parametrize(
    ("former", "taken"),
    [
        ("", True),
        ("https://old.example/carriers/north/message", True),
        ("https://elsewhere.example/sms", False),
        ("https://old.example/carriers/south/message", False),
    ],
)
async def test_a_profile_that_serves_another_is_left_alone(
    clock: FakeClock, former: str, taken: bool
) -> None:
    async with telnyx(clock) as bench:
        assert isinstance(bench.vendor, TelnyxApi)
        profile = bench.vendor.profiles[PROFILE]
        profile |= {"webhook_url": former, "webhook_api_version": "1"}
        if taken:
            await bench.carrier.adopt("AC1", OURS, Kept())
            assert (profile["webhook_url"], profile["webhook_api_version"]) == (f"{URL}/message", "2")
            return
        kept = Kept()
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.adopt("AC1", OURS, kept)
        assert caught.value.kind is Kind.MISCONFIGURED
        assert (kept.former, profile["webhook_url"]) == ("", former)
        assert bench.vendor.resources[OURS]["messaging_profile_id"] == OTHERS_PROFILE


async def test_an_application_that_serves_another_is_left_alone(clock: FakeClock) -> None:
    async with telnyx(clock) as bench:
        assert isinstance(bench.vendor, TelnyxApi)
        bench.vendor.applications[APPLICATION]["voice_url"] = "https://elsewhere.example/texml"
        kept = Kept()
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.adopt("AC1", OURS, kept)
        assert caught.value.detail == "its TeXML application leads to another address"
        assert (kept.former, bench.vendor.resources[OURS]["connection_id"]) == ("", "7")


def test_without_an_application_there_are_no_calls() -> None:
    table = {"kind": "telnyx", "api_key": API_KEY, "public_key": PUBLIC_KEY, "messaging_profile_id": PROFILE}
    accounts = read_accounts({"mute": table, "north": {**table, "texml_application_id": APPLICATION}})
    assert [account.can.voice for account in accounts.values()] == [False, True]
    assert all(account.can.mms and account.can.receipts for account in accounts.values())


async def test_a_number_that_the_account_has_not_is_not_carried(clock: FakeClock) -> None:
    async with telnyx(clock) as bench:
        for number in ("+14155550199", "+1415555010", "72345"):
            with pytest.raises(CarrierError) as caught:
                await bench.carrier.adopt("AC1", number, Kept())
            assert caught.value.detail == "the account at Telnyx has no such number"


# What the doctor is told


async def test_the_doctor_is_told(clock: FakeClock) -> None:
    async with telnyx(clock) as bench:
        assert isinstance(bench.vendor, TelnyxApi)
        profile = bench.vendor.profiles[PROFILE]
        (found,) = await bench.carrier.check([OURS])
        assert found.says.startswith(f"its messaging profile does not lead to {URL} (webhook_url")
        assert found.remedy is not None
        await bench.carrier.adopt("AC1", OURS, Kept())
        asked = len(bench.vendor.requests)
        good = Checked("Telnyx takes its credentials")
        assert await bench.carrier.check([OURS, "whatsapp:+14155550100"]) == [good]
        bench.vendor.own("+14155550101")
        _, stray, unknown = await bench.carrier.check([OURS, "+14155550101", "+14155550199"])
        assert (
            stray.says == f"+1…01 does not bring its traffic to {URL} (messaging_profile_id, connection_id)"
        )
        assert unknown.says == "+1…99: the account at Telnyx has no such number"
        profile["enabled"] = False
        (found,) = await bench.carrier.check([OURS])
        assert found.says == "its messaging profile is switched off"
        profile["enabled"] = True
        bench.vendor.applications[APPLICATION]["active"] = False
        (found,) = await bench.carrier.check([OURS])
        assert found.says == "its TeXML application is switched off"
        bench.vendor.key = "another"
        (found,) = await bench.carrier.check([OURS])
        assert found.says == "cannot be asked: misconfigured (status 401, code 10009)"
        assert {one.method for one in bench.vendor.requests[asked:]} == {"GET"}
