"""Bandwidth: messages with media, over the Messaging API (v2), and calls by BXML.

    POST {base}/users/9900000/messages        Basic user:password
      {"applicationId": "93de2206-…", "from": "+14155550100", "to": ["+12125550177"], "text": "hi", "tag": "SM…"}
    202 {"id": "1589228074636lm4k2je7j7jklbn2", …}        400 {"type": "request-validation", "description": "…"}
    POST …/carriers/north/message        Basic callback_user:callback_password
      [{"type": "message-received", "to": "+14155550100",
        "message": {"id": "14762…", "from": "+12125550177", "text": "hi", "media": ["https://messaging.bandwidth.com/…"]}}]
    POST …/carriers/north/message        [{"type": "message-failed", "errorCode": 4432, "message": {"tag": "SM…", …}}]
    POST …/carriers/north/call           {"eventType": "initiate", "callId": "c-95ac…", …}        answered with BXML

Whatever an application brings comes to one address, and shows the name and the password that were set with it. A tag
that goes with a message comes back with its receipts: it is our own SID. Media are fetched with the API's credentials.
"""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar
from urllib.parse import quote, unquote, urlencode

import msgspec
from msgspec import Meta

from maskline.carriers.base import (
    Accepted,
    Capabilities,
    Carrier,
    CarrierError,
    CarrierEvent,
    Checked,
    Inbound,
    Kind,
    Means,
    NotCarried,
    Options,
    Outgoing,
    Report,
)
from maskline.carriers.bxml import Bxml, read_asked
from maskline.carriers.checks import check_account
from maskline.carriers.rest import Api, made_within, read_instant
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
from maskline.domain import markup
from maskline.domain.interaction import MessageStatus
from maskline.domain.media import Medium
from maskline.domain.model import SECOND, Instant
from maskline.domain.phone import mask
from maskline.domain.twiml import Verb

# What its errors' types say of a message; the others go by their status (https://dev.bandwidth.com, messaging errors).
KINDS: Mapping[Any, Kind] = {
    "unauthorized": Kind.MISCONFIGURED,  # the credentials are refused,
    "forbidden": Kind.MISCONFIGURED,  # or may not send messages,
    "Not Found": Kind.MISCONFIGURED,  # or there is no such account
}

# Its events about a message that was sent. Whatever it says of one, it has it.
STATUSES: Mapping[str, MessageStatus] = {
    "message-sending": MessageStatus.SENT,
    "message-sent": MessageStatus.SENT,
    "message-delivered": MessageStatus.DELIVERED,
    "message-read": MessageStatus.DELIVERED,
    "message-failed": MessageStatus.FAILED,
}

OPTED_OUT = {4475, 4775}
"""The codes of a failure because the recipient has opted out, at Bandwidth or at their carrier."""
NO_RECEIPT = 9902
"""The code of a failure that is none: no receipt has come in time."""

PAGE = 100
_MESSAGES = {"CallbackUrl", "MsgCallbackUrl", "InboundCallbackUrl", "OutboundCallbackUrl"}
_CALLS = {"CallInitiatedCallbackUrl", "CallStatusCallbackUrl"}
"""What an application may call the addresses of its messages, and of its calls."""
_NATIONAL = re.compile("[+]1[0-9]{10}")
"""The numbers whose location the dashboard tells."""
MOST_ENCODED = 4
"""How often a path may be encoded, and once more to see so."""
_DOTS = re.compile(r"(^|[/\\])[.]{1,2}([/\\;?#]|$)|[\x00-\x1f\x7f]")
"""Steps of a path that lead elsewhere, in whatever way servers read them; and what some leave out between two dots."""


