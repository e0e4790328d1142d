"""What every exchange has: a request id, a duration, a limit on its headers, and one place where failures are told."""

from __future__ import annotations

import time

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from maskline.api.http import Answer, send_answer
from maskline.api.render import render_problem
from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.mint import Mint
from maskline.store.engine import StoreUnavailable

MOST_HEADER_BYTES = 32_768

_log = structlog.get_logger(__name__)


class Exchange:
    """One request on its way. Its headers go with every answer."""

    __slots__ = ("began", "edge", "request_id")

    def __init__(self, edge: Edge, request_id: str) -> None:
        self.edge = edge
        self.request_id = request_id
        self.began = time.perf_counter()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the answer, as they are now."""
        return [
            (b"twilio-request-id", self.request_id.encode()),
            (b"twilio-request-duration", b"%.3f" % (time.perf_counter() - self.began)),
            (b"twilio-concurrent-requests", b"%d" % self.edge.concurrent),
        ]


class Edge:
    """The outermost ASGI callable. Problems become Twilio's error bodies here, and only here."""

    def __init__(self, app: ASGIApp, mint: Mint, docs_url: str) -> None:
        self._app = app
        self._mint = mint
        self._docs_url = docs_url
        self.concurrent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = scope["maskline"] = Exchange(self, self._mint.sid("RQ"))
        self.concurrent += 1
        try:
            if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
                raise Problem(problems.HEADERS_TOO_LARGE)
            await self._app(scope, receive, send)
        except Problem as problem:
            await self._refuse(scope, send, problem)
        except StoreUnavailable as error:
            _log.warning("store.unavailable", request=exchange.request_id, error=str(error))
            await self._refuse(scope, send, Problem(problems.UNAVAILABLE, headers={"Retry-After": "1"}))
        except Exception:
            _log.exception("request.defect", request=exchange.request_id, method=scope["method"])
            await self._refuse(scope, send, Problem(problems.INTERNAL, f"Request {exchange.request_id}"))
        finally:
            self.concurrent -= 1

    async def _refuse(self, scope: Scope, send: Send, problem: Problem) -> None:
        content = render_problem(problem, scope["path"], self._docs_url)
        await send_answer(scope, send, Answer(content, problem.status, problem.headers or {}))
