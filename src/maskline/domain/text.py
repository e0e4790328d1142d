"""A text as short messages: GSM 03.38 where its alphabet suffices, else UCS-2; how many it takes, and where it is cut.
Longer than a message may be, it is several.

Counted as Twilio's own calculator counts, which the tests hold it to. No smart encoding: a curly quote is one.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Collection, Sequence
from contextlib import suppress
from enum import Enum
from itertools import accumulate, pairwise

from gsm0338 import Codec

MOST_BODY = 1600
"""How many characters a message may have, each code point counted as one."""

_ESCAPE = b"\x1b"

_JOINER = "\u200d"
_CONTINUES = frozenset("\u200c\u200d\u0e33\u0eb3\uff9e\uff9f")


class Alphabet(Enum):
    """In what a text is written on its way: units that one short message has room for, and each of several."""

    GSM = (160, 153)
    """Septets of GSM 03.38; a character of its extension takes two."""
    LATIN_1 = (140, 134)
    UCS_2 = (70, 67)
    """UTF-16 code units; a character outside the first plane takes two."""

    def __init__(self, alone: int, room: int) -> None:
        self.alone = alone
        self.room = room


def _alphabet() -> dict[str, bytes]:
    """Every character of GSM 03.38 and of its extension, in septets."""
    codec = Codec()
    septets = {}
    for code in range(128):
        for encoded in (_ESCAPE + bytes([code]), bytes([code])):
            character, _ = codec.decode(encoded, "ignore")
            if character:
                septets[character] = encoded
    return septets


_SEPTETS = _alphabet()
_SIZES = {character: len(encoded) for character, encoded in _SEPTETS.items()}
_EXTENSION = {encoded[1]: character for character, encoded in _SEPTETS.items() if len(encoded) == 2}
_BASIC = dict.fromkeys(range(256), "\ufffd") | {
    encoded[0]: character for character, encoded in _SEPTETS.items() if len(encoded) == 1
}


def count_segments(text: str) -> int:
    """The number of segments, at least 1. One alone has room for 160 septets or 70 code units; of several each has 153
    or 67, and no character is cut in two, nor what is seen as one (an emoji of several, a letter and its accents).
    """
    alphabet, _, sizes = _measure(text)
    return len(_cuts(alphabet, sizes)) + 1


def fits_gsm(text: str) -> bool:
    """Whether the alphabet of GSM 03.38 suffices."""
    return all(character in _SIZES for character in text)


def split_segments(
    text: str, alphabets: Collection[Alphabet] = (Alphabet.GSM, Alphabet.UCS_2)
) -> tuple[Alphabet, list[str]]:
    """The text of each segment, and in what alphabet they all are: the first of Alphabet that is among `alphabets` and
    suffices. UCS-2 always does.
    """
    alphabet, pieces, sizes = _measure(text, alphabets)
    cuts = [0, *_cuts(alphabet, sizes), len(pieces)]
    return alphabet, ["".join(pieces[start:end]) for start, end in pairwise(cuts)]


def split_body(text: str) -> list[str]:
    """The bodies of the messages that a text takes, at least one, each of at most MOST_BODY characters: cut behind a
    space or a line where the latter half of a body has one, and not within what is seen as one character.
    """
    if len(text) <= MOST_BODY:
        return [text]
    pieces, _ = _clusters(text, Alphabet.UCS_2.room)
    bodies, start = [], 0
    while start < len(pieces):
        window = pieces[start : start + MOST_BODY]
        end = bisect_right(list(accumulate(map(len, window))), MOST_BODY)
        if start + end < len(pieces):
            spaces = (place for place in range(end, end // 2, -1) if window[place - 1].isspace())
            end = next(spaces, end)
        bodies.append("".join(window[:end]))
        start += end
    return bodies


def encode_text(text: str, alphabet: Alphabet) -> bytes:
    """A text that `split_segments` has found to be in this alphabet: an octet for each septet."""
    match alphabet:
        case Alphabet.GSM:
            return b"".join([_SEPTETS[character] for character in text])
        case Alphabet.LATIN_1:
            return text.encode("latin-1")
        case Alphabet.UCS_2:
            return text.encode("utf-16-be")


def decode_gsm(septets: bytes) -> str:
    """The text of septets, an octet for each. An escape before what the extension has not is passed over, as TS 23.038
    asks; what is no septet becomes U+FFFD.
    """
    plain, *escaped = septets.split(_ESCAPE)
    text = [_read_septets(plain)]
    for part in escaped:
        extended = _EXTENSION.get(part[0]) if part else None
        text.append(_read_septets(part) if extended is None else extended + _read_septets(part[1:]))
    return "".join(text)


def _read_septets(septets: bytes) -> str:
    return septets.decode("latin-1").translate(_BASIC)


def _measure(
    text: str, alphabets: Collection[Alphabet] = (Alphabet.GSM, Alphabet.UCS_2)
) -> tuple[Alphabet, Sequence[str], list[int]]:
    """What a text is written in, and the pieces that must not be cut in two, each with its size."""
    if Alphabet.GSM in alphabets:
        with suppress(KeyError):
            return Alphabet.GSM, text, [_SIZES[character] for character in text]
    if Alphabet.LATIN_1 in alphabets and max(text, default="") <= "\xff":
        return Alphabet.LATIN_1, text, [1] * len(text)
    pieces, sizes = _clusters(text, Alphabet.UCS_2.room)
    return Alphabet.UCS_2, pieces, sizes


def _cuts(alphabet: Alphabet, sizes: list[int]) -> list[int]:
    """Before which pieces a new segment begins."""
    if sum(sizes) <= alphabet.alone:
        return []
    cuts, left = [], alphabet.room
    for place, size in enumerate(sizes):
        if size > left:
            cuts.append(place)
            left = alphabet.room
        left -= size
    return cuts


def _clusters(text: str, most: int) -> tuple[list[str], list[int]]:
    """What is seen as one character, with its UTF-16 code units; what takes over `most` is cut."""
    pieces: list[str] = []
    sizes: list[int] = []
    before, half_flag = "\n", False
    for character in text:
        size = 1 if character <= "\uffff" else 2
        flag = "\U0001f1e6" <= character <= "\U0001f1ff"
        joined = _joins(before, character) or (flag and half_flag)
        if joined and sizes[-1] + size <= most:
            pieces[-1] += character
            sizes[-1] += size
        else:
            pieces.append(character)
            sizes.append(size)
        before, half_flag = character, flag and not joined
    return pieces, sizes


def _joins(before: str, character: str) -> bool:
    """Whether the two are seen as one, but for flags: the extended grapheme clusters of UAX 29 as far as people write
    them.
    """
    if character <= "\u02ff":
        return False
    if _continues(character):
        category = unicodedata.category(before)
        return _continues(before) or category not in ("Cc", "Cf", "Zl", "Zp")
    if before == _JOINER:
        return unicodedata.category(character) == "So"
    # Korean in single letters.
    return "\u1160" <= character <= "\u11ff" and ("\u1100" <= before <= "\u11ff" or "가" <= before <= "힣")


def _continues(character: str) -> bool:
    """Marks, joiners, the skin tones of emoji, and the tags of which some flags are made."""
    return (
        unicodedata.category(character)[0] == "M"
        or character in _CONTINUES
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
    )
