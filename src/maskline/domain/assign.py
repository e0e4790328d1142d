"""Which proxy number a participant gets, or why none: every number that may be chosen, best first.

It works on what was read before; whether a pair is still free is judged when it is written, by the unique index. So
`rank` gives all candidates and not one: the store takes the first that is still free.

The levels of GeoMatchLevel lie one in the other: who may have a number by `area-code` may have it by `overlay`, by
`radius` and by `country`. They hold for people who have a North American area code; for all others the country decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from maskline.domain import problems
from maskline.domain.geo import area_code, distance_km, same_overlay
from maskline.domain.model import GeoMatchLevel, Mode, NumberSelectionBehavior
from maskline.domain.phone import identifier_key, mask
from maskline.domain.problems import Code

# Below every distance between two areas.
_SAME_CODE = -2.0
_SAME_OVERLAY = -1.0


class PoolNumber(NamedTuple):
    """A number of the pool. `voice` and `sms` mean both directions; `participants` counts the active ones on it."""

    sid: str
    phone_number: str
    country: str | None
    calling_code: int
    reserved: bool
    voice: bool
    sms: bool
    participants: int


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever needs a number. `key` is the `identifier_key`.

    `history` holds the proxy numbers this person has had, most recent first; `taken` those on which the person is
    active in another Session of the Service; `cooling` those that they have left too lately to be given them again.
    """

    key: str
    country: str | None
    calling_code: int
    history: tuple[str, ...]
    taken: frozenset[str]
    cooling: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """How a Service wants its numbers chosen.

    With `fallback` the level forbids nothing: the numbers that meet it come first, before those of the country.
    `prefer_unused` puts numbers on which nobody is active before all others, whatever the person had before.
    """

    behavior: NumberSelectionBehavior = NumberSelectionBehavior.PREFER_STICKY
    level: GeoMatchLevel = GeoMatchLevel.COUNTRY
    radius_km: float = 80
    fallback: bool = False
    prefer_unused: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no number. `detail` names the participant, masked, and for 80203 the country that was seen."""

    code: Code
    detail: str = ""


def rank(person: Person, mode: Mode, rules: Rules, pool: Sequence[PoolNumber]) -> list[PoolNumber] | Refusal:
    """All numbers of the pool that this person can be given, best first; or the first rule that leaves none.

    The order: those within the level (all are, unless `fallback` lets others in), unused ones if they are preferred,
    the sticky rule, the own country before a shared calling code, the nearer area (at a level stricter than country),
    the fewest active participants, the smallest SID.
    """
    who = mask(person.key)
    if not pool:
        return Refusal(problems.EMPTY_POOL)
    near = [number for number in pool if _closeness(person, number) is not None]
    if not near:
        return Refusal(problems.NO_PROXY_FOR_COUNTRY, f"{who} ({person.country})" if person.country else who)
    able = _with_capabilities(mode, near)
    if isinstance(able, Code):
        return Refusal(able, who)

    home = None if rules.level is GeoMatchLevel.COUNTRY else area_code(person.key)
    reach = _reach(rules) if home else inf
    if not rules.fallback:
        able = [number for number in able if _remoteness(home, number) <= reach]
        if not able:
            return Refusal(problems.NO_PROXY_IN_AREA, who)
    unreserved = [number for number in able if not number.reserved]
    if not unreserved:
        return Refusal(problems.ONLY_RESERVED, who)
    free = [n for n in unreserved if n.phone_number not in person.taken and not _is_own(person, n)]
    cool = [number for number in free if number.phone_number not in person.cooling]
    if not cool:
        return Refusal(problems.NO_UNUSED_PROXY, f"{who} ({len(free)} cooling down)" if free else who)

    recency = {number: place for place, number in enumerate(dict.fromkeys(person.history))}
    never = len(recency)
    sign = 1 if rules.behavior is NumberSelectionBehavior.PREFER_STICKY else -1

    def worth(number: PoolNumber) -> tuple[bool, bool, int, int, float, int, str]:
        remoteness = _remoteness(home, number)
        return (
            remoteness > reach,
            rules.prefer_unused and number.participants > 0,
            sign * recency.get(number.phone_number, never),
            _closeness(person, number) or 0,
            remoteness,
            number.participants,
            number.sid,
        )

    return sorted(cool, key=worth)


def check_explicit(person: Person, mode: Mode, number: PoolNumber) -> Refusal | None:
    """Why this person cannot have the number that was asked for; it may be reserved, cool down, be of any country."""
    who = mask(person.key)
    able = _with_capabilities(mode, [number])
    if isinstance(able, Code):
        return Refusal(able, who)
    if _is_own(person, number):
        return Refusal(problems.PAIR_INVALID, who)
    if number.phone_number in person.taken:
        return Refusal(problems.PAIR_IN_USE, who)
    return None


def _closeness(person: Person, number: PoolNumber) -> int | None:
    """0 for a number of the person's own country, 1 for one that shares its calling code, None for any other.

    Of the countries that share +1, only the United States lend their numbers to all others. A short code, which has no
    calling code of its own, is known in its own country alone.
    """
    if number.calling_code != person.calling_code:
        return None
    if person.country is not None and number.country == person.country:
        return 0
    if not number.phone_number.startswith("+"):
        return None
    if person.country is None or number.country is None:
        return 1  # nothing but the code to go by
    return 1 if person.calling_code != 1 or number.country == "US" else None


def _reach(rules: Rules) -> float:
    """How remote a number's area may be."""
    match rules.level:
        case GeoMatchLevel.COUNTRY:
            return inf
        case GeoMatchLevel.AREA_CODE:
            return _SAME_CODE
        case GeoMatchLevel.OVERLAY:
            return _SAME_OVERLAY
        case GeoMatchLevel.RADIUS:
            return rules.radius_km


def _remoteness(home: str | None, number: PoolNumber) -> float:
    """Kilometres between the area of the person and the number's; two values below 0 for one code and one overlay."""
    if home is None:
        return 0.0
    area = area_code(number.phone_number)
    if area is None:
        return inf
    if area == home:
        return _SAME_CODE
    return _SAME_OVERLAY if same_overlay(area, home) else distance_km(area, home)


def _with_capabilities(mode: Mode, numbers: list[PoolNumber]) -> list[PoolNumber] | Code:
    """The numbers that can do all that the mode needs, each by itself; or what is missing."""
    if mode is not Mode.MESSAGE_ONLY:
        numbers = [number for number in numbers if number.voice]
        if not numbers:
            return problems.NO_VOICE_PROXY
    if mode is not Mode.VOICE_ONLY:
        numbers = [number for number in numbers if number.sms]
        if not numbers:
            return problems.NO_MESSAGE_PROXY
    return numbers


def _is_own(person: Person, number: PoolNumber) -> bool:
    # Two spellings of a number end alike, and to read one takes longer than all else that is asked of a number.
    return number.phone_number[-7:] == person.key[-7:] and identifier_key(number.phone_number) == person.key
