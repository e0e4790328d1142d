"""A call from a handset, played to its end: the sandbox does what TwiML says, as a carrier would, in virtual time.

Nothing waits: seconds are counted. Whom it calls is in the books (`note`) before anybody is told of it. What it asks
for TwiML, of us or of a customer's server, it asks through `ask`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from maskline.domain.call import LONGEST_S, Unanswered
from maskline.domain.sandbox import CallAnswer, HandsetCall
from maskline.domain.twiml import (
    Dial,
    Gather,
    Hangup,
    Message,
    Number,
    Pause,
    Play,
    Redirect,
    Reject,
    Say,
    Verb,
    render_twiml,
)
from maskline.mint import Mint

RINGS_S = 30
PICKS_UP_S, IS_BUSY_S, PLAYS_S, CHARACTERS_A_SECOND = 3, 1, 5, 15
MOST_REQUESTS, MOST_NUMBERS = 30, 10

_ENDS = {
    CallAnswer.ANSWER: "completed",
    CallAnswer.BUSY: "busy",
    CallAnswer.NO_ANSWER: "no-answer",
    CallAnswer.FAIL: "failed",
}


class Ask(Protocol):
    """Gets the verbs that a URL answers with. Raises Unanswered."""

    async def __call__(self, url: str, method: str, form: Mapping[str, str]) -> list[Verb]: ...


@dataclass(frozen=True, slots=True)
class CallScript:
    """Who calls whom, and how both sides behave: `digits` are what they key in, at each Gather the next."""

    account_sid: str
    from_: str
    to: str
    answer: CallAnswer
    duration_s: int
    digits: tuple[str, ...]


@dataclass(slots=True)
class _Leg:
    sid: str
    from_: str
    to: str
    status: str = "ringing"
    duration_s: int = 0

    def shown(self) -> dict[str, Any]:
        return {
            "sid": self.sid,
            "from": self.from_,
            "to": self.to,
            "status": self.status,
            "duration": self.duration_s,
        }


class _Over(Exception):
    """A side has hung up."""


@dataclass(slots=True)
class HandsetCalling:
    """One call, to be played once by `run`."""

    script: CallScript
    mint: Mint
    ask: Ask
    note: Callable[[HandsetCall], Awaitable[None]]
    created_at: int
    _s: int = 0
    _requests: int = 0
    _digits: list[str] = field(default_factory=list)
    _verbs: list[dict[str, Any]] = field(default_factory=list)
    _legs: list[_Leg] = field(default_factory=list)
    _caller: _Leg = field(init=False)

    def __post_init__(self) -> None:
        script = self.script
        self._caller = _Leg(self.mint.sid("CA"), script.from_, script.to)
        self._digits = list(script.digits)

    async def run(self, url: str) -> HandsetCall:
        """Play it; `url` is where the number called has its calls answered. Raises what `note` raises."""
        caller = self._caller
        await self.note(self._row())
        try:
            verbs = await self._request(caller, url, "POST", {})
            await self._carry_out(caller, verbs)
        except _Over:
            pass
        except Unanswered as error:
            self._verbs.append({"at": self._s, "side": "caller", "verb": "error", "twiml": str(error)})
        if caller.status in ("ringing", "in-progress"):
            caller.status = "completed"
        caller.duration_s = self._s if caller.status == "completed" else 0
        row = self._row()
        await self.note(row)
        return row

    def _row(self) -> HandsetCall:
        caller = self._caller
        return HandsetCall(
            sid=caller.sid,
            account_sid=self.script.account_sid,
            from_number=caller.from_,
            to_number=caller.to,
            status=caller.status,
            duration_s=caller.duration_s,
            legs=[leg.shown() for leg in self._legs],
            verbs=self._verbs,
            created_at=self.created_at,
        )

    async def _request(self, leg: _Leg, url: str, method: str, more: Mapping[str, str]) -> list[Verb]:
        """What to do now, as `url` says. Raises Unanswered."""
        self._requests += 1
        if self._requests > MOST_REQUESTS:
            raise Unanswered(f"more than {MOST_REQUESTS} requests in one call")
        parent = {} if leg is self._caller else {"ParentCallSid": self._caller.sid}
        form = {
            "AccountSid": self.script.account_sid,
            "ApiVersion": "2010-04-01",
            "CallSid": leg.sid,
            "CallStatus": leg.status,
            "From": leg.from_,
            "Caller": leg.from_,
            "To": leg.to,
            "Called": leg.to,
            "Direction": "outbound-dial" if parent else "inbound",
            **parent,
        }
        return await self.ask(url, method, {**form, **more})

    async def _carry_out(self, leg: _Leg, verbs: list[Verb]) -> None:
        """Do what is said to one side, and what it leads to, to the end of what is said. Raises _Over, Unanswered."""
        following: list[Verb] | None = verbs
        while following is not None:
            following = await self._follow(leg, following)

    async def _follow(self, leg: _Leg, verbs: list[Verb]) -> list[Verb] | None:
        """Do these; gives others if they hand over to them."""
        for verb in verbs:
            self._did(leg, verb)
            match verb:
                case Say() | Play() | Pause():
                    self._hear(leg, verb)
                case Gather():
                    keys = self._gather(leg, verb)
                    if keys is not None:
                        return await self._request(leg, verb.action or "", verb.method, {"Digits": keys})
                case Redirect(url, method):
                    return await self._request(leg, url, method, {})
                case Dial() if leg is self._caller:
                    result = await self._dial(verb)
                    if verb.action:
                        return await self._request(leg, verb.action, verb.method, result)
                case Reject(reason):
                    if leg.status == "ringing":
                        leg.status = "busy" if reason == "busy" else "no-answer"
                    raise _Over
                case Hangup():
                    raise _Over
                case Dial() | Message():
                    raise Unanswered(f"<{type(verb).__name__}> has no place here")
        return None

    def _did(self, leg: _Leg, verb: Verb) -> None:
        side = "caller" if leg is self._caller else "called"
        said = render_twiml([verb]).decode().partition("<Response>")[2].removesuffix("</Response>")
        self._verbs.append({"at": self._s, "side": side, "verb": type(verb).__name__, "twiml": said})

    def _hear(self, leg: _Leg, verb: Say | Play | Pause) -> None:
        if leg.status == "ringing" and not isinstance(verb, Pause):
            leg.status = "in-progress"
        match verb:
            case Say(text=text):
                self._s += 1 + len(text) // CHARACTERS_A_SECOND
            case Play():
                self._s += PLAYS_S
            case Pause(length_s):
                self._s += length_s

    def _gather(self, leg: _Leg, verb: Gather) -> str | None:
        """The keys of whoever hears this; None if there are none and nobody wants to know that."""
        leg.status = "in-progress"
        if not self._digits:
            for prompt in verb.prompts:
                self._hear(leg, prompt)
            self._s += verb.timeout_s
            return "" if verb.action_on_empty_result else None
        keys = self._digits.pop(0)
        if verb.finish_on_key:
            keys = keys.partition(verb.finish_on_key)[0]
        keys = keys[: verb.num_digits]
        self._s += max(1, len(keys))
        return keys

    async def _dial(self, dial: Dial) -> dict[str, str]:
        """Call all numbers, each of which would do as the script says. Gives what the caller's side learns of it."""
        self._caller.status = "in-progress"
        numbers = dial.numbers[:MOST_NUMBERS]
        result: dict[str, str] = {}
        for at_once in [(number,) for number in numbers] if dial.sequential else [numbers]:
            result = await self._try(dial, at_once)
            if result["DialCallStatus"] == "completed":
                break
        return result

    async def _try(self, dial: Dial, numbers: Sequence[Number]) -> dict[str, str]:
        """Call these at once; the first one does as the script says."""
        legs = [
            _Leg(self.mint.sid("CA"), dial.caller_id or self._caller.from_, number.number, "initiated")
            for number in numbers
        ]
        self._legs += legs
        await self.note(self._row())
        for status in ("initiated", "ringing"):
            for leg, number in zip(legs, numbers, strict=True):
                leg.status = status
                await self._tell(leg, number, status, {})
        first, answer = legs[0], self.script.answer
        rings_s = dial.timeout_s or RINGS_S
        if answer is CallAnswer.ANSWER and rings_s < PICKS_UP_S:
            answer = CallAnswer.NO_ANSWER
        self._s += {
            CallAnswer.ANSWER: PICKS_UP_S,
            CallAnswer.BUSY: IS_BUSY_S,
            CallAnswer.NO_ANSWER: rings_s,
            CallAnswer.FAIL: 0,
        }[answer]
        bridged = False
        if answer is CallAnswer.ANSWER:
            bridged = await self._talk(dial, first, numbers[0])
        for leg, number in zip(legs, numbers, strict=True):
            leg.status = _ENDS[answer] if leg is first or answer is not CallAnswer.ANSWER else "canceled"
            more = {"CallDuration": str(leg.duration_s)} if leg.status == "completed" else {}
            await self._tell(leg, number, "completed", more)
        result = {
            "DialCallSid": first.sid,
            "DialCallStatus": first.status,
            "DialBridged": str(bridged).lower(),
        }
        if first.status == "completed":
            result["DialCallDuration"] = str(first.duration_s)
        return result

    async def _talk(self, dial: Dial, leg: _Leg, number: Number) -> bool:
        """Somebody has answered: they are joined, unless the one who answered hangs up before."""
        leg.status = "in-progress"
        await self._tell(leg, number, "answered", {})
        began = self._s
        bridged = True
        try:
            if number.url:
                verbs = await self._request(leg, number.url, number.method, {})
                await self._carry_out(leg, verbs)
        except (_Over, Unanswered):
            bridged = False
        if bridged:
            self._s += min(self.script.duration_s, dial.time_limit_s or LONGEST_S)
        leg.duration_s = self._s - began
        return bridged

    async def _tell(self, leg: _Leg, number: Number, event: str, more: Mapping[str, str]) -> None:
        if number.status_callback and event in number.status_callback_event:
            try:
                await self._request(leg, number.status_callback, number.status_callback_method, more)
            except Unanswered:  # whoever does not listen is not told
                return
