"""An account at Twilio from one end to the other: the whole server, and a stand-in for Twilio on the other side."""

from __future__ import annotations

import base64
import hmac
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from maskline.carriers.twilio import STATUSES
from maskline.carriers.webhooks import FORM
from maskline.domain.twiml import Dial, Reject, parse_twiml
from maskline.store.engine import Tx
from tests.carriers.world import NUMBERS, World
from tests.support.bandwidth_api import BandwidthApi
from tests.support.clock import FakeClock
from tests.support.house import locked_out
from tests.support.inside import Inside
from tests.support.private import note
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN
from tests.support.twilio_api import OPTED_OUT, TwilioApi
from tests.support.until import turns, until
from tests.support.vendor import Trouble

EMPTY = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
SOUTHERN = "+14155550102"
KEY, SECRET = "webhooks_sharedkey_01", "e5" * 16


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        north = await stack.enter_async_context(TwilioApi(clock, *NUMBERS))
        other = TwilioApi(clock, SOUTHERN, account="AC" + "f7" * 16, token="a8" * 16)
        south = await stack.enter_async_context(other)
        accounts = {
            "north": {**north.table, "webhook_keys": {KEY: SECRET}},
            "south": south.table,
        }
        inside = await stack.enter_async_context(
            Inside(tmp_path / "data", clock, carriers=accounts, sandbox=False)
        )
        world = World(inside, north, south)
        await world.meet()
        yield world


# Messages


async def test_a_masked_conversation(world: World) -> None:
    reply = await world.bring(world.text(world.ann, "Käse & 🍕 = 50 %+"))
    assert (reply.status, reply.raw) == (200, EMPTY)
    (first,) = await world.sent(1)
    assert (first.from_, first.to, first.body) == (NUMBERS[1], world.ben["identifier"], "Käse & 🍕 = 50 %+")
    await world.bring(world.text(world.ben, "how much?"))
    _, second = await world.sent(2)
    assert (second.from_, second.to, second.body) == (NUMBERS[0], world.ann["identifier"], "how much?")
    for word in ("sent", "delivered"):
        assert (await world.bring(world.north.report(first, word))).status == 200
    assert await world.legs() == [(70, 70), (70, 40)]
    assert await world.events() == []


async def test_reports_that_come_twice_and_in_any_order_merge(world: World) -> None:
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    for word in ("delivered", "queued", "sent", "delivered", "sending", "no-such-word"):
        assert (await world.bring(world.north.report(taken, word))).status == 200
    assert await world.legs() == [(70, 70)]


@pytest.mark.parametrize("word", STATUSES)
async def test_every_word_of_a_report_is_known(world: World, word: str) -> None:
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    await world.bring(world.north.report(taken, word))
    assert await world.legs() == [(70, int(STATUSES[word]))]


async def test_what_is_brought_twice_is_relayed_once(world: World) -> None:
    hook = world.text(world.ann, "once")
    for _ in range(3):
        reply = await world.bring(hook)
        assert (reply.status, reply.raw) == (200, EMPTY)
    await world.bring(world.text(world.ann, "last"))
    assert [taken.body for taken in await world.sent(2)] == ["once", "last"]


async def test_pictures_go_on_by_links_of_our_own(world: World) -> None:
    await world.bring(world.text(world.ann, "look", "https://api.twilio.example/2010/ME1"))
    (taken,) = await world.sent(1)
    (link,) = taken.media
    assert link.startswith(f"{world.inside.url}/media/")
    assert taken.id.startswith("MM")


async def test_a_message_whose_answer_was_lost_is_settled_by_its_report(world: World) -> None:
    world.north.then(Trouble.TAKES_AND_DROPS)
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    assert await world.legs() == [(70, 10)]
    await world.bring(world.north.report(taken, "delivered"))
    assert await world.legs() == [(70, 70)]
    await world.inside.pass_time(1)
    await world.recorded()
    assert await world.inside.rows("SELECT count(*) FROM outbox WHERE topic = 'send'") == [(0,)]
    assert len(world.north.taken) == 1


async def test_a_message_whose_answer_was_lost_is_found(world: World) -> None:
    world.north.then(Trouble.TAKES_AND_FAILS)
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    await world.inside.quiet()
    world.inside.clock.advance(1)
    await until(lambda: world.north.requests[-1].method == "GET")
    await world.recorded()
    assert await world.legs() == [(70, 40)]
    ((carrier_id,),) = await world.inside.rows("SELECT carrier_id FROM interactions")
    assert carrier_id == f"north/{taken.id}"
    assert len(world.north.taken) == 1


