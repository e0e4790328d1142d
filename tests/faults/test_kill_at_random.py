"""kill -9 at moments that nobody has chosen: under load, and while the server is still starting."""

import random
import threading
from collections.abc import Callable

import pytest

from tests.faults.lives import FULL, SLOTS, Lives
from tests.faults.load import count_started, count_unknown, make_world, script_handsets
from tests.support.eventually import eventually
from tests.support.server import Api, RealServer


def test_under_load(lives: Lives, report: Callable[[str], None]) -> None:
    rng = random.Random(20260101)
    lives.server.environment["MASKLINE_SEND_WAIT_MS"] = "0"
    lives.start()
    world = make_world(lives.api, sessions=60)
    script_handsets(lives.api, world, rng)
    with lives.load(world, seed=1, threads=8) as load:
        for _ in range(40 if FULL else 3):
            load.wait_for(rng.randrange(400 if FULL else 150))
            # The last letter's acknowledgement is a moment of its own; any later one will do as well.
            threading.Event().wait(rng.random() * 0.03)
            lives.kill()
            lives.start()
        load.wait_for(50)
    verdict = lives.finish(world)
    assert verdict.unknown > 0, "no kill hit a message under way: the load is too light to show anything"
    report(lives.tell(verdict))


def test_while_it_starts(lives: Lives, report: Callable[[str], None]) -> None:
    """A first start that dies in the middle leaves nothing that the next could stumble over."""
    rng = random.Random(7)
    kills = 0
    for delay_s in [rng.random() for _ in range(25 if FULL else 2)]:
        server = RealServer(lives.server.data)
        timer = threading.Timer(delay_s, lambda server=server: server.process and server.process.kill())
        timer.start()
        try:
            server.start()
        except RuntimeError:
            kills += 1
        timer.join()
        server.kill()
    lives.start()
    assert lives.api.get("/readyz").status == 200
    world = make_world(lives.api, sessions=2)
    with lives.load(world, seed=3, threads=2) as load:
        load.wait_for(10)
    report(f"{kills} starts killed, {lives.finish(world)}")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_first_account(lives: Lives, moment: str) -> None:
    """Whenever the first start dies, the account's token is in its file afterwards."""
    lives.server.environment |= {"MASKLINE_ACCOUNT_SID": "", "MASKLINE_AUTH_TOKEN": ""}
    lives.crash(f"insert_account:{moment}:1")
    lives.start()
    lines = (lives.server.data / "account.env").read_text().split()
    account = dict(line.split("=", 1) for line in lines)
    api = Api(lives.server.url, account["MASKLINE_ACCOUNT_SID"], account["MASKLINE_AUTH_TOKEN"])
    assert api.get("/v1/Services").status == 200
    assert lives.server.stop() == 0


def test_all_slots_in_flight(lives: Lives, report: Callable[[str], None]) -> None:
    """A carrier that does not answer fills every slot. A kill then makes exactly so many unknown, and no other."""
    lives.server.environment["MASKLINE_SEND_WAIT_MS"] = "0"
    lives.start()
    world = make_world(lives.api, sessions=SLOTS + 6)
    for seat in world.seats:
        lives.api.make("/sandbox/behaviour", {"To": seat.handset, "Outcome": "slow", "DelayMs": 60_000})
    with lives.load(world, seed=5, threads=8) as load:
        load.wait_for(4 * SLOTS)
    assert eventually(lambda: count_started(lives.server.database) == SLOTS)
    for seat in world.seats:
        lives.api.make("/sandbox/behaviour", {"To": seat.handset, "Outcome": "deliver"})
    lives.kill()
    lives.start()
    assert count_unknown(lives.server.database) == SLOTS
    report(lives.tell(lives.finish(world)))
