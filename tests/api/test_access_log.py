"""The access log: a line for each request where it is asked for, and nothing in it that must not be told."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.server import RealServer
from tests.support.world import make_pair


def lines(server: RealServer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log().splitlines()]


def test_each_request_is_a_line_without_names_numbers_and_bodies(tmp_path: Path) -> None:
    server = RealServer(tmp_path / "data", environment={"MASKLINE_ACCESS_LOG": "true"}).start()
    api = CheckedApi(server.url)
    pair = make_pair(api, UniqueName="+12125550188")
    number = "SM" + "0" * 32
    before = len(lines(server))
    replies = [
        api.post(pair.messages_path(pair.first), {"Body": "a secret text"}),
        api.get(f"{pair.service['links']['sessions']}/%2B12125550188"),
        api.get(f"{pair.service['links']['sessions']}/AnnSmith"),
        api.get(f"/v1/Services/+12125550188?UniqueName={pair.first['identifier']}"),
        api.get("/AnnSmith"),
        api.get(f"/2010-04-01/Accounts/{api.account_sid}/IncomingPhoneNumbers.json"),
        api.get(f"/2010-04-01/Accounts/{api.account_sid}/Messages/{number}.json"),
        api.post("/carriers/north/message", {}, auth=False),
        api.get("/v1/Services", auth=False),
        api.get("/v1/Services", headers={"X-Long": "x" * 33_000}),
    ]
    told = lines(server)[before:]
    assert [line["request"] for line in told] == [reply.headers["twilio-request-id"] for reply in replies]
    assert [line["status"] for line in told] == [200, 200, 404, 404, 404, 200, 404, 403, 401, 431]
    assert [line["method"] for line in told] == ["POST", *["GET"] * 6, "POST", "GET", ""]
    assert [line["path"] for line in told] == [
        pair.messages_path(pair.first),
        *[f"/v1/Services/{pair.service['sid']}/Sessions/…"] * 2,
        "/v1/Services/…",
        "/…",
        f"/2010-04-01/Accounts/{api.account_sid}/IncomingPhoneNumbers.json",
        f"/2010-04-01/Accounts/{api.account_sid}/Messages/{number}.json",
        "/carriers/north/message",
        "/v1/Services",
        "",
    ]
    assert {line["event"] for line in told} == {"request.answered"}
    assert [line["client"] for line in told] == ["127.0.0.1"] * 9 + [""]
    assert all(line["ms"] >= 0 for line in told)
    for hidden in ("secret", "5550188", "Smith", pair.first["identifier"][2:], api.token):
        assert hidden not in server.log()
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("proxies", "client"), [("10.0.0.0/8", "127.0.0.1"), ("10.0.0.0/8,127.0.0.1", "203.0.113.9")]
)
def test_who_asked_is_told_by_proxies_that_are_trusted(tmp_path: Path, proxies: str, client: str) -> None:
    environment = {"MASKLINE_ACCESS_LOG": "true", "MASKLINE_TRUSTED_PROXIES": proxies}
    server = RealServer(tmp_path / "data", environment=environment).start()
    api = CheckedApi(server.url)
    assert api.get("/v1/Services", headers={"X-Forwarded-For": "198.51.100.7, 203.0.113.9"}).status == 200
    assert lines(server)[-1]["client"] == client
    assert server.stop() == 0


def test_unless_it_is_asked_for_nothing_is_logged(tmp_path: Path) -> None:
    server = RealServer(tmp_path / "data").start()
    pair = make_pair(CheckedApi(server.url))
    pair.send(pair.first, "hello")
    assert server.stop() == 0
    assert lines(server) == []