async def test_credentials_that_are_refused_pause_the_account_and_no_other(world: World) -> None:
    await world.put_down(SOUTHERN, "south")
    assert (await world.join(SOUTHERN)).status == 201
    token, world.north.token = world.north.token, "changed"
    asked = len(world.north.requests)
    path = f"{world.ann['url']}/MessageInteractions"
    for i in range(5):
        note("", body := f"waits {i}")
        await world.inside.post(path, {"Body": body})
    await until(lambda: len(world.north.requests) > asked)
    await world.recorded()
    assert [code for code, _ in await world.events()] == [49003]
    assert len(world.north.requests) == asked + 1
    world.north.token = token
    await world.inside.quiet()
    world.inside.clock.advance(60)
    assert [taken.body for taken in await world.sent(5)] == [f"waits {i}" for i in range(5)]
    assert [code for code, _ in await world.events()] == [49003, 49004]


async def test_who_has_opted_out_at_twilio_has_opted_out(world: World) -> None:
    session = await world.inside.post(world.service["links"]["sessions"])
    person = await world.inside.post(session["links"]["participants"], {"Identifier": OPTED_OUT})
    note(OPTED_OUT, "hello there")
    await world.inside.post(f"{person['url']}/MessageInteractions", {"Body": "hello there"})
    await world.recorded()
    await until(lambda: world.north.requests[-1].method == "POST")
    optouts = await world.inside.get(f"/v1/Services/{world.service['sid']}/OptOuts")
    assert [one["source"] for one in optouts["opt_outs"]] == ["carrier"]


async def test_who_has_opted_out_may_be_told_by_a_report(world: World) -> None:
    """Where Twilio finds that out only after it has taken the message, as it does in a Messaging Service."""
    for _ in range(2):
        await world.bring(world.text(world.ann, "hi there"))
    for taken, code in zip(await world.sent(2), ("30005", "21610"), strict=True):
        assert await world.events() == []
        url, form, _ = world.north.report(taken, "failed")
        assert (await world.bring(world.north.signed(url, {**form, "ErrorCode": code}))).status == 200
    assert [code for code, _ in await world.events()] == [21610]
    optouts = await world.inside.get(f"/v1/Services/{world.service['sid']}/OptOuts")
    assert [one["identifier"] for one in optouts["opt_outs"]] == [world.ben["identifier"]]


# Who has signed


async def test_a_shared_key_signs_with_sha_256(world: World) -> None:
    url, form, _ = world.text(world.ann, "signed otherwise")
    signature = RequestValidator(SECRET).compute_signature(url, form, "HMAC_SHA256")
    settings = {"X-Twilio-Webhooks-Signature-Settings": f"key={KEY},algorithm=HMAC_SHA256"}
    reply = await world.bring((url, form, {"X-Twilio-Signature": signature, **settings}))
    assert reply.status == 200
    assert [taken.body for taken in await world.sent(1)] == ["signed otherwise"]


@pytest.mark.parametrize(
    ("settings", "algorithm", "secret"),
    [
        (f"key={KEY},algorithm=HMAC_SHA256", "HMAC_SHA1", SECRET),
        (f"key={KEY},algorithm=HMAC_SHA1", "HMAC_SHA256", SECRET),
        (f"key={KEY}x,algorithm=HMAC_SHA256", "HMAC_SHA256", SECRET),
        (f"key={KEY},algorithm=HMAC_MD5", "HMAC_SHA256", SECRET),
        ("algorithm=HMAC_SHA256", "HMAC_SHA256", SECRET),
        ("", "HMAC_SHA1", SECRET),
        ("", "HMAC_SHA1", "another"),
    ],
)
async def test_another_secret_or_algorithm_is_refused(
    world: World, settings: str, algorithm: str, secret: str
) -> None:
    url, form, _ = world.text(world.ann, "forged")
    headers = {"X-Twilio-Signature": RequestValidator(secret).compute_signature(url, form, algorithm)}
    if settings:
        headers["X-Twilio-Webhooks-Signature-Settings"] = settings
    assert (await world.bring((url, form, headers))).status == 403
    assert await world.legs() == []


