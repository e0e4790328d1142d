"""The sandbox: a carrier with no network, for first steps, demos, customers' tests, and the witness of our promises.

It is honest: every hand-over is in its books (`Ledger`, durable) before it answers, a repeated one too. By default it
takes no keys and answers no questions, as most carriers do, so a repeat is delivered again and can be seen. What it
brings (receipts, texts from handsets) comes from durable to-do rows and enters as any carrier's would; `domain.sandbox`
has the table of what it can be scripted to do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from maskline.carriers.base import (
    Accepted,
    Capabilities,
    CarrierError,
    CarrierEvent,
    Inbound,
    Kind,
    Outgoing,
    Report,
)
from maskline.clock import Clock
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import SECOND
from maskline.domain.sandbox import Abilities, Answer, Handed, HandOver, HandsetMessage, Todo
from maskline.mint import Mint

NAME = "sandbox"
MOST_AT_ONCE = 256
POLL_S = 1.0

_FAILURES = {
    Answer.REJECTED: Kind.REJECTED,
    Answer.THROTTLED: Kind.THROTTLED,
    Answer.UNREACHABLE: Kind.UNREACHABLE,
    Answer.UNCERTAIN: Kind.UNCERTAIN,
}

_log = structlog.get_logger(__name__)


class Ledger(Protocol):
    """The sandbox's books. Every method has committed when it returns."""

    async def hand_over(self, item: HandOver) -> Handed: ...
    async def add_text(self, message: HandsetMessage, todo: Todo) -> None: ...
    async def abilities(self, account_sid: str) -> Abilities: ...
    async def find_taken(self, account_sid: str, reference: str) -> str | None: ...
    async def due(self, most: int) -> tuple[list[Todo], int | None]: ...
    async def done(self, todos: list[Todo]) -> None: ...


class SandboxCarrier:
    """A `Carrier` whose other end is the ledger. `bring` takes its events in; they are due until it returns."""

    name = NAME

    def __init__(
        self, ledger: Ledger, clock: Clock, mint: Mint, bring: Callable[[CarrierEvent], Awaitable[None]]
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._mint = mint
        self._bring = bring
        self._wake = asyncio.Event()

    async def capabilities(self, account_sid: str) -> Capabilities:
        abilities = await self._ledger.abilities(account_sid)
        return Capabilities(
            mms=True, receipts=True, carrier_keys=abilities.carrier_keys, look_up=abilities.look_up
        )

    async def send(self, message: Outgoing) -> Accepted:
        handed = await self._ledger.hand_over(
            HandOver(
                reference=message.sid,
                sid=self._mint.sid("SM"),
                account_sid=message.account_sid,
                from_number=message.from_,
                to_number=message.to,
                body=message.body,
                media=json.dumps(message.media),
            )
        )
        self._wake.set()
        if handed.early:
            await self._play(list(handed.early))
        if handed.answer_delay_ms:
            await self._clock.sleep(handed.answer_delay_ms / 1000)
        if handed.answer is not Answer.ACCEPTED:
            raise CarrierError(_FAILURES[handed.answer], f"the sandbox is scripted: {handed.answer.value}")
        return Accepted(handed.sid)

    async def look_up(self, message: Outgoing) -> Accepted | None:
        sid = await self._ledger.find_taken(message.account_sid, message.sid)
        return Accepted(sid) if sid is not None else None

    async def text(
        self, account_sid: str, from_: str, to: str, body: str, media: list[str]
    ) -> HandsetMessage:
        """A handset writes to a proxy number. Returns once the server has it for good."""
        sid = self._mint.sid("SM")
        now = self._clock.now()
        message = HandsetMessage(
            reference=sid,
            sid=sid,
            account_sid=account_sid,
            direction="from_handset",
            from_number=from_,
            to_number=to,
            body=body,
            media=json.dumps(media),
            status="sent",
            handovers=1,
            created_at=now,
        )
        payload = json.dumps({"id": sid, "to": to, "from": from_, "body": body, "media": media})
        # Due a little later only: it is brought right here, and by `run` if this process dies meanwhile.
        todo = Todo(now + SECOND, sid, "text", payload)
        await self._ledger.add_text(message, todo)
        await self._play([todo])
        return message

    async def run(self) -> None:
        """Bring what is due, for ever."""
        while True:
            todos, next_due_at = await self._ledger.due(MOST_AT_ONCE)
            if todos:
                try:
                    await self._play(todos)
                except Exception:
                    _log.exception("sandbox.bring_failed")
                    await self._clock.sleep(POLL_S)
                continue
            self._wake.clear()
            # Whatever a hand-over adds is due later than what waits now, unless nothing waits.
            if next_due_at is None:
                await self._clock.wait(self._wake, POLL_S)
            else:
                await self._clock.sleep(min(POLL_S, max(0, next_due_at - self._clock.now()) / SECOND))

    async def _play(self, todos: list[Todo]) -> None:
        await asyncio.gather(*(self._bring(_event(todo)) for todo in todos))
        await self._ledger.done(todos)


def _event(todo: Todo) -> CarrierEvent:
    facts = json.loads(todo.payload)
    if todo.kind == "text":
        return Inbound(NAME, facts["id"], facts["to"], facts["from"], facts["body"], tuple(facts["media"]))
    return Report(NAME, facts["number"], facts["carrier_id"], MessageStatus(facts["status"]))
