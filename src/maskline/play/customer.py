"""A little customer's server on loopback: checks who calls, answers as it is told, and keeps what came.

It does what every customer's server should: whoever did not sign gets 403, and what comes twice counts once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from maskline.domain.signature import HEADER, check

TOKEN_HEADER = "I-Twilio-Idempotency-Token"  # noqa: S105  (a header's name)
MOST_BODY = 1_048_576

CALLBACK, INTERCEPT, OUT_OF_SESSION = "CallbackUrl", "InterceptCallbackUrl", "OutOfSessionCallbackUrl"
OPTOUT = "OptoutCallbackUrl"


@dataclass(frozen=True, slots=True)
class Reply:
    """What it answers with."""

    status: int = 200
    type: str = "text/plain"
    body: str = ""

    def __str__(self) -> str:
        return f"{self.status} {self.body}".rstrip()


@dataclass(frozen=True, slots=True)
class Call:
    """A request that came to one of its URLs; `genuine`: the signature is good."""

    url: str
    genuine: bool
    form: Mapping[str, str]
    reply: Reply


@dataclass(slots=True)
class Customer:
    """`replies` are by the URL's name; the others are answered 200 without a word. `calls` came in this order."""

    token: str
    address: str = ""
    replies: dict[str, Reply] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def url(self, name: str) -> str:
        """The address of the URL of this name."""
        return f"{self.address}/{name}"

    def wait(self, seen: Callable[[], bool], patience_s: float) -> bool:
        """Wait until so much has come."""
        with self._changed:
            return self._changed.wait_for(seen, patience_s)

    def forget(self) -> None:
        """Begin anew."""
        with self._changed:
            self.calls.clear()

    def take(self, path: str, signature: str, token: str, form: dict[str, str]) -> Reply:
        """One request, whose URL was this server's and `path`. `token` is the same when it comes again."""
        name = path.strip("/")
        genuine = check(self.token, self.address + path, form.items(), signature)
        reply = self.replies.get(name, Reply()) if genuine else Reply(403)
        with self._changed:
            if not genuine or token not in self._known:
                self.calls.append(Call(name, genuine, form, reply))
                self._changed.notify_all()
            self._known.add(token)
        return reply


@contextmanager
def serving(token: str) -> Iterator[Customer]:
    """A customer's server on a free port of loopback while the block lasts; `token` is what it knows signers by."""
    customer = Customer(token)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length") or 0), MOST_BODY)
            form = dict(parse_qsl(self.rfile.read(length).decode(), keep_blank_values=True))
            signature, token = (self.headers.get(name) or "" for name in (HEADER, TOKEN_HEADER))
            reply = customer.take(self.path, signature, token, form)
            content = reply.body.encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing: what came is kept."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        customer.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield customer
        finally:
            server.shutdown()
            thread.join()
