"""Parts a batch into waves, so that no two items of one are about the same: a wave is written in one statement, which
may not write to a row twice. Nearly always there is one wave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable


def waves(keys: Iterable[Hashable]) -> list[list[int]]:
    """The places of these keys, parted: no part has a key twice, and of one key the earlier place is in the earlier."""
    seen: Counter[Hashable] = Counter()
    parted: list[list[int]] = []
    for place, key in enumerate(keys):
        wave = seen[key]
        seen[key] += 1
        if wave == len(parted):
            parted.append([])
        parted[wave].append(place)
    return parted
