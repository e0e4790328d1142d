"""How fast one sender may write to one number."""

from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.model import SECOND
from maskline.domain.pace import WINDOW_US, Pace


@given(st.integers(1, 5), st.lists(st.integers(0, 12 * SECOND), max_size=60))
def test_it_is_what_counting_from_the_beginning_says(limit: int, pauses: list[int]) -> None:
    """In no 30 seconds more than the limit is taken, and none for 30 seconds after one too many."""
    pace, now = Pace(), 0
    taken: list[int] = []
    refused_from: list[int] = []
    for pause in pauses:
        now += pause
        refused = pace.refuses(now)
        assert refused == any(at <= now < at + WINDOW_US for at in refused_from)
        if refused:
            continue
        since = max([now - WINDOW_US, *refused_from])
        too_many = sum(at > since for at in taken) >= limit
        pace = pace.with_one_more(limit, now)
        assert pace.refuses(now) == too_many
        (refused_from if too_many else taken).append(now)
        assert len(pace.taken) <= limit


def test_a_limit_that_was_lowered_holds_at_once() -> None:
    pace = Pace((0, 1, 2, 3), 0)
    assert pace.with_one_more(2, 4) == Pace((), 4 + WINDOW_US)
