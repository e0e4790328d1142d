"""When a carrier account counts as down."""

import pytest

from maskline.domain.health import Trouble, with_failure, with_refusal
from maskline.domain.model import SECOND

AFTER_US = 60 * SECOND


def failing(*seconds: float, after_us: int = AFTER_US) -> Trouble:
    """What is known after failures at these times."""
    trouble = None
    for at in seconds:
        trouble = with_failure(trouble, "AC1", round(at * SECOND), after_us)
    assert trouble is not None
    return trouble


@pytest.mark.parametrize(
    ("seconds", "down"),
    [
        ((0,), False),
        ((0, 1, 59), False),
        ((0, 1, 59.9, 60), True),
        ((0, 60), False),
        ((0, 60, 61), True),
        ((0, 1, 6, 21, 81), True),
        ((0, 300, 600), True),
    ],
)
def test_it_is_down_once_it_has_failed_often_and_for_long_enough(
    seconds: tuple[float, ...], down: bool
) -> None:
    trouble = failing(*seconds)
    assert trouble.is_down is down
    assert trouble.failing_since == 0
    if down:
        assert trouble.down_since == trouble.failed_at == round(seconds[-1] * SECOND)
        assert trouble.try_at == trouble.failed_at + 60 * SECOND


def test_a_failure_of_long_ago_says_nothing() -> None:
    assert failing(0, 1, 2, 603) == Trouble("AC1", 603 * SECOND, 603 * SECOND, 1)
    assert failing(0, 1, 2, 602).is_down


def test_what_is_down_stays_so_as_it_is() -> None:
    trouble = failing(0, 30, 60)
    assert failing(0, 30, 60, 61, 9999) == trouble
    assert trouble.tried(70 * SECOND).try_at == 130 * SECOND


def test_refused_credentials_make_it_down_at_once() -> None:
    trouble = with_refusal(None, "AC1", 5)
    assert trouble == Trouble("AC1", 5, 5, 1, 5, refused=True, try_at=5 + 60 * SECOND)
    # Whatever it was before; since when it is down stays.
    assert with_refusal(failing(0, 1), "AC1", 2 * SECOND).down_since == 2 * SECOND
    assert with_refusal(failing(0, 30, 60), "AC1", 61 * SECOND).down_since == 60 * SECOND
