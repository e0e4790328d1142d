"""Lists: sizes, pages, tokens; rows that come and go meanwhile neither repeat nor hide others."""

import base64
import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checked import CheckedApi
from tests.support.server import RealServer
from tests.support.world import fresh_number, make_pair, make_service

MANY = 1250


def walk(api: CheckedApi, url: str | None, key: str, to: str = "next_page_url") -> list[list[str]]:
    """The SIDs of each page from this one on."""
    pages = []
    while url is not None:
        page = api.get(url).json
        pages.append([row["sid"] for row in page[key]])
        url = page["meta"][to]
    return pages


@pytest.fixture(scope="module")
def messages(intake: CheckedApi) -> tuple[str, list[str]]:
    """A list of 1250 messages, and their SIDs, newest first."""
    pair = make_pair(intake)
    path = pair.messages_path(pair.first)
    with ThreadPoolExecutor(32) as threads:
        made = list(threads.map(lambda i: intake.make(path, {"Body": f"{i}"})["sid"], range(MANY)))
    return path, sorted(made, reverse=True)


@pytest.fixture(scope="module")
def five(server: RealServer) -> str:
    """A list of five Sessions."""
    api = CheckedApi(server.url)
    path: str = make_service(api, 0)["links"]["sessions"]
    for _ in range(5):
        api.make(path)
    return path


def test_a_page_has_fifty_rows_unless_asked_otherwise(
    intake: CheckedApi, messages: tuple[str, list[str]]
) -> None:
    path, sids = messages
    page = intake.get(path).json
    assert [row["sid"] for row in page["interactions"]] == sids[:50]
    assert page["meta"]["page_size"] == 50
    assert page["meta"]["page"] == 0
    assert page["meta"]["previous_page_url"] is None
    assert page["meta"]["key"] == "interactions"


def test_a_page_of_a_thousand_rows_is_really_served(
    intake: CheckedApi, messages: tuple[str, list[str]]
) -> None:
    path, sids = messages
    page = intake.get(path + "?PageSize=1000").json
    assert [row["sid"] for row in page["interactions"]] == sids[:1000]
    assert page["meta"]["page_size"] == 1000
    rest = intake.get(page["meta"]["next_page_url"]).json
    assert [row["sid"] for row in rest["interactions"]] == sids[1000:]
    assert rest["meta"]["page"] == 1
    assert rest["meta"]["next_page_url"] is None


@pytest.mark.parametrize("size", [50, 99, 350, 1000])
def test_pages_lead_forward_and_back_through_all_rows(
    intake: CheckedApi, messages: tuple[str, list[str]], size: int
) -> None:
    path, sids = messages
    url: str | None = f"{path}?PageSize={size}"
    pages, last = [], ""
    while url is not None:
        last, page = url, intake.get(url).json
        assert page["meta"]["page"] == len(pages)
        assert page["meta"]["url"].partition("?")[0] == api_path(intake, path)
        pages.append([row["sid"] for row in page["interactions"]])
        url = page["meta"]["next_page_url"]
    assert [sid for page in pages for sid in page] == sids
    assert {len(page) for page in pages[:-1]} <= {size}
    assert walk(intake, last, "interactions", "previous_page_url") == pages[::-1]


def api_path(api: CheckedApi, path: str) -> str:
    return path if path.startswith("http") else api.url + path


