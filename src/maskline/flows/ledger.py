"""The sandbox's books, kept in the store: its `Ledger`."""

from __future__ import annotations

from maskline.carriers.base import CarrierError, Kind
from maskline.carriers.sandbox import Ledger
from maskline.domain.sandbox import Abilities, Handed, HandOver, HandsetMessage, Outcome, Todo
from maskline.store import sandbox as books
from maskline.store.engine import Store, StoreInDoubt, StoreUnavailable


class StoreLedger(Ledger):
    """Every account's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def hand_over(self, item: HandOver) -> Handed:
        try:
            return await self._store.batch(books.hand_over, item)
        except StoreInDoubt as error:
            raise CarrierError(Kind.UNCERTAIN, str(error)) from error
        except StoreUnavailable as error:
            raise CarrierError(Kind.UNREACHABLE, str(error)) from error

    async def add_text(self, message: HandsetMessage, payload: str) -> Todo | None:
        return await self._store.batch(books.add_texts, (message, payload))

    async def abilities(self, account_sid: str) -> Abilities:
        return await self._store.read(books.find_abilities, account_sid)

    async def find_taken(self, account_sid: str, reference: str) -> str | None:
        return await self._store.read(books.find_taken, account_sid, reference)

    async def find_script(self, account_sid: str, number: str) -> Outcome | None:
        return await self._store.read(books.find_script, account_sid, number)

    async def due(self, most: int) -> tuple[list[Todo], int | None, int]:
        return await self._store.read(books.due_todos, most)

    async def done(self, todos: list[Todo]) -> None:
        await self._store.batch(books.done_todos, todos)

    async def postpone(self, todos: list[Todo], by_us: int) -> None:
        await self._store.write(books.postpone_todos, todos, by_us)
