"""What an SMSC brings: texts, parts of texts and receipts. Each is answered once it is stored, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, ParamSpec

import structlog

from maskline.carriers.base import Inbound, Means, Notice, Report
from maskline.carriers.parts import Parts
from maskline.carriers.smpp.coding import Piece, Receipt, Text, Unreadable, decode, read
from maskline.carriers.smpp.link import Link
from maskline.carriers.smpp.options import SmppOptions
from maskline.carriers.smpp.pdu import Status
from maskline.carriers.smpp.repeats import Repeats, digest_of
from maskline.carriers.smpp.session import Delivered
from maskline.domain import problems
from maskline.domain.part import Part
from maskline.domain.problems import Code
from maskline.mint import Mint

P = ParamSpec("P")

_log = structlog.get_logger(__name__)


class Receiving:
    """Of one account. It must know what the last run left unanswered (`recall`) before anything is taken."""

    def __init__(self, name: str, options: SmppOptions, means: Means) -> None:
        self._name = name
        self._options = options
        self._clock = means.clock
        self._bring = means.bring
        self._inbox = means.inbox
        self._mint = Mint(means.clock)
        self._parts = Parts(name, means, options.parts_s, partial(_decode, options=options))
        self._key = options.password.encode()
        self._repeats = Repeats()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_failing = False
        self._log = _log.bind(carrier=name)

    async def recall(self) -> None:
        """Learn what may come again because the last run ended before it was answered, or before that must have
        arrived. Raises if it cannot.
        """
        for carrier_id, was_answered in await self._inbox.unsettled(self._name):
            digest = carrier_id.partition(".")[0]
            if was_answered:
                self._repeats.doubt(digest, self._clock.uptime())
            else:
                self._repeats.lose(digest, carrier_id, self._clock.uptime())

    def take(self, link: Link, delivered: Delivered) -> None:
        """Take something in, and answer it when that is done."""
        what = read(delivered.message, self._options)
        if isinstance(what, Text):
            self._start(self._take_text(link, delivered, what))
        else:
            self._start(self._take_other(link, delivered, what))

    def lost(self, link: Link) -> None:
        """This connection is closed: what has no answer yet will not get it."""
        now = self._clock.uptime()
        for carrier_id, digest in link.unanswered.items():
            self._repeats.lose(digest, carrier_id, now)
        self._repeats.close(link, now, broken=not link.is_unbound)

    async def settle(self) -> None:
        """Forget what the SMSC will not bring again. If that fails, the next run is in doubt, and no more."""
        await self._outcome(self._inbox.settled, self._name, self._repeats.settled(self._clock.uptime()))

    async def sweep(self) -> None:
        """Bring on messages whose parts have come, and those that have waited for a missing one for long enough."""
        await self._parts.sweep()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_text(self, link: Link, delivered: Delivered, text: Text) -> None:
        digest, now = digest_of(delivered.message, self._key), self._clock.uptime()
        claimed = self._repeats.claim(digest, now)
        doubtful = claimed is None and self._repeats.is_doubtful(digest, now)
        carrier_id = claimed or f"{digest}.{self._mint.sid('IN')}"
        link.unanswered[carrier_id] = digest
        status = await self._outcome(
            self._bring, Inbound(self._name, carrier_id, text.number, text.sender, text.body)
        )
        if not link.answer(delivered, status):
            return  # the connection is lost, and the SMSC will bring it again
        del link.unanswered[carrier_id]
        if status == Status.TEMPORARY_APP_ERROR:
            # It will come again; and if it was stored after all, it is known by its id.
            self._repeats.lose(digest, carrier_id, self._clock.uptime())
        if status == Status.OK:
            self._repeats.note_answer(link, digest, (text.number, carrier_id), self._clock.uptime())
            await self._outcome(self._inbox.answered, self._name, text.number, carrier_id)
            if doubtful:
                await self._outcome(self._notify, text.sender, text.number, problems.MESSAGE_MAYBE_REPEATED)

    async def _take_other(
        self, link: Link, delivered: Delivered, what: Piece | Receipt | Unreadable | None
    ) -> None:
        """Any of these may come again, answered or not, and harms nothing then."""
        status: Status = Status.OK
        match what:
            case None:
                pass
            case Piece():
                status = await self._outcome(self._keep, delivered, what)
            case Receipt(number, message_id, state):
                report = Report(self._name, number, message_id, state)
                status = await self._outcome(self._bring, report)
            case Unreadable(sender, number, why):
                status = await self._outcome(self._notify, sender, number, problems.MESSAGE_UNREADABLE, why)
                if status == Status.OK:
                    status = Status.PERMANENT_APP_ERROR
        link.answer(delivered, status)

    async def _keep(self, delivered: Delivered, piece: Piece) -> bool:
        return await self._parts.keep(
            Part(
                carrier_account=self._name,
                sender=piece.sender,
                number=piece.number,
                reference=piece.reference,
                place=piece.place,
                total=piece.total,
                message_id=f"parts.{self._mint.sid('IN')}",
                coding=piece.coding,
                content=piece.content.hex(),
                digest=digest_of(delivered.message, self._key),
            )
        )

    async def _notify(self, sender: str, number: str, code: Code, why: str = "") -> bool:
        return await self._bring(Notice(self._name, number, sender, code, why))

    async def _outcome(
        self, work: Callable[P, Awaitable[bool | None]], *args: P.args, **kwargs: P.kwargs
    ) -> Status:
        """What the SMSC is told once `work` is done, which gives False for a number that is none of this account's."""
        try:
            known = await work(*args, **kwargs)
        except Exception as error:
            if not self._is_failing:  # told once, however often it comes again
                self._log.error("smpp.not_stored", exc_info=error)
            self._is_failing = True
            return Status.TEMPORARY_APP_ERROR
        self._is_failing = False
        return Status.PERMANENT_APP_ERROR if known is False else Status.OK


def _decode(parts: Sequence[Part], options: SmppOptions) -> str:
    return decode([(part.coding, bytes.fromhex(part.content)) for part in parts], options)
