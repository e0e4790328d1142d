"""What the database knows of a carrier account, for a look from outside: its numbers, and whether it is down."""

from __future__ import annotations

from dataclasses import dataclass

from maskline.store.migrate import Execute

_NUMBERS = """
SELECT phone_number FROM numbers WHERE carrier_account = ? AND service_sid IS NOT NULL ORDER BY phone_number"""
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
    """`execute` is that of an open connection."""
    numbers = [row[0] for row in execute(_NUMBERS, (carrier_account,)).fetchall()]
    down = execute(_DOWN, (carrier_account,)).fetchone()
    return Carried(numbers, down[0], bool(down[1])) if down is not None else Carried(numbers)
