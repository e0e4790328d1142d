"""Choosing a proxy number: examples for each rule, and a second statement of the rules that must agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import phonenumbers
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from maskline.domain import problems
from maskline.domain.assign import Person, PoolNumber, Refusal, Rules, check_explicit, rank
from maskline.domain.geo import area_code, distance_km, same_overlay
from maskline.domain.model import GeoMatchLevel, Mode, NumberSelectionBehavior
from maskline.domain.phone import Phone, parse_phone
from maskline.domain.problems import Code

PREFER, AVOID = NumberSelectionBehavior.PREFER_STICKY, NumberSelectionBehavior.AVOID_STICKY
COUNTRY, AREA_CODE, OVERLAY, RADIUS = GeoMatchLevel
BOTH, VOICE, MESSAGE = Mode.VOICE_AND_MESSAGE, Mode.VOICE_ONLY, Mode.MESSAGE_ONLY
CALLING_CODES = {
    "US": 1,
    "CA": 1,
    "AG": 1,
    "BM": 1,
    "JM": 1,
    "PR": 1,
    "GB": 44,
    "JE": 44,
    "RU": 7,
    "KZ": 7,
    "JP": 81,
}


def a_number(
    last: int = 0,
    country: str = "US",
    *,
    reserved: bool = False,
    voice: bool = True,
    sms: bool = True,
    participants: int = 0,
    area: str = "415",
) -> PoolNumber:
    """The pool number …0`last`; its SID grows with `last`."""
    code = CALLING_CODES[country]
    return PoolNumber(f"PN{last:032x}", phone(last, area), country, code, reserved, voice, sms, participants)


def phone(last: int, area: str = "415") -> str:
    return f"+1{area}555010{last}"


def a_person(
    country: str = "US",
    *,
    had: tuple[int, ...] = (),
    on: tuple[int, ...] = (),
    left: tuple[int, ...] = (),
    key: str = "+14155550199",
) -> Person:
    """A participant who `had` these numbers, most recent first, is `on` those elsewhere and `left` those lately."""
    had_numbers, (taken, cooling) = (
        tuple(map(phone, had)),
        (frozenset(map(phone, ones)) for ones in (on, left)),
    )
    return Person(key, country, CALLING_CODES[country], had_numbers, taken, cooling)


def chosen(person: Person, *pool: PoolNumber, **rules: Any) -> list[str]:
    """The last digits of the numbers ranked, best first."""
    ranked = rank(person, BOTH, Rules(**rules), pool)
    assert not isinstance(ranked, Refusal), ranked
    return [number.phone_number[-1:] for number in ranked]


def refused(person: Person, *pool: PoolNumber, mode: Mode = BOTH, **rules: Any) -> Code:
    answer = rank(person, mode, Rules(**rules), pool)
    assert isinstance(answer, Refusal), answer
    return answer.code


# Order


def test_the_fewest_participants_and_then_the_smallest_sid_win() -> None:
    """Load decides among numbers that are otherwise alike, then the SID."""
    pool = a_number(1, participants=2), a_number(3), a_number(2), a_number(4, participants=1)
    assert chosen(a_person(), *pool) == ["2", "3", "4", "1"]


def test_two_people_get_the_same_number_while_load_is_equal() -> None:
    """A number is no scarce good: another person may have it too."""
    pool = a_number(1), a_number(2)
    assert chosen(a_person(), *pool) == chosen(a_person(key="+14155550198"), *pool)


def test_prefer_sticky_takes_the_number_of_before_the_most_recent_first() -> None:
    """The number this person had last comes first, whatever its load."""
    pool = a_number(1), a_number(2, participants=9), a_number(3, participants=5)
    assert chosen(a_person(had=(3, 2)), *pool) == ["3", "2", "1"]
    assert chosen(a_person(had=(2, 3, 2)), *pool) == ["2", "3", "1"]


def test_prefer_sticky_takes_another_number_where_the_old_one_cannot_be_used() -> None:
    """A number that is taken, reserved or gone is passed over."""
    pool = a_number(1), a_number(2), a_number(3, reserved=True)
    assert chosen(a_person(had=(4, 3, 2), on=(2,)), *pool) == ["1"]


def test_avoid_sticky_takes_new_numbers_first_and_then_the_least_recent() -> None:
    """Numbers this person never had come first, the one had last comes last."""
    pool = a_number(1), a_number(2), a_number(3), a_number(4, participants=9)
    assert chosen(a_person(had=(1, 3, 2)), *pool, behavior=AVOID) == ["4", "2", "3", "1"]


def test_avoid_sticky_gives_the_only_number_again() -> None:
    """It is a preference: with a pool of one, the one is given."""
    assert chosen(a_person(had=(1,)), a_number(1), behavior=AVOID) == ["1"]


def test_the_own_country_comes_before_a_shared_code_and_a_sticky_number_before_both() -> None:
    """The sticky rule is asked before the country, and the country before the load."""
    pool = a_number(1, "GB"), a_number(2, "JE", participants=7)
    assert chosen(a_person("JE"), *pool) == ["2", "1"]
    assert chosen(a_person("JE", had=(1,)), *pool) == ["1", "2"]


# Country


@pytest.mark.parametrize(
    ("person", "number"),
    [
        ("US", "US"),
        ("CA", "CA"),
        ("CA", "US"),
        ("AG", "US"),
        ("BM", "US"),
        ("JM", "JM"),
        ("JM", "US"),
        ("PR", "US"),
        ("JE", "GB"),
        ("RU", "KZ"),
    ],
)
def test_a_number_of_the_country_or_of_its_group_is_given(person: str, number: str) -> None:
    """Numbers of one calling code match each other; under +1, everybody may have US numbers."""
    assert chosen(a_person(person), a_number(1, number)) == ["1"]


@pytest.mark.parametrize(
    ("person", "number"),
    [("US", "CA"), ("US", "AG"), ("BM", "AG"), ("BM", "CA"), ("CA", "JM"), ("JP", "US"), ("US", "JP")],
)
def test_a_number_of_another_country_is_not_given(person: str, number: str) -> None:
    """There is no fallback to another country: the caller is told which country is missing."""
    answer = rank(a_person(person), BOTH, Rules(), [a_number(1, number)])
    assert answer == Refusal(problems.NO_PROXY_FOR_COUNTRY, f"+1…99 ({person})")


# Of the specification's section 6.3: countries that share a calling code, and can be told apart by their numbers (which
# Western Sahara and Saint Martin cannot).
SHARED = {
    1: "US AG AI BM BS MS TC VG VI CA",
    7: "RU KZ",
    39: "IT VA",
    44: "GB GG IM JE",
    47: "NO SJ",
    61: "AU CX CC",
    212: "MA",
    262: "RE YT",
    358: "FI AX",
    590: "GP BL",
    599: "CW BQ",
}


def number_of(country: str) -> Phone:
    """A real number of this country, by what `phonenumbers` has for example."""
    kinds = PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE
    examples = [phonenumbers.example_number_for_type(country, kind) for kind in kinds]
    phones = [parse_phone(phonenumbers.format_number(one, PhoneNumberFormat.E164)) for one in examples]
    return next(phone for phone in phones if phone is not None and phone.country == country)


@pytest.mark.parametrize(
    ("person", "number"),
    [
        (person, number)
        for countries in SHARED.values()
        for person in countries.split()
        for number in countries.split()
    ],
)
def test_countries_of_one_calling_code_as_their_real_numbers_show_them(person: str, number: str) -> None:
    """Section 6.3: any number of the code serves; under +1 only one's own country's and US numbers. One's own first."""
    caller, proxy = number_of(person), number_of(number)
    there = PoolNumber("PN1", "+1", proxy.country, proxy.calling_code, False, True, True, 0)
    own = PoolNumber("PN2", "+2", caller.country, caller.calling_code, False, True, True, 9)
    who = Person(caller.e164, caller.country, caller.calling_code, (), frozenset())
    if caller.calling_code == 1 and number not in {person, "US"}:
        assert refused(who, there) is problems.NO_PROXY_FOR_COUNTRY
    else:
        assert rank(who, BOTH, Rules(), [own, there]) == ([there, own] if person == number else [own, there])


