"""A client that holds every answer against the contract file and the published facts of the wire before a test does."""

import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from maskline.api import alerts
from tests.support.contract import check_contract
from tests.support.server import Api, Form, Reply
from tests.support.v2010 import check_v2010
from tests.wire.facts import (
    Operation,
    check_page,
    check_resource,
    error_codes,
    operations,
)

_HOMES = {
    "service": "/v1/Services/{sid}",
    "phone_number": "/v1/Services/{service_sid}/PhoneNumbers/{sid}",
    "short_code": "/v1/Services/{service_sid}/ShortCodes/{sid}",
    "session": "/v1/Services/{service_sid}/Sessions/{sid}",
    "participant": "/v1/Services/{service_sid}/Sessions/{session_sid}/Participants/{sid}",
    "interaction": "/v1/Services/{service_sid}/Sessions/{session_sid}/Interactions/{sid}",
    "message_interaction": "/v1/Services/{service_sid}/Sessions/{session_sid}"
    "/Participants/{participant_sid}/MessageInteractions/{sid}",
}

_TABLE = [
    (name.split()[0], re.compile(re.sub(r"{\w+}", "[^/]+", name.split()[1])), name, operation)
    for name, operation in operations().items()
    if operation["resource"] in _HOMES
]

# Lists can be asked for a part, which is ours too.
_FILTERS = {"UniqueName", "Status", "Identifier", "To", "From", "Handset", "Direction", *alerts.FILTERS}


def find_operation(method: str, path: str) -> tuple[str, Operation] | None:
    """The line of the endpoint table that a request is, by its path as sent."""
    for verb, pattern, name, operation in _TABLE:
        if verb == method and pattern.fullmatch(path):
            return name, operation
    return None


def check_headers(reply: Reply) -> None:
    """What every answer carries."""
    assert re.fullmatch("RQ[0-9a-f]{32}", reply.headers["twilio-request-id"])
    assert re.fullmatch(r"\d+\.\d{3}", reply.headers["twilio-request-duration"])
    assert reply.headers["twilio-concurrent-requests"].isdigit()
    if reply.status in (204, 307):
        assert reply.raw == b""
        assert "content-type" not in reply.headers
    elif reply.raw.startswith(b"<?xml"):
        assert reply.headers["content-type"] == "text/xml; charset=utf-8"
    elif reply.raw or reply.headers["content-type"] != "text/plain":
        assert reply.headers["content-type"] == "application/json"


def check_error(reply: Reply) -> None:
    """An error's body: these four fields, Twilio's status for its code, nothing that must not be told."""
    body = json.loads(reply.raw)
    assert set(body) == {"code", "message", "more_info", "status"}, body
    assert type(body["code"]) is int
    assert type(body["status"]) is int
    assert body["status"] == reply.status
    assert body["more_info"].endswith(f"/{body['code']}")
    assert body["message"]
    if body["code"] in error_codes():
        assert error_codes()[body["code"]]["http"] in (reply.status, None), body
    # A full number may stand there as an example, never as what was asked for.
    assert not re.search(r"\+\d{6}", body["message"].replace("+14155550100", "")), body


def _check_home(name: str, row: Any, api: Api) -> None:
    """Its URL is under the public one and made of its own SIDs; so are its links."""
    home = api.url + _HOMES[name].format(**row)
    assert row["url"] == home
    for link, url in row.get("links", {}).items():
        assert url == f"{home}/{link.title().replace('_', '')}"
    assert row["account_sid"] == api.account_sid
    assert all(value == value[:2] + value[2:].lower() for key, value in row.items() if key == "sid")


def _check_meta(meta: Any, path: str, query: str, api: Api) -> None:
    """The links lead to this list, with the filters that were asked for, the size used, and Twilio's names."""
    filters = sorted((name, value) for name, value in parse_qsl(query) if name in _FILTERS)
    for name in ("url", "first_page_url", "next_page_url", "previous_page_url"):
        if meta[name] is None:
            continue
        address, _, asked = meta[name].partition("?")
        assert address.lower() == f"{api.url}{path}".lower()
        pairs = parse_qsl(asked)
        assert sorted(pairs[: len(filters)]) == filters, meta[name]
        (size, number), (page, _), *rest = pairs[len(filters) :]
        assert (size, number, page) == ("PageSize", str(meta["page_size"]), "Page")
        assert [name for name, _ in rest] in ([], ["PageToken"])
    assert 1 <= meta["page_size"] <= 1000
    assert "PageToken" not in meta["first_page_url"]


def check_success(method: str, url: str, reply: Reply, api: Api) -> str | None:
    """A 2xx against the facts of the operation that it answers; its name in the endpoint table, if it is there."""
    asked = urlsplit(url)
    path = asked.path
    found = find_operation(method, path)
    if found is None:
        if path.startswith("/2010-04-01/"):
            check_v2010(path, reply, api)
        elif path in ("/sandbox/messages", "/v1/Alerts") and method == "GET":
            _check_meta(reply.json["meta"], path, asked.query, api)
        return None
    name, operation = found
    assert reply.status in operation["success"], (name, reply.status)
    if reply.status == 204:
        return name
    content, resource = json.loads(reply.raw), operation["resource"]
    if "list_key" in operation:
        assert check_page(operation["list_key"], content, resource) == []
        _check_meta(content["meta"], path, asked.query, api)
        for row in content[operation["list_key"]]:
            _check_home(resource, row, api)
    else:
        assert check_resource(resource, content) == []
        _check_home(resource, content, api)
    return name


def check_reply(method: str, url: str, reply: Reply, api: Api) -> str | None:
    """Any answer; gives the name in the endpoint table of an operation that has succeeded."""
    check_headers(reply)
    if method == "HEAD":
        return None
    check_contract(method, url, reply)
    if reply.status >= 400:
        check_error(reply)
        return None
    return check_success(method, url, reply, api)


class CheckedApi(Api):
    """An `Api` that fails on any answer that is not in Twilio's shape. `seen`: the operations that have succeeded."""

    def __init__(self, url: str, *args: str) -> None:
        super().__init__(url, *args)
        self.seen: set[str] = set()

    def request(self, method: str, path: str, form: Form | None = None, **kwargs: Any) -> Reply:
        reply = super().request(method, path, form, **kwargs)
        if name := check_reply(method, path, reply, self):
            self.seen.add(name)
        return reply
