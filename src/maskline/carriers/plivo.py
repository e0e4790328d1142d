"""Plivo: messages with media, over the Messages API, and calls by Plivo XML.

    POST {base}/v1/Account/MA…/Message/        Basic MA…:token
      {"src": "14155550100", "dst": "12125550177", "text": "hi", "type": "sms", "method": "POST",
       "url": "https://…/carriers/north/status/SM…"}
    202 {"message": "message(s) queued", "message_uuid": ["db3ce55a-…"], "api_id": "…"}        400 {"error": "…"}
    POST …/carriers/north/message        X-Plivo-Signature-V3: …
      MessageUUID=db3ce55a-…&From=12125550177&To=14155550100&Type=sms&Text=hi
    POST …/carriers/north/status/SM…     MessageUUID=db3ce55a-…&Status=delivered&From=14155550100&To=…
    POST …/carriers/north/call           CallUUID=…&From=…&To=…&CallStatus=ringing        answered with Plivo XML

Numbers have no plus sign there. The address of a receipt carries our own SID of the message. Where the traffic of a
number goes says an application, and an account here has one of its own at Plivo.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, ClassVar
from urllib.parse import urlencode

import msgspec
from msgspec import Meta

from maskline.carriers import plivo_signature
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
from maskline.carriers.plivo_xml import read_asked, render
from maskline.carriers.rest import Api, made_within, read_instant
from maskline.carriers.twilio_forms import MOST_NUMBER, required
from maskline.carriers.webhooks import (
    CallAsked,
    NotSigned,
    Unreadable,
    WebAnswer,
    WebRequest,
    readable,
    text_at,
)
from maskline.domain.interaction import MessageStatus
from maskline.domain.media import Medium
from maskline.domain.model import SECOND, Instant
from maskline.domain.twiml import Verb

# Its errors have texts and no codes, so what they say of a message goes by their status.
KINDS: Mapping[Any, Kind] = {}

# Its words for how far a message is. Whatever it says of one, it has it.
STATUSES: Mapping[str, MessageStatus] = {
    "queued": MessageStatus.SENT,
    "sent": MessageStatus.SENT,
    "delivered": MessageStatus.DELIVERED,
    "read": MessageStatus.DELIVERED,
    "undelivered": MessageStatus.UNDELIVERED,
    "failed": MessageStatus.FAILED,
    "rejected": MessageStatus.FAILED,
}

OPTED_OUT = "200"
"""The code in its report on a message whose recipient has opted out: its answer to a send does not tell."""

PAGE = 20
"""The most that its lists have on a page."""
MOST_APPLICATIONS = 1000
WHATSAPP = "whatsapp"
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBERS = ("From", "To", "ForwardedFrom", "DialBLegTo")
"""What holds one, of what is said of a call."""
_MEDIUM = re.compile("Media([0-9]{1,2})")


class PlivoOptions(Options, frozen=True):
    """What the settings say of an account."""

    auth_id: Annotated[
        str, Meta(pattern="^(MA|SA)[A-Z0-9]{18}$", description="Its Auth ID, or that of a subaccount.")
    ]
    auth_token: Annotated[
        str, Meta(min_length=1, description="Its Auth Token, with which its webhooks are signed, too.")
    ]
    base_url: Annotated[str, Meta(pattern="^https?://[!-~]+$", description="Where its API is.")] = (
        "https://api.plivo.com"
    )


class PlivoCarrier(Carrier):
    """One account."""

    options: ClassVar[type[Options]] = PlivoOptions
    can: ClassVar[Capabilities] = Capabilities(
        mms=True, voice=True, receipts=True, look_up=True, settle_s=60, parts=10
    )
    reads_twiml: ClassVar[bool] = False

    def __init__(self, name: str, options: PlivoOptions, means: Means) -> None:
        self.name = name
        self._clock = means.clock
        self._url = means.url
        self._token = options.auth_token
        self._account_url = f"{options.base_url.rstrip('/')}/v1/Account/{options.auth_id}/"
        login = base64.b64encode(f"{options.auth_id}:{options.auth_token}".encode()).decode()
        self._api = Api(
            means.http, KINDS, _no_code, {"Authorization": f"Basic {login}", "Accept": "application/json"}
        )
        # Another server on this account at Plivo has another application.
        self._application_name = f"maskline-{name}-{sha256(means.url.encode()).hexdigest()[:8]}"
        self._one_application = asyncio.Lock()

    async def capabilities(self, account_sid: str) -> Capabilities:
        return self.can

    async def send(self, message: Outgoing) -> Accepted:
        kind, src = _address(message.from_)
        _, dst = _address(message.to)
        said: dict[str, Any] = {"src": src, "dst": dst, "type": kind}
        if message.body:
            said["text"] = message.body
        if message.media:
            said |= {"type": kind if kind == WHATSAPP else "mms", "media_urls": message.media}
        said |= {"url": f"{self._url}/status/{message.sid}", "method": "POST"}
        made = await self._post("Message/", said)
        return Accepted(text_at(made, "message_uuid", 0) or None)

    async def look_up(self, message: Outgoing) -> Sequence[str]:
        (_, src), (_, dst) = _address(message.from_), _address(message.to)
        earliest, latest = made_within(message)
        query = {
            "message_direction": "outbound",
            "from_number": src,
            "to_number": dst,
            "message_time__gte": _date(earliest),
            "message_time__lte": _date(latest),
            "limit": PAGE,
        }
        found = _objects(await self._get("Message/", query))
        # It does not show what a message says: whose else it may be is told by what other messages have.
        return [
            uuid
            for one in found
            if (uuid := text_at(one, "message_uuid"))
            and (one.get("from_number"), one.get("to_number")) == (src, dst)
            and one.get("message_direction") == "outbound"
            and earliest <= read_instant(one.get("message_time")) <= latest
        ]

    # What it brings

    def hear(self, request: WebRequest) -> Sequence[CarrierEvent] | CallAsked | None:
        match request.what:
            case ("message",):
                return [self._read_message(self._signed(request))]
            case ("status", sid):
                return self._read_report(self._signed(request), sid)
            case ("call", *_):
                return self._read_call(self._signed(request), request.query())
            case _:
                return None

    def answer(self, verbs: Sequence[Verb] = (), asked: CallAsked | None = None) -> WebAnswer:
        return WebAnswer(render(verbs), "text/xml; charset=utf-8")

    def _signed(self, request: WebRequest) -> dict[str, str]:
        """The fields of a request. Raises NotSigned."""
        fields = request.form_as_signed()
        form = readable(fields)
        if not plivo_signature.has_signed(self._token, request.url, fields, request.headers):
            what = "does not fit" if plivo_signature.is_given(request.headers) else "is missing"
            raise NotSigned(f"{plivo_signature.HEADER} {what}", lambda: _number(form.get("To", "")))
        return form

    def _read_message(self, form: Mapping[str, str]) -> Inbound:
        return Inbound(
            carrier_account=self.name,
            carrier_id=_read_uuid(form, "MessageUUID"),
            to=_read_number(form, "To"),
            from_=_read_number(form, "From"),
            body=form.get("Text") or form.get("Body", ""),
            media=tuple(_media(form)),
        )

    def _read_report(self, form: Mapping[str, str], sid: str) -> list[CarrierEvent]:
        status = STATUSES.get(form.get("Status", ""))
        number, uuid = _read_number(form, "From"), _read_uuid(form, "MessageUUID")
        opted_out = form.get("ErrorCode") == OPTED_OUT
        return [Report(self.name, number, uuid, status, sid, opted_out)] if status is not None else []

    def _read_call(self, form: Mapping[str, str], query: Mapping[str, str]) -> CallAsked:
        _read_uuid(form, "CallUUID", "DialALegUUID", "DialBLegUUID")
        numbers = {name: _number(form[name]) for name in _NUMBERS if name in form}
        return read_asked({**form, **numbers}, query)

    # Where the traffic of numbers goes

    async def adopt(self, account_sid: str, number: str, keep: Keep) -> None:
        if not _is_own(number):
            return
        former = await self._application_of(number)
        async with self._one_application:
            ours = await self._set_up_application()
        if former not in ours:
            await keep(msgspec.json.encode({"app_id": former}).decode())
            await self._post(f"Number/{number[1:]}/", {"app_id": ours[0]})

    async def release(self, number: str, former: str) -> None:
        before = msgspec.json.decode(former, type=dict[str, str])["app_id"]
        # What others have changed since is theirs.
        if await self._application_of(number) in {one["app_id"] for one in await self._applications()}:
            # Without one, it goes to the account's default application.
            await self._post(f"Number/{number[1:]}/", {"app_id": before} if before else {})

    async def _application_of(self, number: str) -> str:
        """What the traffic of a number of the account goes to; empty: nothing. Raises NotCarried."""
        found = _objects(await self._get("Number/", {"number_startswith": number[1:], "limit": PAGE}))
        for one in found:
            if one.get("number") == number[1:]:
                return text_at(one, "application").rstrip("/").rpartition("/")[2]
        raise NotCarried("the account at Plivo has no such number")

    async def _applications(self) -> list[dict[str, Any]]:
        """Those that are this account's own; more than one if two servers made them at a time."""
        found: list[dict[str, Any]] = []
        for offset in range(0, MOST_APPLICATIONS, PAGE):
            query = {"app_name": self._application_name, "limit": PAGE, "offset": offset}
            page = await self._get("Application/", query)
            found += _objects(page)
            if not text_at(page, "meta", "next"):
                break
        else:  # it might be among the others, and would be made again and again
            raise CarrierError(Kind.UNCERTAIN, "there are too many applications")
        name = self._application_name
        return [one for one in found if one.get("app_name") == name and text_at(one, "app_id")]

    async def _set_up_application(self) -> list[str]:
        """The ids of the account's own, which lead here. Whatever somebody has changed is set anew."""
        found = await self._applications()
        if not found:
            said = {"app_name": self._application_name, **self._routes()}
            made = await self._post("Application/", said)
            if not (app_id := text_at(made, "app_id")):
                raise CarrierError(Kind.UNCERTAIN, "the application that was made cannot be read")
            return [app_id]
        for one in found:
            if self._astray(one):
                await self._post(f"Application/{one['app_id']}/", self._routes())
        return [one["app_id"] for one in found]

    def _routes(self) -> dict[str, str]:
        """What says where the traffic of an application goes, so that it comes here. A fallback is a second try."""
        message, call = f"{self._url}/message", f"{self._url}/call"
        return {
            "message_url": message,
            "message_method": "POST",
            "answer_url": call,
            "answer_method": "POST",
            "fallback_answer_url": call,
            "fallback_method": "POST",
            "hangup_url": call,
            "hangup_method": "POST",
        }

    def _astray(self, application: Mapping[str, Any]) -> list[str]:
        return [name for name, value in self._routes().items() if (application.get(name) or "") != value]

    async def check(self, numbers: Sequence[str]) -> list[Checked]:
        own = [number for number in numbers if _is_own(number)]
        return await check_account(self.name, "Plivo", self._url, self._objection, own, self._strays)

    async def _objection(self) -> None:
        await self._get("", {})

    async def _strays(self, number: str) -> list[str]:
        application_id = await self._application_of(number)
        for one in await self._applications():
            if one["app_id"] == application_id:
                return self._astray(one)
        return ["app_id"]

    async def _get(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        url = self._account_url + path + (f"?{urlencode(query)}" if query else "")
        return await self._api.ask("GET", url, self._clock.now())

    async def _post(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        return await self._api.ask(
            "POST",
            self._account_url + path,
            self._clock.now(),
            body=msgspec.json.encode(content),
            headers={"Content-Type": "application/json"},
        )


def _no_code(_: Mapping[str, Any]) -> None:
    return None


def _is_own(number: str) -> bool:
    """Whether Plivo's API knows it as a number: short codes and channels' senders are set up by hand."""
    return number.startswith("+")


def _address(number: str) -> tuple[str, str]:
    """What kind of message goes there, and the number as Plivo writes it. Raises CarrierError."""
    channel, _, address = number.rpartition(":")
    digits = address.removeprefix("+")
    if channel not in ("", WHATSAPP) or not (digits.isascii() and digits.isdecimal()):
        raise CarrierError(Kind.REJECTED, "an address that Plivo does not have")
    return channel or "sms", digits


def _number(text: str, kind: str = "") -> str:
    """A number as we write it: with a plus sign, unless it is a short code or no number at all."""
    digits = text.strip()
    number = f"+{digits}" if re.fullmatch("[0-9]{7,}", digits) else digits
    return f"{WHATSAPP}:{number}" if kind == WHATSAPP else number


def _read_number(form: Mapping[str, str], name: str) -> str:
    return _number(required(form, name, MOST_NUMBER), form.get("Type", ""))


def _read_uuid(form: Mapping[str, str], *names: str) -> str:
    """Plivo's own name for a message or a call: the first of these that is there. One with more behind it is refused:
    what is signed has no borders, so a signed request could be played again as another one by moving the next field
    into it. Raises Unreadable.
    """
    uuids = {name: form[name] for name in names if form.get(name)}
    for name, uuid in uuids.items():
        if not _UUID.fullmatch(uuid):
            raise Unreadable(name)
    return next(iter(uuids.values())) if uuids else required(form, names[0], MOST_NUMBER)


def _media(form: Mapping[str, str]) -> Iterator[Medium]:
    """What came with it, by its own count: MediaCount may say anything."""
    numbers = sorted(int(found[1]) for name in form if (found := _MEDIUM.fullmatch(name)))
    for number in numbers:
        if url := form.get(f"Media{number}"):
            yield Medium(url)


def _objects(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a page of a list has. Raises CarrierError."""
    objects = page.get("objects")
    if not isinstance(objects, list):
        raise CarrierError(Kind.UNCERTAIN, "a list cannot be read")
    return [one for one in objects if isinstance(one, dict)]


def _date(instant: Instant) -> str:
    return dt.datetime.fromtimestamp(instant / SECOND, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
