"""Twilio: Programmable Messaging and Voice, and whoever speaks as they do.

    POST {base}/2010-04-01/Accounts/AC…/Messages.json        Basic AC…:token
      To=%2B12125550177&From=%2B14155550100&Body=hi&StatusCallback=https%3A%2F%2F…%2Fcarriers%2Fnorth%2Fstatus%2FSM…
    201 {"sid": "SM…", "status": "queued", …}        400 {"code": 21211, "message": "…", "status": 400}
    POST …/carriers/north/message        X-Twilio-Signature: …
      MessageSid=SM…&AccountSid=AC…&From=%2B12125550177&To=%2B14155550100&Body=hi&NumMedia=0
    POST …/carriers/north/status/SM…     MessageSid=SM…&MessageStatus=delivered&From=…&To=…
    POST …/carriers/north/call           CallSid=CA…&From=…&To=…&CallStatus=ringing        answered with TwiML

The address of a receipt carries our own SID of the message: it is found whatever became of the answer to its send.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, ClassVar
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, field

from maskline.carriers.base import (
    Accepted,
    Capabilities,
    Carrier,
    CarrierError,
    CarrierEvent,
    Checked,
    Keep,
    Kind,
    Means,
    NotCarried,
    Options,
    Outgoing,
    Report,
)
from maskline.carriers.checks import check_account
from maskline.carriers.rest import Api, made_within
from maskline.carriers.twilio_forms import MOST_NUMBER, MOST_SID, read_call, read_message, read_sid, required
from maskline.carriers.webhooks import FORM, CallAsked, NotSigned, WebAnswer, WebRequest, readable
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import SECOND, Instant
from maskline.domain.signature import HEADER, SETTINGS_HEADER, check, read_settings
from maskline.domain.twiml import Verb, render_twiml

OPTED_OUT = 21610
"""The recipient has opted out."""
# What Twilio's codes say of a message; the others go by their status (https://www.twilio.com/docs/api/errors).
KINDS: Mapping[int, Kind] = {
    14107: Kind.THROTTLED,  # too many messages between two numbers
    20003: Kind.MISCONFIGURED,  # the credentials are refused,
    20005: Kind.MISCONFIGURED,  # the account is not active,
    20006: Kind.MISCONFIGURED,  # they may not do this,
    20008: Kind.MISCONFIGURED,  # they are test credentials,
    20404: Kind.MISCONFIGURED,  # or there is no such account
    20429: Kind.THROTTLED,  # too many requests
    21609: Kind.MISCONFIGURED,  # the StatusCallback is no public address: public_url is wrong
    OPTED_OUT: Kind.OPTED_OUT,
    21611: Kind.THROTTLED,  # the number's queue is full
    63018: Kind.THROTTLED,  # WhatsApp's limit of the sender
}

# Its words for how far a message is. Whatever it says of one, it has it.
STATUSES: Mapping[str, MessageStatus] = {
    "accepted": MessageStatus.SENT,
    "scheduled": MessageStatus.SENT,
    "queued": MessageStatus.SENT,
    "sending": MessageStatus.SENT,
    "sent": MessageStatus.SENT,
    "delivered": MessageStatus.DELIVERED,
    "partially_delivered": MessageStatus.DELIVERED,
    "read": MessageStatus.DELIVERED,
    "undelivered": MessageStatus.UNDELIVERED,
    "failed": MessageStatus.FAILED,
    "canceled": MessageStatus.FAILED,
}

PAGE = 100


class TwilioOptions(Options, frozen=True):
    """What the settings say of an account."""

    account_sid: Annotated[
        str, Meta(pattern="^AC[0-9a-f]{32}$", description="Its Account SID, or that of a subaccount.")
    ]
    auth_token: Annotated[
        str, Meta(min_length=1, description="Its auth token, with which its webhooks are signed, too.")
    ]
    api_key: Annotated[
        str,
        Meta(description="SID of an API key to send with instead of the auth token; goes with api_secret."),
    ] = ""
    api_secret: Annotated[str, Meta(description="Secret of the API key.")] = ""
    webhook_keys: Annotated[
        dict[str, Annotated[str, Meta(min_length=1)]],
        Meta(
            description="Secrets of shared keys that its webhooks are signed with (SHA-256), each under its id."
        ),
    ] = field(default_factory=dict)
    base_url: Annotated[
        str, Meta(pattern="^https?://[!-~]+$", description="Where its API is; another one for a region.")
    ] = "https://api.twilio.com"

    def __post_init__(self) -> None:
        if bool(self.api_key) != bool(self.api_secret):
            raise ValueError("api_key and api_secret go together")


class TwilioCarrier(Carrier):
    """One account."""

    options: ClassVar[type[Options]] = TwilioOptions
    can: ClassVar[Capabilities] = Capabilities(
        mms=True, voice=True, receipts=True, look_up=True, settle_s=60, parts=10
    )

    reads_twiml: ClassVar[bool] = True
    vendor: ClassVar[str] = "Twilio"
    kinds: ClassVar[Mapping[int, Kind]] = KINDS
    header: ClassVar[str] = HEADER
    """What a signature stands in."""
    _owner: Mapping[str, str] = {}
    """Headers that show the account itself, where it is an API key that sends."""

    def __init__(self, name: str, options: Any, means: Means) -> None:
        self.name = name
        self._clock = means.clock
        self._url = means.url
        self._account_url, user, secret = self.open(options)
        self._api = Api(
            means.http,
            self.kinds,
            lambda error: error.get("code"),
            {**_login(user, secret), "Accept": "application/json"},
        )

    def open(self, options: Any) -> tuple[str, str, str]:
        """Where the account's resource is, and what it is opened with."""
        self._token = options.auth_token
        self._keys = options.webhook_keys
        url = f"{options.base_url.rstrip('/')}/2010-04-01/Accounts/{options.account_sid}"
        if not options.api_key:
            return url, options.account_sid, options.auth_token
        self._owner = _login(options.account_sid, options.auth_token)
        return url, options.api_key, options.api_secret

    async def capabilities(self, account_sid: str) -> Capabilities:
        return self.can

    async def send(self, message: Outgoing) -> Accepted:
        form = [("To", message.to), ("From", message.from_)]
        if message.body:
            form.append(("Body", message.body))
        form += [("MediaUrl", url) for url in message.media]
        form.append(("StatusCallback", f"{self._url}/status/{message.sid}"))
        made = await self._post("/Messages.json", form)
        return Accepted(_text(made, "sid"))

    async def look_up(self, message: Outgoing) -> Sequence[str]:
        query = urlencode({"To": message.to, "From": message.from_, "PageSize": PAGE})
        content = await self._get(f"/Messages.json?{query}")
        found = content.get("messages")
        if not isinstance(found, list):
            raise CarrierError(Kind.UNCERTAIN, "the list of messages cannot be read")
        earliest, latest = made_within(message)
        return [
            sid
            for one in found
            if isinstance(one, dict)
            and (sid := _text(one, "sid"))
            and (one.get("from"), one.get("to")) == (message.from_, message.to)
            and one.get("body") == message.body
            and str(one.get("direction")).startswith("outbound")
            and earliest <= _instant(one.get("date_created")) <= latest
        ]

    # What it brings

    def hear(self, request: WebRequest) -> Sequence[CarrierEvent] | CallAsked | None:
        match request.what:
            case ("message",):
                return [read_message(self._signed(request), self.name)]
            case ("status", sid):
                return self._read_report(self._signed(request), sid)
            case ("call",):
                return read_call(self._signed(request))
            case _:
                return None

    def answer(self, verbs: Sequence[Verb] = (), asked: CallAsked | None = None) -> WebAnswer:
        return WebAnswer(render_twiml(verbs), "text/xml; charset=utf-8")

    def has_signed(
        self, url: str, fields: Iterable[tuple[str, str]], headers: Mapping[str, str], body: bytes
    ) -> bool:
        """Whether this account has signed a request of these fields to `url`."""
        key, algorithm = read_settings(headers.get(SETTINGS_HEADER.lower(), ""))
        secret = self._keys.get(key) if key else self._token
        if secret is None or algorithm is None:
            return False
        return check(secret, url, fields, headers.get(HEADER.lower(), ""), algorithm)

    def _signed(self, request: WebRequest) -> dict[str, str]:
        """The fields of a request. Raises NotSigned."""
        fields = request.form_as_signed()
        form = readable(fields)
        if not self.has_signed(request.url, fields, request.headers, request.body):
            what = "does not fit" if self.header.lower() in request.headers else "is missing"
            raise NotSigned(f"{self.header} {what}", lambda: form.get("To", ""))
        return form

    def _read_report(self, form: Mapping[str, str], sid: str) -> list[CarrierEvent]:
        status = STATUSES.get(form.get("MessageStatus") or form.get("SmsStatus") or "")
        number = required(form, "From", MOST_NUMBER)
        carrier_id = read_sid(form, "MessageSid") or required(form, "SmsSid", MOST_SID)
        opted_out = form.get("ErrorCode") == str(OPTED_OUT)
        return [Report(self.name, number, carrier_id, status, sid, opted_out)] if status is not None else []

    # Where the traffic of numbers goes

    async def adopt(self, account_sid: str, number: str, keep: Keep) -> None:
        if _is_sender(number):
            return
        place, resource = await self._find(number)
        ours = self._routes(resource)
        former = {name: _text(resource, name) or "" for name in ours}
        if former != ours:
            await keep(msgspec.json.encode(former).decode())
            await self._post(place, _parameters(ours))

    async def release(self, number: str, former: str) -> None:
        place, resource = await self._find(number)
        before = msgspec.json.decode(former, type=dict[str, str])
        # What others have changed since is theirs.
        back = {
            name: before.get(name, "")
            for name, value in self._routes(resource).items()
            if (resource.get(name) or "") == value
        }
        if back:
            await self._post(place, _parameters(back))

    async def _find(self, number: str) -> tuple[str, dict[str, Any]]:
        """Where a number's resource is, and what it says. Raises NotCarried."""
        kind, key, name, parameter = ("SMS/ShortCodes", "short_codes", "short_code", "ShortCode")
        if number.startswith("+"):
            kind, key, name, parameter = _PHONE_NUMBERS
        content = await self._get(f"/{kind}.json?{urlencode({parameter: number, 'PageSize': PAGE})}")
        found = content.get(key)
        for one in found if isinstance(found, list) else ():
            if isinstance(one, dict) and one.get(name) == number and (sid := _text(one, "sid")):
                return f"/{kind}/{sid}.json", one
        raise NotCarried(f"the account at {self.vendor} has no such number")

    def _routes(self, resource: Mapping[str, Any]) -> dict[str, str]:
        """What says where a number's traffic goes, so that it comes here. A fallback is a second try."""
        message, call = f"{self._url}/message", f"{self._url}/call"
        routes = {
            "sms_url": message,
            "sms_method": "POST",
            "sms_fallback_url": message,
            "sms_fallback_method": "POST",
        }
        if "voice_url" in resource:
            routes |= {
                "sms_application_sid": "",  # an application goes before the addresses,
                "voice_application_sid": "",
                "trunk_sid": "",  # and so does a trunk
                "voice_url": call,
                "voice_method": "POST",
                "voice_fallback_url": call,
                "voice_fallback_method": "POST",
                "status_callback": call,
                "status_callback_method": "POST",
            }
        return routes

    async def check(self, numbers: Sequence[str]) -> list[Checked]:
        own = [number for number in numbers if not _is_sender(number)]
        return await check_account(self.name, self.vendor, self._url, self._objection, own, self._strays)

    async def _objection(self) -> Checked | None:
        try:
            # Of an API key, only a main one may see the account; and it is the auth token that signs webhooks.
            account = await self._get(".json", self._owner)
        except CarrierError as error:
            if not self._owner or error.kind is not Kind.MISCONFIGURED:
                raise
            said = f"{self.vendor} refuses the auth token, which signs its webhooks ({error.detail})"
            return Checked(said, "correct auth_token in the settings")
        if account.get("status") != "active":
            return Checked(
                f"{self.vendor} says that the account is not active", f"activate it at {self.vendor}"
            )
        if self._owner:
            await self._get("/IncomingPhoneNumbers.json?PageSize=1")
        return None

    async def _strays(self, number: str) -> list[str]:
        _, resource = await self._find(number)
        return [name for name, value in self._routes(resource).items() if (resource.get(name) or "") != value]

    async def _get(self, path: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        return await self._api.ask("GET", self._account_url + path, self._clock.now(), headers=headers)

    async def _post(self, path: str, form: Iterable[tuple[str, str]]) -> dict[str, Any]:
        body = urlencode(list(form)).encode()
        return await self._api.ask(
            "POST", self._account_url + path, self._clock.now(), body=body, headers={"Content-Type": FORM}
        )


def _login(user: str, secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"}


_PHONE_NUMBERS = ("IncomingPhoneNumbers", "incoming_phone_numbers", "phone_number", "PhoneNumber")


def _is_sender(number: str) -> bool:
    """Whether it is a channel's, which is set up by hand."""
    return ":" in number


def _parameters(fields: Mapping[str, str]) -> list[tuple[str, str]]:
    """Fields of a resource as the parameters that set them: sms_url is SmsUrl."""
    return [("".join(map(str.capitalize, name.split("_"))), value) for name, value in fields.items()]


def _text(content: Mapping[str, Any], name: str) -> str | None:
    value = content.get(name)
    return value if isinstance(value, str) and value else None


def _instant(date: Any) -> Instant:
    """A date in RFC 2822 form; what is none was never."""
    try:
        return Instant(int(parsedate_to_datetime(date).timestamp()) * SECOND)
    except (TypeError, ValueError, OverflowError):
        return Instant(0)
