"""Rates: over any window no more goes than belongs into it, and nothing waits without need."""

from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.model import SECOND
from maskline.domain.throughput import gap_of, next_free


def test_the_gap_is_the_inverse_of_the_rate() -> None:
    assert [gap_of(rate) for rate in (None, 1, 10, 0.5)] == [0, SECOND, SECOND // 10, 2 * SECOND]


@given(
    st.integers(1, 5 * SECOND),
    st.integers(0, 10 * SECOND),
    st.lists(st.integers(0, 3 * SECOND), min_size=1, max_size=60),
)
def test_over_any_span_goes_what_belongs_into_it_and_a_window(
    gap_us: int, window_us: int, pauses: list[int]
) -> None:
    """Whoever comes goes at once where it may, else as soon as it may."""
    now, free_at = 1_800_000_000 * SECOND, 0
    sent = []
    for pause in pauses:
        now = max(now + pause, free_at)
        sent.append(now)
        free_at = next_free(free_at, now, gap_us, window_us)
    at_once = max(1, window_us / gap_us)
    for i, first in enumerate(sent):
        for count, last in enumerate(sent[i:], start=1):
            assert count <= (last - first) / gap_us + at_once + 1e-9


@given(st.integers(1, SECOND), st.integers(0, 20 * SECOND))
def test_after_a_pause_a_window_goes_at_once(gap_us: int, window_us: int) -> None:
    now, free_at, count = 1_800_000_000 * SECOND, 0, 0
    while free_at <= now and count < 100:
        free_at = next_free(free_at, now, gap_us, window_us)
        count += 1
    assert count == min(100, max(1, window_us // gap_us))
