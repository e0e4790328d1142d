"""Telnyx: Messaging (API v2), and voice by TeXML, which is TwiML in all that is said here.

    POST {base}/messages        Bearer KEY…
      {"from": "+14155550100", "to": "+12125550177", "text": "hi", "webhook_url": "https://…/carriers/north/status/SM…"}
    200 {"data": {"id": "40385f64-…", "to": [{"phone_number": "+1212…", "status": "queued"}], …}}
    409 {"errors": [{"code": "40300", "title": "Blocked due to STOP message", …}]}
    POST …/carriers/north/message        telnyx-timestamp: 1701000000, telnyx-signature-ed25519: …
      {"data": {"event_type": "message.received", "payload": {"id": "84cca175-…", "from": {"phone_number": "+1212…"},
        "to": [{"phone_number": "+1415…", "status": "webhook_delivered"}], "cc": [], "text": "hi",
        "media": [{"url": "https://…", "content_type": "…"}]}}}
    POST …/carriers/north/status/SM…     the same of "message.sent" and "message.finalized", with "to": [{"status": …}]
    POST …/carriers/north/call           CallSid=v3:…&From=…&To=…&CallStatus=ringing        answered with TeXML

What is signed is the timestamp, a bar and the body as it came. A number's messages go where its messaging profile
says, its calls where its TeXML application does: it is brought here by putting it into those that are maskline's. Of
the detail records, by which a message is looked up, the address of its receipts says whose one is: it has our own SID.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar
from urllib.parse import urlencode, urlsplit

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta

from maskline.carriers.base import (
    Accepted,
    Capabilities,
    Carrier,
    CarrierError,
    CarrierEvent,
    Checked,
    Inbound,
    Keep,
    Kind,
    Means,
    NotCarried,
    Options,
    Outgoing,
    Report,
)
from maskline.carriers.checks import check_account
from maskline.carriers.rest import Api
from maskline.carriers.twilio_forms import MOST_NUMBER, MOST_SID, read_call
from maskline.carriers.webhooks import (
    CallAsked,
    NotSigned,
    Unreadable,
    WebAnswer,
    WebRequest,
    readable,
    required_at,
    text_at,
)
from maskline.domain.channel import scheme_of
from maskline.domain.interaction import MessageStatus
from maskline.domain.media import Medium, read_type
from maskline.domain.model import SECOND
from maskline.domain.twiml import Verb, render_twiml

OPTED_OUT = "40300"
"""The recipient has sent STOP."""
# What its codes say of a message; the others go by their status (https://developers.telnyx.com, API errors).
KINDS: Mapping[str, Kind] = {
    "10005": Kind.MISCONFIGURED,  # there is no such resource: base_url is wrong
    "10009": Kind.MISCONFIGURED,  # the API key is refused,
    "10010": Kind.MISCONFIGURED,  # or may not do this
    "10011": Kind.THROTTLED,  # too many requests
    "10038": Kind.MISCONFIGURED,  # the account's level does not allow this,
    "10039": Kind.MISCONFIGURED,  # or has a limit that is reached
    "20002": Kind.MISCONFIGURED,  # the API key has expired,
    "20012": Kind.MISCONFIGURED,  # the account is not active,
    "20100": Kind.MISCONFIGURED,  # or has no money left
    OPTED_OUT: Kind.OPTED_OUT,
    "40312": Kind.MISCONFIGURED,  # the messaging profile is switched off,
    "40318": Kind.THROTTLED,  # the number's queue is full
    "40333": Kind.MISCONFIGURED,  # or has spent what it may on a day
}

# Its words for how far a message is. Whatever it says of one, it has it.
STATUSES: Mapping[str, MessageStatus] = {
    "queued": MessageStatus.SENT,
    "sending": MessageStatus.SENT,
    "sent": MessageStatus.SENT,
    "delivery_unconfirmed": MessageStatus.SENT,
    "delivered": MessageStatus.DELIVERED,
    "delivery_failed": MessageStatus.UNDELIVERED,
    "expired": MessageStatus.UNDELIVERED,
    "sending_failed": MessageStatus.FAILED,
}

BROUGHT = "webhook_delivered"
"""How far a message is with the number of ours that it is brought for."""

SIGNATURE, TIMESTAMP = "telnyx-signature-ed25519", "telnyx-timestamp"
WINDOW_S = 300
"""How far a request's timestamp may be from now."""

