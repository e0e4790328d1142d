"""An account at Vonage that uses the SMS API: what is its own. The rest is in the suites of all carriers over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.carriers.base import CarrierError, Kind
from maskline.carriers.kinds import read_accounts
from maskline.carriers.vonage_signature import sign_fields
from maskline.carriers.vonage_sms import KINDS, STATUSES
from maskline.domain import problems
from maskline.domain.interaction import MessageStatus
from tests.carriers.benches import OURS, URL, Bench, outgoing, vonage_sms
from tests.carriers.world import NUMBERS, World
from tests.support import vonage_api
from tests.support.clock import FakeClock
from tests.support.inside import Inside
from tests.support.private import note
from tests.support.vendor import Trouble
from tests.support.vonage_api import (
    APPLICATION,
    OTHERS_APPLICATION,
    SIGNATURE_SECRET,
    VonageSmsApi,
    hashed,
)

METHODS = ["sha256", "sha512", "sha1", "md5", "md5hash"]


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Signed by SHA-256 and in forms, unless the test says otherwise: the method, and whether as JSON."""
    method, as_json = getattr(request, "param", ("sha256", False))
    async with AsyncExitStack() as stack:
        vendor = VonageSmsApi(clock, *NUMBERS, method=method, as_json=as_json)
        north = await stack.enter_async_context(vendor)
        inside = await stack.enter_async_context(
            Inside(tmp_path / "data", clock, carriers={"north": north.table}, sandbox=False)
        )
        world = World(inside, north)
        await world.meet()
        yield world


@pytest.mark.parametrize("world", [("sha256", False), ("md5hash", True)], indirect=True)
async def test_a_text_goes_on_without_what_no_text_may_have(world: World) -> None:
    assert (await world.bring(world.text(world.ann, "a\0b"))).status == 200
    assert [taken.body for taken in await world.sent(1)] == ["ab"]


@pytest.mark.parametrize("world", [("sha256", True)], indirect=True)
async def test_half_a_character_costs_no_text(world: World) -> None:
    """It has no octets that could be signed: those of U+FFFD stand for it, as in most languages."""
    url, body, headers = world.text(world.ann, "a\ufffdb")
    assert (await world.bring((url, body.replace(rb"\ufffd", rb"\ud83d"), headers))).status == 200
    assert [taken.body for taken in await world.sent(1)] == ["a\ufffdb"]


@pytest.mark.parametrize("world", [("sha256", True), ("md5hash", True)], indirect=True)
async def test_nor_do_bytes_that_are_no_utf_8(world: World) -> None:
    url, body, headers = world.text(world.ann, "naïve")
    said = json.loads(body)
    said["text"] = "na\udcefve"
    said["sig"] = sign_fields(said, SIGNATURE_SECRET, world.north.method)
    as_latin = json.dumps(said, ensure_ascii=False).encode("utf-8", "surrogateescape")
    assert b"na\xefve" in as_latin
    assert (await world.bring((url, as_latin, headers))).status == 200
    assert [taken.body for taken in await world.sent(1)] == ["naïve"]


@pytest.mark.parametrize(
    "world", [(method, as_json) for method in METHODS for as_json in (False, True)], indirect=True
)
async def test_a_masked_conversation(world: World) -> None:
    for body in ("Käse & 🍕 = 50 %+", "how much?"):
        assert (await world.bring(world.text(world.ann, body))).status == 200
    first, second = await world.sent(2)
    assert (first.from_, first.to, first.body) == (NUMBERS[1], world.ben["identifier"], "Käse & 🍕 = 50 %+")
    assert second.body == "how much?"
    for word in ("delivered", "accepted", "no-such-word"):
        assert (await world.bring(world.north.report(first, word))).status == 200
    assert await world.legs() == [(70, 70), (70, 40)]
    assert await world.events() == []


@pytest.mark.parametrize("word", STATUSES)
async def test_every_word_of_a_receipt_is_known(world: World, word: str) -> None:
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    await world.bring(world.north.report(taken, word))
    assert await world.legs() == [(70, int(STATUSES[word]))]


