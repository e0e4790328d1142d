"""An account at Vonage: what is its own. The rest is in the suite that all carriers over HTTP pass."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from maskline.carriers.base import CarrierError, Checked, Kind
from maskline.carriers.kinds import read_accounts
from maskline.carriers.vonage import KINDS, STATUSES
from maskline.settings import SettingsError
from tests.carriers.benches import OURS, URL, outgoing, vonage
from tests.carriers.world import NUMBERS, World
from tests.support import vonage_api
from tests.support.clock import FakeClock
from tests.support.inside import Inside
from tests.support.peer import Request
from tests.support.private import note
from tests.support.receiver import receiving
from tests.support.vendor import Trouble
from tests.support.vonage_api import APPLICATION, OTHERS_APPLICATION, VonageApi, hs256


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        north = await stack.enter_async_context(VonageApi(clock, *NUMBERS))
        inside = await stack.enter_async_context(
            Inside(tmp_path / "data", clock, carriers={"north": north.table}, sandbox=False)
        )
        world = World(inside, north)
        await world.meet()
        yield world


async def test_a_masked_conversation(world: World) -> None:
    reply = await world.bring(world.text(world.ann, "Käse & 🍕 = 50 %+", "https://api.example/v3/media/1"))
    assert reply.status == 200
    (first,) = await world.sent(1)
    assert (first.from_, first.to, first.body) == (NUMBERS[1], world.ben["identifier"], "Käse & 🍕 = 50 %+")
    assert first.media[0].startswith(f"{world.inside.url}/media/")
    await world.bring(world.text(world.ben, "how much?"))
    _, second = await world.sent(2)
    assert (second.from_, second.to, second.body) == (NUMBERS[0], world.ann["identifier"], "how much?")
    for word in ("delivered", "submitted", "no-such-word"):
        assert (await world.bring(world.north.report(first, word))).status == 200
    assert await world.legs() == [(70, 70), (70, 40)]
    assert await world.events() == []


async def test_several_pictures_come_and_go(world: World) -> None:
    await world.bring(world.text(world.ann, "two", "https://x.example/1.png", "https://x.example/2.png"))
    (taken,) = await world.sent(1)
    assert taken.body == "two" and len(taken.media) == 2


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


async def test_a_report_finds_its_message_by_our_own_reference(world: World) -> None:
    """As it comes to the application's own address, and after an answer that was lost."""
    world.north.then(Trouble.TAKES_AND_DROPS)
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    assert await world.legs() == [(70, 10)]
    _, client_ref = world.north.callbacks[taken.id]
    world.north.callbacks[taken.id] = f"{world.inside.url}/carriers/north/status", client_ref
    await world.bring(world.north.report(taken, "delivered"))
    assert await world.legs() == [(70, 70)]


# Calls


async def actions(world: World, hook: Any) -> list[Any]:
    reply = await world.bring(hook)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    said: list[Any] = json.loads(reply.raw)
    return said


async def test_a_masked_conversation_by_voice(world: World) -> None:
    ann, ben = world.ann["identifier"], world.ben["identifier"]
    (connect,) = await actions(world, world.north.call(ann, NUMBERS[0], "caller"))
    assert connect["endpoint"] == [{"type": "phone", "number": ben.removeprefix("+")}]
    assert connect["from"] == NUMBERS[1].removeprefix("+")
    (status,) = connect["eventUrl"]
    assert status.startswith(f"{world.inside.url}/carriers/north/call/{world.service['sid']}?")
    end = {"duration": "12", "start_time": "2027-01-15T08:00:00.000Z"}
    for word, more in (("started", {}), ("ringing", {}), ("answered", {}), ("completed", end)):
        hook = world.north.say_of_call(
            status, NUMBERS[1], ben, "called", status=word, direction="outbound", **more
        )
        assert (await world.bring(hook)).status == 200
    assert (await world.bring(world.north.ended(ann, NUMBERS[0], "caller"))).status == 200
    sql = "SELECT type, data, inbound_status, outbound_status FROM interactions"
    assert await world.inside.rows(sql) == [("voice", '{"duration":"12"}', 80, 80)]
    assert await world.events() == []


