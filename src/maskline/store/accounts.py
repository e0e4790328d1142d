"""Accounts and their auth tokens: kept as a keyed digest to compare, and sealed to sign with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from maskline.domain.ids import AccountSid
from maskline.domain.model import Instant
from maskline.store.engine import Tx


class AccountStatus(StrEnum):
    """Whether an account's requests are served. What is closed stays closed."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Account:
    """`token_digest` is compared, `token_sealed` signs; the previous token stays good until the next rotation.

    A subaccount has a parent, whose credentials do not open it; it is active only while its parent is, too. Events go
    to `events_url`, or to the parent's where there is none.
    """

    sid: AccountSid
    friendly_name: str
    token_digest: str
    token_sealed: str
    previous_digest: str | None
    created_at: Instant
    updated_at: Instant
    parent_sid: str | None = None
    status: AccountStatus = AccountStatus.ACTIVE
    events_url: str | None = None


_COLUMNS = (
    "sid, friendly_name, token_digest, token_sealed, previous_digest, created_at, updated_at, parent_sid, status,"
    " events_url"
)


def _account(row: Sequence[Any]) -> Account:
    values: list[Any] = list(row)
    values[-2] = AccountStatus(values[-2])
    return Account(*values)


def insert_account(tx: Tx, account: Account) -> None:
    """Add an account."""
    tx.execute(
        f"INSERT INTO accounts ({_COLUMNS})"
        " VALUES (:sid, :name, :digest, :sealed, NULL, :at, :at, :parent, :status, :events_url)",
        {
            "sid": account.sid,
            "name": account.friendly_name,
            "digest": account.token_digest,
            "sealed": account.token_sealed,
            "at": account.created_at,
            "parent": account.parent_sid,
            "status": account.status.value,
            "events_url": account.events_url,
        },
    )


def find_account(tx: Tx, sid: str) -> Account | None:
    """The account with this SID."""
    row = tx.execute(f"SELECT {_COLUMNS} FROM accounts WHERE sid = :sid", {"sid": sid}).fetchone()
    return _account(row) if row else None


def list_accounts(tx: Tx) -> list[Account]:
    """All accounts, the oldest first."""
    rows = tx.execute(f"SELECT {_COLUMNS} FROM accounts ORDER BY created_at, sid").fetchall()
    return [_account(row) for row in rows]


def replace_token(tx: Tx, sid: str, digest: str, sealed: str, *, keep_previous: bool) -> bool:
    """Give the account a new token; False if there is no such account."""
    digest_before, sealed_before = ("token_digest", "token_sealed") if keep_previous else ("NULL", "NULL")
    changed = tx.execute(
        f"UPDATE accounts SET previous_digest = {digest_before}, previous_sealed = {sealed_before},"
        " token_digest = :digest, token_sealed = :sealed, updated_at = :now WHERE sid = :sid",
        {"sid": sid, "digest": digest, "sealed": sealed, "now": tx.now},
    )
    return changed.rowcount == 1


def set_status(tx: Tx, sid: str, status: AccountStatus) -> None:
    """Write down whether the account's requests are served."""
    tx.execute(
        "UPDATE accounts SET status = :status, updated_at = :now WHERE sid = :sid",
        {"sid": sid, "status": status.value, "now": tx.now},
    )


def set_events_url(tx: Tx, sid: str, url: str | None) -> None:
    """Say where the account's events are sent from now on; None: nowhere, and what still waits goes nowhere."""
    tx.execute(
        "UPDATE accounts SET events_url = :url, updated_at = :now WHERE sid = :sid",
        {"sid": sid, "url": url, "now": tx.now},
    )
