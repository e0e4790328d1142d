"""The sandbox: a carrier with no network, for first steps, demos, customers' tests, and the witness of our promises.

It is honest: every hand-over is in its books (`Ledger`, durable) before it answers, a repeated one too. By default it
takes no keys and answers no questions, as most carriers do, so a repeat is delivered again and can be seen. What it
brings (receipts, texts from handsets) comes from durable to-do rows and enters as any carrier's would; `domain.sandbox`
has the table of what it can be scripted to do.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import ClassVar, Protocol

import msgspec
import structlog

from maskline.carriers.base import (
    Accepted,
    Bring,
    Capabilities,
    Carrier,
    CarrierError,
    CarrierEvent,
    Inbound,
    Keep,
    Kind,
    Outgoing,
    Report,
)
from maskline.clock import Clock
from maskline.domain.interaction import MessageStatus
from maskline.domain.media import media_of
from maskline.domain.model import SECOND
from maskline.domain.sandbox import (
    BEHAVIOURS,
    NAME,
    Abilities,
    Answer,
    Handed,
    HandOver,
    HandsetMessage,
    Outcome,
    Todo,
)
from maskline.mint import Mint

MOST_AT_ONCE = 256
MOST_PARTS = 24
"""Of the longest text that a message may have (`domain.text`)."""
POLL_S = 1.0
AGAIN_S = 1

_FAILURES = {
    Answer.REJECTED: Kind.REJECTED,
    Answer.THROTTLED: Kind.THROTTLED,
    Answer.UNREACHABLE: Kind.UNREACHABLE,
    Answer.UNCERTAIN: Kind.UNCERTAIN,
}

_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode

_log = structlog.get_logger(__name__)


class Ledger(Protocol):
    """The sandbox's books. Every method has committed when it returns."""

    async def hand_over(self, item: HandOver) -> Handed: ...
    async def add_text(self, message: HandsetMessage, payload: str) -> Todo | None: ...
    async def abilities(self, account_sid: str) -> Abilities: ...
    async def find_taken(self, account_sid: str, reference: str) -> str | None: ...
    async def find_script(self, account_sid: str, number: str) -> Outcome | None: ...
    async def due(self, most: int) -> tuple[list[Todo], int | None, int]: ...
    async def done(self, todos: list[Todo]) -> None: ...
    async def postpone(self, todos: list[Todo], by_us: int) -> None: ...


