"""The access log: what is told of each request, and what of it never is."""

from __future__ import annotations

import re
from itertools import zip_longest

import structlog

from maskline.api.wire import Exchange
from maskline.domain.address import Networks, client_of

# What of a path is logged: the words of its pattern, SIDs, and whose webhook it is. Other names are the caller's, and
# may be anything.
_SID = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}(\.json)?")
_WORD = re.compile("[A-Za-z]*")
_OURS = {"{carrier}", "{what}"}

_log = structlog.get_logger(__name__)


class AccessLog:
    """A line for each request. `proxies`: those whose `X-Forwarded-For` says who asks."""

    def __init__(self, proxies: Networks = ()) -> None:
        self._proxies = proxies

    def note(
        self, exchange: Exchange | None, route: str, request_id: str, status: int, duration_s: float
    ) -> None:
        """One more was answered; None: it never became a request. `route`: the pattern of its path, if it has one."""
        method = path = client = ""
        if exchange is not None:
            method, path = exchange.method, _shown(exchange.path, route)
            forwarded = exchange.headers.get(b"x-forwarded-for", b"").decode("latin-1")
            client = client_of(exchange.peer, forwarded, self._proxies)
        ms = round(duration_s * 1000, 1)
        _log.info(
            "request.answered",
            request=request_id,
            client=client,
            method=method,
            path=path,
            status=status,
            ms=ms,
        )


def _shown(path: str, route: str) -> str:
    """A path as it is logged."""
    parts = zip_longest(path.split("/"), route.split("/"), fillvalue="")
    return "/".join(part if _is_shown(part, pattern) else "…" for part, pattern in parts)


def _is_shown(part: str, pattern: str) -> bool:
    if pattern in _OURS:
        return _WORD.fullmatch(part) is not None
    return part.removesuffix(".json") == pattern or _SID.fullmatch(part) is not None
