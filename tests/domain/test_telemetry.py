"""What is logged while the database is away: a line a second, whoever meets it."""

from typing import Any

import structlog

from maskline.store.engine import StoreUnavailable
from maskline.telemetry import LogThrottle
from tests.support.clock import FakeClock


def logged_to(clock: FakeClock) -> tuple[Any, list[dict[str, Any]]]:
    """A log that says of StoreUnavailable as the server's does, and what is written there."""
    lines: list[dict[str, Any]] = []

    def keep(_: Any, __: str, entry: dict[str, Any]) -> Any:
        lines.append(entry)
        raise structlog.DropEvent

    seldom = LogThrottle(StoreUnavailable, "store.unavailable", clock.uptime)
    return structlog.wrap_logger(None, [structlog.processors.add_log_level, seldom, keep]), lines


def fail(log: Any, error: Exception, event: str, **said: Any) -> None:
    try:
        raise error
    except Exception:
        log.exception(event, **said)


def test_what_everybody_meets_is_said_once_a_second_with_its_cause() -> None:
    clock = FakeClock()
    log, lines = logged_to(clock)
    away = StoreUnavailable("away:\n  nobody listens there")
    for _ in range(64):
        fail(log, away, "worker.record_failed")
    assert lines == [
        {
            "event": "store.unavailable",
            "level": "warning",
            "error": "away: nobody listens there",
            "met_by": "worker.record_failed",
            "unsaid": 0,
        }
    ]
    clock.advance(0.9)
    log.error("sandbox.bring_failed", exc_info=away)
    assert len(lines) == 1
    clock.advance(0.1)
    log.error("sandbox.bring_failed", exc_info=away, sid="1")
    (_, second) = lines
    assert (second["met_by"], second["sid"], second["unsaid"]) == ("sandbox.bring_failed", "1", 64)
    assert "exc_info" not in second


def test_everything_else_is_said_as_often_as_it_comes() -> None:
    log, lines = logged_to(FakeClock())
    for _ in range(3):
        fail(log, ValueError("a defect"), "worker.defect")
        log.info("worker.began")
    assert [line["event"] for line in lines] == ["worker.defect", "worker.began"] * 3
    assert [line.get("exc_info") for line in lines] == [True, None] * 3
