"""What a transaction does, in numbers: for what promises to be short."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maskline.store.engine import Tx
from tests.support.house import House


@dataclass
class Work:
    """What one transaction did."""

    statements: int = 0
    written: int = 0


async def counted(house: House, fn: Callable[..., Any], *args: Any) -> tuple[Any, Work]:
    """Run a transaction and count what it does."""
    work = Work()

    def run(tx: Tx) -> Any:
        def execute(sql: str, params: Any = ()) -> Any:
            work.statements += 1
            cursor = tx.execute(sql, params)
            if "RETURNING" in sql:
                rows = cursor.fetchall()
                work.written += len(rows)
                return Rows(rows)
            if not sql.lstrip().startswith(
                ("SELECT", "WITH")
            ):  # of these PostgreSQL counts the rows that were read
                work.written += max(cursor.rowcount, 0)
            return cursor

        def executemany(sql: str, many: list[Any]) -> Any:
            work.statements += 1
            cursor = tx.executemany(sql, many)
            work.written += max(cursor.rowcount, 0)
            return cursor

        return fn(Tx(execute, executemany, tx.now, tx.idle_close_us, tx.pseudonym), *args)

    return await house.store.write(run), work


class Rows:
    """Rows that have been fetched already."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows
        self.rowcount = len(rows)

    def fetchall(self) -> list[Any]:
        return self._rows
