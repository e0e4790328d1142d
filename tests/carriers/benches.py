"""Each carrier with what it needs to be tried: an account of it at work, and another end that can misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from maskline.carriers.bandwidth import BandwidthCarrier, BandwidthOptions
from maskline.carriers.base import Capabilities, Carrier, CarrierEvent, CarrierKind, Means, Options, Outgoing
from maskline.carriers.plivo import PlivoCarrier, PlivoOptions
from maskline.carriers.signalwire import SignalWireCarrier, SignalWireOptions
from maskline.carriers.telnyx import TelnyxCarrier, TelnyxOptions
from maskline.carriers.twilio import TwilioCarrier, TwilioOptions
from maskline.carriers.vonage import VonageCarrier, VonageOptions
from maskline.flows.inbox import NoInbox
from maskline.net import HttpClient, anywhere
from tests.support import bandwidth_api, vonage_api
from tests.support.clock import FakeClock
from tests.support.plivo_api import AUTH_ID, AUTH_TOKEN, PlivoApi
from tests.support.telnyx_api import API_KEY, APPLICATION, PROFILE, PUBLIC_KEY, TelnyxApi
from tests.support.twilio_api import (
    ACCOUNT,
    API_TOKEN,
    OPTED_OUT,
    PROJECT,
    SIGNING_KEY,
    TOKEN,
    UNREACHABLE_REGION,
    SignalWireApi,
    TwilioApi,
)
from tests.support.vendor import Vendor

OURS, THEIRS = "+14155550100", "+12125550177"
URL = "https://masked.test/carriers/north"

_sids = count(1)


def outgoing(body: str = "hi there", to: str = THEIRS, **fields: Any) -> Outgoing:
    sid = f"SM{next(_sids):032x}"
    return Outgoing(**{"sid": sid, "account_sid": "AC1", "from_": OURS, "to": to, "body": body, **fields})


@dataclass
class Bench:
    """A carrier over HTTP at work, and its vendor. `refused` and `opted_out`: whom the vendor will not send to (None:
    it tells of opt-outs later). `lists_texts`: whether its list shows what messages say.
    """

    carrier: Carrier
    vendor: Vendor
    clock: FakeClock
    refused: str
    opted_out: str | None
    can: Capabilities
    brought: list[CarrierEvent] = field(default_factory=list)
    lists_texts: bool = True


Open = Callable[[FakeClock], AbstractAsyncContextManager[Bench]]


@asynccontextmanager
async def _at_work(
    clock: FakeClock,
    vendor: Vendor,
    kind: CarrierKind,
    options: Callable[[str], Options],
    opted_out: str | None = OPTED_OUT,
    **more: Any,
) -> AsyncIterator[Bench]:
    """An account of this kind, by options of the vendor's address."""
    brought: list[CarrierEvent] = []

    async def bring(event: CarrierEvent) -> bool:
        brought.append(event)
        return True

    http = await HttpClient(may_reach=anywhere, host_connections=0).open()
    try:
        async with vendor:
            said = options(vendor.url)
            carrier = kind("north", said, Means(http, clock, bring, NoInbox(), URL))
            can = said.limit(kind.can)
            yield Bench(carrier, vendor, clock, UNREACHABLE_REGION, opted_out, can, brought, **more)
    finally:
        await http.close()


def twilio(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    def options(url: str) -> Options:
        return TwilioOptions(account_sid=ACCOUNT, auth_token=TOKEN, base_url=url)

    return _at_work(clock, TwilioApi(clock, OURS), TwilioCarrier, options)


def signalwire(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    def options(url: str) -> Options:
        return SignalWireOptions(space=url, project_id=PROJECT, api_token=API_TOKEN, signing_key=SIGNING_KEY)

    return _at_work(clock, SignalWireApi(clock, OURS), SignalWireCarrier, options)


def telnyx(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    def options(url: str) -> Options:
        return TelnyxOptions(
            api_key=API_KEY,
            public_key=PUBLIC_KEY,
            messaging_profile_id=PROFILE,
            texml_application_id=APPLICATION,
            base_url=f"{url}/v2",
        )

    return _at_work(clock, TelnyxApi(clock, OURS), TelnyxCarrier, options)


def plivo(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    def options(url: str) -> Options:
        return PlivoOptions(auth_id=AUTH_ID, auth_token=AUTH_TOKEN, base_url=url)

    vendor = PlivoApi(clock, OURS)
    return _at_work(clock, vendor, PlivoCarrier, options, opted_out=None, lists_texts=False)


def vonage_options(url: str) -> dict[str, str]:
    return {
        "api_key": vonage_api.API_KEY,
        "api_secret": vonage_api.API_SECRET,
        "signature_secret": vonage_api.SIGNATURE_SECRET,
        "application_id": vonage_api.APPLICATION,
        "private_key": vonage_api.PRIVATE_KEY,
        "base_url": url,
        "rest_url": url,
    }


def vonage(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    def options(url: str) -> Options:
        return VonageOptions(**vonage_options(url))

    return _at_work(clock, vonage_api.VonageApi(clock, OURS), VonageCarrier, options, opted_out=None)


def vonage_sms(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    def options(url: str) -> Options:
        return VonageOptions(**vonage_options(url), api="sms")

    return _at_work(clock, vonage_api.VonageSmsApi(clock, OURS), VonageCarrier, options, opted_out=None)


def bandwidth(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    def options(url: str) -> Options:
        return BandwidthOptions(**bandwidth_api.options(url))

    vendor = bandwidth_api.BandwidthApi(clock, OURS, hooks=URL)
    return _at_work(clock, vendor, BandwidthCarrier, options, opted_out=None, lists_texts=False)


OVER_HTTP: dict[str, Open] = {
    "twilio": twilio,
    "signalwire": signalwire,
    "telnyx": telnyx,
    "plivo": plivo,
    "vonage": vonage,
    "vonage sms": vonage_sms,
    "bandwidth": bandwidth,
}