async def test_a_receipt_finds_its_message_after_an_answer_that_was_lost(world: World) -> None:
    world.north.then(Trouble.TAKES_AND_DROPS)
    await world.bring(world.text(world.ann, "hi"))
    (taken,) = await world.sent(1)
    assert await world.legs() == [(70, 10)]
    await world.bring(world.north.report(taken, "delivered"))
    assert await world.legs() == [(70, 70)]


async def test_what_is_brought_twice_is_relayed_once(world: World) -> None:
    hook = world.text(world.ann, "once")
    for _ in range(3):
        assert (await world.bring(hook)).status == 200
    await world.bring(world.text(world.ann, "last"))
    assert [taken.body for taken in await world.sent(2)] == ["once", "last"]


# Long texts


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("0 delivered, 1 delivered", MessageStatus.SENT),
        ("0 delivered, 1 delivered, 1 delivered, 0 buffered", MessageStatus.SENT),
        ("2 delivered, 0 delivered, 1 buffered, 1 delivered", MessageStatus.DELIVERED),
        ("0 delivered, 1 failed, 2 delivered", MessageStatus.UNDELIVERED),
        ("0 rejected, 1 delivered, 2 delivered", MessageStatus.FAILED),
        ("0 rejected, 1 expired", MessageStatus.UNDELIVERED),
        ("1 failed, 0 delivered, 2 delivered, 1 delivered", MessageStatus.DELIVERED),
    ],
)
@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_long_text_is_delivered_when_all_its_parts_are_and_failed_when_one_is(
    world: World, told: str, status: MessageStatus, is_answered: bool
) -> None:
    if not is_answered:
        world.north.then(Trouble.TAKES_AND_DROPS)
    await world.bring(world.text(world.ann, "x" * 400))
    (taken,) = await world.sent(1)
    ids = list(world.north.callbacks)
    assert len(ids) == 3
    for place, word in (one.split() for one in told.split(", ")):
        assert (await world.bring(world.north.report(replace(taken, id=ids[int(place)]), word))).status == 200
    assert await world.legs() == [(70, int(status))]


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        *(("x" * 160, 1), ("x" * 161, 2), ("x" * 306, 2), ("x" * 307, 3), ("{" * 80, 1), ("{" * 81, 2)),
        *(("ç" * 70, 1), ("ç" * 71, 2), ("🍕" * 35, 1), ("🍕" * 67, 2), ("🍕" * 68, 3)),
    ],
)
async def test_its_reference_says_of_how_many_parts_a_text_is(
    clock: FakeClock, body: str, parts: int
) -> None:
    async with vonage_sms(clock) as bench:
        message = outgoing(body)
        await bench.carrier.send(message)
        said = dict(parse_qsl(bench.vendor.requests[0].body.decode()))
    assert said["client-ref"] == (message.sid if parts == 1 else f"{message.sid}.{parts}")


def part(world: World, place: int, total: int, body: str, reference: str = "17", sid: str = "") -> Any:
    note("", body)
    concat = {"concat-ref": reference, "concat-total": str(total), "concat-part": str(place)}
    who = world.ann
    return world.north.part(
        who["identifier"], who["proxy_identifier"], body, sid=sid, **{"concat": "true", **concat}
    )


async def test_a_long_text_goes_on_as_one_in_whatever_order_its_parts_come(world: World) -> None:
    parts = [part(world, 1, 3, "Once upon "), part(world, 2, 3, "a time, "), part(world, 3, 3, "ü 🍕")]
    for place in (2, 2, 0, 1, 0):  # and some come twice, before and after it is whole
        assert (await world.bring(parts[place])).status == 200
    await world.bring(world.text(world.ann, "last"))
    assert [taken.body for taken in await world.sent(2)] == ["Once upon a time, ü 🍕", "last"]
    assert await world.events() == []


