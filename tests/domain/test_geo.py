"""Area codes: what is one, which are overlays of each other, how far apart they are; and that the table is whole."""

from __future__ import annotations

import re

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.area_codes import AREA_CODES
from maskline.domain.geo import area_code, distance_km, find_area, same_overlay
from maskline.domain.phone import country_of

codes = st.sampled_from(sorted(AREA_CODES))


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("+14155550100", "415"),
        ("+16285550100", "628"),
        ("+14165550100", "416"),
        ("+18765550100", "876"),
        ("+16715550100", "671"),
        ("+18005550100", None),
        ("+18885550100", None),
        ("+15005550006", None),
        ("+17105550100", None),
        ("+19005550100", None),
        ("+14155550100x", None),
        ("+1415555010", None),
        ("+141555501000", None),
        ("+11155550100", None),
        ("+14150550100", None),
        ("14155550100", None),
        ("+442079460000", None),
        ("+5215512345678", None),
        ("whatsapp:+14155550100", None),
        ("", None),
    ],
)
def test_an_area_code_is_of_a_north_american_number_with_a_place(number: str, code: str | None) -> None:
    assert area_code(number) == code


@pytest.mark.parametrize(
    ("code", "country", "region"),
    [
        ("415", "US", "CA"),
        ("917", "US", "NY"),
        ("771", "US", "DC"),
        ("437", "CA", "ON"),
        ("236", "CA", "BC"),
        ("782", "CA", "NS/PE"),
        ("867", "CA", "NT/NU/YT"),
        ("658", "JM", ""),
        ("939", "PR", ""),
        ("340", "VI", ""),
    ],
)
def test_a_code_has_a_country_and_a_region(code: str, country: str, region: str) -> None:
    area = find_area(code)
    assert area is not None
    assert (area.country, area.region) == (country, region)


def test_what_is_no_area_code_is_not_found() -> None:
    assert find_area("800") is None
    assert find_area("") is None


@pytest.mark.parametrize(
    "region",
    [
        "415 628",
        "212 332 646 917",
        "718 347 929 917",
        "512 737",
        "213 323 738",
        "416 437 647 942",
        "604 778 236 672 257",
        "250 778 236 672 257",
        "403 587 825 368",
        "780 587 825 368",
        "787 939",
        "809 829 849",
        "876 658",
    ],
)
def test_the_codes_of_one_region_are_overlays(region: str) -> None:
    for code in region.split():
        assert all(same_overlay(code, other) for other in region.split())


@pytest.mark.parametrize(
    "apart",
    ["415 510", "212 718", "332 347", "604 250", "403 780", "312 773", "416 905", "876 809", "206 360"],
)
def test_neighbours_are_no_overlays(apart: str) -> None:
    assert not same_overlay(*apart.split())


@pytest.mark.parametrize(
    ("apart", "km", "within"),
    [
        ("415 628", 0, 0),
        ("212 213", 3940, 15),
        ("415 213", 560, 20),
        ("415 510", 25, 15),
        ("312 414", 130, 15),
        ("416 514", 505, 15),
        ("604 416", 3350, 40),
        ("604 206", 190, 20),
        ("403 780", 355, 40),
        ("876 242", 820, 50),
        ("787 340", 160, 40),
        ("671 808", 6100, 100),
    ],
)
def test_centres_are_as_far_apart_as_their_cities(apart: str, km: float, within: float) -> None:
    assert abs(distance_km(*apart.split()) - km) <= within


@given(codes, codes, codes)
def test_distance_is_a_distance(a: str, b: str, c: str) -> None:
    assert distance_km(a, a) == 0
    assert distance_km(a, b) == distance_km(b, a)
    assert distance_km(a, c) <= distance_km(a, b) + distance_km(b, c) + 1e-6
    assert 0 <= distance_km(a, b) <= 20_016


@given(codes, codes)
def test_being_an_overlay_goes_both_ways(a: str, b: str) -> None:
    assert same_overlay(a, a)
    assert same_overlay(a, b) == same_overlay(b, a)
    if same_overlay(a, b):
        one, other = find_area(a), find_area(b)
        assert one is not None and other is not None
        assert (one.country, one.region) == (other.country, other.region)


def test_the_table_is_sorted_and_every_region_has_its_name_and_two_codes() -> None:
    assert list(AREA_CODES) == sorted(AREA_CODES)
    complexes = [name for *_, names in AREA_CODES.values() for name in names]
    for name in set(complexes):
        assert complexes.count(name) > 1
        assert AREA_CODES[name][4] == (name,)
    for code, (country, region, latitude, longitude, _) in AREA_CODES.items():
        assert re.fullmatch("[2-9][0-8][0-9]", code)
        assert re.fullmatch("[A-Z]{2}", country)
        assert bool(region) == (country in {"US", "CA"})
        # Only Guam, the Northern Marianas and Samoa are not between Newfoundland, Hawaii, Trinidad and the Arctic.
        assert code in {"670", "671", "684"} or (10 < latitude < 70 and -160 < longitude < -52)


def test_the_table_has_all_codes_that_phonenumbers_has() -> None:
    """Where this fails, a newer phonenumbers knows newer codes: run tools/make_area_codes.py and commit the table."""
    places = {
        phonenumbers.PhoneNumberType.FIXED_LINE,
        phonenumbers.PhoneNumberType.MOBILE,
        phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE,
    }
    for code in range(200, 1000):
        number = next(
            (
                number
                for exchange in ("234", "456", "678", "946", "555")
                if phonenumbers.number_type(
                    number := phonenumbers.PhoneNumber(1, int(f"{code}{exchange}0100"))
                )
                in places
            ),
            None,
        )
        if number is not None:
            area = find_area(str(code))
            assert area is not None, code
            assert area.country == country_of(f"+1{number.national_number}")
