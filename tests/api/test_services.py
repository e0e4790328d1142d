"""Services: what they are made of, how they change, whose they are."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.support.checked import CheckedApi
from tests.support.world import make_service

URLS = ["CallbackUrl", "InterceptCallbackUrl", "OutOfSessionCallbackUrl"]


def field(parameter: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in parameter).lstrip("_")


def refused(reply: Any, code: int) -> bool:
    return (reply.status, reply.json["code"]) == (400, code)


def test_a_service_begins_with_the_documented_defaults(api: CheckedApi) -> None:
    service = make_service(api, numbers=0)
    assert service["default_ttl"] == 0
    assert service["number_selection_behavior"] == "prefer-sticky"
    assert service["geo_match_level"] == "country"
    assert service["date_created"] == service["date_updated"]
    for name in [*map(field, URLS), "chat_instance_sid"]:
        assert service[name] is None
    assert set(service["links"]) == {"sessions", "phone_numbers", "short_codes"}


def test_create_and_update_take_every_parameter(api: CheckedApi) -> None:
    form = {
        "UniqueName": "everything",
        "DefaultTtl": 3600,
        "CallbackUrl": "https://example.com/callback?a=1#rc=2",
        "InterceptCallbackUrl": "http://example.com:8080/intercept",
        "OutOfSessionCallbackUrl": "https://example.com/out",
        "GeoMatchLevel": "area-code",
        "NumberSelectionBehavior": "avoid-sticky",
        "ChatInstanceSid": "IS" + "a" * 32,
    }
    service = api.make("/v1/Services", form)
    assert {name: service[field(name)] for name in form} == form
    changed = {
        "UniqueName": "everything else",
        "DefaultTtl": 0,
        "CallbackUrl": "https://example.org/1",
        "InterceptCallbackUrl": "https://example.org/2",
        "OutOfSessionCallbackUrl": "https://example.org/3",
        "GeoMatchLevel": "radius",
        "NumberSelectionBehavior": "prefer-sticky",
        "ChatInstanceSid": "IS" + "b" * 32,
    }
    updated = api.make(service["url"], changed)
    assert {name: updated[field(name)] for name in changed} == changed
    assert updated["sid"] == service["sid"]
    assert updated["date_created"] == service["date_created"]
    assert api.get(service["url"]).json == updated


def test_what_an_update_does_not_name_it_leaves_alone(api: CheckedApi) -> None:
    service = make_service(api, 0, DefaultTtl=5, CallbackUrl="https://example.com/")
    updated = api.make(service["url"], {"GeoMatchLevel": "overlay"})
    assert updated == {**service, "geo_match_level": "overlay", "date_updated": updated["date_updated"]}
    assert api.make(service["url"])["default_ttl"] == 5


@pytest.mark.parametrize("parameter", URLS)
def test_an_empty_url_clears_it(api: CheckedApi, parameter: str) -> None:
    service = make_service(api, 0, **{parameter: "https://example.com/"})
    assert api.make(service["url"], {parameter: ""})[field(parameter)] is None


def test_an_empty_chat_instance_clears_it(api: CheckedApi) -> None:
    service = make_service(api, 0, ChatInstanceSid="IS" + "0" * 32)
    assert api.make(service["url"], {"ChatInstanceSid": ""})["chat_instance_sid"] is None


@pytest.mark.parametrize(
    ("parameter", "given", "kept"),
    [
        ("GeoMatchLevel", "AREA-CODE", "area-code"),
        ("GeoMatchLevel", "Country", "country"),
        ("GeoMatchLevel", "extended-area-code", "overlay"),
        ("NumberSelectionBehavior", "Avoid-Sticky", "avoid-sticky"),
    ],
)
def test_words_of_an_enumeration_are_taken_in_any_letter_case(
    api: CheckedApi, parameter: str, given: str, kept: str
) -> None:
    assert make_service(api, 0, **{parameter: given})[field(parameter)] == kept


WRONG = [
    ("UniqueName", ""),
    ("UniqueName", "x" * 192),
    ("DefaultTtl", "-1"),
    ("DefaultTtl", "2147483647"),
    ("DefaultTtl", "1.5"),
    ("DefaultTtl", "soon"),
    ("DefaultTtl", ""),
    ("DefaultTtl", "9" * 40),
    ("GeoMatchLevel", "planet"),
    ("GeoMatchLevel", ""),
    ("NumberSelectionBehavior", "sticky"),
    ("ChatInstanceSid", "IS1"),
    ("ChatInstanceSid", "KS" + "0" * 32),
    *(
        (url, wrong)
        for url in URLS
        for wrong in ("ftp://example.com/", "example.com", "https://", "javascript:x")
    ),
    ("CallbackUrl", "https://exam ple.com/"),
    ("CallbackUrl", "https://example.com:99999/"),
    ("CallbackUrl", "https://[::1"),
    ("CallbackUrl", "https://..ü../"),
    ("CallbackUrl", "https://example.com/" + "x" * 3981),
]


@pytest.mark.parametrize(("parameter", "wrong"), WRONG)
def test_a_wrong_value_is_refused_and_changes_nothing(api: CheckedApi, parameter: str, wrong: str) -> None:
    service = make_service(api, 0)
    assert refused(api.post(service["url"], {"DefaultTtl": 7, parameter: wrong}), 80701)
    assert api.get(service["url"]).json == service
    name = f"refused {parameter} {wrong[:40]}"
    reply = api.post("/v1/Services", {"UniqueName": name, parameter: wrong})
    assert refused(reply, 80701)
    assert parameter in reply.json["message"]
    assert api.get("/v1/Services/" + quote(name, safe="")).status == 404


@pytest.mark.parametrize("parameter", URLS)
def test_a_url_that_leads_to_the_server_itself_is_refused(api: CheckedApi, parameter: str) -> None:
    service = make_service(api, 0)
    for path, form in ((service["url"], {}), ("/v1/Services", {"UniqueName": f"its own {parameter}"})):
        reply = api.post(path, {**form, parameter: f"{api.url}/v1/Services"})
        assert refused(reply, 80701)
        assert parameter in reply.json["message"]
    assert api.get(service["url"]).json == service
    other = api.url.rpartition(":")[0]
    assert api.make(service["url"], {parameter: f"{other}:1/"})[field(parameter)] == f"{other}:1/"


def test_the_longest_values_are_taken(api: CheckedApi) -> None:
    name, url = "😀" * 190 + "x", "https://example.com/" + "x" * 3980
    service = api.make("/v1/Services", {"UniqueName": name, "CallbackUrl": url, "DefaultTtl": 2147483646})
    assert (service["unique_name"], service["callback_url"]) == (name, url)


def test_a_name_is_required(api: CheckedApi) -> None:
    reply = api.post("/v1/Services")
    assert refused(reply, 80701)
    assert "UniqueName" in reply.json["message"]


def test_a_name_belongs_to_one_service_of_an_account(api: CheckedApi, stranger: CheckedApi) -> None:
    first, second = make_service(api, 0, UniqueName="mine"), make_service(api, 0)
    assert refused(api.post("/v1/Services", {"UniqueName": "mine"}), 80602)
    assert refused(api.post(second["url"], {"UniqueName": "mine"}), 80602)
    assert api.make(first["url"], {"UniqueName": "mine"})["sid"] == first["sid"]
    assert api.make("/v1/Services", {"UniqueName": "Mine"})
    assert stranger.make("/v1/Services", {"UniqueName": "mine"})
    assert api.delete(first["url"]).status == 204
    assert api.make(second["url"], {"UniqueName": "mine"})["unique_name"] == "mine"


def test_parameters_may_come_in_the_query_and_the_body_wins(api: CheckedApi) -> None:
    service = api.make("/v1/Services?UniqueName=in+the+query&DefaultTtl=1", {"DefaultTtl": 2})
    assert (service["unique_name"], service["default_ttl"]) == ("in the query", 2)


def test_a_service_is_seen_by_its_own_account_only(api: CheckedApi, stranger: CheckedApi) -> None:
    service = make_service(api, 0)
    sids = [row["sid"] for row in stranger.get("/v1/Services?PageSize=1000").json["services"]]
    assert service["sid"] not in sids
    for reply in (
        stranger.get(service["url"]),
        stranger.get(f"/v1/Services/{service['unique_name'].replace(' ', '%20')}"),
        stranger.post(service["url"], {"DefaultTtl": 9}),
        stranger.delete(service["url"]),
    ):
        assert (reply.status, reply.json["code"]) == (404, 20404)
    assert api.get(service["url"]).json == service


# Settings: ours, beside Twilio's resource


def test_settings_say_what_becomes_of_an_uncertain_message(api: CheckedApi) -> None:
    path = make_service(api, 0)["url"] + "/Settings"
    settings = api.get(path).json
    assert settings["on_uncertain"] == "delivery-unknown"
    assert settings["url"] == path
    assert api.make(path, {"OnUncertain": "Resend"})["on_uncertain"] == "resend"
    assert api.make(path)["on_uncertain"] == "resend"
    assert api.get(path).json == {**settings, "on_uncertain": "resend"}
    assert api.make(path, {"OnUncertain": ""}) == settings


def test_settings_are_no_part_of_the_service_itself(api: CheckedApi) -> None:
    service = make_service(api, 0)
    api.make(service["url"] + "/Settings", {"OnUncertain": "resend"})
    after = api.get(service["url"]).json
    assert after == {**service, "date_updated": after["date_updated"]}


@pytest.mark.parametrize("form", [{"OnUncertain": "shrug"}, {"Onuncertain": "resend"}, {"Body": "x"}])
def test_an_unknown_setting_or_word_is_refused(api: CheckedApi, form: dict[str, str]) -> None:
    path = make_service(api, 0)["url"] + "/Settings"
    before = api.get(path).json
    assert refused(api.post(path, form), 80701)
    assert refused(api.post(path, {"OnUncertain": "resend", **form}), 80701)
    assert api.get(path).json == before


def test_settings_of_nobody_and_of_another_account_are_not_found(
    api: CheckedApi, stranger: CheckedApi
) -> None:
    path = make_service(api, 0)["url"] + "/Settings"
    for reply in (
        stranger.get(path),
        stranger.post(path, {"OnUncertain": "resend"}),
        api.get("/v1/Services/KS" + "0" * 32 + "/Settings"),
        api.get("/v1/Services/name/Settings"),
    ):
        assert (reply.status, reply.json["code"]) == (404, 20404)
    assert api.request("DELETE", path).status == 405
