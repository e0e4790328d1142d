"""How many short messages a text takes on the air: GSM 03.38 where its alphabet suffices, else UCS-2."""

from __future__ import annotations

from gsm0338 import Codec

_ESCAPE = b"\x1b"


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
    or 67, and no character is cut in two.
    """
    try:
        sizes = [_SEPTETS[character] for character in text]
        alone, room = 160, 153
    except KeyError:
        sizes = [1 if character <= "\uffff" else 2 for character in text]
        alone, room = 70, 67
    if sum(sizes) <= alone:
        return 1
    segments, left = 1, room
    for size in sizes:
        if size > left:
            segments, left = segments + 1, room
        left -= size
    return segments
