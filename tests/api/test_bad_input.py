"""Bad input: a JSON error with its code, and nothing stored."""

import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checked import CheckedApi, check_error, check_headers
from tests.support.eventually import eventually
from tests.support.server import RealServer, Reply
from tests.support.world import Pair, make_pair

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
Stored = Callable[[], dict[str, Any]]


class World:
    """A conversation on a server, and the paths of all creates and updates around it."""

    def __init__(self, server: RealServer) -> None:
        self.api = CheckedApi(server.url)
        self.pair: Pair = make_pair(self.api)
        self.message = self.pair.send(self.pair.first, "hello")
        service, session = self.pair.service, self.pair.session
        number = self.api.get(service["links"]["phone_numbers"]).json["phone_numbers"][0]
        # What would succeed at each of them.
        self.good = {
            "/v1/Services": {"UniqueName": "good"},
            service["links"]["phone_numbers"]: {"PhoneNumber": "+14155550177"},
            service["links"]["sessions"]: {},
            session["links"]["participants"]: {"Identifier": "+14155550178"},
            self.pair.messages_path(self.pair.first): {"Body": "good"},
            "/sandbox/messages": {
                "From": self.pair.first["identifier"],
                "To": self.pair.first["proxy_identifier"],
                "Body": "good",
            },
            "/sandbox/behaviour": {"To": "+14155550179", "Outcome": "fail"},
            service["url"]: {"DefaultTtl": "9"},
            service["url"] + "/Settings": {"OnUncertain": "resend"},
            number["url"]: {"IsReserved": "true"},
            session["url"]: {"Ttl": "9"},
        }

    def path(self, kind: str) -> str:
        return list(self.good)[KINDS.index(kind)]


KINDS = [
    "service",
    "number",
    "session",
    "participant",
    "message",
    "text",
    "script",
    "update service",
    "update settings",
    "update number",
    "update session",
]


@pytest.fixture(scope="module")
def world(quiet: RealServer) -> World:
    """On the quiet server, and settled there."""
    world = World(quiet)
    eventually(
        lambda: (
            world.api.get(world.message["url"]).json["outbound_resource_status"] == "delivered"
            and quiet.rows("SELECT count(*) FROM sandbox_todo") == [(0,)]
        )
    )
    return world


@pytest.fixture(scope="module")
def open_world(server: RealServer) -> World:
    """On the server of most tests, whatever its database."""
    return World(server)


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, world: World) -> tuple[str, str]:
    """Each POST of the API in turn: its path, and a body that it would take."""
    path = world.path(request.param)
    return path, "&".join(f"{name}={quote_plus(value)}" for name, value in world.good[path].items())


def refused(reply: Reply, status: int, code: int) -> None:
    assert (reply.status, reply.json["code"]) == (status, code)


# The body's form


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/x-www-form-urlencoded-not",
        "",
        None,
    ],
)
def test_a_body_of_another_type_is_415(
    world: World, stored: Stored, target: tuple[str, str], content_type: str | None
) -> None:
    path, good = target
    before = stored()
    headers = {} if content_type is None else {"Content-Type": content_type}
    for body in (
        good or "a=b",
        json.dumps({"UniqueName": "x"}),
        '--x\r\nContent-Disposition: form-data; name="a"',
    ):
        refused(world.api.request("POST", path, body=body.encode(), headers=headers), 415, 20415)
    assert stored() == before


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded; charset=utf-8",
        "APPLICATION/X-WWW-Form-urlencoded",
        FORM["Content-Type"],
    ],
)
def test_a_form_is_a_form_however_it_is_written(api: CheckedApi, content_type: str) -> None:
    name = f"form {content_type}"
    body = f"UniqueName={quote_plus(name)}".encode()
    reply = api.request("POST", "/v1/Services", body=body, headers={"Content-Type": content_type})
    assert (reply.status, reply.json["unique_name"]) == (201, name)


def test_a_post_without_a_body_needs_no_content_type(world: World) -> None:
    api = world.api
    assert api.request("POST", world.path("session")).status == 201
    assert (
        api.request("POST", world.path("session"), headers={"Content-Type": "application/json"}).status == 201
    )
    assert api.request("POST", world.path("update service")).status == 200
    refused(api.request("POST", world.path("service")), 400, 80701)
    refused(api.request("POST", world.path("message")), 400, 80701)
    assert api.request("POST", "/v1/Services?UniqueName=query").status == 201


BAD_ENCODINGS = {
    "a byte that is no UTF-8": b"%FF",
    "a surrogate": b"%ED%A0%80",
    "an overlong NUL": b"%C0%80",
    "half a character": b"%E2%98",
    "raw bytes": "é".encode(),
    "raw Latin-1": b"\xe9",
    "U+0000": b"%00",
    "a raw NUL": b"\0",
}


