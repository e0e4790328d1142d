"""How many segments a text takes and where it is cut, against the tables of 3GPP TS 23.038 and a slow second count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.text import (
    MOST_BODY,
    Alphabet,
    count_segments,
    decode_gsm,
    encode_text,
    split_body,
    split_segments,
)

BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = "\f^{}\\[~]|€"


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("a" * 1600, 11),
        ("€" * 80, 1),  # two septets each
        ("€" * 81, 2),
        ("a" * 152 + "€" * 5, 2),
        ("a" * 152 + "€" + "a" * 151, 2),
        ("a" * 152 + "€" + "a" * 152, 3),  # the escape is not cut from what it escapes: 152, 153, 1
        ("ç" * 70, 1),  # GSM 03.38 has only the capital
        ("ç" * 71, 2),
        ("ç" * 134, 2),
        ("ç" * 135, 3),
        ("🙂" * 35, 1),  # two code units each
        ("🙂" * 36, 2),
        ("🙂" * 66, 2),  # 33 to a segment of 67
        ("🙂" * 67, 3),
        ("a" * 69 + "`", 1),
        ("a" * 70 + "`", 2),
        ("👍🏽" * 17, 1),  # four code units that are seen as one character: 16 to a segment of 67
        ("👍🏽" * 18, 2),
        ("👍🏽" * 32, 2),
        ("👍🏽" * 33, 3),
        ("🇩🇪" * 33, 3),
        ("a" * 66 + "🇩🇪" * 16, 2),
        ("a" * 66 + "🇩🇪" * 17, 3),
        ("e\u0301" * 67, 3),  # a letter and its accent stay together: 33 to a segment
        ("e" + "\u0301" * 139, 3),  # but for what no segment has room for
    ],
)
def test_texts_at_the_limits(text: str, segments: int) -> None:
    assert count_segments(text) == segments


@pytest.mark.parametrize("character", BASIC + EXTENSION)
def test_every_character_of_the_alphabet(character: str) -> None:
    alone = 80 if character in EXTENSION else 160
    assert count_segments(character * alone) == 1
    assert count_segments(character * (alone + 1)) == 2


@given(st.characters(codec="utf-8").filter(lambda c: c not in BASIC + EXTENSION + "\x1b"))
def test_every_other_character_needs_ucs_2(character: str) -> None:
    alone = 70 // (len(character.encode("utf-16-be")) // 2)
    assert count_segments(character * alone) == 1
    assert count_segments(character * (alone + 1)) == 2


@given(st.text(alphabet="aZ€[ç🙂", max_size=400))
def test_segments_are_filled_one_after_the_other(text: str) -> None:
    gsm = all(character in BASIC + EXTENSION for character in text)
    parts = [""]

    def size(part: str) -> int:
        if gsm:
            return sum(2 if character in EXTENSION else 1 for character in part)
        return len(part.encode("utf-16-be")) // 2

    for character in text:
        if size(parts[-1] + character) > (153 if gsm else 67):
            parts.append("")
        parts[-1] += character
    expected = 1 if size(text) <= (160 if gsm else 70) else len(parts)
    assert count_segments(text) == expected


@given(
    st.text(alphabet=st.sampled_from(BASIC + EXTENSION + "ç🙂\u0301"), max_size=500),
    st.sets(st.sampled_from([Alphabet.GSM, Alphabet.LATIN_1])),
)
def test_what_is_cut_is_all_there_and_fits(text: str, alphabets: set[Alphabet]) -> None:
    alphabet, parts = split_segments(text, alphabets)
    assert "".join(parts) == text
    assert alphabets != {Alphabet.GSM} or len(parts) == count_segments(text)
    assert alphabet in {*alphabets, Alphabet.UCS_2}
    room = alphabet.alone if len(parts) == 1 else alphabet.room
    units = 2 if alphabet is Alphabet.UCS_2 else 1
    for part in parts:
        encoded = encode_text(part, alphabet)
        assert len(encoded) <= room * units
        # Read alone, as it is on its way: nothing of it stands in its neighbour.
        match alphabet:
            case Alphabet.GSM:
                assert decode_gsm(encoded) == part
            case Alphabet.LATIN_1:
                assert encoded.decode("latin-1") == part
            case Alphabet.UCS_2:
                assert encoded.decode("utf-16-be") == part


def test_latin_1_is_taken_only_where_it_may_be_and_saves_something() -> None:
    assert split_segments("ça va?", set(Alphabet))[0] is Alphabet.LATIN_1
    assert split_segments("ça va?")[0] is Alphabet.UCS_2
    assert split_segments("Ça va?", set(Alphabet))[0] is Alphabet.GSM
    assert split_segments("ça 🙂", set(Alphabet))[0] is Alphabet.UCS_2
    assert split_segments("", {Alphabet.LATIN_1}) == (Alphabet.LATIN_1, [""])
    assert [len(part) for part in split_segments("ç" * 300, set(Alphabet))[1]] == [134, 134, 32]


@pytest.mark.parametrize(
    ("septets", "text"),
    [
        (b"\x00\x1be\x1b\x1b", "@€"),
        (b"a\x1b", "a"),  # an escape at the end
        (b"\x1bA", "A"),  # one before what the extension has not
        (b"a\x80b", "a\ufffdb"),
    ],
)
def test_septets_are_read_whatever_they_are(septets: bytes, text: str) -> None:
    assert decode_gsm(septets) == text


@given(st.binary())
def test_any_octets_are_read_as_septets(octets: bytes) -> None:
    assert len(decode_gsm(octets)) <= len(octets)


@given(
    st.lists(st.sampled_from(["a", "ab ", "\n", "€", "🙂", "e\u0301", "👍🏽", "🇩🇪", "x" * 900]), max_size=900)
)
def test_a_text_is_as_many_bodies_as_it_takes(pieces: list[str]) -> None:
    """Of pieces that are each seen as one character, or may be cut anywhere."""
    bodies = split_body("".join(pieces))
    assert "".join(bodies) == "".join(pieces)
    assert all(0 < len(body) <= MOST_BODY for body in bodies) or bodies == [""]
    assert all(len(body) > MOST_BODY // 2 - 2 for body in bodies[:-1])
    begins = {text[0] for text in bodies[1:]}
    assert not begins & {"\u0301", "🏽"}
    assert all(body.count("🇩") == body.count("🇪") for body in bodies)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("a" * MOST_BODY, [MOST_BODY]),
        ("a" * (MOST_BODY + 1), [MOST_BODY, 1]),
        ("a" * (MOST_BODY - 1) + "e\u0301", [MOST_BODY - 1, 2]),
        ("a" * (MOST_BODY - 2) + " b" * 2, [MOST_BODY - 1, 3]),
        ("a" * 900 + " " + "b" * 800, [901, 800]),
        ("a" * 700 + " " + "b" * 1000, [MOST_BODY, 101]),  # so early, it is cut in the midst of a word
        ("word " * 1000, [MOST_BODY, MOST_BODY, MOST_BODY, 200]),
    ],
)
def test_a_text_is_cut_between_words_where_that_is_near(text: str, sizes: list[int]) -> None:
    assert list(map(len, split_body(text))) == sizes