@pytest.mark.parametrize(
    ("words", "statuses"),
    [
        (["started", "ringing", "busy"], (80, 60)),
        (["started", "ringing", "unanswered", "completed"], (80, 50)),
        (["started", "ringing", "timeout"], (80, 50)),
        (["started", "failed"], (80, 70)),
    ],
)
async def test_how_a_call_ends_that_nobody_takes(
    world: World, words: list[str], statuses: tuple[int, int]
) -> None:
    (connect,) = await actions(world, world.north.call(world.ann["identifier"], NUMBERS[0], "caller"))
    for word in words:
        hook = world.north.say_of_call(
            connect["eventUrl"][0],
            NUMBERS[1],
            world.ben["identifier"],
            "called",
            status=word,
            start_time=None,
        )
        await world.bring(hook)
    assert await world.legs() == [statuses]


async def test_a_caller_who_hangs_up_cancels(world: World) -> None:
    ann = world.ann["identifier"]
    await world.bring(world.north.call(ann, NUMBERS[0], "caller"))
    for status in ("started", "ringing", "answered"):  # of the caller's side, which tells nothing
        assert (await world.bring(world.north.ended(ann, NUMBERS[0], "caller", status))).raw == b""
    assert await world.legs() == [(30, 10)]
    await world.bring(world.north.ended(ann, NUMBERS[0], "caller"))
    assert await world.legs() == [(80, 40)]


@pytest.mark.parametrize(("word", "leg"), [("human", 80), ("machine", 50)])
async def test_where_a_call_has_to_be_accepted_machines_are_hung_up_on(
    world: World, word: str, leg: int
) -> None:
    settings = f"/v1/Services/{world.service['sid']}/Settings"
    await world.inside.post(settings, {"CallAccept": "keypress"})
    (connect,) = await actions(world, world.north.call(world.ann["identifier"], NUMBERS[0], "caller"))
    assert connect["machineDetection"] == "hangup"
    end = {"duration": "3", "start_time": "2027-01-15T08:00:00.000Z"}
    for said in ({"status": "answered"}, {"status": word}, {"status": "completed", **end}):
        hook = world.north.say_of_call(
            connect["eventUrl"][0], NUMBERS[1], world.ben["identifier"], "called", **said
        )
        await world.bring(hook)
    assert await world.legs() == [(80, leg)]


async def test_a_stranger_s_call_ends(world: World) -> None:
    assert await actions(world, world.north.call("+12125550150", NUMBERS[0])) == []


async def test_a_customer_is_asked_about_a_stranger_through_us(world: World) -> None:
    async with receiving() as receiver:
        receiver.answers = [
            ("text/xml", '<Response><Gather action="/keys"><Say>Which?</Say></Gather></Response>'),
            ("text/xml", "<Response><Redirect>/more</Redirect></Response>"),
            ("text/xml", "<Response><Say>Bye</Say></Response>"),
        ]
        await world.inside.post(world.service["url"], {"OutOfSessionCallbackUrl": receiver.url})
        stranger = "+12125550150"
        _, asked = await actions(world, world.north.call(stranger, NUMBERS[0], "caller"))
        (url,) = asked["eventUrl"]
        silent = world.north.say_of_call(url, stranger, NUMBERS[0], "caller", dtmf={"digits": ""})
        assert (await world.bring(silent)).raw == b""  # it goes on with what comes next
        pressed = world.north.say_of_call(url, stranger, NUMBERS[0], "caller", dtmf={"digits": "5"})
        (notify,) = await actions(world, pressed)
        told = world.north.say(notify["eventUrl"][0], {"payload": notify["payload"]})
        assert await actions(world, told) == [{"action": "talk", "text": "Bye"}]
        assert [post.path for post in receiver.posts[1:]] == ["/keys", "/more"]
        assert receiver.posts[1].form["Digits"] == "5"
        assert receiver.posts[2].form["CallSid"] == "caller" and receiver.posts[2].form["From"] == stranger


async def test_what_is_said_of_a_call_on_no_number_of_the_service_is_not_heard(world: World) -> None:
    (connect,) = await actions(world, world.north.call(world.ann["identifier"], NUMBERS[0]))
    (status,), ben = connect["eventUrl"], world.ben["identifier"]
    told = world.north.say_of_call(status, "+14155550199", ben, status="busy")
    assert (await world.bring(told)).status == 404
    url, body, headers = world.north.say_of_call(status, NUMBERS[1], ben, status="busy")
    assert (await world.bring((url, body.replace(b"busy", b"fail"), headers))).status == 403
    assert await world.legs() == [(30, 10)]


