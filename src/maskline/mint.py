"""New SIDs: two letters and the 32 hexadecimal digits of a UUIDv7 (RFC 9562), so that keys are made in rising order.

The order is strict within a process: the 12 bits after the milliseconds count up (RFC 9562 section 6.2, method 1),
and 61 random bits keep a SID from being guessed. The last bit is always set: the SID without it is free, for the
second leg of an Interaction (`ids.inbound_leg_sid`).
"""

from __future__ import annotations

import os
import secrets
import struct
import threading

from maskline.clock import Clock

_TAILS = struct.Struct("=Q")
_TAILS_AT_ONCE = 256

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Mint:
    """Makes SIDs. Safe to use from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0
        self._tails: list[str] = []

    def sid(self, prefix: str) -> str:
        """A fresh SID of this kind, greater than every one made before by this process."""
        with self._lock:
            # 48 bits of milliseconds and 12 of counter in one number: when the counter runs over or the clock steps
            # back, it simply goes on counting from the last.
            stamp = (self._clock.now() // 1000) << 12
            self._last = stamp = max(stamp, self._last + 1)
            if not self._tails:
                self._tails = _tails()
            tail = self._tails.pop()
        return f"{prefix}{stamp >> 12 << 16 | 0x7000 | stamp & 0xFFF:016x}{tail}"


def _tails() -> list[str]:
    """The variant and the random bits of many SIDs: made together they cost half."""
    random = _TAILS.iter_unpack(os.urandom(_TAILS_AT_ONCE * _TAILS.size))
    return [f"{0x8000_0000_0000_0001 | bits >> 2:016x}" for (bits,) in random]


def secret(length: int = 32) -> str:
    """A secret of letters and digits only: some official clients refuse anything else in credentials."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
