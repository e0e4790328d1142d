"""A call, as its carrier asks about it: who is to be dialled, and what became of it. Every answer is TwiML.

The carrier waits on the line: TOTAL_S in all, of which the customer has INTERCEPT_S to let the call on. Then it is
answered with what there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

import structlog

from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.call import (
    ACCEPT_KEY,
    Address,
    Event,
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
from maskline.domain.http import HttpError
from maskline.domain.ids import inbound_leg_sid, outbound_leg_sid
from maskline.domain.model import Mode
from maskline.domain.phone import identifier_key, is_caller
from maskline.domain.problems import Code, Problem
from maskline.domain.route import OutOfSession
from maskline.domain.stranger import AutoCreate, read_answer, render_call_form
from maskline.domain.twiml import Dial, Hangup, Message, Reject, TwimlError, Verb, resolve
from maskline.domain.webhook_url import redact
from maskline.flows.customers import Customers
from maskline.flows.intercepts import BLOCKED, verdict_of
from maskline.flows.messages import carrier_key
from maskline.flows.sessions import Sessions
from maskline.flows.strangers import auto_create
from maskline.mint import Mint
from maskline.store.call_course import NewCall, accept_call, hang_up_call, hear_of_call
from maskline.store.calls import (
    Asking,
    Caller,
    Dialling,
    Ended,
    Step,
    TurnedAway,
    Verdict,
    enter_call,
    find_caller,
    find_settings,
    judge_call,
    route_call,
    turn_away,
)
from maskline.store.engine import Store
from maskline.store.webhooks import find_listed

TOTAL_S, INTERCEPT_S = 12.0, 8.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CallRequest:
    """What a carrier asks about a call. `query` is what stood in the address. `webhook` is where it is to ask further;
    empty: at the Service's webhook for calls.
    """

    carrier_account: str
    account_sid: str
    service_sid: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    webhook: str = ""

    @property
    def is_first(self) -> bool:
        """Whether it is about a call to one of our numbers, and not about one that was dialled for it."""
        return "Event" not in self.query


class _Unusable(Exception):
    """Nothing can be done with what a customer's server said. `no_session`: it wanted a Session, which is not made."""

    def __init__(self, code: Code, detail: str, *, no_session: bool = False) -> None:
        super().__init__(code.number, detail)
        self.code = code
        self.detail = detail
        self._no_session = no_session

    def more(self, code: Code) -> list[tuple[Code, str]]:
        """What the call ends as besides, which is `code` where no Session is made."""
        return [(code, "")] if self._no_session else []


def _of_a_call(verbs: list[Verb]) -> list[Verb]:
    """The verbs, if a call can do them. Raises TwimlError."""
    if any(isinstance(verb, Message) for verb in verbs):
        raise TwimlError(problems.TWIML_INVALID, "<Message> is not carried out for a call")
    return verbs


