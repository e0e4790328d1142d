"""Nobody adds a column without saying whether it holds personal data, and what erases that."""

from typing import Any

from maskline.store.engine import Tx
from tests.support.house import House
from tests.support.personal import NONE, PASSING, PERSONAL


def columns(tx: Tx) -> dict[str, list[str]]:
    tables: list[Any] = tx.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {
        name: sorted(row[1] for row in tx.execute(f"PRAGMA table_info({name})").fetchall())
        for (name,) in tables
        if not name.startswith("sqlite_")
    }


async def test_every_column_is_put_down_once(house: House) -> None:
    there = await house.store.read(columns)
    known = {
        table: sorted([*NONE.get(table, "").split(), *PERSONAL.get(table, {}), *PASSING.get(table, {})])
        for table in {*NONE, *PERSONAL, *PASSING}
    }
    assert known == there
