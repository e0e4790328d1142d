"""Lists on the wire: reading `PageSize`, `Page` and `PageToken`, and the addresses that clients follow onward."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from maskline.api.forms import Params
from maskline.api.http import Answer
from maskline.api.render import Json
from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.store.engine import Store, Tx
from maskline.store.pages import Page, Seek

T = TypeVar("T")

DEFAULT_SIZE, MOST_SIZE = 50, 1000
MOST_PAGE = 2**31 - 1

_NUMBER = re.compile(r"[+-]?[0-9]{1,4000}")  # Python reads no more digits


def parse_seek(params: Params) -> Seek:
    """Where the page begins. A size out of range is clamped, one that is no number refused (80701)."""
    size = _integer(params, "PageSize", DEFAULT_SIZE)
    token = params.query("PageToken")
    if not token:
        return Seek(min(max(size, 1), MOST_SIZE))
    try:
        back, *key = msgspec.json.decode(
            base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=list[Any]
        )
        if not key or not all(_fits(part) for part in key) or not isinstance(back, bool):
            raise ValueError
    except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
        raise Problem(problems.PARAMETER_INVALID, "PageToken (follow next_page_url as it stands)") from None
    return Seek(min(max(size, 1), MOST_SIZE), tuple(key), back)


def _fits(part: Any) -> bool:
    """Whether a column can be compared with this."""
    return (isinstance(part, str) and "\0" not in part) or (isinstance(part, int) and abs(part) < 2**63)


def _integer(params: Params, name: str, default: int) -> int:
    text = params.query(name)
    if text is None or text == "":
        return default
    if not _NUMBER.fullmatch(text):
        raise Problem(problems.PARAMETER_INVALID, f"{name} (a whole number)")
    return int(text)


def _token(back: bool, key: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([back, *key])).decode().rstrip("=")


def parse_filters(params: Params, *names: str) -> dict[str, str]:
    """Which of a list's filters the query gives. An empty one is none."""
    return {name: value for name in names if (value := params.query(name))}


def _by_sid(row: Any) -> tuple[Any, ...]:
    return (row.sid,)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page stands in its list: its number and size, and the addresses that lead to it and on from it."""

    page: int
    size: int
    here: str
    first: str
    previous: str | None
    following: str | None


def with_meta(name: str, rows: list[Json], place: Place) -> Json:
    """A page as the Proxy API wraps it: the rows under their name, and `meta`."""
    return {
        name: rows,
        "meta": {
            "page": place.page,
            "page_size": place.size,
            "first_page_url": place.first,
            "previous_page_url": place.previous,
            "url": place.here,
            "next_page_url": place.following,
            "key": name,
        },
    }


async def answer_page(
    store: Store,
    url: str,
    name: str,
    params: Params,
    fetch: Callable[[Tx, Seek], Page[T]],
    render: Callable[[T], Any],
    key: Callable[[T], tuple[Any, ...]] = _by_sid,
    filters: dict[str, str] | None = None,
    envelope: Callable[[str, list[Json], Place], Json] = with_meta,
) -> Answer:
    """The page that `params` ask for, read by `fetch`, with its rows under `name`. Raises 80701 and what `fetch` does.

    `url` is the list's own; `key` is what a row is ordered by; `filters` are repeated in the links to other pages;
    `envelope` is what the rows come in.
    """
    seek = parse_seek(params)
    page = await store.read(fetch, seek)
    place = _place(url, params, seek, page, key, filters or {})
    return Answer(envelope(name, [render(row) for row in page.rows], place))


def _place(
    url: str,
    params: Params,
    seek: Seek,
    page: Page[T],
    key: Callable[[T], tuple[Any, ...]],
    filters: dict[str, str],
) -> Place:
    number = min(max(0, _integer(params, "Page", 0)), MOST_PAGE)

    def at(index: int, token: str | None) -> str:
        query: dict[str, Any] = {**filters, "PageSize": seek.size, "Page": index}
        if token is not None:
            query["PageToken"] = token
        return f"{url}?{urlencode(query)}"

    following = previous = None
    if page.older and page.rows:
        following = at(number + 1, _token(False, key(page.rows[-1])))
    if page.newer and page.rows:
        previous = at(max(0, number - 1), _token(True, key(page.rows[0])))
    here = at(number, params.query("PageToken") or None)
    return Place(number, seek.size, here, at(0, None), previous, following)
