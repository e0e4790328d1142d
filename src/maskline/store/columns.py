"""Lists of columns, as the statements of one table repeat them."""

from __future__ import annotations

from typing import Any


def names_in(columns: str) -> list[str]:
    """The names in a list such as `sid, account_sid`."""
    return [name.strip() for name in columns.split(",")]


def qualified(columns: str, table: str) -> str:
    """The list for a join in which the table has this name."""
    return ", ".join(f"{table}.{name}" for name in names_in(columns))


def parameters(columns: str) -> str:
    """The values of a row in an INSERT, each by its column's name (`params_of`)."""
    return ", ".join(f":{name}" for name in names_in(columns))


def params_of(value: Any) -> dict[str, Any]:
    """A value whose fields are columns, by their names."""
    return {name: getattr(value, name) for name in value.__slots__}
