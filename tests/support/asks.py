"""What a store is asked: as long as somebody asks, nothing is at rest, though no table may show it yet."""

from collections.abc import Awaitable, Callable
from typing import Any

from maskline.store.engine import Store


class Asks:
    """Counts the calls of a store's verbs from now on, and those that it has not answered."""

    def __init__(self, store: Store) -> None:
        self.begun = self.unanswered = 0
        for name in ("read", "write", "batch"):
            setattr(store, name, self._noted(getattr(store, name)))

    def _noted(self, ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def noted(*args: Any, **kwargs: Any) -> Any:
            self.begun += 1
            self.unanswered += 1
            try:
                return await ask(*args, **kwargs)
            finally:
                self.unanswered -= 1

        return noted
