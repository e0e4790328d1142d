"""SMPP 3.4: an account at an operator's SMSC, over one or more connections that are kept up.

    submit_sm ──► submit_sm_resp (the id)                      deliver_sm (receipt: id, state) ──► deliver_sm_resp
    deliver_sm (a text or a part of one) ──► stored ──► deliver_sm_resp

A message that was written and has no response is UNCERTAIN. One that was never written is UNREACHABLE or THROTTLED,
and no refusal of the SMSC leaves anything open (`sending`). What it brings is answered once it is stored (`receiving`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import structlog

from maskline.carriers.base import (
    Accepted,
    Capabilities,
    Carrier,
    CarrierError,
    Checked,
    Kind,
    Means,
    Options,
    Outgoing,
)
from maskline.carriers.smpp.check import look
from maskline.carriers.smpp.coding import MOST_PARTS
from maskline.carriers.smpp.link import Link, bind_of, connect
from maskline.carriers.smpp.options import SmppOptions
from maskline.carriers.smpp.pdu import Status
from maskline.carriers.smpp.receiving import Receiving
from maskline.carriers.smpp.sending import Sending
from maskline.carriers.smpp.session import Delivered, Role

TICK_S = 1.0
SWEEP_EVERY = 5
"""Ticks from one look at waiting parts to the next."""
CLOSE_S = 5.0
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 1.0, 60.0

_CREDENTIALS = frozenset({Status.INVALID_PASSWORD, Status.INVALID_SYSTEM_ID, Status.INVALID_SYSTEM_TYPE})
"""Refusals of a bind that last until somebody changes the settings. Others, such as of one too many, pass."""

_log = structlog.get_logger(__name__)


class SmppCarrier(Carrier):
    """Keeps its connections in `run`, until it is cancelled."""

    options: ClassVar[type[Options]] = SmppOptions
    can: ClassVar[Capabilities] = Capabilities(receipts=True, parts=MOST_PARTS)

    def __init__(self, name: str, options: SmppOptions, means: Means) -> None:
        self.name = name
        self._options = options
        self._clock = means.clock
        self._links: list[Link] = []
        self._sending = Sending(options, means.clock, self._links)
        self._receiving = Receiving(name, options, means)
        self._closing = asyncio.Event()
        self._log = _log.bind(carrier=name)

    async def capabilities(self, account_sid: str) -> Capabilities:
        return Capabilities(receipts=self._options.receipts, parts=MOST_PARTS)

    async def send(self, message: Outgoing) -> Accepted:
        if (
            message.media
        ):  # its number is down as one that carries them; without them it would be another message
            raise CarrierError(Kind.REJECTED, "SMPP takes no media")
        return await self._sending.send(message)

    async def check(self, numbers: Sequence[str]) -> Sequence[Checked]:
        return [await look(self.name, self._options, self._clock)]

    async def run(self) -> None:
        if not await self._recall():
            return
        roles = {"transceiver": [Role.TRANSCEIVER], "pair": [Role.TRANSMITTER, Role.RECEIVER]}
        async with asyncio.TaskGroup() as tasks:
            for role in roles[self._options.mode] * self._options.binds:
                tasks.create_task(self._keep(role))
            tasks.create_task(self._watch())
            tasks.create_task(self._tidy())

    async def close(self) -> None:
        self._closing.set()
        until = self._clock.uptime() + CLOSE_S
        while not all(link.is_idle for link in self._links) and self._clock.uptime() < until:
            await self._clock.sleep(0.05)
        open_links = list(self._links)
        for link in open_links:
            link.unbind()
        for link in open_links:
            await self._clock.wait(link.closed, max(0.1, until - self._clock.uptime()))
            link.abort()
        await self._receiving.settle()

    def opened(self, link: Link) -> None:
        self._sending.refusal = None

    def freed(self, link: Link) -> None:
        self._sending.pump()

    def delivered(self, link: Link, delivered: Delivered) -> None:
        self._receiving.take(link, delivered)

    def lost(self, link: Link) -> None:
        self._receiving.lost(link)
        self._sending.pump()

    async def _recall(self) -> bool:
        """Before anything may come; whether it did, and was not closed first."""
        while not self._closing.is_set():
            try:
                await self._receiving.recall()
                return True
            except Exception:
                self._log.exception("smpp.no_recall")
                await self._clock.wait(self._closing, FIRST_BACK_OFF_S)
        return False

    async def _keep(self, role: Role) -> None:
        """Keep one connection of this role up, until the account is closed."""
        bind, limits = bind_of(self._options)
        back_off_s = FIRST_BACK_OFF_S
        while not self._closing.is_set():
            link = Link(role, bind, limits, self._clock, self, self.name)
            self._links.append(link)
            try:
                if await self._connect(link):
                    await link.closed.wait()
            finally:
                link.abort()
                self._links.remove(link)
            if link.was_bound:
                back_off_s = FIRST_BACK_OFF_S
            elif link.refusal in _CREDENTIALS:
                self._sending.refusal = link.refusal
                back_off_s = LONGEST_BACK_OFF_S
            await self._clock.wait(self._closing, back_off_s)
            back_off_s = min(2 * back_off_s, LONGEST_BACK_OFF_S)

    async def _connect(self, link: Link) -> bool:
        try:
            await connect(link, self._options)
        except (OSError, TimeoutError) as error:
            self._log.warning("smpp.unreachable", why=str(error) or type(error).__name__)
            return False
        return True

    async def _watch(self) -> None:
        """Let deadlines pass."""
        while True:
            await self._clock.sleep(TICK_S)
            for link in list(self._links):
                link.tick()
            self._sending.pump()

    async def _tidy(self) -> None:
        """Look at what waits in the store, which may take its time."""
        ticks = 0
        while True:
            await self._clock.sleep(TICK_S)
            await self._receiving.settle()
            ticks += 1
            if ticks % SWEEP_EVERY == 0:
                try:
                    await self._receiving.sweep()
                except Exception:
                    self._log.exception("smpp.sweep_failed")
