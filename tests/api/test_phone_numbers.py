"""The pool: numbers come in by value or by SID, are counted, reserved and taken out."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.world import fresh_number, make_pair, make_service

Carry = Callable[..., str]


def refused(reply: Any, code: int, status: int = 400) -> bool:
    return (reply.status, reply.json["code"]) == (status, code)


def pool(api: CheckedApi, service: Any) -> list[Any]:
    rows: list[Any] = api.get(service["links"]["phone_numbers"]).json["phone_numbers"]
    return rows


def test_a_number_joins_with_all_that_is_known_of_it(api: CheckedApi) -> None:
    service, number = make_service(api, 0), fresh_number()
    made = api.make(service["links"]["phone_numbers"], {"PhoneNumber": number})
    assert made["phone_number"] == number
    assert made["iso_country"] == "US"
    assert made["is_reserved"] is False
    assert made["in_use"] == 0
    short = {name: made["capabilities"][name] for name in ("fax", "mms", "sms", "voice")}
    assert short == {"fax": False, "mms": True, "sms": True, "voice": True}
    for name in ("voice", "sms", "mms"):
        assert made["capabilities"][f"{name}_inbound"] is made["capabilities"][f"{name}_outbound"] is True
    assert pool(api, service) == [made]


def test_a_plus_sign_that_came_as_a_space_is_read_as_one(api: CheckedApi) -> None:
    service, number = make_service(api, 0), fresh_number()
    made = api.post(
        service["links"]["phone_numbers"],
        body=f"PhoneNumber={number}".encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    ).json
    assert made["phone_number"] == number


def test_a_number_of_another_country_tells_its_country(api: CheckedApi) -> None:
    service = make_service(api, 0)
    made = api.make(service["links"]["phone_numbers"], {"PhoneNumber": "+442079460000"})
    assert made["iso_country"] == "GB"


@pytest.mark.parametrize("form", [{}, {"PhoneNumber": ""}, {"Sid": ""}, {"IsReserved": "true"}])
def test_a_number_or_a_sid_is_required(api: CheckedApi, form: dict[str, str]) -> None:
    service = make_service(api, 0)
    assert refused(api.post(service["links"]["phone_numbers"], form), 80701)
    assert pool(api, service) == []


@pytest.mark.parametrize(
    "wrong", ["14155550100", "+1", "+14155550100x", "tel:+14155550100", "+15551234567", "x"]
)
def test_what_is_no_phone_number_is_refused(api: CheckedApi, wrong: str) -> None:
    service = make_service(api, 0)
    assert refused(api.post(service["links"]["phone_numbers"], {"PhoneNumber": wrong}), 80406)
    assert pool(api, service) == []


@pytest.mark.parametrize("wrong", ["PN1", "KS" + "0" * 32, "PN" + "g" * 32, "PN" + "0" * 33])
def test_a_malformed_sid_is_refused(api: CheckedApi, wrong: str) -> None:
    path = make_service(api, 0)["links"]["phone_numbers"]
    assert refused(api.post(path, {"Sid": wrong}), 80407)


def test_a_number_of_the_account_joins_by_its_sid(api: CheckedApi, carry: Carry) -> None:
    service, number = make_service(api, 0), fresh_number()
    sid = carry(number)
    made = api.make(service["links"]["phone_numbers"], {"Sid": "PN" + sid[2:].upper()})
    assert (made["sid"], made["phone_number"]) == (sid, number)


def test_sid_and_number_together_must_agree(api: CheckedApi, carry: Carry) -> None:
    service, number = make_service(api, 0), fresh_number()
    sid = carry(number)
    path = service["links"]["phone_numbers"]
    assert refused(api.post(path, {"Sid": sid, "PhoneNumber": fresh_number()}), 80701)
    assert pool(api, service) == []
    assert api.make(path, {"Sid": sid, "PhoneNumber": number})["sid"] == sid


def test_an_unknown_sid_is_refused(api: CheckedApi) -> None:
    path = make_service(api, 0)["links"]["phone_numbers"]
    assert refused(api.post(path, {"Sid": "PN" + "0" * 32}), 80301)


def test_a_number_is_in_one_pool_once(api: CheckedApi) -> None:
    first, second, number = make_service(api, 0), make_service(api, 0), fresh_number()
    made = api.make(first["links"]["phone_numbers"], {"PhoneNumber": number})
    for form in ({"PhoneNumber": number}, {"Sid": made["sid"]}):
        assert refused(api.post(first["links"]["phone_numbers"], form), 80104)
        assert refused(api.post(second["links"]["phone_numbers"], form), 80101)
    assert pool(api, first) == [made]
    assert pool(api, second) == []


def test_a_number_of_another_account_is_refused(api: CheckedApi, stranger: CheckedApi) -> None:
    mine, number = make_service(api, 0), fresh_number()
    made = api.make(mine["links"]["phone_numbers"], {"PhoneNumber": number})
    theirs = make_service(stranger, 0)["links"]["phone_numbers"]
    assert refused(stranger.post(theirs, {"PhoneNumber": number}), 80601)
    assert refused(stranger.post(theirs, {"Sid": made["sid"]}), 80301)
    assert api.delete(made["url"]).status == 204
    # It stays the account's when it leaves the pool.
    assert refused(stranger.post(theirs, {"PhoneNumber": number}), 80601)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("true", True),
        ("True", True),
        ("TRUE", True),
        ("1", True),
        ("false", False),
        ("False", False),
        ("0", False),
    ],
)
def test_booleans_are_taken_in_each_spelling(api: CheckedApi, given: str, kept: bool) -> None:
    path = make_service(api, 0)["links"]["phone_numbers"]
    made = api.make(path, {"PhoneNumber": fresh_number(), "IsReserved": given})
    assert made["is_reserved"] is kept
    other = api.make(made["url"], {"IsReserved": str(not kept)})
    assert other["is_reserved"] is not kept
    assert api.make(made["url"])["is_reserved"] is not kept
    assert api.make(made["url"], {"IsReserved": given})["is_reserved"] is kept


@pytest.mark.parametrize("wrong", ["", "yes", "2", "null"])
def test_what_is_no_boolean_is_refused(api: CheckedApi, wrong: str) -> None:
    service = make_service(api)
    number = pool(api, service)[0]
    assert refused(api.post(number["url"], {"IsReserved": wrong}), 80701)
    form = {"PhoneNumber": fresh_number(), "IsReserved": wrong}
    assert refused(api.post(service["links"]["phone_numbers"], form), 80701)
    assert pool(api, service) == [number]


def test_a_removed_number_is_gone_and_may_come_back_or_go_elsewhere(api: CheckedApi) -> None:
    first, second = make_service(api), make_service(api, 0)
    number = pool(api, first)[0]
    assert api.delete(number["url"]).status == 204
    for reply in (api.get(number["url"]), api.delete(number["url"]), api.post(number["url"])):
        assert refused(reply, 20404, 404)
    assert pool(api, first) == []
    form = {"PhoneNumber": number["phone_number"]}
    assert api.make(second["links"]["phone_numbers"], form)["sid"] == number["sid"]
    assert refused(api.post(first["links"]["phone_numbers"], form), 80101)


def test_a_number_in_use_cannot_be_removed_until_its_sessions_end(api: CheckedApi) -> None:
    pair = make_pair(api)
    number = pool(api, pair.service)[0]
    assert number["in_use"] == 1
    assert refused(api.delete(number["url"]), 80611)
    assert api.make(number["url"], {"IsReserved": "true"})["in_use"] == 1
    pair.send(pair.first, "a reserved number goes on for those who have it")
    api.make(pair.session["url"], {"Status": "closed"})
    assert api.get(number["url"]).json["in_use"] == 0
    assert api.delete(number["url"]).status == 204


def test_in_use_counts_active_sessions_once_each(api: CheckedApi) -> None:
    service = make_service(api)
    number = pool(api, service)[0]["url"]

    def in_use() -> int:
        count: int = api.get(number).json["in_use"]
        return count

    first = make_pair(api, service)
    second = make_pair(api, service)
    api.make(service["links"]["sessions"])
    assert in_use() == 2
    api.delete(first.first["url"])
    assert in_use() == 2
    api.delete(first.second["url"])
    assert in_use() == 1
    api.make(second.session["url"], {"Status": "closed"})
    assert in_use() == 0
    api.make(second.session["url"], {"Status": "in-progress"})
    assert in_use() == 1
    api.delete(second.session["url"])
    assert in_use() == 0


def test_the_pool_is_listed_last_added_first(api: CheckedApi) -> None:
    service = make_service(api, 0)
    path = service["links"]["phone_numbers"]
    made = [api.make(path, {"PhoneNumber": fresh_number()})["sid"] for _ in range(5)]
    assert [row["sid"] for row in pool(api, service)] == made[::-1]


def test_a_pool_holds_five_hundred_unreserved_numbers(api: CheckedApi) -> None:
    service = make_service(api, 0)
    path = service["links"]["phone_numbers"]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: api.make(path, {"PhoneNumber": fresh_number()}), range(500)))
    assert refused(api.post(path, {"PhoneNumber": fresh_number()}), 80622)
    reserved = api.make(path, {"PhoneNumber": fresh_number(), "IsReserved": "true"})
    assert refused(api.post(reserved["url"], {"IsReserved": "false"}), 80622)
    assert api.get(reserved["url"]).json["is_reserved"] is True
    assert len(api.get(path + "?PageSize=1000").json["phone_numbers"]) == 501