# Who has signed


@pytest.mark.parametrize(
    ("authorization", "wrong"),
    [
        (None, "the token is missing"),
        ("Basic YTpi", "the token is missing"),
        ("Bearer ", "the token's signature does not fit"),
        ("Bearer a.b", "the token's signature does not fit"),
        ("Bearer a.b.c", "the token's signature does not fit"),
        ("Bearer é.é.é", "the token's signature does not fit"),
    ],
)
async def test_what_has_no_token_of_the_account_is_refused(
    world: World, authorization: str | None, wrong: str
) -> None:
    url, body, headers = world.text(world.ann, "forged")
    del headers["Authorization"]
    more = {"Authorization": authorization} if authorization else {}
    assert (await world.bring((url, body, {**headers, **more}))).status == 403
    ((code, message),) = await world.events()
    assert code == 20403 and wrong in message
    assert await world.legs() == []


@pytest.mark.parametrize(
    ("claims", "how", "wrong"),
    [
        ({}, {"secret": "another"}, "the token's signature does not fit"),
        ({}, {"alg": "none"}, "the token's signature does not fit"),
        ({}, {"alg": "RS256"}, "the token's signature does not fit"),
        ({"payload_hash": None}, {}, "the token's payload_hash does not fit"),
        ({"payload_hash": "é"}, {}, "the token's payload_hash does not fit"),
        ({"payload_hash": hashlib.sha256(b"").hexdigest()}, {}, "the token's payload_hash does not fit"),
        ({"iat": None}, {}, "the token has no date"),
        ({"iat": "now"}, {}, "the token has no date"),
    ],
)
async def test_a_token_of_something_else_is_refused(
    world: World, claims: dict[str, Any], how: dict[str, str], wrong: str
) -> None:
    url, body, headers = world.text(world.ann, "forged")
    token = hs256({**world.north.claims(body), **claims}, **how)
    reply = await world.bring((url, body, {**headers, "Authorization": f"Bearer {token}"}))
    assert reply.status == 403
    ((_, message),) = await world.events()
    assert wrong in message
    assert await world.legs() == []


@pytest.mark.parametrize(
    ("late_s", "status"), [(25 * 3600, 200), (25 * 3600 + 2, 403), (-299, 200), (-302, 403)]
)
async def test_a_token_of_another_time_is_refused(world: World, late_s: int, status: int) -> None:
    note("", "again")
    hook = world.north.text(world.ann["identifier"], NUMBERS[0], "again", late_s=late_s)
    assert (await world.bring(hook)).status == status


# Bad input


@pytest.mark.parametrize(("said", "kept"), [("a\0b", "ab"), ("a\ud83db", "a\ufffdb")])
async def test_a_text_goes_on_without_what_no_text_may_have(world: World, said: str, kept: str) -> None:
    assert (await world.bring(world.text(world.ann, said))).status == 200
    assert [taken.body for taken in await world.sent(1)] == [kept]


@pytest.mark.parametrize(
    ("what", "change", "named"),
    [
        ("message", {"from": None}, "from is required"),
        ("message", {"to": 14155550100}, "to is required"),
        ("message", {"message_uuid": ""}, "message_uuid is required"),
        ("message", {"message_uuid": "x" * 192}, "message_uuid (at most 191"),
        ("status/SM1", {"from": ""}, "from is required"),
        ("status", {"message_uuid": None}, "message_uuid is required"),
    ],
)
async def test_what_is_signed_and_makes_no_sense_is_refused(
    world: World, what: str, change: dict[str, Any], named: str
) -> None:
    said = {"message_uuid": "1", "from": "12125550170", "to": "14155550100", "status": "submitted", **change}
    reply = await world.bring(world.north.say(f"{world.inside.url}/carriers/north/{what}", said))
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert named in reply.json["message"]
    assert await world.legs() == []


@pytest.mark.parametrize(
    "said",
    [
        {"message_type": "image", "image": None},
        {"message_type": "content", "content": {"type": "image"}},
        {"message_type": "content", "content": [None, 1, {"url": 5}]},
        {"message_type": "location"},
        {},
    ],
)
async def test_what_is_of_another_shape_is_a_message_without_it(clock: FakeClock, said: Any) -> None:
    async with vonage(clock) as bench:
        whole = {"message_uuid": "1", "from": "12125550170", "to": "14155550100", "channel": "mms", **said}
        event = bench.carrier._read_message(whole)  # type: ignore[attr-defined]
        assert (event.body, event.media, event.from_) == ("", (), "+12125550170")


