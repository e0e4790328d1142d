"""Outgoing HTTP to servers that we do not know: they may be slow, lie, or lead into our own network.

A call ends within its time, with an answer or one `HttpError` whose kind says what went wrong. It knows nothing of
what is sent and why, and never puts a URL into an error.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import ip_address
from urllib.parse import quote_plus, unquote, urljoin, urlsplit

from maskline import __version__
from maskline.connections import Connections, Limits, LookUp, Origin
from maskline.domain.address import is_public
from maskline.domain.http import Answer, Failure, HttpError
from maskline.domain.webhook_url import Overrides, Trouble, as_sent, parse_overrides

MOST_BYTES = 65_536
MOST_API_BYTES = 2 * 1024 * 1024
"""Of an API's answer: a page of its lists may be a hundred messages, each of 1,600 characters that it escapes."""
MOST_REDIRECTS = 3
IDLE_S = 2.0
HOST_CONNECTIONS = 64
DATE, ADDRESS = len("2015-07-30T20:00:00Z"), "http"
USER_AGENT = f"maskline/{__version__}"

_FORM = "application/x-www-form-urlencoded; charset=utf-8"
_ALWAYS = f"User-Agent: {USER_AGENT}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?=.*[^0-9.])[a-z0-9_.-]+")
"""A name; of numbers and dots alone it would be an address, and is judged as one."""
_QUOTED = [quote_plus(bytes([code])) for code in range(256)]
_USUAL = [(sign, quote_plus(sign)) for sign in "%+:/{}\",' "]
"""What stands in dates, addresses and texts, in an order in which nothing is replaced twice."""
_DONE = re.compile(r"[A-Za-z0-9_.~%+-]*")

_TROUBLE_BY_CLASS = {4: Trouble.CLIENT_ERROR, 5: Trouble.SERVER_ERROR}
_TROUBLE = {
    Failure.DNS: Trouble.CONNECT,
    Failure.CONNECT: Trouble.CONNECT,
    Failure.TLS: Trouble.CONNECT,
    Failure.TIMEOUT: Trouble.READ,
    Failure.BROKEN: Trouble.READ,
}


def anywhere(_address: str) -> bool:
    """The policy that lets customers' URLs lead to loopback and private addresses too."""
    return True


