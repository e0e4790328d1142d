"""A connection to PostgreSQL that tells how each statement is going to be carried out, and then has it done."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

from maskline.store.engine import Tx

_names = count(1)


class Explained:
    """`note` is told each statement, as PostgreSQL gets it, and its plan: the one that is kept for any values. With
    `analyze` it is carried out for that, too, of which nothing is kept. `known`: of these nothing is told again.
    """

    def __init__(
        self, connection: Any, note: Callable[[str, Any], None], known: set[str] | None, *, analyze: bool
    ) -> None:
        self._connection = connection
        self._note = note
        self._known = known
        self._analyze = analyze

    def execute(self, text: str, values: Sequence[Any] = ()) -> Any:
        if self._known is None or text not in self._known:
            self._note(" ".join(text.split()), self._plan(text, values))
        if self._known is not None:
            self._known.add(text)
        return self._connection.execute(text, values)

    def _plan(self, text: str, values: Sequence[Any]) -> Any:
        run = self._connection.execute
        name = f"explained_{next(_names)}"
        types = ", ".join("bigint" if isinstance(value, int) else "unknown" for value in values)
        given = ", ".join(map(_literal, values))
        if self._analyze:
            run("SAVEPOINT explained")
        run(f"PREPARE {name}{types and f' ({types})'} AS {text}")
        options = "ANALYZE, FORMAT JSON" if self._analyze else "FORMAT JSON"
        ((plan,),) = run(f"EXPLAIN ({options}) EXECUTE {name}{given and f' ({given})'}").fetchall()
        if self._analyze:
            run("ROLLBACK TO explained")
        return plan[0]["Plan"]


def explained(
    tx: Tx, note: Callable[[str, Any], None], known: set[str] | None = None, *, analyze: bool = False
) -> Tx:
    """The same transaction, through such a connection."""
    connection = Explained(tx._connection, note, known, analyze=analyze)  # type: ignore[attr-defined]
    return type(tx)(connection, tx.now, tx.idle_close_us, tx.pseudonym)  # type: ignore[arg-type]


def nodes(plan: Any) -> Iterator[Any]:
    """A step of a plan, and all below it."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(int(value)) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
