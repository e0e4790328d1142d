"""What an HTTP API has said of a request, as maskline takes it: one answer, or one `CarrierError`, in one function.

Whether a message may have been taken is what counts. Until the request went out, and where the vendor's own table says
so, it certainly was not; otherwise an answer of 4xx is a refusal, and 5xx or none at all means that nobody knows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from maskline.carriers.base import CarrierError, Http, Kind, Outgoing
from maskline.domain.http import Answer, Failure, HttpError
from maskline.domain.model import SECOND, Instant

WITHIN_S = 9.5
"""For a whole request: a little less than the flow has for a hand-over."""

_EARLIER_S, _LATER_S = 2, 15

# Up to TLS nothing has been sent.
_NOT_SENT = {Failure.BAD_URL, Failure.REFUSED, Failure.BUSY, Failure.DNS, Failure.CONNECT, Failure.TLS}

# Nothing of an account goes, either, that has to pay first.
_BY_STATUS = {
    401: Kind.MISCONFIGURED,
    402: Kind.MISCONFIGURED,
    408: Kind.UNCERTAIN,  # something before the API says so, which may have passed the request on
    429: Kind.THROTTLED,
}
_decode = msgspec.json.Decoder().decode


class Api:
    """One vendor's API as one account sees it.

    `kinds` is the vendor's table: its own codes, and what each says of a message. What is not in it goes by the status.
    `code_of` finds the code in an error's JSON.
    """

    def __init__(
        self,
        http: Http,
        kinds: Mapping[Any, Kind],
        code_of: Callable[[dict[str, Any]], Any],
        headers: Mapping[str, str],
    ) -> None:
        self._http = http
        self._kinds = kinds
        self._code_of = code_of
        self._headers = headers

    async def ask(
        self,
        method: str,
        url: str,
        now: Instant,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The JSON of a 2xx answer; empty where there is none that can be read. Raises CarrierError."""
        return _read(await self.fetch(method, url, now, body=body, headers=headers))

    async def fetch(
        self,
        method: str,
        url: str,
        now: Instant,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """What a 2xx answer says. Raises CarrierError."""
        try:
            answer = await self._http.request(
                method, url, body=body, headers={**self._headers, **(headers or {})}, within_s=WITHIN_S
            )
        except HttpError as error:
            if error.status is None:
                kind = Kind.UNREACHABLE if error.kind in _NOT_SENT else Kind.UNCERTAIN
                raise CarrierError(kind, str(error)) from None
            answer = Answer(error.status, "", b"")  # the head says enough
        if 200 <= answer.status < 300:
            return answer.body
        raise self._error(answer, self._code_of(_read(answer.body)), now)

    def _error(self, answer: Answer, code: Any, now: Instant) -> CarrierError:
        detail = f"status {answer.status}" + (f", code {code}" if str(code).isdecimal() else "")
        kind = self._kinds.get(code) if isinstance(code, int | str) else None
        if kind is None:
            kind = _BY_STATUS.get(answer.status) or _kind_of(answer.status)
        return CarrierError(kind, detail, retry_after_s=_wish(answer.retry_after, now))


def made_within(message: Outgoing) -> tuple[Instant, Instant]:
    """When the vendor made this message, if it did: between its hand-over, by a clock that may be a little off, and a
    little more than the longest that one takes.
    """
    return (
        Instant(message.handed_at - _EARLIER_S * SECOND),
        Instant(message.handed_at + _LATER_S * SECOND),
    )


def read_instant(date: Any) -> Instant:
    """An ISO 8601 date such as `2020-04-07T14:03:07.000Z`, of UTC unless it says otherwise; what is none was never."""
    try:
        at = dt.datetime.fromisoformat(date)
    except (TypeError, ValueError):
        return Instant(0)
    return Instant(int((at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() * SECOND))


def _kind_of(status: int) -> Kind:
    if status < 400:  # whoever answers is not the API: nothing can be sent until its address is mended
        return Kind.MISCONFIGURED
    return Kind.REJECTED if status < 500 else Kind.UNCERTAIN


def _read(body: bytes) -> dict[str, Any]:
    try:
        content = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _wish(retry_after: str, now: Instant) -> float | None:
    """How long it asks not to be asked again, in seconds or until a date."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now / SECOND) if text else None
    except (ValueError, OverflowError):
        return None