class SandboxCarrier(Carrier):
    """A carrier whose other end is the ledger. `bring` takes its events in; they are due until it returns."""

    name = NAME
    can: ClassVar[Capabilities] = Capabilities(
        mms=True, voice=True, receipts=True, carrier_keys=True, look_up=True, parts=MOST_PARTS
    )
    """At most: its account scripts it to take keys and to answer questions."""

    def __init__(self, ledger: Ledger, clock: Clock, mint: Mint, bring: Bring) -> None:
        self._ledger = ledger
        self._clock = clock
        self._mint = mint
        self._bring = bring
        self._wake = asyncio.Event()
        self._wakes_at: int | None = None
        self._failing: set[str] = set()

    async def capabilities(self, account_sid: str) -> Capabilities:
        abilities = await self._ledger.abilities(account_sid)
        return replace(self.can, carrier_keys=abilities.carrier_keys, look_up=abilities.look_up)

    async def send(self, message: Outgoing) -> Accepted:
        handed = await self._ledger.hand_over(
            HandOver(
                reference=message.sid,
                sid=self._mint.sid("SM"),
                account_sid=message.account_sid,
                from_number=message.from_,
                to_number=message.to,
                body=message.body,
                media=_encode(message.media).decode(),
            )
        )
        if handed.report_at is not None and (self._wakes_at is None or handed.report_at < self._wakes_at):
            self._wake.set()
        if handed.early:
            try:
                await self._play(list(handed.early))
            except Exception:  # the message is handed over all the same, and `run` brings them
                _log.exception("sandbox.early_failed")
        if handed.answer_delay_ms:
            await self._clock.sleep(handed.answer_delay_ms / 1000)
        if handed.answer is not Answer.ACCEPTED:
            raise CarrierError(_FAILURES[handed.answer], f"the sandbox is scripted: {handed.answer.value}")
        return Accepted(handed.sid)

    async def look_up(self, message: Outgoing) -> list[str]:
        sid = await self._ledger.find_taken(message.account_sid, message.sid)
        return [sid] if sid is not None else []

    async def adopt(self, account_sid: str, number: str, keep: Keep) -> None:
        """Its handsets reach every number as they are; unless it is scripted to refuse this one."""
        outcome = await self._ledger.find_script(account_sid, number)
        if outcome is not None and (kind := _FAILURES.get(BEHAVIOURS[outcome].answer)) is not None:
            raise CarrierError(kind, f"the sandbox is scripted: {outcome.value}")

    async def text(
        self, account_sid: str, from_: str, to: str, body: str, media: list[str], types: list[str]
    ) -> HandsetMessage | None:
        """A handset writes to a proxy number. Returns once the server has it for good; None: there is no such number.
        `types` is empty, or says of each of the media what it is.

        Raises whatever keeps it from being brought now; it is in the books then, and is brought later.
        """
        sid = self._mint.sid("SM")
        message = HandsetMessage(
            reference=sid,
            sid=sid,
            account_sid=account_sid,
            direction="from_handset",
            from_number=from_,
            to_number=to,
            body=body,
            media=_encode(media).decode(),
            status="sent",
            handovers=1,
            created_at=self._clock.now(),
        )
        facts = {"id": sid, "to": to, "from": from_, "body": body, "media": media, "media_types": types}
        todo = await self._ledger.add_text(message, _encode(facts).decode())
        if todo is None:
            return None
        # It is brought right here, and by `run` if this process dies meanwhile.
        for failure in await self._play([todo]):
            raise failure
        return message

    async def run(self) -> None:
        """Bring what is due, for ever, whatever goes wrong meanwhile."""
        while True:
            try:
                # In this order: a hand-over of which this read knows nothing wakes the wait after it.
                self._wake.clear()
                self._wakes_at = None
                todos, self._wakes_at, now = await self._ledger.due(MOST_AT_ONCE)
                if todos:
                    await self._play(todos)
                    continue
                pause = POLL_S
                if self._wakes_at is not None:
                    pause = min(POLL_S, max(0, self._wakes_at - now) / SECOND)
                await self._clock.wait(self._wake, pause)
            except Exception:
                _log.exception("sandbox.run_failed")
                await self._clock.sleep(POLL_S)

    async def _play(self, todos: list[Todo]) -> list[Exception]:
        """Bring these. What arrives is struck out, the rest is due again in a while; gives back what went wrong."""
        if len(todos) == 1:
            results = [await self._bring_one(todos[0])]
        else:
            results = await asyncio.gather(*map(self._bring_one, todos))
        brought: list[Todo] = []
        failed: list[Todo] = []
        failures: list[Exception] = []
        for todo, failure in zip(todos, results, strict=True):
            if failure is None:
                brought.append(todo)
                self._failing.discard(todo.sid)
                continue
            failed.append(todo)
            failures.append(failure)
            if todo.sid not in self._failing:  # told once, however often it is tried
                self._failing.add(todo.sid)
                _log.error("sandbox.bring_failed", kind=todo.kind, sid=todo.sid, exc_info=failure)
        if brought:
            await self._ledger.done(brought)
        if failed:
            await self._ledger.postpone(failed, AGAIN_S * SECOND)
        return failures

    async def _bring_one(self, todo: Todo) -> Exception | None:
        try:
            await self._bring(_event(todo))
        except Exception as error:
            return error
        return None


def _event(todo: Todo) -> CarrierEvent:
    facts = _decode(todo.payload)
    if todo.kind == "text":
        media = tuple(media_of(facts))
        return Inbound(NAME, facts["id"], facts["to"], facts["from"], facts["body"], media)
    return Report(NAME, facts["number"], facts["carrier_id"], MessageStatus(facts["status"]))
