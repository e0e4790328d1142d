"""What a carrier's webhook has to know before it believes a request."""

from __future__ import annotations

from dataclasses import dataclass

from maskline.store.engine import Tx
from maskline.store.keys import ACTIVE, PARENT


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The Service in a webhook's path: the sealed tokens that its account's requests may be signed with, and who
    carries the number that was called or texted; None: it is not in this Service's pool.
    """

    tokens_sealed: tuple[str, ...]
    active: bool
    carrier_account: str | None


def find_endpoint(tx: Tx, account_sid: str, service_sid: str, number: str) -> Endpoint | None:
    """The Service, if it is this account's."""
    row = tx.execute(
        f"SELECT a.token_sealed, a.previous_sealed, {ACTIVE} FROM services v"
        f" JOIN accounts a ON a.sid = v.account_sid {PARENT} WHERE v.sid = :service AND v.account_sid = :account",
        {"service": service_sid, "account": account_sid},
    ).fetchone()
    if row is None:
        return None
    carrier = tx.execute(
        "SELECT carrier_account FROM numbers WHERE phone_number = :number AND service_sid = :service",
        {"number": number, "service": service_sid},
    ).fetchone()
    tokens = tuple(sealed for sealed in row[:2] if sealed is not None)
    return Endpoint(tokens, bool(row[2]), carrier[0] if carrier else None)