async def test_what_is_not_signed_leaves_one_event_a_minute(world: World) -> None:
    url, form, _ = world.text(world.ann, "forged")
    for headers in ({}, {"X-Twilio-Signature": "x"}, {"X-Twilio-Signature": "é"}):
        reply = await world.bring((url, form, headers))
        assert (reply.status, reply.json["code"]) == (403, 20403)
    world.inside.clock.advance(60)
    await world.bring((url, form, {"X-Twilio-Signature": "x"}))
    said = [message for code, message in await world.events() if code == 20403]
    assert [message.partition(": A webhook")[0] for message in said] == [
        f"carrier account north, X-Twilio-Signature is missing, at {url}",
        f"carrier account north, X-Twilio-Signature does not fit, at {url}",
    ]


async def test_what_comes_to_another_accounts_address_is_told_with_both_names(world: World) -> None:
    url, form, _ = world.text(world.ann, "astray")
    hook = world.north.signed(url.replace("/north/", "/south/"), form)
    assert (await world.bring(hook)).status == 403
    ((code, message),) = await world.events()
    assert code == 20403
    assert "carrier account south, X-Twilio-Signature does not fit" in message
    assert "it is signed by carrier account north" in message
    assert "the number is carried by north" in message


async def test_nobody_has_signed_what_another_kind_of_account_has_no_address_for(
    tmp_path: Path, clock: FakeClock
) -> None:
    accounts = {
        "north": TwilioApi(clock, *NUMBERS),
        "east": BandwidthApi(clock, hooks="https://east.example"),
    }
    async with AsyncExitStack() as stack:
        for vendor in accounts.values():
            await stack.enter_async_context(vendor)
        carriers = {name: vendor.table for name, vendor in accounts.items()}
        inside = await stack.enter_async_context(
            Inside(tmp_path / "data", clock, carriers=carriers, sandbox=False)
        )
        world = World(inside, accounts["north"])
        await world.meet()
        url = f"{inside.url}/carriers/north/status/SM{'a' * 32}"
        assert (await world.bring((url, {"From": NUMBERS[0]}, {}))).status == 403
        ((code, message),) = await world.events()
        assert code == 20403
        assert "it is signed by" not in message


async def test_a_number_that_another_account_carries_is_not_this_ones(world: World) -> None:
    """Signed by the account whose address it is; but the directory says that another has the number."""
    url = f"{world.inside.url}/carriers/south"
    hooks = [
        world.south.signed(f"{url}/message", world.text(world.ann, "astray")[1]),
        world.south.signed(f"{url}/call", world.north.call(world.ann["identifier"], NUMBERS[0])[1]),
    ]
    for hook in hooks:
        assert (await world.bring(hook)).status == 404
    assert [code for code, _ in await world.events()] == [49030, 49030]
    assert all(
        "south, for +1…" in message and " of north: " in message for _, message in await world.events()
    )
    assert await world.legs() == []


async def test_the_paths_of_proxy_take_what_the_number_s_account_has_signed(world: World) -> None:
    path = f"{world.inside.url}/v1/Accounts/{ACCOUNT_SID}/Proxy/{world.service['sid']}/Webhooks/Message"
    _, form, _ = world.text(world.ann, "by the old way")
    assert (await world.bring(world.south.signed(path, form))).status == 403
    assert (await world.bring(world.north.signed(path, form))).status == 200
    assert [taken.body for taken in await world.sent(1)] == ["by the old way"]
    ours = {"X-Twilio-Signature": RequestValidator(AUTH_TOKEN).compute_signature(path, form)}
    assert (await world.bring((path, form, ours))).status == 200  # the maskline account's own, a repeat
    ((code, message),) = await world.events()
    assert code == 20403
    assert "is that of carrier account south, the number is carried by north" in message


# Calls


