"""Callbacks that were given up, to be looked at and sent again by hand; and every attempt to tell of an Interaction."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.callback import LegStatuses
from maskline.domain.ids import ServiceSid
from maskline.domain.model import SECOND, Instant, OutboxState
from maskline.domain.problems import Problem
from maskline.domain.retry import CALLBACK_LIFE_S
from maskline.store.engine import Tx, Wake
from maskline.store.pages import Page, Seek, fetch_page, key_params

WAITING, HELD = int(OutboxState.WAITING), int(OutboxState.HELD)

_EARLIER = "SELECT 1 FROM outbox WHERE order_key = ? AND state IN (1, 3, 4) AND state + 0 <> 0"


@dataclass(frozen=True, slots=True)
class DeadCallback:
    """A callback that has been given up."""

    sid: str
    account_sid: str
    service_sid: ServiceSid
    session_sid: str
    interaction_sid: str
    attempts: int
    statuses: LegStatuses
    word: str | None
    """Twilio's word for the status that it tells."""


@dataclass(frozen=True, slots=True)
class KeptAttempt:
    """An attempt as it is kept, until its Interaction goes. `url` is without query and credentials."""

    callback_sid: str
    number: int
    url: str
    began_at: Instant
    duration_ms: int
    status: int | None
    error: str


_DEAD_COLUMNS = (
    "message_sid, account_sid, service_sid, session_sid, interaction_sid, attempts, payload,"
    " (SELECT type FROM interactions i WHERE i.service_sid = outbox.service_sid"
    " AND i.session_sid = outbox.session_sid AND i.sid = outbox.interaction_sid)"
)
_GIVEN_UP = (
    "state = 6 AND EXISTS"
    " (SELECT 1 FROM sessions s WHERE s.service_sid = outbox.service_sid AND s.sid = outbox.session_sid)"
)


def list_dead(tx: Tx, service_sid: str, seek: Seek) -> Page[DeadCallback]:
    """A page of the Service's callbacks that were given up."""

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            f"SELECT {_DEAD_COLUMNS} FROM outbox WHERE service_sid = :service AND {_GIVEN_UP} AND {condition}"
            f" ORDER BY {order} LIMIT :limit",
            {"service": service_sid, "limit": limit, **key_params(seek)},
        ).fetchall()

    return fetch_page(fetch, ["message_sid"], seek, _dead)


def _dead(row: Any) -> DeadCallback:
    sid, account_sid, service_sid, session_sid, interaction_sid, attempts, payload, kind = row
    statuses = LegStatuses(*json.loads(payload))
    word = statuses.word_of(kind or "message")
    return DeadCallback(sid, account_sid, service_sid, session_sid, interaction_sid, attempts, statuses, word)


def find_dead(tx: Tx, service_sid: str | None, most: int) -> list[DeadCallback]:
    """Up to `most` callbacks that were given up, of one Service or of all, the oldest first."""
    only = "" if service_sid is None else " AND service_sid = :service"
    rows = tx.execute(
        f"SELECT {_DEAD_COLUMNS} FROM outbox WHERE state = 6{only} ORDER BY message_sid LIMIT :most",
        {"service": service_sid, "most": most},
    ).fetchall()
    return [_dead(row) for row in rows]


def load_dead(tx: Tx, service_sid: str, sid: str) -> DeadCallback:
    """A callback that was given up. Raises 20404."""
    row = tx.execute(
        f"SELECT {_DEAD_COLUMNS} FROM outbox WHERE {_GIVEN_UP} AND service_sid = ? AND message_sid = ?",
        (service_sid, sid),
    ).fetchone()
    if row is None:
        raise Problem(problems.NOT_FOUND)
    return _dead(row)


def send_again(tx: Tx, service_sid: str, sids: Iterable[str]) -> int:
    """Make callbacks that were given up due once more, for another hour: those of one Interaction in their order, and
    after what is still to be told of it. Returns how many there were.
    """
    count = 0
    for sid in sorted(sids):
        row = tx.execute(
            "SELECT id, order_key FROM outbox WHERE state = 6 AND service_sid = ? AND message_sid = ?",
            (service_sid, sid),
        ).fetchone()
        if row is None:
            continue
        count += 1
        state = HELD if tx.execute(_EARLIER, (row[1],)).fetchone() is not None else WAITING
        tx.execute(
            "UPDATE outbox SET state = ?, attempts = 0, due_at = ?, expires_at = ? WHERE id = ?",
            (state, tx.now, tx.now + CALLBACK_LIFE_S * SECOND, row[0]),
        )
    if count:
        tx.wake |= Wake.CALLBACKS
    return count


def list_attempts(tx: Tx, service_sid: str, interaction_sid: str, seek: Seek) -> Page[KeptAttempt]:
    """A page of the attempts to tell of an Interaction, the last first."""

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            "SELECT callback_sid, number, url, began_at, duration_ms, status, error FROM callback_attempts"
            f" WHERE service_sid = :service AND interaction_sid = :interaction AND {condition}"
            f" ORDER BY {order} LIMIT :limit",
            {"service": service_sid, "interaction": interaction_sid, "limit": limit, **key_params(seek)},
        ).fetchall()

    return fetch_page(fetch, ["began_at", "callback_sid"], seek, lambda row: KeptAttempt(*row))