PAGE = 250
PROFILE = "messaging_profile_id"


class TelnyxOptions(Options, frozen=True):
    """What the settings say of an account."""

    api_key: Annotated[str, Meta(pattern="^[!-~]+$", description="An API key (v2), such as KEY0123….")]
    public_key: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9+/]{43}=$",
            description="The account's public key, with which its webhooks are checked.",
        ),
    ]
    messaging_profile_id: Annotated[
        str,
        Meta(
            pattern="^[0-9a-f-]{36}$",
            description="A messaging profile that is maskline's alone: its numbers are put into it.",
        ),
    ]
    texml_application_id: Annotated[
        str,
        Meta(
            pattern="^[0-9]*$",
            description="A TeXML application that is maskline's alone; without one there are no calls.",
        ),
    ] = ""
    base_url: Annotated[str, Meta(pattern="^https?://[!-~]+$", description="Where its API is.")] = (
        "https://api.telnyx.com/v2"
    )

    def limit(self, can: Capabilities) -> Capabilities:
        return can if self.texml_application_id else replace(can, voice=False)


class TelnyxCarrier(Carrier):
    """One account."""

    options: ClassVar[type[Options]] = TelnyxOptions
    can: ClassVar[Capabilities] = Capabilities(
        mms=True, voice=True, receipts=True, look_up=True, settle_s=60, parts=10
    )

    reads_twiml: ClassVar[bool] = False

    def __init__(self, name: str, options: TelnyxOptions, means: Means) -> None:
        self.name = name
        self._clock = means.clock
        self._url = means.url
        self._base = options.base_url.rstrip("/")
        self._can = options.limit(self.can)
        self._profile = options.messaging_profile_id
        self._application = options.texml_application_id
        self._public_key = Ed25519PublicKey.from_public_bytes(base64.b64decode(options.public_key))
        self._api = Api(
            means.http,
            KINDS,
            lambda error: text_at(error, "errors", 0, "code"),
            {"Authorization": f"Bearer {options.api_key}", "Accept": "application/json"},
        )

    async def capabilities(self, account_sid: str) -> Capabilities:
        return self._can

    async def send(self, message: Outgoing) -> Accepted:
        said: dict[str, Any] = {"from": message.from_, "to": message.to}
        if message.body:
            said["text"] = message.body
        if message.media:
            said["media_urls"] = message.media
        said |= {"webhook_url": self._receipts_of(message), "use_profile_webhooks": False}
        made = await self._ask("POST", "/messages", said)
        return Accepted(text_at(made, "data", "id") or None)

    async def look_up(self, message: Outgoing) -> Sequence[str]:
        since = dt.datetime.fromtimestamp(message.handed_at / SECOND, dt.UTC) - dt.timedelta(minutes=1)
        query = {
            "filter[record_type]": "messaging",
            "filter[direction]": "outbound",
            "filter[cld]": message.to,
            "filter[created_at][gte]": since.date().isoformat(),
            "sort": "-created_at",
            "page[size]": PAGE,
        }
        records = await self._list(f"/detail_records?{urlencode(query)}")
        ours = self._receipts_of(message)
        return [
            uuid
            for one in records
            if text_at(one, "delivery_status_webhook_url") == ours and (uuid := text_at(one, "uuid"))
        ]

    def _receipts_of(self, message: Outgoing) -> str:
        return f"{self._url}/status/{message.sid}"

    # What it brings

    def hear(self, request: WebRequest) -> Sequence[CarrierEvent] | CallAsked | None:
        match request.what:
            case ("message",):
                return self._read_message(self._signed(request).json())
            case ("status", sid):
                return self._read_report(self._signed(request).json(), sid)
            case ("call", *_):
                return read_call(readable(self._signed(request).form()))
            case _:
                return None

    def answer(self, verbs: Sequence[Verb] = (), asked: CallAsked | None = None) -> WebAnswer:
        return WebAnswer(render_twiml(verbs), "text/xml; charset=utf-8")

    def _signed(self, request: WebRequest) -> WebRequest:
        """The request, if it is. Raises NotSigned."""
        if (wrong := self._wrong_with(request)) is not None:
            raise NotSigned(wrong, partial(_said_to, request))
        return request

    def _wrong_with(self, request: WebRequest) -> str | None:
        """What is wrong with a request's signature; None: nothing."""
        given, timestamp = request.headers.get(SIGNATURE, ""), request.headers.get(TIMESTAMP, "")
        if not given:
            return f"{SIGNATURE} is missing"
        if not re.fullmatch("[0-9]{1,12}", timestamp):
            return f"{TIMESTAMP} is missing"
        try:
            signature = base64.b64decode(given, validate=True)
            self._public_key.verify(signature, timestamp.encode() + b"|" + request.body)
        except (InvalidSignature, ValueError):
            return f"{SIGNATURE} does not fit"
        if abs(self._clock.now() / SECOND - int(timestamp)) > WINDOW_S:
            return f"{TIMESTAMP} is more than {WINDOW_S} s from now"
        return None

    def _read_message(self, said: Mapping[str, Any]) -> list[CarrierEvent]:
        """A text to a number of ours. What the profile brings beside that is another's."""
        if text_at(said, "data", "event_type") != "message.received":
            return []
        message = _payload(said)
        return [
            Inbound(
                carrier_account=self.name,
                carrier_id=required_at(message, "id", most=MOST_SID),
                to=required_at(message, *_place_of(message), "phone_number", most=MOST_NUMBER),
                from_=required_at(message, "from", "phone_number", most=MOST_NUMBER),
                body=text_at(message, "text"),
                media=_media(message),
            )
        ]

    def _read_report(self, said: Mapping[str, Any], sid: str) -> list[CarrierEvent]:
        message = _payload(said)
        status = STATUSES.get(text_at(message, "to", 0, "status"))
        number = required_at(message, "from", "phone_number", most=MOST_NUMBER)
        carrier_id = required_at(message, "id", most=MOST_SID)
        opted_out = OPTED_OUT in _codes(message)
        return [Report(self.name, number, carrier_id, status, sid, opted_out)] if status is not None else []

    # Where the traffic of numbers goes

    async def adopt(self, account_sid: str, number: str, keep: Keep) -> None:
        if scheme_of(number):  # a channel's sender is set up by hand
            return
        place, resource = await self._find(number)
        for taken in self._taken():
            await self._take(*taken)
        ours = self._routes(place)
        former = {name: text_at(resource, name) for name in ours}
        if former != ours:
            await keep(msgspec.json.encode(former).decode())
            await self._route(place, ours)

    async def release(self, number: str, former: str) -> None:
        place, resource = await self._find(number)
        before = msgspec.json.decode(former, type=dict[str, str])
        # What others have changed since is theirs.
        back = {
            name: before.get(name, "")
            for name, value in self._routes(place).items()
            if text_at(resource, name) == value
        }
        if place.startswith("/short_codes"):  # which have to be in some profile
            back = {name: value for name, value in back.items() if value}
        await self._route(place, back)

    async def _find(self, number: str) -> tuple[str, Any]:
        """Where a number's resource is, and what it says. Raises NotCarried."""
        if number.startswith("+"):
            kind, name, query = "phone_numbers", "phone_number", f"filter[phone_number]={number[1:]}&"
        else:
            kind, name, query = "short_codes", "short_code", ""
        for one in await self._list(f"/{kind}?{query}page[size]={PAGE}"):
            if text_at(one, name) == number and (id_ := text_at(one, "id")):
                return f"/{kind}/{id_}", one
        raise NotCarried("the account at Telnyx has no such number")

    def _routes(self, place: str) -> dict[str, str]:
        """What says where the traffic of the number at this place goes, so that it comes here."""
        calls = self._application and place.startswith("/phone_numbers")
        return {PROFILE: self._profile, **({"connection_id": self._application} if calls else {})}

    async def _route(self, place: str, fields: Mapping[str, str]) -> None:
        for name, value in fields.items():
            messaging = "/messaging" if name == PROFILE and place.startswith("/phone_numbers") else ""
            await self._ask("PATCH", place + messaging, {name: value})

    def _taken(self) -> list[tuple[str, str, dict[str, str]]]:
        """What is maskline's alone: its name, where it is, and what it says, so that it brings everything here. A
        second address is another try.
        """
        message, call = f"{self._url}/message", f"{self._url}/call"
        profile = {"webhook_url": message, "webhook_failover_url": message, "webhook_api_version": "2"}
        application = {
            "voice_url": call,
            "voice_fallback_url": call,
            "voice_method": "post",
            "status_callback": call,
            "status_callback_method": "post",
        }
        taken = [("messaging profile", f"/messaging_profiles/{self._profile}", profile)]
        if self._application:
            taken.append(("TeXML application", f"/texml_applications/{self._application}", application))
        return taken

    async def _take(self, name: str, place: str, ours: Mapping[str, str]) -> None:
        """Have one of those bring things here. Raises CarrierError, too, where somebody else's address stands in it."""
        content = await self._get(place)
        if all(content.get(field) == value for field, value in ours.items()):
            return
        address = next(iter(ours))
        former = text_at(content, address)
        # It was ours under another public_url, too.
        if former and not former.endswith(urlsplit(ours[address]).path):
            raise CarrierError(Kind.MISCONFIGURED, f"its {name} leads to another address")
        await self._ask("PATCH", place, ours)

    async def _get(self, place: str) -> dict[str, Any]:
        content = (await self._ask("GET", place)).get("data")
        if not isinstance(content, dict):
            raise CarrierError(Kind.UNCERTAIN, "a resource cannot be read")
        return content

    async def check(self, numbers: Sequence[str]) -> list[Checked]:
        own = [number for number in numbers if not scheme_of(number)]
        return await check_account(self.name, "Telnyx", self._url, self._objection, own, self._strays)

    async def _objection(self) -> Checked | None:
        for name, place, ours in self._taken():
            content = await self._get(place)
            if content.get("enabled", content.get("active")) is False:
                return Checked(f"its {name} is switched off", "switch it on at Telnyx")
            wrong = [field for field, value in ours.items() if content.get(field) != value]
            if wrong:
                said = f"its {name} does not lead to {self._url} ({', '.join(wrong)})"
                return Checked(said, _TAKE.format(next(iter(ours.values())), self.name))
        return None

    async def _strays(self, number: str) -> list[str]:
        place, resource = await self._find(number)
        return [name for name, value in self._routes(place).items() if text_at(resource, name) != value]

    async def _list(self, path: str) -> list[Any]:
        """What a list has. Raises CarrierError."""
        found = (await self._ask("GET", path)).get("data")
        if not isinstance(found, list):
            raise CarrierError(Kind.UNCERTAIN, "a list cannot be read")
        return found

    async def _ask(self, method: str, path: str, said: Mapping[str, Any] | None = None) -> dict[str, Any]:
        body = None if said is None else msgspec.json.encode(said)
        headers = {"Content-Type": "application/json"} if said is not None else {}
        return await self._api.ask(method, self._base + path, self._clock.now(), body=body, headers=headers)


