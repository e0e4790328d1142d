"""Idempotency keys: for 24 hours the same key gives the same resource, and another request under it is refused.

The row is written in the transaction that makes the resource, so a refused create leaves no trace and two equal
requests cannot both win.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from maskline.domain import problems
from maskline.domain.model import DAY
from maskline.domain.problems import Problem
from maskline.store.engine import Tx

LIFE_US = DAY


class Key(NamedTuple):
    """What a request with an `Idempotency-Key` header says of itself. `scope` is the account and its Service, or the
    account for Services, so that nobody meets another's keys; `operation` the method; `request_hash` a digest of
    the path and the parameters.
    """

    scope: str
    key: str
    operation: str
    request_hash: str


class Replayed(Exception):
    """The key's first request made `resource_sid`; answer with that resource as it is now."""

    def __init__(self, resource_sid: str) -> None:
        super().__init__(resource_sid)
        self.resource_sid = resource_sid


def claim_key(tx: Tx, key: Key, resource_sid: str, *, fresh: bool = True) -> str | None:
    """Take the key for the resource about to be made, and return None; or return the SID made under it before.

    With `fresh`, `resource_sid` was minted for this request, and a row that holds it is the request's own, from a
    transaction that is run again. Raises 20409 if the key was used for another request.
    """
    taken = tx.execute(
        "INSERT INTO idempotency (scope, key, operation, request_hash, resource_sid, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (scope, key) DO UPDATE SET operation = excluded.operation,"
        " request_hash = excluded.request_hash, resource_sid = excluded.resource_sid,"
        " expires_at = excluded.expires_at WHERE idempotency.expires_at <= ?",
        (key.scope, key.key, key.operation, key.request_hash, resource_sid, tx.now + LIFE_US, tx.now),
    )
    if taken.rowcount == 1:
        return None
    operation, request_hash, made = tx.execute(
        "SELECT operation, request_hash, resource_sid FROM idempotency WHERE scope = ? AND key = ?",
        (key.scope, key.key),
    ).fetchone()
    if fresh and made == resource_sid:
        return None
    if (operation, request_hash) != (key.operation, key.request_hash):
        raise Problem(problems.IDEMPOTENCY_CONFLICT)
    return str(made)


def claim_fresh(tx: Tx, keys: Sequence[tuple[Key, str]]) -> bool:
    """Take many keys, each for the SID with it, in one statement. False: some were taken before, and `claim_key` tells
    each apart (what has been taken here it knows for its own).
    """
    rows = [(key.scope, key.key, key.operation, key.request_hash, sid, tx.now + LIFE_US) for key, sid in keys]
    taken = tx.executemany(
        "INSERT INTO idempotency (scope, key, operation, request_hash, resource_sid, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        rows,
    )
    return taken.rowcount == len(rows)


def release_key(tx: Tx, key: Key) -> None:
    """Give the key back: what was to be made under it has been refused."""
    tx.execute("DELETE FROM idempotency WHERE scope = ? AND key = ?", (key.scope, key.key))


def claim_or_replay(tx: Tx, key: Key | None, resource_sid: str, *, fresh: bool = True) -> None:
    """`claim_key` for a create that is one transaction. Raises Replayed, 20409."""
    if key is not None and (made := claim_key(tx, key, resource_sid, fresh=fresh)) is not None:
        raise Replayed(made)


def delete_expired_keys(tx: Tx, after: tuple[str, str], most: int) -> tuple[str, str]:
    """Walk `most` keys onward from `after`, delete those that have expired, and return where the walk stopped.

    A walk needs no index by age, which every keyed request would have to pay for. ("", "") begins anew.
    """
    rows = tx.execute(
        "SELECT scope, key, expires_at FROM idempotency WHERE (scope, key) > (?, ?) ORDER BY scope, key LIMIT ?",
        (*after, most),
    ).fetchall()
    for scope, key, expires_at in rows:
        if expires_at <= tx.now:
            tx.execute("DELETE FROM idempotency WHERE scope = ? AND key = ?", (scope, key))
    return (rows[-1][0], rows[-1][1]) if len(rows) == most else ("", "")
