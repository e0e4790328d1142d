"""A stand-in for Vonage's APIs and webhooks, written from the public reference: Messages (v1), SMS, Reports,
Applications, Numbers. Webhooks come with a token under the signature secret, or with a hash in their fields, made here
from the primitives.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from itertools import count
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from maskline.clock import Clock
from maskline.domain.model import SECOND
from tests.support.peer import Request
from tests.support.twilio_api import UNREACHABLE_REGION
from tests.support.vendor import Hook, Taken, Vendor

API_KEY, API_SECRET, SIGNATURE_SECRET = "a1b2c3d4", "s3" * 8, "sign" * 16
APPLICATION, OTHERS_APPLICATION = (
    "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
    "aaaaaaaa-bbbb-cccc-dddd-0123456789ff",
)

_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE_KEY = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
_PUBLIC_KEY = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

_FIELDS = {
    *("channel", "message_type", "from", "to", "client_ref", "webhook_url", "webhook_version"),
    *("text", "image", "audio", "video", "file", "vcard", "content"),
}


def options(url: str) -> dict[str, str]:
    """What the settings say of the account, whose vendor is here."""
    return {
        "api_key": API_KEY,
        "api_secret": API_SECRET,
        "signature_secret": SIGNATURE_SECRET,
        "application_id": APPLICATION,
        "private_key": PRIVATE_KEY,
        "base_url": url,
        "rest_url": url,
    }


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def hs256(claims: dict[str, Any], secret: str = SIGNATURE_SECRET, alg: str = "HS256") -> str:
    parts = ({"typ": "JWT", "alg": alg}, claims)
    signed = ".".join(encode(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{encode(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


class VonageApi(Vendor):
    """`numbers` are the account's. They are linked to somebody else's application, unless told."""

    product = "MESSAGES"

    def __init__(self, clock: Clock, *numbers: str) -> None:
        super().__init__()
        self.clock = clock
        self.secret = API_SECRET
        self.resources: dict[str, dict[str, str]] = {}
        self.application: dict[str, Any] = {
            "id": APPLICATION,
            "name": "masked",
            "keys": {"public_key": _PUBLIC_KEY},
            "privacy": {"improve_ai": False},
            "capabilities": {"verify": {"version": "v2"}},
            "_links": {"self": {"href": f"/v2/applications/{APPLICATION}"}},
        }
        self.records: list[Any] = []
        self.callbacks: dict[str, tuple[str, str]] = {}
        self._ids = count(1)
        for number in numbers:
            self.own(number)

    @property
    def table(self) -> dict[str, Any]:
        return {"kind": "vonage", **options(self.url)}

    def own(self, number: str, **fields: str) -> dict[str, str]:
        """Give the account a number or a short code."""
        resource = {
            "country": "US",
            "msisdn": number.removeprefix("+"),
            "app_id": OTHERS_APPLICATION,
            "moHttpUrl": "https://before.example/sms",
            "voiceCallbackType": "tel",
            "voiceCallbackValue": "12125550100",
            **fields,
        }
        self.resources[number] = resource
        return resource

    def error(self, status: int) -> Any:
        code = {401: "unauthorized", 403: "forbidden", 404: "not-found", 429: "throttled"}.get(
            status, "internal"
        )
        return self._refusal(status, f"#{code}")[1]

    @staticmethod
    def _refusal(status: int, code: str) -> tuple[int, Any]:
        kind = f"https://developer.vonage.com/api-errors{code}"
        return status, {"type": kind, "title": "No", "detail": "It is refused.", "instance": "bf0ca0bf"}

    def _knows(self, request: Request) -> bool:
        """Whether these are the account's key and secret, or a token of the application."""
        scheme, _, said = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            return base64.b64decode(said).decode() == f"{API_KEY}:{self.secret}"
        head, claims, signature = said.split(".")
        try:
            _KEY.public_key().verify(decode(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        claimed, now_s = json.loads(decode(claims)), self.clock.now() // SECOND
        assert json.loads(decode(head)) == {"alg": "RS256", "typ": "JWT"} and claimed["jti"]
        return claimed["application_id"] == APPLICATION and claimed["iat"] <= now_s < claimed["exp"]

    def answer(self, request: Request) -> tuple[int, Any]:
        if not self._knows(request):
            return self._refusal(401, "#unauthorized")
        parts = urlsplit(request.target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        match request.method, parts.path.strip("/").split("/"):
            case "POST", ["v1", "messages"]:
                assert request.headers["content-type"] == "application/json"
                assert request.headers["authorization"].startswith("Bearer ")
                return self._send(json.loads(request.body))
            case "GET", ["v2", "reports", "records"]:
                assert (query["account_id"], query["product"], query["direction"]) == (
                    API_KEY,
                    self.product,
                    "outbound",
                )
                found = [
                    one
                    for one in self.records
                    if one["to"] == query["to"]
                    and query["date_start"] <= one["date_received"] <= query["date_end"]
                ]
                return 200, {"request_status": "SUCCESS", "items_count": len(found), "records": found}
            case "GET", ["account", "numbers"]:
                found = [one for one in self.resources.values() if one["msisdn"].startswith(query["pattern"])]
                return 200, {"count": len(found), "numbers": found} if found else {}
            case "POST", ["number", "update"]:
                return self._update(dict(parse_qsl(request.body.decode(), keep_blank_values=True)))
            case "GET", ["v2", "applications", sid] if sid == APPLICATION:
                return 200, self.application
            case "PUT", ["v2", "applications", sid] if sid == APPLICATION:
                said = json.loads(request.body)
                # What is left out is gone.
                self.application = {"id": sid, **said, "_links": self.application["_links"]}
                return 200, self.application
        return self._refusal(404, "#not-found")

    def _update(self, form: dict[str, str]) -> tuple[int, Any]:
        msisdn = form.pop("msisdn")
        (resource,) = (one for one in self.resources.values() if one["msisdn"] == msisdn)
        assert form.pop("country") == resource["country"]
        assert set(form) <= {"app_id", "moHttpUrl", "voiceCallbackType", "voiceCallbackValue"}
        for name in ("app_id", "moHttpUrl", "voiceCallbackType", "voiceCallbackValue"):
            resource[name] = form.get(name, "")
        return 200, {"error-code": "200", "error-code-label": "success"}

    def _send(self, said: dict[str, Any]) -> tuple[int, Any]:
        assert set(said) <= _FIELDS and said["webhook_version"] == "v1" and len(said["client_ref"]) <= 100
        kind = said["message_type"]
        if kind == "text":
            text, media = said["text"], ()
        else:
            items = said["content"] if kind == "content" else [said[kind]]
            text, media = items[0].get("caption", ""), tuple(item["url"] for item in items)
            assert all("type" in item for item in items) == (kind == "content")
        if said["channel"] != ("mms" if media else "sms") or not (text or media):
            return self._refusal(422, "/messages#1020")
        number, to = f"+{said['from']}", f"+{said['to']}"
        if number not in self.resources:
            return self._refusal(422, "/messages#1120")
        if to == UNREACHABLE_REGION:
            return self._refusal(422, "/messages#1040")
        uuid = self._id()
        self.taken.append(Taken(uuid, number, to, text, media))
        self.callbacks[uuid] = (said["webhook_url"], said["client_ref"])
        self._record(uuid, said["client_ref"], said)
        return 202, {"message_uuid": uuid}

    def _record(self, id_: str, client_ref: str, said: dict[str, Any]) -> None:
        self.records.append(
            {
                "account_id": API_KEY,
                "message_id": id_,
                "client_ref": client_ref,
                "direction": "outbound",
                "from": said["from"],
                "to": said["to"],
                "date_received": self._date(),
            }
        )

    def _id(self) -> str:
        digits = f"{next(self._ids):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def _date(self) -> str:
        return dt.datetime.fromtimestamp(self.clock.now() / SECOND, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    # What it brings

    def claims(self, body: bytes, late_s: int = 0) -> dict[str, Any]:
        return {
            "iat": self.clock.now() // SECOND - late_s,
            "jti": self._id(),
            "iss": "Vonage",
            "payload_hash": hashlib.sha256(body).hexdigest(),
            "api_key": API_KEY,
            "application_id": APPLICATION,
        }

    def signed(self, url: str, body: bytes, late_s: int = 0) -> Hook:
        token = hs256(self.claims(body, late_s))
        return url, body, {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}

    def say(self, url: str, said: Any, late_s: int = 0) -> Hook:
        return self.signed(url, json.dumps(said, separators=(",", ":")).encode(), late_s)

    def report(self, taken: Taken, word: str, **more: Any) -> Hook:
        """What becomes of a message, as the vendor tells it."""
        url, client_ref = self.callbacks[taken.id]
        said = {
            "message_uuid": taken.id,
            "from": taken.from_.removeprefix("+"),
            "to": taken.to.removeprefix("+"),
            "timestamp": self._date(),
            "status": word,
            "channel": "mms" if taken.media else "sms",
            "client_ref": client_ref,
            **more,
        }
        return self.say(url, said)

    def text(self, from_: str, to: str, body: str, *media: str, sid: str = "", late_s: int = 0) -> Hook:
        """Somebody writes to a number of the account."""
        said: dict[str, Any] = {
            "channel": "mms" if media else "sms",
            "message_uuid": sid or self._id(),
            "from": from_.removeprefix("+"),
            "to": to.removeprefix("+"),
            "timestamp": self._date(),
        }
        match media:
            case ():
                said |= {"message_type": "text", "text": body, "sms": {"num_messages": "1"}}
            case (url,):
                said |= {"message_type": "image", "image": {"url": url, "name": "a.png", "caption": body}}
            case _:
                items = [{"type": "image", "url": url} for url in media]
                said |= {"message_type": "content", "text": body, "content": items}
        webhook = self.application["capabilities"]["messages"]["webhooks"]["inbound_url"]
        assert webhook["http_method"] == "POST"
        return self.say(webhook["address"], said, late_s)

    def call(self, from_: str, to: str, uuid: str = "", **more: Any) -> Hook:
        """Somebody calls a number of the account."""
        webhook = self.application["capabilities"]["voice"]["webhooks"]["answer_url"]
        assert webhook["http_method"] == "POST"
        return self.say_of_call(webhook["address"], from_, to, uuid, endpoint_type="phone", **more)

    def ended(self, from_: str, to: str, uuid: str, status: str = "completed") -> Hook:
        """The caller's side has ended."""
        webhook = self.application["capabilities"]["voice"]["webhooks"]["event_url"]
        return self.say_of_call(webhook["address"], from_, to, uuid, status=status, direction="inbound")

    def say_of_call(self, url: str, from_: str, to: str, uuid: str = "", **more: Any) -> Hook:
        """What is asked or told of a call."""
        said = {
            "from": from_.removeprefix("+"),
            "to": to.removeprefix("+"),
            "uuid": uuid or self._id(),
            "conversation_uuid": f"CON-{self._id()}",
            "timestamp": self._date(),
        }
        return self.say(url, said | more)


def hashed(fields: dict[str, str], method: str, secret: str = SIGNATURE_SECRET) -> str:
    """The hash of fields, as the account's settings want it."""
    flat = {name: value.replace("&", "_").replace("=", "_") for name, value in fields.items()}
    text = "".join(f"&{name}={flat[name]}" for name in sorted(flat))
    if method == "md5hash":
        return hashlib.md5((text + secret).encode(), usedforsecurity=False).hexdigest()
    return hmac.digest(secret.encode(), text.encode(), method).hex().upper()


class VonageSmsApi(VonageApi):
    """Its account sends and gets texts by the SMS API. `statuses`: what the parts of the next text are answered; 0
    takes one.
    """

    product = "SMS"

    def __init__(self, clock: Clock, *numbers: str, method: str = "sha256", as_json: bool = False) -> None:
        super().__init__(clock, *numbers)
        self.method, self.as_json = method, as_json
        self.statuses: list[str] = []

    @property
    def table(self) -> dict[str, Any]:
        return {**super().table, "api": "sms", "signature_method": self.method}

    def answer(self, request: Request) -> tuple[int, Any]:
        if (request.method, request.target) != ("POST", "/sms/json"):
            return super().answer(request)
        if not self._knows(request):
            return self._refusal(401, "#unauthorized")
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        said = dict(parse_qsl(request.body.decode(), strict_parsing=True))
        assert set(said) == {"from", "to", "text", "type", "client-ref", "callback"}
        assert len(said["client-ref"]) <= 100 and len(said["callback"]) <= 100
        number, to = f"+{said['from']}", f"+{said['to']}"
        room = 153 if said["type"] == "text" else 67
        statuses = self.statuses or ["0"] * max(1, -(-len(said["text"]) // room))
        self.statuses = []
        if number not in self.resources:
            statuses = ["15"]
        elif to == UNREACHABLE_REGION:
            statuses = ["6"]
        parts = []
        for status in statuses:
            part = {"to": said["to"], "status": status}
            if status == "0":
                part |= {"message-id": self._id(), "message-price": "0.03", "network": "310090"}
                self.callbacks[part["message-id"]] = (said["callback"], said["client-ref"])
                self._record(part["message-id"], said["client-ref"], said)
            else:
                part["error-text"] = "It is refused."
            parts.append(part)
        ids = [part["message-id"] for part in parts if part["status"] == "0"]
        if ids:
            self.taken.append(Taken(ids[0], number, to, said["text"]))
        return 200, {"message-count": str(len(parts)), "messages": parts}

    def _id(self) -> str:
        return f"{next(self._ids):016X}"

    # What it brings

    def tell(self, url: str, fields: dict[str, str], late_s: int = 0) -> Hook:
        """A webhook of the SMS API, signed as the account's settings want it."""
        stamped = {**fields, "api-key": API_KEY, "nonce": "aaaaaaaa", "message-timestamp": self._date()}
        stamped["timestamp"] = str(self.clock.now() // SECOND - late_s)
        signed = {**stamped, "sig": hashed(stamped, self.method)}
        if self.as_json:
            return url, json.dumps(signed).encode(), {"Content-Type": "application/json"}
        return url, urlencode(signed).encode(), {"Content-Type": "application/x-www-form-urlencoded"}

    def report(self, taken: Taken, word: str, **more: Any) -> Hook:
        url, client_ref = self.callbacks[taken.id]
        fields = {
            "msisdn": taken.to.removeprefix("+"),
            "to": taken.from_.removeprefix("+"),
            "messageId": taken.id,
            "status": word,
            "err-code": "0",
            "scts": "2701150800",
            "client-ref": client_ref,
        }
        return self.tell(url, fields | more)

    def text(self, from_: str, to: str, body: str, *media: str, sid: str = "", late_s: int = 0) -> Hook:
        assert not media
        return self.part(from_, to, body, sid=sid, late_s=late_s)

    def part(self, from_: str, to: str, body: str, *, sid: str = "", late_s: int = 0, **more: str) -> Hook:
        """A text, or a part of a long one (`concat-ref`, …), to where the number leads."""
        fields = {
            "msisdn": from_.removeprefix("+"),
            "to": to.removeprefix("+"),
            "messageId": sid or self._id(),
            "type": "text" if body.isascii() else "unicode",
            "text": body,
            "keyword": body.partition(" ")[0].upper(),
        }
        return self.tell(self.resources[to]["moHttpUrl"], fields | more, late_s)
