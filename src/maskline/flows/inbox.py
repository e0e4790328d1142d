"""What carriers keep until it is whole, or until the other end knows that it is taken: their `Inbox`, in the store."""

from __future__ import annotations

from maskline.carriers.base import Inbox
from maskline.domain.model import SECOND
from maskline.domain.part import Part
from maskline.domain.phone import identifier_key
from maskline.flows.messages import carrier_key, received_key
from maskline.store.engine import Store
from maskline.store.parts import close_message, find_waiting_parts, keep_part, mark_brought
from maskline.store.received import find_unanswered, forget_answered


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
        key = received_key(carrier_account, identifier_key(number), carrier_id)
        await self._store.batch(forget_answered, (carrier_account, key))

    async def unanswered(self, carrier_account: str) -> list[str]:
        keys = await self._store.read(find_unanswered, carrier_account)
        return [key.removeprefix(carrier_key(carrier_account, "")).partition("/")[2] for key in keys]


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

    async def unanswered(self, carrier_account: str) -> list[str]:
        return []
