"""What goes with a text: media, each the address that it is fetched from, and what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any
from urllib.parse import urlsplit

MOST_MEDIA = 10
MEDIA_PREFIX = "ME"

UNKNOWN = "application/octet-stream"
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")

# Of our own, since the lists of machines differ.
_BY_SUFFIX = {
    "3gp": "video/3gpp",
    "aac": "audio/aac",
    "amr": "audio/amr",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "heic": "image/heic",
    "ics": "text/calendar",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "m4a": "audio/mp4",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "txt": "text/plain",
    "vcf": "text/vcard",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
}


@dataclass(frozen=True, slots=True)
class Medium:
    """One of them. `content_type` is a bare one such as `image/png`; empty where nobody has said it."""

    url: str
    content_type: str = ""

    @property
    def known_type(self) -> str:
        """What it is as far as that is known: what was said, else what its address ends in."""
        return self.content_type or _type_by_name(self.url)


def read_type(text: str | None) -> str:
    """A Content-Type without its parameters; empty if it is none."""
    kind = (text or "").partition(";")[0].strip().lower()
    return kind if _TYPE.fullmatch(kind) else ""


def media_of(data: Mapping[str, Any]) -> list[Medium]:
    """The media in an Interaction's `data`."""
    media = zip_longest(data.get("media", ()), data.get("media_types", ()), fillvalue="")
    return [Medium(url, content_type) for url, content_type in media]


def media_sid(leg_sid: str, number: int) -> str:
    """The SID of a message's medium of this number, from 0: it follows from the message's own."""
    return f"{MEDIA_PREFIX}{leg_sid[2:32]}{2 * number + (int(leg_sid[-1], 16) & 1):02x}"


def with_links(body: str, links: Sequence[str], most: int) -> tuple[str, int]:
    """A text of at most `most` characters with the links below it, one a line, and how many had no room."""
    lines = [body] if body else []
    left, left_out = most - len(body), 0
    for link in links:
        room = len(link) + bool(lines)
        if room <= left:
            lines.append(link)
            left -= room
        else:
            left_out += 1
    return "\n".join(lines), left_out


def _type_by_name(url: str) -> str:
    try:
        path = urlsplit(url).path
    except ValueError:
        return UNKNOWN
    return _BY_SUFFIX.get(path.rpartition("/")[2].rpartition(".")[2].lower(), UNKNOWN)
