"""One masked conversation through a carrier: a server, a stand-in for the carrier, and two handsets behind that.

    make demo-carrier KIND=telnyx
    make demo-smpp

The handsets show what the stand-in was handed, and what they write it brings as the carrier would: nothing of
maskline's stands in between. It reports of each message that it was delivered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskline.clock import SystemClock
from maskline.demo import ALICE, BOB
from maskline.play.client import Api, StepFailed, await_seen
from maskline.play.conversation import Bubble, Conversation, Handset
from maskline.play.picture import Style, draw
from tests.support import server as real
from tests.support.bandwidth_api import BandwidthApi
from tests.support.node_smsc import ABSENT, CLIENT, NodeSmsc, account_at
from tests.support.north import add_number, carriers_file
from tests.support.plivo_api import PlivoApi
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, RealServer
from tests.support.telnyx_api import TelnyxApi
from tests.support.twilio_api import SignalWireApi, TwilioApi
from tests.support.vendor import Hook, Vendor
from tests.support.vonage_api import VonageApi, VonageSmsApi

POOL = ("+14155550100", "+14155550101")
PICKUP = "Your passenger Alice waits at 12 Elm Street. Just reply to reach her."


class OtherEnd(ABC):
    """What stands in for a carrier."""

    table: dict[str, Any]
    """What the server is told of the account that it has there."""

    @abstractmethod
    def meet(self, server: RealServer) -> None:
        """The server has started."""

    @abstractmethod
    def bring(self, from_: str, to: str, body: str) -> None:
        """A handset has written this. Raises StepFailed where the server does not take it."""

    @abstractmethod
    def handed(self) -> list[tuple[str, str, str]]:
        """From which number, to which, and the text of what it was handed since it was asked last."""

    @abstractmethod
    def report(self, body: str) -> None:
        """Tell that the message with this text was delivered. Raises StepFailed where the server does not take it."""


class AtVendor(OtherEnd):
    """A vendor's HTTP API and its webhooks."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.table = vendor.table
        self._seen = 0

    def meet(self, server: RealServer) -> None:
        self._api = real.Api(server.url)
        if isinstance(self.vendor, BandwidthApi):
            self.vendor.hooks = f"{server.url}/carriers/north"  # somebody does that at Bandwidth's dashboard

    def bring(self, from_: str, to: str, body: str) -> None:
        self._say("a text", self.vendor.text(from_, to, body))

    def handed(self) -> list[tuple[str, str, str]]:
        new = self.vendor.taken[self._seen :]
        self._seen += len(new)
        return [(one.from_, one.to, one.body) for one in new]

    def report(self, body: str) -> None:
        for one in self.vendor.taken:
            if one.body == body:
                self._say("a receipt", self.vendor.report(one, "delivered"))

    def _say(self, what: str, hook: Hook) -> None:
        url, said, headers = hook
        content = {"body": said} if isinstance(said, bytes) else {"form": said}
        reply = self._api.post(url, headers=headers, auth=False, **content)
        if not 200 <= reply.status < 300:
            raise StepFailed(f"the vendor brings {what}: the server answered {reply.status}")


class AtSmsc(OtherEnd):
    """An SMSC, which reports by itself."""

    def __init__(self, smsc: NodeSmsc) -> None:
        self.smsc = smsc
        self.table = account_at(smsc.port)

    def meet(self, server: RealServer) -> None:
        self.smsc.wait_for("bound")

    def bring(self, from_: str, to: str, body: str) -> None:
        if (status := self.smsc.answer_to(self.smsc.deliver(from_, to, short_message=body))) != 0:
            raise StepFailed(f"the SMSC brings a text: the server answered with status {status}")

    def handed(self) -> list[tuple[str, str, str]]:
        new = []
        while (one := self.smsc.take("submit")) is not None:
            new.append((f"+{one['from']}", f"+{one['to']}", one["text"]))
        return new

    def report(self, body: str) -> None:
        pass


@contextmanager
def an_smsc() -> Iterator[OtherEnd]:
    if not CLIENT.is_installed:
        raise StepFailed(ABSENT)
    with NodeSmsc() as smsc:
        yield AtSmsc(smsc)


