"""Webhooks in Twilio's manner: who calls them is known by the signature. The account's auth token makes it, or that of
the Twilio account that carries the number.

A request that is not signed so is answered 403 and leaves nothing but an event, at most one a minute for each Service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskline.api.context import Context
from maskline.api.http import Request
from maskline.carriers.twilio import TwilioCarrier
from maskline.carriers.twilio_forms import MOST_NUMBER
from maskline.carriers.webhooks import Unreadable, WebRequest, readable
from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.phone import identifier_key
from maskline.domain.problems import Problem
from maskline.domain.signature import HEADER, check
from maskline.domain.webhook_url import redact
from maskline.store.engine import Tx
from maskline.store.events import insert_event
from maskline.store.webhooks import Endpoint, find_endpoint

EVENT_S = 60.0


@dataclass(frozen=True, slots=True)
class Signed:
    """What somebody has signed who knows the account's token.

    `to` is the identifier key of the number that was called or texted, `carrier_account` who carries it; None: it is
    not in the Service's pool. `by_carrier`: that one has signed it itself.
    """

    account_sid: str
    service_sid: str
    form: Mapping[str, str]
    query: Mapping[str, str]
    to: str
    carrier_account: str | None
    by_carrier: bool


class Signatures:
    """Reads requests that are signed."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._told: dict[str, float] = {}

    async def read(self, request: Request) -> Signed:
        """The request, if its sender knows the token. Raises 20403, 20005; and 80701, whatever there is at its address.

        Nobody else is told whether there is such an account or Service.
        """
        account_sid, service_sid = request.sids["account"], request.sids["service"]
        if not is_sid(account_sid, "AC") or not is_sid(service_sid, "KS"):
            raise Problem(problems.NOT_SIGNED)
        account_sid, service_sid = canonical(account_sid), canonical(service_sid)
        came = WebRequest((), url_of(request, self._c), headers_of(request), request.exchange.body)
        try:
            fields, query = came.form() if came.body else [], came.query()
        except Unreadable as error:
            raise Problem(problems.PARAMETER_INVALID, str(error)) from None
        form = readable(fields)
        to, sender = (_number(form, name) for name in ("To", "From"))
        endpoint = await self._c.store.read(find_endpoint, account_sid, service_sid, to, sender)
        if endpoint is None:
            raise Problem(problems.NOT_SIGNED)
        signers = await self._check(came, fields, "Event" in query, endpoint, account_sid, service_sid)
        if not endpoint.active:
            raise Problem(problems.ACCOUNT_NOT_ACTIVE)
        carrier_account = endpoint.carrier_account
        by_carrier = carrier_account in signers
        return Signed(account_sid, service_sid, form, query, to, carrier_account, by_carrier)

    async def carrier_of(self, signed: Signed) -> str:
        """Who carries the number that a signed request is to. Raises 80701, 20404: it is not in the Service's pool."""
        if not signed.to:
            raise Problem(problems.PARAMETER_INVALID, "To is required")
        if signed.carrier_account is None:
            await self._tell(
                signed.account_sid, signed.service_sid, Problem(problems.UNKNOWN_SCENARIO, _STRAY)
            )
            raise Problem(problems.NOT_FOUND)
        return signed.carrier_account

    async def _check(
        self,
        came: WebRequest,
        fields: Sequence[tuple[str, str]],
        is_told: bool,
        endpoint: Endpoint,
        account_sid: str,
        service_sid: str,
    ) -> set[str]:
        """The carrier accounts that have signed it. `is_told`: it says what becomes of a call. Raises 20403 if neither
        one that may nor the account has.
        """
        url, headers = came.url, came.headers
        signature = headers.get(HEADER.lower(), "")
        # All are tried, so that the time taken tells nothing.
        good = [
            check(self._c.vault.open(sealed, account_sid), url, fields, signature)
            for sealed in endpoint.tokens_sealed
        ]
        signers = {
            name
            for name, carrier in self._c.carriers.items()
            if isinstance(carrier, TwilioCarrier) and carrier.has_signed(url, fields, headers, came.body)
        }
        # What is told of a call that was dialled is to its partner, from the number that they see.
        carried_by = {endpoint.carrier_account, endpoint.sender_account if is_told else None}
        if any(good) or signers & carried_by:
            return signers
        what = "does not fit" if signature else "is missing"
        if signers:
            what = f"is that of carrier account {', '.join(sorted(signers))}"
        if endpoint.carrier_account is not None:
            what += f", the number is carried by {endpoint.carrier_account}"
        problem = Problem(problems.NOT_SIGNED, f"{HEADER} {what}, at {redact(url)}")
        now = self._c.clock.uptime()
        if now >= self._told.get(service_sid, now):
            self._told[service_sid] = now + EVENT_S
            await self._tell(account_sid, service_sid, problem)
        raise Problem(problems.NOT_SIGNED)

    async def _tell(self, account_sid: str, service_sid: str, problem: Problem) -> None:
        sid = self._c.mint.sid("NO")

        def write(tx: Tx) -> None:
            insert_event(tx, sid, account_sid, problem.code, problem.detail, service_sid=service_sid)

        await self._c.store.write(write)


_STRAY = "a webhook of this Service was called for a number that is not in its pool"


def _number(form: Mapping[str, str], name: str) -> str:
    """The key of a number that is given, or an empty text. Raises 80701."""
    if len(number := form.get(name, "")) > MOST_NUMBER:
        raise Problem(problems.PARAMETER_INVALID, f"{name} (at most {MOST_NUMBER} characters)")
    return identifier_key(number)


def url_of(request: Request, context: Context) -> str:
    """The address that was asked for, as it is under the public URL."""
    query = request.exchange.query.decode("latin-1")
    return context.render.url(request.exchange.path) + (f"?{query}" if query else "")


def headers_of(request: Request) -> dict[str, str]:
    """The headers, with names in lower case."""
    return {
        name.decode("latin-1"): value.decode("latin-1") for name, value in request.exchange.headers.items()
    }