async def test_a_call_is_put_through_and_ends(world: World) -> None:
    reply = await world.bring(world.north.call(world.ann["identifier"], NUMBERS[0], sid="CA" + "1" * 32))
    assert reply.status == 200
    (dial,) = parse_twiml(reply.raw)
    assert isinstance(dial, Dial)
    (number,) = dial.numbers
    assert (dial.caller_id, number.number) == (NUMBERS[1], world.ben["identifier"])
    # What becomes of it is told to the addresses in there, of the call to the partner, by the same account.
    told = {
        "CallSid": "CA" + "2" * 32,
        "CallStatus": "in-progress",
        "From": NUMBERS[1],
        "To": number.number,
    }
    status_url = number.status_callback or ""
    assert (await world.bring(world.south.signed(status_url, told))).status == 403
    assert (await world.bring(world.north.signed(status_url, told))).status == 200
    ended = {
        "CallSid": "CA" + "1" * 32,
        "CallStatus": "in-progress",
        "DialCallStatus": "completed",
        "DialCallDuration": "12",
        "From": world.ann["identifier"],
        "To": NUMBERS[0],
    }
    assert (await world.bring(world.north.signed(dial.action or "", ended))).status == 200
    over = world.north.call(world.ann["identifier"], NUMBERS[0], "completed", sid="CA" + "1" * 32)
    assert (await world.bring(over)).status == 200
    ((kind, data, inbound, outbound),) = await world.inside.rows(
        "SELECT type, data, inbound_status, outbound_status FROM interactions"
    )
    assert (kind, data, inbound, outbound) == ("voice", '{"duration":"12"}', 80, 80)


async def test_a_stranger_s_call_is_rejected(world: World) -> None:
    reply = await world.bring(world.north.call("+12125550150", NUMBERS[0]))
    assert parse_twiml(reply.raw) == [Reject("rejected")]


# Bad input


async def test_a_text_goes_on_without_what_no_text_may_have(world: World) -> None:
    assert (await world.bring(world.text(world.ann, "a\0b"))).status == 200
    assert [taken.body for taken in await world.sent(1)] == ["ab"]


@pytest.mark.parametrize(
    ("what", "change", "named"),
    [
        ("message", {"From": ""}, "From is required"),
        ("message", {"To": ""}, "To is required"),
        ("message", {"MessageSid": "", "SmsSid": ""}, "SmsSid is required"),
        ("message", {"From": "+1" * 100}, "From (at most 191"),
        ("message", {"MessageSid": "SM" + "0" * 32 + "Body"}, "MessageSid"),
        ("call", {"CallSid": ""}, "CallSid is required"),
        ("call", {"CallSid": "CA" + "0" * 32 + "To"}, "CallSid"),
        ("status/SM1", {"From": ""}, "From is required"),
    ],
)
async def test_what_is_signed_and_makes_no_sense_is_refused(
    world: World, what: str, change: dict[str, str], named: str
) -> None:
    form = {"From": world.ann["identifier"], "To": NUMBERS[0], "MessageStatus": "sent", "MessageSid": "SM1"}
    hook = world.north.signed(
        f"{world.inside.url}/carriers/north/{what}", {**form, "CallSid": "CA1", **change}
    )
    reply = await world.bring(hook)
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert named in reply.json["message"]
    assert await world.legs() == []


async def test_a_text_that_is_no_utf_8_is_not_lost(world: World) -> None:
    url, form, _ = world.text(world.ann, "naïve")
    signed = url.encode() + "".join(name + form[name] for name in sorted(form)).encode("latin-1")
    signature = base64.b64encode(hmac.digest(world.north.token.encode(), signed, "sha1")).decode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
    assert (await world.bring((url, urlencode(form, encoding="latin-1").encode(), headers))).status == 200
    (taken,) = await world.sent(1)
    assert taken.body == "naïve"


@pytest.mark.parametrize(
    "path", ["/carriers/west/message", "/carriers/north/nothing", "/carriers/north/message/x"]
)
async def test_there_is_nothing_at_another_address(world: World, path: str) -> None:
    hook = world.north.signed(f"{world.inside.url}{path}", {"From": "+12125550170", "To": NUMBERS[0]})
    reply = await world.bring(hook)
    assert (reply.status, reply.json["code"]) == (403, 20403)


async def test_nobody_learns_which_accounts_there_are(world: World) -> None:
    paths = ["/carriers/north/message", "/carriers/west/message"]
    shown = [await world.inside.see(path) for path in paths]
    assert [(reply.status, reply.raw) for reply in shown] == [(200, b"")] * 2
    north, west = [await world.inside.bring(path, {"From": "+12125550170"}, {}) for path in paths]
    assert (north.status, north.json) == (west.status, west.json)
    assert west.status == 403


