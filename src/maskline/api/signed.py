"""Webhooks in Twilio's manner: who calls them is known by the signature. The account's auth token makes it, or that of
the Twilio account that carries the number.

A request that is not signed so is answered 403 and leaves nothing but an event, at most one a minute for each Service.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskline.api.context import Context
from maskline.api.forms import Params, parse_params
from maskline.api.http import Request
from maskline.carriers.twilio import TwilioCarrier
from maskline.carriers.twilio_forms import MOST_NUMBER
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
    form: Params
    to: str
    carrier_account: str | None
    by_carrier: bool


class Signatures:
    """Reads requests that are signed."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._told: dict[str, float] = {}

    async def read(self, request: Request) -> Signed:
        """The request, if its sender knows the token. Raises 20403, 20005.

        Nobody else is told whether there is such an account or Service.
        """
        account_sid, service_sid = request.sids["account"], request.sids["service"]
        if not is_sid(account_sid, "AC") or not is_sid(service_sid, "KS"):
            raise Problem(problems.NOT_SIGNED)
        account_sid, service_sid = canonical(account_sid), canonical(service_sid)
        form = _form(request)
        to, sender = (identifier_key(form.text(name, MOST_NUMBER) or "") for name in ("To", "From"))
        endpoint = await self._c.store.read(find_endpoint, account_sid, service_sid, to, sender)
        if endpoint is None:
            raise Problem(problems.NOT_SIGNED)
        signers = await self._check(request, form, endpoint, account_sid, service_sid)
        if not endpoint.active:
            raise Problem(problems.ACCOUNT_NOT_ACTIVE)
        carrier_account = endpoint.carrier_account
        return Signed(account_sid, service_sid, form, to, carrier_account, carrier_account in signers)

    async def carrier_of(self, signed: Signed) -> str:
        """Who carries the number that a signed request is to. Raises 80701, 20404: it is not in the Service's pool."""
        signed.form.required("To")
        if signed.carrier_account is None:
            await self._tell(
                signed.account_sid, signed.service_sid, Problem(problems.UNKNOWN_SCENARIO, _STRAY)
            )
            raise Problem(problems.NOT_FOUND)
        return signed.carrier_account

    async def _check(
        self, request: Request, form: Params, endpoint: Endpoint, account_sid: str, service_sid: str
    ) -> set[str]:
        """The carrier accounts that have signed it. Raises 20403 if neither one that may nor the account has."""
        url, headers = url_of(request, self._c), headers_of(request)
        signature = headers.get(HEADER.lower(), "")
        pairs = [(name, value) for name, values in form.all().items() for value in values]
        # All are tried, so that the time taken tells nothing.
        good = [
            check(self._c.vault.open(sealed, account_sid), url, pairs, signature)
            for sealed in endpoint.tokens_sealed
        ]
        signers = {
            name
            for name, carrier in self._c.carriers.items()
            if isinstance(carrier, TwilioCarrier)
            and carrier.has_signed(url, pairs, headers, request.exchange.body)
        }
        # What is told of a call that was dialled is to its partner, from the number that they see.
        carried_by = {endpoint.carrier_account, endpoint.sender_account if _is_told(request) else None}
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


def _is_told(request: Request) -> bool:
    return request.params.query("Event") is not None


def url_of(request: Request, context: Context) -> str:
    """The address that was asked for, as it is under the public URL."""
    query = request.exchange.query.decode("latin-1")
    return context.render.url(request.exchange.path) + (f"?{query}" if query else "")


def headers_of(request: Request) -> dict[str, str]:
    """The headers, with names in lower case."""
    return {
        name.decode("latin-1"): value.decode("latin-1") for name, value in request.exchange.headers.items()
    }


def _form(request: Request) -> Params:
    """The parameters of the body alone, which are what is signed beside the address."""
    exchange = request.exchange
    if not exchange.query:
        return request.params
    return parse_params("POST", b"", exchange.body, exchange.headers.get(b"content-type"))
