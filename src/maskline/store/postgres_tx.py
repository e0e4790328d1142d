"""A transaction on PostgreSQL: one statement for many rows of values is one there (`dialect.for_many`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import psycopg

from maskline.domain.model import Instant
from maskline.store.dialect import for_many, translate
from maskline.store.engine import Cursor, Tx
from maskline.store.postgres_line import Answer, Line

Connection = psycopg.Connection[Any] | Line


def executing(connection: Connection) -> Callable[..., Cursor]:
    def execute(text: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Cursor:
        translated = translate(text)
        return connection.execute(translated.text, translated.values(params))

    return execute


_KINDS: tuple[tuple[type, str], ...] = ((str, "t"), (int, "i"), (type(None), "n"))


def _array(values: Sequence[Any]) -> tuple[str, str]:
    """The kind of these values of one place (`for_many`), and an array of them as PostgreSQL reads it.

    Raises psycopg.ProgrammingError, psycopg.DataError.
    """
    kinds = {_kind(one) for one in set(map(type, values))}
    if kinds == {"t"}:
        return "t", f'{{"{_escaped(values)}"}}'
    if kinds == {"i"}:
        return "i", f"{{{','.join(map(repr, map(int, values)))}}}"
    if kinds == {"n"}:
        return "n", ""
    if kinds == {"n", "t"}:
        quoted = ("NULL" if one is None else f'"{_escaped([one])}"' for one in values)
        return "t", f"{{{','.join(quoted)}}}"
    if kinds == {"i", "n"}:
        return "i", f"{{{','.join('NULL' if one is None else repr(int(one)) for one in values)}}}"
    raise psycopg.ProgrammingError("texts and integers in one place")


def _kind(of: type) -> str:
    for known, kind in _KINDS:
        if issubclass(of, known):
            return kind
    raise psycopg.ProgrammingError(f"a {of.__name__} is no value")


def _escaped(values: Sequence[str]) -> str:
    """The elements of an array of texts, all at once: none can hold the zero that stands between them meanwhile."""
    joined = "\0".join(values)
    if joined.count("\0") >= len(values):
        raise psycopg.DataError("a text with a zero")
    return joined.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","')


class _Found(Sequence[Any]):
    """What a statement has found for each of many rows of values. Brought when it is first looked at."""

    __slots__ = ("_answer", "_count", "_found", "_sort")

    def __init__(
        self, answer: Cursor, count: int, sort: Callable[[int, Iterable[tuple[int, Any]]], list[Any]]
    ) -> None:
        self._answer = answer
        self._count = count
        self._sort = sort
        self._found: list[Any] | None = None

    def _look(self) -> list[Any]:
        if self._found is None:
            rows = self._answer.fetchall()
            numbered = ((0, row) for row in rows) if self._count == 1 else ((r[0] - 1, r[1:]) for r in rows)
            self._found = self._sort(self._count, numbered)
        return self._found

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        return self._look()[place]

    def __iter__(self) -> Iterator[Any]:
        yield from self._look()  # not before the first is wanted


def _first_of(count: int, rows: Iterable[tuple[int, Any]]) -> list[Any]:
    found: list[Any] = [None] * count
    for place, row in rows:
        if found[place] is None:
            found[place] = row
    return found


def _all_of(count: int, rows: Iterable[tuple[int, Any]]) -> list[list[Any]]:
    found: list[list[Any]] = [[] for _ in range(count)]
    for place, row in rows:
        found[place].append(row)
    return found


class PostgresTx(Tx):
    """One statement for many rows of values is one here. Where `now` is a function, it is looked at like an answer."""

    __slots__ = ("_connection", "_now")

    in_sets = True

    def __init__(self, connection: Connection, now: Instant | Callable[[], Instant], *args: Any) -> None:
        super().__init__(executing(connection), self._execute_many, Instant(0), *args)
        self._connection = connection
        self._now = now

    @property
    def now(self) -> Instant:
        if callable(self._now):
            self._now = self._now()
        return self._now

    @now.setter
    def now(self, now: Instant) -> None:
        self._now = now

    def find_each(self, text: str, many: Sequence[Sequence[Any]]) -> Sequence[Any]:
        return _Found(self._execute_many(text, many), len(many), _first_of) if many else ()

    def list_each(self, text: str, many: Sequence[Sequence[Any]]) -> Sequence[list[Any]]:
        return _Found(self._execute_many(text, many), len(many), _all_of) if many else ()

    def _execute_many(self, text: str, many: Sequence[Sequence[Any] | Mapping[str, Any]]) -> Cursor:
        if not many:
            return Answer()
        translated = translate(text)
        if len(many) == 1:
            return self._connection.execute(translated.text, translated.values(many[0]))
        if translated.names is not None:
            many = [translated.values(params) for params in many]
        kinds, arrays = zip(*map(_array, zip(*many, strict=True)), strict=True)
        given = [array for array in arrays if array]
        return self._connection.execute(for_many(translated.text, "".join(kinds)), given)
