"""The contract file: up to date, served, and true of the server whatever is asked of it (Schemathesis)."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from maskline.domain.media import media_sid
from tests.support.checked import CheckedApi
from tests.support.contract import DOCUMENT, check_contract
from tests.support.eventually import eventually
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, Api, RealServer, Reply
from tests.support.world import fresh_number, make_pair
from tools import make_openapi

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


def budget(examples: int) -> settings:
    """The same examples each time, and many more of them at length."""
    return settings(
        max_examples=examples * (5 if LONG else 1),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def test_the_file_is_up_to_date() -> None:
    assert make_openapi.FILE.read_text() == make_openapi.text(), "run: python tools/make_openapi.py"


def test_the_file_is_served_to_anybody(server: RealServer) -> None:
    assert Api(server.url).get("/openapi.json", auth=False).json == DOCUMENT


def test_it_says_what_every_path_and_method_of_the_server_is(api: CheckedApi) -> None:
    """A method that the file does not have is 405, one that it has is not."""
    sids = {name: f"{prefix}{'0' * 32}" for name, prefix in make_openapi.SIDS.items()}
    for path, operations in DOCUMENT["paths"].items():
        other = dict.fromkeys(("Sid", "Identifier", "Token", "Carrier", "What", "Leg"), "x")
        where = path.format(**{**sids, **other, "AccountSid": ACCOUNT_SID})
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            status = api.request(method, where).status
            assert (status == 405) == (method.lower() not in operations), (method, path, status)


ONE = {"status": "ok"}


@pytest.mark.parametrize(
    ("method", "path", "status", "content"),
    [
        ("GET", "/nowhere", 200, ONE),
        ("PUT", "/healthz", 200, ONE),
        ("GET", "/healthz", 201, ONE),
        ("GET", "/healthz", 200, {}),
        ("GET", "/healthz", 200, {"status": "fine"}),
        ("GET", "/healthz", 200, {**ONE, "more": 1}),
        ("DELETE", f"/v1/Services/KS{'0' * 32}", 204, ONE),
        (
            "GET",
            "/v1/Services/x",
            404,
            {"code": 20003, "message": "x", "more_info": "http://x/", "status": 404},
        ),
    ],
)
def test_what_the_file_does_not_say_fails_a_test(
    method: str, path: str, status: int, content: dict[str, Any]
) -> None:
    check_contract("GET", "/healthz", Reply(200, {}, json.dumps(ONE).encode()))
    with pytest.raises(AssertionError):
        check_contract(method, path, Reply(status, {}, json.dumps(content).encode()))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server to be asked anything."""
    data: Path = tmp_path_factory.mktemp("scratch") / "data"
    server = RealServer(data, environment={"MASKLINE_SEND_WAIT_MS": "0"}).start()
    yield server
    assert server.stop() == 0, server.log()
    assert "defect" not in server.log()


SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture
def there(scratch: RealServer, carry_code_on: Callable[[RealServer, str], str]) -> dict[str, str]:
    """What the SIDs in a path may be, to name something that is there; by its kind, where it stands last."""
    api = Api(scratch.url)
    pair = make_pair(api)
    message = pair.send(pair.first, "hello")
    picture = api.make(pair.messages_path(pair.first), {"MediaUrl": "https://example.com/cat.jpg"})
    opt_out = api.make(f"/v1/Services/{pair.service['sid']}/OptOuts", {"Identifier": fresh_number("212")})
    short_code = carry_code_on(scratch, fresh_number()[-6:])
    api.make(pair.service["links"]["short_codes"], {"Sid": short_code})
    lost = {"From": fresh_number(), "To": pair.first["proxy_identifier"], "Body": "to nobody"}
    api.make("/sandbox/messages", lost)
    (alert, *_) = eventually(lambda: api.get("/v1/Alerts").json["alerts"])
    return {
        "AccountSid": api.account_sid,
        "ServiceSid": pair.service["sid"],
        "SessionSid": pair.session["sid"],
        "ParticipantSid": pair.first["sid"],
        "InteractionSid": message["sid"],
        "Identifier": "+12125550123",  # erased, then nobody
        "Services": pair.service["sid"],
        "Sessions": pair.session["sid"],
        "Participants": pair.second["sid"],
        "Interactions": message["sid"],
        "MessageInteractions": message["sid"],
        "PhoneNumbers": pair.first["proxy_identifier_sid"],
        "ShortCodes": short_code,
        "Token": "none",
        "Carrier": "sandbox",
        "What": "message",
        "Leg": message["outbound_resource_sid"],
        "Messages": message["outbound_resource_sid"],
        "MessageSid": picture["outbound_resource_sid"],
        "Media": media_sid(picture["outbound_resource_sid"], 0),
        "Calls": "CA" + "0" * 32,
        "OptOuts": opt_out["sid"],
        "Callbacks": "CB" + "0" * 32,
        "Alerts": alert["sid"],
        "IncomingPhoneNumbers": pair.first["proxy_identifier_sid"],
    }


def ask(case: schemathesis.Case, server: RealServer) -> None:
    case.call_and_validate(base_url=server.url, auth=(ACCOUNT_SID, AUTH_TOKEN), checks=CHECKS, timeout=30)


@SCHEMA.parametrize()
@budget(2)
def test_whatever_is_asked_the_answer_is_in_the_file(case: schemathesis.Case, scratch: RealServer) -> None:
    ask(case, scratch)


@SCHEMA.include(path_regex="{").parametrize()
@budget(4)
def test_whatever_is_asked_of_something_that_is_there_the_answer_is_in_the_file(
    case: schemathesis.Case, scratch: RealServer, there: dict[str, str]
) -> None:
    kind = case.path.split("/")[-2]
    case.path_parameters = {
        name: there[kind if name == "Sid" else name] for name in re.findall(r"{(\w+)}", case.path)
    }
    ask(case, scratch)
