"""Fail-over that keeps the mask: where a carrier account is down, Sessions whose Service wants that move to numbers of
others, as soon as something waits for one of their participants (`store/moving.py`).

As with any assignment, numbers are ranked on a snapshot, off the writer's path, and the write takes the first that is
still free. One process of a database does this, the one that sweeps; it may be killed at any point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import structlog

from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.assign import Refusal, rank
from maskline.domain.ids import outbound_leg_sid
from maskline.domain.model import Participant, Service, Session
from maskline.domain.optout import OPTOUT_PREFIX
from maskline.domain.phone import parse_phone
from maskline.domain.problems import Problem
from maskline.domain.service_settings import cooldown_us, read_settings
from maskline.flows.health import Health
from maskline.flows.messages import encode_data
from maskline.flows.sessions import rules_of
from maskline.mint import Mint
from maskline.store.engine import Store, Tx
from maskline.store.events import insert_event
from maskline.store.moving import (
    Move,
    Moved,
    Notice,
    Stranded,
    find_down,
    find_former,
    find_parked,
    find_people,
    find_tried,
    move_session,
)
from maskline.store.numbers import find_carried_by
from maskline.store.participants import load_candidates, load_person
from maskline.store.services import load_service
from maskline.store.sessions import load_session

AT_ONCE = 32
PAGE, PAGES = 500, 20
"""How many messages that wait are looked at at a time, and how often in a row. The next look goes on from there."""
AGAIN_S = 60.0
"""How long a Session waits that could not move before it is looked at again."""
FORGET_S = 600.0
"""For how long it is known by that after it was last seen to wait. To look through all that waits takes less."""

_log = structlog.get_logger(__name__)

Place = tuple[str, str, str]
"""Account, Service and Session."""
_Find = Callable[[Tx, str, Any, int], Stranded]


@dataclass(slots=True)
class _Stay:
    """A Session that could not move. `told`: an event has said so."""

    again_at: float
    seen_at: float
    told: bool


class FailOver:
    """`carriers` are the accounts that this process can hand messages to."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        mint: Mint,
        health: Health,
        carriers: Collection[str],
        validity_us: int,
        *,
        page: int = PAGE,
        pages: int = PAGES,
    ) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._health = health
        self._accounts = frozenset(carriers)
        self._validity_us = validity_us
        self._page, self._pages = page, pages
        self._after: dict[tuple[str, _Find], Any] = {}
        """Where the last look stopped."""
        self._stays: dict[Place, _Stay] = {}
        """In the order in which they were last seen."""

    async def look(self) -> None:
        """Move what waits for accounts that are down and can move now."""
        down = self._health.down()
        if not down:
            self._stays.clear()
            self._after.clear()
            return
        self._forget()
        for name in down:
            for find in (find_tried, find_parked):
                await self._look_through(name, find)

    async def _look_through(self, name: str, find: _Find) -> None:
        """Go on to the end, or as far as one look goes. What cannot move is gone past like all else."""
        after = self._after.pop((name, find), None)
        for _ in range(self._pages):
            found = await self._store.read(find, name, after, self._page)
            places = [place for place in found.places if self._is_due(place)]
            for i in range(0, len(places), AT_ONCE):
                moving = (self._move(place) for place in places[i : i + AT_ONCE])
                for result in await asyncio.gather(*moving, return_exceptions=True):
                    if isinstance(result, Exception):
                        _log.error("failover.failed", exc_info=result)
            after = found.after
            if after is None:
                return
        self._after[name, find] = after

    async def _move(self, place: Place) -> None:
        try:
            choices, words = await self._store.read(_choose, *place, self._accounts)
        except Problem:  # it has been deleted meanwhile
            return
        move = Move(
            *place,
            choices,
            self._accounts,
            {sid: self._notice(words) for sid in choices},
            self._validity_us,
            self._mint.sid("NO"),
        )
        moved = await self._store.write(move_session, move)
        if moved in (Moved.YES, Moved.LATER):
            return
        now, before = self._clock.uptime(), self._stays.pop(place, None)
        stay = self._stays[place] = _Stay(now + AGAIN_S, now, told=before is not None and before.told)
        if moved is Moved.STUCK and not stay.told:
            stay.told = True
            account_sid, service_sid, session_sid = place
            await self._store.write(
                insert_event,
                self._mint.sid("NO"),
                account_sid,
                problems.SESSION_NOT_MOVED,
                service_sid=service_sid,
                session_sid=session_sid,
            )

    def _is_due(self, place: Place) -> bool:
        """Whether a Session that is seen to wait is to be looked at now."""
        stay, now = self._stays.pop(place, None), self._clock.uptime()
        if stay is None:
            return True
        stay.seen_at = now
        self._stays[place] = stay
        return now >= stay.again_at

    def _forget(self) -> None:
        """Forget Sessions for which nothing waits any more."""
        since = self._clock.uptime() - FORGET_S
        gone = takewhile(lambda place: self._stays[place].seen_at < since, self._stays)
        for place in list(gone):
            del self._stays[place]

    def _notice(self, words: str) -> Notice:
        sid = self._mint.sid("KI")
        optout_sid, event_sid = self._mint.sid(OPTOUT_PREFIX), self._mint.sid("NO")
        return Notice(sid, outbound_leg_sid(sid), optout_sid, event_sid, encode_data(words))


def _choose(
    tx: Tx, account_sid: str, service_sid: str, session_sid: str, accounts: frozenset[str]
) -> tuple[dict[str, list[str]], str]:
    """For each participant the numbers that they could be given, and what they are told. Raises 20404."""
    service = load_service(tx, account_sid, service_sid)
    session = load_session(tx, service.sid, session_sid)
    usable = accounts - find_down(tx)
    people = find_people(tx, service.sid, session.sid)
    choices: dict[str, list[str]] = {
        person.sid: _rank(tx, service, session, person, usable) for person in people
    }
    return choices, str(read_settings(service.settings)["fail_over_notice"])


def _rank(
    tx: Tx, service: Service, session: Session, participant: Participant, accounts: frozenset[str]
) -> list[str]:
    phone = parse_phone(participant.identifier)
    person = load_person(tx, service.sid, participant.identifier_key, phone, cooldown_us(service.settings))
    person = replace(person, taken=person.taken.difference(find_former(tx, participant)))
    carried = find_carried_by(tx, service.sid, accounts)
    pool = [number for number in load_candidates(tx, service.sid, reserved=False) if number.sid in carried]
    ranked = rank(person, session.mode, rules_of(service), pool)
    return [] if isinstance(ranked, Refusal) else [number.sid for number in ranked]