_TAKE = "give it the address {} at Telnyx, or none and `maskline numbers adopt --carrier {}`"


def _payload(said: Mapping[str, Any]) -> Any:
    content = said.get("data")
    return content.get("payload") if isinstance(content, dict) else None


def _place_of(message: Any) -> tuple[str, int]:
    """Where the number stands that a message is brought for: one to a group is to others, too."""
    for name in ("to", "cc"):
        everybody = message.get(name)
        for place, one in enumerate(everybody if isinstance(everybody, list) else ()):
            if text_at(one, "status") == BROUGHT:
                return name, place
    return "to", 0


def _codes(message: Any) -> set[str]:
    """What a report gives as reasons."""
    errors = message.get("errors")
    return {text_at(one, "code") for one in (errors if isinstance(errors, list) else ())}


def _media(message: Any) -> tuple[Medium, ...]:
    found = message.get("media")
    return tuple(
        Medium(url, read_type(text_at(one, "content_type")))
        for one in (found if isinstance(found, list) else ())
        if (url := text_at(one, "url"))
    )


def _said_to(request: WebRequest) -> str:
    """Whom something that is not proven says that it is for."""
    try:
        if request.what[0] == "call":
            return readable(request.form()).get("To", "")
        return text_at(_payload(request.json()), "to", 0, "phone_number")
    except Unreadable:
        return ""