@pytest.mark.parametrize("piece", BAD_ENCODINGS.values(), ids=BAD_ENCODINGS.keys())
def test_text_that_is_none_is_refused_wherever_it_stands(
    world: World, stored: Stored, target: tuple[str, str], piece: bytes
) -> None:
    path, good = target
    before = stored()
    for body in (
        good.encode() + b"&Unknown=" + piece,
        good.encode() + b"&Unk" + piece + b"nown=x",
        b"Body=" + piece + b"&UniqueName=" + piece,
    ):
        refused(world.api.request("POST", path, body=body, headers=FORM), 400, 80701)
    assert stored() == before


@pytest.mark.parametrize("piece", ["%FF", "%ED%A0%80", "%00"])
def test_text_that_is_none_is_refused_in_the_query_too(
    world: World, stored: Stored, target: tuple[str, str], piece: str
) -> None:
    path, good = target
    before = stored()
    reply = world.api.request("POST", f"{path}?Unknown={piece}", body=good.encode(), headers=FORM)
    refused(reply, 400, 80701)
    if "behaviour" not in path:
        listed = path if not path.startswith("/sandbox") else "/sandbox/messages"
        refused(world.api.get(f"{listed}?PageToken={piece}"), 400, 80701)
    assert stored() == before


# Sizes


def test_a_body_over_the_limit_is_413(world: World, stored: Stored, target: tuple[str, str]) -> None:
    path, good = target
    before = stored()
    body = good.encode() + b"&Unknown="
    body += b"x" * (65_537 - len(body))
    refused(world.api.request("POST", path, body=body, headers=FORM), 413, 20413)
    refused(
        world.api.request("POST", path, body=body, headers={"Content-Type": "application/json"}), 413, 20413
    )
    assert stored() == before


def test_a_body_of_just_the_limit_is_taken(api: CheckedApi) -> None:
    body = b"UniqueName=just+the+limit&Unknown="
    body += b"x" * (65_536 - len(body))
    assert api.request("POST", "/v1/Services", body=body, headers=FORM).status == 201


def test_more_than_a_hundred_fields_are_413(world: World, stored: Stored, target: tuple[str, str]) -> None:
    path, good = target
    before = stored()
    for body in (good + "&a=b" * 101, "&".join(f"MediaUrl={i}" for i in range(101)), "&" * 200):
        refused(world.api.request("POST", path, body=body.encode(), headers=FORM), 413, 20413)
    assert stored() == before


def test_a_hundred_fields_are_taken(api: CheckedApi) -> None:
    body = "UniqueName=hundred+fields" + "".join(f"&f{i}={i}" for i in range(99))
    assert api.request("POST", "/v1/Services", body=body.encode(), headers=FORM).status == 201


def raw_exchange(api: CheckedApi, sent: bytes) -> Reply:
    """One exchange over a socket of its own; what comes back, as far as it comes."""
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
            if not (more := connection.recv(65_536)):
                break
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    reply = Reply(int(first.split()[1]), headers, body)
    check_headers(reply)
    check_error(reply)
    return reply


