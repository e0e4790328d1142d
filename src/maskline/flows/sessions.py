"""Sessions and their participants: create, update, close, re-open, delete; and the assignment of proxy numbers.

Choosing is done in two steps. A reader ranks all candidates on its own snapshot, off the writer's path; the write takes
the first whose pair is still free, under the person's lock. Only when the whole list has been taken meanwhile is it
ranked anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.assign import PoolNumber, Refusal, Rules, rank
from maskline.domain.ids import ParticipantSid, ServiceSid, SessionSid
from maskline.domain.model import (
    Instant,
    Interaction,
    Mode,
    Participant,
    Service,
    Session,
    SessionStatus,
)
from maskline.domain.phone import Phone, identifier_key
from maskline.domain.problems import Problem
from maskline.domain.service_settings import cooldown_us, moves_on_outage, read_settings
from maskline.domain.session import Transition, as_of, close, reopen, start, transition
from maskline.store.engine import Store, Tx
from maskline.store.health import find_troubles
from maskline.store.idempotency import Key, claim_or_replay
from maskline.store.interactions import delete_interaction, load_interaction
from maskline.store.numbers import find_carried_by
from maskline.store.participants import (
    MOST_PARTICIPANTS,
    NewParticipant,
    Outdated,
    add_participant,
    delete_participant,
    load_candidates,
    load_participant,
    load_person,
)
from maskline.store.services import load_service
from maskline.store.session_ends import delete_session, take_session, write_closed, write_reopened
from maskline.store.sessions import insert_session, load_session, write_session

CHOOSE_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A participant as a request asks for it. `phone` is None for somebody on a channel.

    `valid`: the number in the identifier is valid in its country's numbering plan, and not just possible.
    """

    sid: ParticipantSid
    identifier: str
    phone: Phone | None
    friendly_name: str | None
    proxy_identifier: str | None
    proxy_identifier_sid: str | None
    valid: bool = True


def refuse_past(expiry_at: Instant | None, now: Instant) -> None:
    """Raise 80701 for an expiry date that has passed. A create asks after its key: a repeat may come later."""
    if expiry_at is not None and expiry_at <= now:
        raise Problem(problems.PARAMETER_INVALID, "DateExpiry is in the past")


def refuse_closed(tx: Tx, account_sid: str, service_sid: str, session_sid: str) -> None:
    """Raise 20404 or 80607 unless this Session is there and active."""
    session = load_session(tx, load_service(tx, account_sid, service_sid).sid, session_sid)
    if session.status is SessionStatus.CLOSED:
        raise Problem(problems.SESSION_CLOSED)


def _participant(wanted: Wanted, service_sid: str, session_sid: str, at: Instant) -> Participant:
    return Participant(
        service_sid=ServiceSid(service_sid),
        sid=wanted.sid,
        session_sid=SessionSid(session_sid),
        identifier=wanted.identifier,
        identifier_key=identifier_key(wanted.identifier),
        friendly_name=wanted.friendly_name,
        proxy_identifier="",
        proxy_identifier_sid=None,
        deleted_at=None,
        created_at=at,
        updated_at=at,
    )


def rules_of(service: Service) -> Rules:
    """How a Service wants its numbers chosen."""
    settings = read_settings(service.settings)
    return Rules(
        behavior=service.number_selection_behavior,
        level=service.geo_match_level,
        radius_km=settings["geo_radius_km"],
        fallback=settings["geo_fallback"] == "on",
        prefer_unused=settings["prefer_unused"] == "on",
    )


def choose(tx: Tx, service: Service, mode: Mode, wanted: Wanted) -> list[str] | Refusal:
    """The SIDs of the numbers that this participant could be given, best first, or why there is none."""
    key = identifier_key(wanted.identifier)
    person = load_person(tx, service.sid, key, wanted.phone, cooldown_us(service.settings))
    rules = rules_of(service)

    def rank_pool(*, reserved: bool) -> list[PoolNumber] | Refusal:
        return rank(person, mode, rules, load_candidates(tx, service.sid, reserved=reserved))

    ranked = rank_pool(reserved=False)
    if isinstance(ranked, Refusal):
        ranked = rank_pool(reserved=True)  # why not, exactly, takes the reserved numbers too
    if isinstance(ranked, Refusal):
        return ranked
    sids = [number.sid for number in ranked]
    return _working_first(tx, service.sid, sids) if moves_on_outage(service.settings) else sids


def _working_first(tx: Tx, service_sid: str, sids: list[str]) -> list[str]:
    """Those of accounts that are down last: where nothing else is left, somebody who has one can still be moved. When
    the account is to be tried again, somebody has to be on it.
    """
    down = [name for name, one in find_troubles(tx).items() if one.is_down and tx.now < one.try_at]
    if not down:
        return sids
    carried = find_carried_by(tx, service_sid, down)
    return sorted(sids, key=carried.__contains__)


def _plan(
    tx: Tx,
    account_sid: str,
    service_sid: str,
    mode: Mode | None,
    session_sid: str,
    wanted: list[Wanted],
) -> list[NewParticipant]:
    service = load_service(tx, account_sid, service_sid)
    if mode is None:
        mode = load_session(tx, service.sid, session_sid).mode
    return [
        NewParticipant(
            participant=_participant(one, service.sid, session_sid, tx.now),
            phone=one.phone,
            proxy_identifier=one.proxy_identifier,
            proxy_identifier_sid=one.proxy_identifier_sid,
            choice=[]
            if one.proxy_identifier is not None or one.proxy_identifier_sid is not None
            else choose(tx, service, mode, one),
            cooldown_us=cooldown_us(service.settings),
            invalid=not one.valid and read_settings(service.settings)["identifier_check"] == "valid",
        )
        for one in wanted
    ]


