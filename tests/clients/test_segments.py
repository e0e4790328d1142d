"""Segments, counted as Twilio's own calculator counts them.

Its tables of what is seen as one character are of Unicode 10, so texts are made of what it knows.
"""

import json
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.text import count_segments
from tests.clients.official import OfficialClient

Ask = Callable[[list[str]], list[int]]

GSM, ESCAPED = "aZ @£\nÄß", "€[]{}|~^\\\f"
PLAIN = "中çя`“”’–…\u200b\u00a0"
MARKED = ["e\u0301", "n\u0303\u0323", "क्षि", "นำ", "ᄒ\u1161\u11ab", "각\u11a8", "\n\u0301"]
EMOJI = [
    *"🙂🍕✈☎",
    "👍🏽",
    "❤️",
    "1️⃣",
    "🇩🇪",
    "🇩🇪🇫🇷",
    "🇩",
    "👩‍👩‍👧‍👦",
    "👩🏿‍🚀",
    "👩‍❤️‍💋‍👩",
    "🏳️‍🌈",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
]

# Whole characters are put together, so that neither a tone nor a joiner comes after what never has one.
pieces = st.one_of(
    st.sampled_from([*GSM, *ESCAPED]),
    st.sampled_from([*PLAIN, *MARKED]),
    st.sampled_from(EMOJI),
    st.characters(codec="utf-8", categories=["L", "N", "P", "Z"], max_codepoint=0x2FF),
)
texts = st.one_of(
    st.lists(st.sampled_from([*GSM, *ESCAPED]), max_size=500).map("".join),
    st.lists(pieces, max_size=300).map("".join),
    st.tuples(st.integers(0, 320), pieces, st.lists(pieces, max_size=20)).map(
        lambda made: "a" * made[0] + made[1] + "".join(made[2])
    ),
)


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    client = OfficialClient("node-segments")
    if not client.is_installed:
        pytest.skip("official clients are not installed (make clients)")
    with client.start("segments") as process:
        reader, writer = process.stdout, process.stdin
        assert reader is not None
        assert writer is not None

        def answer(texts: list[str]) -> list[int]:
            print(json.dumps(texts), file=writer)
            counts: list[int] = json.loads(reader.readline())
            return counts

        yield answer
        writer.close()


def differ(ask: Ask, texts: list[str]) -> list[tuple[str, int, int]]:
    """The texts on which we do not agree: what we say of each, and what Twilio's calculator says."""
    said = zip(texts, map(count_segments, texts), ask(texts), strict=True)
    return [(text, ours, twilios) for text, ours, twilios in said if ours != twilios]


def test_at_the_edges(ask: Ask) -> None:
    edges = [most + more for most in (67, 70, 134, 153, 160, 306) for more in (-2, -1, 0, 1)]
    texts = [
        text
        for length in edges
        for piece in ["a", "€", *PLAIN, *MARKED, *EMOJI]
        for text in ("a" * length + piece, piece * (length // 2), "я" * length + piece + "a" * 9)
    ]
    assert differ(ask, texts) == []


def test_which_characters_are_in_the_alphabet(ask: Ask) -> None:
    codes = [*range(1, 0x500), *range(0x2000, 0x2100), *range(0x2100, 0xD800, 61), *range(0xE000, 0xFFFF, 61)]
    characters = [chr(code) for code in codes]
    assert differ(ask, [character + "a" * 70 for character in characters]) == []


def test_each_character_that_is_written_after_another(ask: Ask) -> None:
    known = [
        chr(code)
        for first, last in [(0x300, 0x36F), (0x900, 0x963), (0xFE00, 0xFE0F)]
        for code in range(first, last)
    ]
    assert differ(ask, ["я" * 66 + "a" + character + "a" * 10 for character in known]) == []


def test_texts_of_the_greatest_length(ask: Ask) -> None:
    chance = random.Random(4)
    alphabets = [[*GSM], [*GSM, *ESCAPED], [*GSM, *PLAIN], [*PLAIN, *MARKED], [*PLAIN, *EMOJI], EMOJI]
    texts = ["".join(chance.choices(alphabet, k=1600))[:1600] for alphabet in alphabets for _ in range(60)]
    assert differ(ask, texts) == []


@given(st.lists(texts, min_size=1, max_size=20))
def test_any_text(ask: Ask, texts: list[str]) -> None:
    assert differ(ask, texts) == []
