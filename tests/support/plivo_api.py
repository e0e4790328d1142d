"""A stand-in for Plivo's REST API and its webhooks, written from the public reference: Message, Number, Application,
Account. What it signs, `tests/clients/test_plivo_sdk.py` has Plivo's own library judge.
"""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import json
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

from maskline.clock import Clock
from maskline.domain.model import SECOND
from tests.support.peer import Request
from tests.support.vendor import Hook, Taken, Vendor

AUTH_ID, AUTH_TOKEN = "MA" + "C3" * 9, "d4" * 20
UNREACHABLE_REGION = "+12125550198"

_FIELDS = {"src", "dst", "type", "text", "media_urls", "url", "method"}
_ROUTES = (
    "answer_url",
    "answer_method",
    "hangup_url",
    "hangup_method",
    "fallback_answer_url",
    "fallback_method",
    "message_url",
    "message_method",
)
INDIA = dt.timezone(dt.timedelta(hours=5, minutes=30))


def signature(token: str, url: str, form: dict[str, str], nonce: str) -> str:
    """V3 of a form that is posted to a URL."""
    place, mark, query = url.partition("?")
    said = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
    asked = "&".join(f"{name}={said[name]}" for name in sorted(said)) + "." if mark else ""
    signed = f"{place}?{asked}" + "".join(name + form[name] for name in sorted(form)) + "." + nonce
    return base64.b64encode(hmac.digest(token.encode(), signed.encode(), "sha256")).decode()


