"""Which numbers their carriers have been told to bring here, and where their traffic went before.

What is wanted is what the directory says when a row is due: a number in a pool is brought here by the account that
carries it, any other goes where it went before. So of a number that another account carries by now, its former one is
told that still.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskline.domain.model import ProxyNumber
from maskline.store.engine import Tx


@dataclass(frozen=True, slots=True)
class Adoption:
    """One that is due. `here`: its number is in a pool, and this account carries it."""

    phone_number: str
    carrier_account: str
    account_sid: str
    former: str | None
    attempts: int
    due_at: int
    here: bool


_KEEP = """
INSERT INTO adoptions (phone_number, carrier_account, account_sid, former, due_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (phone_number, carrier_account) DO UPDATE SET account_sid = excluded.account_sid, due_at = excluded.due_at,
    attempts = 0, former = coalesce(adoptions.former, excluded.former)"""

_KNOWN = "WHERE phone_number = ? AND carrier_account = ? AND due_at = ?"


def keep_former(
    tx: Tx, phone_number: str, carrier_account: str, account_sid: str, former: str | None, look_again_us: int
) -> None:
    """Note where a number's traffic goes, unless that is known from before; and look at it again after a while, since
    who told the carrier may not have come to putting it into a pool.
    """
    tx.execute(_KEEP, (phone_number, carrier_account, account_sid, former, tx.now + look_again_us))


def want_adoption(tx: Tx, number: ProxyNumber, in_us: int = 0) -> None:
    """Have the server tell the number's carrier, after so long."""
    keep_former(tx, number.phone_number, number.carrier_account, number.account_sid, None, in_us)


def want_all(tx: Tx, carrier_account: str | None = None) -> int:
    """Likewise for all numbers in pools, or those that this account carries. Returns how many."""
    return tx.execute(
        "INSERT INTO adoptions (phone_number, carrier_account, account_sid, due_at)"
        " SELECT phone_number, carrier_account, account_sid, ?1 FROM numbers"
        " WHERE service_sid IS NOT NULL AND carrier_account <> 'sandbox'"
        " AND carrier_account = coalesce(?2, carrier_account)"
        " ON CONFLICT (phone_number, carrier_account) DO UPDATE SET due_at = excluded.due_at, attempts = 0",
        (tx.now, carrier_account),
    ).rowcount


def want_look(tx: Tx, phone_number: str) -> None:
    """The number has left its pool: have whoever was told to bring it here told otherwise."""
    tx.execute("UPDATE adoptions SET due_at = ?, attempts = 0 WHERE phone_number = ?", (tx.now, phone_number))


def want_looks(tx: Tx, service_sid: str) -> None:
    """Likewise of all numbers of a Service."""
    tx.execute(
        "UPDATE adoptions SET due_at = ?, attempts = 0 WHERE phone_number IN"
        " (SELECT phone_number FROM numbers WHERE service_sid = ?)",
        (tx.now, service_sid),
    )


def find_adoptions(tx: Tx, most: int) -> list[Adoption]:
    """Those that are due."""
    rows = tx.execute(
        "SELECT a.phone_number, a.carrier_account, a.account_sid, a.former, a.attempts, a.due_at,"
        " n.service_sid IS NOT NULL AND n.carrier_account = a.carrier_account FROM adoptions a"
        " LEFT JOIN numbers n ON n.phone_number = a.phone_number WHERE a.due_at <= ? ORDER BY a.due_at LIMIT ?",
        (tx.now, most),
    ).fetchall()
    return [Adoption(*row) for row in rows]


def settle_adoption(tx: Tx, one: Adoption) -> None:
    """The carrier has been told. Unless something has happened to the number meanwhile, that is all; if it has, another
    process may have told it the opposite before.
    """
    if one.here:
        tx.execute(f"UPDATE adoptions SET due_at = NULL, attempts = 0 {_KNOWN}", _known(one))
    elif not tx.execute(f"DELETE FROM adoptions {_KNOWN}", _known(one)).rowcount:
        want_look(tx, one.phone_number)


def postpone_adoption(tx: Tx, one: Adoption, delay_us: int) -> None:
    """The carrier could not be told."""
    again_at = tx.now + delay_us
    tx.execute(f"UPDATE adoptions SET due_at = ?, attempts = attempts + 1 {_KNOWN}", (again_at, *_known(one)))


def postpone_all(tx: Tx, carrier_account: str, delay_us: int) -> None:
    """Nobody here can tell this account anything: what is due of it is looked at again after so long."""
    tx.execute(
        "UPDATE adoptions SET due_at = ? WHERE carrier_account = ? AND due_at <= ?",
        (tx.now + delay_us, carrier_account, tx.now),
    )


def _known(one: Adoption) -> tuple[str, str, int]:
    return one.phone_number, one.carrier_account, one.due_at
