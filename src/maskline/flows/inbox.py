"""What carriers keep until it is whole, or until the other end knows that it is taken: their `Inbox`, in the store."""

from __future__ import annotations

from collections.abc import Sequence

from maskline.carriers.base import Inbox
from maskline.domain.model import SECOND
from maskline.domain.part import Part
from maskline.domain.phone import identifier_key
from maskline.flows.messages import carrier_key, received_key
from maskline.store.engine import Store
from maskline.store.parts import close_message, find_waiting_parts, keep_part, mark_brought
from maskline.store.received import find_unsettled, forget_settled, mark_answered

MOST_FORGOTTEN = 200
"""Rows that one transaction takes away, so that nobody waits long for it."""


class StoreInbox(Inbox):
    """Every account's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep_part(self, part: Part) -> list[Part]:
        return await self._store.write(keep_part, part)

    async def mark_brought(self, part: Part) -> None:
        await self._store.write(mark_brought, part)

    async def waiting_parts(self, carrier_account: str, wait_s: float, most: int) -> list[list[Part]]:
        wait_us = int(wait_s * SECOND)
        found = await self._store.read(find_waiting_parts, carrier_account, wait_us, most)
        closed = [await self._store.write(close_message, parts[0]) for parts in found]
        return [parts for parts in closed if parts]

    async def answered(self, carrier_account: str, number: str, carrier_id: str) -> None:
        await self._store.batch(mark_answered, _row_of(carrier_account, number, carrier_id))

    async def settled(self, carrier_account: str, answered: Sequence[tuple[str, str]]) -> None:
        rows = [_row_of(carrier_account, *one) for one in answered]
        for start in range(0, len(rows), MOST_FORGOTTEN):
            await self._store.write(forget_settled, rows[start : start + MOST_FORGOTTEN])

    async def unsettled(self, carrier_account: str) -> list[tuple[str, bool]]:
        found = await self._store.read(find_unsettled, carrier_account)
        prefix = carrier_key(carrier_account, "")
        return [(key.removeprefix(prefix).partition("/")[2], answered) for key, answered in found]


def _row_of(carrier_account: str, number: str, carrier_id: str) -> tuple[str, str]:
    """The key of its row in `received`."""
    return carrier_account, received_key(carrier_account, identifier_key(number), carrier_id)


class NoInbox(Inbox):
    """Of an account that is only looked at: it keeps nothing."""

    async def keep_part(self, part: Part) -> list[Part]:
        return []

    async def mark_brought(self, part: Part) -> None:
        return

    async def waiting_parts(self, carrier_account: str, wait_s: float, most: int) -> list[list[Part]]:
        return []

    async def answered(self, carrier_account: str, number: str, carrier_id: str) -> None:
        return

    async def settled(self, carrier_account: str, answered: Sequence[tuple[str, str]]) -> None:
        return

    async def unsettled(self, carrier_account: str) -> list[tuple[str, bool]]:
        return []
