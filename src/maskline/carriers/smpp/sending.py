"""What goes out over an account's connections: who waits for a place in a window, and what becomes of a message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from maskline.carriers.base import Accepted, CarrierError, Kind, Outgoing
from maskline.carriers.smpp.coding import canonical_id, compose
from maskline.carriers.smpp.link import Link
from maskline.carriers.smpp.options import SmppOptions
from maskline.carriers.smpp.pdu import ShortMessage, Status
from maskline.carriers.smpp.session import Answered, Role
from maskline.clock import Clock

ROOM_S = 2.0
"""How long a message waits for a place in a window. Ten seconds after it was handed over the flow gives up."""
PARTS_S = 7.0
"""How long a message is tried of which the SMSC has taken the first part."""
AGAIN_S = 0.2
MOST_PAIRS = 10_000

# What an SMSC's refusal of a submit_sm says. No refusal leaves it open whether the message was taken.
_ERRORS: dict[int, Kind] = {
    Status.THROTTLED: Kind.THROTTLED,
    Status.QUEUE_FULL: Kind.THROTTLED,
    Status.SYSTEM_ERROR: Kind.UNREACHABLE,  # the SMSC is in trouble, and not the message
    Status.TEMPORARY_APP_ERROR: Kind.UNREACHABLE,
    Status.INVALID_BIND_STATUS: Kind.UNREACHABLE,  # it has forgotten the bind
    Status.INVALID_PASSWORD: Kind.MISCONFIGURED,
    Status.INVALID_SYSTEM_ID: Kind.MISCONFIGURED,
}
"""Any other is about the message: its numbers, its length, its options, or the vendor's own reason (0x400 and up)."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A submit_sm without a place yet. `link`: the connection that it has to go over, if that matters."""

    message: ShortMessage
    since: float
    link: Link | None
    placed: asyncio.Future[tuple[Link, asyncio.Future[Answered | None]]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Sending:
    """`links`: the connections as they are now. `refusal`: the status with which the SMSC refuses our credentials."""

    def __init__(self, options: SmppOptions, clock: Clock, links: Sequence[Link]) -> None:
        self.refusal: int | None = None
        self._options = options
        self._clock = clock
        self._links = links
        self._queue: deque[_Waiting] = deque()
        self._references: dict[tuple[str, str], int] = {}

    async def send(self, message: Outgoing) -> Accepted:
        """Hand a message over, in as many parts as it takes. Raises CarrierError."""
        first, *others = compose(message, self._options, self._reference(message))
        link, answered = await self._submit(first, None)
        if answered is None:
            raise CarrierError(Kind.UNCERTAIN, "no response to submit_sm")
        if answered.status != Status.OK:
            raise CarrierError(_kind(answered.status), f"command_status 0x{answered.status:08x}")
        if others:
            answered = await self._submit_others(others, link)
        return Accepted(canonical_id(answered.message_id, self._options.submit_ids) or None)

    def pump(self) -> None:
        """Give places to those that wait, in their order, and tell those that have waited for too long. To be called
        whenever there may be room, and about every second.
        """
        now = self._clock.uptime()
        stay: deque[_Waiting] = deque()
        full = False
        while self._queue:
            one = self._queue.popleft()
            if one.placed.done():  # whoever wanted it is gone
                continue
            # A process that was frozen meanwhile does not write now, either.
            if now - one.since > ROOM_S or (one.link is not None and one.link.closed.is_set()):
                one.placed.set_exception(self._no_room())
                continue
            link = one.link or (None if full else max(self._links, key=lambda each: each.room, default=None))
            if link is not None and link.room > 0:
                one.placed.set_result((link, link.submit(one.message)))
                continue
            full = full or one.link is None
            stay.append(one)
        self._queue = stay

    async def _submit(self, message: ShortMessage, link: Link | None) -> tuple[Link, Answered | None]:
        """Write a submit_sm as soon as there is room, and wait for what comes of it: None if nobody can know.

        Raises CarrierError if it was not written.
        """
        if self.refusal is not None and not any(one.is_bound for one in self._links):
            raise CarrierError(
                Kind.MISCONFIGURED, f"the bind is refused: command_status 0x{self.refusal:08x}"
            )
        waiting = _Waiting(message, self._clock.uptime(), link)
        if link is None and self._queue:
            self._queue.append(waiting)  # room is given to whoever came before, as soon as there is some
        else:
            self._queue.appendleft(waiting)  # the rest of a message goes before one that has not begun
            self.pump()
        taken_by, outcome = await waiting.placed
        return taken_by, await outcome

    async def _submit_others(self, parts: list[ShortMessage], link: Link) -> Answered:
        """The parts behind the first, at once. That one is through, so whatever becomes of these, the message must not
        go again as a whole. Gives the answer to the last part.
        """
        answers = await asyncio.gather(*(self._submit_part(part, link) for part in parts))
        known = [answer for answer in answers if answer is not None]
        for answer in known:
            if answer.status != Status.OK and not _passes(answer.status):
                said = f"command_status 0x{answer.status:08x} for a part"
                raise CarrierError(Kind.REJECTED, said)
        if len(known) < len(answers) or any(answer.status != Status.OK for answer in known):
            raise CarrierError(Kind.UNCERTAIN, "the SMSC has a part of it, and perhaps not every one")
        return known[-1]

    async def _submit_part(self, part: ShortMessage, link: Link) -> Answered | None:
        """One of them; given again while the SMSC says that it does not take it for now."""
        until = self._clock.uptime() + PARTS_S
        while True:
            answered = None
            try:
                _, answered = await self._submit(part, link)
                passing = answered is not None and _passes(answered.status)
            except CarrierError:  # it was not written
                passing = True
            if not passing or link.closed.is_set() or self._clock.uptime() + AGAIN_S >= until:
                return answered
            await self._clock.sleep(AGAIN_S)

    def _no_room(self) -> CarrierError:
        bound = [link for link in self._links if link.is_bound and link.role is not Role.RECEIVER]
        if not bound:
            return CarrierError(Kind.UNREACHABLE, "not bound")
        throttled = any(link.is_throttled for link in bound)
        return CarrierError(Kind.THROTTLED, "the SMSC throttles" if throttled else "the windows are full")

    def _reference(self, message: Outgoing) -> int:
        """What the parts of this message have in common: another one than those of the message before it."""
        pair = (message.from_, message.to)
        last = self._references.pop(pair, None)
        reference = (int(message.sid[-3:-1], 16) if last is None else last + 1) & 0xFF
        self._references[pair] = reference
        if len(self._references) > MOST_PAIRS:
            del self._references[next(iter(self._references))]
        return reference


def _kind(status: int) -> Kind:
    """What a refusal means."""
    return _ERRORS.get(status, Kind.REJECTED)


def _passes(status: int) -> bool:
    """Whether it is a refusal for now only."""
    return status != Status.OK and _kind(status) in (Kind.THROTTLED, Kind.UNREACHABLE)