def at(kind: Callable[..., Vendor]) -> Callable[[], AbstractContextManager[OtherEnd]]:
    """A vendor with the numbers of the pool, that serves in a thread of its own."""

    @contextmanager
    def serving() -> Iterator[OtherEnd]:
        vendor = kind(SystemClock(), *POOL)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(vendor.__aenter__(), loop).result()
            try:
                yield AtVendor(vendor)
            finally:
                asyncio.run_coroutine_threadsafe(vendor.__aexit__(None, None, None), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    return serving


KINDS: dict[str, Callable[[], AbstractContextManager[OtherEnd]]] = {
    "twilio": at(TwilioApi),
    "signalwire": at(SignalWireApi),
    "telnyx": at(TelnyxApi),
    "vonage": at(VonageApi),
    "vonage-sms": at(VonageSmsApi),
    "plivo": at(PlivoApi),
    "bandwidth": at(BandwidthApi),
    "smpp": an_smsc,
}


@dataclass(slots=True)
class OverCarrier(Conversation):
    """A conversation whose handsets are behind a carrier."""

    end: OtherEnd = field(kw_only=True)
    shown: dict[str, list[Bubble]] = field(default_factory=dict)

    def text(self, writer: Handset, body: str) -> None:
        self._shown(writer.number).append(Bubble(True, writer.proxy, body))
        self.end.bring(writer.number, writer.proxy, body)

    def shown_by(self, person: Handset) -> list[Bubble]:
        for from_, to, body in self.end.handed():
            self._shown(to).append(Bubble(False, from_, body))
        return list(self._shown(person.number))

    def receipt(self, body: str) -> None:
        """Have the carrier report that this message was delivered, and wait until its Interaction says so."""
        self.end.report(body)
        await_seen(
            f'no receipt of "{body}" was seen', lambda: self._status(body) == "delivered", self.patience_s
        )
        self.tell("Its receipt has come: delivered")

    def _status(self, body: str) -> str | None:
        found = self.api.get("the Interactions", f"{self.session_path}/Interactions")["interactions"]
        (status,) = (
            one["outbound_resource_status"] for one in found if json.loads(one["data"])["body"] == body
        )
        return status

    def _shown(self, number: str) -> list[Bubble]:
        return self.shown.setdefault(number, [])


def play(server: RealServer, end: OtherEnd, style: Style) -> None:
    """Raises StepFailed."""
    for number in POOL:
        add_number(server, number)
    api = Api(server.url, ACCOUNT_SID, AUTH_TOKEN)
    alice, bob = Handset(*ALICE), Handset(*BOB)
    talk = OverCarrier(api, (alice, bob), style.tell, end=end)
    service = api.make("a Service", "/v1/Services", {"UniqueName": "over a carrier"})
    path = f"/v1/Services/{service['sid']}"
    for number in POOL:
        api.make("a pool of two numbers", f"{path}/PhoneNumbers", {"PhoneNumber": number})
    style.tell(f"A Service with the numbers {POOL[0]} and {POOL[1]}, which the account carries")
    talk.begin(path, "ride 1", "message-only", POOL)
    talk.send(bob, PICKUP)
    talk.arrives(PICKUP, bob)
    talk.receipt(PICKUP)
    talk.hold(talk.receipt)
    talk.settle()
    if events := api.get("the events", "/v1/Alerts")["alerts"]:
        raise StepFailed(f"not all was well: {events[0]['alert_text']}")
    print(f"\n{draw(talk.people, talk.rows, style)}\n")


def run(kind: str, style: Style) -> None:
    """Raises StepFailed."""
    with tempfile.TemporaryDirectory(prefix="maskline-carrier-") as directory, KINDS[kind]() as end:
        file = carriers_file(Path(directory), end.table)
        print("This is what the server is told of the carrier, which a stand-in plays:\n")
        for line in file.read_text().splitlines():
            print(line if len(line) <= 100 else f'{line[:80]}…"')
        print()
        server = RealServer(
            Path(directory) / "data", environment={"MASKLINE_CARRIERS_FILE": str(file)}
        ).start()
        try:
            end.meet(server)
            play(server, end, style)
        finally:
            server.stop()


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Play one masked conversation through a stand-in for a carrier."
    )
    parser.add_argument("kind", metavar="KIND", choices=KINDS, help=", ".join(KINDS))
    kind = parser.parse_args().kind
    try:
        run(kind, Style.of(sys.stdout.isatty(), sys.stdout.encoding))
    except (
        StepFailed,
        RuntimeError,
        AssertionError,
    ) as failed:  # of a server or an SMSC that does not start, too
        print(f"Failed: {failed}", file=sys.stderr)
        return 1
    print(f"Alice and Bob have talked over {kind}, and neither has seen the other's number.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
