"""Wall clocks that are wrong, and that jump: nothing is sent late, early, twice or in another order for it."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from maskline.domain.ids import instant_of
from maskline.domain.model import SECOND
from tests.faults.lives import FULL, CrashingServer, Lives
from tests.faults.load import Load, World, finish, make_world, script_handsets

HOUR = 3600
JUMPS = [HOUR, 0, -HOUR, 0]


class WrongClock:
    """The clock of one server; `jump` while it runs, or before."""

    def __init__(self, server: CrashingServer, library: Path) -> None:
        self._off = server.data.parent / f"{server.data.name}.off"
        server.environment |= {"LD_PRELOAD": str(library), "CLOCK_OFF": str(self._off)}
        self.jump(0)

    def jump(self, off_s: int) -> None:
        """From now on it is so many seconds ahead of the true time."""
        new = self._off.with_suffix(".new")
        new.write_text(str(off_s))
        new.rename(self._off)


def span_s(server: CrashingServer) -> float:
    """How far apart the Interactions were made, by the clocks of those who made them."""
    instants = [instant_of(sid) for (sid,) in server.rows("SELECT sid FROM interactions")]
    return (max(instants) - min(instants)) / SECOND


@pytest.mark.parametrize("lives", ["sqlite", "postgres"], indirect=True)
def test_a_clock_that_jumps(
    lives: Lives, preloaded: Callable[[str], Path], report: Callable[[str], None]
) -> None:
    clock = WrongClock(lives.server, preloaded("clock"))
    lives.start()
    world = make_world(lives.api)
    script_handsets(lives.api, world, random.Random(61))
    with lives.load(world, seed=61) as load:
        for off_s in JUMPS * (10 if FULL else 1):
            load.wait_for(40)
            clock.jump(off_s)
        load.wait_for(40)
    assert span_s(lives.server) > HOUR
    report(f"seed 61, {lives.finish(world, unknown_allowed=False)}")


def test_two_nodes_whose_clocks_are_hours_apart(
    node: CrashingServer,
    other: CrashingServer,
    preloaded: Callable[[str], Path],
    report: Callable[[str], None],
) -> None:
    """One is an hour behind, the other jumps about; either sends what the other has taken."""
    behind, jumping = (WrongClock(server, preloaded("clock")) for server in (node, other))
    behind.jump(-HOUR)
    node.start()
    other.start()
    world = make_world(node.api)
    script_handsets(node.api, world, random.Random(62))
    halves = [World(world.service, world.pairs[i::2], world.letters, world.numbers) for i in range(2)]
    with Load(halves[0], seed=62, threads=3) as here, Load(halves[1], seed=63, threads=3) as there:
        here.address.move(node.url)
        there.address.move(other.url)
        for off_s in JUMPS * (10 if FULL else 1):
            jumping.jump(off_s)
            here.wait_for(20)
            there.wait_for(20)
    assert span_s(node) > 2 * HOUR
    report(f"seeds 62 and 63, {finish(world, node, 0)}")
    assert (node.stop(), other.stop()) == (0, 0)
