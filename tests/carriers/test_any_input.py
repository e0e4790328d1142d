"""Whatever a vendor says or brings: it is understood, or refused in the way that the contract has for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import product
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maskline.carriers.bandwidth import BandwidthCarrier, BandwidthOptions
from maskline.carriers.base import CarrierError, CarrierKind, Checked, Means, Options
from maskline.carriers.plivo import PlivoCarrier, PlivoOptions
from maskline.carriers.signalwire import SignalWireCarrier, SignalWireOptions
from maskline.carriers.telnyx import TelnyxCarrier, TelnyxOptions
from maskline.carriers.twilio import TwilioCarrier, TwilioOptions
from maskline.carriers.vonage import VonageCarrier, VonageOptions
from maskline.carriers.webhooks import FORM, HasWebhooks, NotSigned, Unreadable, WebRequest
from maskline.domain.http import Answer
from maskline.flows.inbox import NoInbox
from tests.carriers.benches import OURS, OVER_HTTP, URL, outgoing
from tests.support import bandwidth_api, plivo_api, telnyx_api, twilio_api, vonage_api
from tests.support.clock import FakeClock
from tests.support.telnyx_api import TelnyxApi
from tests.support.twilio_api import SignalWireApi, TwilioApi
from tests.support.vonage_api import VonageApi, VonageSmsApi

KEYS = [
    *"id type to from message text media tag errorCode eventType callId cause digits answerTime endTime".split(),
    *"messages messageId sourceTn destinationTn messageDirection receiveTime error meta next objects".split(),
    *"number application app_id app_name message_uuid from_number to_number message_direction message_time".split(),
    *"data payload event_type phone_number messaging_profile_id connection_id webhook_url errors code url".split(),
    *"message_type image caption content channel client_ref status uuid dtmf digits direction duration".split(),
    *"capabilities webhooks address keys public_key voice msisdn country numbers records moHttpUrl".split(),
    *"incoming_phone_numbers sid sms_url voice_url phone_numbers body date_created from_ direction".split(),
]
FIELDS = [
    *"From To Text Body Type MessageUUID Media1 Media02 Status ErrorCode CallUUID CallStatus Digits".split(),
    *"DialAction DialStatus DialBLegUUID DialBLegDuration DialBLegTo".split(),
    *"MessageSid SmsSid NumMedia MediaUrl0 MediaContentType0 MessageStatus SmsStatus CallSid".split(),
    *"msisdn to messageId text type status client-ref concat concat-ref concat-total concat-part".split(),
]
UUID = "db3ce55a-7f1d-11e1-8ea7-1231380bc196"

WORDS = [
    *("", OURS, OURS[1:], UUID, "9" * 30, "2027-01-15T08:00:00Z", "2027-01-15 08:00:00+05:30"),
    *"message-received message-failed outbound OUTBOUND hangup sms initiate transferDisconnect".split(),
    *"message.received message.finalized delivered image text binary true 0 1 2 999 busy completed inbound".split(),
]

words = st.sampled_from(WORDS)
leaves = st.none() | st.booleans() | st.integers(-9, 9999) | st.floats() | words | st.text(max_size=5)
things = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=8,
)


def like(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Something with most of these fields."""
    return st.fixed_dictionaries({}, optional={name: field | things for name, field in fields.items()})


messages = like(id=words, text=words, tag=words, media=st.lists(things, max_size=3), **{"from": words})
events = like(type=words, to=words, message=messages, errorCode=st.sampled_from([4475, 9902]))
payloads = like(id=words, text=words, to=st.lists(things, max_size=2), media=st.lists(things, max_size=2))
hooks = like(
    data=like(event_type=words, payload=payloads),
    message_uuid=words,
    message_type=words,
    to=words,
    image=things,
    content=st.lists(things, max_size=2),
    channel=words,
    status=words,
    uuid=words,
    direction=words,
    dtmf=things,
    **{"from": words},
)
forms = st.dictionaries(st.sampled_from(FIELDS), words | st.text(max_size=5), min_size=1)
calls = like(eventType=words, callId=words, to=words, cause=words, answerTime=words, endTime=words)
listed = like(
    messageId=words,
    sourceTn=words,
    destinationTn=words,
    messageDirection=words,
    receiveTime=words,
    message_uuid=words,
    from_number=words,
    to_number=words,
    message_direction=words,
    message_time=words,
    number=words,
    application=words,
    app_id=words,
    app_name=words,
    msisdn=words,
    country=words,
    client_ref=words,
    message_id=words,
    phone_number=words,
    short_code=words,
    sid=words,
    sms_url=words,
    voice_url=words,
    body=words,
    date_created=words,
    messaging_profile_id=words,
)
lists = st.lists(listed | things, max_size=3)
answers = like(
    objects=lists,
    messages=lists,
    meta=things,
    app_id=words,
    message_uuid=lists,
    id=words,
    data=lists | listed,
    numbers=lists,
    records=lists,
    sid=words,
    incoming_phone_numbers=lists,
    short_codes=lists,
    capabilities=like(messages=things, voice=things),
    keys=things,
)
PLACES = [("message",), ("status",), ("status", "SM1"), ("call",), ("call", "KS1"), ("event",)]