@pytest.mark.parametrize("size", [50, 1000])
def test_a_list_of_1250_rows_forward_and_back_while_rows_are_added(
    intake: CheckedApi, messages: tuple[str, list[str]], size: int
) -> None:
    """Checklist, item 3. The Session's Interactions: all messages to one participant, while others to the other one
    come in.
    """
    path, sids = messages
    session, _, first = path.removesuffix("/MessageInteractions").partition("/Participants/")
    people = intake.get(session + "/Participants").json["participants"]
    (other,) = [one["links"]["message_interactions"] for one in people if one["sid"] != first]
    added = [row["sid"] for row in intake.get(other + "?PageSize=1000").json["interactions"]]
    url, last, seen = f"{session}/Interactions?PageSize={size}", "", []
    while url is not None:
        last, page = url, intake.get(url).json
        seen += [row["sid"] for row in page["interactions"]]
        url = page["meta"]["next_page_url"]
        added.append(intake.make(other, {"Body": "meanwhile"})["sid"])
    assert [sid for sid in seen if sid not in added] == sids
    back: list[str] = []
    url = last
    while url is not None:
        page = intake.get(url).json
        back = [row["sid"] for row in page["interactions"]] + back
        url = page["meta"]["previous_page_url"]
        if len(back) < 2 * MANY:
            added.append(intake.make(other, {"Body": "meanwhile"})["sid"])
    assert back == sorted(set(back), reverse=True)
    assert set(sids + added[:-1]) <= set(back)


def test_the_pages_of_a_filtered_list_keep_the_filter(api: CheckedApi) -> None:
    pair = make_pair(api)
    for body in ("one", "two", "three"):
        pair.send(pair.first, body)
        pair.send(pair.second, "for somebody else")
    to = quote(pair.first["identifier"])
    rows, url = [], f"/sandbox/messages?To={to}&Direction=to_handset&PageSize=2"
    while url:
        page = api.get(url).json
        rows += page["messages"]
        url = page["meta"]["next_page_url"]
    assert [row["body"] for row in rows] == ["three", "two", "one"]


@pytest.mark.parametrize(
    ("asked", "used"),
    [("0", 1), ("-5", 1), ("5000", 1000), ("1001", 1000), ("+7", 7), ("", 50), ("9" * 100, 1000)],
)
def test_a_size_out_of_range_is_clamped(api: CheckedApi, five: str, asked: str, used: int) -> None:
    page = api.get(f"{five}?PageSize={asked.replace('+', '%2B')}").json
    assert page["meta"]["page_size"] == used
    assert len(page["sessions"]) == min(used, 5)


@pytest.mark.parametrize(("asked", "used"), [("-1", 0), ("9" * 100, 2**31 - 1)])
def test_a_page_out_of_range_is_clamped(api: CheckedApi, five: str, asked: str, used: int) -> None:
    page = api.get(f"{five}?Page={asked}").json
    assert page["meta"]["page"] == used
    assert len(page["sessions"]) == 5


@pytest.mark.parametrize("wrong", ["many", "1.5", "0x10", "%D9%A3", "5;", "1e2", "null"])
@pytest.mark.parametrize("parameter", ["PageSize", "Page"])
def test_a_size_or_page_that_is_no_number_is_refused(
    api: CheckedApi, five: str, parameter: str, wrong: str
) -> None:
    reply = api.get(f"{five}?{parameter}={wrong}")
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert parameter in reply.json["message"]


def test_page_alone_is_only_the_clients_state(api: CheckedApi, five: str) -> None:
    page = api.get(f"{five}?Page=3").json
    assert page["meta"]["page"] == 3
    assert len(page["sessions"]) == 5


def test_links_keep_to_the_size_and_the_known_form(api: CheckedApi, five: str) -> None:
    meta = api.get(f"{five}?PageSize=2").json["meta"]
    assert meta["first_page_url"] == meta["url"] == f"{five}?PageSize=2&Page=0"
    query = parse_qs(urlsplit(meta["next_page_url"]).query)
    assert list(query) == ["PageSize", "Page", "PageToken"]
    assert (query["PageSize"], query["Page"]) == (["2"], ["1"])


def test_an_empty_list_is_one_page(api: CheckedApi) -> None:
    session = api.make(make_service(api, 0)["links"]["sessions"])
    for link in session["links"].values():
        meta = api.get(link).json["meta"]
        assert meta["next_page_url"] is meta["previous_page_url"] is None


