"""A transaction on PostgreSQL: one statement for many rows of values is one there (`dialect.for_many`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg

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


class PostgresTx(Tx):
    """One statement for many rows of values is one here."""

    __slots__ = ("_connection",)

    in_sets = True

    def __init__(self, connection: Connection, *args: Any) -> None:
        super().__init__(executing(connection), self._execute_many, *args)
        self._connection = connection

    def find_each(self, text: str, many: Sequence[Sequence[Any]]) -> list[Any]:
        found: list[Any] = [None] * len(many)
        for place, row in self._each(text, many):
            if found[place] is None:
                found[place] = row
        return found

    def list_each(self, text: str, many: Sequence[Sequence[Any]]) -> list[list[Any]]:
        found: list[list[Any]] = [[] for _ in many]
        for place, row in self._each(text, many):
            found[place].append(row)
        return found

    def _each(self, text: str, many: Sequence[Sequence[Any]]) -> Iterator[tuple[int, Any]]:
        if not many:
            return iter(())
        rows = self._execute_many(text, many).fetchall()
        return ((0, row) for row in rows) if len(many) == 1 else ((row[0] - 1, row[1:]) for row in rows)

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
