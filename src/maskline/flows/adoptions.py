"""Telling carriers where to bring the traffic of numbers that have joined a pool or left it, beside what they are asked
while somebody waits. What cannot be told now is told again each minute, and an event says so once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from maskline.carriers.base import Carrier, CarrierError, Kind, NotCarried
from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.model import SECOND
from maskline.domain.phone import mask
from maskline.mint import Mint
from maskline.store.adoptions import (
    Adoption,
    find_adoptions,
    keep_former,
    postpone_adoption,
    postpone_all,
    settle_adoption,
)
from maskline.store.engine import Store, StoreUnavailable, Tx
from maskline.store.events import insert_event

ADOPT_S = 10.0
"""How long a carrier may take to bring a number here."""
POLL_S = 5.0
AGAIN_S = 60
MOST = 50

_log = structlog.get_logger(__name__)


async def adopt(store: Store, carrier: Carrier, account_sid: str, phone_number: str) -> None:
    """Have the carrier bring the number here; where it went before is kept first. Raises CarrierError."""

    async def keep(former: str) -> None:
        await store.write(keep_former, phone_number, carrier.name, account_sid, former, AGAIN_S * SECOND)

    try:
        async with asyncio.timeout(ADOPT_S):
            await carrier.adopt(account_sid, phone_number, keep)
    except TimeoutError:
        raise CarrierError(Kind.UNCERTAIN, "took too long") from None


class Adoptions:
    """The task."""

    def __init__(self, store: Store, clock: Clock, mint: Mint, carriers: Mapping[str, Carrier]) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._carriers = carriers

    async def run(self) -> None:
        """Do what is due, for ever, whatever goes wrong meanwhile."""
        while True:
            try:
                for _ in range(MOST):
                    # One by one, since it takes a while to tell of one, and by then another may be in a pool again.
                    due = await self._store.read(find_adoptions, 1)
                    if not due:
                        break
                    await self._tell(due[0])
            except Exception:
                _log.exception("adoptions.failed")
            await self._clock.sleep(POLL_S)

    async def _tell(self, one: Adoption) -> None:
        carrier = self._carriers.get(one.carrier_account)
        if carrier is None:  # what is sent from its numbers waits, too, which is told (`absent`)
            await self._store.write(postpone_all, one.carrier_account, AGAIN_S * SECOND)
            return
        try:
            if one.here:
                await adopt(self._store, carrier, one.account_sid, one.phone_number)
            elif one.former is not None:
                async with asyncio.timeout(ADOPT_S):
                    await carrier.release(one.phone_number, one.former)
        except StoreUnavailable:
            raise
        except Exception as error:
            if (
                isinstance(error, NotCarried) and not one.here
            ):  # it is the account's no more, nor its business
                await self._store.write(settle_adoption, one)
            else:
                await self._store.write(_postpone, one, _why(error), self._mint.sid("NO"))
        else:
            # What `adopt` has kept meanwhile is due later: it is looked at once more, and there is nothing to do then.
            await self._store.write(settle_adoption, one)


def _why(error: Exception) -> str:
    """Why a carrier could not be told. A defect is told like that, or all that is due later would wait behind it."""
    match error:
        case CarrierError():
            return error.detail
        case TimeoutError():
            return "took too long"
        case _:
            _log.exception("adoptions.defect", exc_info=error)
            return "defect"


def _postpone(tx: Tx, one: Adoption, detail: str, event_sid: str) -> None:
    postpone_adoption(tx, one, AGAIN_S * SECOND)
    if one.attempts == 0:
        said = f"{one.carrier_account}, {mask(one.phone_number)}: {detail}"
        insert_event(tx, event_sid, one.account_sid, problems.NOT_ADOPTED, said)
