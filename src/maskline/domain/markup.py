"""XML from anybody, as a tree: no entities, no document types, nothing external, and limits to everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

MOST_BYTES = 65_536
MOST_ELEMENTS = 500
MOST_DEPTH = 8

BLANKS = " \t\r\n"


class Unreadable(ValueError):
    """It is no XML that may be read. The text says why, without anything of what stands in it."""


@dataclass(slots=True)
class Element:
    """`content` holds texts and elements in their order."""

    name: str
    attributes: dict[str, str]
    content: list[str | Element] = field(default_factory=list)

    @property
    def children(self) -> list[Element]:
        return [each for each in self.content if isinstance(each, Element)]

    @property
    def text(self) -> str:
        """What stands in it outside of other elements."""
        return "".join(each for each in self.content if isinstance(each, str)).strip(BLANKS)

    @property
    def whole_text(self) -> str:
        """What stands in it, in other elements too."""
        return "".join(_texts(self)).strip(BLANKS)


def _texts(element: Element) -> Iterator[str]:
    for each in element.content:
        if isinstance(each, str):
            yield each
        else:
            yield from _texts(each)


def parse_xml(body: bytes, content_type: str) -> Element:
    """The root of a document, of which `content_type` says the charset at most. Raises Unreadable."""
    text = _decode(body, content_type)
    top = Element("", {})
    path = [top]
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > MOST_ELEMENTS:
            raise Unreadable(f"it has more than {MOST_ELEMENTS} elements")
        if len(path) > MOST_DEPTH:
            raise Unreadable(f"its elements are nested more than {MOST_DEPTH} deep")
        element = Element(name, attributes)
        path[-1].content.append(element)
        path.append(element)

    def characters(piece: str) -> None:
        path[-1].content.append(piece)

    def refuse(*_: Any) -> None:
        raise Unreadable("it has a document type, which is not read")

    parser = expat.ParserCreate("utf-8")  # whatever the declaration says: it has been decoded
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: path.pop()
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise Unreadable(f"line {error.lineno}: {expat.ErrorString(error.code)}") from None
    return top.children[0]


def _decode(body: bytes, content_type: str) -> str:
    if len(body) > MOST_BYTES:
        raise Unreadable(f"it has more than {MOST_BYTES} bytes")
    charset = _charset(body, content_type)
    if charset not in _CODECS:
        raise Unreadable("its charset is none that is read (UTF-8, UTF-16, ISO-8859-1, Windows-1252)")
    try:
        text = body.decode(_CODECS[charset]).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise Unreadable(f"it is not in {charset}, the charset that it says or implies") from None
    if not text.strip(BLANKS):
        raise Unreadable("it is empty")
    if text.lstrip(BLANKS).startswith('"'):
        raise Unreadable("it is a JSON string: what was meant has been encoded as JSON once too often")
    return text


# utf-16: in the order that its mark says.
_CODECS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "windows-1252": "cp1252",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
# What a document begins with that says its charset more surely than any word.
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"<\0", "utf-16le"),
    (b"\0<", "utf-16be"),
)
_SAID = re.compile(r""";\s*charset\s*=\s*["']?([^\s"';]+)""", re.IGNORECASE)
_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,100}?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")


def _charset(body: bytes, content_type: str) -> str:
    """By its first bytes, else by what was said with it, else by its declaration, else UTF-8 (RFC 7303)."""
    for mark, charset in _MARKS:
        if body.startswith(mark):
            return charset
    if said := _SAID.search(content_type):
        return said[1].lower()
    declared = _DECLARED.match(body)
    return declared[1].decode().lower() if declared else "utf-8"


_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"} | {
    blank: f"&#{ord(blank)};" for blank in "\t\r\n"
}
_SPECIAL = re.compile(r'[&<>"\t\r\n]|[^\t\r\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')


def escape(text: str) -> str:
    """`text` as an element or an attribute holds it. Characters that XML does not have are left out."""
    return _SPECIAL.sub(lambda match: _ESCAPES.get(match[0], ""), text)