async def test_other_channels_keep_their_names(clock: FakeClock) -> None:
    async with vonage(clock) as bench:
        said = {"message_uuid": "1", "from": "12125550170", "to": "72345", "text": "hi"}
        event = bench.carrier._read_message({**said, "channel": "sms"})  # type: ignore[attr-defined]
        assert (event.to, event.body) == ("72345", "hi")
        event = bench.carrier._read_message({**said, "channel": "whatsapp"})  # type: ignore[attr-defined]
        assert event.from_ == "whatsapp:+12125550170"
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.send(outgoing(from_="whatsapp:+14155550100"))
        assert caught.value.kind is Kind.REJECTED and bench.vendor.requests == []


# What it sends


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("https://x.test/1.png", "image"),
        ("https://x.test/1.mp4", "video"),
        ("https://x.test/1.mp3?a", "audio"),
        ("https://x.test/1.vcf", "vcard"),
        ("https://x.test/1.pdf", "file"),
        ("https://masked.test/media/x", "image"),
    ],
)
async def test_a_medium_goes_as_what_it_is(clock: FakeClock, address: str, kind: str) -> None:
    async with vonage(clock) as bench:
        await bench.carrier.send(outgoing("look", media=(address,)))
        said = json.loads(bench.vendor.requests[0].body)
    assert (said["channel"], said["message_type"]) == ("mms", kind)
    assert said[kind] == {"url": address, "caption": "look"}


async def test_a_token_is_made_anew_before_it_ends(clock: FakeClock) -> None:
    async with vonage(clock) as bench:
        for seconds in (0, 599, 1, 899):
            clock.advance(seconds)
            await bench.carrier.send(outgoing())
        first, second, third, fourth = (one.headers["authorization"] for one in bench.vendor.requests)
    assert first == second and len({second, third, fourth}) == 3


@pytest.mark.parametrize("code", KINDS)
async def test_its_own_codes(clock: FakeClock, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: VonageApi, __: Request) -> tuple[int, object]:
        return 422, {"type": f"https://developer.vonage.com/api-errors/messages#{code}", "title": "no"}

    monkeypatch.setattr(VonageApi, "answer", refuse)
    async with vonage(clock) as bench:
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.send(outgoing())
    assert caught.value.kind is KINDS[code]
    assert caught.value.detail == "status 422" + (f", code {code}" if code.isdecimal() else "")


# Where the traffic of numbers goes


class Kept:
    """What was kept of a number."""

    former = ""

    async def __call__(self, former: str) -> None:
        self.former = former


async def test_numbers_come_to_the_application_and_go_back(world: World) -> None:
    resource = world.north.resources[NUMBERS[0]]
    assert resource["app_id"] == APPLICATION
    messages = world.north.application["capabilities"]["messages"]
    assert messages["webhooks"]["inbound_url"] == {
        "address": f"{world.inside.url}/carriers/north/message",
        "http_method": "POST",
    }
    voice = world.north.application["capabilities"]["voice"]
    assert voice["signed_callbacks"] is True
    assert voice["webhooks"]["answer_url"]["address"] == f"{world.inside.url}/carriers/north/call"
    await world.inside.request("DELETE", world.service["url"])
    while resource["app_id"] != OTHERS_APPLICATION:
        world.inside.clock.advance(5)
        await world.inside.rows("SELECT 1")


@pytest.mark.parametrize("number", [OURS, "72345"])
@pytest.mark.parametrize("before", [OTHERS_APPLICATION, ""])
async def test_a_number_goes_back_to_where_it_was(clock: FakeClock, number: str, before: str) -> None:
    async with vonage(clock) as bench:
        assert isinstance(bench.vendor, VonageApi)
        resource = bench.vendor.own(number, app_id=before)
        was, application = dict(resource), dict(bench.vendor.application)
        kept = Kept()
        await bench.carrier.adopt("AC1", number, kept)
        assert resource == {**was, "app_id": APPLICATION}  # and all else is as it was
        for name in ("name", "keys", "privacy"):
            assert bench.vendor.application[name] == application[name]
        assert bench.vendor.application["capabilities"]["verify"] == {"version": "v2"}
        asked = len(bench.vendor.requests)
        again = Kept()
        await bench.carrier.adopt("AC1", number, again)
        assert again.former == "" and {one.method for one in bench.vendor.requests[asked:]} == {"GET"}
        await bench.carrier.release(number, kept.former)
        assert resource == was
        await bench.carrier.release(number, kept.former)


