"""Long messages from handsets that come in parts: kept until the last of them is there, or for long enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maskline.carriers.base import Inbound, Means, Notice
from maskline.domain import problems
from maskline.domain.part import Part

MOST_SWEPT = 100
GAP = "…"
"""Stands for parts that never came."""


class Parts:
    """Of one account. `decode` makes a text of parts that follow each other; a message goes on without those that have
    not come `wait_s` after the first.
    """

    def __init__(
        self, name: str, means: Means, wait_s: float, decode: Callable[[Sequence[Part]], str]
    ) -> None:
        self._name = name
        self._bring = means.bring
        self._inbox = means.inbox
        self._wait_s = wait_s
        self._decode = decode

    async def keep(self, part: Part) -> bool:
        """Take a part in for good, and bring on its message if that is whole now. As `Bring`."""
        parts = await self._inbox.keep_part(part)
        return await self._bring_on(parts) if parts else True

    async def sweep(self) -> None:
        """Bring on messages whose parts have come, and those that have waited for a missing one for long enough.

        Raises ExceptionGroup if some could not be; the others have gone on.
        """
        failures = []
        for parts in await self._inbox.waiting_parts(self._name, self._wait_s, MOST_SWEPT):
            try:
                await self._bring_on(parts)
            except Exception as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("messages could not go on", failures)

    async def _bring_on(self, parts: list[Part]) -> bool:
        """Bring on what there is of a message; an event says so where a part is missing."""
        first = parts[0]
        known = await self._bring(
            Inbound(self._name, first.message_id, first.number, first.sender, self._join(parts))
        )
        await self._inbox.mark_brought(first)
        if known and len(parts) < first.total:
            said = f"{len(parts)} of {first.total} parts came"
            await self._bring(
                Notice(self._name, first.number, first.sender, problems.MESSAGE_INCOMPLETE, said)
            )
        return known

    def _join(self, parts: list[Part]) -> str:
        """The text of these parts, which are in order, with a mark for each gap."""
        texts: list[str] = []
        run: list[Part] = []
        there = {part.place: part for part in parts}
        for place in range(1, parts[0].total + 1):
            part = there.get(place)
            if part is not None:
                run.append(part)
            elif run or not texts:
                texts += [self._decode(run), GAP]
                run = []
        return "".join([*texts, self._decode(run)])