class HttpClient:
    """Calls servers. A host that stalls fills its own connections (0: any number) and nobody else's.

    `may_reach` judges each address that is about to be connected to; it is `anywhere` where loopback and private ones
    are wanted. A connection that has been idle for `idle_s` is not used again: the server may be about to close it.
    """

    def __init__(
        self,
        *,
        may_reach: Callable[[str], bool] = is_public,
        host_connections: int = HOST_CONNECTIONS,
        idle_s: float = IDLE_S,
        tls: ssl.SSLContext | None = None,
        look_up: LookUp | None = None,
    ) -> None:
        self._connect = partial(
            Connections,
            may_reach=may_reach,
            most_each=host_connections,
            idle_s=idle_s,
            tls=tls,
            look_up=look_up,
        )

    async def open(self) -> HttpClient:
        """Make it ready for calls, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._connections = self._connect()
        return self

    async def close(self) -> None:
        """Drop all connections; calls that are under way fail."""
        self._connections.close()

    async def post_form(
        self,
        url: str,
        form: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        within_s: float | None = None,
    ) -> Answer:
        """Post `form` to a customer's URL, as often and as long as its fragment allows. Raises HttpError.

        `within_s`: how long there is for it, whatever the fragment allows. Redirects are answers like any other. The
        last try decides what is returned or raised.
        """
        return await self._call(
            "POST", url, encode_form(form).encode(), {"Content-Type": _FORM, **(headers or {})}, within_s
        )

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Get what is at a customer's URL; otherwise as `post_form`. Raises HttpError."""
        return await self._call("GET", url, None, headers or {})

    async def _call(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        within_s: float | None = None,
    ) -> Answer:
        target = _read(url)
        overrides = target.overrides
        request = _request(method, target, headers, body)
        total_s = overrides.total_s if within_s is None else min(within_s, overrides.total_s)
        ends_at = self._loop.time() + total_s
        limits = Limits(MOST_BYTES, overrides.connect_s, overrides.read_s, ends_at)
        retries = overrides.retries
        while True:
            try:
                answer = await self._connections.ask(
                    target.origin, request, limits, idempotent=method == "GET"
                )
            except HttpError as error:
                if not _again(_TROUBLE.get(error.kind), overrides, retries, ends_at - self._loop.time()):
                    raise
            else:
                if not _again(_trouble_of(answer.status), overrides, retries, ends_at - self._loop.time()):
                    return answer
            retries -= 1

    async def fetch(self, url: str, *, most_bytes: int, total_s: float) -> Answer:
        """Fetch what is at `url`, once, within this time. Raises HttpError.

        A few redirects are followed, each judged as the first address is; one more is an answer like any other. Only
        the server that a URL's userinfo is written for is shown it.
        """
        usual = Overrides()
        limits = Limits(most_bytes, usual.connect_s, usual.read_s, self._loop.time() + total_s)
        redirects = 0
        while True:
            target = _read(url)
            answer = await self._connections.ask(
                target.origin, _request("GET", target, {}, None), limits, idempotent=True
            )
            if answer.location is None or redirects == MOST_REDIRECTS:
                return answer
            redirects += 1
            url = _join(target.url, answer.location)

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        within_s: float,
    ) -> Answer:
        """Ask this of an API; redirects are answers like any other. A GET is sent once more where a connection that was
        kept ends just as it is used; nothing else is sent twice. Raises HttpError.
        """
        target, usual = _read(url), Overrides()
        limits = Limits(MOST_API_BYTES, usual.connect_s, usual.read_s, self._loop.time() + within_s)
        request = _request(method, target, headers or {}, body)
        return await self._connections.ask(target.origin, request, limits, idempotent=method == "GET")


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a URL leads: `head` is what a request says of it, and of us, behind the method."""

    url: str
    origin: Origin
    head: str
    authorization: Mapping[str, str]
    overrides: Overrides


@lru_cache(maxsize=1024)
def _read(url: str) -> _Target:
    """The URL to the letter, its userinfo as a header, and what its fragment asks for. Raises HttpError."""
    try:
        sent = as_sent(url)
        parts = urlsplit(sent)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise HttpError(Failure.BAD_URL, "not a URL") from None
    if parts.scheme not in _PORTS or not host or port == 0:
        raise HttpError(Failure.BAD_URL, "not an absolute http or https URL")
    if not _HOST.fullmatch(host) and not _is_address(host):
        raise HttpError(Failure.BAD_URL, "not a host that can be called")
    usual = _PORTS[parts.scheme]
    named = f"[{host}]" if ":" in host else host.rstrip(".")
    at = named if port in (None, usual) else f"{named}:{port}"
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    authorization = {}
    if parts.username is not None:
        userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization["Authorization"] = f"Basic {base64.b64encode(userinfo.encode()).decode()}"
    return _Target(
        url=sent,
        origin=Origin(parts.scheme == "https", host, port or usual),
        head=f" {target} HTTP/1.1\r\nHost: {at}\r\n{_ALWAYS}",
        authorization=authorization,
        overrides=parse_overrides(url),
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _request(method: str, target: _Target, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """A request as it is sent. Raises ValueError for a header that would be more than one."""
    if target.authorization:
        headers = {**target.authorization, **headers}
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not lines.count("\r") == lines.count("\n") == len(headers):
        raise ValueError("a header holds a line break")
    if body is not None:
        lines += f"Content-Length: {len(body)}\r\n"
    return f"{method}{target.head}{lines}\r\n".encode("latin-1") + (body or b"")


def add_query(url: str, form: Mapping[str, str]) -> str:
    """The URL with a form in its query, behind what stands there; its fragment stays the last."""
    place, mark, fragment = url.partition("#")
    return f"{place}{'&' if '?' in place else '?'}{encode_form(form)}{mark}{fragment}"


def encode_form(form: Mapping[str, str]) -> str:
    """A form as it stands in a body or a query."""
    return "&".join([f"{_repeated(name)}={_encode(value)}" for name, value in form.items()])


def _encode(text: str) -> str:
    """What `quote_plus` makes of it, in a fraction of the time: most of a callback is SIDs and words; its dates
    and addresses come again in the next one.
    """
    if text.isalnum() and text.isascii():
        return text
    return _repeated(text) if len(text) <= DATE or text.startswith(ADDRESS) else _quote(text)


def _quote(text: str) -> str:
    quoted = text
    for sign, instead in _USUAL:
        quoted = quoted.replace(sign, instead)
    return quoted if _DONE.fullmatch(quoted) else "".join([_QUOTED[code] for code in text.encode()])


_repeated = lru_cache(maxsize=1024)(_quote)


def _join(base: str, location: str) -> str:
    """Where a redirect leads. Raises HttpError."""
    try:
        return urljoin(base, location)
    except ValueError:
        raise HttpError(Failure.BAD_URL, "it redirects to what is no URL") from None


def _trouble_of(status: int) -> Trouble | None:
    return _TROUBLE_BY_CLASS.get(status // 100)


def _again(trouble: Trouble | None, overrides: Overrides, retries: int, left_s: float) -> bool:
    return trouble in overrides.retry_on and retries > 0 and left_s > 0
