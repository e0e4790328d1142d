"""/2010-04-01/Accounts/{AC}/IncomingPhoneNumbers: the account's phone numbers, in pools or not."""

from __future__ import annotations

from collections.abc import Mapping

from maskline.api import v2010
from maskline.api.context import Context
from maskline.api.http import CARRIER, REPLAYED, Answer, Request
from maskline.api.render import Json
from maskline.domain import problems, sandbox
from maskline.domain.ids import instant_of
from maskline.domain.model import NumberKind, ProxyNumber
from maskline.domain.phone import identifier_key, parse_phone
from maskline.domain.problems import Problem
from maskline.flows.numbers import change_own_number, create_own_number, delete_own_number, new_number
from maskline.store.idempotency import Replayed
from maskline.store.numbers import list_own_numbers, load_own_number

MOST_FRIENDLY_NAME = 255
NAME, KEY = "IncomingPhoneNumbers", "incoming_phone_numbers"


def _render(number: ProxyNumber) -> Json:
    """Every field of Twilio's resource. Where the number's traffic goes is the carrier's matter and maskline's: what
    would configure it is empty.
    """
    return {
        "sid": number.sid,
        "account_sid": number.account_sid,
        "phone_number": number.phone_number,
        "friendly_name": number.friendly_name,
        "capabilities": {"voice": number.voice, "sms": number.sms, "mms": number.mms, "fax": False},
        "status": "in-use",
        "origin": "hosted",
        "beta": False,
        "type": None,
        "date_created": v2010.render_date(instant_of(number.sid)),
        "date_updated": v2010.render_date(number.updated_at),
        "api_version": v2010.VERSION,
        "uri": v2010.uri(number.account_sid, NAME, number.sid),
        "sms_url": None,
        "sms_method": "POST",
        "sms_fallback_url": None,
        "sms_fallback_method": "POST",
        "sms_application_sid": None,
        "voice_url": None,
        "voice_method": "POST",
        "voice_fallback_url": None,
        "voice_fallback_method": "POST",
        "voice_application_sid": None,
        "voice_receive_mode": "voice",
        "voice_caller_id_lookup": False,
        "status_callback": None,
        "status_callback_method": "POST",
        "trunk_sid": None,
        "address_sid": None,
        "address_requirements": "none",
        "identity_sid": None,
        "bundle_sid": None,
        "emergency_status": "Inactive",
        "emergency_address_sid": None,
        "emergency_address_status": "unregistered",
    }


def _show(number: ProxyNumber, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(_render(number), status, {CARRIER: number.carrier_account, **(headers or {})})


class Inventory:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def list(self, request: Request) -> Answer:
        shown: dict[str, str] = {}
        filters: dict[str, str] = {}
        if number := request.params.query("PhoneNumber"):
            shown["PhoneNumber"], filters["phone_number"] = number, identifier_key(number)
        if name := request.params.query("FriendlyName"):
            shown["FriendlyName"] = filters["friendly_name"] = name
        return await v2010.answer_list(
            self._c.store,
            request,
            NAME,
            KEY,
            lambda tx, seek: list_own_numbers(tx, request.account_sid, seek, filters),
            _render,
            filters=shown,
        )

    async def fetch(self, request: Request) -> Answer:
        sid = v2010.sid_of(request, NumberKind.PHONE)
        return _show(await self._c.store.read(load_own_number, request.account_sid, sid))

    async def create(self, request: Request) -> Answer:
        phone = parse_phone(request.params.text("PhoneNumber") or "")
        if phone is None:
            raise Problem(problems.OWN_NUMBER_INVALID)
        if self._c.sandbox is None:
            raise Problem(
                problems.NUMBER_TAKEN, "`maskline numbers add` enters what a carrier account carries"
            )
        number = new_number(
            self._c.mint.sid(NumberKind.PHONE),
            phone.e164,
            request.account_sid,
            sandbox.NAME,
            self._c.clock.now(),
            request.params.text("FriendlyName", MOST_FRIENDLY_NAME),
        )
        try:
            made = await self._c.store.write(create_own_number, number, request.key(request.account_sid))
        except Replayed as replayed:
            sid = replayed.resource_sid
            made = await self._c.store.read(load_own_number, request.account_sid, sid)
            return _show(made, 201, REPLAYED)
        return _show(made, 201)

    async def update(self, request: Request) -> Answer:
        sid = v2010.sid_of(request, NumberKind.PHONE)
        name = request.params.text("FriendlyName", MOST_FRIENDLY_NAME)
        return _show(await self._c.store.write(change_own_number, request.account_sid, sid, name))

    async def delete(self, request: Request) -> Answer:
        sid = v2010.sid_of(request, NumberKind.PHONE)
        await delete_own_number(self._c.store, request.account_sid, sid)
        return Answer(None, 204)
