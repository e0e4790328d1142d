"""kill -9 just before and just after the commit of every transaction on both paths, one life after the other."""

import random
from collections.abc import Callable

import pytest

from tests.faults.lives import FULL, Lives, nth
from tests.faults.load import make_world, script_handsets

# Path A: accept, start, hand-over, record; then the receipt. Path B begins with the handset's text and its receipt by
# the server. The commits of recovery have their turn at the end.
FUNCTIONS = [
    "accept_messages",
    "start_sends",
    "hand_over",
    "record_outcomes",
    "merge_receipts",
    "add_texts",
    "receive_messages",
    "done_todos",
]
POINTS = [f"{function}:{moment}" for function in FUNCTIONS for moment in ("before", "after")]


@pytest.mark.parametrize("lives", ["sqlite", "postgres"], indirect=True)
def test_at_every_commit(lives: Lives, report: Callable[[str], None]) -> None:
    rng = random.Random(4)
    lives.start("start_sends:after:5")
    world = make_world(lives.api)
    script_handsets(lives.api, world, rng)
    points = POINTS * (10 if FULL else 1)
    rng.shuffle(points)
    with lives.load(world, seed=4) as load:
        lives.end()
        for i, point in enumerate(points):
            # Whether requests wait for the carrier's answer makes quite another load.
            lives.server.environment["MASKLINE_SEND_WAIT_MS"] = "0" if i % 2 else "1000"
            lives.crash(f"{point}:{nth(rng)}")
        lives.crash("start_sends:after:3")  # leaves started messages behind for sure
        for point in ("take_orphans:before:1", "take_orphans:after:1", "record_outcomes:after:1"):
            lives.crash(point)
        lives.start()
        load.wait_for(50)
    report(lives.tell(lives.finish(world)))
