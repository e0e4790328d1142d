"""Several processes on one database: of one server, and of servers with different roles."""

import http.client
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Process
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, Api
from tests.support.world import make_pair

Serving = Callable[..., Process]
WAIT_S = 60.0


@pytest.fixture
def common(postgres: PostgresServer) -> dict[str, str]:
    """What all servers of one database have in common."""
    return {
        "MASKLINE_DATABASE_URL": postgres.empty(),
        "MASKLINE_SECRET_KEY": "5e" * 32,
        "MASKLINE_ACCOUNT_SID": ACCOUNT_SID,
        "MASKLINE_AUTH_TOKEN": AUTH_TOKEN,
    }


def children(process: Process) -> list[int]:
    """The processes that this one has started and that live."""
    task = Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children")
    return [int(pid) for pid in task.read_text().split()]


def is_ready(url: str) -> bool:
    with suppress(OSError, http.client.HTTPException):
        api = Api(url)
        try:
            return api.get("/readyz", auth=False).status == 200
        finally:
            api.close()
    return False


def arrived(api: Api, body: str) -> list[Any]:
    """The message at its handset, if it is there."""
    reply = api.get("/sandbox/messages?Direction=to_handset&PageSize=100")
    return [row for row in reply.json["messages"] if row["body"] == body]


def test_processes_share_an_address_and_one_that_dies_is_replaced(
    serving: Serving, common: dict[str, str]
) -> None:
    server = serving("--workers", "2", **common)
    ops = server.told("Health").split()
    assert len(ops) == 2
    assert eventually(lambda: all(map(is_ready, ops)), WAIT_S)
    pair = make_pair(Api(server.url))
    for victim in children(server):
        os.kill(victim, signal.SIGKILL)
        assert eventually(lambda gone=victim: gone not in children(server), WAIT_S)
        assert eventually(lambda: len(children(server)) == 2 and all(map(is_ready, ops)), WAIT_S)
        pair.api.close()
        pair.send(pair.first, f"after {victim}")
        assert eventually(lambda gone=victim: arrived(pair.api, f"after {gone}"), WAIT_S)
    code, said = server.stop()
    assert code == 0, said
    assert len(re.findall("process.died", said)) == 2


def test_if_the_first_dies_as_soon_as_it_is_ready_it_is_replaced(
    started: Serving, common: dict[str, str]
) -> None:
    """Its parent hears of both at once, and this was no start that failed."""
    server = started("serve", "--data", "data", "--port", "0", "--workers", "2", **common)
    (first,) = eventually(lambda: children(server), WAIT_S)
    server.process.send_signal(signal.SIGSTOP)
    server.read_until("Health")
    ops = server.told("Health").split()
    assert eventually(lambda: is_ready(ops[0]), WAIT_S)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: state_of(first) == "Z", WAIT_S)
    server.process.send_signal(signal.SIGCONT)
    assert eventually(lambda: len(children(server)) == 2 and all(map(is_ready, ops)), WAIT_S)
    assert server.stop()[0] == 0


@pytest.mark.parametrize("place", [0, 1])
def test_a_process_that_starts_is_stopped_in_order(
    started: Serving, common: dict[str, str], place: int
) -> None:
    server = started("serve", "--data", "data", "--port", "0", "--workers", "2", **common)
    (starting,) = eventually(lambda: children(server)[place:], WAIT_S)
    os.kill(starting, signal.SIGSTOP)
    assert eventually(lambda: state_of(starting) == "T", WAIT_S)
    server.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: is_pending(starting, signal.SIGTERM), WAIT_S)
    os.kill(starting, signal.SIGCONT)
    code, said = server.end()
    assert code == 0, said


def state_of(pid: int) -> str:
    """The letter by which the kernel tells what a process does."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a process has been sent this signal and has not taken it yet."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.findall("ShdPnd:\t([0-9a-f]+)", status)[0], 16) >> number - 1 & 1)


def test_they_end_with_their_parent(serving: Serving, common: dict[str, str]) -> None:
    server = serving("--workers", "2", **common)
    assert eventually(lambda: len(children(server)) == 2, WAIT_S)
    pids = children(server)
    server.process.kill()
    server.process.wait()
    assert eventually(lambda: not any(Path(f"/proc/{pid}/stat").exists() for pid in pids), WAIT_S)


def test_if_the_first_cannot_start_none_does(started: Serving, common: dict[str, str]) -> None:
    wrong = {**common, "MASKLINE_DATABASE_URL": common["MASKLINE_DATABASE_URL"] + "/nowhere"}
    code, said = started("serve", "--data", "data", "--port", "0", "--workers", "2", **wrong).end()
    assert code == 1
    assert said.strip().startswith("Error: the database cannot be opened")
    assert "Traceback" not in said


def test_what_one_accepts_another_delivers(serving: Serving, common: dict[str, str]) -> None:
    api = serving("--role", "api", **common)
    assert "worker" in api.read_until("Role:")
    pair = make_pair(Api(api.url))
    made = pair.send(pair.first, "hello")
    assert made["outbound_resource_status"] == "queued"  # and that at once: nobody here could start it
    worker = serving("--role", "worker", **common)
    assert "not served" in worker.read_until("Role:")
    assert worker.lines[0] == f"maskline listens on {worker.told('Health')}"
    assert is_ready(worker.url)
    assert Api(worker.url).get("/v1/Services").status == 404
    assert eventually(lambda: arrived(pair.api, "hello"), WAIT_S)
    assert api.stop()[0] == worker.stop()[0] == 0
