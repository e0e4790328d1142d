"""A carrier that does what a test tells it, and remembers what it was handed. A peer, not a double of ours."""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from maskline.carriers.base import Accepted, Capabilities, Carrier, CarrierError, Kind, Outgoing

UNREACHABLE = CarrierError(Kind.UNREACHABLE)
THROTTLED = CarrierError(Kind.THROTTLED)
REJECTED = CarrierError(Kind.REJECTED)
OPTED_OUT = CarrierError(Kind.OPTED_OUT)
MISCONFIGURED = CarrierError(Kind.MISCONFIGURED)
UNCERTAIN = CarrierError(Kind.UNCERTAIN)
GARBLED = Accepted(None)
"""The carrier said yes, but under no id."""


def throttled_for(seconds: float) -> CarrierError:
    return CarrierError(Kind.THROTTLED, retry_after_s=seconds)


class Gate:
    """A step that stalls until the test lets it go on, with the answer that it then gives."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def release(self, step: Any = None) -> None:
        if not self._answer.done():
            self._answer.set_result(step)

    async def wait(self) -> Any:
        return await asyncio.shield(self._answer)


class ScriptedCarrier(Carrier):
    """A step is: None (take the message), an `Accepted`, an exception to raise, or a `Gate`."""

    def __init__(self, name: str = "scripted") -> None:
        self.name = name
        self.can = Capabilities()
        self.broken: Exception | None = None
        """What asking for the capabilities raises, if anything."""
        self.sent: list[Outgoing] = []
        """Every hand-over, in the order in which they came."""
        self.delivered: list[Outgoing] = []
        """Those that it took, in the order in which it took them."""
        self.asked: list[Outgoing] = []
        self.shut = self.key = ""
        """How the addresses of media begin that it opens, and how they begin then."""
        self.in_flight = 0
        self.most_in_flight = 0
        self.gates: list[Gate] = []
        self._scripts: dict[str, deque[Any]] = {}
        self._always: Any = None
        self._answers: deque[Any] = deque()

    def script(self, to: str, *steps: Any) -> None:
        """What the next sends to this number meet; afterwards they are taken."""
        self._scripts.setdefault(to, deque()).extend(steps)

    def always(self, step: Any) -> None:
        """What every send meets for which nothing else is scripted."""
        self._always = step

    def answers(self, *steps: Any) -> None:
        """What the next look-ups meet: an `Accepted`, a list of ids, None (it finds none), an exception or a `Gate`."""
        self._answers.extend(steps)

    def gate(self, to: str) -> Gate:
        """Let the next send to this number stall, and give what releases it."""
        gate = Gate()
        self.gates.append(gate)
        self.script(to, gate)
        return gate

    def mend(self) -> None:
        """Forget every script, and let go whatever stalls: from now on everything is taken."""
        self._scripts.clear()
        self._always = None
        for gate in self.gates:
            gate.release()

    def able(self, **capabilities: bool) -> None:
        self.can = replace(self.can, **capabilities)

    def bodies(self, to: str) -> list[str]:
        """What was handed over for this number, repeats included."""
        return [message.body for message in self.sent if message.to == to]

    @staticmethod
    def id_of(message_sid: str) -> str:
        """The carrier's own id of a message that it takes."""
        return f"their-{message_sid}"

    def fetchable(self, url: str) -> str:
        return url.replace(self.shut, self.key) if self.shut else url

    async def capabilities(self, account_sid: str) -> Capabilities:
        if self.broken is not None:
            raise self.broken
        return self.can

    async def send(self, message: Outgoing) -> Accepted:
        self.sent.append(message)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            script = self._scripts.get(message.to)
            step = script.popleft() if script else self._always
            accepted = await _play(step)
            self.delivered.append(message)
            return accepted or Accepted(self.id_of(message.sid))
        finally:
            self.in_flight -= 1

    async def look_up(self, message: Outgoing) -> list[str]:
        self.asked.append(message)
        found = await _play(self._answers.popleft()) if self._answers else None
        if isinstance(found, Accepted):
            return [found.carrier_id] if found.carrier_id else []
        return found or []


async def _play(step: Any) -> Accepted | None:
    while isinstance(step, Gate):
        step = await step.wait()
    if isinstance(step, BaseException):
        # A fresh one each time: an exception that is raised twice grows its traceback and its context.
        raise type(step)(*step.args, **_extra(step))
    return step


def _extra(error: BaseException) -> dict[str, Any]:
    return {"retry_after_s": error.retry_after_s} if isinstance(error, CarrierError) else {}


def take_all(messages: Iterable[Outgoing]) -> list[str]:
    return [message.body for message in messages]
