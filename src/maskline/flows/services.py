"""Services: created, changed, deleted, each in one transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from maskline.domain import problems
from maskline.domain.model import Instant, Service
from maskline.domain.problems import Problem
from maskline.store.engine import Tx
from maskline.store.idempotency import Key, claim_or_replay
from maskline.store.services import delete_service, insert_service, load_service, update_service
from maskline.store.sessions import has_active_session


def create_service(tx: Tx, service: Service, key: Key | None) -> Service:
    """Add a Service. Raises Replayed, 80602."""
    claim_or_replay(tx, key, service.sid)
    insert_service(tx, service)
    return service


def change_service(tx: Tx, account_sid: str, sid: str, changes: dict[str, Any]) -> Service:
    """Set the given fields of a Service. Raises 20404, 80602."""
    service = load_service(tx, account_sid, sid)
    changed = replace(service, **changes, updated_at=Instant(max(tx.now, service.updated_at)))
    update_service(tx, changed)
    return changed


def remove_service(tx: Tx, account_sid: str, sid: str, *, guarded: bool = False) -> None:
    """Delete a Service with all below it. Raises 20404; if `guarded`, 20009 while a Session of it is active."""
    service = load_service(tx, account_sid, sid)
    if guarded and has_active_session(tx, service.sid):
        raise Problem(problems.NOT_YET_COMPLETE, "The Service has active Sessions")
    delete_service(tx, service)
