"""The ASGI callable: limits, routing, authentication, parameters, and the one place where failures are told.

Every answer has a request id and a duration, every failure the body that Twilio's clients read.
"""

from __future__ import annotations

import os
import time
from itertools import count

import msgspec
import structlog

from maskline.api.forms import read_params
from maskline.api.http import Answer, Receive, Request, Resource, Scope, Send
from maskline.api.render import render_problem
from maskline.api.routing import Router
from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.store.engine import StoreUnavailable

MOST_HEADER_BYTES, MOST_HEADERS = 32_768, 100
MOST_KEY = 255

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Edge:
    """The outermost callable of a port."""

    def __init__(self, router: Router[Resource], docs_url: str) -> None:
        self._router = router
        self._docs_url = docs_url
        self._concurrent = 0
        # Request ids only tell requests apart: a random start and a count do that.
        self._run = os.urandom(8).hex()
        self._count = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request_id = f"RQ{self._run}{next(self._count):016x}"
        self._concurrent += 1
        try:
            answer = await self._answer(scope, receive)
        except Problem as problem:
            answer = self._refuse(scope, problem)
        except StoreUnavailable as error:
            _log.warning("store.unavailable", request=request_id, error=str(error))
            answer = self._refuse(scope, Problem(problems.UNAVAILABLE, headers={"Retry-After": "1"}))
        except Exception:
            _log.exception("request.defect", request=request_id, method=scope["method"])
            answer = self._refuse(scope, Problem(problems.INTERNAL, f"Request {request_id}"))
        finally:
            self._concurrent -= 1
        headers = [
            (b"twilio-request-id", request_id.encode()),
            (b"twilio-request-duration", b"%.3f" % (time.perf_counter() - began)),
            (b"twilio-concurrent-requests", b"%d" % (self._concurrent + 1)),
        ]
        body = b""
        if answer.content is not None:
            body = _encode(answer.content)
            headers.append((b"content-type", b"application/json"))
            headers.append((b"content-length", b"%d" % len(body)))
        for name, value in answer.headers.items():
            headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        if (
            len(scope["headers"]) > MOST_HEADERS
            or sum(map(len, headers)) + sum(map(len, headers.values())) > MOST_HEADER_BYTES
        ):
            raise Problem(problems.HEADERS_TOO_LARGE)
        path = scope["raw_path"].decode("latin-1")
        found = self._router.find(path)
        if found is None:
            raise Problem(problems.NOT_FOUND)
        resource, sids = found
        method = scope["method"]
        handler = resource.handler(method)
        account_sid = ""
        if resource.auth is not None:
            account_sid = await resource.auth.account_of(headers.get(b"authorization"))
        params = await read_params(method, scope["query_string"], receive, headers.get(b"content-type"))
        key = headers.get(b"idempotency-key")
        return await handler(
            Request(account_sid, method, path, sids, params, _key_text(key) if key else None)
        )

    def _refuse(self, scope: Scope, problem: Problem) -> Answer:
        content = render_problem(problem, scope["path"], self._docs_url)
        return Answer(content, problem.status, problem.headers or {})


def _key_text(raw: bytes) -> str:
    if len(raw) > MOST_KEY or not raw.isascii():
        raise Problem(problems.PARAMETER_INVALID, f"Idempotency-Key (at most {MOST_KEY} ASCII characters)")
    return raw.decode("ascii")
