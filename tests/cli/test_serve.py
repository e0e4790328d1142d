import http.client
import json
import re
import signal
import socket
import ssl
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import Result

from maskline.settings import load_settings
from tests.cli.conftest import Process, write_certificate
from tests.support.server import Api

Serving = Callable[..., Process]
Started = Callable[..., Process]
Invoke = Callable[..., Result]


def credentials(file: Path) -> tuple[str, str]:
    sid, token = re.findall(r"=(\w+)$", file.read_text(), re.MULTILINE)
    return sid, token


def test_the_first_start_says_all_that_a_user_needs(serving: Serving) -> None:
    server = serving()
    assert re.fullmatch(r"maskline listens on http://127\.0\.0\.1:\d+", server.lines[0])
    assert server.told("Auth token") == "in data/account.env"
    assert server.told("Sandbox").startswith("on")
    sid, token = credentials(Path("data/account.env"))
    assert server.told("Account SID") == sid
    assert Api(server.url, sid, token).get("/v1/Services").status == 200
    health = Api(server.told("Health")).get("/readyz", auth=False)
    assert health.json["checks"] == {"database": True, "sandbox": True, "worker": True}
    assert {stat.S_IMODE(path.stat().st_mode) for path in Path("data").iterdir()} == {0o600}
    assert server.stop() == (0, "")


def test_the_second_start_takes_the_same_account(serving: Serving) -> None:
    first = serving()
    sid = first.told("Account SID")
    assert first.stop(signal.SIGINT) == (0, "")
    assert serving().told("Account SID") == sid


def test_credentials_that_are_given_are_not_written_down(serving: Serving) -> None:
    sid, token = "AC" + "0f" * 16, "t0ken"
    server = serving(MASKLINE_ACCOUNT_SID=sid, MASKLINE_AUTH_TOKEN=token, MASKLINE_ROLE="api")
    assert (server.told("Account SID"), server.told("Auth token")) == (sid, "as given")
    assert "wait" in server.read_until("Role:")
    assert Api(server.url, sid, token).get("/v1/Services").status == 200
    assert not Path("data/account.env").exists()


def test_a_flag_beats_the_environment_which_beats_the_file(serving: Serving) -> None:
    Path("maskline.toml").write_text("not read, as another is named")
    Path("other.toml").write_text('public_url = "http://file"\nrole = "api"\nsandbox = false\nworkers = 1\n')
    arguments = ("--config", "other.toml", "--role", "all")
    server = serving(*arguments, MASKLINE_PUBLIC_URL="http://environment", MASKLINE_ROLE="api")
    assert server.told("Public URL") == "http://environment"
    assert server.told("Sandbox") == "off"
    assert not any(line.startswith("Role:") for line in server.lines)
    sid, token = credentials(Path("data/account.env"))
    assert (
        Api(server.url, sid, token)
        .make("/v1/Services", {"UniqueName": "a"})["url"]
        .startswith("http://environment/")
    )


@pytest.mark.parametrize(
    ("flags", "environment", "port"),
    [
        ({}, {}, 3),
        ({"port": None}, {"MASKLINE_PORT": "2"}, 2),
        ({"port": None}, {"MASKLINE_PORT": ""}, 3),
        ({"port": 1}, {"MASKLINE_PORT": "2"}, 1),
    ],
)
def test_settings_precedence(flags: dict[str, int], environment: dict[str, str], port: int) -> None:
    Path("other.toml").write_text("port = 3\n")
    assert load_settings(flags, environment, Path("other.toml")).port == port


def test_a_second_server_on_the_same_data_is_told_so(serving: Serving, started: Started) -> None:
    same_port = serving().url.rpartition(":")[2]
    for port in (same_port, "0"):
        code, said = started("serve", "--data", "data", "--port", port).end()
        assert code == 2
        assert said.strip() == (
            "Error: another maskline server has this data directory; stop it, or choose another with --data"
        )


def test_a_port_that_is_taken_is_named(started: Started) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = started("serve", "--data", "data", "--port", str(port)).end()
    assert code == 1
    assert said.strip() == (
        f"Error: port {port} on 127.0.0.1 is taken; stop what listens there or choose another"
    )


def neighbours(stack: ExitStack) -> tuple[int, socket.socket]:
    """A port that is free, and a socket on the one after it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            try:
                return port, stack.enter_context(socket.create_server(("127.0.0.1", port + 1)))
            except (OSError, OverflowError):
                continue


def test_it_goes_on_without_the_default_ops_port(serving: Serving) -> None:
    with ExitStack() as stack:
        port, _ = neighbours(stack)
        server = serving("--port", str(port))
        assert server.told("Health") == "not served: the default ops port is taken"
        assert Api(server.url).get("/readyz", auth=False).status == 200
        code, said = server.stop()
    assert code == 0
    assert json.loads(said)["event"] == "ops.port_taken"


def test_an_ops_port_that_was_asked_for_must_be_free(started: Started) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = started("serve", "--data", "data", "--port", "0", "--ops-port", port).end()
    assert code == 1
    assert f"port {port} on 127.0.0.1 is taken" in said


def test_tls(serving: Serving) -> None:
    write_certificate()
    server = serving("--host", "localhost", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    assert server.url.startswith("https://localhost:")
    context = ssl.create_default_context(cafile="cert.pem")
    port = int(server.url.rpartition(":")[2])
    connection = http.client.HTTPSConnection("localhost", port, context=context)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read() == b'{"status":"ok"}'
    connection.close()
    assert Api(server.told("Health")).get("/healthz", auth=False).status == 200


SID = "AC" + "0f" * 16


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--port", "http"], {}, "'http' is not a valid integer range"),
        (["--role", "worker"], {}, "role: on SQLite one server owns the database"),
        (["--workers", "2"], {}, "workers: on SQLite one process owns the database"),
        (["--database-url", "postgresql://x"], {}, "secret_key: is required with database_url"),
        (["--tls-cert", "cert.pem"], {}, "tls_cert and tls_key go together"),
        (["--config", "nix.toml"], {}, "'nix.toml' does not exist"),
        ([], {"MASKLINE_PORT": "65536"}, "port: must be between 0 and 65535"),
        ([], {"MASKLINE_SANDBOX": "perhaps"}, "MASKLINE_SANDBOX: 'perhaps' is neither true nor false"),
        ([], {"MASKLINE_SECRET_KEY": "1234"}, "secret_key: must be 64 hexadecimal digits"),
        ([], {"MASKLINE_ACCOUNT_SID": SID}, "account_sid and auth_token go together"),
    ],
)
def test_wrong_usage_is_said_in_a_sentence(
    invoke: Invoke, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    result = invoke("serve", "--data", "data", *arguments, **environment)
    assert result.exit_code == 2
    assert said in result.output


def test_a_settings_file_that_cannot_be_used_is_wrong_usage(started: Started) -> None:
    Path("maskline.toml").write_text("prot = 1\n")
    assert started("serve").end() == (2, "Error: maskline.toml: there is no setting 'prot'\n")


def test_a_certificate_that_is_none_is_wrong_usage(started: Started) -> None:
    Path("cert.pem").touch()
    code, err = started("serve", "--tls-cert", "cert.pem", "--tls-key", "cert.pem").end()
    assert code == 2
    assert err.startswith("Error: tls_cert and tls_key: not a certificate chain")
    assert not Path("maskline-data").exists()


def test_a_data_directory_that_is_none_is_a_failure(started: Started) -> None:
    Path("data").touch()
    code, err = started("serve", "--data", "data").end()
    assert code == 1
    assert err.startswith("Error: data:")
