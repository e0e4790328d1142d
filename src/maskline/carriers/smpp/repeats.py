"""Which message of an SMSC is one that it brought before. Pure; time is an argument.

An SMSC brings again what it has no response for, and says nothing of its being a repeat. So a message is taken for one
only if it equals one whose response could not be written, or said that it was not taken, less than ten minutes ago;
each of those stands for one repeat. Somebody who writes the same text twice has written twice.
"""

from __future__ import annotations

import hashlib
from collections import deque

from maskline.carriers.smpp.pdu import ShortMessage, Tag

REPEATED_FOR_S = 600.0
DOUBTFUL_S = 10.0
"""A response that was written so shortly before its connection broke may never have arrived."""

_MARKS = (Tag.SAR_REFERENCE, Tag.SAR_TOTAL, Tag.SAR_PLACE)

Answered = tuple[str, str]
"""The number that a message is for, and the message's id here."""


class Repeats:
    """Messages that may come again, by their digest. A connection is whatever object stands for it."""

    def __init__(self) -> None:
        self._lost: dict[str, deque[tuple[str, float]]] = {}
        self._doubtful: dict[str, deque[tuple[str, float]]] = {}
        self._answered: dict[object, deque[tuple[float, str, Answered]]] = {}
        self._settled: list[Answered] = []

    def lose(self, digest: str, carrier_id: str, now: float) -> None:
        """The SMSC does not know that this was taken, whether it was or not. `carrier_id` is its id here."""
        _add(self._lost, digest, carrier_id, now)

    def claim(self, digest: str, now: float) -> str | None:
        """The id of what this message repeats, which is thereby used up; None: it is a new one."""
        return _take(self._lost, digest, now)

    def note_answer(self, connection: object, digest: str, message: Answered, now: float) -> None:
        """A response that says that this is taken has been written to this connection."""
        self._answered.setdefault(connection, deque()).append((now, digest, message))

    def close(self, connection: object, now: float, *, broken: bool) -> None:
        """This connection is over. If it broke, its last responses may be lost."""
        for at, digest, message in self._answered.pop(connection, ()):
            if broken and at >= now - DOUBTFUL_S:
                self.doubt(digest, now)
            else:
                self._settled.append(message)

    def settled(self, now: float) -> list[Answered]:
        """What will not come again, since its response must have arrived by now; each is given once."""
        for answered in self._answered.values():
            while answered and answered[0][0] < now - DOUBTFUL_S:
                self._settled.append(answered.popleft()[2])
        settled, self._settled = self._settled, []
        return settled

    def doubt(self, digest: str, now: float) -> None:
        """The response that says that this is taken may be lost."""
        _add(self._doubtful, digest, "", now)

    def is_doubtful(self, digest: str, now: float) -> bool:
        """Whether this message, which is taken as a new one, may be one whose response was lost."""
        return _take(self._doubtful, digest, now) is not None


def _add(kept: dict[str, deque[tuple[str, float]]], digest: str, carrier_id: str, now: float) -> None:
    """Keep it in the order of time, which is that of the keys, and drop what is too old."""
    while kept:
        oldest = next(iter(kept))
        if kept[oldest][-1][1] > now:
            break
        del kept[oldest]
    entries = kept.pop(digest, deque())
    entries.append((carrier_id, now + REPEATED_FOR_S))
    kept[digest] = entries


def _take(kept: dict[str, deque[tuple[str, float]]], digest: str, now: float) -> str | None:
    entries = kept.get(digest)
    while entries:
        carrier_id, until = entries.popleft()
        if not entries:
            del kept[digest]
        if until > now:
            return carrier_id
    return None


def digest_of(message: ShortMessage, key: bytes) -> str:
    """What two equal messages have in common. Without the key it does not tell what they say."""
    marks = [message.tlvs.get(tag, b"") for tag in _MARKS]
    numbers = [
        f"{address.ton}:{address.npi}:{address.digits}".encode()
        for address in (message.source, message.destination)
    ]
    digest = hashlib.blake2b(key=key[:64], digest_size=16)
    for field in (*numbers, bytes((message.esm_class, message.data_coding)), *marks, message.content):
        digest.update(len(field).to_bytes(4))
        digest.update(field)
    return digest.hexdigest()
