"""The OutOfSessionCallbackUrl: the customer is asked what to do with a message that no Session takes.

They answer with TwiML, which is carried out, or with JSON, which makes a Session that then takes the message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.channel import parse_channel
from maskline.domain.http import Answer, HttpError
from maskline.domain.ids import ParticipantSid, ServiceSid, SessionSid, instant_of
from maskline.domain.model import Instant, Mode, Session, SessionStatus
from maskline.domain.phone import identifier_key, mask, parse_phone
from maskline.domain.problems import Code, Problem
from maskline.domain.stranger import AutoCreate, read_answer, render_message_form
from maskline.domain.text import MOST_BODY
from maskline.domain.twiml import Message, Redirect, TwimlError, Verb, resolve
from maskline.domain.webhook_url import redact
from maskline.flows.customers import Customers
from maskline.flows.lanes import AGAIN_S, LaneLoop, keep
from maskline.flows.messages import encode_data, prefix_of
from maskline.flows.sessions import Sessions, Wanted
from maskline.mint import Mint
from maskline.store.engine import Store, StoreUnavailable, Tx, Wake
from maskline.store.sessionless import Reply
from maskline.store.strangers import (
    TOPIC,
    Settlement,
    Stranger,
    claim_strangers,
    is_routed,
    refuse_if_gone,
    settle_strangers,
)

MOST_REQUESTS = 10
"""How often the customer is asked about one message: an answer may lead on to another address."""
MOST_ANSWERS = 100
"""How many messages they may answer it with: they are written down together, while everybody else waits."""
EVENTS = 64

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StrangerRequest:
    """One request about a stranger. `sid` tells a repeated one, each address that is led to has its own."""

    sid: str
    account_sid: str
    url: str
    token_sealed: str


@dataclass(slots=True)
class Instructions:
    """What the customer wants done, as far as it is known."""

    replies: list[Reply] = field(default_factory=list)
    events: list[tuple[Code, str]] = field(default_factory=list)
    route: bool = False
    answered: bool = True


class Strangers:
    """The flow of messages."""

    def __init__(
        self, store: Store, clock: Clock, mint: Mint, customers: Customers, validity_us: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._customers = customers
        self._sessions = Sessions(store, clock)
        self._validity_us = validity_us

    def lanes(self, run: str) -> LaneLoop[Stranger]:
        return LaneLoop(
            self._store,
            self._clock,
            run,
            topic=TOPIC,
            wake=Wake.ASKS,
            claim=claim_strangers,
            work=self.ask,
            first_pause_s=0,  # the sender waits
            new_events=lambda: [self._mint.sid("NO") for _ in range(EVENTS)],
        )

    async def ask(self, stranger: Stranger, run: str) -> bool:
        """Ask about a message that was claimed for this run, and do what is said. Returns whether anything was.

        While the database cannot do what is said, the customer is asked again, under the same token.
        """
        while True:
            try:
                instructions = await self._ask(stranger)
            except StoreUnavailable as error:
                _log.warning("stranger.store_unavailable", message=stranger.sid, error=str(error))
                await self._clock.sleep(AGAIN_S)
                continue
            except Exception:
                _log.exception("stranger.defect", message=stranger.sid)
                instructions = Instructions(
                    events=[(problems.OUT_OF_SESSION_FAILED, "defect")], answered=False
                )
            break
        settlement = Settlement(
            id=stranger.id,
            run=run,
            sid=stranger.sid,
            route=instructions.route,
            validity_us=self._validity_us,
            event_sids=[self._mint.sid("NO") for _ in range(len(instructions.events) + 2)],
            replies=instructions.replies,
            events=instructions.events,
        )
        await keep(self._clock, lambda: self._store.batch(settle_strangers, settlement))
        return instructions.answered

    async def _ask(self, stranger: Stranger) -> Instructions:
        instructions = Instructions()
        form = render_message_form(
            stranger.account_sid,
            stranger.sid,
            stranger.sender,
            stranger.number,
            stranger.data,
            stranger.last,
        )
        to: Redirect | None = Redirect(stranger.url)
        for number in range(MOST_REQUESTS):
            if to is None:
                return instructions
            sid = stranger.sid if number == 0 else f"{stranger.sid} {number}"
            request = StrangerRequest(sid, stranger.account_sid, to.url, stranger.token_sealed)
            try:
                send = self._customers.get if to.method == "GET" else self._customers.post
                answer = await send(request, form)
            except HttpError as error:
                return self._failed(instructions, to.url, str(error))
            if not 200 <= answer.status < 300:
                return self._failed(instructions, to.url, str(answer.status))
            to = await self._do(stranger, instructions, to.url, answer)
        instructions.events.append((problems.TWIML_INVALID, f"more than {MOST_REQUESTS} redirects"))
        return instructions

    def _failed(self, instructions: Instructions, url: str, why: str) -> Instructions:
        instructions.events.append((problems.OUT_OF_SESSION_FAILED, f"{redact(url)} ({why})"))
        instructions.answered = False
        return instructions

    async def _do(
        self, stranger: Stranger, instructions: Instructions, url: str, answer: Answer
    ) -> Redirect | None:
        """Carry an answer out as far as it goes. Returns where it leads on to, if it does."""
        try:
            wanted = read_answer(answer.content_type, answer.body)
            if isinstance(wanted, AutoCreate):
                instructions.route = True
                await self._create(stranger, wanted)
            elif wanted is not None:
                return await self._run(stranger, instructions, url, resolve(wanted, url))
        except TwimlError as error:
            instructions.events.append((error.code, f"{redact(url)}, {error.detail}"))
        except Problem as problem:
            # Without the Session the sender is treated as if nobody had been asked; unless they have one by now.
            instructions.events += [(problem.code, problem.detail), (stranger.code, "")]
        return None

    async def _run(
        self, stranger: Stranger, instructions: Instructions, url: str, verbs: Sequence[Verb]
    ) -> Redirect | None:
        for verb in verbs:
            match verb:
                case Message() if len(instructions.replies) + len(instructions.events) < MOST_ANSWERS:
                    self._reply(stranger, instructions, verb)
                case Message():
                    said = f"more than {MOST_ANSWERS} <Message>"
                    instructions.events.append((problems.TWIML_INVALID, said))
                    return None
                case Redirect():
                    own = self._customers.webhook_url(stranger.account_sid, stranger.service_sid, "Message")
                    if verb.url == own:
                        return await self._hand_back(stranger, instructions)
                    return Redirect(verb.url or url, verb.method)
                case _:
                    name = type(verb).__name__
                    instructions.events.append(
                        (problems.TWIML_INVALID, f"<{name}> is not carried out for a message")
                    )
                    return None
        return None

    def _reply(self, stranger: Stranger, instructions: Instructions, message: Message) -> None:
        if len(message.body) > MOST_BODY:
            instructions.events.append((problems.BODY_TOO_LONG, "<Message>"))
            return
        to = identifier_key(message.to) if message.to else stranger.sender
        from_ = identifier_key(message.from_) if message.from_ else stranger.number
        if to != stranger.sender and parse_phone(to) is None and parse_channel(to) is None:
            instructions.events.append(
                (problems.TWIML_INVALID, f"<Message> to {mask(to)}, which is no number")
            )
            return
        instructions.replies.append(
            Reply(
                sid=self._mint.sid("KI"),
                from_=from_,
                to=to,
                data=encode_data(message.body, message.media),
                prefix=prefix_of(message.media),
            )
        )

    async def _create(self, stranger: Stranger, wanted: AutoCreate) -> None:
        await auto_create(
            self._sessions,
            self._mint,
            wanted,
            account_sid=stranger.account_sid,
            service_sid=stranger.service_sid,
            sender=stranger.sender,
            number=stranger.number,
            modes=(Mode.VOICE_AND_MESSAGE, Mode.MESSAGE_ONLY),
            guard=partial(refuse_if_gone, row_id=stranger.id, sid=stranger.sid),
        )

    async def _hand_back(self, stranger: Stranger, instructions: Instructions) -> Redirect | None:
        """The message enters afresh, as if it came only now: a Session takes it by now, or it is asked about again."""
        instructions.route = await self._store.read(
            is_routed, stranger.service_sid, stranger.number, stranger.sender
        )
        return None if instructions.route else Redirect(stranger.url)


async def auto_create(
    sessions: Sessions,
    mint: Mint,
    wanted: AutoCreate,
    *,
    account_sid: str,
    service_sid: str,
    sender: str,
    number: str,
    modes: Sequence[Mode],
    guard: Callable[[Tx], None] | None = None,
) -> None:
    """Make the Session, the sender (or caller) on the number that they wrote to (or called), reserved or not.

    `modes`: what it may be if the customer does not say, the best first. `guard` may refuse it. Raises Problem.
    """
    people = [_wanted(sender, number, own=True), _wanted(wanted.identifier, wanted.proxy_identifier)]
    failure: Problem | None = None
    for mode in (wanted.mode,) if wanted.mode is not None else modes:
        sid = mint.sid("KC")
        at = Instant(instant_of(sid))
        session = Session(
            service_sid=ServiceSid(service_sid),
            sid=SessionSid(sid),
            unique_name=wanted.unique_name,
            status=SessionStatus.OPEN,
            closed_reason=None,
            mode=mode,
            ttl=wanted.ttl or 0,
            expiry_at=wanted.expiry_at,
            started_at=None,
            ended_at=None,
            last_interaction_at=None,
            active_from_at=at,
            created_at=at,
            updated_at=at,
        )
        them = [replace(one, sid=ParticipantSid(mint.sid("KP"))) for one in people]
        try:
            await sessions.create(
                account_sid, session, them, None, own_ttl=wanted.ttl is not None, guard=guard
            )
        except Problem as problem:
            failure = problem
        else:
            return
    assert failure is not None
    raise failure


def _wanted(identifier: str, proxy_identifier: str | None, *, own: bool = False) -> Wanted:
    """A participant. Whoever writes needs no number that is valid: they have it. Raises 80404, 80701."""
    phone = parse_phone(identifier, possible=True)
    if phone is None and not own and parse_channel(identifier, possible=True) is None:
        raise Problem(problems.IDENTIFIER_INVALID, f"participantIdentifier {mask(identifier)}")
    if phone is None and proxy_identifier is None:
        raise Problem(
            problems.PARAMETER_INVALID,
            "participantProxyIdentifier (the sender) is required with a channel address",
        )
    return Wanted(
        sid=ParticipantSid(""),
        identifier=identifier,
        phone=phone,
        valid=own or parse_phone(identifier) is not None or parse_channel(identifier) is not None,
        friendly_name=None,
        proxy_identifier=identifier_key(proxy_identifier) if proxy_identifier else None,
        proxy_identifier_sid=None,
    )
