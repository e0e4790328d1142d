"""When a hand-over is tried again, and when a report looks for its message again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.model import SECOND, Instant
from maskline.domain.retry import RECEIPT_LIFE_S, next_receipt_at, next_send_at

NOW = Instant(1_000_000 * SECOND)


@pytest.mark.parametrize(
    ("attempts", "delay_s"), [(1, 1), (2, 5), (3, 15), (4, 60), (5, 300), (6, 300), (100, 300)]
)
def test_the_schedule_of_sends(attempts: int, delay_s: int) -> None:
    assert next_send_at(NOW, attempts) == NOW + delay_s * SECOND


@pytest.mark.parametrize(
    ("attempts", "delay_s"), [(1, 1), (2, 5), (3, 30), (4, 300), (5, 3600), (6, 3600), (100, 3600)]
)
def test_the_schedule_of_reports(attempts: int, delay_s: int) -> None:
    assert next_receipt_at(NOW, attempts) == NOW + delay_s * SECOND


def test_a_report_lives_for_a_day_and_credentials_are_tried_each_minute() -> None:
    assert RECEIPT_LIFE_S == 24 * 3600


@given(st.integers(1, 50), st.none() | st.floats())
def test_a_carriers_wish_prolongs_a_delay_up_to_an_hour_and_never_shortens_it(
    attempts: int, retry_after_s: float | None
) -> None:
    plain = next_send_at(NOW, attempts)
    wished = next_send_at(NOW, attempts, retry_after_s)
    assert plain <= wished <= NOW + 3600 * SECOND
    if retry_after_s is not None and 300 <= retry_after_s <= 3600:
        assert abs(wished - NOW - retry_after_s * SECOND) < 1


@given(st.integers(1, 50))
def test_a_delay_never_shrinks_with_the_attempts(attempts: int) -> None:
    assert next_send_at(NOW, attempts) <= next_send_at(NOW, attempts + 1)
    assert next_receipt_at(NOW, attempts) <= next_receipt_at(NOW, attempts + 1)
