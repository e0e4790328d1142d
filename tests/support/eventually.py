"""Waiting for what another process does: the one place where a test may sleep, and it never does so for long."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], timeout_s: float = 30.0) -> T:
    """Ask `check` until what it gives is true, and give that. An AssertionError of it counts as not yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        failure: AssertionError | None = None
        try:
            if found := check():
                return found
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"not within {timeout_s:g} s: {check.__doc__ or check}")
        time.sleep(0.02)
