"""Each carrier with what it needs to be tried: an account of it at work, and another end that can misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from maskline.carriers.base import Capabilities, Carrier, CarrierEvent, Means, Outgoing
from maskline.carriers.kinds import read_accounts
from maskline.flows.inbox import NoInbox
from maskline.net import HttpClient, anywhere
from tests.support.bandwidth_api import BandwidthApi
from tests.support.clock import FakeClock
from tests.support.plivo_api import PlivoApi
from tests.support.telnyx_api import TelnyxApi
from tests.support.twilio_api import OPTED_OUT, UNREACHABLE_REGION, SignalWireApi, TwilioApi
from tests.support.vendor import Vendor
from tests.support.vonage_api import VonageApi, VonageSmsApi

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
    clock: FakeClock, vendor: Vendor, opted_out: str | None = OPTED_OUT, url: str = URL, **more: Any
) -> AsyncIterator[Bench]:
    """The account that this vendor has, with its webhooks at `url`."""
    brought: list[CarrierEvent] = []

    async def bring(event: CarrierEvent) -> bool:
        brought.append(event)
        return True

    http = await HttpClient(may_reach=anywhere, host_connections=0).open()
    try:
        async with vendor:
            account = read_accounts({"north": vendor.table})["north"]
            carrier = account.open(Means(http, clock, bring, NoInbox(), url))
            yield Bench(carrier, vendor, clock, UNREACHABLE_REGION, opted_out, account.can, brought, **more)
    finally:
        await http.close()


def twilio(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    return _at_work(clock, TwilioApi(clock, OURS))


def signalwire(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    return _at_work(clock, SignalWireApi(clock, OURS))


def telnyx(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    return _at_work(clock, TelnyxApi(clock, OURS))


def plivo(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    return _at_work(clock, PlivoApi(clock, OURS), opted_out=None, lists_texts=False)


def vonage(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    return _at_work(clock, VonageApi(clock, OURS), opted_out=None)


def vonage_sms(clock: FakeClock, url: str = URL) -> AbstractAsyncContextManager[Bench]:
    return _at_work(clock, VonageSmsApi(clock, OURS), opted_out=None, url=url)


def bandwidth(clock: FakeClock) -> AbstractAsyncContextManager[Bench]:
    return _at_work(clock, BandwidthApi(clock, OURS, hooks=URL), opted_out=None, lists_texts=False)


OVER_HTTP: dict[str, Open] = {
    "twilio": twilio,
    "signalwire": signalwire,
    "telnyx": telnyx,
    "plivo": plivo,
    "vonage": vonage,
    "vonage sms": vonage_sms,
    "bandwidth": bandwidth,
}