class Says:
    """Answers every request with the same."""

    def __init__(self, content: Any) -> None:
        self._answer = Answer(200, "application/json", json.dumps(content).encode())

    async def request(self, *_: Any, **__: Any) -> Answer:
        return self._answer


async def bring(_: object) -> bool:
    return True


def means(content: Any = None) -> Means:
    return Means(Says(content), FakeClock(), bring, NoInbox(), URL)


VONAGE = vonage_api.options("https://x.test")
ACCOUNTS: dict[str, tuple[CarrierKind, Options]] = {
    "twilio": (TwilioCarrier, TwilioOptions(account_sid=twilio_api.ACCOUNT, auth_token=twilio_api.TOKEN)),
    "signalwire": (
        SignalWireCarrier,
        SignalWireOptions(
            space="x.test",
            project_id=twilio_api.PROJECT,
            api_token=twilio_api.API_TOKEN,
            signing_key=twilio_api.SIGNING_KEY,
        ),
    ),
    "telnyx": (
        TelnyxCarrier,
        TelnyxOptions(
            api_key=telnyx_api.API_KEY,
            public_key=telnyx_api.PUBLIC_KEY,
            messaging_profile_id=telnyx_api.PROFILE,
            texml_application_id=telnyx_api.APPLICATION,
        ),
    ),
    "plivo": (PlivoCarrier, PlivoOptions(auth_id=plivo_api.AUTH_ID, auth_token=plivo_api.AUTH_TOKEN)),
    "vonage": (VonageCarrier, VonageOptions(**VONAGE)),
    "vonage sms": (VonageCarrier, VonageOptions(**VONAGE, api="sms")),
    "bandwidth": (BandwidthCarrier, BandwidthOptions(**bandwidth_api.options("https://x.test"))),
}


def account(name: str, content: Any = None) -> HasWebhooks:
    """One whose vendor answers everything with this."""
    kind, options = ACCOUNTS[name]
    carrier = kind("north", options, means(content))
    assert isinstance(carrier, HasWebhooks)
    return carrier


Signed = tuple[bytes, Mapping[str, str]]
"""A body, and headers that say who has sent it."""


def in_twilio_s_way(vendor: TwilioApi) -> Callable[[str, dict[str, str]], Signed]:
    def sign(url: str, form: dict[str, str]) -> Signed:
        _, _, headers = vendor.signed(url, form)
        return urlencode(form).encode(), {**headers, "Content-Type": FORM}

    return sign


def by_plivo(url: str, form: dict[str, str]) -> Signed:
    made = plivo_api.signature(plivo_api.AUTH_TOKEN, url, form, "1")
    headers = {"X-Plivo-Signature-V3": made, "X-Plivo-Signature-V3-Nonce": "1", "Content-Type": FORM}
    return urlencode(form).encode(), headers


def by_telnyx(url: str, content: Any) -> Signed:
    _, body, headers = TelnyxApi(FakeClock()).signed(url, json.dumps(content).encode())
    return body, headers


def form_by_telnyx(url: str, form: dict[str, str]) -> Signed:
    _, body, headers = TelnyxApi(FakeClock()).signed(url, urlencode(form).encode(), FORM)
    return body, headers


def by_vonage(url: str, content: Any) -> Signed:
    _, body, headers = VonageApi(FakeClock()).signed(url, json.dumps(content).encode())
    return body, headers


def by_vonage_sms(url: str, form: dict[str, str]) -> Signed:
    _, body, headers = VonageSmsApi(FakeClock()).tell(url, form)
    return body, headers


def by_bandwidth(_: str, content: Any) -> Signed:
    return json.dumps(content).encode(), {"authorization": bandwidth_api.basic("bandwidth", "e5" * 12)}


def hear(name: str, what: tuple[str, ...], sign: Callable[[str, Any], Signed], content: Any) -> None:
    """It is heard, and known to be the vendor's."""
    url = f"{URL}/{'/'.join(what)}"
    body, headers = sign(url, content)
    with suppress(Unreadable):
        account(name).hear(WebRequest(what, url, {key.lower(): said for key, said in headers.items()}, body))


