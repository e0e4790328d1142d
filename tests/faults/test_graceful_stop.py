"""SIGTERM under load: the process ends with 0, and there is nothing that nobody can know."""

import random
from collections.abc import Callable

import pytest

from tests.faults.lives import FULL, CrashingServer, Lives
from tests.faults.load import Load, count_started, finish, make_world


@pytest.mark.parametrize("lives", ["sqlite", "postgres"], indirect=True)
def test_stop_under_load(lives: Lives, report: Callable[[str], None]) -> None:
    rng = random.Random(5)
    stops = 20 if FULL else 2
    # Few slots and slow handsets, so that a backlog stands when the signal comes and messages are started all the time.
    lives.server.environment["MASKLINE_SEND_SLOTS"] = "8"
    lives.start()
    world = make_world(lives.api)
    for seat in world.seats:
        slow = {"To": seat.handset, "Outcome": "slow", "DelayMs": rng.randrange(5, 40)}
        lives.api.make("/sandbox/behaviour", slow)
    with lives.load(world, seed=31, threads=8) as load:
        for i in range(stops):
            lives.server.environment["MASKLINE_SEND_WAIT_MS"] = "1000" if i % 2 else "0"
            load.wait_for(rng.randrange(20, 150))
            assert lives.server.stop() == 0, lives.server.log()[-2000:]
            assert count_started(lives.server.database) == 0
            lives.start()
        load.wait_for(20)
    verdict = lives.finish(world, unknown_allowed=False)
    report(f"seed 31, {stops} stops, {verdict}")


def test_either_role_stops_under_load(
    node: CrashingServer, other: CrashingServer, report: Callable[[str], None]
) -> None:
    """One accepts and another delivers; now the one is stopped in the midst of it, now the other."""
    rng = random.Random(6)
    stops = 20 if FULL else 4
    node.args, other.args = ["--role", "api"], ["--role", "worker"]
    other.environment |= {"MASKLINE_SEND_SLOTS": "8"}
    node.start()
    other.start()
    world = make_world(node.api)
    for seat in world.seats:
        slow = {"To": seat.handset, "Outcome": "slow", "DelayMs": rng.randrange(5, 40)}
        node.api.make("/sandbox/behaviour", slow)
    with Load(world, seed=32, threads=8) as load:
        load.address.move(node.url)
        for i in range(stops):
            load.wait_for(rng.randrange(20, 150))
            stopping = (node, other)[i % 2]
            assert stopping.stop() == 0, stopping.log()[-2000:]
            assert stopping is node or count_started(node.database) == 0
            stopping.start()
            load.address.move(node.url)
        load.wait_for(20)
    report(f"seed 32, {stops} stops, {finish(world, node, 0)}")
    assert (node.stop(), other.stop()) == (0, 0)
