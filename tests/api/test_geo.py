"""The levels of GeoMatchLevel and the settings beside them, as requests meet them."""

import json
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.world import fresh_number, make_service


def make_pool(api: CheckedApi, *areas: str, **form: Any) -> Any:
    """A Service with a number of each of these area codes."""
    service = make_service(api, 0, **form)
    for area in areas:
        api.make(service["links"]["phone_numbers"], {"PhoneNumber": fresh_number(area)})
    return service


def ask(api: CheckedApi, service: Any, area: str, **form: Any) -> Any:
    """The answer to somebody of an area code who joins a new Session."""
    people = api.make(service["links"]["sessions"])["links"]["participants"]
    return api.post(people, {"Identifier": fresh_number(area), **form})


def given(reply: Any) -> str:
    """The area code of the number that was given, or the code of the refusal."""
    body = reply.json
    return body["proxy_identifier"][2:5] if reply.status == 201 else str(body["code"])


@pytest.mark.parametrize(
    ("level", "answers"),
    [
        ("area-code", {"415": "415", "213": "213", "628": "80206", "510": "80206", "212": "80206"}),
        ("overlay", {"415": "415", "213": "213", "628": "415", "510": "80206", "212": "80206"}),
        ("extended-area-code", {"415": "415", "628": "415", "510": "80206"}),
        ("radius", {"415": "415", "213": "213", "628": "415", "510": "415", "212": "80206"}),
    ],
)
def test_a_level_says_who_gets_which_number(api: CheckedApi, level: str, answers: dict[str, str]) -> None:
    service = make_pool(api, "213", "415", GeoMatchLevel=level)
    assert {area: given(ask(api, service, area)) for area in answers} == answers


def test_without_a_level_the_area_does_not_matter(api: CheckedApi) -> None:
    service = make_pool(api, "213", "415")
    assert [given(ask(api, service, "628")) for _ in range(4)] == ["213", "415", "213", "415"]


def test_a_refusal_for_the_area_masks_the_participant(api: CheckedApi) -> None:
    service = make_pool(api, "213", GeoMatchLevel="area-code")
    people = api.make(service["links"]["sessions"])["links"]["participants"]
    who = fresh_number("212")
    reply = api.post(people, {"Identifier": who})
    assert (reply.status, reply.json["code"]) == (400, 80206)
    assert f"+1…{who[-2:]}" in reply.json["message"]
    assert who.encode() not in reply.raw
    assert api.get(people).json["participants"] == []


def test_a_session_is_made_with_all_its_participants_or_not_at_all(api: CheckedApi) -> None:
    service = make_pool(api, "415", GeoMatchLevel="area-code")
    both = [json.dumps({"Identifier": fresh_number(area)}) for area in ("415", "212")]
    reply = api.post(service["links"]["sessions"], {"UniqueName": "both", "Participants": both})
    assert (reply.status, reply.json["code"]) == (400, 80206)
    assert api.get(service["links"]["sessions"]).json["sessions"] == []


def test_the_area_is_asked_after_the_capabilities_and_before_what_is_reserved_or_taken(
    api: CheckedApi, carry: Any
) -> None:
    service = make_pool(api, GeoMatchLevel="area-code")
    numbers = service["links"]["phone_numbers"]
    people = [api.make(service["links"]["sessions"])["links"]["participants"] for _ in range(2)]
    who = {"Identifier": fresh_number("415")}

    def code() -> Any:
        return api.post(people[0], who).json["code"]

    assert code() == 80205
    api.make(numbers, {"PhoneNumber": "+442071830801"})
    assert code() == 80203
    api.make(numbers, {"Sid": carry(fresh_number("415"), voice=False)})
    assert code() == 80201
    api.make(numbers, {"PhoneNumber": fresh_number("212")})
    assert code() == 80206
    reserved = api.make(numbers, {"PhoneNumber": fresh_number("415"), "IsReserved": "true"})
    assert code() == 80207
    api.make(reserved["url"], {"IsReserved": "false"})
    api.make(people[1], who)
    assert code() == 80208


def test_a_number_that_is_named_may_be_of_any_area(api: CheckedApi) -> None:
    service = make_pool(api, "213", GeoMatchLevel="area-code")
    number = api.get(service["links"]["phone_numbers"]).json["phone_numbers"][0]
    assert given(ask(api, service, "415", ProxyIdentifier=number["phone_number"])) == "213"
    assert given(ask(api, service, "415", ProxyIdentifierSid=number["sid"])) == "213"


