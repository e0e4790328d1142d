"""The events table: what went wrong with traffic that nobody was waiting for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskline.domain.model import Instant
from maskline.domain.problems import Code
from maskline.store.engine import Tx


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it is kept. `message` holds no body and no full number."""

    sid: str
    account_sid: str
    service_sid: str | None
    session_sid: str | None
    interaction_sid: str | None
    code: int
    level: str
    message: str
    created_at: Instant


def insert_event(
    tx: Tx,
    sid: str,
    account_sid: str,
    code: Code,
    detail: str = "",
    *,
    service_sid: str | None = None,
    session_sid: str | None = None,
    interaction_sid: str | None = None,
) -> None:
    """Write an event down."""
    tx.execute(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            sid,
            account_sid,
            service_sid,
            session_sid,
            interaction_sid,
            code.number,
            code.level,
            f"{detail}: {code.sentence}" if detail else code.sentence,
            tx.now,
        ),
    )


def list_events(tx: Tx, account_sid: str, limit: int = 50) -> list[Event]:
    """The account's events, the newest first."""
    rows: list[Any] = tx.execute(
        "SELECT sid, account_sid, service_sid, session_sid, interaction_sid, code, level, message, created_at"
        " FROM events WHERE account_sid = :account ORDER BY sid DESC LIMIT :limit",
        {"account": account_sid, "limit": limit},
    ).fetchall()
    return [Event(*row) for row in rows]
