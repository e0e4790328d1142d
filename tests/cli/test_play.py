"""`maskline play`: each scene against a real server, and the callbacks of two of them against a golden record."""

import http.client
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest
from click.testing import Result

from maskline.domain.phone import parse_phone
from maskline.domain.signature import HEADER, sign
from maskline.play.client import Api, StepFailed
from maskline.play.customer import TOKEN_HEADER, Reply, serving
from maskline.play.scenes import SCENES, play_conversation
from maskline.play.stage import fresh_number, staged
from tests.cli.conftest import write_certificate
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, RealServer

Invoke = Callable[..., Result]

GOLDEN = Path(__file__).parent / "golden"
MADE_ITSELF = {"MASKLINE_ACCOUNT_SID": "", "MASKLINE_AUTH_TOKEN": ""}

# What each scene has to show beside "the customer's server was told" and "every signature is good".
ESSENTIAL = {
    "conversation": [
        "ok Bob's text has reached Alice",
        "ok The CallbackUrl was told queued, sent, delivered",
        "ok The events: none",
    ],
    "blocked": [
        "ok The InterceptCallbackUrl was called and answered 403",
        "ok The CallbackUrl was not told of it",
        "Event 80909: ",
    ],
    "stranger-twiml": [
        "ok The OutOfSessionCallbackUrl was called and answered 200 <Response><Message>",
        "ok The answer has reached Carol",
    ],
    "stranger-json": [
        "ok A Session was made, with Carol on the number that she wrote to",
        "ok Carol's text has reached Bob",
        "ok Bob's text has reached Carol",
    ],
    "opt-out": [
        "ok A message to Bob has failed, with 21610",
        "ok The CallbackUrl was told queued, failed",
        "Event 80901: ",
        "Event 21610: ",
    ],
    "erasure": ["ok Nothing is held of Bob any more", "ok His Participant has no number and no name"],
    "call": [
        "ok The CallbackUrl was told initiated, ringing, in-progress, completed",
        "ok The Interaction says that they talked for 42 seconds",
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server that has made its first account itself, and guards what is in use. It is played on again and again."""
    environment = {
        **MADE_ITSELF,
        "MASKLINE_ALLOW_PRIVATE_WEBHOOKS": "true",
        "MASKLINE_GUARD_SERVICES": "true",
    }
    server = RealServer(tmp_path_factory.mktemp("play") / "data", environment=environment).start()
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture
def played(server: RealServer, invoke: Invoke) -> Callable[..., list[str]]:
    """Play a scene that must succeed; the lines that it prints."""

    def play(*arguments: str) -> list[str]:
        result = invoke("play", *arguments, "--url", server.url, "--data", str(server.data))
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()

    return play


def left(server: RealServer) -> list[int]:
    """How many Services and numbers are there."""
    return [server.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("services", "numbers")]  # noqa: S608


def test_every_scene_is_played_and_leaves_nothing_behind(
    server: RealServer, played: Callable[..., list[str]]
) -> None:
    before = left(server)
    text = "\n".join(played("all"))
    begins = [text.index(f"{name}: {scene.__doc__}\n") for name, scene in SCENES.items()]
    assert begins == sorted(begins) and list(ESSENTIAL) == list(SCENES)
    for essential, begin, end in zip(ESSENTIAL.values(), begins, [*begins[1:], len(text)], strict=True):
        said = text[begin:end]
        assert [line for line in essential if line not in said] == []
        assert "every signature is good" in said and "NOT GOOD" not in said
        assert "'s handset" in said and "THE CUSTOMER'S SERVER" in said
    assert left(server) == before


def test_what_is_kept_leads_to_no_server_that_has_ended(
    server: RealServer, played: Callable[..., list[str]]
) -> None:
    services, numbers = left(server)
    (kept,) = (line for line in played("call", "--keep") if "is kept" in line)
    assert left(server) == [services + 1, numbers + 2]
    sid = kept.split()[3]
    assert server.rows(
        "SELECT callback_url, intercept_callback_url, out_of_session_callback_url FROM services WHERE sid = ?",
        sid,
    ) == [(None, None, None)]


@pytest.mark.parametrize("scene", ["conversation", "call"])
def test_the_callbacks_are_those_of_the_golden_record(
    scene: str, server: RealServer, played: Callable[..., list[str]]
) -> None:
    """Every field of a whole conversation and of a whole call; SIDs, dates and numbers have placeholders.

    After a change that is meant: UPDATE_GOLDEN=1 writes the record anew.
    """
    lines = placeholders(server.url, played(scene, "--json"))
    golden = GOLDEN / f"{scene}.jsonl"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text("\n".join(lines) + "\n")
    assert [json.loads(line) for line in lines] == [
        json.loads(line) for line in golden.read_text().splitlines()
    ]


def test_the_golden_record_has_the_fields_that_twilio_documents() -> None:
    """Of a leg that is not there no field at all; of one that is not yet there only whose it will be."""
    common = {f"interaction{name}" for name in "Sid SessionSid ServiceSid AccountSid Type Data".split()}
    common |= {"interactionDateCreated", "interactionDateUpdated"}
    leg = "ParticipantSid ResourceSid ResourceStatus ResourceType ResourceUrl".split()
    inbound, outbound = ({f"{side}{name}" for name in leg} for side in ("inbound", "outbound"))
    ask, relay, by_api = (
        common | inbound | {"outboundParticipantSid"},
        common | inbound | outbound,
        common | outbound,
    )
    media = {"interactionNumMedia"}  # of messages only
    for scene, wanted in (
        ("call", [ask, *[relay] * 4]),
        ("conversation", [*[by_api | media] * 3, *[ask | media, *[relay | media] * 3] * 2]),
    ):
        lines = (GOLDEN / f"{scene}.jsonl").read_text().splitlines()
        assert [set(json.loads(line)["form"]) for line in lines] == wanted


def placeholders(url: str, lines: list[str]) -> list[str]:
    """The same lines of any run: what is new each time is named by its kind and the order in which it first came."""
    known: dict[str, str] = {}
    counts: dict[str, int] = {}

    def name(found: re.Match[str]) -> str:
        kind = found["sid"] or "NUMBER"
        if found[0] not in known:
            counts[kind] = counts.get(kind, 0) + 1
            known[found[0]] = f"{kind}-{counts[kind]}"
        return known[found[0]]

    text = "\n".join(lines).replace(url, "SERVER")
    text = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "DATE", text)
    return re.sub(r"\b(?P<sid>[A-Z]{2})[0-9a-f]{32}\b|\+1\d{10}\b", name, text).splitlines()


def test_a_server_that_calls_no_private_addresses_is_told_how_to(tmp_path: Path, invoke: Invoke) -> None:
    server = RealServer(tmp_path / "data", environment=MADE_ITSELF).start()
    refused = invoke("play", "blocked", "--url", server.url, "--data", "data")
    assert refused.exit_code == 1
    assert "start it with MASKLINE_ALLOW_PRIVATE_WEBHOOKS=true" in refused.output
    assert left(server) == [0, 0]
    assert server.stop() == 0


def test_a_step_that_is_not_seen_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    """With a server that delivers nothing."""
    server = RealServer(
        tmp_path / "data", ["--role", "api"], {"MASKLINE_ALLOW_PRIVATE_WEBHOOKS": "true"}
    ).start()
    told: list[str] = []
    api = Api(server.url, ACCOUNT_SID, AUTH_TOKEN)
    with serving(AUTH_TOKEN) as customer:
        with (
            pytest.raises(StepFailed, match=r"was not seen on Alice's handset within 0\.1 seconds"),
            staged(api, customer, told.append, patience_s=0.1) as stage,
        ):
            play_conversation(stage)
        assert len(told) == 2
        # A callback that does not come, an event that does not come.
        with (
            pytest.raises(StepFailed, match="CallbackUrl was not told"),
            staged(api, customer, told.append, patience_s=0.1) as stage,
        ):
            stage.told("never written")
        with (
            pytest.raises(StepFailed, match=r"the events told were not \['80909'\]"),
            staged(api, customer, told.append, patience_s=0.1) as stage,
        ):
            stage.finish("80909")
    # Under another token everything that comes is forged.
    with (
        serving("another token") as customer,
        pytest.raises(StepFailed, match="not signed with this account's token"),
        staged(api, customer, told.append),
    ):
        pytest.fail("it was played all the same")
    assert left(server) == [0, 0]
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["nothing"], {}, 2, "'nothing' is not one of 'conversation', 'blocked'"),
        (["call", "--url", "127.0.0.1:8080"], {}, 2, "an address such as http://127.0.0.1:8080"),
        (["call", "--url", "http://127.0.0.1:port"], {}, 2, "an address such as"),
        (["call", "--data", "elsewhere"], {}, 1, "there is no account.env in elsewhere; name"),
        (
            ["call", "--url", "http://127.0.0.1:9"],
            {"MASKLINE_ACCOUNT_SID": ACCOUNT_SID, "MASKLINE_AUTH_TOKEN": AUTH_TOKEN},
            1,
            "no server can be reached at http://127.0.0.1:9: ",
        ),
    ],
)
def test_what_cannot_be_played_is_told(
    invoke: Invoke, arguments: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    refused = invoke("play", *arguments, **environment)
    assert (refused.exit_code, said in refused.output) == (code, True), refused.output


def test_what_is_no_server_is_told(invoke: Invoke) -> None:
    """Another program may listen there."""
    account = {"MASKLINE_ACCOUNT_SID": ACCOUNT_SID, "MASKLINE_AUTH_TOKEN": AUTH_TOKEN}
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"220 mail.example ready\r\n")
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass

        with ThreadPoolExecutor(1) as pool:
            pool.submit(answer)
            refused = invoke("play", "call", "--url", url, **account)
    assert refused.exit_code == 1
    assert f"what answers at {url} is no maskline server" in refused.output


def test_a_server_with_tls_has_to_be_trusted(tmp_path: Path, invoke: Invoke) -> None:
    write_certificate()
    server = RealServer(
        tmp_path / "data",
        ["--tls-cert", "cert.pem", "--tls-key", "key.pem"],
        {**MADE_ITSELF, "MASKLINE_ALLOW_PRIVATE_WEBHOOKS": "true"},
    ).start()
    arguments = ["play", "call", "--url", server.url.replace("127.0.0.1", "localhost"), "--data", "data"]
    refused = invoke(*arguments)
    assert (refused.exit_code, "certificate verify failed" in refused.output) == (1, True), refused.output
    assert invoke(*arguments, SSL_CERT_FILE="cert.pem").exit_code == 0
    assert server.stop() == 0


def test_who_may_not_ask_is_told(server: RealServer, invoke: Invoke) -> None:
    other = {"MASKLINE_ACCOUNT_SID": ACCOUNT_SID, "MASKLINE_AUTH_TOKEN": AUTH_TOKEN}
    refused = invoke("play", "call", "--url", server.url, **other)
    assert refused.exit_code == 1
    assert "a Service: the server answered 401" in refused.output


def test_the_customers_server_answers_signers_only_and_counts_what_comes_twice_once() -> None:
    with serving(AUTH_TOKEN) as customer:
        customer.replies["asked"] = Reply(200, "text/xml", "<Response/>")
        form = {"Body": "Grüße", "Empty": ""}

        def post(signature: str, token: str) -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", int(customer.address.rpartition(":")[2]))
            headers = {
                "Content-Type": "application/x-www-form-urlencoded",
                HEADER: signature,
                TOKEN_HEADER: token,
            }
            connection.request("POST", "/asked", urlencode(form), headers)
            answer = connection.getresponse()
            said = (answer.status, answer.read().decode())
            connection.close()
            return said

        good = sign(AUTH_TOKEN, customer.url("asked"), form)
        assert post(good, "1") == post(good, "1") == post(good, "2") == (200, "<Response/>")
        assert post("", "3") == post(good[::-1], "4") == (403, "")
        assert [(call.url, call.genuine, call.form) for call in customer.calls] == [
            ("asked", genuine, form) for genuine in (True, True, False, False)
        ]


def test_fresh_numbers_are_valid_and_nobodys() -> None:
    numbers = [fresh_number() for _ in range(200)]
    assert all(parse_phone(number) and re.fullmatch(r"\+1\d{3}55501\d\d", number) for number in numbers)
    assert len(set(numbers)) > 150
