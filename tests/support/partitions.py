"""The large tables, hash-partitioned by their Service, as servers with more than one machine would have them."""

from typing import Any

import psycopg
from psycopg import sql

from maskline.store.citus import DISTRIBUTED
from maskline.store.engine import Tx

PARTITIONS = 4

_INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = %s"


def partition(url: str) -> None:
    """Build them anew in an empty database. Fails where a unique index lacks the Service."""
    with psycopg.connect(url) as connection:
        for table in DISTRIBUTED:
            indexes = [row[0] for row in connection.execute(_INDEXES, (table,)).fetchall()]
            old, new = sql.Identifier(f"{table}_whole"), sql.Identifier(table)
            for text in (
                sql.SQL("ALTER TABLE {new} RENAME TO {old}"),
                sql.SQL("CREATE TABLE {new} (LIKE {old} INCLUDING DEFAULTS) PARTITION BY HASH (service_sid)"),
                sql.SQL("DROP TABLE {old}"),
            ):
                connection.execute(text.format(old=old, new=new))
            for remainder in range(PARTITIONS):
                text = sql.SQL(
                    "CREATE TABLE {part} PARTITION OF {new} FOR VALUES WITH (MODULUS {all}, REMAINDER {one})"
                )
                part = sql.Identifier(f"{table}_p{remainder}")
                connection.execute(text.format(part=part, new=new, all=PARTITIONS, one=remainder))
            for index in indexes:
                connection.execute(index.encode())


def touched(plan: dict[str, Any]) -> set[str]:
    """The tables and partitions that a plan, as EXPLAIN ANALYZE tells it, has looked into or written to."""
    found = {name for node in plan.get("Plans", []) for name in touched(node)}
    if plan["Actual Loops"] and "Relation Name" in plan and plan["Node Type"] != "ModifyTable":
        found.add(plan["Relation Name"])
    return found


def place_of(tx: Tx, service_sid: str) -> int:
    """On which partition a Service is."""
    for place in range(PARTITIONS):
        (here,) = tx.execute(
            f"SELECT satisfies_hash_partition(CAST('sessions' AS regclass), {PARTITIONS}, {place},"
            " CAST(? AS text))",
            (service_sid,),
        ).fetchone()
        if here:
            return place
    raise AssertionError("it is on none")
