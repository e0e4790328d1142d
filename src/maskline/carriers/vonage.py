"""Vonage: the Messages API (v1), or the SMS API (`vonage_sms.py`), and calls by NCCO (`vonage_ncco.py`).

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
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlencode

import msgspec
import structlog
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
    Options,
    Outgoing,
    Report,
)
from maskline.carriers.jwt import load_key, sign_token
from maskline.carriers.parts import Parts
from maskline.carriers.rest import Api, made_within
from maskline.carriers.twilio_forms import MOST_NUMBER, MOST_SID
from maskline.carriers.vonage_ncco import ENDS, read_asked, read_end, render
from maskline.carriers.vonage_numbers import VonageNumbers, read_number
from maskline.carriers.vonage_signature import wrong_sig, wrong_token
from maskline.carriers.vonage_sms import (
    MOST_CALLBACK,
    decode,
    fields_of,
    form_of,
    read_receipt,
    read_sent,
    read_text,
)
from maskline.carriers.webhooks import (
    FORM,
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
from maskline.domain.dates import iso_date
from maskline.domain.interaction import MessageStatus
from maskline.domain.media import Medium
from maskline.domain.model import SECOND
from maskline.domain.part import Part
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

SWEEP_S = 5.0
TOKEN_S, RENEW_S = 900, 600
"""How long a token of ours is good, and after what time it is made anew."""


_log = structlog.get_logger(__name__)


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
    api: Annotated[
        Literal["messages", "sms"],
        Meta(description="Which API carries messages; it has to be the account's default for SMS at Vonage."),
    ] = "messages"
    signature_method: Annotated[
        Literal["sha256", "sha512", "sha1", "md5", "md5hash"],
        Meta(
            description="How Vonage signs with the SMS API, as its settings have it: by HMAC with this hash, or"
            " (`md5hash`) by the MD5 hash."
        ),
    ] = "sha256"
    parts_s: Annotated[
        int,
        Meta(
            ge=10,
            le=86400,
            description="With the SMS API, a long message of which a part is missing goes on so long after the first.",
        ),
    ] = 600

    def __post_init__(self) -> None:
        try:
            load_key(self.private_key)
        except ValueError as error:
            raise ValueError(f"private_key: {error}") from None

    def limit(self, can: Capabilities) -> Capabilities:
        return can if self.api == "messages" else replace(can, mms=False)


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
        self._api_key = options.api_key
        self._secret = options.signature_secret
        self._method = options.signature_method
        self._can = options.limit(self.can)
        self._takes_sms = options.api == "sms"
        self._rest = options.rest_url.rstrip("/")
        self._parts = Parts(name, means, options.parts_s, decode)
        self._application = options.application_id
        self._key = load_key(options.private_key)
        self._token, self._token_at = "", 0
        login = base64.b64encode(f"{options.api_key}:{options.api_secret}".encode()).decode()
        self._login = f"Basic {login}"
        self._api = Api(means.http, KINDS, _code_of, {"Accept": "application/json"})
        self._numbers = VonageNumbers(
            name,
            self._ask,
            self._key,
            options.application_id,
            url=means.url,
            base_url=self._base,
            rest_url=self._rest,
            own_address=self._takes_sms,
        )

    async def capabilities(self, account_sid: str) -> Capabilities:
        return self._can

    async def send(self, message: Outgoing) -> Accepted:
        if scheme_of(message.from_) or scheme_of(message.to):
            raise CarrierError(Kind.REJECTED, "channels are not served")
        if self._takes_sms:
            form = urlencode(form_of(message, self._receipts_url)).encode()
            return read_sent(await self._ask("POST", f"{self._rest}/sms/json", form, FORM))
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

    @property
    def _receipts_url(self) -> str:
        return f"{self._url}/receipt"

    def _our_token(self) -> str:
        """A token that is good for some minutes more."""
        now_s = self._clock.now() // SECOND
        if not 0 <= now_s - self._token_at < RENEW_S:
            claims = {"application_id": self._application, "iat": now_s, "exp": now_s + TOKEN_S}
            self._token = sign_token(self._key, {**claims, "jti": self._mint.sid("JT")})
            self._token_at = now_s
        return self._token

    async def look_up(self, message: Outgoing) -> Sequence[str]:
        start, end = map(iso_date, made_within(message))
        query = {
            "account_id": self._api_key,
            "product": "SMS" if self._takes_sms else "MESSAGES",
            "direction": "outbound",
            "to": message.to.removeprefix("+"),
            "date_start": start,
            "date_end": end,
        }
        found = (await self._ask("GET", f"{self._base}/v2/reports/records?{urlencode(query)}")).get("records")
        if not isinstance(found, list):
            raise CarrierError(Kind.UNCERTAIN, "the list of messages cannot be read")
        ids = [
            id_
            for one in found
            if text_at(one, "client_ref").partition(".")[0] == message.sid
            and (id_ := text_at(one, "message_id"))
        ]
        return ids[:1] if self._takes_sms else ids  # there, the parts of a text are messages of their own

    # What it brings

    def hear(self, request: WebRequest) -> Sequence[CarrierEvent | Part] | CallAsked | None:
        # By either API: while an account goes over to the other, things still come by the one before.
        match request.what:
            case ("sms",):
                return [read_text(self.name, self._signed_fields(request))]
            case ("receipt",):
                return read_receipt(self.name, self._signed_fields(request))
            case ("message",):
                return [self._read_message(self._signed(request))]
            case ("status", *sid):
                return self._read_report(self._signed(request), *sid)
            case ("call", *_):
                return read_asked(self._signed(request), request.query()) or []
            case ("event",):
                return self._read_event(self._signed(request))
            case _:
                return None

    async def take_part(self, part: Part) -> bool:
        return await self._parts.keep(part)

    async def run(self) -> None:
        while self._takes_sms:
            try:
                await self._parts.sweep()
            except Exception:
                _log.exception("vonage.sweep_failed", carrier=self.name)
            await self._clock.sleep(SWEEP_S)

    def answer(self, verbs: Sequence[Verb] = (), asked: CallAsked | None = None) -> WebAnswer:
        # Where it is told nothing, it goes on with what it was told before.
        content = render(verbs, asked.form) if asked is not None else b""
        return WebAnswer(content, "application/json")

    def _signed(self, request: WebRequest) -> Mapping[str, Any]:
        """What a request says, if it is signed. Raises NotSigned, Unreadable."""
        wrong = wrong_token(request, self._secret, self._clock.now() / SECOND)
        if wrong is not None:
            raise NotSigned(wrong, partial(_said_to, request))
        return request.json()

    def _signed_fields(self, request: WebRequest) -> Mapping[str, str]:
        """The same of the SMS API. Raises NotSigned."""
        fields = fields_of(request)
        wrong = wrong_sig(fields, self._secret, self._method, self._clock.now() / SECOND)
        if wrong is not None:
            raise NotSigned(wrong, lambda: read_number(readable(fields.items()).get("to", "")))
        return readable(fields.items())

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
        await self._numbers.adopt(number, keep)

    async def release(self, number: str, former: str) -> None:
        await self._numbers.release(number, former)

    async def check(self, numbers: Sequence[str]) -> list[Checked]:
        if self._takes_sms and len(self._receipts_url) > MOST_CALLBACK:
            said = f"its address for receipts has more than the {MOST_CALLBACK} characters that Vonage takes"
            return [Checked(said, "set a shorter public_url, or give the account a shorter name")]
        return await self._numbers.check(numbers)

    async def _ask(
        self, method: str, url: str, body: bytes | None = None, content_type: str = ""
    ) -> dict[str, Any]:
        """What only the account itself may ask."""
        headers = {"Authorization": self._login, **({"Content-Type": content_type} if body else {})}
        return await self._api.ask(method, url, self._clock.now(), body=body, headers=headers)


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
    number = read_number(number)
    return number if channel in ("", "sms", "mms", "rcs") else f"{channel}:{number}"


def _code_of(error: Mapping[str, Any]) -> str:
    """What stands behind the mark in the address of an error's type."""
    return text_at(error, "type").rpartition("#")[2].strip("/")


def _said_to(request: WebRequest) -> str:
    """Whom something that is not proven says that it is for."""
    try:
        return _address("", text_at(request.json(), "to"))
    except Unreadable:
        return ""
