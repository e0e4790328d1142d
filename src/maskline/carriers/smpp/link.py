"""One connection to an SMSC: a socket with a `Session` behind it. It queues nothing that is not written at once."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol, cast

import structlog

from maskline.carriers.smpp.options import SmppOptions
from maskline.carriers.smpp.pdu import Bind, ShortMessage
from maskline.carriers.smpp.session import (
    UNBOUND,
    Answered,
    Bound,
    Delivered,
    Ended,
    Event,
    Late,
    Limits,
    Odd,
    Refused,
    Role,
    Session,
    State,
    Unanswered,
)
from maskline.clock import Clock

CONNECT_S = 10.0
MOST_TAKEN = 500
"""Deliveries without an answer at a time; with more, nothing is read until some have theirs."""

_log = structlog.get_logger(__name__)


class Owner(Protocol):
    """Whoever keeps the connection."""

    def opened(self, link: Link) -> None:
        """It is bound."""

    def freed(self, link: Link) -> None:
        """There may be room for more."""

    def delivered(self, link: Link, delivered: Delivered) -> None:
        """The SMSC has brought something, which waits for `Link.answer`."""

    def lost(self, link: Link) -> None:
        """It is closed. What was submitted has its answer or None by now."""


class Link(asyncio.Protocol):
    """Binds as soon as it is connected. `refusal` is the status with which the SMSC has refused that."""

    def __init__(self, role: Role, bind: Bind, limits: Limits, clock: Clock, owner: Owner, name: str) -> None:
        self.role = role
        self.refusal: int | None = None
        self.was_bound = False
        self.is_unbound = False
        """Whether it ended with good-byes, so that whatever was written has arrived."""
        self.closed = asyncio.Event()
        self.unanswered: dict[str, str] = {}
        """Digests of what the SMSC has no answer for, by the id that it has here; its owner keeps them."""
        self._clock = clock
        self._owner = owner
        self._log = _log.bind(carrier=name, role=role.name.lower())
        self._session = Session(role, bind, limits)
        self._waiting: dict[int, asyncio.Future[Answered | None]] = {}
        self._in_hand = 0
        self._transport: asyncio.Transport | None = None

    @property
    def is_bound(self) -> bool:
        """Whether messages can go both ways that its role allows."""
        return self._session.state is State.BOUND

    @property
    def room(self) -> int:
        """How many more messages may be submitted now."""
        return 0 if self._is_gone else self._session.room(self._clock.uptime())

    @property
    def is_throttled(self) -> bool:
        """Whether the SMSC has asked for less just now."""
        return self._session.is_throttled(self._clock.uptime())

    @property
    def is_idle(self) -> bool:
        """Whether everything that was submitted, and everything that was delivered, has its answer."""
        return not self._waiting and not self._in_hand

    def submit(self, message: ShortMessage) -> asyncio.Future[Answered | None]:
        """Write a submit_sm, for which there must be room. What comes of it: the SMSC's answer, or None, and nobody
        can know whether it was taken.
        """
        future: asyncio.Future[Answered | None] = asyncio.get_running_loop().create_future()
        self._waiting[self._session.submit(message, self._clock.uptime())] = future
        self._flush()
        return future

    def answer(self, delivered: Delivered, status: int) -> bool:
        """Answer what was delivered; whether that could be written."""
        self._in_hand -= 1
        if self._in_hand == MOST_TAKEN - 1 and self._transport is not None:
            self._transport.resume_reading()
        # A closing transport takes everything and writes nothing.
        written = not self._is_gone and self._session.answer(delivered, status)
        self._flush()
        return written

    def tick(self) -> None:
        """Let deadlines pass; to be called about every second."""
        self._handle(self._session.tick(self._clock.uptime()))
        if self.room:
            self._owner.freed(self)

    def unbind(self) -> None:
        """Say good-bye."""
        self._handle(self._session.unbind(self._clock.uptime()))

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._session.open(self._clock.uptime())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._handle(self._session.receive(data, self._clock.uptime()))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._session.state is not State.CLOSED:
            self._log.warning("smpp.lost", why=type(exc).__name__ if exc else "closed by the SMSC")
        self._transport = None
        for future in self._waiting.values():
            _settle(future, None)
        self._waiting.clear()
        self.closed.set()
        self._owner.lost(self)

    @property
    def _is_gone(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def _handle(self, events: list[Event]) -> None:
        freed = False
        for event in events:
            match event:
                case Answered(sequence):
                    freed = True
                    _settle(self._waiting.pop(sequence, None), event)
                case Delivered():
                    self._in_hand += 1
                    if self._in_hand == MOST_TAKEN and self._transport is not None:
                        self._transport.pause_reading()
                    self._owner.delivered(self, event)
                case Unanswered(sequence):
                    freed = True
                    self._log.warning("smpp.unanswered")
                    _settle(self._waiting.pop(sequence, None), None)
                case Bound():
                    self.was_bound = True
                    self._log.info("smpp.bound")
                    self._owner.opened(self)
                    freed = True
                case Refused(status):
                    self.refusal = status
                    self._log.error("smpp.refused", status=f"0x{status:08x}")
                case Late(command, status):
                    self._log.warning("smpp.late", command=f"0x{command:08x}", status=f"0x{status:08x}")
                case Odd(command, why):
                    self._log.warning("smpp.odd", command=f"0x{command:08x}", why=why)
                case Ended(why):
                    self.is_unbound = why == UNBOUND
                    self._log.info("smpp.ended", why=why)
        self._flush()
        if self._session.state is State.CLOSED and self._transport is not None:
            self._transport.close()
        elif freed:
            self._owner.freed(self)

    def _flush(self) -> None:
        octets = self._session.take()
        if octets and not self._is_gone:
            assert self._transport is not None
            self._transport.write(octets)


async def connect(link: Link, options: SmppOptions) -> None:
    """Open the connection of a link. Raises OSError, TimeoutError."""
    tls = ssl.create_default_context(cafile=options.tls_ca) if options.tls else None
    async with asyncio.timeout(CONNECT_S):
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: link, options.host, options.port, ssl=tls)


def bind_of(options: SmppOptions) -> tuple[Bind, Limits]:
    """What a connection with these options begins with."""
    bind = Bind(options.system_id, options.password, options.system_type, options.address_range)
    return bind, Limits(options.window, options.enquire_link_s, options.response_s)


def _settle(future: asyncio.Future[Answered | None] | None, result: Answered | None) -> None:
    if future is not None and not future.done():
        future.set_result(result)
