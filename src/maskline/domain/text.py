"""How many short messages a text takes on the air: GSM 03.38 where its alphabet suffices, else UCS-2.

Counted as Twilio's own calculator counts, which the tests hold it to. No smart encoding: a curly quote is one.
"""

from __future__ import annotations

import unicodedata

from gsm0338 import Codec

MOST_BODY = 1600
"""How many characters a message may have, each code point counted as one."""

_ESCAPE = b"\x1b"

_JOINER = "\u200d"
_CONTINUES = frozenset("\u200c\u200d\u0e33\u0eb3\uff9e\uff9f")


def _septets() -> dict[str, int]:
    """Every character of the alphabet and its extension, and how much room it takes."""
    codec = Codec()
    sizes = {}
    for code in range(128):
        for encoded in (_ESCAPE + bytes([code]), bytes([code])):
            character, _ = codec.decode(encoded, "ignore")
            if character:
                sizes[character] = len(encoded)
    return sizes


_SEPTETS = _septets()


def count_segments(text: str) -> int:
    """The number of segments, at least 1. One alone has room for 160 septets or 70 code units; of several each has 153
    or 67, and no character is cut in two, nor what is seen as one (an emoji of several, a letter and its accents).
    """
    try:
        sizes = [_SEPTETS[character] for character in text]
        alone, room = 160, 153
    except KeyError:
        alone, room = 70, 67
        sizes = _units(text, room)
    if sum(sizes) <= alone:
        return 1
    segments, left = 1, room
    for size in sizes:
        if size > left:
            segments, left = segments + 1, room
        left -= size
    return segments


def _units(text: str, most: int) -> list[int]:
    """How many UTF-16 code units each thing takes that is seen as one character; what takes over `most` is cut."""
    sizes: list[int] = []
    before, half_flag = "\n", False
    for character in text:
        size = 1 if character <= "\uffff" else 2
        flag = "\U0001f1e6" <= character <= "\U0001f1ff"
        joined = _joins(before, character) or (flag and half_flag)
        if joined and sizes[-1] + size <= most:
            sizes[-1] += size
        else:
            sizes.append(size)
        before, half_flag = character, flag and not joined
    return sizes


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
