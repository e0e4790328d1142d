"""SIGTERM under load: the process ends with 0, and there is nothing that nobody can know."""

import random
from collections.abc import Callable

import pytest

from tests.faults.lives import FULL, Lives
from tests.faults.load import count_started, make_world


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