class Calls:
    """The flow."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        mint: Mint,
        customers: Customers,
        *,
        total_s: float = TOTAL_S,
        intercept_s: float = INTERCEPT_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._customers = customers
        self._sessions = Sessions(store, clock)
        self._total_s = total_s
        self._intercept_s = intercept_s

    def webhook(self, account_sid: str, service_sid: str) -> str:
        """Where a carrier asks about the calls to a Service's numbers."""
        return self._customers.webhook_url(account_sid, service_sid, "Call")

    def read_address(self, url: str, carrier_account: str, form: Mapping[str, str]) -> CallRequest | None:
        """What is asked with `form` at `url`, which is such a webhook's address; None if it is none."""
        place, _, query = url.partition("#")[0].partition("?")
        found = re.search("/Accounts/([^/]+)/Proxy/([^/]+)/Webhooks/Call$", place)
        if found is None or place != self.webhook(found[1], found[2]):
            return None
        return CallRequest(carrier_account, found[1], found[2], dict(parse_qsl(query)), form)

    async def check_callers(self, account_sid: str, verbs: Iterable[Verb]) -> None:
        """See that nobody is called under the number of another account, which its carrier may well let through.
        Raises TwimlError.
        """
        callers = {verb.caller_id for verb in verbs if isinstance(verb, Dial) and verb.caller_id}
        for caller in callers:
            for spelt in (identifier_key(caller), f"+{re.sub('[^0-9]', '', caller)}"):
                listed = await self._store.read(find_listed, spelt)
                if listed is not None and listed.account_sid != account_sid:
                    raise TwimlError(
                        problems.TWIML_INVALID, "callerId of <Dial> is a number of another account"
                    )

    async def answer(self, request: CallRequest) -> list[Verb]:
        """What the carrier is to do now."""
        place, form = place_in(request.service_sid, request.query), request.form
        match request.query.get("Event"):
            case None:
                return await self._enter(request)
            case Event.STATUS:
                await self._hear(request, place, form.get("CallStatus", ""), form.get("CallDuration", ""))
                return []
            case Event.DIALLED:
                duration = form.get("DialCallDuration", "")
                await self._hear(request, place, form.get("DialCallStatus", ""), duration)
                return [Hangup()]
            case Event.WHISPER:
                settings = await self._store.read(find_settings, request.service_sid)
                address = self._address(request, place)
                return whisper(address, settings) if settings is not None else [Hangup()]
            case Event.ACCEPT if form.get("Digits") == ACCEPT_KEY:
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
        ends_at = self._clock.uptime() + self._total_s
        step = await self._store.write(enter_call, call)
        if isinstance(step, OutOfSession):
            found = await self._ask(request, call, step.code, ends_at)
            if isinstance(found, list):
                return found
            step = found
        if isinstance(step, Asking):
            step = await self._judge(call, step, ends_at)
        return self._carry_out(request, step)

    async def _ask(
        self, request: CallRequest, call: NewCall, code: Code, ends_at: float
    ) -> list[Verb] | Step:
        """What the customer wants done with a call that no Session takes: verbs, or what a Session made for it does."""
        caller = await self._store.read(find_caller, call)
        if caller is None:
            return await self._turn_away(call, (code, ""))
        try:
            wanted = await self._wanted(request, call, caller, ends_at)
        except _Unusable as unusable:
            return await self._turn_away(call, (unusable.code, unusable.detail), *unusable.more(code))
        return await self._create(call, code, wanted) if isinstance(wanted, AutoCreate) else wanted

    async def _wanted(
        self, request: CallRequest, call: NewCall, caller: Caller, ends_at: float
    ) -> list[Verb] | AutoCreate:
        """What the customer's server says. Raises _Unusable."""
        where, failed = redact(caller.url), problems.OUT_OF_SESSION_FAILED
        form = render_call_form(call.account_sid, call.sender, call.to, request.form, caller.last)
        try:
            answer = await self._customers.post(caller, form, ends_at - self._clock.uptime())
            if not 200 <= answer.status < 300:
                raise _Unusable(failed, f"{where} ({answer.status})")
            wanted = read_answer(answer.content_type, answer.body)
            if wanted is None:
                raise _Unusable(problems.UNKNOWN_SCENARIO, f"{where} did not say what to do")
            if isinstance(wanted, AutoCreate):
                return wanted
            verbs = _of_a_call(resolve(wanted, caller.url))
            await self.check_callers(call.account_sid, verbs)
            return verbs
        except HttpError as error:
            raise _Unusable(failed, f"{where} ({error})") from None
        except TwimlError as error:
            raise _Unusable(error.code, f"{where}, {error.detail}") from None
        except Problem as problem:
            raise _Unusable(problem.code, problem.detail, no_session=True) from None
        except _Unusable:
            raise
        except Exception:
            _log.exception("caller.defect", call=call.inbound_sid)
            raise _Unusable(failed, "defect") from None

    async def _create(self, call: NewCall, code: Code, wanted: AutoCreate) -> Step:
        """Make a Session for the call, and have it take it. Where it cannot be made, another may be there by now."""
        events: list[tuple[Code, str]] = []
        try:
            if not is_caller(call.sender):  # whoever hides theirs next would be taken for the same
                raise Problem(problems.IDENTIFIER_INVALID, "the caller hides their number")
            await auto_create(
                self._sessions,
                self._mint,
                wanted,
                account_sid=call.account_sid,
                service_sid=call.service_sid,
                sender=call.sender,
                number=call.to,
                modes=(Mode.VOICE_AND_MESSAGE, Mode.VOICE_ONLY),
            )
        except Problem as problem:
            events.append((problem.code, problem.detail))
        step = await self._store.write(route_call, call)
        return await self._turn_away(call, *events, (code, "")) if isinstance(step, OutOfSession) else step

    async def _turn_away(self, call: NewCall, *events: tuple[Code, str]) -> Step:
        sids = [self._mint.sid("NO") for _ in events]
        return await self._store.write(turn_away, call, list(events), sids)

    async def _judge(self, call: NewCall, asking: Asking, ends_at: float) -> Step:
        account_url = self._customers.account_url(call.account_sid)
        form = render_intercept(asking.interaction, call.account_sid, account_url, "in-progress")
        within_s = min(self._intercept_s, ends_at - self._clock.uptime())
        status, failure = await verdict_of(self._customers, asking, form, within_s)
        verdict = Verdict(status != BLOCKED and not (failure and asking.blocks), failure)
        one = asking.interaction
        place = Place(one.service_sid, one.session_sid, one.sid)
        return await self._store.write(judge_call, call, place, verdict)

    def _carry_out(self, request: CallRequest, step: Step) -> list[Verb]:
        match step:
            case Dialling(place, to, caller_id, ring_s, must_accept):
                address = self._address(request, place)
                return dial(address, to, caller_id, ring_s, must_accept=must_accept)
            case TurnedAway() if request.form.get("CallStatus") == "in-progress":
                return [Hangup()]  # what has been answered cannot be refused
            case TurnedAway(busy):
                return [Reject("busy" if busy else "rejected")]
            case Ended() | Asking() | OutOfSession():
                return [Hangup()]

    def _address(self, request: CallRequest, place: Place) -> Address:
        webhook = request.webhook or self.webhook(request.account_sid, request.service_sid)
        return Address(webhook, place)

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
