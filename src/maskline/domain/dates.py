"""Instants as Twilio writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from maskline.domain.model import SECOND


@lru_cache(maxsize=4096)
def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_date(at: int) -> str:
    """ISO 8601 in whole seconds, GMT: `2015-07-30T20:00:00Z`."""
    return _iso(at // SECOND)
