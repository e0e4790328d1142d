"""An account at SignalWire: what differs from Twilio's. The rest is in the suite that all carriers over HTTP pass."""

import hmac
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from twilio.request_validator import RequestValidator

from maskline.carriers.base import CarrierError, Kind
from maskline.carriers.signalwire import OWN_KINDS
from maskline.domain.signature import check_whole
from tests.carriers.benches import outgoing, signalwire
from tests.carriers.test_twilio import EMPTY
from tests.carriers.world import NUMBERS, World
from tests.support.clock import FakeClock
from tests.support.inside import Inside
from tests.support.peer import Request
from tests.support.twilio_api import API_TOKEN, PROJECT, SIGNING_KEY, SignalWireApi, TwilioApi


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        north = await stack.enter_async_context(SignalWireApi(clock, *NUMBERS))
        inside = await stack.enter_async_context(
            Inside(tmp_path / "data", clock, carriers={"north": north.table}, sandbox=False)
        )
        world = World(inside, north, north)
        await world.meet()
        yield world


async def test_a_masked_conversation(world: World) -> None:
    reply = await world.bring(world.text(world.ann, "Käse & 🍕 = 50 %+", "https://s.example/ME1"))
    assert (reply.status, reply.raw) == (200, EMPTY)
    (taken,) = await world.sent(1)
    assert (taken.from_, taken.to, taken.body) == (NUMBERS[1], world.ben["identifier"], "Käse & 🍕 = 50 %+")
    assert taken.media[0].startswith(f"{world.inside.url}/media/")
    for word in ("delivered", "sent"):
        assert (await world.bring(world.north.report(taken, word))).status == 200
    call = await world.bring(world.north.call(world.ann["identifier"], NUMBERS[0]))
    assert b"<Dial" in call.raw
    assert await world.legs() == [(70, 70), (30, 10)]


async def test_numbers_come_here_and_go_back(world: World) -> None:
    resource = world.north.resources[NUMBERS[0]]
    assert resource["sms_url"] == f"{world.inside.url}/carriers/north/message"
    await world.inside.request("DELETE", world.service["url"])
    while resource["sms_url"] != "https://before.example/sms":
        world.inside.clock.advance(5)
        await world.inside.rows("SELECT 1")


async def test_a_request_is_sent_where_signalwire_takes_it(clock: FakeClock) -> None:
    async with signalwire(clock) as bench:
        await bench.carrier.send(outgoing())
        (request,) = bench.vendor.requests
    assert request.target == f"/api/laml/2010-04-01/Accounts/{PROJECT}/Messages.json"
    login = b64encode(f"{PROJECT}:{API_TOKEN}".encode()).decode()
    assert request.headers["authorization"] == f"Basic {login}"


@pytest.mark.parametrize("code", [4001, 10001, 21610])
async def test_its_own_codes(clock: FakeClock, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: TwilioApi, __: Request) -> tuple[int, object]:
        return 422, {"code": code, "message": "no", "status": 422}

    monkeypatch.setattr(SignalWireApi, "answer", refuse)
    async with signalwire(clock) as bench:
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.send(outgoing())
    assert caught.value.kind is OWN_KINDS[code]
    assert OWN_KINDS[4001] is Kind.MISCONFIGURED


async def test_it_may_sign_as_twilio_does(world: World) -> None:
    url, form, _ = world.text(world.ann, "the other scheme")
    signature = RequestValidator(SIGNING_KEY).compute_signature(url, form)
    assert (await world.bring((url, form, {"X-SignalWire-Signature": signature}))).status == 200


@pytest.mark.parametrize("signature", ["", "0" * 40, "é"])
async def test_what_it_has_not_signed_is_refused(world: World, signature: str) -> None:
    url, form, _ = world.text(world.ann, "forged")
    headers = {"X-SignalWire-Signature": signature} if signature else {}
    assert (await world.bring((url, form, headers))).status == 403
    ((code, message),) = await world.events()
    assert code == 20403 and "X-SignalWire-Signature" in message
    # The token of the API signs nothing.
    made = RequestValidator(API_TOKEN).compute_signature(url, form)
    assert (await world.bring((url, form, {"X-SignalWire-Signature": made}))).status == 403
    assert await world.legs() == []


async def test_an_id_with_more_behind_it_is_refused(world: World) -> None:
    url, form, _ = world.text(world.ann, "once")
    longer = {**form, "MessageSid": f"{form['MessageSid']}NumMedia0"}
    assert (await world.bring(world.north.signed(url, longer))).status == 400


@pytest.mark.parametrize("port", ["", ":443", ":8443"])
def test_the_port_of_the_address_may_be_left_out(port: str) -> None:
    body = json.dumps({"a": "é"}).encode()
    signed = hmac.new(b"key", b"https://masked.test/x" + body, "sha1").hexdigest()
    assert check_whole("key", f"https://masked.test{port}/x", body, signed)
    assert not check_whole("key", f"https://masked.test{port}/y", body, signed)
    assert not check_whole("other", f"https://masked.test{port}/x", body, signed)
    assert not check_whole("key", f"https://masked.test{port}/x", body + b" ", signed)
