"""Fail-over by Patroni: whoever leads is killed, another takes over, and nobody's message is missing or there twice."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.lives import FULL, SLOTS, CrashingServer
from tests.faults.load import WAIT_S, Load, judge, make_world, wait_until_finished
from tests.support.eventually import eventually
from tests.support.patroni import PROGRAM, Cluster

DEATHS = 5 if FULL else 1

pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(), reason="official clients are not installed (make clients)"
)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster.start()
    cluster.stop()


@pytest.fixture
def node(cluster: Cluster, tmp_path: Path) -> Iterator[CrashingServer]:
    node = CrashingServer(tmp_path / "data")
    node.environment |= {"MASKLINE_DATABASE_URL": cluster.url(), "MASKLINE_SECRET_KEY": "5e" * 32}
    yield node
    node.bury()


def test_the_leader_dies(node: CrashingServer, cluster: Cluster, report: Callable[[str], None]) -> None:
    """kill -9 of Patroni and PostgreSQL where it leads; the dead one comes back and follows."""
    node.environment["MASKLINE_SEND_WAIT_MS"] = "0"
    node.start()
    world = make_world(node.api)
    recovered: list[float] = []
    with Load(world, seed=71) as load:
        load.address.move(node.url)
        for _ in range(DEATHS):
            load.wait_for(200)
            dead = cluster.leader()
            dead.kill()
            since = time.monotonic()
            eventually(lambda: node.api.get("/readyz", auth=False).status == 503, WAIT_S)
            eventually(lambda: node.api.get("/readyz", auth=False).status == 200, WAIT_S)
            recovered.append(time.monotonic() - since)
            cluster.restart(dead)
            eventually(cluster.is_whole, WAIT_S)
        load.wait_for(200)
    wait_until_finished(node.database)
    verdict = judge(world, node)
    assert verdict.unknown <= SLOTS * DEATHS
    times = ", ".join(f"{seconds:.1f} s" for seconds in recovered)
    report(f"seed 71, leaders killed: {DEATHS}, taken over within {times}, {verdict}")
    assert node.stop() == 0