def test_where_a_country_cannot_be_told_the_calling_code_decides() -> None:
    """Somebody of no known country gets a number of the same calling code."""
    assert chosen(replace(a_person(), country=None), a_number(1, "CA")) == ["1"]
    assert chosen(a_person(), a_number(1)._replace(country=None), a_number(2, participants=5)) == ["2", "1"]


def test_a_short_code_is_for_people_of_its_own_country() -> None:
    """Nobody else's network knows it, not even where a calling code is shared."""
    code = a_number(1)._replace(phone_number="72341", voice=False)
    for person, pool, ranked in [
        (a_person(), [code], [code]),
        (a_person(), [code, a_number(2)], [code, a_number(2)]),
        (a_person("CA"), [code, a_number(2)], [a_number(2)]),
        (replace(a_person(), country=None), [code, a_number(2)], [a_number(2)]),
    ]:
        assert rank(person, MESSAGE, Rules(), pool) == ranked
    assert refused(a_person("JM"), code, mode=MESSAGE) is problems.NO_PROXY_FOR_COUNTRY
    assert refused(a_person(), code) is problems.NO_VOICE_PROXY
    assert refused(a_person(), code, mode=MESSAGE, level=AREA_CODE) is problems.NO_PROXY_IN_AREA
    assert check_explicit(a_person("JM"), MESSAGE, code) is None


