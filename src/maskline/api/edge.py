"""What answers at a port: routing, authentication, parameters, and the one place where failures are told.

Every answer has a request id and a duration, every failure the body that Twilio's clients read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from itertools import count

import msgspec
import structlog

from maskline.api.access_log import AccessLog
from maskline.api.forms import MOST_BYTES, MOST_SIGNED_BYTES, NO_PARAMS, SIGNED_PATHS, parse_params
from maskline.api.http import Answer, Request, Resource
from maskline.api.limits import RateLimit
from maskline.api.render import render_problem
from maskline.api.routing import Router
from maskline.api.wire import Exchange, Reply
from maskline.carriers.base import CarrierError
from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.problems import Code, Problem
from maskline.metrics import REQUESTS, Histogram, Sample
from maskline.store.engine import StoreRefused, StoreUnavailable

MOST_KEY = 255
METHODS = {"GET", "HEAD", "POST", "DELETE", "OPTIONS"}

_LINES = b"Twilio-Request-Id: %b\r\nTwilio-Request-Duration: %.3f\r\nTwilio-Concurrent-Requests: %d\r\n"

_SOON = {"Retry-After": "1"}

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Requests:
    """How many requests there were of each kind, and how long they took."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str, int], Histogram] = {}
        self._told: dict[tuple[str, str, str], Histogram] = {}

    def note(self, route: str, method: str, status: int, duration_s: float) -> None:
        """One more was answered."""
        histogram = self._kinds.get((route, method, status // 100))
        if histogram is None:
            # What a caller may make up as a method must not make up a series.
            kind = route or "none", method if method in METHODS else "other", f"{status // 100}xx"
            histogram = self._told.setdefault(kind, Histogram(REQUESTS))
            self._kinds[route, method, status // 100] = histogram
        histogram.note(duration_s)

    def measures(self) -> Iterator[Sample]:
        """What was noted."""
        for kind, histogram in self._told.items():
            yield REQUESTS, kind, histogram


class Edge:
    """The application of a port (`wire.Application`): what answers at which pattern of a path. `access_log`: each
    request is logged.
    """

    def __init__(
        self,
        table: Mapping[str, Resource],
        docs_url: str,
        limit: RateLimit | None = None,
        cors: bytes = b"",
        *,
        access_log: AccessLog | None = None,
    ) -> None:
        self.always = cors
        self._access_log = access_log
        for route, resource in table.items():
            resource.route = resource.route or route
        self._router = Router(table)
        self.requests = Requests()
        self._limit = limit
        self._docs_url = docs_url
        self._concurrent = 0
        # Request ids only tell requests apart: a random start and a count do that.
        self._run = os.urandom(8).hex()
        self._count = count()

    async def __call__(self, exchange: Exchange) -> Reply:
        began = time.perf_counter()
        request_id = self._next_id()
        self._concurrent += 1
        found = self._router.find(exchange.path)
        try:
            answer = await self._answer(exchange, found)
        except Problem as problem:
            answer = self._refuse(problem, exchange.path)
        except StoreUnavailable as error:
            _log.warning("store.unavailable", request=request_id, error=str(error))
            answer = self._refuse(Problem(problems.UNAVAILABLE, headers=_SOON), exchange.path)
        except CarrierError as error:
            _log.warning("carrier.failed", request=request_id, kind=error.kind.value, why=error.detail)
            answer = self._refuse(Problem(problems.CARRIER_FAILED, f"Request {request_id}"), exchange.path)
        except StoreRefused:
            _log.exception("store.refused", request=request_id, method=exchange.method)
            answer = self._refuse(Problem(problems.STORAGE_FAILED, f"Request {request_id}"), exchange.path)
        except Exception:
            _log.exception("request.defect", request=request_id, method=exchange.method)
            proxy = exchange.path.startswith("/v1/")
            code = problems.PROXY_INTERNAL if proxy else problems.INTERNAL
            answer = self._refuse(Problem(code, f"Request {request_id}"), exchange.path)
        finally:
            self._concurrent -= 1
        duration_s = time.perf_counter() - began
        route = found[0].route if found else ""
        self.requests.note(route, exchange.method, answer.status, duration_s)
        if self._access_log is not None:
            self._access_log.note(exchange, route, request_id, answer.status, duration_s)
        return self._render(answer, request_id, duration_s)

    def most_bytes(self, path: str) -> int:
        """The most that a body may have which is sent here."""
        return MOST_SIGNED_BYTES if path.startswith(SIGNED_PATHS) else MOST_BYTES

    def refusal(self, code: Code) -> Reply:
        """The answer to what never became a request."""
        problem = Problem(code, headers=_SOON if code is problems.UNAVAILABLE else None)
        answer, request_id = self._refuse(problem, ""), self._next_id()
        self.requests.note("", "", answer.status, 0.0)
        if self._access_log is not None:
            self._access_log.note(None, "", request_id, answer.status, 0.0)
        return self._render(answer, request_id, 0.0)

    def _next_id(self) -> str:
        return f"RQ{self._run}{next(self._count):016x}"

    def _render(self, answer: Answer, request_id: str, duration_s: float) -> Reply:
        lines = _LINES % (request_id.encode(), duration_s, self._concurrent + 1)
        body = b""
        if isinstance(answer.content, bytes):
            body = answer.content
        elif answer.content is not None:
            body = _encode(answer.content)
            lines += b"Content-Type: application/json\r\n"
        for name, value in answer.headers.items():
            lines += f"{name}: {value}\r\n".encode("latin-1")
        return answer.status, lines, body

    async def _answer(self, exchange: Exchange, found: tuple[Resource, dict[str, str]] | None) -> Answer:
        path, method, headers = exchange.path, exchange.method, exchange.headers
        if found is None:
            raise Problem(problems.NOT_FOUND)
        resource, sids = found
        if (service := sids.get("service")) is not None:
            sids["service"] = canonical(service) if is_sid(service, "KS") else service
        if method == "OPTIONS" and self.always:  # a browser asks, without credentials, whether it may ask
            return Answer(None, 204, {"Allow": resource.allow})
        handler = resource.handler(method)
        account_sid = ""
        if resource.auth is not None:
            account_sid = await resource.auth.account_of(headers.get(b"authorization"))
            if self._limit is not None:
                self._limit.check(account_sid, method, path, sids)
        if resource.raw:
            params = NO_PARAMS
        else:
            params = parse_params(method, exchange.query, exchange.body, headers.get(b"content-type"))
        key = headers.get(b"idempotency-key")
        return await handler(
            Request(account_sid, method, path, sids, params, _key_text(key) if key else None, exchange)
        )

    def _refuse(self, problem: Problem, path: str) -> Answer:
        content = render_problem(problem, path, self._docs_url)
        return Answer(content, problem.status, problem.headers or {})


def _key_text(raw: bytes) -> str:
    if len(raw) > MOST_KEY or not raw.isascii():
        raise Problem(problems.PARAMETER_INVALID, f"Idempotency-Key (at most {MOST_KEY} ASCII characters)")
    return raw.decode("ascii")
