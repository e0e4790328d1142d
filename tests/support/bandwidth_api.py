"""A stand-in for Bandwidth's APIs and their callbacks, written from the public reference: messages, and the
applications of the dashboard.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

from maskline.clock import Clock
from maskline.domain.model import SECOND
from tests.support.peer import Request
from tests.support.vendor import Hook, Taken, Vendor

ACCOUNT, USER, PASSWORD = "9900000", "api-user", "p@ss/w:rd"
CALLBACK_USER, CALLBACK_PASSWORD = "bandwidth", "e5" * 12
APPLICATION = "93de2206-9669-4e07-948d-329f4b722ee2"
LOCATION = "540341"
VOICE_APPLICATION = "04e88489-df02-4e34-a0ee-27a91849555f"
UNREACHABLE_REGION = "+12125550198"

_FIELDS = {"applicationId", "from", "to", "text", "media", "tag"}


def options(url: str) -> dict[str, str]:
    """What the settings say of the account, whose vendor is here."""
    return {
        "account_id": ACCOUNT,
        "username": USER,
        "password": PASSWORD,
        "application_id": APPLICATION,
        "voice_application_id": VOICE_APPLICATION,
        "callback_user": CALLBACK_USER,
        "callback_password": CALLBACK_PASSWORD,
        "base_url": f"{url}/api/v2",
        "dashboard_url": f"{url}/dashboard",
    }


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


class BandwidthApi(Vendor):
    """`numbers` are the account's. `hooks` is where its applications lead: set by hand, as at Bandwidth."""

    def __init__(self, clock: Clock, *numbers: str, hooks: str = "https://before.example") -> None:
        super().__init__()
        self.clock = clock
        self.numbers = set(numbers)
        self.hooks = hooks
        self.voice_hooks = ""
        self.password = PASSWORD
        self.user_shown = CALLBACK_USER
        self.owner = ACCOUNT
        self.location = self.voice_location = LOCATION
        self.listed: list[dict[str, Any]] = []
        self.tags: dict[str, str] = {}
        self._ids = count(1)

    @property
    def table(self) -> dict[str, Any]:
        return {"kind": "bandwidth", **options(self.url)}

    def error(self, status: int) -> Any:
        kinds = {401: "unauthorized", 403: "forbidden", 429: "too-many-requests"}
        return {"type": kinds.get(status, "request-validation"), "description": "It is refused."}

    def answer(self, request: Request) -> tuple[int, Any]:
        if request.headers.get("authorization") != basic(USER, self.password):
            return 401, self.error(401)
        parts = urlsplit(request.target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        match request.method, parts.path.strip("/").split("/"):
            case "POST", ["api", "v2", "users", "9900000", "messages"]:
                assert request.headers["content-type"] == "application/json"
                return self._send(json.loads(request.body))
            case "GET", ["api", "v2", "users", "9900000", "messages"]:
                assert query["messageDirection"] in ("OUTBOUND", "INBOUND")
                found = [one for one in reversed(self.listed) if _fits(one, query)]
                return 200, {"totalCount": len(found), "messages": found[: int(query["limit"])]}
            case "GET", ["dashboard", "accounts", "9900000", "applications", id_, "associatedsippeers"]:
                peer = self.voice_location if id_ == VOICE_APPLICATION else LOCATION
                return 200, (
                    "<AssociatedSipPeersResponse><AssociatedSipPeers><AssociatedSipPeer><SiteId>482</SiteId>"
                    f"<PeerId>{peer}</PeerId></AssociatedSipPeer></AssociatedSipPeers></AssociatedSipPeersResponse>"
                ).encode()
            case "GET", ["dashboard", "tns", number, "tndetails"] if number.isdecimal():
                return self._details(number)
            case "GET", ["dashboard", "accounts", "9900000", "applications", id_]:
                return 200, self.application(voice=id_ == VOICE_APPLICATION)
        return 404, {"status": 404, "error": "Not Found", "message": "Not Found", "path": parts.path}

    def application(self, *, voice: bool) -> bytes:
        """As the dashboard shows it."""
        names = (
            ("CallInitiatedCallbackUrl", "CallStatusCallbackUrl")
            if voice
            else ("MsgCallbackUrl", "InboundCallbackUrl", "OutboundCallbackUrl", "CallbackUrl")
        )
        url = f"{self.voice_hooks or self.hooks}/call" if voice else f"{self.hooks}/message"
        kind = "Voice-V2" if voice else "Messaging-V2"
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><ApplicationProvisioningResponse><Application>'
            f"<ServiceType>{kind}</ServiceType><AppName>masked</AppName>"
            + "".join(f"<{name}>{url}</{name}>" for name in names)
            + f"<CallbackCreds><UserId>{self.user_shown}</UserId></CallbackCreds>"
            "</Application></ApplicationProvisioningResponse>"
        ).encode()

    def _details(self, number: str) -> tuple[int, Any]:
        if f"+1{number}" not in self.numbers:
            return 404, b"<TelephoneNumberResponse><Errors/></TelephoneNumberResponse>"
        return 200, (
            "<TelephoneNumberResponse><TelephoneNumberDetails><City>CARY</City>"
            f"<FullNumber>{number}</FullNumber><AccountId>{self.owner}</AccountId>"
            f"<Site><Id>482</Id></Site><SipPeer><PeerId>{self.location}</PeerId></SipPeer>"
            "</TelephoneNumberDetails></TelephoneNumberResponse>"
        ).encode()

    def _send(self, said: dict[str, Any]) -> tuple[int, Any]:
        text, media = said.get("text", ""), tuple(said.get("media", ()))
        (to,) = said["to"]
        if (
            not set(said) <= _FIELDS
            or said["applicationId"] != APPLICATION
            or said["from"] not in self.numbers
        ):
            return 400, self.error(400)
        if to == UNREACHABLE_REGION or not (text or media) or len(text) > 2048:
            return 400, self.error(400)
        id_ = self._id()
        self.taken.append(Taken(id_, said["from"], to, text, media))
        self.tags[id_] = said["tag"]
        at = dt.datetime.fromtimestamp(self.clock.now() / SECOND, dt.UTC)
        self.listed.append(
            {
                "messageId": id_,
                "accountId": ACCOUNT,
                "sourceTn": said["from"],
                "destinationTn": to,
                "messageStatus": "SENT",
                "messageDirection": "OUTBOUND",
                "messageType": "mms" if media else "sms",
                "receiveTime": at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            }
        )
        return 202, {"id": id_, "owner": said["from"], "direction": "out", **said}

    def _id(self) -> str:
        return f"15892280746{next(self._ids):06}lm4k2je7j7jklbn2"

    # What it brings

    def say(self, url: str, content: Any) -> Hook:
        """A callback, as one of its applications shows itself."""
        headers = {
            "Authorization": basic(CALLBACK_USER, CALLBACK_PASSWORD),
            "Content-Type": "application/json",
        }
        return url, json.dumps(content).encode(), headers

    def call(self, from_: str, to: str, kind: str = "initiate", sid: str = "", **more: str) -> Hook:
        """Somebody calls a number of the account, or has hung up."""
        return self.say_of_call(f"{self.hooks}/call", from_, to, kind, sid, **more)

    def say_of_call(
        self, url: str, from_: str, to: str, kind: str = "redirect", sid: str = "", **more: str
    ) -> Hook:
        """What is asked or told of a call to a number, at an address of its BXML."""
        event = {
            "eventType": kind,
            "eventTime": "2027-01-15T08:00:00.000Z",
            "accountId": ACCOUNT,
            "applicationId": VOICE_APPLICATION,
            "from": from_,
            "to": to,
            "direction": "inbound",
            "callId": sid or f"c-{self._id()}",
            "startTime": "2027-01-15T08:00:00.000Z",
            **more,
        }
        return self.say(url, event)

    def text(self, from_: str, to: str, body: str, *media: str, sid: str = "") -> Hook:
        """Somebody writes to a number of the account."""
        return self.say(f"{self.hooks}/message", [self.received(from_, to, body, *media, sid=sid)])

    def received(self, from_: str, to: str, body: str, *media: str, sid: str = "") -> dict[str, Any]:
        message = {
            "id": sid or self._id(),
            "owner": to,
            "applicationId": APPLICATION,
            "time": "2027-01-15T08:00:00.000Z",
            "segmentCount": 1,
            "direction": "in",
            "to": [to],
            "from": from_,
            "text": body,
        }
        if media:
            message["media"] = list(media)
        return {
            "type": "message-received",
            "time": "2027-01-15T08:00:00.000Z",
            "description": "Incoming message received",
            "to": to,
            "message": message,
        }

    def report(self, taken: Taken, word: str, code: int | None = None) -> Hook:
        """What becomes of a message, as the vendor tells it."""
        event = {
            "type": f"message-{word}",
            "time": "2027-01-15T08:00:01.000Z",
            "description": "It is so.",
            "to": taken.to,
            "message": {
                "id": taken.id,
                "owner": taken.from_,
                "applicationId": APPLICATION,
                "direction": "out",
                "to": [taken.to],
                "from": taken.from_,
                "text": "",
                "tag": self.tags.get(taken.id, ""),
            },
            **({} if code is None else {"errorCode": code}),
        }
        return self.say(f"{self.hooks}/message", [event])


def _fits(one: dict[str, Any], query: dict[str, str]) -> bool:
    names = ("sourceTn", "destinationTn", "messageDirection")
    earliest, latest = query.get("fromDateTime", ""), query.get("toDateTime", "z")
    return all(one[name] == query.get(name, one[name]) for name in names) and (
        earliest <= one["receiveTime"] <= latest
    )
