"""Whatever a vendor says or brings: it is understood, or refused in the way that the contract has for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.carriers.bandwidth import BandwidthCarrier, BandwidthOptions
from maskline.carriers.base import CarrierError, Checked, Means
from maskline.carriers.plivo import PlivoCarrier, PlivoOptions
from maskline.carriers.webhooks import Unreadable, WebRequest
from maskline.domain.http import Answer
from maskline.flows.inbox import NoInbox
from tests.carriers.benches import OURS, URL, outgoing
from tests.support import bandwidth_api, plivo_api
from tests.support.clock import FakeClock

KEYS = [
    *"id type to from message text media tag errorCode eventType callId cause digits answerTime endTime".split(),
    *"messages messageId sourceTn destinationTn messageDirection receiveTime error meta next objects".split(),
    *"number application app_id app_name message_uuid from_number to_number message_direction message_time".split(),
]
FIELDS = [
    *"From To Text Body Type MessageUUID Media1 Media02 Status ErrorCode CallUUID CallStatus Digits".split(),
    *"DialAction DialStatus DialBLegUUID DialBLegDuration DialBLegTo".split(),
]
UUID = "db3ce55a-7f1d-11e1-8ea7-1231380bc196"

WORDS = [
    *("", OURS, OURS[1:], UUID, "9" * 30, "2027-01-15T08:00:00Z", "2027-01-15 08:00:00+05:30"),
    *"message-received message-failed outbound OUTBOUND hangup sms initiate transferDisconnect".split(),
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
)
lists = st.lists(listed | things, max_size=3)
answers = like(objects=lists, messages=lists, meta=things, app_id=words, message_uuid=lists, id=words)
places = st.sampled_from([("message",), ("status", "SM1"), ("call",), ("call", "KS1")])


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


def plivo(content: Any = None) -> PlivoCarrier:
    options = PlivoOptions(auth_id=plivo_api.AUTH_ID, auth_token=plivo_api.AUTH_TOKEN)
    return PlivoCarrier("north", options, means(content))


def bandwidth(content: Any = None) -> BandwidthCarrier:
    options = BandwidthOptions(**bandwidth_api.options("https://x.test"))
    return BandwidthCarrier("north", options, means(content))


def hear(
    carrier: PlivoCarrier | BandwidthCarrier,
    what: tuple[str, ...],
    body: bytes,
    headers: Mapping[str, str],
) -> None:
    url = f"{URL}/{'/'.join(what)}"
    with suppress(Unreadable):
        carrier.hear(WebRequest(what, url, {name.lower(): value for name, value in headers.items()}, body))


@given(places, st.lists(events, max_size=2) | calls | things)
def test_whatever_bandwidth_brings_is_read_or_refused(what: tuple[str, ...], content: Any) -> None:
    headers = {"authorization": bandwidth_api.basic("bandwidth", "e5" * 12)}
    hear(bandwidth(), what, json.dumps(content).encode(), headers)


@given(places, st.dictionaries(st.sampled_from(FIELDS), words | st.text(max_size=5), min_size=1))
def test_whatever_plivo_brings_is_read_or_refused(what: tuple[str, ...], form: dict[str, str]) -> None:
    form = {name: value.encode("utf-8", "replace").decode() for name, value in form.items()}
    url, kind = f"{URL}/{'/'.join(what)}", "application/x-www-form-urlencoded"
    made = plivo_api.signature(plivo_api.AUTH_TOKEN, url, form, "1")
    signed = {"X-Plivo-Signature-V3": made, "X-Plivo-Signature-V3-Nonce": "1", "Content-Type": kind}
    hear(plivo(), what, urlencode(form).encode(), signed)


@given(answers | things)
@pytest.mark.parametrize("open_account", [plivo, bandwidth])
def test_whatever_it_answers_is_understood_or_an_error_of_a_carrier(open_account: Any, content: Any) -> None:
    async def keep(_: str) -> None:
        pass

    async def ask() -> None:
        carrier = open_account(content)
        await carrier.send(outgoing())
        assert all(isinstance(one, Checked) for one in await carrier.check([OURS]))
        for asked in (
            carrier.look_up(outgoing(handed_at=FakeClock().now())),
            carrier.adopt("AC1", OURS, keep),
            carrier.release(OURS, '{"app_id": "1"}'),
        ):
            with suppress(CarrierError):
                await asked

    asyncio.run(ask())