# Area: San Francisco has 415 and 628, Manhattan 212, 332 and 646, all of New York City 917; Oakland (510) is across the
# bay from San Francisco, Los Angeles (213) far away.

FRANCISCAN = "+14155550199"
AROUND = [a_number(1, area="213"), a_number(2, area="510"), a_number(3, area="628"), a_number(4, area="415")]


@pytest.mark.parametrize(
    ("level", "given"),
    [(COUNTRY, ["1", "2", "3", "4"]), (AREA_CODE, ["4"]), (OVERLAY, ["4", "3"]), (RADIUS, ["4", "3", "2"])],
)
def test_each_level_lets_in_what_the_stricter_one_does_and_more(
    level: GeoMatchLevel, given: list[str]
) -> None:
    """The nearer number comes first: the same area code, then its overlays, then by distance."""
    assert chosen(a_person(), *AROUND, level=level) == given


@pytest.mark.parametrize("level", [AREA_CODE, OVERLAY, RADIUS])
def test_there_is_no_number_in_the_area(level: GeoMatchLevel) -> None:
    answer = rank(a_person(), BOTH, Rules(level=level), AROUND[:1])
    assert answer == Refusal(problems.NO_PROXY_IN_AREA, "+1…99")


def test_overlays_are_those_of_one_region() -> None:
    """917 serves two regions, and is an overlay in both; the codes of one are none of the other's."""
    pool = [a_number(n, area=area) for n, area in enumerate(["212", "332", "646", "718", "917"])]
    assert chosen(a_person(key=phone(9, "212")), *pool, level=OVERLAY) == ["0", "1", "2", "4"]
    assert chosen(a_person(key=phone(9, "718")), *pool, level=OVERLAY) == ["3", "4"]
    assert chosen(a_person(key=phone(9, "917")), *pool, level=OVERLAY) == ["4", "0", "1", "2", "3"]


def test_the_radius_may_be_another() -> None:
    """Los Angeles is some 560 km from San Francisco, Oakland some 30."""
    assert chosen(a_person(), *AROUND, level=RADIUS, radius_km=600) == ["4", "3", "2", "1"]
    assert chosen(a_person(), *AROUND, level=RADIUS, radius_km=10) == ["4", "3"]


