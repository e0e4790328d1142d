"""/v1/Accounts/{AC}/Proxy/{KS}/Webhooks: where carriers that speak as Twilio does bring what comes to a Service."""

from __future__ import annotations

from dataclasses import replace

from maskline.api.context import Context
from maskline.api.http import Answer, Request
from maskline.api.signed import Signatures
from maskline.carriers.twilio_forms import read_call, read_message
from maskline.carriers.webhooks import Unreadable
from maskline.domain import problems
from maskline.domain.channel import scheme_of
from maskline.domain.problems import Problem
from maskline.domain.twiml import Verb, render_twiml
from maskline.flows.calls import CallRequest


def twiml(*verbs: Verb) -> Answer:
    """An answer that has the carrier carry these out."""
    return Answer(render_twiml(verbs), headers={"Content-Type": "text/xml; charset=utf-8"})


class Webhooks:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._signatures = Signatures(context)

    async def message(self, request: Request) -> Answer:
        """A message for a number of the Service; it is answered once it is durable, and a repeat likewise."""
        signed = await self._signatures.read(request)
        carrier_account = await self._signatures.carrier_of(signed)
        try:
            message = read_message(signed.form, carrier_account)
        except Unreadable as error:
            raise Problem(problems.PARAMETER_INVALID, str(error)) from None
        received = await self._c.receive(replace(message, to=signed.to, forwarded=not signed.by_carrier))
        if not received.known:
            raise Problem(problems.NOT_FOUND)
        return twiml()

    async def call(self, request: Request) -> Answer:
        """A call to a number of the Service, whenever it comes in; and what becomes of one that was dialled for it."""
        signed = await self._signatures.read(request)
        call = CallRequest(
            carrier_account=signed.carrier_account or "",
            account_sid=signed.account_sid,
            service_sid=signed.service_sid,
            query=signed.query,
            form=signed.form,
        )
        if call.is_first:
            await self._signatures.carrier_of(signed)
            try:
                read_call(signed.form)
            except Unreadable as error:
                raise Problem(problems.PARAMETER_INVALID, str(error)) from None
            if scheme_of(signed.to):  # channels carry no calls
                raise Problem(problems.NOT_FOUND)
        return twiml(*await self._c.calls.answer(call))
