"""Waiting inside one event loop, without sleeping: the loop goes round until a condition holds, within a bound."""

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], object], what: str = "", bound_s: float = 10.0) -> None:
    """Let everything else run until `condition` holds."""
    deadline = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < deadline, what or "it did not come to pass"
        await asyncio.sleep(0)


async def turns(count: int = 10) -> None:
    """Let everything else run for so many turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)
