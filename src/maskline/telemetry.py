"""Logs: structured, on stderr, readable on a terminal and one JSON object a line elsewhere.

Events are named `noun.what_happened`; no body, no secret and no full number is ever logged.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog
from structlog.typing import EventDict

from maskline.clock import SystemClock

SELDOM_S = 1.0


class LogThrottle:
    """Says once a second at most that what all work with is away, in a line: whoever works meets it, again and again.

    `error` is what they meet, `event` how it is called in the log. `met_by` is the event of whoever is heard, `unsaid`
    how many were not since the line before.
    """

    def __init__(self, error: type[Exception], event: str, uptime: Callable[[], float]) -> None:
        self._error = error
        self._event = event
        self._uptime = uptime
        self._next_at = 0.0
        self._unsaid = 0

    def __call__(self, _: Any, __: str, entry: EventDict) -> EventDict:
        given = entry.get("exc_info")
        met = given if isinstance(given, BaseException) else sys.exc_info()[1]
        if not isinstance(met, self._error):
            return entry
        now = self._uptime()
        if now < self._next_at:
            self._unsaid += 1
            raise structlog.DropEvent
        entry.pop("exc_info", None)
        entry.update(error=" ".join(str(met).split()), met_by=entry["event"], unsaid=self._unsaid)
        entry.update(event=self._event, level="warning")
        self._next_at, self._unsaid = now + SELDOM_S, 0
        return entry


def configure_logs(away: type[Exception], level: int = logging.INFO) -> None:
    """Set up the logs of this process. `away`: what says that the database cannot be reached or written."""
    pretty = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            LogThrottle(away, "store.unavailable", SystemClock().uptime),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
