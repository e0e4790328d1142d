"""/2010-04-01/…/IncomingPhoneNumbers: the account's numbers in Twilio's older shape."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.checked import CheckedApi
from tests.support.server import RealServer
from tests.support.world import fresh_number, make_pair, make_service

Carry = Callable[..., str]


def root(api: CheckedApi) -> str:
    return f"/2010-04-01/Accounts/{api.account_sid}/IncomingPhoneNumbers"


def refused(reply: Any, code: int, status: int = 400) -> bool:
    return (reply.status, reply.json["code"]) == (status, code)


def walk(api: CheckedApi, uri: str | None, to: str = "next_page_uri") -> list[list[str]]:
    """The SIDs of each page from this one on."""
    pages = []
    while uri is not None:
        page = api.get(uri).json
        pages.append([row["sid"] for row in page["incoming_phone_numbers"]])
        uri = page[to]
    return pages


@pytest.fixture
def mine(another: Callable[[], CheckedApi]) -> CheckedApi:
    """An account without numbers."""
    return another()


def carried(api: CheckedApi, how_many: int) -> list[str]:
    """So many numbers of the account, each in a pool; their SIDs, the newest first."""
    path = make_service(api, 0)["links"]["phone_numbers"]
    return [api.make(path, {"PhoneNumber": fresh_number()})["sid"] for _ in range(how_many)][::-1]


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_a_number_is_fetched_with_and_without_json(mine: CheckedApi, suffix: str) -> None:
    made = mine.make(make_service(mine, 0)["links"]["phone_numbers"], {"PhoneNumber": fresh_number()})
    row = mine.get(f"{root(mine)}/{made['sid']}{suffix}").json
    assert (row["phone_number"], row["friendly_name"]) == (made["phone_number"], made["friendly_name"])
    assert row["capabilities"] == {"voice": True, "sms": True, "mms": True, "fax": False}
    assert mine.get(row["uri"]).json == row
    shouted = f"/2010-04-01/Accounts/AC{mine.account_sid[2:].upper()}/IncomingPhoneNumbers"
    assert mine.get(f"{shouted}/PN{made['sid'][2:].upper()}").json == row
    assert mine.get(root(mine) + suffix).json["incoming_phone_numbers"] == [row]


def test_a_number_is_listed_in_no_pool_too(api: CheckedApi, carry: Carry) -> None:
    number = fresh_number()
    sid = carry(number, voice=False, mms=False)
    (row,) = api.get(f"{root(api)}.json?PhoneNumber={quote(number)}").json["incoming_phone_numbers"]
    assert (row["sid"], row["capabilities"]["voice"], row["capabilities"]["sms"]) == (sid, False, True)


def test_the_list_pages_both_ways(mine: CheckedApi) -> None:
    sids = carried(mine, 5)
    first = mine.get(root(mine) + ".json?PageSize=2").json
    assert (first["page"], first["page_size"], first["start"], first["end"]) == (0, 2, 0, 1)
    assert first["previous_page_uri"] is None
    assert walk(mine, root(mine) + ".json?PageSize=2") == [sids[:2], sids[2:4], sids[4:]]
    last = mine.get(mine.get(first["next_page_uri"]).json["next_page_uri"]).json
    assert (last["page"], last["start"], last["end"]) == (2, 4, 4)
    assert walk(mine, last["uri"], "previous_page_uri") == [sids[4:], sids[2:4], sids[:2]]


def test_filters_are_exact_and_kept_in_the_links(mine: CheckedApi) -> None:
    sids = carried(mine, 3)
    row = mine.get(f"{root(mine)}/{sids[1]}").json
    for name in ("PhoneNumber", "FriendlyName"):
        page = mine.get(f"{root(mine)}.json?{name}={quote(row['phone_number'])}").json
        assert page["incoming_phone_numbers"] == [row]
        assert f"{name}={quote(row['phone_number'])}" in page["uri"]
        assert walk(mine, f"{root(mine)}.json?{name}=%2B1415") == [[]]


def test_an_empty_list_is_one_page(mine: CheckedApi) -> None:
    page = mine.get(root(mine) + ".json").json
    assert page["incoming_phone_numbers"] == []
    assert (page["start"], page["end"], page["next_page_uri"], page["previous_page_uri"]) == (
        0,
        0,
        None,
        None,
    )


def test_another_accounts_path_and_numbers_are_not_found(api: CheckedApi, stranger: CheckedApi) -> None:
    made = api.make(make_service(api, 0)["links"]["phone_numbers"], {"PhoneNumber": fresh_number()})
    for path in (f"{root(api)}/{made['sid']}", f"{root(stranger)}/{made['sid']}.json", root(api) + ".json"):
        assert refused(stranger.get(path), 20404, 404)
    assert all(made["sid"] not in page for page in walk(stranger, root(stranger) + ".json"))


@pytest.mark.parametrize(
    "path",
    [
        "/2010-04-01/Accounts/AC1/IncomingPhoneNumbers.json",
        "/2010-04-01/Accounts//IncomingPhoneNumbers",
        "{root}/PN1.json",
        "{root}/PN1",
        "{root}/SC{zeros}.json",
        "{root}/PN{zeros}",
        "{root}/PN{zeros}.xml",
        "{root}.xml",
        "{root}/",
    ],
)
def test_what_is_not_there_is_not_found(api: CheckedApi, path: str) -> None:
    path = path.format(root=root(api), zeros="0" * 32)
    reply = api.get(path)
    assert refused(reply, 20404, 404)
    assert reply.json["message"] == f"The requested resource {path} was not found"


@pytest.mark.parametrize("wrong", ["PageSize=many", "Page=x", "PageToken=x"])
def test_a_bad_page_is_refused(api: CheckedApi, wrong: str) -> None:
    assert refused(api.get(f"{root(api)}.json?{wrong}"), 80701)


def test_credentials_are_needed(api: CheckedApi) -> None:
    assert api.get(root(api) + ".json", auth=False).status == 401


# Changing


def test_a_number_is_made_renamed_and_deleted(mine: CheckedApi) -> None:
    number = fresh_number()
    ignored = {
        "VoiceUrl": "https://example.com/voice",
        "SmsUrl": "https://example.com/sms",
        "SmsMethod": "GET",
    }
    made = mine.make(root(mine) + ".json", {"PhoneNumber": number, "FriendlyName": "Desk", **ignored})
    assert (made["phone_number"], made["friendly_name"], made["sms_url"]) == (number, "Desk", None)
    uri = made["uri"]
    assert mine.get(uri).json == made
    assert mine.make(uri, {"FriendlyName": "Front desk"})["friendly_name"] == "Front desk"
    assert mine.make(uri, ignored)["friendly_name"] == "Front desk"
    assert mine.make(uri, {"FriendlyName": ""})["friendly_name"] == number
    assert mine.delete(uri).status == 204
    for reply in (mine.get(uri), mine.post(uri), mine.delete(uri)):
        assert refused(reply, 20404, 404)
    assert mine.make(root(mine), {"PhoneNumber": number})["sid"] != made["sid"]


def test_a_pools_number_shows_its_name_and_dates_apart(mine: CheckedApi) -> None:
    made = mine.make(root(mine), {"PhoneNumber": fresh_number(), "FriendlyName": "Desk"})
    member = mine.make(make_service(mine, 0)["links"]["phone_numbers"], {"Sid": made["sid"]})
    assert (member["sid"], member["friendly_name"]) == (made["sid"], "Desk")
    assert mine.get(made["uri"]).json["date_created"] == made["date_created"]


@pytest.mark.parametrize("form", [{}, {"PhoneNumber": ""}, {"PhoneNumber": "+1415"}, {"AreaCode": "415"}])
def test_a_number_to_be_made_must_be_one(mine: CheckedApi, form: dict[str, str]) -> None:
    assert refused(mine.post(root(mine), form), 21421)
    assert walk(mine, root(mine)) == [[]]


def test_a_number_that_is_somebodys_is_not_available(mine: CheckedApi, api: CheckedApi) -> None:
    number = fresh_number()
    api.make(root(api), {"PhoneNumber": number})
    for somebody in (api, mine):
        assert refused(somebody.post(root(somebody), {"PhoneNumber": number}), 21422)


def test_a_name_has_an_end(mine: CheckedApi) -> None:
    made = mine.make(root(mine), {"PhoneNumber": fresh_number(), "FriendlyName": "x" * 255})
    assert refused(mine.post(made["uri"], {"FriendlyName": "x" * 256}), 80701)
    assert refused(mine.post(root(mine), {"PhoneNumber": fresh_number(), "FriendlyName": "x" * 256}), 80701)


def test_a_number_in_use_stays_until_its_sessions_end(mine: CheckedApi) -> None:
    pair = make_pair(mine)
    uri = f"{root(mine)}/{pair.first['proxy_identifier_sid']}.json"
    assert refused(mine.delete(uri), 80611)
    assert mine.get(uri).status == 200
    mine.make(pair.session["url"], {"Status": "closed"})
    assert mine.delete(uri).status == 204
    assert mine.get(pair.service["links"]["phone_numbers"]).json["phone_numbers"] == []
    assert refused(mine.post(pair.session["url"], {"Status": "in-progress"}), 80605)


def test_the_same_key_makes_one_number(mine: CheckedApi) -> None:
    form, headers = {"PhoneNumber": fresh_number()}, {"Idempotency-Key": "a number"}
    first, again = (mine.post(root(mine), form, headers=headers) for _ in range(2))
    assert (first.status, again.status, again.json) == (201, 201, first.json)
    assert again.headers["idempotent-replayed"] == "true"
    assert refused(mine.post(root(mine), {"PhoneNumber": fresh_number()}, headers=headers), 20409, 409)


def test_another_accounts_number_is_out_of_reach(api: CheckedApi, stranger: CheckedApi) -> None:
    made = api.make(root(api), {"PhoneNumber": fresh_number()})
    for path in (made["uri"], f"{root(stranger)}/{made['sid']}"):
        assert refused(stranger.post(path, {"FriendlyName": "mine"}), 20404, 404)
        assert refused(stranger.delete(path), 20404, 404)
    assert refused(stranger.post(root(api), {"PhoneNumber": fresh_number()}), 20404, 404)
    assert api.get(made["uri"]).json == made


@pytest.mark.parametrize(("path", "allowed"), [("", "GET, HEAD, POST"), ("/PN1", "DELETE, GET, HEAD, POST")])
def test_a_method_that_it_does_not_know_is_405(api: CheckedApi, path: str, allowed: str) -> None:
    reply = api.request("PUT", root(api) + path)
    assert refused(reply, 20004, 405)
    assert reply.headers["allow"] == allowed


def test_without_the_sandbox_no_number_is_made_up(tmp_path: Path) -> None:
    """Nor does one that it carried join a pool."""
    lonely = RealServer(tmp_path / "data").start()
    api = CheckedApi(lonely.url)
    carried = api.make(root(api), {"PhoneNumber": fresh_number()})
    assert lonely.stop() == 0
    lonely = RealServer(tmp_path / "data", environment={"MASKLINE_SANDBOX": "off"}).start()
    try:
        api = CheckedApi(lonely.url)
        pool = make_service(api, 0)["links"]["phone_numbers"]
        assert refused(api.post(root(api), {"PhoneNumber": fresh_number()}), 21422)
        assert refused(api.post(pool, {"PhoneNumber": fresh_number()}), 80301)
        for form in ({"Sid": carried["sid"]}, {"PhoneNumber": carried["phone_number"]}):
            assert refused(api.post(pool, form), 80301)
        assert api.get(pool).json["phone_numbers"] == []
    finally:
        assert lonely.stop() == 0, lonely.log()
