"""`maskline people`: what is held of somebody, and erasing it, beside a server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.support.server import RealServer
from tests.support.world import Pair, make_pair

Invoke = Callable[..., Result]

NOBODY = "KS" + "0" * 32


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    server = RealServer(tmp_path / "data").start()
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture
def pair(server: RealServer) -> Pair:
    """Two people, and a message to the first."""
    pair = make_pair(server.api)
    pair.send(pair.first, "hello")
    return pair


def run(invoke: Invoke, what: str, pair: Pair, *more: str) -> Result:
    number, service_sid = pair.first["identifier"], pair.service["sid"]
    return invoke("people", what, number, "--service", service_sid, "--data", "data", *more)


def test_what_is_held_is_shown_in_numbers(pair: Pair, invoke: Invoke) -> None:
    shown = run(invoke, "show", pair)
    assert shown.exit_code == 0, shown.output
    number = pair.first["identifier"]
    assert shown.stdout.splitlines()[0] == f"Held of +1…{number[-2:]}:"
    assert "texts:            1" in shown.stdout
    assert number not in shown.stdout
    held: Any = json.loads(run(invoke, "show", pair, "--json").stdout)
    assert (held["identifier"], held["participants"], held["texts"]) == (number, 1, 1)


def test_a_person_is_erased_beside_the_server(pair: Pair, server: RealServer, invoke: Invoke) -> None:
    said = run(invoke, "erase", pair)
    assert said.exit_code == 0, said.output
    assert said.stdout == f"+1…{pair.first['identifier'][-2:]} is erased from {pair.service['sid']}.\n"
    assert server.api.get(pair.first["url"]).json["identifier"] == "erased"
    assert server.rows("SELECT data FROM interactions") == [('{"body":""}',)]
    again = json.loads(run(invoke, "erase", pair, "--json").stdout)
    assert again == {"service_sid": pair.service["sid"], "erased": True}
    nothing = run(invoke, "show", pair)
    assert (nothing.exit_code, "nothing is held of +1…" in nothing.stderr) == (1, True)


@pytest.mark.parametrize("what", ["show", "erase"])
@pytest.mark.parametrize(
    ("number", "service", "code", "says"),
    [
        ("+12125550100", "KS1", 2, "KS and 32 hexadecimal digits"),
        (" ", NOBODY, 2, "no number and no address"),
        ("+12125550100", NOBODY, 1, f"there is no Service {NOBODY}"),
    ],
)
def test_what_is_nobody_and_nowhere_is_refused(
    invoke: Invoke, what: str, number: str, service: str, code: int, says: str
) -> None:
    assert invoke("migrate", "--data", "data").exit_code == 0
    result = invoke("people", what, number, "--service", service, "--data", "data")
    assert (result.exit_code, says in result.stderr) == (code, True), result.output
