"""The time that is stored: it never goes back, and goes on where the wall clock was set back."""

from hypothesis import given
from hypothesis import strategies as st

from maskline.clock import SteadyTime
from tests.support.clock import FakeClock


@given(st.lists(st.tuples(st.floats(-7200, 7200), st.floats(0, 100))))
def test_it_never_goes_back_nor_behind_the_wall(moves: list[tuple[float, float]]) -> None:
    clock = FakeClock()
    steady = SteadyTime(clock)
    last = steady.now()
    for step, passed in moves:
        clock.step(step)
        clock.advance(passed)
        now = steady.now()
        assert now >= max(last, clock.now())
        last = now


def test_it_goes_on_at_half_its_speed_until_the_wall_has_caught_up() -> None:
    clock = FakeClock()
    steady = SteadyTime(clock)
    before = steady.now()
    clock.step(-100)
    clock.advance(60)
    assert steady.now() - before == 30_000_000
    clock.advance(140)
    assert steady.now() == clock.now()
