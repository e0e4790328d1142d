"""One request and its answer: what a handler is given, what it returns, and how that goes over the wire.

Handlers are plain async functions of a `Request`. A `Resource` is the plain ASGI callable that the router knows: it
picks the handler by method, authenticates, reads the parameters, and sends what the handler returns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from starlette.types import Receive, Scope, Send

from maskline.api.forms import Params, read_params
from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.store.idempotency import Key

encode_json = msgspec.json.Encoder().encode


class Authenticator(Protocol):
    """Tells whose credentials a request carries."""

    async def account_of(self, authorization: bytes | None) -> str:
        """The account's SID. Raises 20003."""


@dataclass(slots=True)
class Request:
    """What a handler knows: whose request it is, the SIDs in its path, its parameters, its Idempotency-Key."""

    account_sid: str
    method: str
    path: str
    sids: dict[str, str]
    params: Params
    idempotency_key: str | None

    def key(self, scope: str) -> Key | None:
        """What the `Idempotency-Key` header asks for, within `scope`; None if there is none."""
        if self.idempotency_key is None:
            return None
        digest = hashlib.sha256(repr(sorted(self.params.all().items())).encode()).hexdigest()
        return Key(scope, self.idempotency_key, f"{self.method} {self.path}", digest)


@dataclass(slots=True)
class Answer:
    """`content` is rendered as JSON; None: no body."""

    content: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


REPLAYED = {"Idempotent-Replayed": "true"}

Handler = Callable[[Request], Awaitable[Answer]]


async def send_answer(scope: Scope, send: Send, answer: Answer) -> None:
    """Send it, with what every answer carries (`scope['maskline']`, see `middleware`)."""
    body = b"" if answer.content is None else encode_json(answer.content)
    headers = scope["maskline"].headers()
    if body or answer.status != 204:
        headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", b"%d" % len(body)))
    for name, value in answer.headers.items():
        headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Resource:
    """What answers at one path: a handler a method."""

    def __init__(self, auth: Authenticator | None, **handlers: Handler) -> None:
        self._auth = auth
        self._handlers = {method.upper(): handler for method, handler in handlers.items()}
        if "GET" in self._handlers:
            self._handlers["HEAD"] = self._handlers["GET"]
        self._allow = ", ".join(sorted(self._handlers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["method"])
        if handler is None:
            raise Problem(problems.METHOD_NOT_ALLOWED, headers={"Allow": self._allow})
        authorization = content_type = idempotency_key = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"content-type":
                content_type = value
            elif name == b"idempotency-key":
                idempotency_key = value
        account_sid = await self._auth.account_of(authorization) if self._auth is not None else ""
        request = Request(
            account_sid,
            scope["method"],
            scope["path"],
            scope["path_params"],
            await read_params(scope, receive, content_type),
            _key_text(idempotency_key),
        )
        await send_answer(scope, send, await handler(request))


def _key_text(raw: bytes | None) -> str | None:
    if not raw:
        return None
    if len(raw) > 255 or not raw.isascii():
        raise Problem(problems.PARAMETER_INVALID, "Idempotency-Key (at most 255 ASCII characters)")
    return raw.decode("ascii")
