"""Migrations keep what is there, and what servers of the release before go on with."""

from __future__ import annotations

import re
import sqlite3

import pytest

from maskline.domain.model import Instant
from maskline.store.migrate import migrate, migrations, statements

SERVICE = (
    "INSERT INTO services (sid, account_sid, unique_name, default_ttl, geo_match_level, number_selection_behavior,"
    " settings, created_at, updated_at) VALUES ('KS1', 'AC1', 'ours', 0, 'country', 'prefer-sticky', '{}', 1, 1)"
)
INTERACTION = (
    "INSERT INTO interactions (service_sid, session_sid, sid, type, data, outbound_status, carrier_id, updated_at)"
    " VALUES (?, 'KC1', ?, 'message', '{}', 40, 'c/1', 2)"
)


def test_messages_and_keys_of_the_first_schema_are_kept() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in statements(migrations()[0][1]):
        connection.execute(statement)
    connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    connection.execute("INSERT INTO meta VALUES ('schema_version', '1')")
    connection.execute(SERVICE)
    connection.executemany(INTERACTION, [("KS1", "KI2"), ("KS1", "KI1"), ("KS of a deleted Service", "KI3")])
    connection.execute("INSERT INTO idempotency VALUES ('AC1/KS1', 'k', 'POST', 'h', 'KI1', 3)")

    migrate(connection.execute, Instant(9))

    kept = connection.execute(
        "SELECT sid, account_sid, outbound_status, carrier_id FROM interactions"
    ).fetchall()
    assert sorted(kept) == [("KI1", "AC1", 40, "c/1"), ("KI2", "AC1", 40, "c/1")]
    assert connection.execute("SELECT resource_sid FROM idempotency").fetchall() == [("KI1",)]
    connection.close()


UNRELEASED = 5
"""The last schema that was made while there was no release whose servers might go on beside it."""

_EXPANDS = re.compile(
    r"CREATE TABLE (?P<table>\w+) \(.*\)|"
    r"CREATE INDEX \w+ ON \w+ \(.*\)( WHERE .*)?|"
    r"CREATE UNIQUE INDEX \w+ ON (?P<unique>\w+) \(.*\)( WHERE .*)?|"
    r"ALTER TABLE \w+ ADD COLUMN \w+ (TEXT|BIGINT|INTEGER|SMALLINT)( NOT NULL DEFAULT ('[^']*'|-?\d+))?|"
    r"INSERT INTO (?P<filled>\w+) .*"
)
"""All that a migration may do beside servers of the release before, each statement in one line."""


def breaking(text: str) -> list[str]:
    """The statements of a migration that take away, rename, tighten or rewrite what there was before it. What is unique
    or filled must be a table of its own.
    """
    made: set[str | None] = {None}
    wrong = []
    for statement in statements(text):
        found = _EXPANDS.fullmatch(" ".join(statement.removesuffix("WITHOUT ROWID").split()))
        if found is None or not {found["unique"], found["filled"]} <= made:
            wrong.append(statement)
        else:
            made.add(found["table"])
    return wrong


def test_a_released_schema_is_only_expanded() -> None:
    later = [(number, text) for number, text in migrations() if number > UNRELEASED]
    assert {number: wrong for number, text in later if (wrong := breaking(text))} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE other (sid TEXT PRIMARY KEY, at BIGINT NOT NULL) /*WITHOUT ROWID*/",
        "CREATE INDEX sessions_other ON sessions (service_sid, mode) WHERE mode <> ''",
        "ALTER TABLE sessions ADD COLUMN other TEXT",
        "ALTER TABLE sessions ADD COLUMN other SMALLINT NOT NULL DEFAULT 0",
        "CREATE TABLE t (a TEXT); CREATE UNIQUE INDEX t_a ON t (a); INSERT INTO t SELECT sid FROM services",
    ],
)
def test_what_expands_a_schema_is_let_pass(statement: str) -> None:
    assert breaking(statement) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE sessions",
        "DROP INDEX sessions_name",
        "ALTER TABLE sessions DROP COLUMN mode",
        "ALTER TABLE sessions RENAME TO conversations",
        "ALTER TABLE sessions RENAME COLUMN mode TO kind",
        "ALTER TABLE sessions ADD COLUMN other TEXT NOT NULL",
        "ALTER TABLE sessions ADD COLUMN other TEXT CHECK (other <> '')",
        "CREATE UNIQUE INDEX sessions_mode ON sessions (service_sid, mode)",
        "UPDATE sessions SET mode = 'voice-only'",
        "DELETE FROM sessions",
        "INSERT INTO sessions (sid) VALUES ('KC1')",
    ],
)
def test_what_the_release_before_would_stumble_over_is_found(statement: str) -> None:
    assert breaking(f"CREATE TABLE other (a TEXT); {statement}") == [statement]