@pytest.mark.parametrize(
    ("rest", "body", "kind"),
    [
        ("message", b"{}", "application/json"),
        ("message", b"&a=" * 101, FORM),
        ("message", b"\xff", ""),
        ("message", b"a=\xff", FORM),
        ("message", b"a=b", FORM),
        ("nothing" + "?a=b" + "&a=b" * 101, b"a=b", FORM),
        ("message" + "?a=b" + "&a=b" * 101, b"a=b", FORM),
    ],
)
async def test_nor_by_what_is_said_of_what_they_bring(
    world: World, rest: str, body: bytes, kind: str
) -> None:
    for name in ("north", "west"):
        url = f"{world.inside.url}/carriers/{name}/{rest}"
        reply = await world.inside.bring(url, body, {"Content-Type": kind})
        assert (name, reply.status, reply.json["code"]) == (name, 403, 20403)


async def test_nor_while_nothing_can_be_written(world: World) -> None:
    async with locked_out(world.inside.store):
        for name in ("north", "west"):
            reply = await world.inside.bring(f"{world.inside.url}/carriers/{name}/message", b"a=b", {})
            assert (name, reply.status, reply.json["code"]) == (name, 403, 20403)


async def test_a_number_of_no_pool_is_not_found(world: World) -> None:
    await world.put_down(SOUTHERN, "north")
    world.north.own(SOUTHERN, sms_url=f"{world.inside.url}/carriers/north/message")
    for number in (SOUTHERN, "+14155550199"):
        hook = world.north.signed(
            f"{world.inside.url}/carriers/north/message",
            {"From": "+12125550170", "To": number, "MessageSid": "SM1", "Body": ""},
        )
        assert (await world.bring(hook)).status == 404


async def test_a_report_on_nothing_that_is_known_waits(world: World) -> None:
    form = {
        "MessageSid": "SM" + "9" * 32,
        "MessageStatus": "delivered",
        "From": NUMBERS[0],
        "To": "+12125550170",
    }
    for leg in ("SM" + "9" * 32, "x", "SM1"):
        hook = world.north.signed(f"{world.inside.url}/carriers/north/status/{leg}", form)
        assert (await world.bring(hook)).status == 200
    assert await world.inside.rows("SELECT topic, count(*) FROM outbox GROUP BY topic") == [("receipt", 1)]


# Where a number's traffic goes


async def test_a_number_that_joins_a_pool_comes_here_and_goes_back_when_it_leaves(world: World) -> None:
    hooks = f"{world.inside.url}/carriers/north"
    resource = world.north.own(
        "+14155550105",
        sms_application_sid="AP1",
        voice_fallback_url="https://before.example/fallback",
        status_callback="https://before.example/status",
    )
    before = dict(resource)
    sid = await world.put_down("+14155550105")
    number = (await world.join("+14155550105")).json
    assert (resource["sms_url"], resource["sms_method"]) == (f"{hooks}/message", "POST")
    assert (resource["voice_url"], resource["status_callback"]) == (f"{hooks}/call", f"{hooks}/call")
    assert resource["sms_application_sid"] == ""
    assert (await world.inside.request("DELETE", number["url"])).status == 204
    await released(world)
    assert resource == before
    # And once more, after which it is what it was.
    assert (await world.join("+14155550105")).status == 201
    assert resource["sms_url"] == f"{hooks}/message"
    assert (await world.inside.request("DELETE", f"{number['url']}")).status == 204
    await released(world)
    assert (resource, sid) == (before, number["sid"])


async def released(world: World) -> None:
    """Until nothing is to be told to a carrier any more."""
    while (
        await world.inside.rows(
            "SELECT count(*) FROM adoptions a LEFT JOIN numbers n"
            " ON n.phone_number = a.phone_number WHERE n.service_sid IS NULL"
        )
    )[0][0]:
        world.inside.clock.advance(5)


async def test_what_others_have_changed_meanwhile_is_theirs(world: World) -> None:
    resource = world.north.own("+14155550105")
    await world.put_down("+14155550105")
    number = (await world.join("+14155550105")).json
    resource["voice_url"] = "https://later.example/voice"
    await world.inside.request("DELETE", number["url"])
    await released(world)
    assert (resource["sms_url"], resource["voice_url"]) == (
        "https://before.example/sms",
        "https://later.example/voice",
    )


async def test_with_its_service_every_number_goes_back(world: World) -> None:
    assert (await world.inside.request("DELETE", world.service["url"])).status == 204
    await released(world)
    for number in NUMBERS:
        assert world.north.resources[number]["sms_url"] == "https://before.example/sms"
        assert world.north.resources[number]["sms_method"] == "GET"


