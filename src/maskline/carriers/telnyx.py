"""Telnyx: Messaging (API v2).

    POST {base}/messages        Bearer KEY…
      {"from": "+14155550100", "to": "+12125550177", "text": "hi", "webhook_url": "https://…/carriers/north/status/SM…"}
    200 {"data": {"id": "40385f64-…", "to": [{"phone_number": "+1212…", "status": "queued"}], …}}
    403 {"errors": [{"code": "40300", "title": "Blocked due to STOP message", …}]}
    POST …/carriers/north/message        telnyx-timestamp: 1701000000, telnyx-signature-ed25519: …
      {"data": {"event_type": "message.received", "payload": {"id": "84cca175-…", "from": {"phone_number": "+1212…"},
        "to": [{"phone_number": "+1415…"}], "text": "hi", "media": [{"url": "https://…", "content_type": "…"}]}}}
    POST …/carriers/north/status/SM…     the same of "message.sent" and "message.finalized", with "to": [{"status": …}]

What is signed is the timestamp, a bar and the body as it came. A number's messages go where its messaging profile says,
so a number is brought here by putting it into a profile that is maskline's. Of the detail records, by which a message
is looked up, the address of its receipts says whose it is: it carries our own SID.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar
from urllib.parse import urlencode

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
from maskline.carriers.twilio_forms import MOST_NUMBER, MOST_SID
from maskline.carriers.webhooks import (
    CallAsked,
    NotSigned,
    Unreadable,
    WebAnswer,
    WebRequest,
    required_at,
    text_at,
)
from maskline.domain.channel import scheme_of
from maskline.domain.interaction import MessageStatus
from maskline.domain.media import Medium, read_type
from maskline.domain.model import SECOND
from maskline.domain.twiml import Verb, render_twiml

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
    "40300": Kind.OPTED_OUT,  # the recipient has sent STOP
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
    base_url: Annotated[str, Meta(pattern="^https?://[!-~]+$", description="Where its API is.")] = (
        "https://api.telnyx.com/v2"
    )


class TelnyxCarrier(Carrier):
    """One account."""

    options: ClassVar[type[Options]] = TelnyxOptions
    can: ClassVar[Capabilities] = Capabilities(mms=True, receipts=True, look_up=True, settle_s=60, parts=10)

    reads_twiml: ClassVar[bool] = False

    def __init__(self, name: str, options: TelnyxOptions, means: Means) -> None:
        self.name = name
        self._clock = means.clock
        self._url = means.url
        self._base = options.base_url.rstrip("/")
        self._profile = options.messaging_profile_id
        self._public_key = Ed25519PublicKey.from_public_bytes(base64.b64decode(options.public_key))
        self._api = Api(
            means.http,
            KINDS,
            lambda error: text_at(error, "errors", 0, "code"),
            {"Authorization": f"Bearer {options.api_key}", "Accept": "application/json"},
        )

    async def capabilities(self, account_sid: str) -> Capabilities:
        return self.can

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
                return self._read_message(self._signed(request))
            case ("status", sid):
                return self._read_report(self._signed(request), sid)
            case _:
                return None

    def answer(self, verbs: Sequence[Verb] = ()) -> WebAnswer:
        return WebAnswer(render_twiml(verbs), "text/xml; charset=utf-8")

    def _signed(self, request: WebRequest) -> dict[str, Any]:
        """What a request says. Raises NotSigned, Unreadable."""
        if (wrong := self._wrong_with(request)) is not None:
            raise NotSigned(wrong, _said_to(request))
        return request.json()

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
                to=required_at(message, "to", 0, "phone_number", most=MOST_NUMBER),
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
        return [Report(self.name, number, carrier_id, status, sid)] if status is not None else []

    # Where the traffic of numbers goes

    async def adopt(self, account_sid: str, number: str, keep: Keep) -> None:
        if scheme_of(number):  # a channel's sender is set up by hand
            return
        place, resource = await self._find(number)
        await self._take_profile()
        ours = self._routes()
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
            for name, value in self._routes().items()
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

    def _routes(self) -> dict[str, str]:
        """What says where a number's traffic goes, so that it comes here."""
        return {PROFILE: self._profile}

    async def _route(self, place: str, fields: Mapping[str, str]) -> None:
        for name, value in fields.items():
            messaging = "/messaging" if name == PROFILE and place.startswith("/phone_numbers") else ""
            await self._ask("PATCH", place + messaging, {name: value})

    async def _take_profile(self) -> None:
        """Have the profile bring its messages here. Raises CarrierError: somebody else's address stands there."""
        profile = await self._get_profile()
        ours = self._profile_routes()
        if all(profile.get(name) == value for name, value in ours.items()):
            return
        former = text_at(profile, "webhook_url")
        # It was ours under another public_url, too.
        if former and not former.endswith(f"/carriers/{self.name}/message"):
            raise CarrierError(
                Kind.MISCONFIGURED, "its messaging profile brings its messages to another address"
            )
        await self._ask("PATCH", f"/messaging_profiles/{self._profile}", ours)

    async def _get_profile(self) -> dict[str, Any]:
        content = (await self._ask("GET", f"/messaging_profiles/{self._profile}")).get("data")
        if not isinstance(content, dict):
            raise CarrierError(Kind.UNCERTAIN, "the messaging profile cannot be read")
        return content

    def _profile_routes(self) -> dict[str, str]:
        """A failover is another try."""
        message = f"{self._url}/message"
        return {"webhook_url": message, "webhook_failover_url": message, "webhook_api_version": "2"}

    async def check(self, numbers: Sequence[str]) -> list[Checked]:
        own = [number for number in numbers if not scheme_of(number)]
        return await check_account(self.name, "Telnyx", self._url, self._objection, own, self._strays)

    async def _objection(self) -> Checked | None:
        profile = await self._get_profile()
        if profile.get("enabled") is False:
            return Checked("its messaging profile is switched off", "enable it at Telnyx")
        wrong = [name for name, value in self._profile_routes().items() if profile.get(name) != value]
        if wrong:
            said = f"its messaging profile does not bring its messages to {self._url} ({', '.join(wrong)})"
            return Checked(said, "empty its addresses at Telnyx, then put a number into a pool, or adopt one")
        return None

    async def _strays(self, number: str) -> list[str]:
        _, resource = await self._find(number)
        return [name for name, value in self._routes().items() if text_at(resource, name) != value]

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


def _payload(said: Mapping[str, Any]) -> Any:
    content = said.get("data")
    return content.get("payload") if isinstance(content, dict) else None


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
        return text_at(_payload(request.json()), "to", 0, "phone_number")
    except Unreadable:
        return ""