async def test_a_part_that_comes_again_hours_later_is_known(world: World) -> None:
    parts = [part(world, 1, 2, "Once upon "), part(world, 2, 2, "a time")]
    for one in parts:
        await world.bring(one)
    await world.sent(1)
    world.inside.clock.advance(3600)
    await world.inside.store.write(lambda tx: tx.execute("DELETE FROM parts") and None)
    assert (await world.bring(parts[1])).status == 200
    assert await world.inside.rows("SELECT 1 FROM parts") == []
    # The reference comes round again, for another text.
    for one in (part(world, 2, 2, "the end"), part(world, 1, 2, "This is ")):
        await world.bring(one)
    assert [taken.body for taken in await world.sent(2)] == ["Once upon a time", "This is the end"]


async def test_a_text_goes_on_without_a_part_that_does_not_come(world: World) -> None:
    await world.bring(part(world, 2, 3, "the middle"))
    assert await world.legs() == []
    for _ in range(125):
        world.inside.clock.advance(5)
        await world.inside.rows("SELECT 1")
    (taken,) = await world.sent(1)
    assert taken.body == "…the middle…"
    async with asyncio.timeout(10):
        while not (events := await world.events()):  # it is told of behind the message
            pass
    assert [code for code, _ in events] == [problems.MESSAGE_INCOMPLETE.number]


@pytest.mark.parametrize(
    "concat",
    [
        {"concat": "true"},
        {"concat": "true", "concat-ref": "1", "concat-total": "2", "concat-part": "3"},
        {"concat": "true", "concat-ref": "1", "concat-total": "999", "concat-part": "1"},
        {"concat": "true", "concat-ref": "1", "concat-total": "1", "concat-part": "1"},
        {"concat": "true", "concat-ref": "1", "concat-total": "-2", "concat-part": "x"},
        {"concat": "false", "concat-ref": "1", "concat-total": "2", "concat-part": "1"},
    ],
)
async def test_a_part_of_nothing_that_makes_sense_goes_on_by_itself(
    world: World, concat: dict[str, str]
) -> None:
    note("", "alone")
    hook = world.north.part(world.ann["identifier"], NUMBERS[0], "alone", **concat)
    assert (await world.bring(hook)).status == 200
    (taken,) = await world.sent(1)
    assert taken.body == "alone"


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        (["0", "0", "0"], None),
        (["0", "1"], None),  # a part was taken: it is never sent again
        (["1", "0"], None),
        (["1", "1"], Kind.THROTTLED),
        (["3", "5"], Kind.UNCERTAIN),
        (["99"], Kind.REJECTED),
    ],
)
async def test_a_message_of_which_any_part_was_taken_is_taken(
    clock: FakeClock, statuses: list[str], kind: Kind | None
) -> None:
    async with vonage_sms(clock) as bench:
        vendor = of(bench)
        vendor.statuses = statuses
        message = outgoing("x" * 300, handed_at=clock.now())
        if kind is None:
            accepted = await bench.carrier.send(message)
            assert accepted.carrier_id == vendor.taken[0].id
            assert list(await bench.carrier.look_up(message)) == [accepted.carrier_id]
            return
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.send(message)
        assert caught.value.kind is kind


# What it sends


def of(bench: Bench) -> VonageSmsApi:
    assert isinstance(bench.vendor, VonageSmsApi)
    return bench.vendor


@pytest.mark.parametrize("code", KINDS)
async def test_its_own_codes(clock: FakeClock, code: str) -> None:
    async with vonage_sms(clock) as bench:
        of(bench).statuses = [code]
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.send(outgoing())
    assert (caught.value.kind, caught.value.detail) == (KINDS[code], f"code {code}")


@pytest.mark.parametrize(
    ("body", "kind"), [("a {text} for 5 €", "text"), ("Käse", "text"), ("ç", "unicode"), ("🍕", "unicode")]
)
async def test_a_text_says_in_which_alphabet_it_is(clock: FakeClock, body: str, kind: str) -> None:
    async with vonage_sms(clock) as bench:
        await bench.carrier.send(outgoing(body))
        (asked,) = bench.vendor.requests
    assert f"type={kind}&".encode() in asked.body


