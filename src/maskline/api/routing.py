"""Which resource a path names: patterns by their number of segments, compared segment by segment.

A dozen lines that cost a hundredth of a request, where a general router costs a tenth of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote

T = TypeVar("T")


class Router(Generic[T]):
    """`table`: patterns such as `/v1/Services/{sid}` and what they lead to. Names stand for exactly one segment."""

    def __init__(self, table: Mapping[str, T]) -> None:
        self._by_length: dict[int, list[tuple[list[tuple[int, str]], list[tuple[int, str]], T]]] = {}
        for pattern, target in table.items():
            segments = pattern.split("/")
            fixed = [(i, part) for i, part in enumerate(segments) if not part.startswith("{")]
            names = [(i, part[1:-1]) for i, part in enumerate(segments) if part.startswith("{")]
            self._by_length.setdefault(len(segments), []).append((fixed, names, target))

    def find(self, path: str) -> tuple[T, dict[str, str]] | None:
        """What `path` leads to, and its named segments; None if nowhere.

        `path` is as it came, percent-encoded; segments are decoded after the split, so a name may hold a slash.
        """
        segments = path.split("/")
        for fixed, names, target in self._by_length.get(len(segments), ()):
            for i, part in fixed:
                if segments[i] != part:
                    break
            else:
                if "%" in path:
                    if "%00" in path:  # no text has that, and PostgreSQL takes none that does
                        return None
                    return target, {name: unquote(segments[i]) for i, name in names}
                return target, {name: segments[i] for i, name in names}
        return None
