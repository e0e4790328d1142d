"""Keyset paging: a page begins after a key, so rows that come or go between pages neither repeat nor hide others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from maskline.domain import problems
from maskline.domain.problems import Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seek:
    """Where a page begins: `size` rows after `key` (None: from the newest), or before it when going `back`."""

    size: int
    key: tuple[Any, ...] | None = None
    back: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows, newest first, and whether there are more on either side."""

    rows: list[T]
    newer: bool
    older: bool


def fetch_page(
    fetch: Callable[[str, str, int], Sequence[Any]],
    columns: Sequence[str],
    seek: Seek,
    make: Callable[[Any], T],
) -> Page[T]:
    """The page at `seek` of a list in descending order of `columns`.

    `fetch(condition, order, limit)` runs the query; `condition` compares the columns with the parameters :k0, :k1, ….
    One row more than the page is asked for, to know whether there is a next one. Raises 80701 for a foreign key.
    """
    kinds = [int if column.endswith("_at") else str for column in columns]
    if seek.key is not None and [*map(type, seek.key)] != kinds:
        raise Problem(problems.PARAMETER_INVALID, "PageToken is of another list")
    names = ", ".join(columns)
    keys = ", ".join(f":k{i}" for i in range(len(columns)))
    if seek.back and seek.key is not None:
        order = ", ".join(f"{column} ASC" for column in columns)
        rows = list(fetch(f"({names}) > ({keys})", order, seek.size + 1))
        page = rows[: seek.size][::-1]
        return Page([make(row) for row in page], newer=len(rows) > seek.size, older=True)
    condition = "1 = 1" if seek.key is None else f"({names}) < ({keys})"
    order = ", ".join(f"{column} DESC" for column in columns)
    rows = list(fetch(condition, order, seek.size + 1))
    return Page(
        [make(row) for row in rows[: seek.size]], newer=seek.key is not None, older=len(rows) > seek.size
    )


def key_params(seek: Seek) -> dict[str, Any]:
    """The parameters that the condition of `fetch_page` names."""
    return {f"k{i}": value for i, value in enumerate(seek.key or ())}