def test_a_level_is_ignored_outside_north_america(api: CheckedApi) -> None:
    service = make_service(api, 0, GeoMatchLevel="area-code")
    api.make(service["links"]["phone_numbers"], {"PhoneNumber": "+442071830803"})
    people = api.make(service["links"]["sessions"])["links"]["participants"]
    made = api.make(people, {"Identifier": "+442071830804"})
    assert made["proxy_identifier"] == "+442071830803"


def test_a_change_of_the_level_holds_for_whoever_joins_next(api: CheckedApi) -> None:
    service = make_pool(api, "415")
    assert given(ask(api, service, "212")) == "415"
    api.make(service["url"], {"GeoMatchLevel": "overlay"})
    assert given(ask(api, service, "212")) == "80206"
    assert given(ask(api, service, "628")) == "415"


# Settings


def test_a_service_may_fall_back_to_the_country(api: CheckedApi) -> None:
    service = make_pool(api, "213", "415", GeoMatchLevel="area-code")
    api.make(service["url"] + "/Settings", {"GeoFallback": "on"})
    assert given(ask(api, service, "415")) == "415"
    assert given(ask(api, service, "619")) == "213"  # the nearer one
    api.make(service["url"] + "/Settings", {"GeoFallback": ""})
    assert given(ask(api, service, "619")) == "80206"


def test_a_service_has_its_own_radius(api: CheckedApi) -> None:
    service = make_pool(api, "213", GeoMatchLevel="radius")
    assert given(ask(api, service, "619")) == "80206"
    settings = api.make(service["url"] + "/Settings", {"GeoRadiusKm": "250"})
    assert settings["geo_radius_km"] == 250
    assert given(ask(api, service, "619")) == "213"


def test_a_service_may_prefer_unused_numbers(api: CheckedApi) -> None:
    service = make_pool(api, "213", "415")
    people = [api.make(service["links"]["sessions"])["links"]["participants"] for _ in range(3)]
    who = fresh_number("212")
    first = api.make(people[0], {"Identifier": who})
    again = api.make(
        people[1], {"Identifier": fresh_number("212"), "ProxyIdentifier": first["proxy_identifier"]}
    )
    assert api.delete(first["url"]).status == 204
    api.make(service["url"] + "/Settings", {"PreferUnused": "on"})
    assert api.make(people[2], {"Identifier": who})["proxy_identifier"] != again["proxy_identifier"]


def test_a_service_may_let_numbers_cool_down(api: CheckedApi) -> None:
    service = make_pool(api, "213")
    assert (
        api.make(service["url"] + "/Settings", {"NumberCooldownS": "2419200"})["number_cooldown_s"]
        == 2_419_200
    )
    who, first, second = fresh_number("212"), *(api.make(service["links"]["sessions"]) for _ in range(2))
    made = api.make(first["links"]["participants"], {"Identifier": who})
    api.make(first["url"], {"Status": "closed"})
    reply = api.post(second["links"]["participants"], {"Identifier": who})
    assert given(reply) == "80208"
    assert "1 cooling down" in reply.json["message"]
    named = {"Identifier": who, "ProxyIdentifier": made["proxy_identifier"]}
    assert given(api.post(second["links"]["participants"], named)) == "213"
    api.make(service["url"] + "/Settings", {"NumberCooldownS": ""})
    assert api.delete(second["url"]).status == 204
    assert given(ask(api, service, "415")) == "213"


def test_the_settings_begin_with_twilios_behaviour(api: CheckedApi) -> None:
    settings = api.get(make_service(api, 0)["url"] + "/Settings").json
    ours = {
        name: settings[name]
        for name in ("geo_fallback", "geo_radius_km", "prefer_unused", "number_cooldown_s")
    }
    assert list(ours.values()) == ["off", 80, "off", 0]


@pytest.mark.parametrize(
    "form",
    [
        {"GeoFallback": "maybe"},
        {"PreferUnused": "1"},
        {"GeoRadiusKm": "0"},
        {"GeoRadiusKm": "20001"},
        {"GeoRadiusKm": "-1"},
        {"GeoRadiusKm": "1.5"},
        {"GeoRadiusKm": "far"},
        {"GeoRadiusKm": "٨٠"},
        {"GeoRadiusKm": "9" * 5000},
        {"NumberCooldownS": "-1"},
        {"NumberCooldownS": "2419201"},
        {"NumberCooldownS": "0.5"},
    ],
)
def test_a_wrong_setting_is_refused(api: CheckedApi, form: dict[str, str]) -> None:
    path = make_service(api, 0)["url"] + "/Settings"
    before = api.get(path).json
    reply = api.post(path, form)
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert next(iter(form)) in reply.json["message"]
    assert api.get(path).json == before
