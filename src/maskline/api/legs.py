"""/2010-04-01/Accounts/{AC}/Messages and …/Calls: the legs of Interactions, in Twilio's shapes. Read-only."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from maskline.api import v2010
from maskline.api.context import Context
from maskline.api.forms import Params
from maskline.api.http import Answer, Request
from maskline.api.render import Json
from maskline.domain import problems
from maskline.domain.interaction import CALL_WORDS, WORDS, CallStatus
from maskline.domain.model import Instant
from maskline.domain.problems import Problem
from maskline.domain.text import count_segments
from maskline.store.legs import FoundLeg, Sent, list_legs, load_leg

# By what Twilio filters and this server cannot without reading everything.
_UNSERVED = {
    "message": ("To", "From"),
    "voice": (
        *("To", "From", "ParentCallSid", "Status"),
        *("StartTime", "StartTime<", "StartTime>", "EndTime", "EndTime<", "EndTime>"),
    ),
}


_ERRORS = {code.number: code.sentence for code in (problems.RECIPIENT_OPTED_OUT,)}


def render_message(found: FoundLeg, account_sid: str) -> Json:
    """A message's leg. A relayed or automatic one is `outbound-reply`: it answers no request of the API."""
    data: dict[str, Any] = json.loads(found.interaction.data)
    body = data.get("body", "")
    sender, recipient = found.identifier, found.proxy_identifier
    if not found.inbound:
        sender, recipient = recipient, sender
    outbound = "outbound-reply" if found.interaction.participant_sid is None else "outbound-api"
    uri = v2010.uri(account_sid, "Messages", found.sid)
    return {
        "sid": found.sid,
        "account_sid": account_sid,
        "messaging_service_sid": None,
        "from": sender,
        "to": recipient,
        "body": body,
        "status": "received" if found.inbound else WORDS[found.leg.status],
        "direction": "inbound" if found.inbound else outbound,
        "num_segments": str(count_segments(body)),
        "num_media": str(len(data.get("media", ()))),
        "price": None,
        "price_unit": "USD",
        "error_code": found.error_code,
        "error_message": _ERRORS[found.error_code] if found.error_code is not None else None,
        "api_version": v2010.VERSION,
        "date_created": v2010.render_date(found.interaction.created_at),
        "date_updated": v2010.render_date(found.interaction.updated_at),
        "date_sent": v2010.render_date(found.sent_at),
        "uri": uri,
        "subresource_uris": {"media": uri.replace(".json", "/Media.json")},
    }


def render_call(found: FoundLeg, account_sid: str) -> Json:
    """A call's leg. The outbound one was dialled for the inbound one, its parent."""
    interaction = found.interaction
    data: dict[str, Any] = json.loads(interaction.data or "{}")
    caller, called = found.identifier, found.proxy_identifier
    if not found.inbound:
        caller, called = called, caller
    over = found.leg.status >= CallStatus.CANCELED
    parent = None if found.inbound or interaction.inbound is None else interaction.inbound.resource_sid
    return {
        "sid": found.sid,
        "account_sid": account_sid,
        "parent_call_sid": parent,
        "from": caller,
        "from_formatted": caller,
        "to": called,
        "to_formatted": called,
        "phone_number_sid": None,
        # This API has no word for a call that does not ring yet but this one.
        "status": "queued" if found.leg.status == CallStatus.INITIATED else CALL_WORDS[found.leg.status],
        "direction": "inbound" if found.inbound else "outbound-dial",
        "start_time": v2010.render_date(interaction.created_at),
        "end_time": v2010.render_date(interaction.updated_at) if over else None,
        "duration": data.get("duration") if over else None,
        "price": None,
        "price_unit": "USD",
        "answered_by": None,
        "forwarded_from": None,
        "group_sid": None,
        "caller_name": None,
        "queue_time": "0",
        "trunk_sid": None,
        "api_version": v2010.VERSION,
        "date_created": v2010.render_date(interaction.created_at),
        "date_updated": v2010.render_date(interaction.updated_at),
        "uri": v2010.uri(account_sid, "Calls", found.sid),
        "subresource_uris": {},
    }


def _refuse_unserved(params: Params, interaction_type: str) -> None:
    for name in _UNSERVED[interaction_type]:
        if params.query(name):
            raise Problem(problems.PARAMETER_INVALID, f"{name} (this list cannot be filtered by it)")


def parse_sent(params: Params) -> tuple[Sent | None, dict[str, str]]:
    """What `DateSent`, `DateSent<` and `DateSent>` ask for, a day or an instant each, and how they were given.

    All three hold for the day or second that they name. Raises 80701.
    """
    since: list[Instant] = []
    until: list[Instant] = []
    given: dict[str, str] = {}
    for name, from_it, to_it in (
        ("DateSent", True, True),
        ("DateSent>", True, False),
        ("DateSent<", False, True),
    ):
        span = params.span(name)
        if span is None:
            continue
        given[name] = params.text(name) or ""
        if from_it:
            since.append(span[0])
        if to_it:
            until.append(span[1])
    if not given:
        return None, given
    return Sent(max(since, default=None), min(until, default=None)), given


class Messages:
    """The handlers of Messages."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def list(self, request: Request) -> Answer:
        _refuse_unserved(request.params, "message")
        sent, given = parse_sent(request.params)
        return await v2010.answer_list(
            self._c.store,
            request,
            "Messages",
            "messages",
            lambda tx, seek: list_legs(tx, request.account_sid, "message", seek, sent),
            partial(render_message, account_sid=request.account_sid),
            filters=given,
        )

    async def fetch(self, request: Request) -> Answer:
        sid = v2010.sid_of(request, "SM", "MM")
        found = await self._c.store.read(load_leg, request.account_sid, "message", sid)
        return Answer(render_message(found, request.account_sid))


class Calls:
    """The handlers of Calls."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def list(self, request: Request) -> Answer:
        _refuse_unserved(request.params, "voice")
        return await v2010.answer_list(
            self._c.store,
            request,
            "Calls",
            "calls",
            lambda tx, seek: list_legs(tx, request.account_sid, "voice", seek),
            partial(render_call, account_sid=request.account_sid),
        )

    async def fetch(self, request: Request) -> Answer:
        sid = v2010.sid_of(request, "CA")
        found = await self._c.store.read(load_leg, request.account_sid, "voice", sid)
        return Answer(render_call(found, request.account_sid))
