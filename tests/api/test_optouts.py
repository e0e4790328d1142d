"""/v1/Services/{KS}/OptOuts: listed, written down and ended; and what they do to messages, from outside."""

import re
from typing import Any
from uuid import uuid4

import pytest

from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.world import fresh_number, make_pair, make_service


def path_of(service: Any) -> str:
    return f"/v1/Services/{service['sid']}/OptOuts"


def listed(api: CheckedApi, url: str) -> list[Any]:
    """All rows, by pages of two."""
    rows, following = [], f"{url}{'&' if '?' in url else '?'}PageSize=2"
    while following:
        page = api.get(following).json
        rows += page["opt_outs"]
        following = page["meta"]["next_page_url"]
    return rows


def test_an_opt_out_is_written_down_listed_fetched_and_ended(api: CheckedApi) -> None:
    pair = make_pair(api)
    path, ann = path_of(pair.service), pair.first
    made = api.make(path, {"Identifier": ann["identifier"], "ProxyIdentifier": ann["proxy_identifier"]})
    assert {name: made[name] for name in ("identifier", "proxy_identifier", "source", "service_sid")} == {
        "identifier": ann["identifier"],
        "proxy_identifier": ann["proxy_identifier"],
        "source": "api",
        "service_sid": pair.service["sid"],
    }
    assert api.get(made["url"]).json == made
    assert listed(api, path) == [made]
    assert api.delete(made["url"]).status == 204
    assert listed(api, path) == []
    for reply in (api.get(made["url"]), api.delete(made["url"])):
        assert (reply.status, reply.json["code"]) == (404, 20404)


def test_messages_to_whoever_is_on_it_end_as_failed_with_21610(api: CheckedApi) -> None:
    pair = make_pair(api)
    opt_out = api.make(path_of(pair.service), {"Identifier": pair.first["identifier"]})
    assert opt_out["proxy_identifier"] is None
    message = pair.send(pair.first, "hello")
    leg = f"/2010-04-01/Accounts/{api.account_sid}/Messages/{message['outbound_resource_sid']}.json"
    shown = eventually(lambda: (found := api.get(leg).json)["status"] == "failed" and found)
    assert shown["error_code"] == 21610
    assert "opted out" in shown["error_message"]
    assert api.delete(opt_out["url"]).status == 204
    message = pair.send(pair.first, "hello again")
    leg = f"/2010-04-01/Accounts/{api.account_sid}/Messages/{message['outbound_resource_sid']}.json"
    shown = eventually(lambda: (found := api.get(leg).json)["status"] == "delivered" and found)
    assert (shown["error_code"], shown["error_message"]) == (None, None)


def test_a_handset_that_texts_stop_is_on_the_list_until_it_texts_start(api: CheckedApi) -> None:
    pair = make_pair(api)
    text = {"From": pair.first["identifier"], "To": pair.first["proxy_identifier"]}
    api.make("/sandbox/messages", {**text, "Body": "Stop"})
    (found,) = eventually(lambda: listed(api, path_of(pair.service)))
    assert (found["identifier"], found["source"]) == (pair.first["identifier"], "word")
    alerts = api.get(f"/v1/Alerts?ServiceSid={pair.service['sid']}&ErrorCode=80901").json["alerts"]
    assert [alert["log_level"] for alert in alerts] == ["warning"]
    api.make("/sandbox/messages", {**text, "Body": "Start"})
    eventually(lambda: not listed(api, path_of(pair.service)))


def test_once_is_enough(api: CheckedApi) -> None:
    path, person = path_of(make_service(api)), fresh_number("212")
    made = api.make(path, {"Identifier": person})
    assert api.make(path, {"Identifier": f" {person[1:]}"}) == made
    assert listed(api, path) == [made]


def test_a_list_is_filtered_by_person_and_by_number(api: CheckedApi) -> None:
    service = make_service(api, 2)
    path = path_of(service)
    numbers = [
        one["phone_number"] for one in api.get(service["links"]["phone_numbers"]).json["phone_numbers"]
    ]
    people = [fresh_number("212") for _ in range(3)]
    made = [
        api.make(path, {"Identifier": person, "ProxyIdentifier": number})
        for person in people
        for number in ("", *numbers)
    ][::-1]
    assert listed(api, path) == made
    for person in people:
        own = [one for one in made if one["identifier"] == person]
        assert listed(api, f"{path}?Identifier=%2B{person[1:]}") == own
        for number in numbers:
            both = f"{path}?Identifier=%2B{person[1:]}&ProxyIdentifier=%2B{number[1:]}"
            assert listed(api, both) == [one for one in own if one["proxy_identifier"] == number]
    for number in numbers:
        assert listed(api, f"{path}?ProxyIdentifier=%2B{number[1:]}") == [
            one for one in made if one["proxy_identifier"] == number
        ]
    assert listed(api, f"{path}?Identifier=%2B{fresh_number()[1:]}") == []


def test_a_key_writes_down_once(api: CheckedApi) -> None:
    path, key = path_of(make_service(api)), {"Idempotency-Key": str(uuid4())}
    form = {"Identifier": fresh_number("212")}
    first = api.post(path, form, headers=key)
    again = api.post(path, form, headers=key)
    assert (first.status, again.status, again.json) == (200, 200, first.json)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = api.post(path, {"Identifier": fresh_number("212")}, headers=key)
    assert (other.status, other.json["code"]) == (409, 20409)
    fresh = {"Idempotency-Key": str(uuid4())}
    assert [api.post(path, form, headers=fresh).json for _ in range(2)] == [first.json] * 2


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, 80701),
        ({"Identifier": ""}, 80701),
        ({"Identifier": "x" * 192}, 80701),
        ({"Identifier": "12125550110"}, 80404),
        ({"Identifier": "nobody"}, 80404),
        ({"Identifier": "+12125550110", "ProxyIdentifier": "+14155559999"}, 80605),
    ],
)
def test_what_names_nobody_or_no_number_of_the_service_is_refused(
    api: CheckedApi, form: dict[str, str], code: int
) -> None:
    path = path_of(make_service(api))
    key = {"Idempotency-Key": str(uuid4())}
    reply = api.post(path, form, headers=key)
    assert (reply.status, reply.json["code"]) == (400, code)
    assert not re.search(r"\d{5}", reply.json["message"].partition(":")[0])
    assert listed(api, path) == []
    good = api.post(path, {"Identifier": fresh_number("212")}, headers=key)
    assert good.status == 200  # what was refused left no trace


def test_a_channel_address_opts_out_too(api: CheckedApi) -> None:
    made = api.make(path_of(make_service(api)), {"Identifier": "WhatsApp:+12125550110"})
    assert made["identifier"] == "whatsapp:+12125550110"


def test_another_accounts_or_another_services_opt_outs_are_not_found(
    api: CheckedApi, stranger: CheckedApi
) -> None:
    service, other = make_service(api), make_service(api)
    made = api.make(path_of(service), {"Identifier": fresh_number("212")})
    url = made["url"][len(api.url) :]
    elsewhere = url.replace(service["sid"], other["sid"])
    for client, where in ((stranger, url), (api, elsewhere), (api, f"{path_of(service)}/OO1")):
        for method in ("GET", "DELETE"):
            reply = client.request(method, where)
            assert (reply.status, reply.json["code"]) == (404, 20404)
    for reply in (stranger.get(path_of(service)), stranger.post(path_of(service), {"Identifier": "nobody"})):
        assert (reply.status, reply.json["code"]) == (404, 20404)
    assert listed(api, path_of(other)) == []
    assert api.get(url).json == made