async def test_what_others_have_changed_meanwhile_is_theirs(clock: FakeClock) -> None:
    async with vonage(clock) as bench:
        assert isinstance(bench.vendor, VonageApi)
        kept = Kept()
        await bench.carrier.adopt("AC1", OURS, kept)
        bench.vendor.resources[OURS]["app_id"] = "another"
        await bench.carrier.release(OURS, kept.former)
        assert bench.vendor.resources[OURS]["app_id"] == "another"


@pytest.mark.parametrize(
    ("former", "taken"),
    [
        ("", True),
        ("https://old.example/carriers/north/message", True),
        ("https://elsewhere.example/sms", False),
    ],
)
async def test_an_application_that_serves_another_is_left_alone(
    clock: FakeClock, former: str, taken: bool
) -> None:
    async with vonage(clock) as bench:
        assert isinstance(bench.vendor, VonageApi)
        webhook = {"address": former, "http_method": "GET"}
        bench.vendor.application["capabilities"]["messages"] = {"webhooks": {"inbound_url": webhook}}
        if taken:
            await bench.carrier.adopt("AC1", OURS, Kept())
            messages = bench.vendor.application["capabilities"]["messages"]
            assert messages["webhooks"]["inbound_url"]["address"] == f"{URL}/message"
            return
        kept = Kept()
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.adopt("AC1", OURS, kept)
        assert caught.value.detail == "its application's inbound_url leads to another address"
        assert (kept.former, bench.vendor.resources[OURS]["app_id"]) == ("", OTHERS_APPLICATION)


async def test_a_number_that_the_account_has_not_is_not_carried(clock: FakeClock) -> None:
    async with vonage(clock) as bench:
        for number in ("+14155550199", "+1415555010", "72345"):
            with pytest.raises(CarrierError) as caught:
                await bench.carrier.adopt("AC1", number, Kept())
            assert caught.value.detail == "the account at Vonage has no such number"


# The settings, and what the doctor is told


def pem(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("nothing", "no private key in PEM form"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key in PEM form"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "no RSA key"),
    ],
)
def test_a_private_key_that_cannot_be_used_is_refused_without_it(key: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_accounts(
            {"north": {"kind": "vonage", **vonage_api.options("https://x.test"), "private_key": key}}
        )
    assert str(caught.value) == f"carriers.north: private_key: {said}"


async def test_the_doctor_is_told(clock: FakeClock) -> None:
    async with vonage(clock) as bench:
        assert isinstance(bench.vendor, VonageApi)
        (found,) = await bench.carrier.check([OURS])
        wrong = "inbound_url, status_url, answer_url, fallback_answer_url, event_url"
        assert found.says == f"its application does not lead to {URL} ({wrong})"
        assert found.remedy is not None
        await bench.carrier.adopt("AC1", OURS, Kept())
        asked = len(bench.vendor.requests)
        good = Checked("Vonage takes its credentials")
        assert await bench.carrier.check([OURS, "whatsapp:+14155550100"]) == [good]
        bench.vendor.own("+14155550101")
        _, stray, unknown = await bench.carrier.check([OURS, "+14155550101", "+14155550199"])
        assert stray.says == f"+1…01 does not bring its traffic to {URL} (app_id)"
        assert unknown.says == "+1…99: the account at Vonage has no such number"
        voice = bench.vendor.application["capabilities"]["voice"]
        voice["signed_callbacks"] = False
        (found,) = await bench.carrier.check([OURS])
        assert found.says.endswith("(signed_callbacks)")
        voice["signed_callbacks"] = True
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        bench.vendor.application["keys"]["public_key"] = pem
        (found,) = await bench.carrier.check([OURS])
        assert found.says == "the private key is not its application's"
        bench.vendor.secret = "another"
        (found,) = await bench.carrier.check([OURS])
        assert found.says == "cannot be asked: misconfigured (status 401)"
        assert {one.method for one in bench.vendor.requests[asked:]} == {"GET"}
