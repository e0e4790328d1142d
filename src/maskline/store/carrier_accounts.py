"""What the database knows of carrier accounts: of one its numbers, and whether it is down; and which have numbers here
that the settings do not have. Also for a look from outside, so that it takes the `execute` of any open connection.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from maskline.store.migrate import Execute

_NUMBERS = """
SELECT phone_number FROM numbers WHERE carrier_account = ? AND service_sid IS NOT NULL ORDER BY phone_number"""
_NEXT = "SELECT carrier_account FROM numbers WHERE carrier_account > ? ORDER BY carrier_account LIMIT 1"
_OWNERS = """
SELECT DISTINCT account_sid FROM numbers WHERE carrier_account = ? AND service_sid IS NOT NULL ORDER BY account_sid"""
_DOWN = "SELECT down_since, refused FROM carrier_health WHERE carrier_account = ? AND down_since IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Carried:
    """`numbers`: those in pools. `down_since`: since when the account takes nothing, as its credentials are `refused`
    or for another reason.
    """

    numbers: list[str]
    down_since: int | None = None
    refused: bool = False


def look_up_account(execute: Execute, carrier_account: str) -> Carried:
    """An account by its name."""
    numbers = [row[0] for row in execute(_NUMBERS, (carrier_account,)).fetchall()]
    down = execute(_DOWN, (carrier_account,)).fetchone()
    return Carried(numbers, down[0], bool(down[1])) if down is not None else Carried(numbers)


def find_absent(execute: Execute, known: Collection[str]) -> dict[str, list[str]]:
    """The accounts that carry numbers of pools and are not `known`; with each, whose these numbers are."""
    absent: dict[str, list[str]] = {}
    name = ""
    while (row := execute(_NEXT, (name,)).fetchone()) is not None:
        name = row[0]
        if name not in known and (owners := execute(_OWNERS, (name,)).fetchall()):
            absent[name] = [owner for (owner,) in owners]
    return absent