def test_no_carrier_over_http_is_left_out() -> None:
    assert set(ACCOUNTS) == set(OVER_HTTP)


@given(st.data(), st.lists(events, max_size=2) | calls | hooks | things)
@pytest.mark.parametrize(
    ("name", "sign", "places"),
    [("telnyx", by_telnyx, PLACES[:3]), ("vonage", by_vonage, PLACES), ("bandwidth", by_bandwidth, PLACES)],
)
def test_whatever_is_brought_as_json_is_read_or_refused(
    name: str, sign: Any, places: list[tuple[str, ...]], data: st.DataObject, content: Any
) -> None:
    hear(name, data.draw(st.sampled_from(places)), sign, content)


class Closed(WebRequest):
    """One that nobody reads."""

    def json(self) -> dict[str, Any]:
        raise AssertionError("it was read")

    def json_list(self) -> list[dict[str, Any]]:
        raise AssertionError("it was read")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *((name, (what, "SM1")) for name in ("telnyx", "vonage") for what in ("status", "call")),
        *((name, ("message",)) for name in ("telnyx", "vonage", "bandwidth")),
        ("bandwidth", ("call", "KS1")),
    ],
)
def test_what_a_stranger_brings_is_not_read_for_it(name: str, what: tuple[str, ...]) -> None:
    """A megabyte of it keeps the process busy for a good while, and they may bring it again and again."""
    body = json.dumps({"to": OURS}).encode()
    with pytest.raises(NotSigned):
        account(name).hear(
            Closed(what, f"{URL}/{'/'.join(what)}", {"content-type": "application/json"}, body)
        )


@pytest.mark.parametrize("name", ACCOUNTS)
def test_of_what_nobody_has_signed_that_is_said_whatever_it_is(name: str) -> None:
    """Else a stranger is told that there is an account here."""
    carrier = account(name)
    bodies = [b"", b"{}", b"[]", b'{"a": [1]}', b"\xff", b"a=b", b"&a=" * 101, b"[" * 9999]
    for what in [*PLACES, ("sms",), ("receipt",), ("nothing",)]:
        for body, kind in product(bodies, [FORM, "application/json", ""]):
            came = WebRequest(what, f"{URL}/{'/'.join(what)}", {"content-type": kind}, body)
            with suppress(NotSigned):
                assert carrier.hear(came) is None


@given(st.data(), forms)
@pytest.mark.parametrize(
    ("name", "sign", "places"),
    [
        ("twilio", in_twilio_s_way(TwilioApi(FakeClock())), PLACES),
        ("signalwire", in_twilio_s_way(SignalWireApi(FakeClock())), PLACES),
        ("telnyx", form_by_telnyx, PLACES[3:5]),
        ("plivo", by_plivo, PLACES),
        ("vonage sms", by_vonage_sms, [("sms",), ("receipt",)]),
    ],
)
def test_whatever_is_brought_in_a_form_is_read_or_refused(
    name: str, sign: Any, places: list[tuple[str, ...]], data: st.DataObject, form: dict[str, str]
) -> None:
    said = {key: value.encode("utf-8", "replace").decode() for key, value in form.items()}
    hear(name, data.draw(st.sampled_from(places)), sign, said)


@given(answers | things)
@example({"incoming_phone_numbers": 3})
@example({"incoming_phone_numbers": [{"phone_number": OURS, "sid": "PN1", "sms_url": 5}]})
@example({"numbers": [{"msisdn": OURS[1:], "country": "US"}], "capabilities": [1]})
@example({"numbers": [{"msisdn": OURS[1:], "country": "US"}], "capabilities": {"voice": 3}})
@pytest.mark.parametrize("name", ACCOUNTS)
def test_whatever_it_answers_is_understood_or_an_error_of_a_carrier(name: str, content: Any) -> None:
    async def keep(former: str) -> None:
        assert msgspec.json.decode(former, type=dict[str, str])  # as it is read when the number goes back

    async def ask() -> None:
        carrier = account(name, content)
        assert all(isinstance(one, Checked) for one in await carrier.check([OURS]))
        for asked in (
            carrier.send(outgoing()),
            carrier.look_up(outgoing(handed_at=FakeClock().now())),
            carrier.adopt("AC1", OURS, keep),
            carrier.release(OURS, '{"app_id": "1"}'),
        ):
            with suppress(CarrierError):
                await asked

    asyncio.run(ask())
