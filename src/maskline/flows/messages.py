"""A message from the API's word to its outcome: accepted (T1), started (T2), handed over, recorded (T3).

Between two transactions the process may die at any point. Before T2 nothing was sent; between T2 and T3 nobody can
know, and the row says so; after T3 it is over. See ARCHITECTURE.md, path A.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import structlog

from maskline.carriers.base import Accepted, Capabilities, Carrier, CarrierError, Kind, Outgoing, is_id
from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.ids import (
    InteractionSid,
    ParticipantSid,
    ServiceSid,
    SessionSid,
    instant_of,
    outbound_leg_sid,
)
from maskline.domain.interaction import MessageStatus
from maskline.domain.media import Medium, with_links
from maskline.domain.model import SECOND, Instant, Interaction, Leg
from maskline.domain.optout import OPTOUT_PREFIX
from maskline.domain.phone import dial_form
from maskline.domain.problems import Code
from maskline.domain.retry import next_send_at
from maskline.domain.text import MOST_BODY
from maskline.flows.health import Health
from maskline.flows.media import MediaRelay
from maskline.flows.silence import Silence
from maskline.flows.waiting import Waiters
from maskline.metrics import CARRIER_DOWN, CARRIER_PAUSED, HANDOVERS, Histogram, Sample
from maskline.mint import Mint
from maskline.store.accept import NewMessage, accept_messages
from maskline.store.carrier_ids import find_carrier_ids
from maskline.store.engine import Store, StoreUnavailable, Tx
from maskline.store.idempotency import Key
from maskline.store.interactions import load_interaction
from maskline.store.record import Fate, MessagePlace, Outcome, record_outcomes
from maskline.store.send_rows import Started
from maskline.store.services import load_service

SEND_DEADLINE_S = 10.0
MARK_LIFE_S = 5.0
ASK_AGAIN_S = 5
ZERO = Instant(0)

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Data(msgspec.Struct, omit_defaults=True):
    """A message as an Interaction's `data` shows it, and as its outbox row keeps it for the carrier."""

    body: str
    media: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    """What each is; only of what a carrier brought. What the API sends is for others to look at."""


_decode_data = msgspec.json.Decoder(Data).decode


def encode_data(body: str, media: tuple[str, ...] = (), media_types: tuple[str, ...] = ()) -> str:
    """Compact JSON, non-ASCII kept."""
    return _encode(Data(body, media, media_types)).decode()


def prefix_of(media: Sequence[Any]) -> str:
    """What the SIDs of a message's legs begin with, as Twilio's do."""
    return "MM" if media else "SM"


@dataclass(frozen=True, slots=True)
class SendOptions:
    """The operator's settings: how long a POST waits for the carrier, and how long a message may wait to be sent."""

    wait_s: float
    validity_us: int


@dataclass(slots=True)
class Made:
    """The answer to a create: the Interaction as far as it got, or as it is now if its key had made it before."""

    interaction: Interaction
    replayed: bool


_Notice = tuple[str, Code] | None


