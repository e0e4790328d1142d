"""Two reports on one leg become one: the higher rank. Whatever comes, in whatever order, a status only rises."""

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.interaction import CALL_WORDS, WORDS, CallStatus, MessageStatus, merge, words_of

STATUSES = st.sampled_from(list(MessageStatus))


def test_the_order_is_the_one_that_is_promised() -> None:
    """contract.md, promise 4."""
    promised = "queued < sending < delivery-unknown < sent < failed < undelivered < delivered"
    assert [status.word for status in sorted(MessageStatus)] == promised.split(" < ")
    assert {int(status): status.word for status in MessageStatus} == WORDS
    promised = "initiated < ringing < in-progress < canceled < no-answer < busy < failed < completed"
    assert [CALL_WORDS[status] for status in sorted(CallStatus)] == promised.split(" < ")
    assert (words_of("message"), words_of("voice")) == (WORDS, CALL_WORDS)


@given(STATUSES, STATUSES)
def test_merge_is_taking_the_higher(one: MessageStatus, other: MessageStatus) -> None:
    order = list(MessageStatus)
    assert merge(one, other) == order[max(order.index(one), order.index(other))]


@given(STATUSES, STATUSES, STATUSES)
def test_merge_is_commutative_associative_and_idempotent(
    a: MessageStatus, b: MessageStatus, c: MessageStatus
) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a


@given(st.data(), st.lists(STATUSES, min_size=1))
def test_reports_in_any_order_and_any_number_of_times_come_to_the_same(
    data: st.DataObject, reports: list[MessageStatus]
) -> None:
    shuffled = data.draw(st.permutations(reports))
    again = shuffled + data.draw(st.lists(st.sampled_from(reports)))
    assert reduce(merge, again) == reduce(merge, reports) == max(reports)


@given(st.lists(STATUSES, min_size=1))
def test_a_status_never_falls(reports: list[MessageStatus]) -> None:
    status = int(MessageStatus.QUEUED)
    for report in reports:
        assert merge(status, report) >= status
        status = merge(status, report)
    assert status in WORDS
