"""Outgoing HTTP to servers that we do not know: they may be slow, lie, or lead into our own network.

The only home of aiohttp. A call ends within its time, with an answer or one `HttpError` whose kind says what went
wrong. It knows nothing of what is sent and why, and never puts a URL into an error.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from maskline import __version__
from maskline.domain.address import is_public
from maskline.domain.http import Answer, Failure, HttpError
from maskline.domain.webhook_url import Overrides, Trouble, as_sent, parse_overrides

MOST_BYTES = 65_536
MOST_REDIRECTS = 3
IDLE_S = 2.0
HOST_CONNECTIONS = 64
USER_AGENT = f"maskline/{__version__}"

_FORM = "application/x-www-form-urlencoded; charset=utf-8"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*")
_UNSAFE = re.compile(rb"[^A-Za-z0-9_.~-]")
_QUOTED = {bytes([code]): f"%{code:02X}".encode() for code in range(256)} | {b" ": b"+"}

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
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._may_reach = may_reach
        self._host_connections = host_connections
        self._idle_s = idle_s
        self._tls = tls
        self._resolver = resolver

    async def open(self) -> HttpClient:
        """Make it ready for calls, in the running loop."""
        connector = _Connector(
            limit=0,  # a limit for all together is a queue that one host can fill
            limit_per_host=self._host_connections,
            keepalive_timeout=self._idle_s,
            resolver=self._resolver or _Resolver(),
            socket_factory=partial(_guarded_socket, self._may_reach),
            ssl=self._tls or True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # `_Try` has them
            trace_configs=[_trace()],
            read_bufsize=MOST_BYTES,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )
        return self

    async def close(self) -> None:
        """Drop all connections; calls that are under way fail."""
        await self._session.close()

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
        target, authorization, overrides = _read(url)
        sent_headers = {**authorization, **headers}
        loop = asyncio.get_running_loop()
        total_s = overrides.total_s if within_s is None else min(within_s, overrides.total_s)
        ends_at = loop.time() + total_s
        retries = overrides.retries
        while True:
            try:
                answer = await self._send(method, target, body, sent_headers, _Try(overrides, ends_at))
            except HttpError as error:
                if not _again(_TROUBLE.get(error.kind), overrides, retries, ends_at - loop.time()):
                    raise
            else:
                if not _again(_trouble_of(answer.status), overrides, retries, ends_at - loop.time()):
                    return answer
            retries -= 1

    async def fetch(self, url: str, *, most_bytes: int, total_s: float) -> Answer:
        """Fetch what is at `url`, once, within this time. Raises HttpError.

        A few redirects are followed, each judged as the first address is; one more is an answer like any other. Only
        the server that a URL's userinfo is written for is shown it.
        """
        ends_at = asyncio.get_running_loop().time() + total_s
        redirects = 0
        while True:
            target, authorization, _ = _read(url)
            attempt = _Try(Overrides(), ends_at)
            answer = await self._send("GET", target, None, authorization, attempt, most_bytes)
            if answer.location is None or redirects == MOST_REDIRECTS:
                return answer
            redirects += 1
            url = _join(target, answer.location)

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        within_s: float,
        most_bytes: int = MOST_BYTES,
    ) -> Answer:
        """Ask this of an API, once; redirects are answers like any other. Raises HttpError."""
        target, authorization, _ = _read(url)
        attempt = _Try(Overrides(), asyncio.get_running_loop().time() + within_s)
        return await self._send(
            method, target, body, {**authorization, **(headers or {})}, attempt, most_bytes
        )

    async def _send(
        self,
        method: str,
        url: URL,
        body: bytes | None,
        headers: Mapping[str, str],
        attempt: _Try,
        most_bytes: int = MOST_BYTES,
    ) -> Answer:
        request = self._session.request(
            method, url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=attempt
        )
        status = None
        try:
            async with attempt.deadline, request as response:
                status = response.status
                content = bytearray()
                async for piece in response.content.iter_any():
                    content += piece
                    if len(content) > most_bytes:
                        raise HttpError(Failure.TOO_LARGE, f"more than {most_bytes} bytes", status)
                    attempt.proceed(Failure.TIMEOUT)
                content_type = response.headers.get("Content-Type", "").encode("ascii", "replace").decode()
                location = response.headers.get("Location") if status in _REDIRECTS else None
                retry_after = response.headers.get("Retry-After", "")
                return Answer(status, content_type, bytes(content), location, retry_after)
        except TimeoutError:
            raise HttpError(attempt.late, "took too long", status) from None
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            told = _explain(error)
            told.status = status
            raise told from None


class _Connector(aiohttp.TCPConnector):
    """A connection on which something came while nobody waited is not used again: it would pass for the next answer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(self, *arguments: Any, **named: Any) -> Connection:
        while True:
            connection = await super().connect(*arguments, **named)
            protocol = connection.protocol
            assert protocol is not None
            if protocol not in self._used or not protocol.should_close:
                self._used.add(protocol)
                return connection
            connection.close()


class _Try:
    """One request: what it is if it goes no further from here, and until when it may take that step."""

    def __init__(self, overrides: Overrides, ends_at: float) -> None:
        self.late = Failure.BUSY
        self.deadline = asyncio.timeout_at(ends_at)
        self._ends_at = ends_at
        self._allowed_s = {Failure.CONNECT: overrides.connect_s, Failure.TIMEOUT: overrides.read_s}

    def proceed(self, late: Failure) -> None:
        self.late = late
        if not self.deadline.expired():
            within = asyncio.get_running_loop().time() + self._allowed_s[late]
            self.deadline.reschedule(min(self._ends_at, within))


