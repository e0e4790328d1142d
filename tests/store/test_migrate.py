"""Migrations keep what is there."""

from __future__ import annotations

import sqlite3

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