async def test_the_api_says_who_carries_a_number(world: World) -> None:
    await world.put_down(SOUTHERN, "south")
    joined = await world.join(SOUTHERN)
    own = f"/2010-04-01/Accounts/{ACCOUNT_SID}/IncomingPhoneNumbers/{joined.json['sid']}.json"
    for reply in (
        joined,
        await world.inside.request("GET", joined.json["url"]),
        await world.inside.request("POST", joined.json["url"], {"IsReserved": "true"}),
        await world.inside.request("GET", own),
    ):
        assert reply.headers["maskline-carrier-account"] == "south"


async def test_an_account_that_never_reports_is_told_of_once(world: World) -> None:
    async def hour() -> None:
        for _ in range(130):
            world.inside.clock.advance(30)
            await turns(30)

    await world.bring(world.text(world.ann, "hi"))
    (first,) = await world.sent(1)
    await hour()
    await until_event(world, 49032)
    await hour()
    assert [code for code, _ in await world.events()] == [49032]
    assert await world.legs() == [(70, 40)]
    # It reports, and is silent again.
    await world.bring(world.north.report(first, "delivered"))
    await world.bring(world.text(world.ann, "hi again"))
    await world.sent(2)
    await hour()
    await until_event(world, 49032, 2)


async def until_event(world: World, code: int, count: int = 1) -> None:
    while [found for found, _ in await world.events()].count(code) < count:
        world.inside.clock.advance(30)


async def test_a_short_code_has_texts_only(world: World) -> None:
    resource = world.north.own("72345")
    for name in list(resource):
        if name.startswith(("voice", "status", "trunk", "sms_application")):
            del resource[name]
    sid = await world.put_down("72345")
    joined = await world.inside.request(
        "POST", f"/v1/Services/{world.service['sid']}/ShortCodes", {"Sid": sid}
    )
    assert joined.status == 201
    assert resource["sms_url"] == f"{world.inside.url}/carriers/north/message"


async def test_a_number_that_the_account_has_not_joins_no_pool(world: World) -> None:
    await world.put_down("+14155550106")
    reply = await world.join("+14155550106")
    assert (reply.status, reply.json["code"]) == (400, 80301)
    assert "Carrier account north does not carry it" in reply.json["message"]


@pytest.mark.parametrize(
    "trouble", [Trouble.FAILS, Trouble.PAGE_500, Trouble.REFUSES_CREDENTIALS, Trouble.PAGE]
)
async def test_while_twilio_cannot_be_asked_no_number_joins(world: World, trouble: Trouble) -> None:
    resource = world.north.own("+14155550105")
    before = dict(resource)
    await world.put_down("+14155550105")
    world.north.then(trouble)
    reply = await world.join("+14155550105")
    assert (reply.status, reply.json["code"]) == (500, 80502)
    assert resource == before
    assert (await world.join("+14155550105")).status == 201


async def test_a_number_that_cannot_be_put_back_is_told_and_tried_again(world: World) -> None:
    resource = world.north.own("+14155550105")
    await world.put_down("+14155550105")
    number = (await world.join("+14155550105")).json
    world.north.then(Trouble.FAILS)
    await world.inside.request("DELETE", number["url"])
    await released(world)
    assert resource["sms_url"] == "https://before.example/sms"
    ((code, message),) = await world.events()
    assert code == 49031
    assert message.startswith("north, +1…05: status 500")


async def test_a_number_that_could_not_join_goes_back(world: World) -> None:
    """Its carrier has been told, and then the pool had no room for it."""

    def fill(tx: Tx) -> None:
        for i in range(500):
            tx.execute(
                "INSERT INTO numbers (phone_number, sid, account_sid, carrier_account, service_sid, friendly_name,"
                " calling_code, voice, sms, mms, is_reserved, created_at, updated_at)"
                " VALUES (?, ?, ?, 'north', ?, '', 1, 1, 1, 1, 0, 1, 1)",
                (f"+1{i}", f"PN{i:032x}", ACCOUNT_SID, world.service["sid"]),
            )

    resource = world.north.own("+14155550105")
    await world.put_down("+14155550105")
    await world.inside.store.write(fill)
    assert (await world.join("+14155550105")).json["code"] == 80622
    assert resource["sms_url"].startswith(world.inside.url)
    world.inside.clock.advance(60)
    await released(world)
    assert resource["sms_url"] == "https://before.example/sms"