def _trace() -> aiohttp.TraceConfig:
    """Tells each try how far it has come."""

    async def connecting(_session: Any, context: Any, _event: Any) -> None:
        context.trace_request_ctx.proceed(Failure.CONNECT)

    async def connected(_session: Any, context: Any, _event: Any) -> None:
        context.trace_request_ctx.proceed(Failure.TIMEOUT)

    # A look-up may outlive the try that began it, and has the time to connect: only its name changes.
    async def resolving(_session: Any, context: Any, _event: Any) -> None:
        context.trace_request_ctx.late = Failure.DNS

    async def resolved(_session: Any, context: Any, _event: Any) -> None:
        context.trace_request_ctx.late = Failure.CONNECT

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(connecting)
    trace.on_dns_resolvehost_start.append(resolving)
    trace.on_dns_resolvehost_end.append(resolved)
    trace.on_connection_create_end.append(connected)
    trace.on_connection_reuseconn.append(connected)
    return trace


@lru_cache(maxsize=1024)
def _read(url: str) -> tuple[URL, Mapping[str, str], Overrides]:
    """The URL to the letter, its userinfo as a header, and what its fragment asks for. Raises HttpError."""
    try:
        parts = urlsplit(as_sent(url))
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise HttpError(Failure.BAD_URL, "not an absolute http or https URL")
        base = URL.build(scheme=parts.scheme, host=parts.hostname, port=parts.port)
        query = f"?{parts.query}" if parts.query else ""
        target = URL(f"{parts.scheme}://{base.raw_authority}{parts.path}{query}", encoded=True)
    except ValueError:
        raise HttpError(Failure.BAD_URL, "not a URL") from None
    authorization = {}
    if parts.username is not None:
        userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization["Authorization"] = f"Basic {base64.b64encode(userinfo.encode()).decode()}"
    return target, authorization, parse_overrides(url)


def encode_form(form: Mapping[str, str]) -> str:
    """A form as it stands in a body or a query."""
    return "&".join(f"{_encode(name)}={_encode(value)}" for name, value in form.items())


def _join(base: URL, location: str) -> str:
    """Where a redirect leads. Raises HttpError."""
    try:
        return urljoin(str(base), location)
    except ValueError:
        raise HttpError(Failure.BAD_URL, "it redirects to what is no URL") from None


def _encode(text: str) -> str:
    """What `quote_plus` makes of it, in a fifth of the time: most of a callback is SIDs, names and dates."""
    if (text.isalnum() and text.isascii()) or _PLAIN.fullmatch(text):
        return text
    return _UNSAFE.sub(lambda unsafe: _QUOTED[unsafe[0]], text.encode()).decode()


def _trouble_of(status: int) -> Trouble | None:
    return {4: Trouble.CLIENT_ERROR, 5: Trouble.SERVER_ERROR}.get(status // 100)


def _again(trouble: Trouble | None, overrides: Overrides, retries: int, left_s: float) -> bool:
    return trouble in overrides.retry_on and retries > 0 and left_s > 0


def _explain(error: Exception) -> HttpError:
    """What aiohttp raised, as a kind and words without addresses."""
    match error:
        case aiohttp.InvalidURL():
            return HttpError(Failure.BAD_URL, "not a host that can be called")
        case aiohttp.ClientConnectorDNSError():
            return HttpError(Failure.DNS, "the host's name does not resolve")
        case aiohttp.ClientConnectorCertificateError(
            certificate_error=ssl.SSLCertVerificationError() as wrong
        ):
            return HttpError(Failure.TLS, wrong.verify_message)
        case aiohttp.ClientSSLError():
            return HttpError(Failure.TLS, "no TLS could be agreed on")
        case aiohttp.ClientConnectorError(os_error=_Refused()):
            return HttpError(Failure.REFUSED, "the host's address is none that may be called")
        case aiohttp.ClientConnectorError(os_error=OSError(errno=int() as number)):
            return HttpError(Failure.CONNECT, os.strerror(number))
        case aiohttp.ClientConnectorError():
            return HttpError(Failure.CONNECT, "none of the host's addresses could be reached")
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return HttpError(Failure.BROKEN, "the answer is not HTTP")
        case _:
            return HttpError(Failure.BROKEN, "the connection was lost before the end of the answer")


class _Refused(OSError):
    """An address that a customer's URL may not lead to."""


def _guarded_socket(may_reach: Callable[[str], bool], info: tuple[Any, ...]) -> socket.socket:
    """A socket for the address that is about to be connected to, whoever named it. Raises _Refused.

    The last place before the connection: between it and here nothing is resolved again.
    """
    family, kind, protocol, _, address = info
    if not may_reach(address[0]):
        raise _Refused("refused")
    return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """The system's resolver, each look-up in a thread of its own.

    The loop has few threads for that, and a handful of names whose servers do not answer would hold them all. The
    connector asks for a name once at a time, and remembers it for 10 s.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def settle(found: list[ResolveResult] | OSError) -> None:
            if future.done():
                return
            if isinstance(found, OSError):
                future.set_exception(found)
            else:
                future.set_result(found)

        def look_up() -> None:
            found = _look_up(host, port, family)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, found)

        # A daemon: the process may end while a look-up stalls.
        threading.Thread(target=look_up, name="resolver", daemon=True).start()
        return await future

    async def close(self) -> None:
        """Nothing is kept."""


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult] | OSError:
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except OSError as error:
        return error
    except UnicodeError:  # a label that is empty or too long
        return OSError("not a host name")
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=found_family,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for found_family, _, protocol, _, address in found
    ]
