"""Retention by hand, beside a running server."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.support.server import RealServer
from tests.support.world import make_pair, make_service

Invoke = Callable[..., Result]
DAY_US = 86_400_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    """A server on the data directory `data` that deletes nothing by itself."""
    server = RealServer(tmp_path / "data", environment={"MASKLINE_RETENTION_DAYS": "0"}).start()
    yield server
    assert server.stop() == 0, server.log()


def closed_long_ago(server: RealServer, service: Any, days: int) -> Any:
    """A Session with two people and a message that ended so many days ago."""
    pair = make_pair(server.api, service)
    pair.send(pair.first, "hello")
    server.api.make(pair.session["url"], {"Status": "closed"})
    with closing(sqlite3.connect(server.data / "maskline.db", timeout=30)) as connection, connection:
        changed = connection.execute(
            "UPDATE sessions SET ended_at = ended_at - ? WHERE sid = ?", (days * DAY_US, pair.session["sid"])
        )
        assert changed.rowcount == 1
    return pair.session


def left(server: RealServer, *sessions: Any) -> list[bool]:
    return [server.api.get(session["url"]).status == 200 for session in sessions]


def test_old_sessions_are_deleted_beside_the_server(server: RealServer, invoke: Invoke) -> None:
    service = make_service(server.api)
    young, old = closed_long_ago(server, service, 29), closed_long_ago(server, service, 31)
    active = make_pair(server.api, service).session
    shown = invoke("prune", "--days", "30", "--data", "data")
    assert shown.exit_code == 0
    assert "Deleted 1 Sessions that ended 30 days ago or earlier." in shown.stdout
    assert left(server, young, old, active) == [True, False, True]
    counts = (
        "SELECT count(*) FROM participants WHERE session_sid = ?",
        "SELECT count(*) FROM purges WHERE ? <> ''",
    )
    assert [server.rows(count, old["sid"])[0][0] for count in counts] == [0, 0]
    again = json.loads(invoke("prune", "--days", "30", "--data", "data", "--json").stdout)
    assert again == {"days": 30, "sessions_deleted": 0}


def test_without_days_the_setting_counts(server: RealServer, invoke: Invoke) -> None:
    session = closed_long_ago(server, make_service(server.api), 91)
    shown = invoke("prune", "--data", "data", MASKLINE_RETENTION_DAYS="0")
    assert "Deleted no Sessions" in shown.stdout
    assert left(server, session) == [True]
    assert json.loads(invoke("prune", "--data", "data", "--json").stdout) == {
        "days": 90,
        "sessions_deleted": 1,
    }
    assert left(server, session) == [False]


def test_what_cannot_be_meant_is_refused(server: RealServer, invoke: Invoke) -> None:
    for days in ("0", "-1", "soon"):
        assert invoke("prune", "--days", days, "--data", "data").exit_code == 2
    assert invoke("prune", "--data", "nowhere").exit_code == 1