def test_the_sticky_rule_is_asked_before_the_area_and_the_area_before_the_load() -> None:
    busy = [AROUND[3]._replace(participants=9), AROUND[2]]
    assert chosen(a_person(), *busy, level=OVERLAY) == ["4", "3"]
    person = replace(a_person(), history=(AROUND[2].phone_number,))
    assert chosen(person, *busy, level=OVERLAY) == ["3", "4"]
    assert chosen(person, *AROUND, level=AREA_CODE) == ["4"]


@pytest.mark.parametrize("level", [AREA_CODE, OVERLAY, RADIUS])
def test_a_level_is_for_north_american_numbers_with_a_place(level: GeoMatchLevel) -> None:
    """Everybody else gets a number of the country; a number without a place is in nobody's area."""
    british = Person("+442079460000", "GB", 44, (), frozenset())
    assert chosen(british, a_number(1, "GB")._replace(phone_number="+441632960001"), level=level) == ["1"]
    assert chosen(a_person(key="+18005550199"), *AROUND, level=level) == ["1", "2", "3", "4"]
    assert refused(a_person(), a_number(1, area="800"), level=level) is problems.NO_PROXY_IN_AREA


def test_with_fallback_a_level_is_a_wish() -> None:
    """Numbers within the level come first, sticky ones of the country after them, the nearer before the remote."""
    assert chosen(a_person(), *AROUND, level=AREA_CODE, fallback=True) == ["4", "3", "2", "1"]
    assert chosen(a_person(), *AROUND[:2], level=OVERLAY, fallback=True) == ["2", "1"]
    person = replace(a_person(), history=(AROUND[0].phone_number,))
    assert chosen(person, *AROUND, level=OVERLAY, fallback=True) == ["4", "3", "1", "2"]
    taken = replace(a_person(), taken=frozenset({AROUND[3].phone_number}))
    assert chosen(taken, *AROUND[::3], level=AREA_CODE, fallback=True) == ["1"]
    assert refused(taken, *AROUND[::3], level=AREA_CODE) is problems.NO_UNUSED_PROXY
    assert refused(a_person(), a_number(1, "JP"), level=AREA_CODE, fallback=True) is (
        problems.NO_PROXY_FOR_COUNTRY
    )


def test_unused_numbers_may_come_first() -> None:
    """A number that nobody is on beats the sticky one; among the unused, and then the used, the order is the usual."""
    pool = [
        a_number(1, participants=1),
        a_number(2),
        a_number(3, participants=2),
        a_number(4),
        a_number(5, participants=1),
    ]
    assert chosen(a_person(had=(3,)), *pool, prefer_unused=True) == ["2", "4", "3", "1", "5"]
    assert chosen(a_person(had=(3, 4)), *pool, prefer_unused=True) == ["4", "2", "3", "1", "5"]
    near = [AROUND[3]._replace(participants=1), AROUND[0]]
    assert chosen(a_person(), *near, level=AREA_CODE, fallback=True, prefer_unused=True) == ["4", "1"]


def test_a_number_that_the_person_has_just_left_is_passed_over() -> None:
    """However much it would be preferred; where there is no other, the refusal says so."""
    pool = a_number(1), a_number(2)
    assert chosen(a_person(had=(1,), left=(1,)), *pool) == ["2"]
    assert rank(a_person(left=(1, 2)), BOTH, Rules(), pool) == Refusal(
        problems.NO_UNUSED_PROXY, "+1…99 (2 cooling down)"
    )
    assert rank(a_person(on=(1,), left=(1, 2)), BOTH, Rules(), pool) == Refusal(
        problems.NO_UNUSED_PROXY, "+1…99 (1 cooling down)"
    )
    assert check_explicit(a_person(left=(1,)), BOTH, pool[0]) is None


# Refusals


