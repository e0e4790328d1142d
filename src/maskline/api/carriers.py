"""/carriers/{name}/…: a carrier account's own webhooks. What comes is read by the carrier, kept, and then acknowledged.

Who sends it is known by a signature that the carrier checks. What is not signed is answered 403 and leaves nothing but
an event, at most one a minute for each carrier account. Nobody else is told which accounts there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import structlog

from maskline.api.context import Context
from maskline.api.http import Answer, Request
from maskline.api.signed import EVENT_S, headers_of, url_of
from maskline.carriers.base import CarrierEvent
from maskline.carriers.webhooks import CallAsked, HasWebhooks, NotSigned, Unreadable, WebRequest
from maskline.domain import problems
from maskline.domain.part import Part
from maskline.domain.phone import identifier_key, mask
from maskline.domain.problems import Code, Problem
from maskline.domain.twiml import Verb
from maskline.domain.webhook_url import redact
from maskline.flows.calls import CallRequest
from maskline.store.engine import StoreUnavailable, Tx
from maskline.store.events import insert_event
from maskline.store.webhooks import Listed, find_carried, find_listed

_log = structlog.get_logger(__name__)


class CarrierHooks:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._told: dict[str, float] = {}

    async def take(self, request: Request) -> Answer:
        """Whatever an account's carrier brings, or asks about a call. Raises 20403, 20404, 80701."""
        carrier = self._c.carriers.get(request.sids["carrier"])
        if not isinstance(carrier, HasWebhooks):
            raise Problem(problems.NOT_SIGNED)
        what = (request.sids["what"], *([request.sids["sid"]] if "sid" in request.sids else []))
        came = WebRequest(what, url_of(request, self._c), headers_of(request), request.exchange.body)
        try:
            heard = carrier.hear(came)
            if heard is None:  # nor can anybody have signed what is at no address
                raise Problem(problems.NOT_SIGNED)
            query = came.query()
        except NotSigned as error:
            with suppress(StoreUnavailable):  # or it would tell that there is this account
                await self._refuse(carrier, came, error)
            raise Problem(problems.NOT_SIGNED) from None
        except Unreadable as error:
            raise Problem(problems.PARAMETER_INVALID, str(error)) from None
        verbs: list[Verb] = []
        asked: CallAsked | None = None
        if isinstance(heard, CallAsked):
            asked = heard
            verbs = await self._answer(carrier, asked, query, request.sids.get("sid", ""))
        # All are brought, though one may be for nobody: what comes again comes whole.
        elif not all([await self._bring(carrier, event) for event in heard]):
            raise Problem(problems.NOT_FOUND)
        said = carrier.answer(verbs, asked)
        return Answer(said.content, said.status, {"Content-Type": said.content_type})

    async def show(self, _: Request) -> Answer:
        """That this server is here, whatever is asked for: vendors ask before they set an address."""
        return Answer(b"", headers={"Content-Type": "text/plain"})

    async def _bring(self, carrier: HasWebhooks, event: CarrierEvent | Part) -> bool:
        return await (carrier.take_part(event) if isinstance(event, Part) else self._c.bring(event))

    async def _answer(
        self, carrier: HasWebhooks, asked: CallAsked, query: Mapping[str, str], service_sid: str
    ) -> list[Verb]:
        """What is to be done with a call to a number of ours, and with what is said of one that was dialled for it."""
        if asked.event:
            query = {**query, "Event": asked.event}
        if "Event" in query:
            listed = await self._dialled_for(carrier, asked, service_sid)
        else:
            listed, service_sid = await self._called(carrier, asked)
        call = CallRequest(carrier.name, listed.account_sid, service_sid, query, asked.form)
        if carrier.reads_twiml:
            return await self._c.calls.answer(call)
        webhook = self._c.render.url(f"/carriers/{carrier.name}/call/{service_sid}")
        return await self._c.call_relay.answer(replace(call, webhook=webhook))

    async def _called(self, carrier: HasWebhooks, asked: CallAsked) -> tuple[Listed, str]:
        """The number that was called, and whose pool it is in. Raises 20404."""
        to = identifier_key(asked.to)
        listed = await self._c.store.read(find_listed, to)
        if listed is None:
            raise Problem(problems.NOT_FOUND)
        if listed.carrier_account != carrier.name:
            said = f"{carrier.name}, for {mask(to)} of {listed.carrier_account}"
            await self._tell(listed, problems.WRONG_CARRIER, said)
            raise Problem(problems.NOT_FOUND)
        if listed.service_sid is None:
            raise Problem(problems.NOT_FOUND)
        return listed, listed.service_sid

    async def _dialled_for(self, carrier: HasWebhooks, asked: CallAsked, service_sid: str) -> Listed:
        """The number of this Service's pool on which a call is, on either side of it. Raises 20404."""
        for number in (asked.to, asked.form.get("From", "")):
            listed = await self._c.store.read(find_listed, identifier_key(number))
            if listed is not None and (listed.carrier_account, listed.service_sid) == (
                carrier.name,
                service_sid,
            ):
                return listed
        raise Problem(problems.NOT_FOUND)

    async def _refuse(self, carrier: HasWebhooks, came: WebRequest, error: NotSigned) -> None:
        """Tell what came unsigned, unless that was done a moment ago, and whose it may be instead."""
        now = self._c.clock.uptime()
        if now < self._told.get(carrier.name, now):
            return
        self._told[carrier.name] = now + EVENT_S
        said = f"carrier account {carrier.name}, {error.detail}, at {redact(came.url)}"
        if (signer := self._signer(came)) is not None:
            said += f"; it is signed by carrier account {signer}"
        said_to = error.said_to()
        listed = await self._c.store.read(find_listed, identifier_key(said_to)) if said_to else None
        if listed is not None and listed.carrier_account != carrier.name:
            said += f"; the number is carried by {listed.carrier_account}"
        _log.warning("webhook.not_signed", said=said)
        listed = listed or await self._c.store.read(find_carried, carrier.name)
        if listed is not None:
            await self._tell(listed, problems.NOT_SIGNED, said)

    def _signer(self, came: WebRequest) -> str | None:
        """Who has signed what came to another account's address."""
        for name, carrier in self._c.carriers.items():
            if isinstance(carrier, HasWebhooks):
                try:
                    heard = carrier.hear(came)
                except (NotSigned, Unreadable):
                    continue
                if heard is not None:  # else it has no such address, and has not looked
                    return name
        return None

    async def _tell(self, listed: Listed, code: Code, detail: str) -> None:
        sid = self._c.mint.sid("NO")

        def write(tx: Tx) -> None:
            insert_event(tx, sid, listed.account_sid, code, detail, service_sid=listed.service_sid)

        await self._c.store.write(write)
