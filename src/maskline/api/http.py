"""One request and its answer: what a handler is given and what it returns. Handlers are plain async functions."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from maskline.api.forms import Params
from maskline.api.wire import Exchange
from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.store.idempotency import Key

REPLAYED = {"Idempotent-Replayed": "true"}
CARRIER = "Maskline-Carrier-Account"
"""The header that says which carrier account carries a number: Twilio's resources gain no fields."""


class Authenticator(Protocol):
    """Tells whose credentials a request carries."""

    async def account_of(self, authorization: bytes | None) -> str:
        """The account's SID. Raises 20003, 20005."""


def _in_order(fields: bytes) -> bytes:
    """The fields of a form by their names: a client may write the same ones in another order when it tries again."""
    if b"&" not in fields:
        return fields
    ordered = sorted(fields.split(b"&"), key=_name)
    return b"&".join(ordered)


def _name(field: bytes) -> bytes:
    return field.partition(b"=")[0]


@dataclass(slots=True)
class Request:
    """What a handler knows: whose request it is, the SIDs in its path, its parameters, its Idempotency-Key.

    `exchange` is the request as it came, for those who check its signature.
    """

    account_sid: str
    method: str
    path: str
    sids: dict[str, str]
    params: Params
    idempotency_key: str | None
    exchange: Exchange

    def key(self, scope: str) -> Key | None:
        """What the `Idempotency-Key` header asks for, within this account's `scope`; None if there is none."""
        if self.idempotency_key is None:
            return None
        # One may be in the query or in the body, but one in both is another request: there the body's counts.
        fields = [_in_order(each) for each in (self.exchange.query, self.exchange.body) if each]
        asked = b"\0".join((self.path.encode(), *fields))
        digest = hashlib.blake2b(asked, digest_size=16).hexdigest()
        return Key(f"{self.account_sid}/{scope}", self.idempotency_key, self.method, digest)


@dataclass(slots=True)
class Answer:
    """`content` is rendered as JSON; None: no body. Bytes are the body itself, whose type is in `headers`."""

    content: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Answer]]


def fixed(content: Any) -> Handler:
    """A handler that always answers this."""

    async def answer(_: Request) -> Answer:
        return Answer(content)

    return answer


class Resource:
    """What answers at one path: a handler a method. Without `auth` it answers anybody. `route`: the pattern of the
    path, as it is measured. `raw`: no parameters are read, and a body may be anything.
    """

    raw = False

    def __init__(self, auth: Authenticator | None, **handlers: Handler) -> None:
        self.auth = auth
        self.route = ""
        self._handlers = {method.upper(): handler for method, handler in handlers.items()}
        if "GET" in self._handlers:
            self._handlers["HEAD"] = self._handlers["GET"]
        self.allow = ", ".join(sorted(self._handlers))

    def handler(self, method: str) -> Handler:
        """What answers this method. Raises 20004."""
        handler = self._handlers.get(method)
        if handler is None:
            raise Problem(problems.METHOD_NOT_ALLOWED, headers={"Allow": self.allow})
        return handler


class RawResource(Resource):
    """One that reads its requests itself."""

    raw = True