class BandwidthOptions(Options, frozen=True):
    """What the settings say of an account."""

    account_id: Annotated[str, Meta(pattern="^[0-9]+$", description="The account's id, such as 9900000.")]
    username: Annotated[str, Meta(pattern="^[^:]+$", description="An API user with the role messaging.")]
    password: Annotated[str, Meta(min_length=1, description="Its password.")]
    application_id: Annotated[
        str, Meta(pattern="^[0-9a-f-]{36}$", description="The messaging application of the numbers.")
    ]
    callback_user: Annotated[
        str, Meta(pattern="^[^:]+$", description="The name that the applications' callbacks show.")
    ]
    callback_password: Annotated[str, Meta(min_length=12, description="Their password.")]
    voice_application_id: Annotated[
        str,
        Meta(
            pattern="^([0-9a-f-]{36})?$",
            description="The voice application of the numbers; without one there are no calls.",
        ),
    ] = ""
    base_url: Annotated[
        str, Meta(pattern="^https?://[!-~]+$", description="Where its API of messages is.")
    ] = "https://messaging.bandwidth.com/api/v2"
    dashboard_url: Annotated[
        str, Meta(pattern="^https?://[!-~]+$", description="Where its API of accounts is.")
    ] = "https://dashboard.bandwidth.com/api"

    def limit(self, can: Capabilities) -> Capabilities:
        return can if self.voice_application_id else replace(can, voice=False)


