"""Has Citus spread the large tables over its machines, by Service. The others stay on the coordinator: the outbox, the
directory, and whatever else is asked for before the Service is known.
"""

from __future__ import annotations

from collections.abc import Iterator

from maskline.store.migrate import Execute

DISTRIBUTED = (
    "sessions",
    "participants",
    "former_numbers",
    "people",
    "interactions",
    "callback_attempts",
    "passing_bodies",
    "paces",
    "optouts",
)
"""They carry service_sid first in their key and in every unique index, and the first is where the others are put."""

_KNOWN = "SELECT to_regclass('pg_dist_partition') IS NOT NULL"
_DONE = "SELECT CAST(logicalrelid AS text) FROM pg_dist_partition WHERE partmethod = 'h'"
_DISTRIBUTE = "SELECT create_distributed_table(CAST(? AS regclass), 'service_sid', colocate_with => ?)"
# What was in the table until then is hidden, and still there: what is deleted later has to be deleted for good.
_CLEAR = "SELECT truncate_local_data_after_distributing_table(CAST(? AS regclass))"


class CannotDistribute(Exception):
    """There is nothing that could spread tables."""


def check_citus(execute: Execute) -> None:
    """Raises CannotDistribute."""
    if not execute(_KNOWN).fetchone()[0]:
        raise CannotDistribute(
            "this database has no Citus extension; install it on the server and on its workers, run"
            " `CREATE EXTENSION citus`, and add the workers"
        )


def distribute(execute: Execute) -> Iterator[str]:
    """Spread what is not spread yet, and give the name of each table that is done. `execute` commits each statement;
    where it was broken off, the next call goes on. Nobody may have the database meanwhile. Raises CannotDistribute.
    """
    check_citus(execute)
    done = {name for (name,) in execute(_DONE).fetchall()}
    first, *others = DISTRIBUTED
    for table, place in ((first, "none"), *((other, first) for other in others)):
        if table not in done:
            execute(_DISTRIBUTE, (table, place))
        execute(_CLEAR, (table,))
        if table not in done:
            yield table