def test_every_list_pages(api: CheckedApi) -> None:
    pair = make_pair(api, make_service(api, 2))
    for each in (pair.first, pair.first, pair.second):
        pair.send(each, "hello")
    api.make(pair.service["links"]["sessions"])
    lists = {
        "/v1/Services": "services",
        pair.service["links"]["phone_numbers"]: "phone_numbers",
        pair.service["links"]["sessions"]: "sessions",
        pair.session["links"]["participants"]: "participants",
        pair.session["links"]["interactions"]: "interactions",
        pair.messages_path(pair.first): "interactions",
        "/sandbox/messages": "messages",
    }
    make_service(api, 0)
    for path, key in lists.items():
        whole = walk(api, path + "?PageSize=1000", key)[0]
        first = api.get(path + "?PageSize=1").json
        second = api.get(first["meta"]["next_page_url"]).json
        back = api.get(second["meta"]["previous_page_url"]).json
        assert [page[key][0]["sid"] for page in (first, second, back)] == [whole[0], whole[1], whole[0]], key
        assert back["meta"]["previous_page_url"] is None


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_walk_neither_repeats_nor_loses_rows_while_others_come_and_go(api: CheckedApi, seed: int) -> None:
    chance = random.Random(seed)
    path = make_service(api, 0)["links"]["sessions"]
    stayed = [api.make(path)["sid"] for _ in range(40)]
    added: list[str] = []

    def stir() -> None:
        added.extend(api.make(path)["sid"] for _ in range(chance.randint(0, 3)))
        for rows in (stayed, added):
            if rows and chance.random() < 0.5:
                assert api.delete(f"{path}/{rows.pop(chance.randrange(len(rows)))}").status == 204

    def check(url: str, key: str) -> str:
        """Walk on from this page, check all that was seen, and give the last page's address."""
        seen: list[str] = []
        while True:
            page = api.get(url).json
            rows = [row["sid"] for row in page["sessions"]]
            seen += rows if key == "next_page_url" else rows[::-1]
            if page["meta"][key] is None:
                break
            url = page["meta"][key]
            if len(added) < 60:
                stir()
        assert len(seen) == len(set(seen))
        assert set(stayed) <= set(seen)
        assert seen == sorted(seen, reverse=key == "next_page_url")
        return url

    last = check(f"{path}?PageSize=7", "next_page_url")
    check(last, "previous_page_url")


ODD_TOKENS = [
    "x",
    "%00",
    "%FF",
    "=",
    "A" * 5000,
    *(
        base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
        for value in (
            {},
            [],
            [True],
            [1, "x"],
            [False, None],
            [False, 10**30],
            [False, 2**63],
            [False, -(2**63), "x"],
            [False, 1.5],
            [False, 5],
            [False, True],
            [False, "x", "y"],
            [False, [1]],
            [False, "x", "y", "z"],
            [True, "x"],
            [False, "\0"],
        )
    ),
    base64.urlsafe_b64encode(b"[" * 3000).decode(),
]


@pytest.mark.parametrize("token", ODD_TOKENS)
@pytest.mark.parametrize("kind", ["Sessions", "PhoneNumbers", "ShortCodes"])
def test_an_odd_token_is_refused_or_shows_a_page(api: CheckedApi, five: str, kind: str, token: str) -> None:
    reply = api.get(f"{five.replace('/Sessions', f'/{kind}')}?PageToken={token}")
    assert reply.status == 200 or (reply.status, reply.json["code"]) == (400, 80701)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)
)
def test_no_made_up_token_is_our_fault(five: str, value: Any) -> None:
    api = CheckedApi(five.partition("/v1/")[0])
    token = base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
    assert api.get(f"{five}?PageToken={token}").status in (200, 400)


def test_a_token_of_another_list_shows_nothing_of_that_list(api: CheckedApi) -> None:
    service, other = make_service(api, 3), make_service(api, 3)
    token = parse_qs(
        urlsplit(
            api.get(service["links"]["phone_numbers"] + "?PageSize=1").json["meta"]["next_page_url"]
        ).query
    )["PageToken"][0]
    for row in api.get(f"{other['links']['phone_numbers']}?PageToken={token}").json["phone_numbers"]:
        assert row["service_sid"] == other["sid"]
    api.make(service["links"]["phone_numbers"], {"PhoneNumber": fresh_number()})
