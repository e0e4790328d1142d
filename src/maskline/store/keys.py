"""API keys, and what lets a caller in: of every secret only a keyed digest."""

from __future__ import annotations

from dataclasses import dataclass

from maskline.domain.model import Instant
from maskline.store.engine import Tx


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Opens its account as the account's own token does, until it is deleted."""

    sid: str
    account_sid: str
    friendly_name: str
    secret_digest: str
    created_at: Instant


@dataclass(frozen=True, slots=True)
class Credentials:
    """Whose they are and which secrets are good: this one and, of a rotated token, the previous one."""

    account_sid: str
    digest: str
    previous_digest: str | None
    active: bool


_COLUMNS = "sid, account_sid, friendly_name, secret_digest, created_at"

# A subaccount is served only while its parent is.
ACTIVE = "a.status = 'active' AND (p.status IS NULL OR p.status = 'active')"
PARENT = "LEFT JOIN accounts p ON p.sid = a.parent_sid"
_BY_ACCOUNT = (
    f"SELECT a.sid, a.token_digest, a.previous_digest, {ACTIVE} FROM accounts a {PARENT} WHERE a.sid = :sid"
)
_BY_KEY = (
    f"SELECT a.sid, k.secret_digest, NULL, {ACTIVE}"
    f" FROM keys k JOIN accounts a ON a.sid = k.account_sid {PARENT} WHERE k.sid = :sid"
)


def find_credentials(tx: Tx, sid: str) -> Credentials | None:
    """What opens an account under this user name, an Account SID or an API key's SID."""
    row = tx.execute(_BY_KEY if sid.startswith("SK") else _BY_ACCOUNT, {"sid": sid}).fetchone()
    if row is None:
        return None
    account_sid, digest, previous, active = row
    return Credentials(account_sid, digest, previous, bool(active))


def insert_key(tx: Tx, key: ApiKey) -> None:
    """Add a key."""
    tx.execute(
        f"INSERT INTO keys ({_COLUMNS}) VALUES (:sid, :account, :name, :digest, :at)",
        {
            "sid": key.sid,
            "account": key.account_sid,
            "name": key.friendly_name,
            "digest": key.secret_digest,
            "at": key.created_at,
        },
    )


def list_keys(tx: Tx, account_sid: str | None = None) -> list[ApiKey]:
    """All keys, or one account's, the oldest first."""
    whose = "" if account_sid is None else "WHERE account_sid = :account "
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM keys {whose}ORDER BY created_at, sid", {"account": account_sid}
    ).fetchall()
    return [ApiKey(*row) for row in rows]


def delete_key(tx: Tx, sid: str) -> bool:
    """Remove a key; False if there is no such key."""
    return tx.execute("DELETE FROM keys WHERE sid = :sid", {"sid": sid}).rowcount == 1
