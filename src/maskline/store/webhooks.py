"""What a carrier's webhook has to know before it believes a request."""

from __future__ import annotations

from dataclasses import dataclass

from maskline.store.engine import Tx
from maskline.store.keys import ACTIVE, PARENT


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The Service in a webhook's path: the sealed tokens that its account's requests may be signed with, and who
    carries the number that was called or texted, and the one that did so; None: it is not in this Service's pool.
    """

    tokens_sealed: tuple[str, ...]
    active: bool
    carrier_account: str | None
    sender_account: str | None


def find_endpoint(tx: Tx, account_sid: str, service_sid: str, to: str, sender: str) -> Endpoint | None:
    """The Service, if it is this account's."""
    row = tx.execute(
        f"SELECT a.token_sealed, a.previous_sealed, {ACTIVE} FROM services v"
        f" JOIN accounts a ON a.sid = v.account_sid {PARENT} WHERE v.sid = :service AND v.account_sid = :account",
        {"service": service_sid, "account": account_sid},
    ).fetchone()
    if row is None:
        return None
    rows = tx.execute(
        "SELECT phone_number, carrier_account FROM numbers WHERE phone_number IN (:to, :sender)"
        " AND service_sid = :service",
        {"to": to, "sender": sender, "service": service_sid},
    ).fetchall()
    carried = dict(rows)
    tokens = tuple(sealed for sealed in row[:2] if sealed is not None)
    return Endpoint(tokens, bool(row[2]), carried.get(to), carried.get(sender))


@dataclass(frozen=True, slots=True)
class Listed:
    """A number's row in the directory, as far as it says who is concerned."""

    account_sid: str
    service_sid: str | None
    carrier_account: str


def find_listed(tx: Tx, number: str) -> Listed | None:
    """Whose a number is."""
    row = tx.execute(
        "SELECT account_sid, service_sid, carrier_account FROM numbers WHERE phone_number = ?", (number,)
    ).fetchone()
    return Listed(*row) if row else None


def find_carried(tx: Tx, carrier_account: str) -> Listed | None:
    """Whose some number is that this carrier account carries."""
    row = tx.execute(
        "SELECT account_sid, NULL, carrier_account FROM numbers WHERE carrier_account = ? LIMIT 1",
        (carrier_account,),
    ).fetchone()
    return Listed(*row) if row else None
