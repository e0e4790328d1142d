"""What tables there are, and all that stands in them, whatever the engine."""

import sqlite3

from maskline.store.engine import Tx

_COLUMNS = {
    True: "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
    " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'",
    False: "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'",
}


def columns(tx: Tx) -> dict[str, list[str]]:
    """The columns of each table, in alphabetical order."""
    sqlite = isinstance(getattr(tx.execute, "__self__", None), sqlite3.Connection)
    found: dict[str, list[str]] = {}
    for table, column in sorted(map(tuple, tx.execute(_COLUMNS[sqlite]).fetchall())):
        found.setdefault(table, []).append(column)
    return found


def tables(tx: Tx) -> dict[str, str]:
    """All rows of each table of the product, as text, in no order of the engine's own."""
    return {
        name: repr(sorted(map(repr, tx.execute(f"SELECT * FROM {name}").fetchall())))  # noqa: S608
        for name in columns(tx)
        if name != "runs"
    }


def everything(tx: Tx) -> str:
    """All rows of all tables, as text."""
    return repr(tables(tx))