class Sessions:
    """The flow of everything that gives people numbers."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(
        self,
        account_sid: str,
        session: Session,
        wanted: list[Wanted],
        key: Key | None,
        *,
        own_ttl: bool,
        guard: Callable[[Tx], None] | None = None,
    ) -> Session:
        """Make a Session with its participants, all or nothing; without `own_ttl` it takes the Service's. `guard` may
        refuse it in the last moment.

        Raises Replayed, 20404, 80603, 80609, 80623 and what assignment and `guard` refuse.
        """
        if len(wanted) > MOST_PARTICIPANTS:
            raise Problem(problems.TOO_MANY_PARTICIPANTS)

        def write(tx: Tx, plan: list[NewParticipant]) -> Session:
            service = load_service(tx, account_sid, session.service_sid)
            if guard is not None:
                guard(tx)
            claim_or_replay(tx, key, session.sid)
            refuse_past(session.expiry_at, tx.now)
            ttl = session.ttl if own_ttl else service.default_ttl
            made = replace(session, ttl=ttl, active_from_at=tx.now)
            if made.status is SessionStatus.CLOSED:
                made = replace(close(made, tx.now), updated_at=made.updated_at)
            elif made.status is SessionStatus.IN_PROGRESS:
                made = start(made, tx.now)
            insert_session(tx, made)
            for new in plan:
                add_participant(tx, made, new, account_sid)
            return made

        return await self._choosing(
            write, account_sid, session.service_sid, session.mode, session.sid, wanted
        )

    async def add(
        self, account_sid: str, service_sid: str, session_sid: str, wanted: Wanted, key: Key | None
    ) -> Participant:
        """Add a participant to a Session. Raises Replayed, 20404 and what `add_participant` does."""

        def write(tx: Tx, plan: list[NewParticipant]) -> Participant:
            service = load_service(tx, account_sid, service_sid)
            session = take_session(tx, service.sid, session_sid)
            claim_or_replay(tx, key, wanted.sid)
            return add_participant(tx, session, plan[0], account_sid)

        return await self._choosing(write, account_sid, service_sid, None, session_sid, [wanted])

    async def _choosing(
        self,
        write: Callable[[Tx, list[NewParticipant]], T],
        account_sid: str,
        service_sid: str,
        mode: Mode | None,
        session_sid: str,
        wanted: list[Wanted],
    ) -> T:
        began = self._clock.uptime()
        while True:
            plan: list[NewParticipant] = []
            if wanted:
                plan = await self._store.read(_plan, account_sid, service_sid, mode, session_sid, wanted)
            try:
                return await self._store.write(write, plan)
            except Outdated:
                if self._clock.uptime() - began > CHOOSE_S:
                    raise Problem(problems.PARTICIPANT_BUSY) from None


def change_session(
    tx: Tx,
    account_sid: str,
    service_sid: str,
    sid: str,
    status: SessionStatus | None,
    changes: dict[str, Any],
) -> Session:
    """Update a Session: its status, and `ttl` and `expiry_at` in the same go. What changes nothing writes nothing.

    Raises 20404, 80701 for an expiry date that has passed, 80607 for a closed one that is not re-opened, 80608, 80604,
    80605.
    """
    service = load_service(tx, account_sid, service_sid)
    session = take_session(tx, service.sid, sid)
    refuse_past(changes.get("expiry_at"), tx.now)
    meaning: Transition = transition(session, status) if status is not None else "stay"
    if meaning == "reopen":
        changed = replace(reopen(session, tx.now), **changes)
        write_reopened(tx, changed)
        return changed
    if session.status is SessionStatus.CLOSED:
        if changes or status is None:
            raise Problem(problems.SESSION_CLOSED)
        return session
    changed = replace(session, **changes)
    if meaning == "close":
        changed = close(changed, tx.now)
    elif meaning == "start":
        changed = start(changed, tx.now)
    if changed == session:
        return session
    changed = replace(changed, updated_at=Instant(max(tx.now, session.updated_at)))
    ended = as_of(changed, tx.now, tx.idle_close_us)
    if ended is not changed:  # by its new limits it is over: from now on, since until now it was not
        changed = replace(ended, ended_at=tx.now)
    if changed.status is SessionStatus.CLOSED:
        write_closed(tx, changed)
    else:
        write_session(tx, changed)
    return changed


def remove_session(tx: Tx, account_sid: str, service_sid: str, sid: str) -> None:
    """Delete a Session with its Participants and Interactions. Raises 20404."""
    service = load_service(tx, account_sid, service_sid)
    delete_session(tx, take_session(tx, service.sid, sid))


def remove_participant(tx: Tx, account_sid: str, service_sid: str, session_sid: str, sid: str) -> None:
    """Delete a participant softly. Raises 20404, also for one deleted before."""
    service = load_service(tx, account_sid, service_sid)
    session = take_session(tx, service.sid, session_sid)
    delete_participant(tx, session, load_participant(tx, service.sid, session.sid, sid))


def remove_interaction(tx: Tx, account_sid: str, service_sid: str, session_sid: str, sid: str) -> Interaction:
    """Delete an Interaction for good. Raises 20404, 20009."""
    service = load_service(tx, account_sid, service_sid)
    session = load_session(tx, service.sid, session_sid)
    interaction = load_interaction(tx, service.sid, session.sid, sid)
    delete_interaction(tx, interaction)
    return interaction
