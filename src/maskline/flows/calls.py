"""A call, as its carrier asks about it: who is to be dialled, and what became of it. Every answer is TwiML.

The carrier waits on the line: TOTAL_S in all, of which the customer has INTERCEPT_S to let the call on. Then it is
answered with what there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from maskline.clock import Clock
from maskline.domain.call import (
    ACCEPT,
    ACCEPT_KEY,
    DIALLED,
    STATUS,
    WHISPER,
    Address,
    News,
    Place,
    dial,
    is_final,
    place_in,
    read_duration,
    read_status,
    whisper,
)
from maskline.domain.callback import render_intercept
from maskline.domain.ids import inbound_leg_sid, outbound_leg_sid
from maskline.domain.phone import identifier_key
from maskline.domain.twiml import Hangup, Reject, Verb
from maskline.flows.customers import Customers
from maskline.flows.intercepts import BLOCKED, verdict_of
from maskline.flows.messages import carrier_key
from maskline.mint import Mint
from maskline.store.calls import (
    Asking,
    Dialling,
    Ended,
    NewCall,
    Step,
    Strange,
    TurnedAway,
    Verdict,
    accept_call,
    enter_call,
    hang_up_call,
    hear_of_call,
    judge_call,
    turn_away,
)
from maskline.store.engine import Store

TOTAL_S, INTERCEPT_S = 12.0, 8.0


@dataclass(frozen=True, slots=True)
class CallRequest:
    """What a carrier asks at a Service's webhook for calls. `query` is what stood in the address."""

    carrier_account: str
    account_sid: str
    service_sid: str
    query: Mapping[str, str]
    form: Mapping[str, str]

    @property
    def is_first(self) -> bool:
        """Whether it is about a call to one of our numbers, and not about one that was dialled for it."""
        return "Event" not in self.query


class Calls:
    """The flow. `public_url` is the prefix of the webhooks' addresses."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        mint: Mint,
        customers: Customers,
        public_url: str,
        *,
        total_s: float = TOTAL_S,
        intercept_s: float = INTERCEPT_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._customers = customers
        self._accounts = f"{public_url.rstrip('/')}/v1/Accounts"
        self._total_s = total_s
        self._intercept_s = intercept_s

    def webhook(self, account_sid: str, service_sid: str) -> str:
        """Where a carrier asks about the calls to a Service's numbers."""
        return f"{self._accounts}/{account_sid}/Proxy/{service_sid}/Webhooks/Call"

    def read_address(self, url: str, carrier_account: str, form: Mapping[str, str]) -> CallRequest | None:
        """What is asked with `form` at `url`, which is such a webhook's address; None if it is none."""
        place, _, query = url.partition("#")[0].partition("?")
        found = re.fullmatch(f"{re.escape(self._accounts)}/([^/]+)/Proxy/([^/]+)/Webhooks/Call", place)
        if found is None:
            return None
        return CallRequest(carrier_account, found[1], found[2], dict(parse_qsl(query)), form)

    async def answer(self, request: CallRequest) -> list[Verb]:
        """What the carrier is to do now."""
        place, form = place_in(request.service_sid, request.query), request.form
        match request.query.get("Event"):
            case None:
                return await self._enter(request)
            case event if event == STATUS:
                await self._hear(request, place, form.get("CallStatus", ""), form.get("CallDuration", ""))
                return []
            case event if event == DIALLED:
                duration = form.get("DialCallDuration", "")
                await self._hear(request, place, form.get("DialCallStatus", ""), duration)
                return [Hangup()]
            case event if event == WHISPER:
                return whisper(Address(self.webhook(request.account_sid, request.service_sid), place))
            case event if event == ACCEPT and form.get("Digits") == ACCEPT_KEY:
                sid = self._mint.sid("NO")
                goes_on = await self._store.write(accept_call, request.account_sid, place, sid)
                return [] if goes_on else [Hangup()]
            case _:
                return [Hangup()]

    async def _hear(self, request: CallRequest, place: Place, word: str, duration: str) -> None:
        status = read_status(word)
        if status is not None:
            news = News(status, read_duration(duration))
            await self._store.write(hear_of_call, request.account_sid, place, news, self._mint.sid("NO"))

    async def _enter(self, request: CallRequest) -> list[Verb]:
        call = self._new_call(request)
        status = read_status(request.form.get("CallStatus", ""))
        if status is not None and is_final(status):
            await self._store.write(hang_up_call, call)
            return []
        step = await self._store.write(enter_call, call)
        if isinstance(step, Asking):
            step = await self._judge(call, step)
        match step:
            case Strange(code):
                await self._store.write(turn_away, call, code)
                return [Reject()]
            case _:
                return self._carry_out(request, step)

    async def _judge(self, call: NewCall, asking: Asking) -> Step:
        account_url = self._customers.account_url(call.account_sid)
        form = render_intercept(asking.interaction, call.account_sid, account_url, "in-progress")
        status, failure = await verdict_of(self._customers, asking, form, self._intercept_s)
        verdict = Verdict(status != BLOCKED and not (failure and asking.blocks), failure)
        one = asking.interaction
        place = Place(one.service_sid, one.session_sid, one.sid)
        return await self._store.write(judge_call, call, place, verdict)

    def _carry_out(self, request: CallRequest, step: Step) -> list[Verb]:
        match step:
            case Dialling(place, to, caller_id, ring_s, must_accept):
                address = Address(self.webhook(request.account_sid, request.service_sid), place)
                return dial(address, to, caller_id, ring_s, must_accept=must_accept)
            case TurnedAway(busy):
                return [Reject("busy" if busy else "rejected")]
            case Ended() | Asking() | Strange():
                return [Hangup()]

    def _new_call(self, request: CallRequest) -> NewCall:
        sid = self._mint.sid("KI")
        form = request.form
        return NewCall(
            account_sid=request.account_sid,
            service_sid=request.service_sid,
            carrier_key=carrier_key(request.carrier_account, form.get("CallSid", "")),
            to=identifier_key(form.get("To", "")),
            sender=identifier_key(form.get("From", "")),
            sid=sid,
            inbound_sid=inbound_leg_sid(sid, "CA"),
            outbound_sid=outbound_leg_sid(sid, "CA"),
            event_sid=self._mint.sid("NO"),
        )