# Who has signed


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"sig": None}, "sig is missing"),
        ({"sig": "é"}, "sig does not fit (signature_method is sha256)"),
        ({"text": "another"}, "sig does not fit (signature_method is sha256)"),
        ({"more": "of it"}, "sig does not fit (signature_method is sha256)"),
        ({"timestamp": ""}, "the timestamp is missing"),
        ({"timestamp": "٣"}, "the timestamp is too old, or of another time"),
        ({"timestamp": "9" * 13}, "the timestamp is missing"),
    ],
)
async def test_what_is_not_signed_by_the_account_is_refused(
    world: World, change: dict[str, str | None], wrong: str
) -> None:
    note("", "forged")
    fields = {"msisdn": "12125550170", "to": NUMBERS[0][1:], "messageId": "1", "text": "forged", **change}
    url = f"{world.inside.url}/carriers/north/sms"
    whole = {name: value for name, value in fields.items() if value is not None}
    stamp = str(world.inside.clock.now() // 1_000_000)
    if "timestamp" in change:
        signed = {**whole, "sig": hashed(whole, "sha256")}  # type: ignore[arg-type]
    else:
        before = {**whole, "text": "forged", "timestamp": stamp}
        before = {name: value for name, value in before.items() if name not in ("sig", "more")}
        signed = {**whole, "timestamp": stamp, "sig": hashed(before, "sha256"), **change}  # type: ignore[arg-type]
    reply = await world.bring(as_form(url, signed))
    assert reply.status == 403
    ((code, message),) = await world.events()
    assert code == 20403 and wrong in message
    assert await world.legs() == []


async def test_no_field_is_hidden_in_the_name_of_another(world: World) -> None:
    """What is signed would be the same text; and a part that seems whole would be one more message."""
    url, body, _ = part(world, 1, 2, "Once upon ")
    fields = dict(parse_qsl(body.decode()))
    names = sorted(fields)
    before = names[names.index("concat") - 1]
    forged = {f"{before}={fields.pop(before)}&concat": fields.pop("concat"), **fields}
    assert sign_fields(forged, SIGNATURE_SECRET, "sha256") == fields["sig"].lower()
    assert (await world.bring(as_form(url, forged))).status == 403
    assert await world.legs() == []


def as_form(url: str, fields: dict[str, Any]) -> Any:
    said = {name: value for name, value in fields.items() if value is not None}
    return url, urlencode(said).encode(), {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("late_s", "status"), [(25 * 3600, 200), (25 * 3600 + 2, 403), (-299, 200), (-302, 403)]
)
async def test_a_signature_of_another_time_is_refused(world: World, late_s: int, status: int) -> None:
    note("", "again")
    hook = world.north.text(world.ann["identifier"], NUMBERS[0], "again", late_s=late_s)
    assert (await world.bring(hook)).status == status


@given(
    st.dictionaries(st.text(max_size=5).filter(lambda name: name != "sig"), st.text(max_size=9)),
    st.sampled_from(METHODS),
)
def test_a_signature_is_the_one_that_vonage_makes(fields: dict[str, str], method: str) -> None:
    flat = {name: value.encode("utf-8", "replace").decode() for name, value in fields.items()}
    flat = {name.encode("utf-8", "replace").decode(): value for name, value in flat.items()}
    made = sign_fields({**flat, "sig": "x"}, SIGNATURE_SECRET, method)
    assert made == hashed(flat, method).lower()


def test_the_example_of_vonage_s_own_library() -> None:
    fields = {"a": "1", "b": "2", "timestamp": "1461605396"}
    assert sign_fields(fields, "secret", "md5hash") == "6af838ef94998832dbfc29020b564830"


@pytest.mark.parametrize(
    ("what", "change", "named"),
    [
        ("sms", {"msisdn": ""}, "msisdn is required"),
        ("sms", {"to": ""}, "to is required"),
        ("sms", {"messageId": "x" * 192}, "messageId (at most 191"),
        ("receipt", {"messageId": ""}, "messageId is required"),
        ("receipt", {"to": ""}, "to is required"),
    ],
)
async def test_what_is_signed_and_makes_no_sense_is_refused(
    world: World, what: str, change: dict[str, str], named: str
) -> None:
    said = {"messageId": "1", "msisdn": "12125550170", "to": "14155550100", "status": "accepted", **change}
    reply = await world.bring(world.north.tell(f"{world.inside.url}/carriers/north/{what}", said))
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert named in reply.json["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a": [1]}', b'{"a": true}', b'{"a": null}', b'{"a": 1.5}'])
async def test_what_is_no_list_of_fields_is_refused(world: World, body: bytes) -> None:
    url = f"{world.inside.url}/carriers/north/sms"
    assert (await world.bring((url, body, {"Content-Type": "application/json"}))).status == 403


async def test_what_is_binary_is_told(world: World) -> None:
    hook = world.north.part(world.ann["identifier"], NUMBERS[0], "0A0B", type="binary", udh="050003")
    assert (await world.bring(hook)).status == 200
    assert [code for code, _ in await world.events()] == [problems.MESSAGE_UNREADABLE.number]


# Where the traffic of numbers goes


async def test_vonage_looks_before_it_sets_an_address(world: World) -> None:
    assert (await world.inside.see("/carriers/north/sms")).status == 200


class Kept:
    """What was kept of a number."""

    former = ""

    async def __call__(self, former: str) -> None:
        self.former = former


async def test_a_number_goes_back_to_where_it_was(clock: FakeClock) -> None:
    async with vonage_sms(clock) as bench:
        vendor, kept = of(bench), Kept()
        resource, messages = vendor.own(OURS), vendor.application["capabilities"].get("messages")
        was = dict(resource)
        await bench.carrier.adopt("AC1", OURS, kept)
        assert resource == {**was, "app_id": APPLICATION, "moHttpUrl": f"{URL}/sms"}
        assert vendor.application["capabilities"].get("messages") == messages
        assert "voice" in vendor.application["capabilities"]
        again = Kept()
        await bench.carrier.adopt("AC1", OURS, again)
        assert again.former == ""
        resource["app_id"] = "another"  # which is theirs
        await bench.carrier.release(OURS, kept.former)
        assert resource == {**was, "app_id": "another"}
        await bench.carrier.adopt("AC1", OURS, kept)
        await bench.carrier.release(OURS, '{"app_id": ""}')
        assert (resource["app_id"], resource["moHttpUrl"]) == ("", f"{URL}/sms")


async def test_the_doctor_is_told(clock: FakeClock) -> None:
    async with vonage_sms(clock) as bench:
        await bench.carrier.adopt("AC1", OURS, Kept())
        assert [one.says for one in await bench.carrier.check([OURS])] == ["Vonage takes its credentials"]
        of(bench).own(OURS, app_id=OTHERS_APPLICATION)
        _, stray = await bench.carrier.check([OURS])
        assert stray.says == f"+1…00 does not bring its traffic to {URL} (app_id, moHttpUrl)"


async def test_an_address_that_vonage_would_not_take_is_told(clock: FakeClock) -> None:
    async with vonage_sms(clock, url=f"https://{'x' * 80}.example/carriers/north") as bench:
        (found,) = await bench.carrier.check([OURS])
        assert found.says.startswith("its address for receipts has more than the 100 characters")


def test_such_an_account_takes_no_media() -> None:
    account = {"kind": "vonage", **vonage_api.options("https://x.test")}
    accounts = read_accounts({"old": {**account, "api": "sms"}, "new": account})
    assert accounts["new"].can == replace(accounts["old"].can, mms=True)
    assert not accounts["old"].can.mms