class BandwidthCarrier(Carrier):
    """One account."""

    options: ClassVar[type[Options]] = BandwidthOptions
    can: ClassVar[Capabilities] = Capabilities(
        mms=True, voice=True, receipts=True, look_up=True, settle_s=60, parts=10
    )
    reads_twiml: ClassVar[bool] = False

    def __init__(self, name: str, options: BandwidthOptions, means: Means) -> None:
        self.name = name
        self._clock = means.clock
        self._url = means.url
        self._can = options.limit(self.can)
        self._application, self._voice = options.application_id, options.voice_application_id
        self._user_url = f"{options.base_url.rstrip('/')}/users/{options.account_id}"
        self._account_url = f"{options.dashboard_url.rstrip('/')}/accounts/{options.account_id}"
        self._tns_url = f"{options.dashboard_url.rstrip('/')}/tns"
        self._account = options.account_id
        self._userinfo = f"{quote(options.username, '')}:{quote(options.password, '')}"
        self._callback_user = options.callback_user
        self._callback = _basic(options.callback_user, options.callback_password)
        self._bxml = Bxml(options.callback_user, options.callback_password)
        login = _basic(options.username, options.password)
        self._api = Api(means.http, KINDS, _code_of, {"Authorization": login})

    async def capabilities(self, account_sid: str) -> Capabilities:
        return self._can

    async def send(self, message: Outgoing) -> Accepted:
        said: dict[str, Any] = {
            "applicationId": self._application,
            "from": message.from_,
            "to": [message.to],
            "tag": message.sid,
        }
        if message.body:
            said["text"] = message.body
        if message.media:
            said["media"] = message.media
        made = await self._api.ask(
            "POST",
            f"{self._user_url}/messages",
            self._clock.now(),
            body=msgspec.json.encode(said),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        return Accepted(text_at(made, "id") or None)

    async def look_up(self, message: Outgoing) -> Sequence[str]:
        earliest, latest = made_within(message)
        numbers = {"sourceTn": message.from_, "destinationTn": message.to, "messageDirection": "OUTBOUND"}
        found = await self._list(
            {**numbers, "fromDateTime": _date(earliest), "toDateTime": _date(latest), "limit": PAGE}
        )
        # It does not show what a message says: whose else it may be is told by what other messages have.
        return [
            id_
            for one in found
            if (id_ := text_at(one, "messageId"))
            and all(text_at(one, name) == value for name, value in numbers.items())
            and earliest <= read_instant(text_at(one, "receiveTime")) <= latest
        ]

    async def _list(self, query: Mapping[str, Any]) -> list[Any]:
        content = await self._api.ask(
            "GET", f"{self._user_url}/messages?{urlencode(query)}", self._clock.now()
        )
        found = content.get("messages")
        if not isinstance(found, list):
            raise CarrierError(Kind.UNCERTAIN, "the list of messages cannot be read")
        return found

    def fetchable(self, url: str) -> str:
        shut = f"{self._user_url}/media/"
        if not url.startswith(shut) or _leads_away(url[len(shut) :]):
            return url
        scheme, _, rest = shut.partition("://")
        return f"{scheme}://{self._userinfo}@{rest}{url[len(shut) :]}"

    # What it brings

    def hear(self, request: WebRequest) -> Sequence[CarrierEvent] | CallAsked | None:
        match request.what:
            case ("message",):
                self._check(request)
                return list(self._read(request.json_list()))
            case ("call", *_):
                self._check(request)
                return read_asked(request.json())
            case _:
                return None

    def answer(self, verbs: Sequence[Verb] = (), asked: CallAsked | None = None) -> WebAnswer:
        return WebAnswer(self._bxml.render(verbs), "text/xml; charset=utf-8")

    def _check(self, request: WebRequest) -> None:
        """Raise NotSigned unless a request shows the application's name and password."""
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(self._callback.encode(), given.encode("utf-8", "replace")):
            what = "does not fit" if given else "is missing"
            raise NotSigned(f"Authorization {what}", partial(_said_to, request))

    def _read(self, events: Sequence[Mapping[str, Any]]) -> Iterator[CarrierEvent]:
        for event in events:
            kind = text_at(event, "type")
            if kind == "message-received":
                yield self._read_message(event)
            elif (status := STATUSES.get(kind)) is not None:
                yield self._read_report(event, status)

    def _read_message(self, event: Mapping[str, Any]) -> Inbound:
        said = event.get("message")
        media = said.get("media") if isinstance(said, dict) else None
        media = media if isinstance(media, list) else []
        return Inbound(
            carrier_account=self.name,
            carrier_id=required_at(event, "message", "id", most=MOST_SID),
            to=required_at(event, "to", most=MOST_NUMBER),
            from_=required_at(event, "message", "from", most=MOST_NUMBER),
            body=text_at(event, "message", "text"),
            media=tuple(Medium(url) for url in media if isinstance(url, str) and url),
        )

    def _read_report(self, event: Mapping[str, Any], status: MessageStatus) -> Report:
        code = event.get("errorCode")
        code = code if isinstance(code, int) else 0
        if status is MessageStatus.FAILED:
            status = _status_of(code)
        return Report(
            carrier_account=self.name,
            number=required_at(event, "message", "from", most=MOST_NUMBER),
            carrier_id=required_at(event, "message", "id", most=MOST_SID),
            status=status,
            sid=text_at(event, "message", "tag"),
            opted_out=code in OPTED_OUT,
        )

    # What the doctor hears

    async def check(self, numbers: Sequence[str]) -> list[Checked]:
        async def objection() -> Checked | None:
            await self._list({"messageDirection": "INBOUND", "limit": 1})
            return None

        async def strays(_: str) -> Sequence[str]:
            return ()

        found = await check_account(self.name, "Bandwidth", self._url, objection, [], strays)
        if all(one.remedy is None for one in found):
            found += await self._check_application("", self._application, f"{self._url}/message", _MESSAGES)
        if self._voice and len(found) == 1 and found[0].remedy is None:
            found += await self._check_application("voice ", self._voice, f"{self._url}/call", _CALLS)
        if len(found) == 1 and found[0].remedy is None:
            found += await self._check_numbers([one for one in numbers if _NATIONAL.fullmatch(one)])
        return found

    async def _check_application(self, kind: str, id_: str, ours: str, names: set[str]) -> list[Checked]:
        """What is wrong with an application, if anything is."""
        what = f"its {kind}application"
        try:
            shown = await self._look(f"{self._account_url}/applications/{id_}")
        except CarrierError as error:
            return [_unseen(what, error)]
        remedy = f"set it at Bandwidth to {ours}, with callback_user and callback_password"
        there = [name for name in sorted(names) if _texts(shown, name)]
        wrong = [name for name in there if set(_texts(shown, name)) != {ours}]
        if wrong or not there:
            said = f"{what} does not bring its traffic to {ours} ({', '.join(wrong) or 'none'})"
            return [Checked(said, remedy)]
        if set(_texts(shown, "UserId")) != {self._callback_user}:
            return [Checked(f"{what}'s callbacks show another name than callback_user", remedy)]
        return []

    async def _check_numbers(self, numbers: Sequence[str]) -> list[Checked]:
        """Which of these numbers are not the account's, or in a location without the applications."""
        found: list[Checked] = []
        try:
            peers = [
                set(
                    _texts(
                        await self._look(f"{self._account_url}/applications/{id_}/associatedsippeers"),
                        "PeerId",
                    )
                )
                for id_ in ((self._application, self._voice) if numbers else ())
                if id_
            ]
            for number in numbers:
                peer = await self._find_location(number)
                if peer is None:
                    said = f"{mask(number)}: the account at Bandwidth has no such number"
                    found.append(Checked(said, "correct the directory, or the account in the settings"))
                elif not all(peer in associated for associated in peers):
                    said = f"{mask(number)} is in a location that does not use the account's applications"
                    found.append(
                        Checked(said, "have it use them at Bandwidth, or move the number to one that does")
                    )
        except CarrierError as error:
            found.append(_unseen("where its numbers are", error))
        return found

    async def _find_location(self, number: str) -> str | None:
        """The location of a number; empty if it is in none, None if the account does not have it."""
        try:
            shown = await self._look(f"{self._tns_url}/{number.removeprefix('+1')}/tndetails")
        except NotCarried:
            return None
        if _texts(shown, "AccountId") != [self._account]:
            return None
        return next(iter(_texts(shown, "PeerId")), "")

    async def _look(self, url: str) -> markup.Element:
        """What the dashboard shows there. Raises CarrierError; NotCarried if there is no such thing."""
        try:
            return markup.parse_xml(await self._api.fetch("GET", url, self._clock.now()), "application/xml")
        except markup.Unreadable:
            raise CarrierError(Kind.UNCERTAIN, "it cannot be read") from None
        except CarrierError as error:
            raise NotCarried(error.detail) if error.detail == "status 404" else error from None


def _leads_away(path: str) -> bool:
    """Whether a path may be understood as one of something above it, as it stands or once it is decoded."""
    for _ in range(MOST_ENCODED):
        if (plain := unquote(path)) == path:
            return _DOTS.search(path) is not None
        path = plain
    return True


def _unseen(what: str, error: CarrierError) -> Checked:
    said = f"{what} cannot be looked up: {error.kind.value} ({error.detail})"
    return Checked(said, "give the API user the role configuration, or look for yourself")


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _code_of(content: Mapping[str, Any]) -> str:
    """The type of an error; where there is no such thing, the name of its status."""
    return text_at(content, "type") or text_at(content, "error")


def _status_of(code: int) -> MessageStatus:
    """How far a message got that failed: what a carrier has reported, it had been given."""
    if code == NO_RECEIPT:
        return MessageStatus.SENT
    by_carrier = code // 100 in (47, 56) or code // 1000 == 9
    return MessageStatus.UNDELIVERED if by_carrier else MessageStatus.FAILED


def _said_to(request: WebRequest) -> str:
    try:
        return text_at(request.json_list(), 0, "to")
    except Unreadable:
        return ""


def _texts(element: markup.Element, name: str) -> list[str]:
    """What stands in a document in elements of this name, in whatever case it is written there."""
    own = [text] if element.name.lower() == name.lower() and (text := element.text.strip()) else []
    return own + [text for child in element.children for text in _texts(child, name)]


def _date(instant: Instant) -> str:
    at = dt.datetime.fromtimestamp(instant / SECOND, dt.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"
