"""An account at an SMSC on loopback, with a real store behind it and a clock that stands still."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any

import msgspec
import pytest
import uvloop

from maskline.carriers.base import Accepted, CarrierEvent, Means, Outgoing
from maskline.carriers.smpp.carrier import SmppCarrier
from maskline.carriers.smpp.options import SmppOptions
from maskline.domain.model import Participant
from maskline.flows import inbound
from maskline.flows.carrier_events import take_event
from maskline.flows.inbox import StoreInbox
from maskline.flows.silence import Silence
from maskline.store.sqlite import SqliteStore
from tests.support.carrier import ScriptedCarrier
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, House
from tests.support.smsc import Smsc
from tests.support.until import turns, until


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the server runs on: its sockets and errors are not those of asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}


NAME = "north"
Bring = Callable[[CarrierEvent], Awaitable[bool]]


@dataclass
class Desk:
    """The account at work: `house` has its numbers, `carrier` the connections, `smsc` is the other end."""

    house: House
    carrier: SmppCarrier
    smsc: Smsc
    clock: FakeClock

    def send(
        self, body: str, to: str = "+12125550101", sid: str = "SM" + "0" * 30 + "80"
    ) -> "asyncio.Task[Accepted]":
        """Hand a message over, in the background."""
        message = Outgoing(sid=sid, account_sid=ACCOUNT, from_="+14155550100", to=to, body=body)
        return asyncio.create_task(self.carrier.send(message))

    def text(self, sender: Participant, body: str | bytes, **fields: Any) -> "asyncio.Future[int | None]":
        """Somebody writes to their proxy number."""
        said = body if isinstance(body, bytes) else body.encode("latin-1")
        numbers = {"source_addr": sender.identifier[1:], "destination_addr": sender.proxy_identifier[1:]}
        return self.smsc.deliver(**{**numbers, "short_message": said, **fields})

    async def bodies(self) -> list[str]:
        """What was relayed, in the order in which it was taken."""
        rows = await self.house.rows("SELECT data FROM interactions ORDER BY sid")
        return [msgspec.json.decode(row[0])["body"] for row in rows]

    async def pass_time(self, seconds: float) -> None:
        """Second by second, with everything that comes of each."""
        await turns()
        for _ in range(int(seconds)):
            self.clock.advance(1)
            await turns()
            # What other threads are about has its turn, too.
            await self.house.store.read(lambda _: None)
            await self.house.store.write(lambda _: None)
            await turns()

    async def pass_until(self, condition: Callable[[], object]) -> None:
        """Let time pass until this holds, which may have to be asked of the store: the deadline that brings it may not
        be counted yet.
        """
        bound = time.monotonic() + 10
        while not (await held if isawaitable(held := condition()) else held):
            assert time.monotonic() < bound, "it did not come to pass"
            await self.pass_time(1)

    async def bound(self, count: int = 1) -> None:
        """Wait until there are so many binds."""
        await until(lambda: len(self.smsc.bound) == count == self.bound_links, "not bound")

    @property
    def bound_links(self) -> int:
        return sum(link.is_bound for link in self.carrier._links)

    async def cut(self) -> None:
        """Break all connections, and wait until that is known here."""
        self.smsc.cut()
        await until(lambda: not self.smsc.connections and not self.carrier._links)

    async def bound_again(self, after_s: int = 1) -> None:
        """Let the pause pass after which it binds again, and wait for that."""
        await self.pass_time(after_s)
        await self.bound()


@asynccontextmanager
async def at_work(
    store: SqliteStore,
    clock: FakeClock,
    smsc: Smsc,
    *,
    bring: Callable[[Bring], Bring] = lambda it: it,
    **options: Any,
) -> AsyncIterator[Desk]:
    """An account with these options. `bring` can stand in the way of what it brings."""
    house = House(store, clock, carrier=ScriptedCarrier(NAME))
    silence = Silence(store, clock, house.mint, {})
    receive = partial(inbound.receive, store, house.mint, house.options)
    means = Means(
        house.http,
        clock,
        bring(partial(take_event, store, house.mint, receive, silence)),
        StoreInbox(store),
        "",
    )
    said = {"host": "127.0.0.1", "port": smsc.port, "system_id": "me", "password": "secret", **options}
    carrier = SmppCarrier(NAME, msgspec.convert(said, SmppOptions), means)
    running = asyncio.create_task(carrier.run())
    try:
        yield Desk(house, carrier, smsc, clock)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await until(lambda: not carrier._receiving._tasks)


@pytest.fixture
async def smsc() -> AsyncIterator[Smsc]:
    async with Smsc() as smsc:
        yield smsc


@pytest.fixture
async def desk(store: SqliteStore, clock: FakeClock, smsc: Smsc) -> AsyncIterator[Desk]:
    async with at_work(store, clock, smsc) as desk:
        await desk.bound()
        yield desk