def test_each_refusal_comes_before_those_after_it() -> None:
    """From an empty pool to a number that fits, each number added brings the next reason, until there is none."""
    person = a_person(on=(5,))
    pool: list[PoolNumber] = []
    seen = []
    for number in [
        a_number(1, "JP"),
        a_number(2, voice=False),
        a_number(3, sms=False),
        a_number(7, area="213"),
        a_number(4, reserved=True),
        a_number(5),
    ]:
        seen.append(refused(person, *pool, level=AREA_CODE))
        pool.append(number)
    seen.append(refused(person, *pool, level=AREA_CODE))
    assert seen == [
        problems.EMPTY_POOL,
        problems.NO_PROXY_FOR_COUNTRY,
        problems.NO_VOICE_PROXY,
        problems.NO_MESSAGE_PROXY,
        problems.NO_PROXY_IN_AREA,
        problems.ONLY_RESERVED,
        problems.NO_UNUSED_PROXY,
    ]
    assert chosen(person, *pool, a_number(6), level=AREA_CODE) == ["6"]


def test_voice_and_messages_must_be_on_one_number() -> None:
    """One number with voice and another with messages are none with both."""
    pool = a_number(1, sms=False), a_number(2, voice=False)
    assert refused(a_person(), *pool) is problems.NO_MESSAGE_PROXY
    assert refused(a_person(), a_number(1, voice=False), mode=VOICE) is problems.NO_VOICE_PROXY
    assert refused(a_person(), a_number(1, sms=False), mode=MESSAGE) is problems.NO_MESSAGE_PROXY


def test_nobody_gets_the_own_number() -> None:
    """A participant whose identifier is in the pool gets another number, or none; also in its other spelling."""
    assert chosen(a_person(key=phone(1)), a_number(1), a_number(2)) == ["2"]
    assert refused(a_person(key=phone(1)), a_number(1)) is problems.NO_UNUSED_PROXY
    mexican = a_number(1)._replace(phone_number="+5215512345678", country="MX", calling_code=52)
    person = Person("+525512345678", "MX", 52, (), frozenset())
    assert refused(person, mexican) is problems.NO_UNUSED_PROXY


def test_a_refusal_masks_the_participant() -> None:
    """What goes into errors and events shows country code and last two digits only."""
    assert rank(a_person(on=(1,)), BOTH, Rules(), [a_number(1)]) == Refusal(problems.NO_UNUSED_PROXY, "+1…99")


# Explicit assignment


def test_an_explicit_number_may_be_reserved_and_foreign() -> None:
    """Who names a number may have it though it would not be chosen."""
    assert check_explicit(a_person("JP"), BOTH, a_number(1, reserved=True)) is None


@pytest.mark.parametrize(
    ("mode", "number", "code"),
    [
        (VOICE, a_number(1, voice=False), problems.NO_VOICE_PROXY),
        (BOTH, a_number(1, voice=False, sms=False), problems.NO_VOICE_PROXY),
        (BOTH, a_number(1, sms=False), problems.NO_MESSAGE_PROXY),
        (MESSAGE, a_number(1, sms=False), problems.NO_MESSAGE_PROXY),
        (MESSAGE, a_number(3), problems.PAIR_INVALID),
        (MESSAGE, a_number(2), problems.PAIR_IN_USE),
        (MESSAGE, a_number(1, voice=False), None),
        (VOICE, a_number(1, sms=False), None),
    ],
)
def test_an_explicit_number_must_be_able_another_and_free(
    mode: Mode, number: PoolNumber, code: Code | None
) -> None:
    """It must do what the mode needs, not be the participant's own, and not be this person's in another Session."""
    answer = check_explicit(a_person(on=(2,), key=phone(3)), mode, number)
    assert (answer.code if answer else None) is code


# The rules, said a second time: predicates one after another, and the best picked again and again.