class PlivoApi(Vendor):
    """`numbers` are the account's, with the application that each goes to."""

    def __init__(self, clock: Clock, *numbers: str) -> None:
        super().__init__()
        self.clock = clock
        self.token = AUTH_TOKEN
        self.numbers: dict[str, str] = {}
        self.applications: dict[str, dict[str, Any]] = {}
        self.listed: list[dict[str, Any]] = []
        self.callbacks: dict[str, str] = {}
        self._ids = count(1)
        before = {"answer_url": "https://before.example/call", "message_url": "https://before.example/sms"}
        self.before = self.make("before", **before)
        for number in numbers:
            self.numbers[number] = self.before

    @property
    def table(self) -> dict[str, Any]:
        return {"kind": "plivo", "auth_id": AUTH_ID, "auth_token": self.token, "base_url": self.url}

    def make(self, name: str, **routes: str) -> str:
        """An application; its id."""
        app_id = f"2046859913{next(self._ids):07}"
        usual = {route: "POST" if route.endswith("method") else "" for route in _ROUTES}
        self.applications[app_id] = {"app_id": app_id, "app_name": name, **usual, **routes}
        return app_id

    def error(self, status: int) -> Any:
        return {"api_id": self._uuid(), "error": "it is refused"}

    def answer(self, request: Request) -> tuple[int, Any]:
        login = base64.b64encode(f"{AUTH_ID}:{self.token}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {login}":
            return 401, self.error(401)
        parts = urlsplit(request.target)
        assert parts.path.endswith("/")
        path = parts.path.removeprefix(f"/v1/Account/{AUTH_ID}/").strip("/").split("/")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        content: dict[str, Any] = {}
        if request.method == "POST":
            assert request.headers["content-type"] == "application/json"
            content = json.loads(request.body)
        match request.method, path:
            case "POST", ["Message"]:
                return self._send(content)
            case "GET", ["Message"]:
                return 200, self._page([one for one in reversed(self.listed) if _fits(one, query)], query)
            case "GET", [""]:
                return 200, {"api_id": self._uuid(), "auth_id": AUTH_ID, "account_type": "standard"}
            case "GET", ["Number"]:
                return 200, self._page(
                    [
                        {"number": number[1:], "application": self._uri(app_id) if app_id else None}
                        for number, app_id in self.numbers.items()
                        if number[1:].startswith(query["number_startswith"])
                    ],
                    query,
                )
            case "POST", ["Number", digits] if f"+{digits}" in self.numbers:
                self.numbers[f"+{digits}"] = content.get("app_id", "")
                return 202, {"api_id": self._uuid(), "message": "changed"}
            case "GET", ["Application"]:
                return 200, self._page(list(self.applications.values()), query)
            case "POST", ["Application"]:
                app_id = self.make(content.pop("app_name"), **content)
                return 201, {"api_id": self._uuid(), "app_id": app_id, "message": "created"}
            case "POST", ["Application", app_id] if app_id in self.applications and set(content) <= {
                *_ROUTES
            }:
                self.applications[app_id] |= content
                return 202, {"api_id": self._uuid(), "message": "changed"}
        return 404, self.error(404)

    def _page(self, objects: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        limit, offset = int(query["limit"]), int(query.get("offset", "0"))
        assert limit <= 20
        more = "/v1/…" if len(objects) > offset + limit else None
        meta = {"limit": limit, "offset": offset, "next": more, "total_count": len(objects)}
        return {"api_id": self._uuid(), "meta": meta, "objects": objects[offset : offset + limit]}

    def _uri(self, app_id: str) -> str:
        return f"/v1/Account/{AUTH_ID}/Application/{app_id}/"

    def _send(self, said: dict[str, Any]) -> tuple[int, Any]:
        src, dst, text = f"+{said['src']}", f"+{said['dst']}", said.get("text", "")
        media = tuple(said.get("media_urls", ()))
        if not set(said) <= _FIELDS or said["method"] != "POST" or (said["type"] == "mms") != bool(media):
            return 400, self.error(400)
        if src not in self.numbers or dst == UNREACHABLE_REGION or not (text or media) or len(text) > 1600:
            return 400, self.error(400)
        uuid = self._uuid()
        self.taken.append(Taken(uuid, src, dst, text, media))
        self.callbacks[uuid] = said["url"]
        at = dt.datetime.fromtimestamp(self.clock.now() / SECOND, INDIA)
        self.listed.append(
            {
                "message_uuid": uuid,
                "from_number": said["src"],
                "to_number": said["dst"],
                "message_direction": "outbound",
                "message_state": "queued",
                "message_time": at.isoformat(" "),
                "message_type": said["type"],
                "error_code": None,
                "units": 1,
            }
        )
        return 202, {"api_id": self._uuid(), "message": "message(s) queued", "message_uuid": [uuid]}

    def _uuid(self) -> str:
        digits = f"{next(self._ids):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    # What it brings

    def signed(self, url: str, form: dict[str, str]) -> Hook:
        nonce = f"{next(self._ids):020}"
        made = signature(self.token, url, form, nonce)
        return url, form, {"X-Plivo-Signature-V3": made, "X-Plivo-Signature-V3-Nonce": nonce}

    def call(self, from_: str, to: str, word: str = "ringing", sid: str = "", **more: str) -> Hook:
        """Somebody calls a number of the account, or has hung up."""
        event = "StartApp" if word == "ringing" else "Hangup"
        place = "answer_url" if word == "ringing" else "hangup_url"
        url = self.applications[self.numbers[to]][place]
        return self.say_of_call(url, from_, to, word, sid, Event=event, **more)

    def say_of_call(
        self, url: str, from_: str, to: str, word: str = "in-progress", sid: str = "", **more: str
    ) -> Hook:
        """What is asked or told of a call to a number, at an address of its XML."""
        form = {
            "CallUUID": sid or self._uuid(),
            "From": from_[1:],
            "To": to[1:],
            "CallStatus": word,
            "Direction": "inbound",
            "BillRate": "0.0055",
            **more,
        }
        return self.signed(url, form)

    def tell_of_partner(self, url: str, action: str, **more: str) -> Hook:
        """What the address of a Dial's events is told: not all of it says who is called by whom."""
        form = {
            "DialAction": action,
            "DialBLegStatus": action,
            "DialALegUUID": self._uuid(),
            "DialBLegUUID": self._uuid(),
            **more,
        }
        return self.signed(url, form)

    def text(self, from_: str, to: str, body: str, *media: str, sid: str = "", **more: str) -> Hook:
        """Somebody writes to a number of the account."""
        form = {
            "From": from_[1:],
            "To": to[1:],
            "MessageUUID": sid or self._uuid(),
            "MessageIntent": "",
            "PowerpackUUID": "",
            "TotalAmount": "0.00000",
            "TotalRate": "0.00000",
            "Type": "mms" if media else "sms",
            "Units": "1",
            ("Body" if media else "Text"): body,
            **more,
        }
        if media:
            form |= {"MediaCount": str(len(media)), **{f"Media{i}": url for i, url in enumerate(media, 1)}}
        return self.signed(self.applications[self.numbers[to]]["message_url"], form)

    def report(self, taken: Taken, word: str, code: str = "") -> Hook:
        """What becomes of a message, as the vendor tells it."""
        form = {
            "From": taken.from_[1:],
            "To": taken.to[1:],
            "MessageUUID": taken.id,
            "ParentMessageUUID": taken.id,
            "PartInfo": "1 of 1",
            "Sequence": "1",
            "Status": word,
            "Type": "mms" if taken.media else "sms",
            "Units": "1",
            **({"ErrorCode": code} if code else {}),
        }
        return self.signed(self.callbacks[taken.id], form)


def _fits(one: dict[str, Any], query: dict[str, str]) -> bool:
    at = dt.datetime.fromisoformat(one["message_time"]).astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    return all(one[name] == query[name] for name in ("from_number", "to_number", "message_direction")) and (
        query["message_time__gte"] <= at <= query["message_time__lte"]
    )
