"""/v1/Accounts/{AC}/Proxy/{KS}/Webhooks: where carriers that speak as Twilio does bring what comes to a Service."""

from __future__ import annotations

import re
from itertools import count

from maskline.api.context import Context
from maskline.api.forms import Params
from maskline.api.http import Answer, Request
from maskline.api.signed import MOST_NUMBER, Signatures
from maskline.carriers.base import Inbound
from maskline.domain import problems
from maskline.domain.channel import scheme_of
from maskline.domain.media import Medium, read_type
from maskline.domain.problems import Problem
from maskline.domain.twiml import Verb, render_twiml
from maskline.flows.calls import CallRequest

MOST_SID = 191
_TWILIOS, _TWILIOS_LENGTH = re.compile("[A-Z]{2}[0-9a-f]{32}"), 34


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
        form = signed.form
        carrier_account = await self._signatures.carrier_of(signed)
        carrier_id = _sid(form, "MessageSid") or _sid(form, "SmsSid") or form.required("SmsSid")
        message = Inbound(
            carrier_account=carrier_account,
            carrier_id=carrier_id,
            to=signed.to,
            from_=form.required("From", MOST_NUMBER),
            body=form.text("Body") or "",
            media=_media(form),
        )
        received = await self._c.receive(message)
        if not received.known:
            raise Problem(problems.NOT_FOUND)
        return twiml()

    async def call(self, request: Request) -> Answer:
        """A call to a number of the Service, whenever it comes in; and what becomes of one that was dialled for it."""
        signed = await self._signatures.read(request)
        form = signed.form
        call = CallRequest(
            carrier_account=signed.carrier_account or "",
            account_sid=signed.account_sid,
            service_sid=signed.service_sid,
            query={name: value for name in request.params.all() if (value := request.params.query(name))},
            form={name: values[-1] for name, values in form.all().items()},
        )
        if call.is_first:
            await self._signatures.carrier_of(signed)
            _sid(form, "CallSid") or form.required("CallSid")
            form.text("From", MOST_NUMBER)  # empty where the caller hides it
            if scheme_of(signed.to):  # channels carry no calls
                raise Problem(problems.NOT_FOUND)
        return twiml(*await self._c.calls.answer(call))


def _sid(form: Params, name: str) -> str | None:
    """The carrier's own name for what it brings. Raises 80701 for one of Twilio's with more behind it: what is signed
    has no borders, so a signed request could be played again as another one by moving the next field into it.
    """
    sid = form.text(name, MOST_SID)
    if sid and len(sid) > _TWILIOS_LENGTH and _TWILIOS.match(sid):
        raise Problem(problems.PARAMETER_INVALID, name)
    return sid


def _media(form: Params) -> tuple[Medium, ...]:
    """What came with it, by its own count: NumMedia may say anything."""
    media = []
    for number in count():
        if not (url := form.text(f"MediaUrl{number}")):
            break
        media.append(Medium(url, read_type(form.text(f"MediaContentType{number}"))))
    return tuple(media)
