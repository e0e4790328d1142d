"""A stand-in for Twilio's REST API and its webhooks, written from the public reference: Messages, IncomingPhoneNumbers,
ShortCodes, Accounts; what it signs, Twilio's own `RequestValidator` signs.
"""

from __future__ import annotations

import base64
import datetime as dt
import hmac
from email.utils import format_datetime
from itertools import count
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from twilio.request_validator import RequestValidator

from maskline.clock import Clock
from maskline.domain.model import SECOND
from tests.support.peer import Request
from tests.support.vendor import Hook, Taken, Vendor

ACCOUNT, TOKEN = "AC" + "c3" * 16, "d4" * 16
KEY, KEY_SECRET = "SK" + "e5" * 16, "f6" * 16
"""A standard API key: all but the account itself is shown to it."""
OPTED_OUT, UNREACHABLE_REGION = "+12125550199", "+12125550198"

_FIELDS = {"To", "From", "Body", "MediaUrl", "StatusCallback"}
_ROUTES = (
    "sms_url",
    "sms_method",
    "sms_fallback_url",
    "sms_fallback_method",
    "sms_application_sid",
    "voice_url",
)
_ROUTES += (
    "voice_method",
    "voice_fallback_url",
    "voice_fallback_method",
    "voice_application_sid",
    "trunk_sid",
)
_ROUTES += ("status_callback", "status_callback_method")


def _name(field: str) -> str:
    return "".join(part.capitalize() for part in field.split("_"))


