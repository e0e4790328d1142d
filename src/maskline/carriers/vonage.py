"""Vonage: the Messages API (v1), and calls by NCCO (`vonage_ncco.py`).

    POST {base}/v1/messages        Bearer JWT of the application, RS256
      {"channel": "sms", "message_type": "text", "text": "hi", "from": "14155550100", "to": "12125550177",
       "client_ref": "SM…", "webhook_url": "https://…/carriers/north/status/SM…", "webhook_version": "v1"}
    202 {"message_uuid": "aaaaaaaa-…"}        422 {"type": "https://developer.vonage.com/api-errors/messages#1020", …}
    POST …/carriers/north/message        Bearer JWT under the account's signature secret, HS256
      {"channel": "sms", "message_uuid": "…", "from": "12125550177", "to": "14155550100", "message_type": "text",
       "text": "hi"}
      {"channel": "mms", …, "message_type": "image", "image": {"url": "https://…", "caption": "look"}}
    POST …/carriers/north/status/SM…     {"message_uuid": "…", "from": …, "to": …, "status": "delivered", …}

A webhook's token holds a hash of the body (payload_hash) and when it was made (iat). What comes to a number goes to the
application that it is linked to, so a number is brought here by linking it to one that is maskline's. Messages are
looked up in the Reports API by our own SID, which is their client_ref.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar
from urllib.parse import urlencode, urlsplit

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
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
from maskline.carriers.jwt import load_key, read_token, sign_token
from maskline.carriers.rest import Api, made_within
from maskline.carriers.twilio_forms import MOST_NUMBER, MOST_SID
from maskline.carriers.vonage_ncco import ENDS, read_asked, read_end, render
from maskline.carriers.webhooks import (
    FORM,
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
from maskline.domain.media import Medium
from maskline.domain.model import SECOND
from maskline.domain.twiml import Verb
from maskline.mint import Mint

# What its codes say of a message; the others go by their status (https://developer.vonage.com, API errors).
KINDS: Mapping[str, Kind] = {
    "1000": Kind.THROTTLED,  # faster than the account may
    "1060": Kind.MISCONFIGURED,  # the account is barred,
    "1070": Kind.MISCONFIGURED,  # or has no money left,
    "1080": Kind.MISCONFIGURED,  # or may not do this,
    "1140": Kind.MISCONFIGURED,  # nor this
    "1100": Kind.THROTTLED,  # it was not submitted: communication failed
    "low-balance": Kind.MISCONFIGURED,
    "unauthorized": Kind.MISCONFIGURED,
    "forbidden": Kind.MISCONFIGURED,
    "unprovisioned": Kind.MISCONFIGURED,
    "account-suspended": Kind.MISCONFIGURED,
    "jwt-expired": Kind.MISCONFIGURED,  # the clock is wrong
    "jwt-revoked": Kind.MISCONFIGURED,
    "invalid-api-key": Kind.MISCONFIGURED,
    "invalid-signature": Kind.MISCONFIGURED,
}

# Its words for how far a message is. Whatever it says of one, it has it.
STATUSES: Mapping[str, MessageStatus] = {
    "submitted": MessageStatus.SENT,
    "delivered": MessageStatus.DELIVERED,
    "read": MessageStatus.DELIVERED,
    "undeliverable": MessageStatus.UNDELIVERED,
    "rejected": MessageStatus.FAILED,
}

# In what a medium is: by its address, as far as that tells. Most of what people send each other are pictures.
_TYPES = {
    "audio": "audio",
    "video": "video",
    "image": "image",
    "text/vcard": "vcard",
    "application/pdf": "file",
}
_MEDIA = ("image", "audio", "video", "file", "vcard")

TOKEN_S, RENEW_S = 900, 600
"""How long a token of ours is good, and after what time it is made anew."""
EARLY_S, LATE_S = 300, 25 * 3600
"""How far a webhook's token may be from now. Vonage brings again for 24 hours what was not taken; what is brought twice
is known for 7 days.
"""
LONGEST_SHORT_CODE = 6


class VonageOptions(Options, frozen=True):
    """What the settings say of an account."""

    api_key: Annotated[str, Meta(pattern="^[0-9a-zA-Z]{1,32}$", description="The account's API key.")]
    api_secret: Annotated[str, Meta(min_length=1, description="Its API secret.")]
    signature_secret: Annotated[
        str, Meta(min_length=1, description="Its signature secret, with which its webhooks are signed.")
    ]
    application_id: Annotated[
        str,
        Meta(
            pattern="^[0-9a-f-]{36}$",
            description="An application that is maskline's alone: its numbers are linked to it.",
        ),
    ]
    private_key: Annotated[
        str, Meta(min_length=1, description="The application's private key, in PEM form, with its newlines.")
    ]
    base_url: Annotated[
        str, Meta(pattern="^https?://[!-~]+$", description="Where its API is; another one for a region.")
    ] = "https://api.nexmo.com"
    rest_url: Annotated[
        str, Meta(pattern="^https?://[!-~]+$", description="Where the API of its numbers is.")
    ] = "https://rest.nexmo.com"

    def __post_init__(self) -> None:
        try:
            load_key(self.private_key)
        except ValueError as error:
            raise ValueError(f"private_key: {error}") from None


class VonageCarrier(Carrier):
    """One account."""

    options: ClassVar[type[Options]] = VonageOptions
    can: ClassVar[Capabilities] = Capabilities(
        mms=True, voice=True, receipts=True, look_up=True, settle_s=120, parts=10
    )
    reads_twiml: ClassVar[bool] = False

    def __init__(self, name: str, options: VonageOptions, means: Means) -> None:
        self.name = name
        self._clock = means.clock
        self._mint = Mint(means.clock)
        self._url = means.url
        self._base = options.base_url.rstrip("/")
        self._rest = options.rest_url.rstrip("/")
        self._api_key = options.api_key
        self._secret = options.signature_secret
        self._application = options.application_id
        self._key = load_key(options.private_key)
        self._token, self._token_at = "", 0
        login = base64.b64encode(f"{options.api_key}:{options.api_secret}".encode()).decode()
        self._login = f"Basic {login}"
        self._api = Api(means.http, KINDS, _code_of, {"Accept": "application/json"})

    async def capabilities(self, account_sid: str) -> Capabilities:
        return self.can

    async def send(self, message: Outgoing) -> Accepted:
        if scheme_of(message.from_) or scheme_of(message.to):
            raise CarrierError(Kind.REJECTED, "channels are not served")
        said = {
            **_content(message),
            "from": message.from_.removeprefix("+"),
            "to": message.to.removeprefix("+"),
            "client_ref": message.sid,
            "webhook_url": f"{self._url}/status/{message.sid}",
            "webhook_version": "v1",
        }
        body, bearer = msgspec.json.encode(said), f"Bearer {self._our_token()}"
        headers = {"Authorization": bearer, "Content-Type": "application/json"}
        made = await self._api.ask(
            "POST", f"{self._base}/v1/messages", self._clock.now(), body=body, headers=headers
        )
        return Accepted(text_at(made, "message_uuid") or None)

    def _our_token(self) -> str:
        """A token that is good for some minutes more."""
        now_s = self._clock.now() // SECOND
        if not 0 <= now_s - self._token_at < RENEW_S:
            claims = {"application_id": self._application, "iat": now_s, "exp": now_s + TOKEN_S}
            self._token = sign_token(self._key, {**claims, "jti": self._mint.sid("JT")})
            self._token_at = now_s
        return self._token

    async def look_up(self, message: Outgoing) -> Sequence[str]:
        start, end = (_date(instant / SECOND) for instant in made_within(message))
        query = {
            "account_id": self._api_key,
            "product": "MESSAGES",
            "direction": "outbound",
            "to": message.to.removeprefix("+"),
            "date_start": start,
            "date_end": end,
        }
        found = (await self._get(f"{self._base}/v2/reports/records?{urlencode(query)}")).get("records")
        if not isinstance(found, list):
            raise CarrierError(Kind.UNCERTAIN, "the list of messages cannot be read")
        return [
            uuid
            for one in found
            if text_at(one, "client_ref") == message.sid and (uuid := text_at(one, "message_id"))
        ]

    # What it brings

    def hear(self, request: WebRequest) -> Sequence[CarrierEvent] | CallAsked | None:
        match request.what:
            case ("message",):
                return [self._read_message(self._signed(request).json())]
            case ("status", *sid):
                return self._read_report(self._signed(request).json(), *sid)
            case ("call", *_):
                return read_asked(self._signed(request).json(), request.query()) or []
            case ("event",):
                return self._read_event(self._signed(request).json())
            case _:
                return None

    def answer(self, verbs: Sequence[Verb] = (), asked: CallAsked | None = None) -> WebAnswer:
        # Where it is told nothing, it goes on with what it was told before.
        content = render(verbs, asked.form) if asked is not None else b""
        return WebAnswer(content, "application/json")

    def _signed(self, request: WebRequest) -> WebRequest:
        """The request, if it is. Raises NotSigned."""
        if (wrong := self._wrong_with(request)) is not None:
            raise NotSigned(wrong, _said_to(request))
        return request

    def _wrong_with(self, request: WebRequest) -> str | None:
        """What is wrong with a request's token; None: nothing."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return "the token is missing"
        claims = read_token(token.strip(), self._secret)
        if claims is None:
            return "the token's signature does not fit"
        made = hashlib.sha256(request.body).hexdigest()
        if not hmac.compare_digest(made.encode(), text_at(claims, "payload_hash").lower().encode()):
            return "the token's payload_hash does not fit"
        made_at = claims.get("iat")
        if not isinstance(made_at, int | float):
            return "the token has no date"
        if not -EARLY_S <= self._clock.now() / SECOND - made_at <= LATE_S:
            return "the token is too old, or of another time"
        return None

    def _read_message(self, said: Mapping[str, Any]) -> CarrierEvent:
        """What was sent to a number of ours."""
        kind = text_at(said, "message_type")
        items: Any = said.get("content") if kind == "content" else [said.get(kind)] if kind in _MEDIA else []
        items = items if isinstance(items, list) else []
        channel = text_at(said, "channel")
        texts = [text_at(said, "text"), *(text_at(one, "caption") for one in items)]
        return Inbound(
            carrier_account=self.name,
            carrier_id=required_at(said, "message_uuid", most=MOST_SID),
            to=_address(channel, required_at(said, "to", most=MOST_NUMBER)),
            from_=_address(channel, required_at(said, "from", most=MOST_NUMBER)),
            body="\n".join(filter(None, texts)),
            media=tuple(Medium(url) for one in items if (url := text_at(one, "url"))),
        )

    def _read_report(self, said: Mapping[str, Any], sid: str = "") -> list[CarrierEvent]:
        status = STATUSES.get(text_at(said, "status"))
        number = _address("", required_at(said, "from", most=MOST_NUMBER))
        carrier_id = required_at(said, "message_uuid", most=MOST_SID)
        if status is None:
            return []
        return [Report(self.name, number, carrier_id, status, sid or text_at(said, "client_ref"))]

    def _read_event(self, said: Mapping[str, Any]) -> Sequence[CarrierEvent] | CallAsked:
        """How far the caller's side of a call is: its end is all that is to be known."""
        ends = text_at(said, "direction") == "inbound" and text_at(said, "status") in ENDS
        return read_end(said) if ends else []

    # Where the traffic of numbers goes

    async def adopt(self, account_sid: str, number: str, keep: Keep) -> None:
        if scheme_of(number):  # a channel's sender is set up by hand
            return
        resource = await self._find(number)
        await self._take_application()
        former = {"app_id": text_at(resource, "app_id")}
        if former["app_id"] != self._application:
            await keep(msgspec.json.encode(former).decode())
            await self._link(resource, self._application)

    async def release(self, number: str, former: str) -> None:
        resource = await self._find(number)
        before = msgspec.json.decode(former, type=dict[str, str])
        # What others have changed since is theirs.
        if text_at(resource, "app_id") == self._application:
            await self._link(resource, before.get("app_id", ""))

    async def _find(self, number: str) -> dict[str, Any]:
        """What Vonage has of a number. Raises NotCarried."""
        digits = number.removeprefix("+")
        query = {"pattern": digits, "search_pattern": 0, "size": 100}
        found = (await self._get(f"{self._rest}/account/numbers?{urlencode(query)}")).get("numbers")
        for one in found if isinstance(found, list) else ():
            if isinstance(one, dict) and text_at(one, "msisdn") == digits and text_at(one, "country"):
                return one
        raise NotCarried("the account at Vonage has no such number")

    async def _link(self, resource: Mapping[str, Any], application_id: str) -> None:
        """Link a number to an application, or to none. Vonage would forget what it says besides if that were not said
        again.
        """
        names = ("country", "msisdn", "moHttpUrl", "voiceCallbackType", "voiceCallbackValue")
        form = {name: value for name in names if (value := text_at(resource, name))}
        if form.get("voiceCallbackType") == "app":  # which is the application itself
            del form["voiceCallbackType"]
            form.pop("voiceCallbackValue", None)
        body = urlencode({**form, **({"app_id": application_id} if application_id else {})}).encode()
        headers = {"Authorization": self._login, "Content-Type": FORM}
        await self._api.ask(
            "POST", f"{self._rest}/number/update", self._clock.now(), body=body, headers=headers
        )

    async def _take_application(self) -> None:
        """Have the application bring things here. Raises CarrierError, too, where somebody else's address is there."""
        application = await self._get(self._application_url)
        wanted = self._webhooks()
        if not _differing(application, wanted):
            return
        for product, webhooks in wanted.items():
            for name, webhook in webhooks.items():
                former = text_at(application, "capabilities", product, "webhooks", name, "address")
                # It was ours under another public_url, too.
                if former and not former.endswith(urlsplit(webhook["address"]).path):
                    raise CarrierError(
                        Kind.MISCONFIGURED, f"its application's {name} leads to another address"
                    )
        said = {name: application[name] for name in ("name", "keys", "privacy") if name in application}
        capabilities = dict(application.get("capabilities") or {})
        for product, webhooks in wanted.items():
            capabilities[product] = {
                **(capabilities.get(product) or {}),
                **_PRODUCTS[product],
                "webhooks": webhooks,
            }
        body = msgspec.json.encode({**said, "capabilities": capabilities})
        headers = {"Authorization": self._login, "Content-Type": "application/json"}
        await self._api.ask("PUT", self._application_url, self._clock.now(), body=body, headers=headers)

    @property
    def _application_url(self) -> str:
        return f"{self._base}/v2/applications/{self._application}"

    def _webhooks(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Where the application is to bring what, by product."""
        return {
            "messages": {
                "inbound_url": {"address": f"{self._url}/message", "http_method": "POST"},
                "status_url": {"address": f"{self._url}/status", "http_method": "POST"},
            },
            "voice": {
                # It waits no longer than that, and tries the fallback then.
                "answer_url": {"address": f"{self._url}/call", "http_method": "POST", "socket_timeout": 5000},
                "fallback_answer_url": {"address": f"{self._url}/call", "http_method": "POST"},
                "event_url": {"address": f"{self._url}/event", "http_method": "POST"},
            },
        }

    async def check(self, numbers: Sequence[str]) -> list[Checked]:
        own = [number for number in numbers if not scheme_of(number)]
        return await check_account(self.name, "Vonage", self._url, self._objection, own, self._strays)

    async def _objection(self) -> Checked | None:
        application = await self._get(self._application_url)
        public_key = text_at(application, "keys", "public_key")
        ours = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        if "".join(public_key.split()) != "".join(ours.split()):
            return Checked("the private key is not its application's", "correct private_key in the settings")
        if wrong := _differing(application, self._webhooks()):
            said = f"its application does not lead to {self._url} ({', '.join(wrong)})"
            return Checked(said, _TAKE.format(self.name))
        return None

    async def _strays(self, number: str) -> list[str]:
        resource = await self._find(number)
        return ["app_id"] if text_at(resource, "app_id") != self._application else []

    async def _get(self, url: str) -> dict[str, Any]:
        headers = {"Authorization": self._login}
        return await self._api.ask("GET", url, self._clock.now(), headers=headers)


# What the application says of each product besides.
_PRODUCTS: Mapping[str, Mapping[str, Any]] = {
    "messages": {"version": "v1"},
    "voice": {"signed_callbacks": True},
}
_TAKE = (
    "empty its addresses at Vonage, then put a number into a pool, or `maskline numbers adopt --carrier {}`"
)


def _content(message: Outgoing) -> dict[str, Any]:
    """What a message says. A text goes with its media as the caption of the first."""
    if not message.media:
        return {"channel": "sms", "message_type": "text", "text": message.body}
    items: list[dict[str, str]] = [{"type": _type(url), "url": url} for url in message.media]
    if message.body:
        items[0]["caption"] = message.body
    if len(items) > 1:
        return {"channel": "mms", "message_type": "content", "content": items}
    kind = items[0].pop("type")
    return {"channel": "mms", "message_type": kind, kind: items[0]}


def _type(url: str) -> str:
    known = Medium(url).known_type
    return _TYPES.get(known) or _TYPES.get(known.partition("/")[0]) or "image"


def _address(channel: str, number: str) -> str:
    """A number of Vonage's as E.164, or the address of somebody on another channel."""
    if number.isdecimal() and len(number) > LONGEST_SHORT_CODE:
        number = f"+{number}"
    return number if channel in ("", "sms", "mms", "rcs") else f"{channel}:{number}"


def _differing(
    application: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> list[str]:
    """Which of its webhooks do not lead here."""
    capabilities = application.get("capabilities")
    capabilities = capabilities if isinstance(capabilities, dict) else {}
    voice = capabilities.get("voice")
    unsigned = isinstance(voice, dict) and voice.get("signed_callbacks") is False
    return (["signed_callbacks"] if unsigned else []) + [
        name
        for product, webhooks in wanted.items()
        for name, webhook in webhooks.items()
        if any(
            text_at(capabilities, product, "webhooks", name, field) != value
            for field, value in webhook.items()
            if isinstance(value, str)
        )
    ]


def _code_of(error: Mapping[str, Any]) -> str:
    """What stands behind the mark in the address of an error's type."""
    return text_at(error, "type").rpartition("#")[2].strip("/")


def _date(at_s: float) -> str:
    return dt.datetime.fromtimestamp(at_s, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _said_to(request: WebRequest) -> str:
    """Whom something that is not proven says that it is for."""
    try:
        return _address("", text_at(request.json(), "to"))
    except Unreadable:
        return ""
