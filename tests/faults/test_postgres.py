"""PostgreSQL and the nodes on it: servers, processes and connections that die or freeze."""

import contextlib
import http.client
import json
import os
import random
import signal
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from tests.faults.lives import FULL, SLOTS, CrashingServer, tell_dead
from tests.faults.load import (
    WAIT_S,
    Load,
    count_started,
    finish,
    make_world,
    script_handsets,
    wait_until_finished,
)
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer
from tests.support.server import Api
from tests.support.world import make_pair

KILLS = 200 if FULL else 25


def children(server: CrashingServer) -> list[int]:
    assert server.process is not None
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state_of(pid: int) -> str:
    """The letter that the system has for it; Z: it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


def test_processes_killed_at_random(node: CrashingServer, report: Callable[[str], None]) -> None:
    """Two processes behind one address; now one is killed, now the other, now both, and then their parent, which waits
    the longer for a new one the sooner the last has died. What the last of them had started waits for their silence.
    """
    rng = random.Random(51)
    node.environment["MASKLINE_SEND_WAIT_MS"] = "0"
    node.args = ["--workers", "2"]
    node.start()
    world = make_world(node.api)
    script_handsets(node.api, world, rng)
    killed = 0
    with Load(world, seed=51) as load:
        load.address.move(node.url, stays=True)
        while killed < KILLS:
            for _ in range(4):
                load.wait_for(rng.randrange(5, 60))
                eventually(lambda: children(node), WAIT_S)
                victims = children(node)
                for victim in victims if rng.random() < 0.2 else [rng.choice(victims)]:
                    os.kill(victim, signal.SIGKILL)
                    killed += 1
            load.wait_for(rng.randrange(5, 60))
            left = children(node)
            node.kill()
            killed += 1
            eventually(lambda left=left: all(state_of(child) == "Z" for child in left), WAIT_S)
            if killed < KILLS:
                tell_dead(node)
            node.start()
            load.address.move(node.url, stays=True)
        load.wait_for(20)
    report(f"seed 51, {killed} kills, {finish(world, node, SLOTS * killed)}")
    assert node.stop() == 0


def check_told_seldom(server: CrashingServer) -> None:
    """That the database was away is in the log, in lines, once a second."""
    lines = [line for line in server.log().splitlines() if "store.unavailable" in line]
    told_at = [datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp() for line in lines]
    assert told_at and all(later - earlier > 0.9 for earlier, later in pairwise(told_at))
    assert "Traceback" not in server.log()


def test_the_database_dies_and_comes_back(
    node: CrashingServer, database: PostgresServer, report: Callable[[str], None]
) -> None:
    """Restarts, kill -9 of the postmaster, and connections that are cut at any moment. The node lives on."""
    rng = random.Random(52)
    node.environment["MASKLINE_SEND_WAIT_MS"] = "0"
    node.start()
    world = make_world(node.api)
    script_handsets(node.api, world, rng)
    deaths = [lambda: database.stop("fast"), lambda: database.stop("immediate"), database.kill]
    with Load(world, seed=52) as load:
        load.address.move(node.url)
        for death in deaths * (10 if FULL else 1):
            load.wait_for(rng.randrange(20, 100))
            death()
            reply = node.api.get("/v1/Services")
            assert (reply.status, reply.headers.get("retry-after")) == (503, "1")
            assert node.api.get("/readyz", auth=False).status == 503
            database.start()
            eventually(lambda: node.api.get("/readyz", auth=False).status == 200, WAIT_S)
        for _ in range(200 if FULL else 25):
            load.wait_for(rng.randrange(1, 10))
            with psycopg.connect(database.url()) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'maskline'"
                )
        load.wait_for(20)
    assert node.process is not None and node.process.poll() is None
    check_told_seldom(node)
    report(f"seed 52, {finish(world, node, SLOTS)}")
    assert node.stop() == 0


@pytest.mark.parametrize("setting", ["unknown", "resend"])
def test_a_node_that_was_frozen_before_it_sent_does_not_send(
    node: CrashingServer, other: CrashingServer, setting: str
) -> None:
    """It has started a message and stands still. The other judges it; thawed, the first one must not send it."""
    other.start()
    pair = make_pair(other.api)
    if setting == "resend":
        path = f"/v1/Services/{pair.service['sid']}/Settings"
        assert other.api.post(path, {"OnUncertain": "resend"}).status == 200
    assert other.stop() == 0
    node.environment |= {"CRASH_AT": "start_sends:after:1", "FREEZE": "1", "MASKLINE_SEND_WAIT_MS": "0"}
    node.start()
    first = Api(node.url)
    with contextlib.suppress(OSError, http.client.HTTPException):
        first.post(pair.messages_path(pair.first), {"Body": "once"})
    assert node.process is not None
    frozen = node.process.pid
    eventually(lambda: state_of(frozen) == "T", WAIT_S)
    assert count_started(node.database) == 1
    other.environment["CRASH_AT"] = ""
    other.start()
    wait_until_finished(other.database)
    node.process.send_signal(signal.SIGCONT)
    eventually(lambda: Api(node.url).get("/readyz", auth=False).status == 200, WAIT_S)
    # What it has started it hands over before it ends, if it may: the message has had its chance.
    assert node.stop() == 0
    rows = other.api.get("/sandbox/messages?Direction=to_handset").json["messages"]
    assert [row["handovers"] for row in rows] == ([1] if setting == "resend" else [])
    assert other.stop() == 0