class TwilioApi(Vendor):
    """`numbers` are the account's, with where their traffic goes."""

    root = ""

    def __init__(self, clock: Clock, *numbers: str, account: str = ACCOUNT, token: str = TOKEN) -> None:
        super().__init__()
        self.clock = clock
        self.account = account
        self.token = token
        self.status = "active"
        self.resources: dict[str, dict[str, str]] = {}
        self.listed: list[dict[str, Any]] = []
        self.callbacks: dict[str, str] = {}
        self._ids = count(1)
        for number in numbers:
            self.own(number)

    @property
    def table(self) -> dict[str, Any]:
        return {
            "kind": "twilio",
            "account_sid": self.account,
            "auth_token": self.token,
            "base_url": self.url,
        }

    def own(self, number: str, **routes: str) -> dict[str, str]:
        """Give the account a number or a short code. Its traffic goes to somebody else's server, unless told."""
        kind = "PN" if number.startswith("+") else "SC"
        resource = {
            **dict.fromkeys(_ROUTES, ""),
            "sid": f"{kind}{len(self.resources):032x}",
            "phone_number" if kind == "PN" else "short_code": number,
            "sms_url": "https://before.example/sms",
            "sms_method": "GET",
            "voice_url": "https://before.example/voice",
            "voice_method": "POST",
            **routes,
        }
        self.resources[number] = resource
        return resource

    def error(self, status: int) -> Any:
        code = {401: 20003, 403: 20005, 404: 20404, 429: 20429, 500: 20500}.get(status, 21211)
        return self._refusal(status, code)[1]

    @staticmethod
    def _refusal(status: int, code: int) -> tuple[int, Any]:
        more = f"https://www.twilio.com/docs/errors/{code}"
        return status, {"code": code, "message": "It is refused.", "more_info": more, "status": status}

    def answer(self, request: Request) -> tuple[int, Any]:
        parts = urlsplit(request.target)
        path = parts.path.removeprefix(f"{self.root}/2010-04-01/Accounts/{self.account}")
        logins = [(self.account, self.token), *([(KEY, KEY_SECRET)] if path != ".json" else [])]
        known = [f"Basic {base64.b64encode(':'.join(login).encode()).decode()}" for login in logins]
        if request.headers.get("authorization") not in known:
            return self._refusal(401, 20003)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        match request.method, path.strip("/").split("/"):
            case "POST", ["Messages.json"]:
                assert request.headers["content-type"] == "application/x-www-form-urlencoded"
                return self._send(
                    parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True)
                )
            case "GET", ["Messages.json"]:
                found = [
                    one
                    for one in reversed(self.listed)
                    if (one["from"], one["to"]) == (query["From"], query["To"])
                ]
                return 200, {"messages": found[: int(query["PageSize"])], "next_page_uri": None}
            case "GET", [".json"]:
                return 200, {"sid": self.account, "status": self.status, "type": "Full"}
            case "GET", ["IncomingPhoneNumbers.json"]:
                return 200, {"incoming_phone_numbers": self._find(query.get("PhoneNumber", ""))}
            case "GET", ["SMS", "ShortCodes.json"]:
                return 200, {"short_codes": self._find(query["ShortCode"])}
            case "POST", ["IncomingPhoneNumbers", name] | ["SMS", "ShortCodes", name]:
                return self._route(name.removesuffix(".json"), dict(parse_qsl(request.body.decode(), True)))
        return self._refusal(404, 20404)

    def _find(self, number: str) -> list[dict[str, str]]:
        """As Twilio does: what contains it."""
        return [one for value, one in self.resources.items() if number in value]

    def _route(self, sid: str, form: dict[str, str]) -> tuple[int, Any]:
        (resource,) = (one for one in self.resources.values() if one["sid"] == sid)
        known = {_name(field): field for field in _ROUTES}
        if not set(form) <= set(known):
            return self._refusal(400, 20001)
        for name, value in form.items():
            resource[known[name]] = value
        return 200, resource

    def _send(self, form: list[tuple[str, str]]) -> tuple[int, Any]:
        said = dict(form)
        media = tuple(value for name, value in form if name == "MediaUrl")
        if not set(said) <= _FIELDS or not (said.get("Body") or media) or len(said.get("Body", "")) > 1600:
            return self._refusal(400, 21617)
        if said["From"] not in self.resources:
            return self._refusal(400, 21606)
        if said["To"] == OPTED_OUT:
            return self._refusal(400, 21610)
        if said["To"] == UNREACHABLE_REGION or not said["To"].startswith("+"):
            return self._refusal(400, 21211)
        sid = self._sid("MM" if media else "SM")
        self.taken.append(Taken(sid, said["From"], said["To"], said.get("Body", ""), media))
        self.callbacks[sid] = said["StatusCallback"]
        resource = {
            "sid": sid,
            "account_sid": self.account,
            "from": said["From"],
            "to": said["To"],
            "body": said.get("Body", ""),
            "direction": "outbound-api",
            "status": "queued",
            "num_media": str(len(media)),
            "num_segments": "1",
            "date_created": self._date(),
            "date_sent": None,
            "error_code": None,
        }
        self.listed.append(resource)
        return 201, resource

    def _sid(self, prefix: str) -> str:
        return f"{prefix}{next(self._ids):032x}"

    def _date(self) -> str:
        return format_datetime(dt.datetime.fromtimestamp(self.clock.now() / SECOND, dt.UTC))

    # What it brings

    def signed(self, url: str, form: dict[str, str]) -> Hook:
        signature = RequestValidator(self.token).compute_signature(url, form)
        return url, form, {"X-Twilio-Signature": signature}

    def call(self, from_: str, to: str, word: str = "ringing", sid: str = "") -> Hook:
        """Somebody calls a number of the account."""
        form = {
            "AccountSid": self.account,
            "ApiVersion": "2010-04-01",
            "CallSid": sid or self._sid("CA"),
            "CallStatus": word,
            "Called": to,
            "Caller": from_,
            "Direction": "inbound",
            "From": from_,
            "To": to,
        }
        return self.signed(self.resources[to]["voice_url"], form)

    def report(self, taken: Taken, word: str) -> Hook:
        """What becomes of a message, as the vendor tells it."""
        form = {
            "AccountSid": self.account,
            "ApiVersion": "2010-04-01",
            "From": taken.from_,
            "MessageSid": taken.id,
            "MessageStatus": word,
            "SmsSid": taken.id,
            "SmsStatus": word,
            "To": taken.to,
        }
        return self.signed(self.callbacks[taken.id], form)

    def text(self, from_: str, to: str, body: str, *media: str, sid: str = "") -> Hook:
        """Somebody writes to a number of the account."""
        sid = sid or self._sid("SM")
        form = {
            "AccountSid": self.account,
            "ApiVersion": "2010-04-01",
            "Body": body,
            "From": from_,
            "FromCity": "",
            "FromCountry": "US",
            "FromState": "NY",
            "FromZip": "",
            "MessageSid": sid,
            "NumMedia": str(len(media)),
            "NumSegments": "1",
            "SmsMessageSid": sid,
            "SmsSid": sid,
            "SmsStatus": "received",
            "To": to,
            "ToCountry": "US",
        }
        for i, url in enumerate(media):
            form |= {f"MediaUrl{i}": url, f"MediaContentType{i}": "image/png"}
        return self.signed(self.resources[to]["sms_url"], form)


PROJECT = "7b981d06-fa9e-4465-a6f4-c7b2f3a0b1d2"
API_TOKEN, SIGNING_KEY = "PT" + "9f" * 24, "PSK_" + "3c" * 12


class SignalWireApi(TwilioApi):
    """The same at SignalWire: another root, UUIDs for SIDs, and a signature over the body as it is written."""

    root = "/api/laml"

    def __init__(self, clock: Clock, *numbers: str) -> None:
        super().__init__(clock, *numbers, account=PROJECT, token=API_TOKEN)

    @property
    def table(self) -> dict[str, Any]:
        return {
            "kind": "signalwire",
            "space": self.url,
            "project_id": PROJECT,
            "api_token": API_TOKEN,
            "signing_key": SIGNING_KEY,
        }

    def _sid(self, prefix: str) -> str:
        digits = f"{next(self._ids):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def signed(self, url: str, form: dict[str, str]) -> Hook:
        made = hmac.new(SIGNING_KEY.encode(), (url + urlencode(list(form.items()))).encode(), "sha1")
        return url, form, {"X-SignalWire-Signature": made.hexdigest()}
