"""Instants as Twilio writes them, and as its customers do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from maskline.domain.model import SECOND, Instant

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{8}")


@lru_cache(maxsize=4096)
def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_date(at: int) -> str:
    """ISO 8601 in whole seconds, GMT: `2015-07-30T20:00:00Z`."""
    return _iso(at // SECOND)


def is_day(text: str) -> bool:
    """Whether a date is a bare one."""
    return _DATE.fullmatch(text) is not None


def parse_instant(text: str) -> Instant:
    """A date: RFC 3339 with or without fraction and offset, or a bare date as midnight UTC. Raises ValueError."""
    try:
        at = datetime.fromisoformat(text.upper())  # of RFC 3339, t and z count as T and Z
        if at.tzinfo is not None:
            at = at.astimezone(UTC)  # and so within the years that can be told
    except (ValueError, OverflowError):
        raise ValueError("an ISO 8601 date such as 2026-07-30T20:00:00Z") from None
    if at.tzinfo is None:
        if not is_day(text):
            raise ValueError("an instant needs a time zone, such as Z")
        at = at.replace(tzinfo=UTC)
    return Instant(int(at.timestamp()) * SECOND)
