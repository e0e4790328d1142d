"""What a request over HTTP comes to: a whole answer, or one failure whose kind says how far it had come."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Failure(Enum):
    """Kinds of failure, by how far the call had come. Up to TLS nothing was sent."""

    BAD_URL = "bad url"
    REFUSED = "refused address"
    """It leads to an address that may not be called: as a rule one that is not public."""
    BUSY = "busy"
    """As many calls to this host as are allowed were under way for the whole time."""
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    """No whole answer in time."""
    TOO_LARGE = "too large"
    BROKEN = "broken"
    """The connection was lost, or what came was not HTTP."""


class HttpError(Exception):
    """A call without a whole answer. `detail` is for logs and events: it holds no part of the URL but the host.

    `status` is the HTTP status, where at least the head of an answer came.
    """

    def __init__(self, kind: Failure, detail: str = "", status: int | None = None) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail
        self.status = status

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.detail}" if self.detail else self.kind.value


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said, whatever its status. `content_type` is as it came but for what is not ASCII in it, and
    empty if there was none. `location` is where it redirects to, if it does, `retry_after` that header, if any.
    """

    status: int
    content_type: str
    body: bytes
    location: str | None = None
    retry_after: str = ""
