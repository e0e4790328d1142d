"""What goes with a text: what it is, and under which SID."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.ids import inbound_leg_sid, is_sid, outbound_leg_sid
from maskline.domain.media import MEDIA_PREFIX, Medium, media_of, media_sid, read_type
from maskline.mint import Mint
from tests.support.clock import FakeClock


@pytest.mark.parametrize(
    ("url", "said", "known"),
    [
        ("https://example.com/cat.jpg", "", "image/jpeg"),
        ("https://example.com/CAT.JPG?size=2", "", "image/jpeg"),
        ("https://example.com/a.b/cat.mp4#t=1", "", "video/mp4"),
        ("https://example.com/cat.jpg", "image/webp", "image/webp"),
        ("https://example.com/cat", "", "application/octet-stream"),
        ("https://example.com/", "", "application/octet-stream"),
        ("https://example.jpg", "", "application/octet-stream"),
        ("https://example.com/page.html", "", "application/octet-stream"),
        ("https://[", "", "application/octet-stream"),
        ("", "", "application/octet-stream"),
    ],
)
def test_what_a_medium_is(url: str, said: str, known: str) -> None:
    assert Medium(url, said).known_type == known


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("image/png", "image/png"),
        (" Image/PNG ; name=x", "image/png"),
        ("application/vnd.x+json", "application/vnd.x+json"),
        (None, ""),
        ("", ""),
        ("image", ""),
        ("image/", ""),
        ("image/png\r\nX: y", ""),
        ("image/" + "p" * 65, ""),
    ],
)
def test_a_content_type_is_read_without_its_parameters(text: str | None, kind: str) -> None:
    assert read_type(text) == kind


def test_media_of_an_interaction() -> None:
    assert media_of({}) == media_of({"body": "x"}) == []
    assert media_of({"media": ["a", "b"]}) == [Medium("a"), Medium("b")]
    assert media_of({"media": ["a", "b"], "media_types": ["image/png"]}) == [
        Medium("a", "image/png"),
        Medium("b"),
    ]


@given(st.sets(st.tuples(st.booleans(), st.integers(0, 99)), max_size=30))
def test_no_two_media_share_a_sid(which: set[tuple[bool, int]]) -> None:
    interaction = Mint(FakeClock()).sid("KI")
    legs = {False: outbound_leg_sid(interaction, "MM"), True: inbound_leg_sid(interaction, "MM")}
    sids = {media_sid(legs[inbound], number) for inbound, number in which}
    assert len(sids) == len(which)
    assert all(is_sid(sid, MEDIA_PREFIX) for sid in sids)
    assert [media_sid(legs[True], number) for number in range(64)] == sorted(
        media_sid(legs[True], number) for number in range(64)
    )