def request_head(api: CheckedApi, *headers: str) -> bytes:
    lines = ["POST /v1/Services HTTP/1.1", "Host: x", f"Authorization: {api._auth}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def test_a_body_that_goes_on_and_on_is_refused_before_its_end(world: World, stored: Stored) -> None:
    before = stored()
    head = request_head(
        world.api, "Content-Type: application/x-www-form-urlencoded", "Transfer-Encoding: chunked"
    )
    chunk = b"4000\r\n" + b"UniqueName=endless&a=b&" + b"x" * (0x4000 - 23) + b"\r\n"
    reply = raw_exchange(world.api, head + chunk * 5)
    refused(reply, 413, 20413)
    assert reply.headers["connection"] == "close"
    assert stored() == before


def test_a_chunked_body_is_read_like_any_other(api: CheckedApi) -> None:
    headers = {**FORM, "Transfer-Encoding": "chunked"}
    body = b"11\r\nUniqueName=in+two\r\n7\r\n+chunks\r\n0\r\n\r\n"
    reply = api.request("POST", "/v1/Services", body=body, headers=headers)
    assert reply.json["unique_name"] == "in two chunks"


def test_headers_over_the_limit_are_431(world: World, stored: Stored) -> None:
    before = stored()
    refused(world.api.post("/v1/Services", {"UniqueName": "x"}, headers={"X-Big": "x" * 33_000}), 431, 20431)
    many = {f"X-{i}": "x" * 300 for i in range(90)}
    assert world.api.get("/v1/Services", headers=many).status == 200
    refused(world.api.get("/v1/Services", headers={**many, "X-More": "x" * 8000}), 431, 20431)
    assert stored() == before


@pytest.mark.parametrize(
    ("kind", "form", "code"),
    [
        ("service", {"UniqueName": "x" * 192}, 80701),
        ("service", {"UniqueName": "x", "CallbackUrl": "https://example.com/" + "x" * 3981}, 80701),
        ("session", {"UniqueName": "é" * 192}, 80701),
        ("participant", {"Identifier": "+" + "1" * 191}, 80701),
        ("participant", {"Identifier": "+14155550178", "FriendlyName": "x" * 256}, 80701),
        ("participant", {"Identifier": "+14155550178", "ProxyIdentifier": "x" * 256}, 80701),
        ("number", {"PhoneNumber": "+" + "1" * 10_000}, 80406),
        ("number", {"Sid": "PN" + "0" * 10_000}, 80407),
        ("message", {"Body": "x" * 1601}, 21617),
        ("message", {"Body": "x" * 60_000}, 21617),
        ("message", {"Body": ""}, 80701),
        ("message", {}, 80701),
        ("text", {"Body": "x" * 1601}, 80701),
        ("update session", {"Ttl": "9" * 5000}, 80701),
        ("update session", {"DateExpiry": "9" * 5000}, 80701),
        ("update service", {"UniqueName": "x" * 192}, 80701),
    ],
)
def test_what_is_too_long_or_missing_is_refused_and_not_stored(
    world: World, stored: Stored, kind: str, form: dict[str, str], code: int
) -> None:
    before = stored()
    refused(world.api.post(world.path(kind), form), 400, code)
    assert stored() == before


# Whose it is, and what state it is in


def test_refusals_by_state_store_nothing(world: World, stored: Stored) -> None:
    api, service = world.api, world.pair.service
    closed = make_pair(api, service)
    deleted = make_pair(api, service)
    api.delete(deleted.first["url"])
    api.make(closed.session["url"], {"Status": "closed"})
    before = stored()
    refused(api.post(closed.messages_path(closed.first), {"Body": "x"}), 400, 80607)
    refused(api.post(closed.session["url"], {"Ttl": 5}), 400, 80607)
    refused(api.post(closed.session["url"], {"Status": "open"}), 400, 80608)
    refused(api.post(deleted.messages_path(deleted.first), {"Body": "x"}), 404, 20404)
    refused(api.delete(deleted.first["url"]), 404, 20404)
    misplaced = deleted.messages_path(deleted.second).replace(deleted.session["sid"], closed.session["sid"])
    refused(api.post(misplaced, {"Body": "x"}), 404, 20404)
    refused(api.request("PUT", world.path("service")), 405, 20004)
    refused(api.request("PATCH", closed.session["url"]), 405, 20004)
    assert stored() == before


# Anything at all

PARAMETERS = (
    "UniqueName DefaultTtl CallbackUrl GeoMatchLevel NumberSelectionBehavior ChatInstanceSid Sid PhoneNumber IsReserved"
    " DateExpiry Ttl Mode Status Participants Identifier FriendlyName ProxyIdentifier ProxyIdentifierSid Body MediaUrl"
    " From To Outcome DelayMs Times CarrierKeys LookUp OnUncertain PageSize Page PageToken"
).split()
ODD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=300) | st.sampled_from(
    [
        "",
        "0",
        "-1",
        "true",
        "closed",
        "in-progress",
        "+14155550100",
        "2099-01-01",
        "{}",
        "[]",
        "PN" + "0" * 32,
    ]
)


@pytest.mark.parametrize("kind", KINDS)
@given(form=st.dictionaries(st.sampled_from(PARAMETERS), st.lists(ODD, min_size=1, max_size=3), max_size=5))
def test_no_form_is_ever_our_fault(open_world: World, kind: str, form: dict[str, list[str]]) -> None:
    """Whatever is sent, it is taken, or refused as the caller's mistake in the proper shape."""
    assert open_world.api.post(open_world.path(kind), form).status in (200, 201, 400, 404)


@given(body=st.binary(max_size=400), kind=st.sampled_from(KINDS))
def test_no_bytes_are_ever_our_fault(open_world: World, kind: str, body: bytes) -> None:
    reply = open_world.api.request("POST", open_world.path(kind), body=body, headers=FORM)
    assert reply.status in (200, 201, 400, 404, 413)


@given(name=st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_name_in_a_path_is_ever_our_fault(open_world: World, name: str) -> None:
    path = "/v1/Services/none%20is%20called%20" + quote(name, safe="")
    refused(open_world.api.get(path), 404, 20404)
    refused(open_world.api.delete(path), 404, 20404)
