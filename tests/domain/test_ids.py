"""SIDs: their form, the order in which they are made, and the instant that is in them."""

import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.ids import (
    canonical,
    inbound_leg_sid,
    instant_of,
    interaction_of_leg,
    is_sid,
    outbound_leg_sid,
)
from maskline.mint import Mint, secret
from tests.support.clock import START, FakeClock


def uuid_of(sid: str) -> uuid.UUID:
    return uuid.UUID(sid[2:])


def test_a_sid_is_two_letters_and_a_uuid_of_version_7() -> None:
    sid = Mint(FakeClock()).sid("KC")
    assert sid[:2] == "KC"
    assert is_sid(sid, "KC")
    assert canonical(sid) == sid
    assert uuid_of(sid).variant == uuid.RFC_4122
    assert uuid_of(sid).version == 7
    assert uuid_of(sid).int >> 80 == START // 1000  # its first 48 bits are the milliseconds
    assert instant_of(sid) == START // 1000 * 1000


STEPS = st.lists(
    st.sampled_from([0.0, 0.0, 0.0, 0.0001, 0.001, 0.5, 3600.0, -0.001, -0.5, -3600.0]), max_size=200
)


@given(STEPS)
def test_sids_only_rise_whatever_the_clock_does(steps: list[float]) -> None:
    clock = FakeClock()
    mint = Mint(clock)
    sids = []
    for step in steps:
        clock.step(step)
        sids.append(mint.sid("SM"))
    assert sids == sorted(set(sids))
    for sid in sids:
        assert uuid_of(sid).version == 7
        assert uuid_of(sid).variant == uuid.RFC_4122


def test_more_sids_than_a_millisecond_has_numbers_still_rise() -> None:
    """The counter has 12 bits; with more, the stamp goes on into the next milliseconds."""
    mint = Mint(FakeClock())
    sids = [mint.sid("SM") for _ in range(10_000)]
    assert sids == sorted(set(sids))
    assert instant_of(sids[-1]) - instant_of(sids[0]) <= 3000


def test_after_the_clock_has_stepped_back_sids_go_on_from_where_they_were() -> None:
    clock = FakeClock()
    mint = Mint(clock)
    before = mint.sid("SM")
    clock.step(-86_400)
    after = [mint.sid("SM") for _ in range(5)]
    assert before < after[0]
    assert instant_of(after[-1]) == instant_of(before)
    clock.step(86_401)
    assert instant_of(mint.sid("SM")) == instant_of(before) + 1_000_000


def test_threads_never_get_the_same_sid() -> None:
    mint = Mint(FakeClock())
    made: list[list[str]] = []

    def work() -> None:
        made.append([mint.sid("SM") for _ in range(2000)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({sid for sids in made for sid in sids}) == 8000
    for sids in made:
        assert sids == sorted(sids)


def test_the_61_bits_that_keep_a_sid_from_being_guessed_are_random() -> None:
    mint = Mint(FakeClock())
    tails = [uuid_of(mint.sid("SM")).int & (2**62 - 1) for _ in range(2000)]
    assert len(set(tails)) == 2000
    for bit in range(1, 62):
        assert 800 < sum(tail >> bit & 1 for tail in tails) < 1200


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("KC" + "0" * 32, True),
        ("KC" + "aF" * 16, True),
        ("KC" + "g" * 32, False),
        ("KC" + "0" * 31, False),
        ("KC" + "0" * 33, False),
        ("kc" + "0" * 32, False),
        ("KS" + "0" * 32, False),
        ("KC" + "0" * 31 + "\n", False),
        ("KC" + "٠" * 32, False),
        ("", False),
    ],
)
def test_the_form_of_a_sid(text: str, good: bool) -> None:
    assert is_sid(text, "KC") is good


def test_a_sid_is_stored_in_lower_case() -> None:
    assert canonical("KC" + "AB" * 16) == "KC" + "ab" * 16


def test_a_secret_is_letters_and_digits_and_never_the_same() -> None:
    made = {secret() for _ in range(100)}
    assert len(made) == 100
    assert all(len(one) == 32 and one.isascii() and one.isalnum() for one in made)


def test_the_legs_of_an_interaction_have_sids_of_their_own_that_lead_back_to_it() -> None:
    mint = Mint(FakeClock())
    made = [mint.sid("KI") for _ in range(2000)]
    outbound = [outbound_leg_sid(sid) for sid in made]
    inbound = [inbound_leg_sid(sid) for sid in made]
    assert (
        len({*outbound, *inbound, *(f"SM{sid[2:]}" for sid in (mint.sid("KI") for _ in range(10)))}) == 4010
    )
    for sid, out, into in zip(made, outbound, inbound, strict=True):
        assert is_sid(out, "SM") and is_sid(into, "SM")
        assert interaction_of_leg(out) == interaction_of_leg(into) == sid
        assert instant_of(out) == instant_of(into) == instant_of(sid)
    # Newest first, an outbound leg comes before its inbound one, and after those of every later Interaction.
    assert sorted(outbound + inbound, reverse=True) == [
        leg for sid in made[::-1] for leg in (outbound_leg_sid(sid), inbound_leg_sid(sid))
    ]
    assert outbound_leg_sid(made[0], "CA")[:2] == inbound_leg_sid(made[0], "CA")[:2] == "CA"
