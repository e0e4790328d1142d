"""Messages that may not be handed over any more: why not, and how such a one ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import OnUncertain, SessionStatus
from maskline.domain.optout import rules_of
from maskline.domain.phone import mask
from maskline.domain.problems import Code
from maskline.domain.service_settings import read_settings
from maskline.domain.session import as_of
from maskline.store.engine import Tx
from maskline.store.events import insert_event
from maskline.store.optouts import CONFIRMATION, is_blocked
from maskline.store.outbox import finish
from maskline.store.record import has_outcome, merge_leg, note_error
from maskline.store.send_rows import (
    ACCOUNT_SID,
    COLUMNS,
    EXPIRES_AT,
    ID,
    INTERACTION_SID,
    MAY_BE_TAKEN,
    MESSAGE_SID,
    NUMBER,
    ORDER_KEY,
    RECIPIENT,
    SERVICE_SID,
    SESSION_SID,
)
from maskline.store.sessions import make_session

FAILED, UNKNOWN = int(MessageStatus.FAILED), int(MessageStatus.DELIVERY_UNKNOWN)

_EXPIRED = f"SELECT {COLUMNS} FROM outbox WHERE id = ? AND state <> 4 AND expires_at <= ?"


@dataclass(slots=True)
class Stopped:
    """A message that will not be handed over now, for whoever waits for it: its leg as it is."""

    interaction_sid: str
    status: int
    updated_at: int


def why_not(
    tx: Tx, row: Any, pool: str | None, mms: int, service: tuple[str, int | None], holder: Any
) -> Code | None:
    """Why this message may not be sent any more, if so. `pool` is the Service that has its number by now, `mms` whether
    that carries media; `service` and `holder` are as `Facts` has them.
    """
    if row[EXPIRES_AT] <= tx.now:
        return problems.VALIDITY_PASSED
    if pool != row[SERVICE_SID]:
        return problems.SESSION_EXPIRED
    if holder is not None:
        other = as_of(make_session(holder), tx.now, tx.idle_close_us)
        if other.status is not SessionStatus.CLOSED:
            return problems.SESSION_EXPIRED
    settings, has_optouts = service
    if not mms and row[MESSAGE_SID].startswith("MM") and read_settings(settings)["mms_fallback"] == "fail":
        return problems.MEDIA_NOT_CARRIED
    if not has_optouts or row[ORDER_KEY].startswith(CONFIRMATION):
        return None
    blocked = is_blocked(tx, row[SERVICE_SID], row[RECIPIENT], row[NUMBER], rules_of(settings))
    return problems.RECIPIENT_OPTED_OUT if blocked else None


def why_lost(settings: str) -> Code | None:
    """Why a message is given up that an account may have taken which is no longer here to be asked, if it is."""
    resend = read_settings(settings)["on_uncertain"] == OnUncertain.RESEND
    return None if resend else problems.DELIVERY_UNKNOWN


def fail(tx: Tx, event_sid: str, row: Any, code: Code) -> Stopped:
    """End a message, with an event that says why."""
    finish(tx, row[ID], row[ORDER_KEY])
    status = FAILED
    if row[MAY_BE_TAKEN]:  # nobody can say that it failed
        status, code = UNKNOWN, problems.DELIVERY_UNKNOWN
    place = (row[SERVICE_SID], row[SESSION_SID], row[INTERACTION_SID])
    leg = merge_leg(tx, *place, status, None)
    note_error(tx, *place, code)
    insert_event(tx, event_sid, row[ACCOUNT_SID], code, f"to {mask(row[RECIPIENT])}", *place)
    known, updated_at = leg or (status, tx.now)
    return Stopped(row[INTERACTION_SID], known, updated_at)


def fail_expired(tx: Tx, ids: list[int], event_sids: list[str]) -> list[Stopped]:
    """Fail those of these rows that are still unstarted and past their validity, whatever they wait for."""
    stopped = []
    for row_id, event_sid in zip(ids, event_sids, strict=True):
        row = tx.execute(_EXPIRED, (row_id, tx.now)).fetchone()
        if row is None:
            continue
        if row[MAY_BE_TAKEN] and has_outcome(tx, row[SERVICE_SID], row[SESSION_SID], row[INTERACTION_SID]):
            finish(tx, row[ID], row[ORDER_KEY])
        else:
            stopped.append(fail(tx, event_sid, row, problems.VALIDITY_PASSED))
    return stopped
