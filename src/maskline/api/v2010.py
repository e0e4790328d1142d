"""What the resources under /2010-04-01/Accounts/{AC} have in common, in the shapes of Twilio's older API.

Their paths may end in `.json` or not, and are the caller's own account's alone; their dates are RFC 2822; they name
themselves by `uri`, a path without a host; a list's paging stands beside its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, TypeVar

from maskline.api.http import Answer, Authenticator, Handler, Request, Resource
from maskline.api.pages import Place, answer_page
from maskline.api.render import Json
from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.model import SECOND
from maskline.domain.problems import Problem
from maskline.store.engine import Store, Tx
from maskline.store.pages import Page, Seek

T = TypeVar("T")

VERSION = "2010-04-01"
_JSON = ".json"


def routes(
    auth: Authenticator, name: str, listed: Mapping[str, Handler], single: Mapping[str, Handler]
) -> dict[str, Resource]:
    """Where a kind of resource answers: `listed` and `single` are the handlers, by method, of the list and of one row.

    A handler finds the row's SID in `request.sids["sid"]`, without `.json`, in whatever form it came.
    """
    root = f"/{VERSION}/Accounts/{{account}}/{name}"
    lists = Resource(auth, **{method: _own(handler) for method, handler in listed.items()})
    singles = Resource(auth, **{method: _own(handler) for method, handler in single.items()})
    return {root: lists, root + _JSON: lists, root + "/{sid}": singles}


def _own(handler: Handler) -> Handler:
    """The handler for a caller who is the account in the path; for anybody else there is nothing (20404)."""

    async def answer(request: Request) -> Answer:
        sids = request.sids
        if not is_sid(sids["account"], "AC") or canonical(sids["account"]) != request.account_sid:
            raise Problem(problems.NOT_FOUND)
        if "sid" in sids:
            sids["sid"] = sids["sid"].removesuffix(_JSON)
        return await handler(request)

    return answer


def is_json(request: Request) -> bool:
    """Whether its path ends in `.json`."""
    return request.path.endswith(_JSON)


def sid_of(request: Request, *prefixes: str, name: str = "sid") -> str:
    """The SID in the path as it is stored. Raises 20404 for one that is of none of these kinds."""
    sid = request.sids[name]
    if not any(is_sid(sid, prefix) for prefix in prefixes):
        raise Problem(problems.NOT_FOUND)
    return canonical(sid)


def uri(account_sid: str, name: str, sid: str | None = None) -> str:
    """The path of a list, or of one row of it."""
    row = f"/{sid}" if sid else ""
    return f"/{VERSION}/Accounts/{account_sid}/{name}{row}{_JSON}"


def render_date(at: int | None) -> str | None:
    """An instant as this API writes it: `Thu, 30 Jul 2015 20:00:00 +0000`."""
    return None if at is None else format_datetime(datetime.fromtimestamp(at // SECOND, UTC))


async def answer_list(
    store: Store,
    request: Request,
    name: str,
    key: str,
    fetch: Callable[[Tx, Seek], Page[T]],
    render: Callable[[T], Json],
    filters: dict[str, str] | None = None,
) -> Answer:
    """The page of /Accounts/{AC}/`name` that is asked for, its rows under `key`. Otherwise as `answer_page`."""
    return await answer_page(
        store,
        uri(request.account_sid, name),
        key,
        request.params,
        fetch,
        render,
        filters=filters,
        envelope=_beside,
    )


def _beside(name: str, rows: list[Json], place: Place) -> dict[str, Any]:
    start = place.page * place.size
    return {
        name: rows,
        "page": place.page,
        "page_size": place.size,
        "start": start,
        "end": start + max(len(rows) - 1, 0),
        "uri": place.here,
        "first_page_uri": place.first,
        "previous_page_uri": place.previous,
        "next_page_uri": place.following,
    }
