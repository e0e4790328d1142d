"""The endpoint table: every operation is there, and no other method."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.inside import Inside
from tests.support.server import Api, RealServer
from tests.support.world import fresh_number
from tests.wire.facts import operations

SIDS = {
    "ServiceSid": "KS" + "0" * 32,
    "SessionSid": "KC" + "0" * 32,
    "ParticipantSid": "KP" + "0" * 32,
}
LAST = {
    "Services": "KS",
    "Sessions": "KC",
    "Participants": "KP",
    "Interactions": "KI",
    "MessageInteractions": "KI",
    "PhoneNumbers": "PN",
    "ShortCodes": "SC",
}
TABLE = operations()


def test_every_operation_of_the_endpoint_table_succeeds(
    server: RealServer, carry_code: Callable[[str], str]
) -> None:
    api = CheckedApi(server.url)
    service = api.make("/v1/Services", {"UniqueName": "every operation"})
    assert api.get(service["url"]).json == service
    assert api.make(service["url"], {"DefaultTtl": 60})["default_ttl"] == 60
    assert service["sid"] in [row["sid"] for row in api.get("/v1/Services").json["services"]]

    numbers = service["links"]["phone_numbers"]
    number = api.make(numbers, {"PhoneNumber": fresh_number()})
    spare = api.make(numbers, {"PhoneNumber": fresh_number()})
    assert api.make(spare["url"], {"IsReserved": True})["is_reserved"] is True
    assert api.get(spare["url"]).json["is_reserved"] is True
    assert [row["sid"] for row in api.get(numbers).json["phone_numbers"]] == [spare["sid"], number["sid"]]
    assert api.delete(spare["url"]).status == 204

    codes = service["links"]["short_codes"]
    code = api.make(codes, {"Sid": carry_code("79999")})
    assert api.get(codes).json["short_codes"] == [code]
    assert api.make(code["url"], {"IsReserved": True})["is_reserved"] is True
    assert api.get(code["url"]).json["is_reserved"] is True
    assert api.delete(code["url"]).status == 204

    sessions = service["links"]["sessions"]
    session = api.make(sessions, {"UniqueName": "one"})
    assert api.get(session["url"]).json == session
    assert api.make(session["url"], {"Ttl": 90})["ttl"] == 90
    assert [row["sid"] for row in api.get(sessions).json["sessions"]] == [session["sid"]]

    people = session["links"]["participants"]
    participant = api.make(people, {"Identifier": fresh_number()})
    assert api.get(participant["url"]).json == participant
    assert api.get(people).json["participants"] == [participant]

    messages = participant["links"]["message_interactions"]
    message = api.make(messages, {"Body": "hello"})
    assert api.get(message["url"]).json["sid"] == message["sid"]
    assert [row["sid"] for row in api.get(messages).json["interactions"]] == [message["sid"]]

    interactions = session["links"]["interactions"]
    interaction = f"{interactions}/{message['sid']}"
    assert api.get(interaction).json["sid"] == message["sid"]
    assert [row["sid"] for row in api.get(interactions).json["interactions"]] == [message["sid"]]
    assert api.delete(interaction).status == 204

    assert api.delete(participant["url"]).status == 204
    assert api.delete(session["url"]).status == 204
    assert api.delete(service["url"]).status == 204
    assert api.seen == set(TABLE)


PATHS = sorted({name.split()[1] for name in TABLE})


def concrete(path: str) -> str:
    kind = path.split("/")[-2]
    return path.format(**SIDS, Sid=LAST.get(kind, "XX") + "0" * 32)


@pytest.mark.parametrize("path", PATHS)
def test_a_method_that_a_path_does_not_know_is_405_and_told_what_it_knows(api: CheckedApi, path: str) -> None:
    known = {name.split()[0] for name in TABLE if name.split()[1] == path}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - known:
        reply = api.request(method, concrete(path))
        assert (reply.status, reply.json["code"]) == (405, 20004)
        assert set(reply.headers["allow"].split(", ")) == known | {"HEAD"}


def test_head_answers_as_get_does_without_a_body(api: CheckedApi) -> None:
    reply = api.request("HEAD", "/v1/Services")
    assert reply.status == 200
    assert reply.raw == b""
    assert int(reply.headers["content-length"]) == len(api.get("/v1/Services").raw)
    assert api.request("HEAD", "/v1/Services/nobody").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v2/Services",
        "/v1/services",
        "/v1/Services/",
        "/v1/Services/x/Nothing",
        "/v1/Services/x/y/z/a/b/c/d",
        "/V1/Services",
        "/..%2fetc",
    ],
)
def test_a_path_of_no_resource_is_not_found(api: CheckedApi, path: str) -> None:
    reply = api.get(path)
    assert (reply.status, reply.json["code"]) == (404, 20404)


def test_what_was_not_found_is_named_without_host_and_version(api: CheckedApi) -> None:
    assert api.get("/v1/Services/KS71").json == {
        "code": 20404,
        "message": "The requested resource /Services/KS71 was not found",
        "more_info": "https://www.twilio.com/docs/errors/20404",
        "status": 404,
    }


def test_the_operators_own_page_may_stand_in_more_info(tmp_path: Path) -> None:
    environment = {"MASKLINE_MORE_INFO_URL": "https://docs.example/errors.html#"}
    server = RealServer(tmp_path / "data", environment=environment).start()
    assert server.api.get("/v1/Services/KS71").json["more_info"] == "https://docs.example/errors.html#20404"
    assert server.stop() == 0


def test_every_answer_has_a_request_id_of_its_own(api: CheckedApi) -> None:
    replies = [api.get("/v1/Services"), api.get("/v1/Services/x"), api.get("/nowhere"), api.get("/healthz")]
    assert len({reply.headers["twilio-request-id"] for reply in replies}) == 4


def test_the_host_header_decides_nothing(api: CheckedApi) -> None:
    answer = api.get("/v1/Services", headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    assert b"evil" not in answer.raw
    assert answer.json["meta"]["url"].startswith(api.url)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_and_readiness_need_no_credentials_and_tell_no_details(server: RealServer, path: str) -> None:
    reply: Any = Api(server.url).get(path, auth=False)
    assert (reply.status, reply.json) == (200, {"status": "ok"})


async def test_the_ops_port_says_why_a_server_is_not_ready(tmp_path: Path) -> None:
    async with Inside(tmp_path / "data") as inside:
        checks = {"database": True, "worker": True, "sandbox": True}
        ready = await inside.ops("/readyz")
        assert (ready.status, ready.json) == (200, {"status": "ok", "checks": checks})
        await inside.store.write(lambda tx: tx.execute("ALTER TABLE meta RENAME TO gone"))
        ready = await inside.ops("/readyz")
        checks["database"] = False
        assert (ready.status, ready.json) == (503, {"status": "unavailable", "checks": checks})
        await inside.store.write(lambda tx: tx.execute("ALTER TABLE gone RENAME TO meta"))
