"""Requests to customers' servers: signed with the account's token, each under a token of its own by which the receiver
knows a repeated one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import structlog

from maskline.domain.callback import token_of
from maskline.domain.http import Answer, HttpError
from maskline.domain.signature import HEADER, sign
from maskline.net import HttpClient, add_query
from maskline.vault import Vault

TOKEN_HEADER = "I-Twilio-Idempotency-Token"  # noqa: S105  (a header's name)

_log = structlog.get_logger(__name__)


class CustomerRequest(Protocol):
    """A request to a customer's server: `sid` is the same however often it is sent, `token_sealed` the account's."""

    @property
    def sid(self) -> str: ...
    @property
    def account_sid(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def token_sealed(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Sent:
    """How a request went: the HTTP status, None where no answer came, and what was wrong with the exchange."""

    status: int | None
    failure: str = ""

    @property
    def good(self) -> bool:
        """Whether it was received: what follows the head of a 2xx is nothing to us."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def why(self) -> str:
        """Why it was not received, in a word."""
        return self.failure if self.status is None else str(self.status)


class Customers:
    """Reaches them. `public_url` is the prefix of the addresses that they are given."""

    def __init__(self, vault: Vault, http: HttpClient, public_url: str) -> None:
        self._open = lru_cache(maxsize=1024)(vault.open)
        self._http = http
        self._url = public_url.rstrip("/")

    def account_url(self, account_sid: str) -> str:
        """Under which address an account's messages and calls are."""
        return f"{self._url}/2010-04-01/Accounts/{account_sid}"

    def webhook_url(self, account_sid: str, service_sid: str, kind: str) -> str:
        """Where carriers bring this Service a `Message` or a `Call`, and customers hand one back."""
        return f"{self._url}/v1/Accounts/{account_sid}/Proxy/{service_sid}/Webhooks/{kind}"

    async def post(
        self, request: CustomerRequest, form: Mapping[str, str], within_s: float | None = None
    ) -> Answer:
        """Send one request. `within_s`: how long there is for it, whatever the URL allows. Raises HttpError."""
        headers = self._headers(request, request.url, form)
        return await self._http.post_form(request.url, form, headers=headers, within_s=within_s)

    async def send(
        self, request: CustomerRequest, form: Mapping[str, str], within_s: float | None = None
    ) -> Sent:
        """Send one request of which nothing but the status counts. Raises nothing."""
        try:
            return Sent((await self.post(request, form, within_s)).status)
        except HttpError as error:
            return Sent(error.status, str(error))
        except Exception:
            _log.exception("customer.defect", asked=request.sid)
            return Sent(None, "defect")

    async def get(self, request: CustomerRequest, form: Mapping[str, str]) -> Answer:
        """Send one request with the form in its query. Raises HttpError."""
        url = add_query(request.url, form)
        return await self._http.get(url, headers=self._headers(request, url, {}))

    def _headers(self, request: CustomerRequest, url: str, form: Mapping[str, str]) -> dict[str, str]:
        token = self._open(request.token_sealed, request.account_sid)
        return {HEADER: sign(token, url, form), TOKEN_HEADER: token_of(request.sid)}
