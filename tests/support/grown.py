"""Many rows for few: a PostgreSQL database with the rows that are there over and over, under other names."""

import psycopg
from psycopg import sql

GROWN = (
    "sessions",
    "participants",
    "people",
    "interactions",
    "callback_attempts",
    "optouts",
    "received",
    "idempotency",
    "tombstones",
    "sandbox_messages",
)
NAMES = {
    "sid",
    "session_sid",
    "unique_name",
    "identifier_key",
    "identifier_hash",
    "interaction_sid",
    "participant_sid",
    "inbound_participant_sid",
    "outbound_participant_sid",
    "inbound_resource_sid",
    "outbound_resource_sid",
    "carrier_id",
    "callback_sid",
    "message_sid",
    "order_key",
    "reference",
    "key",
}
"""What is another one in each copy, and the same one in all rows of a copy that name it. Services stay."""

LATER = "check_at"
"""Copies are over in years only, so that what sweeps has no more to do for them."""

_COLUMNS = (
    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s"
)


def grow(url: str, copies: int, *, looked_at: bool) -> None:
    """Add so many copies of the rows of each large table. `looked_at`: and let PostgreSQL look what is there then."""
    with psycopg.connect(url) as connection:
        for table in GROWN:
            columns = [row[0] for row in connection.execute(_COLUMNS, (table,)).fetchall()]
            values = [sql.SQL(_value(column)).format(sql.Identifier(column)) for column in columns]
            connection.execute(
                sql.SQL("INSERT INTO {0} ({1}) SELECT {2} FROM {0}, generate_series(1, {3}) AS n").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, columns)),
                    sql.SQL(", ").join(values),
                    copies,
                )
            )
    if looked_at:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


def _value(column: str) -> str:
    if column in NAMES:
        return "left({0}, 2) || md5({0} || n)"
    return "{0} + 100000000000000" if column == LATER else "{0}"