class Messages:
    """The flow. `carriers` are the accounts that messages can be handed to from this process; empty: none is."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        mint: Mint,
        carriers: Mapping[str, Carrier],
        options: SendOptions,
        relay: MediaRelay,
        *,
        deadline_s: float = SEND_DEADLINE_S,
        silence: Silence | None = None,
        health: Health | None = None,
    ) -> None:
        self.carriers = carriers
        self.health = health or Health(store, clock, mint)
        self._store = store
        self._clock = clock
        self._mint = mint
        self._options = options
        self._relay = relay
        self._deadline_s = deadline_s
        self._silence = silence
        self.waiters = Waiters(store, clock, options.wait_s)
        self._handovers = {(name, fate): Histogram(HANDOVERS) for name in carriers for fate in Fate}

    # T1

    async def create(
        self,
        account_sid: str,
        service_sid: str,
        session_sid: str,
        participant_sid: str,
        body: str,
        key: Key | None,
        media: tuple[str, ...] = (),
    ) -> Made:
        """Accept a message to one Participant, and wait a moment for the carrier's first answer.

        Raises 20404, 80607, 80910, 20409, 20503.
        """
        sid = self._mint.sid("KI")
        item = NewMessage(
            account_sid=account_sid,
            service_sid=service_sid,
            session_sid=session_sid,
            participant_sid=participant_sid,
            sid=sid,
            message_sid=outbound_leg_sid(sid, prefix_of(media)),
            data=encode_data(body, media),
            validity_us=self._options.validity_us,
            key=key,
        )
        # Where no account takes anything, or none is here, there is nothing to wait for.
        may_wait = self._options.wait_s > 0 and any(self.health.slots(name, 1) for name in self.carriers)
        waiter = self.waiters.expect(sid) if may_wait else None
        try:
            accepted = await self._store.batch(accept_messages, item)
            if accepted.replayed:
                stored = await self._store.read(
                    _load_own, account_sid, service_sid, session_sid, accepted.sid, participant_sid
                )
                return Made(stored, replayed=True)
            outcome = None
            if waiter is not None:
                place = MessagePlace(service_sid, session_sid, sid, participant_sid, accepted.seq)
                outcome = await self.waiters.wait(waiter, place)
        finally:
            if waiter is not None:
                self.waiters.forget(waiter)
        status, updated_at = outcome or (int(MessageStatus.QUEUED), accepted.at)
        participant = ParticipantSid(participant_sid)
        interaction = Interaction(
            service_sid=ServiceSid(service_sid),
            session_sid=SessionSid(session_sid),
            sid=InteractionSid(sid),
            participant_sid=participant,
            type="message",
            data=accepted.data,
            inbound=None,
            outbound=Leg(participant, item.message_sid, status),
            created_at=Instant(instant_of(sid)),
            updated_at=Instant(updated_at),
        )
        return Made(interaction, replayed=False)

    def measures(self) -> Iterator[Sample]:
        """What became of hand-overs, and who is paused or down."""
        for (name, fate), histogram in self._handovers.items():
            yield HANDOVERS, (name, fate.value), histogram
        for name in self.carriers:
            trouble = self.health.trouble(name)
            yield CARRIER_PAUSED, (name,), trouble is not None and trouble.refused
            yield CARRIER_DOWN, (name,), trouble is not None

    # Between T2 and T3

    async def hand_over(self, row: Started, mark: float) -> Outcome:
        """Hand a started message to its carrier, once, and say what became of it. Raises nothing.

        `mark` is the uptime when it was started: a process that was frozen since then must not send what another
        may have judged meanwhile.
        """
        began = self._clock.uptime()
        outcome = Outcome(
            id=row.id,
            run="",
            account_sid=row.account_sid,
            service_sid=row.service_sid,
            session_sid=row.session_sid,
            interaction_sid=row.interaction_sid,
            fate=Fate.UNCERTAIN,
            event_sid=self._mint.sid("NO"),
        )
        try:
            await self._hand_over(row, began - mark, outcome)
        except Exception:
            # A defect of ours. What was known until then stands; without it the row would stay started for ever.
            _log.exception("send.defect", carrier=row.carrier_account, message=row.message_sid)
        histogram = self._handovers.get((row.carrier_account, outcome.fate))
        if histogram is not None:  # else what an earlier run had this account for
            histogram.note(self._clock.uptime() - began)
        return outcome

    async def _hand_over(self, row: Started, age_s: float, outcome: Outcome) -> None:
        carrier = self.carriers.get(row.carrier_account)
        if carrier is None:  # left behind by a run that had this account; nobody can be asked
            return
        payload = _decode_data(row.payload)
        message = Outgoing(
            sid=row.message_sid,
            account_sid=row.account_sid,
            from_=row.number,
            to=dial_form(row.recipient, "message", row.settings),
            body=payload.body,
            handed_at=row.handed_at,
        )
        if row.ask:
            await self._ask(carrier, self._forms(message, payload, row), row, outcome)
            return
        if payload.media:
            message, outcome.notice = self._attach(message, payload, row)
        if age_s > MARK_LIFE_S:
            outcome.fate = Fate.GIVEN_BACK
            return
        if outcome.notice is not None and not message.body:  # nothing of it can be sent
            outcome.fate = Fate.REJECTED
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                accepted = await carrier.send(message)
        except CarrierError as error:
            await self._classify(carrier, row, error, outcome)
        except TimeoutError:
            await self._classify(carrier, row, CarrierError(Kind.UNCERTAIN, "no answer in time"), outcome)
        except Exception:
            # A defect of ours, and it may have happened after the message was out.
            _log.exception("send.defect", carrier=carrier.name, message=row.message_sid)
            await self._classify(carrier, row, CarrierError(Kind.UNCERTAIN, "defect"), outcome)
        else:
            _sent(carrier, accepted, outcome)
            if self._silence is not None:
                self._silence.sent(carrier.name, row.account_sid, row.interaction_sid)
            await self.health.worked(carrier.name)

    def _forms(self, message: Outgoing, data: Data, row: Started) -> list[tuple[Outgoing, _Notice]]:
        """What may have been handed over: its number may carry media now and not have done so then, or otherwise."""
        if not data.media:
            return [(message, None)]
        return [self._attach(message, data, replace(row, mms=mms)) for mms in (row.mms, not row.mms)]

    def _attach(self, message: Outgoing, data: Data, row: Started) -> tuple[Outgoing, _Notice]:
        """The message with its media, or with links to them where its number carries none; what is told of that.

        What a carrier brought is relayed, since its address may tell who sent it.
        """
        links = data.media
        if data.media_types:
            media = map(Medium, data.media, data.media_types)
            links = tuple(
                self._relay.link(medium, row.brought_by, row.account_sid, row.expires_at) for medium in media
            )
        if row.mms:
            return replace(message, media=links), None
        body, left_out = with_links(data.body, links, MOST_BODY)
        code = problems.MEDIA_LEFT_OUT if body else problems.MEDIA_NOT_CARRIED
        return replace(message, body=body), (self._mint.sid("NO"), code) if left_out else None

    async def _classify(self, carrier: Carrier, row: Started, error: CarrierError, outcome: Outcome) -> None:
        _log.info(
            "send.failed", carrier=carrier.name, kind=error.kind.value, attempt=row.attempts, why=error.detail
        )
        outcome.delay_us = next_send_at(ZERO, max(row.attempts, 1), error.retry_after_s)
        match error.kind:
            case Kind.UNREACHABLE:
                outcome.fate = Fate.RETRY
                await self.health.failed(carrier.name, row.account_sid, row.message_sid, uncertain=False)
                if self.health.trouble(carrier.name) is not None:
                    outcome.delay_us = 0  # with all others of its account, as soon as that works
            case Kind.THROTTLED:
                outcome.fate = Fate.RETRY
            case Kind.REJECTED:
                outcome.fate = Fate.REJECTED
            case Kind.OPTED_OUT:
                outcome.fate = Fate.OPTED_OUT
                outcome.optout_sid = self._mint.sid(OPTOUT_PREFIX)
            case Kind.MISCONFIGURED:
                outcome.fate = Fate.GIVEN_BACK
                await self.health.refused(carrier.name, row.account_sid)
            case Kind.UNCERTAIN:
                await self.judge(carrier, row, outcome)
                await self.health.failed(carrier.name, row.account_sid, row.message_sid, uncertain=True)

    async def judge(self, carrier: Carrier, row: Started, outcome: Outcome) -> None:
        """What to do about a hand-over of unknown outcome, by what its carrier can do."""
        outcome.uncertain = True
        try:
            outcome.fate = _fate_by(await carrier.capabilities(row.account_sid))
        except (CarrierError, StoreUnavailable):
            _ask_later(outcome)
        except Exception:
            _log.exception("capabilities.defect", carrier=carrier.name)
            _ask_later(outcome)

    async def _ask(
        self, carrier: Carrier, forms: Sequence[tuple[Outgoing, _Notice]], row: Started, outcome: Outcome
    ) -> None:
        outcome.delay_us = next_send_at(ZERO, max(row.attempts, 1))
        outcome.uncertain, outcome.notice = True, forms[0][1]
        found: dict[str, _Notice] = {}
        try:
            async with asyncio.timeout(self._deadline_s):
                can = await carrier.capabilities(row.account_sid)
                fate = _fate_by(can)
                if fate is not Fate.ASK:
                    outcome.fate = fate
                    return
                for message, notice in forms:
                    for one in await carrier.look_up(message):
                        found.setdefault(one, notice)
            place = (row.service_sid, row.session_sid, row.interaction_sid)
            keys = {carrier_key(carrier.name, one): notice for one, notice in found.items() if is_id(one)}
            own, others, now = await self._store.read(find_carrier_ids, *place, list(keys))
        except (CarrierError, TimeoutError, StoreUnavailable):
            _ask_later(outcome)
            return
        except Exception:
            _log.exception("look_up.defect", carrier=carrier.name, message=row.message_sid)
            _ask_later(outcome)
            return
        matches = [key for key in keys if key not in others]
        if own is not None:  # a report has told meanwhile
            outcome.fate = Fate.SENT
        elif len(matches) == 1:
            outcome.fate, outcome.carrier_id, outcome.looked_up = Fate.SENT, matches[0], True
            outcome.notice = keys[matches[0]]
            outcome.delay_us = ASK_AGAIN_S * SECOND
        elif now < row.handed_at + can.settle_s * SECOND:
            _ask_later(outcome)
        # That the carrier does not know it permits no second send by itself: the Service's setting decides.

    # T3

    async def record(self, outcome: Outcome, run: str) -> None:
        """Write the outcome down, and tell whoever waits for it."""
        outcome.run = run
        recorded = await self._store.batch(record_outcomes, outcome)
        self.waiters.settle(recorded)


def _ask_later(outcome: Outcome) -> None:
    """There is no answer yet: until its validity is over, the message keeps its place."""
    outcome.fate = Fate.ASK
    outcome.delay_us = ASK_AGAIN_S * SECOND


def _fate_by(capabilities: Capabilities) -> Fate:
    if capabilities.carrier_keys:
        return Fate.RETRY  # under the same key, the carrier will not send it twice
    return Fate.ASK if capabilities.look_up else Fate.UNCERTAIN


def _sent(carrier: Carrier, accepted: Accepted, outcome: Outcome) -> None:
    outcome.fate = Fate.SENT
    if accepted.carrier_id is not None and is_id(accepted.carrier_id):
        outcome.carrier_id = carrier_key(carrier.name, accepted.carrier_id)


def _load_own(
    tx: Tx, account_sid: str, service_sid: str, session_sid: str, sid: str, participant_sid: str
) -> Interaction:
    service = load_service(tx, account_sid, service_sid)
    return load_interaction(tx, service.sid, session_sid, sid, participant_sid)


def carrier_key(carrier_account: str, carrier_id: str) -> str:
    """A carrier's id of a message as it is stored: unique over all carrier accounts."""
    return f"{carrier_account}/{carrier_id}"


def received_key(carrier_account: str, number: str, carrier_id: str) -> str:
    """By what it is known that a message to a number of ours was brought before. What is signed by who has the number
    may name any id: it says nothing of what comes to others.
    """
    return carrier_key(carrier_account, f"{number}/{carrier_id}")