# Half of all numbers are drawn from the person's own group, or nearly every answer would be 80203.
GROUPS: list[list[tuple[str | None, int]]] = [
    [("US", 1), ("CA", 1), ("AG", 1), ("JM", 1), (None, 1)],
    [("GB", 44), ("JE", 44), (None, 44)],
    [(None, 800)],
    [("JP", 81)],
]
ANYWHERE = [country for group in GROUPS for country in group]
# Around San Francisco and New York, in overlays and not; and two that are no places.
AREAS = "415 628 510 650 408 707 213 212 646 917 718 347 201 800 500".split()
Case = tuple[Person, Mode, Rules, list[PoolNumber]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A person, what is asked for, and a pool of at most ten numbers whose SIDs have another order."""
    group = draw(st.sampled_from(GROUPS))
    country, code = draw(st.sampled_from(group))
    mostly = st.sampled_from([True, True, True, False])
    lasts = draw(st.lists(st.integers(0, 9), unique=True, min_size=draw(st.sampled_from([0, 1, 4, 8]))))
    sids = draw(st.permutations(range(10)))
    home = draw(st.sampled_from(AREAS))
    areas = draw(st.lists(st.sampled_from([home, *AREAS]), min_size=10, max_size=10))
    phones = [phone(last, area) for last, area in enumerate(areas[:9])] + ["72349"]  # a short code
    pool = []
    for last in lasts:
        number_country, number_code = draw(st.sampled_from(group) | st.sampled_from(ANYWHERE))
        number = PoolNumber(
            sid=f"PN{sids[last]:032x}",
            phone_number=phones[last],
            country=number_country,
            calling_code=number_code,
            reserved=not draw(mostly),
            voice=draw(mostly),
            sms=draw(mostly),
            participants=draw(st.integers(0, 2)),
        )
        pool.append(number)
    some = st.lists(st.sampled_from(phones), max_size=5)
    key = draw(st.sampled_from([f"+1{home}5550199", phones[0], "+442079460000"]))
    person = Person(key, country, code, tuple(draw(some)), frozenset(draw(some)), frozenset(draw(some)))
    rules = Rules(
        behavior=draw(st.sampled_from(NumberSelectionBehavior)),
        level=draw(st.sampled_from(GeoMatchLevel)),
        radius_km=draw(st.sampled_from([1, 25, 80, 600])),
        fallback=draw(st.booleans()),
        prefer_unused=draw(st.booleans()),
    )
    return person, draw(st.sampled_from(Mode)), rules, pool


def may_serve(person: Person, number: PoolNumber) -> bool:
    if person.calling_code != number.calling_code:
        return False
    if len(number.phone_number) < 9:
        return number.country is not None and number.country == person.country
    if person.calling_code != 1 or None in (person.country, number.country):
        return True
    return number.country in {person.country, "US"}


def in_area(person: Person, rules: Rules, number: PoolNumber) -> bool:
    here, there = area_code(person.key), area_code(number.phone_number)
    if rules.level == "country" or here is None:
        return True
    if there is None:
        return False
    if rules.level == "area-code":
        return here == there
    if rules.level == "overlay":
        return same_overlay(here, there)
    return same_overlay(here, there) or distance_km(here, there) <= rules.radius_km


def expected(person: Person, mode: Mode, rules: Rules, pool: list[PoolNumber]) -> list[str] | Code:
    if not pool:
        return problems.EMPTY_POOL
    tests: list[tuple[Code, Callable[[PoolNumber], bool]]] = [
        (problems.NO_PROXY_FOR_COUNTRY, lambda number: may_serve(person, number)),
        (problems.NO_VOICE_PROXY, lambda number: number.voice or mode == "message-only"),
        (problems.NO_MESSAGE_PROXY, lambda number: number.sms or mode == "voice-only"),
        (problems.NO_PROXY_IN_AREA, lambda number: rules.fallback or in_area(person, rules, number)),
        (problems.ONLY_RESERVED, lambda number: not number.reserved),
        (
            problems.NO_UNUSED_PROXY,
            lambda number: number.phone_number not in {person.key, *person.taken, *person.cooling},
        ),
    ]
    for code, test in tests:
        pool = [number for number in pool if test(number)]
        if not pool:
            return code
    order = []
    while pool:
        best = pick(person, rules, pool)
        order.append(best.sid)
        pool = [number for number in pool if number is not best]
    return order


def pick(person: Person, rules: Rules, pool: list[PoolNumber]) -> PoolNumber:
    """The one best number: each wish narrows the pool if it leaves any."""
    pool = [number for number in pool if in_area(person, rules, number)] or pool
    if rules.prefer_unused:
        pool = [number for number in pool if not number.participants] or pool
    known = [number for number in pool if number.phone_number in person.history]
    new = [number for number in pool if number not in known]
    if rules.behavior == "prefer-sticky" and known:
        return min(known, key=lambda number: person.history.index(number.phone_number))
    if rules.behavior == "avoid-sticky" and not new:
        return max(known, key=lambda number: person.history.index(number.phone_number))
    own = [number for number in new if number.country == person.country and person.country]
    pool = nearest(person, own or new) if rules.level != "country" else own or new
    lightest = min(number.participants for number in pool)
    return min((number for number in pool if number.participants == lightest), key=lambda number: number.sid)


def nearest(person: Person, pool: list[PoolNumber]) -> list[PoolNumber]:
    here = area_code(person.key)
    if here is None:
        return pool
    placed = [(area, number) for number in pool if (area := area_code(number.phone_number))]
    least = min((distance_km(here, area) for area, _ in placed), default=0)
    return (
        [number for area, number in placed if area == here]
        or [number for area, number in placed if same_overlay(area, here)]
        or [number for area, number in placed if distance_km(here, area) == least]
        or pool
    )


@settings(max_examples=400)
@given(cases())
def test_rank_agrees_with_a_search_by_brute_force(case: Case) -> None:
    """Candidates, their order and every refusal are what the rules say when they are tried one by one."""
    answer = rank(*case)
    event(f"refused {answer.code.number}" if isinstance(answer, Refusal) else f"{len(answer)} candidates")
    event(f"{case[2].level} with fallback {case[2].fallback}, unused first {case[2].prefer_unused}")
    got = answer.code if isinstance(answer, Refusal) else [number.sid for number in answer]
    assert got == expected(*case)


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_pool_does_not_matter(case: Case, random: Random) -> None:
    """The same pool read in another order gives the same answer."""
    person, mode, rules, pool = case
    shuffled = random.sample(pool, len(pool))
    assert rank(person, mode, rules, shuffled) == rank(person, mode, rules, pool)


@given(cases())
def test_no_forbidden_number_is_ever_offered(case: Case) -> None:
    """No candidate is reserved, taken, cooling, the person's own or of another code, and each could be asked for."""
    person, mode, _, _ = case
    answer = rank(*case)
    for number in [] if isinstance(answer, Refusal) else answer:
        assert not number.reserved
        assert number.phone_number not in person.taken | person.cooling
        assert number.phone_number != person.key
        assert number.calling_code == person.calling_code
        assert check_explicit(person, mode, number) is None


@given(cases())
def test_both_behaviors_offer_the_same_numbers(case: Case) -> None:
    """Sticky is about order only: known numbers all before, or all after, the new ones, and never fewer."""
    person, mode, rules, pool = case
    rules = replace(rules, fallback=False, prefer_unused=False)
    prefer = rank(person, mode, replace(rules, behavior=PREFER), pool)
    avoid = rank(person, mode, replace(rules, behavior=AVOID), pool)
    if isinstance(prefer, Refusal) or isinstance(avoid, Refusal):
        assert prefer == avoid
        return
    known = [number for number in prefer if number.phone_number in person.history]
    new = [number for number in prefer if number.phone_number not in person.history]
    assert prefer == known + new
    assert avoid == new + known[::-1]


@given(cases())
def test_wishes_change_the_order_and_fallback_adds_at_the_end(case: Case) -> None:
    """Preferring unused numbers leaves none out; falling back keeps the numbers of the level first, in their order."""
    person, mode, rules, pool = case
    strict, wish = (rank(person, mode, replace(rules, fallback=fallback), pool) for fallback in (False, True))
    if not isinstance(strict, Refusal):
        assert not isinstance(wish, Refusal)
        assert wish[: len(strict)] == strict
    used, unused = (rank(person, mode, replace(rules, prefer_unused=wish), pool) for wish in (False, True))
    if isinstance(used, Refusal) or isinstance(unused, Refusal):
        assert used == unused
        return
    assert {number.sid for number in used} == {number.sid for number in unused}
