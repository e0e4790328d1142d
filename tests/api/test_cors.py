"""Pages in browsers: what allows them to call the API, and how that is limited or switched off."""

from pathlib import Path

import pytest

from tests.support.checked import CheckedApi
from tests.support.contract import DOCUMENT
from tests.support.server import RealServer, Reply
from tests.support.world import make_pair

ALLOW = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST, DELETE, OPTIONS",
    "access-control-allow-headers": "Authorization, Content-Type, Idempotency-Key",
}


def allowed(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("access-control-")}


def test_every_answer_may_be_read_by_a_page(api: CheckedApi) -> None:
    pair = make_pair(api)
    for reply in (
        api.get("/v1/Services"),
        api.post(pair.messages_path(pair.first), {"Body": "hello"}),
        api.get("/v1/Services", auth=False),
        api.get("/nowhere"),
        api.request("PUT", "/v1/Services"),
        api.get("/v1/Services", headers={"X-Long": "x" * 33_000}),
        api.get("/healthz"),
        api.delete(pair.session["url"]),
    ):
        assert allowed(reply) == ALLOW


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_a_preflight_needs_no_credentials(api: CheckedApi, path: str) -> None:
    where = path.replace("{", "").replace("}", "")
    reply = api.request("OPTIONS", where, auth=False, headers={"Origin": "https://app.example"})
    assert (reply.status, reply.raw) == (204, b"")
    assert allowed(reply) == ALLOW
    assert {method.upper() for method in DOCUMENT["paths"][path]} == {*reply.headers["allow"].split(", ")} - {
        "HEAD"
    }


def test_a_preflight_of_no_resource_is_not_found(api: CheckedApi) -> None:
    assert api.request("OPTIONS", "/v1/Nothing", auth=False).status == 404


@pytest.mark.parametrize(
    ("origin", "headers", "preflight"),
    [
        ("https://app.example", {**ALLOW, "access-control-allow-origin": "https://app.example"}, 204),
        ("off", {}, 405),
    ],
)
def test_an_origin_may_be_named_and_all_be_switched_off(
    tmp_path: Path, origin: str, headers: dict[str, str], preflight: int
) -> None:
    server = RealServer(tmp_path / "data", environment={"MASKLINE_CORS_ORIGIN": origin}).start()
    assert allowed(server.api.get("/v1/Services")) == headers
    assert server.api.request("OPTIONS", "/v1/Services").status == preflight
    assert server.stop() == 0
