"""Facts about this database itself, such as its schema's version and the id of the key that seals its secrets."""

from __future__ import annotations

from maskline.store.engine import Tx


def find_meta(tx: Tx, name: str) -> str | None:
    """The fact of this name."""
    row = tx.execute("SELECT value FROM meta WHERE name = :name", {"name": name}).fetchone()
    return str(row[0]) if row else None


def put_meta(tx: Tx, name: str, value: str) -> None:
    """Write down a fact."""
    tx.execute(
        "INSERT INTO meta (name, value) VALUES (:name, :value)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        {"name": name, "value": value},
    )
