"""/healthz: the process lives. /readyz: the database answers, its schema is right, the worker (if any) runs.
/openapi.json: the contract file, as tools/make_openapi.py writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from maskline.api.http import Answer, Request
from maskline.store.engine import Store, StoreRefused, StoreUnavailable
from maskline.store.meta import find_meta


def load_contract() -> msgspec.Raw:
    """The contract file in one line, ready to be sent."""
    return msgspec.Raw(msgspec.json.format(Path(__file__).with_name("openapi.json").read_bytes(), indent=-1))


class Ops:
    """The handlers. With `details` (the ops port) it says what is not ready."""

    def __init__(self, store: Store, checks: dict[str, Callable[[], bool]], *, details: bool) -> None:
        self._store = store
        self._checks = checks
        self._details = details

    async def health(self, _: Request) -> Answer:
        return Answer({"status": "ok"})

    async def look(self) -> dict[str, bool]:
        """What has to be right for this process to do its work, and whether it is."""
        return {
            "database": await self._database(),
            **{name: check() for name, check in self._checks.items()},
        }

    async def ready(self, _: Request) -> Answer:
        found = await self.look()
        good = all(found.values())
        content: dict[str, object] = {"status": "ok" if good else "unavailable"}
        if self._details:
            content["checks"] = found
        return Answer(content, 200 if good else 503)

    async def _database(self) -> bool:
        try:
            known = await self._store.read(find_meta, "schema_version") is not None
            return known and self._store.is_writable()
        except (StoreUnavailable, StoreRefused):
            return False
