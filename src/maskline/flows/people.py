"""People: what is held of somebody in a Service, and erasing it. An erasure is durable before anything is done about
it, and what takes longer than its caller waits is left to the sweep.
"""

from __future__ import annotations

from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.ids import is_sid
from maskline.domain.phone import identifier_key
from maskline.domain.problems import Problem
from maskline.flows.retention import STEP
from maskline.store.engine import Store, Tx
from maskline.store.erasure import ask_erasure, erase_step, is_being_erased
from maskline.store.personal_data import PersonalData, find_personal_data
from maskline.store.services import load_service

PATIENCE_S = 1.0
"""How long a request waits for the end of an erasure."""

MOST_IDENTIFIER = 191


def read_person(text: str) -> str:
    """What somebody is matched by. Raises 20404 for what can be nobody's number or address."""
    key = identifier_key(text)
    if not key or len(text) > MOST_IDENTIFIER or is_sid(key, "KP"):
        raise Problem(problems.NOT_FOUND)
    return key


def load_personal_data(tx: Tx, account_sid: str, service_sid: str, key: str) -> PersonalData:
    """What is held of this person. Raises 20404, also if nothing is."""
    held = find_personal_data(tx, load_service(tx, account_sid, service_sid).sid, key)
    if held is None:
        raise Problem(problems.NOT_FOUND)
    return held


def _ask(tx: Tx, account_sid: str, service_sid: str, key: str) -> bool:
    service = load_service(tx, account_sid, service_sid)
    ask_erasure(tx, account_sid, service.sid, key)
    return _go_on(tx, service.sid, key)


def _go_on(tx: Tx, service_sid: str, key: str) -> bool:
    """One step; whether there is more to do for this person."""
    erase_step(tx, STEP)
    return is_being_erased(tx, service_sid, key)


async def erase(
    store: Store,
    clock: Clock,
    account_sid: str,
    service_sid: str,
    key: str,
    *,
    patience_s: float = PATIENCE_S,
    pause_s: float = 0.0,
) -> bool:
    """Erase this person, for at most so long, with a pause between two steps. Returns whether all is done; if not, the
    sweep goes on. Somebody of whom nothing is held is erased as well. Raises 20404.
    """
    until = clock.uptime() + patience_s
    more = await store.write(_ask, account_sid, service_sid, key)
    while more and clock.uptime() < until:
        if pause_s:
            await clock.sleep(pause_s)
        more = await store.write(_go_on, service_sid, key)
    return not more
