"""Where a North American number is: its area code, the region that the code serves, and how far two codes are apart.

North America is here what its numbering plan covers: the United States and their islands, Canada, and those countries
of the Caribbean that share calling code 1. Toll-free and other numbers without a place have no area, nor have numbers
of the rest of the world. The facts are in `area_codes`; a code that is newer than that table has no area either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt

from maskline.domain.area_codes import AREA_CODES

_NORTH_AMERICAN = re.compile(r"\+1([2-9][0-9]{2})[2-9][0-9]{6}")
_EARTH_KM = 6371.0


@dataclass(frozen=True, slots=True)
class AreaCode:
    """`region` is a state or province, empty on the islands; latitude and longitude are where its numbers centre.

    Codes with a name of `complexes` in common are overlays of each other. A few codes serve two regions.
    """

    code: str
    country: str
    region: str
    latitude: float
    longitude: float
    complexes: frozenset[str]


_FACTS = {code: AreaCode(code, *row[:4], frozenset(row[4])) for code, row in AREA_CODES.items()}


def area_code(e164: str) -> str | None:
    """The area code of a North American number that has a place; None for any other number or text."""
    number = _NORTH_AMERICAN.fullmatch(e164)
    return number[1] if number and number[1] in _FACTS else None


def find_area(code: str) -> AreaCode | None:
    """What is known of an area code."""
    return _FACTS.get(code)


def same_overlay(a: str, b: str) -> bool:
    """Whether the two area codes serve a region together, as 415 and 628 do; every code does so with itself."""
    return a == b or not _FACTS[a].complexes.isdisjoint(_FACTS[b].complexes)


def distance_km(a: str, b: str) -> float:
    """The great-circle distance between the centres of two area codes."""
    one, other = _FACTS[a], _FACTS[b]
    latitude, to_latitude = radians(one.latitude), radians(other.latitude)
    half = (
        sin((to_latitude - latitude) / 2) ** 2
        + cos(latitude) * cos(to_latitude) * sin(radians(other.longitude - one.longitude) / 2) ** 2
    )
    return 2 * _EARTH_KM * asin(min(1.0, sqrt(half)))
