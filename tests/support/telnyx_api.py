"""A stand-in for Telnyx's API (v2) and its webhooks, written from the public reference: messages, detail records, phone
numbers, short codes, messaging profiles; what it signs, it signs with ed25519 over the timestamp and the body.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from maskline.clock import Clock
from maskline.domain.model import SECOND
from tests.support.peer import Request
from tests.support.twilio_api import OPTED_OUT, UNREACHABLE_REGION
from tests.support.vendor import Hook, Taken, Vendor

API_KEY = "KEY0123456789ABCDEF_" + "s3" * 11
PROFILE, OTHERS_PROFILE = "400174af-0a13-4e28-b4f5-00000000000a", "400174af-0a13-4e28-b4f5-00000000000b"
APPLICATION = "1293384261075731499"

_SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(b"a signing key of the tests' own.")
PUBLIC_KEY = base64.b64encode(_SIGNING_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

_FIELDS = {"from", "to", "text", "media_urls", "webhook_url", "use_profile_webhooks"}


class TelnyxApi(Vendor):
    """`numbers` are the account's. They are in somebody else's messaging profile, unless told."""

    def __init__(self, clock: Clock, *numbers: str) -> None:
        super().__init__()
        self.clock = clock
        self.key = API_KEY
        self.resources: dict[str, dict[str, str]] = {}
        self.profiles: dict[str, dict[str, Any]] = {
            sid: {
                "id": sid,
                "enabled": True,
                "webhook_url": url,
                "webhook_failover_url": None,
                "webhook_api_version": "2",
            }
            for sid, url in ((PROFILE, None), (OTHERS_PROFILE, "https://before.example/sms"))
        }
        self.applications: dict[str, dict[str, Any]] = {
            APPLICATION: {"id": APPLICATION, "active": True, "voice_url": "", "voice_method": "get"}
        }
        self.records: list[dict[str, Any]] = []
        self.callbacks: dict[str, str] = {}
        self._ids = count(1)
        for number in numbers:
            self.own(number)

    @property
    def table(self) -> dict[str, Any]:
        return {
            "kind": "telnyx",
            "api_key": API_KEY,
            "public_key": PUBLIC_KEY,
            "messaging_profile_id": PROFILE,
            "texml_application_id": APPLICATION,
            "base_url": f"{self.url}/v2",
        }

    def own(self, number: str, **fields: str) -> dict[str, str]:
        """Give the account a number or a short code."""
        name = "phone_number" if number.startswith("+") else "short_code"
        resource = {
            "id": self._id(),
            "record_type": name,
            name: number,
            "messaging_profile_id": OTHERS_PROFILE,
            "connection_id": "7" if name == "phone_number" else "",
            **fields,
        }
        self.resources[number] = resource
        return resource

    def error(self, status: int) -> Any:
        return self._refusal(
            status, {401: "10009", 403: "10010", 404: "10005", 429: "10011", 500: "10007"}[status]
        )[1]

    @staticmethod
    def _refusal(status: int, code: str) -> tuple[int, Any]:
        meta = {"url": f"https://developers.telnyx.com/docs/overview/errors/{code}"}
        return status, {"errors": [{"code": code, "title": "No", "detail": "It is refused.", "meta": meta}]}

    def answer(self, request: Request) -> tuple[int, Any]:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return self._refusal(401, "10009")
        parts = urlsplit(request.target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        match request.method, parts.path.removeprefix("/v2/").split("/"):
            case "POST", ["messages"]:
                assert request.headers["content-type"] == "application/json"
                return self._send(json.loads(request.body))
            case "GET", ["detail_records"]:
                assert query["filter[record_type]"] == "messaging"
                since = dt.date.fromisoformat(query["filter[created_at][gte]"])
                return 200, {
                    "data": [
                        one
                        for one in reversed(self.records)
                        if one["cld"] == query["filter[cld]"]
                        and dt.datetime.fromisoformat(one["created_at"]).date() >= since
                    ]
                }
            case "GET", ["phone_numbers"]:
                wanted = query["filter[phone_number]"]
                found = [
                    one for number, one in self.resources.items() if wanted.isdecimal() and wanted in number
                ]
                return 200, {"data": found, "meta": {"total_pages": 1}}
            case "GET", ["short_codes"]:
                return 200, {"data": [one for one in self.resources.values() if "short_code" in one]}
            case "GET", ["messaging_profiles", sid] if sid in self.profiles:
                return 200, {"data": self.profiles[sid]}
            case "PATCH", ["messaging_profiles", sid] if sid in self.profiles:
                self.profiles[sid].update(json.loads(request.body))
                return 200, {"data": self.profiles[sid]}
            case "GET", ["texml_applications", sid] if sid in self.applications:
                return 200, {"data": self.applications[sid]}
            case "PATCH", ["texml_applications", sid] if sid in self.applications:
                self.applications[sid].update(json.loads(request.body))
                return 200, {"data": self.applications[sid]}
            case "PATCH", ["phone_numbers", sid]:
                (resource,) = (one for one in self.resources.values() if one["id"] == sid)
                said = json.loads(request.body)
                assert set(said) == {"connection_id"}
                resource.update(said)
                return 200, {"data": resource}
            case "PATCH", ["phone_numbers", sid, "messaging"] | ["short_codes", sid]:
                (resource,) = (one for one in self.resources.values() if one["id"] == sid)
                said = json.loads(request.body)
                assert set(said) == {"messaging_profile_id"}
                if not said["messaging_profile_id"] and "short_code" in resource:
                    return self._refusal(422, "10004")
                resource.update(said)
                return 200, {"data": resource}
        return self._refusal(404, "10005")

    def _send(self, said: dict[str, Any]) -> tuple[int, Any]:
        media, text = tuple(said.get("media_urls", ())), said.get("text", "")
        if not set(said) <= _FIELDS or not (text or media) or said["use_profile_webhooks"]:
            return self._refusal(422, "40316")
        if said["from"] not in self.resources:
            return self._refusal(400, "40305")
        if said["to"] == OPTED_OUT:
            return self._refusal(409, "40300")
        if said["to"] == UNREACHABLE_REGION or not said["to"].startswith("+"):
            return self._refusal(400, "40310")
        uuid = self._id()
        self.taken.append(Taken(uuid, said["from"], said["to"], text, media))
        self.callbacks[uuid] = said["webhook_url"]
        self.records.append(
            {
                "record_type": "message_detail_record",
                "uuid": uuid,
                "cld": said["to"],
                "cli": said["from"],
                "created_at": self._date(),
                "direction": "outbound",
                "delivery_status_webhook_url": said["webhook_url"],
                "status": "sent",
            }
        )
        return 200, {"data": self._message(self.taken[-1], "queued")}

    def _message(self, taken: Taken, word: str) -> dict[str, Any]:
        return {
            "record_type": "message",
            "direction": "outbound",
            "id": taken.id,
            "type": "MMS" if taken.media else "SMS",
            "from": {"phone_number": taken.from_, "carrier": "TELNYX LLC", "line_type": "VoIP"},
            "to": [{"phone_number": taken.to, "status": word, "carrier": "", "line_type": "Wireless"}],
            "text": taken.body,
            "media": [
                {"url": url, "content_type": None, "sha256": None, "size": None} for url in taken.media
            ],
            "webhook_url": self.callbacks[taken.id],
            "errors": [],
        }

    def _id(self) -> str:
        digits = f"{next(self._ids):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def _date(self) -> str:
        return dt.datetime.fromtimestamp(self.clock.now() / SECOND, dt.UTC).isoformat()

    # What it brings

    def signed(self, url: str, body: bytes, content_type: str = "application/json", late_s: int = 0) -> Hook:
        timestamp = str(self.clock.now() // SECOND - late_s)
        signature = _SIGNING_KEY.sign(f"{timestamp}|".encode() + body)
        return (
            url,
            body,
            {
                "Content-Type": content_type,
                "telnyx-timestamp": timestamp,
                "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
            },
        )

    def event(self, url: str, kind: str, payload: Any, **how: int) -> Hook:
        said = {
            "data": {
                "record_type": "event",
                "id": self._id(),
                "event_type": kind,
                "occurred_at": self._date(),
                "payload": payload,
            },
            "meta": {"attempt": 1, "delivered_to": url},
        }
        return self.signed(url, json.dumps(said).encode(), **how)

    def report(self, taken: Taken, word: str, *codes: str) -> Hook:
        """What becomes of a message, as the vendor tells it, and why."""
        kind = "message.sent" if word in ("queued", "sending", "sent") else "message.finalized"
        errors = [{"code": code, "title": "No", "detail": "It is refused."} for code in codes]
        return self.event(
            self.callbacks[taken.id], kind, {**self._message(taken, word), "errors": errors or None}
        )

    def text(self, from_: str, to: str, body: str, *media: str, sid: str = "", **how: int) -> Hook:
        """Somebody writes to a number of the account."""
        payload = {
            "record_type": "message",
            "direction": "inbound",
            "id": sid or self._id(),
            "type": "MMS" if media else "SMS",
            "from": {"phone_number": from_, "carrier": "T-Mobile USA", "line_type": "Wireless"},
            "to": [{"phone_number": to, "status": "webhook_delivered", "carrier": "Telnyx"}],
            "cc": [],
            "text": body,
            "media": [{"url": url, "content_type": "image/png", "size": 3, "sha256": ""} for url in media],
            "messaging_profile_id": self.resources[to]["messaging_profile_id"],
        }
        url = self.profiles[self.resources[to]["messaging_profile_id"]]["webhook_url"]
        return self.event(url, "message.received", payload, **how)

    def call(self, from_: str, to: str, word: str = "ringing", sid: str = "", **more: str) -> Hook:
        """Somebody calls a number of the account."""
        application = self.applications[self.resources[to]["connection_id"]]
        return self.say_of_call(application["voice_url"], from_, to, word, sid, **more)

    def say_of_call(self, url: str, from_: str, to: str, word: str, sid: str = "", **more: str) -> Hook:
        """What TeXML asks or tells at an address."""
        form = {
            "AccountSid": "f5586561-8ff0-4291-a51b-c7dfe4139ff9",
            "CallSid": sid or f"v3:{self._id()}",
            "CallStatus": word,
            "ConnectionId": APPLICATION,
            "From": from_,
            "To": to,
            **more,
        }
        return self.signed(url, urlencode(form).encode(), "application/x-www-form-urlencoded")
