"""Which proxy number a participant gets, or why none: every number that may be chosen, best first.

It works on what was read before; whether a pair is still free is judged when it is written, by the unique index. So
`rank` gives all candidates and not one: the store takes the first that is still free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maskline.domain import problems
from maskline.domain.model import Mode, NumberSelectionBehavior
from maskline.domain.phone import identifier_key, mask
from maskline.domain.problems import Code

# Countries of calling code 1 whose people may get a number of the United States. Twilio's table has all but Canada,
# on which it is silent: a Canadian is better served by a foreign number than by none. It does not go the other way:
# the rule for +1 is "same country, then US", so nobody but a Canadian gets a Canadian number.
_SERVED_BY_US = frozenset({"AG", "AI", "BM", "BS", "CA", "MS", "TC", "VG", "VI"})


@dataclass(frozen=True, slots=True)
class PoolNumber:
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
    active in another Session of the Service.
    """

    key: str
    country: str | None
    calling_code: int
    history: tuple[str, ...]
    taken: frozenset[str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no number. `detail` names the participant, masked, and for 80203 the country that was seen."""

    code: Code
    detail: str = ""


def rank(
    person: Person, mode: Mode, behavior: NumberSelectionBehavior, pool: Sequence[PoolNumber]
) -> list[PoolNumber] | Refusal:
    """All numbers of the pool that this person can be given, best first; or the first rule that leaves none."""
    who = mask(person.key)
    if not pool:
        return Refusal(problems.EMPTY_POOL)
    near = [number for number in pool if _closeness(person, number) is not None]
    if not near:
        return Refusal(problems.NO_PROXY_FOR_COUNTRY, f"{who} ({person.country})" if person.country else who)
    able = _with_capabilities(mode, near)
    if isinstance(able, Code):
        return Refusal(able, who)
    # The stricter levels of GeoMatchLevel will narrow `able` here, and refuse with NO_PROXY_IN_AREA.
    unreserved = [number for number in able if not number.reserved]
    if not unreserved:
        return Refusal(problems.ONLY_RESERVED, who)
    free = [n for n in unreserved if n.phone_number not in person.taken and not _is_own(person, n)]
    if not free:
        return Refusal(problems.NO_UNUSED_PROXY, who)

    recency = {number: place for place, number in enumerate(dict.fromkeys(person.history))}
    never = len(recency)
    sign = 1 if behavior is NumberSelectionBehavior.PREFER_STICKY else -1

    def worth(number: PoolNumber) -> tuple[int, int, int, str]:
        sticky = sign * recency.get(number.phone_number, never)
        return sticky, _closeness(person, number) or 0, number.participants, number.sid

    return sorted(free, key=worth)


def check_explicit(person: Person, mode: Mode, number: PoolNumber) -> Refusal | None:
    """Why this person cannot have the number that was asked for; it may be reserved and of any country."""
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
    """0 for a number of the person's own country, 1 for one that shares its calling code, None for any other."""
    if number.calling_code != person.calling_code:
        return None
    if person.country is None or number.country is None:
        return 1  # nothing but the code to go by
    if number.country == person.country:
        return 0
    if person.calling_code == 1 and not (number.country == "US" and person.country in _SERVED_BY_US):
        return None
    return 1


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
    return identifier_key(number.phone_number) == person.key
