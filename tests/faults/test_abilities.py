"""What a carrier can do about a hand-over of unknown outcome: take keys, be asked, or neither but be sent again."""

import random
from collections.abc import Callable

import pytest

from tests.faults.lives import FULL, Lives, nth
from tests.faults.load import make_world, script_handsets, wait_until_finished

# Where a message is left started, with the carrier having it or not; and once more while that is being judged.
POINTS = ["start_sends:after", "take_orphans:after", "hand_over:after"]
MORE = ["hand_over:before", "record_outcomes:before", "record_outcomes:after", "merge_receipts:after"]

# What the carrier can do, what the Service wants done otherwise, and how often one message may be handed over.
CASES = {
    "keys": ({"CarrierKeys": "true"}, None, 1),
    "look-up": ({"LookUp": "true"}, None, 1),
    "look-up-and-resend": ({"LookUp": "true"}, "resend", 2),
    # Every kill may hit the same message again.
    "resend": ({}, "resend", 1000),
}


@pytest.mark.parametrize("lives", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("case", CASES if FULL else ["keys", "look-up", "look-up-and-resend"])
def test_uncertain_messages(lives: Lives, case: str, report: Callable[[str], None]) -> None:
    abilities, on_uncertain, most_handovers = CASES[case]
    rng = random.Random(case)
    lives.start(f"{POINTS[0]}:3")
    world = make_world(lives.api, **abilities)
    if FULL:
        script_handsets(lives.api, world, rng)
    if on_uncertain:
        lives.api.make(f"/v1/Services/{world.service}/Settings", {"OnUncertain": on_uncertain})
    points = POINTS + MORE if FULL else POINTS
    for i in range(4 if FULL else 1):
        with lives.load(world, seed=i) as load:
            if i == 0:
                lives.end()
            else:
                lives.kill()
            for point in points if i else points[1:]:
                lives.crash(f"{point}:{1 if 'orphans' in point else nth(rng)}")
            lives.start()
            load.wait_for(50)
        # Now and then all is to come to its end: with each attempt at a message the next one is further away.
        wait_until_finished(lives.server.database)
    certain = "CarrierKeys" in abilities or on_uncertain == "resend"
    verdict = lives.finish(world, most_handovers=most_handovers, unknown_allowed=not certain)
    if on_uncertain is None:
        assert verdict.repeated == 0
    report(lives.tell(verdict))
