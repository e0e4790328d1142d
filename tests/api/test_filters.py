"""Lists that are asked for a part: by UniqueName, Status, Identifier."""

from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.support.checked import CheckedApi
from tests.support.world import fresh_number, make_service


def names(api: CheckedApi, url: str, key: str = "sessions") -> list[Any]:
    """The names of all rows from this page on, with pages of two."""
    found, following = [], f"{url}&PageSize=2" if "?" in url else url
    while following:
        page = api.get(following).json
        found += [row["unique_name"] for row in page[key]]
        following = page["meta"]["next_page_url"]
    return found


@pytest.fixture
def sessions(api: CheckedApi) -> str:
    """A list of nine Sessions: three open, three in progress, three closed, by turns."""
    path: str = make_service(api, 0)["links"]["sessions"]
    for i in range(9):
        status = ("open", "in-progress", "closed")[i % 3]
        api.make(path, {"UniqueName": f"{status} {i}", "Status": status})
    return path


@pytest.mark.parametrize("status", ["open", "in-progress", "closed", "Closed"])
def test_sessions_of_a_status(api: CheckedApi, sessions: str, status: str) -> None:
    shown = names(api, f"{sessions}?Status={status}")
    assert len(shown) == 3
    assert {name.split()[0] for name in shown} == {status.lower()}
    assert [name.split()[1] for name in shown] == sorted((name.split()[1] for name in shown), reverse=True)


@pytest.mark.parametrize("status", ["failed", "unknown"])
def test_no_session_has_the_statuses_that_twilio_never_explained(
    api: CheckedApi, sessions: str, status: str
) -> None:
    assert names(api, f"{sessions}?Status={status}") == []


def test_a_status_that_is_none_is_refused(api: CheckedApi, sessions: str) -> None:
    reply = api.get(f"{sessions}?Status=completed")
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert "in-progress" in reply.json["message"]


def test_a_session_of_a_name(api: CheckedApi, sessions: str) -> None:
    assert names(api, f"{sessions}?UniqueName=open%203") == ["open 3"]
    assert names(api, f"{sessions}?UniqueName=open%203&Status=open") == ["open 3"]
    assert names(api, f"{sessions}?UniqueName=open%203&Status=closed") == []
    assert names(api, f"{sessions}?UniqueName=OPEN%203") == []
    assert len(names(api, f"{sessions}?UniqueName=&Status=")) == 9


def test_a_service_of_a_name(api: CheckedApi, stranger: CheckedApi) -> None:
    service = make_service(api, 0)
    name = quote(service["unique_name"])
    assert names(api, f"/v1/Services?UniqueName={name}", "services") == [service["unique_name"]]
    assert names(api, f"/v1/Services?UniqueName={name}%20no", "services") == []
    assert names(stranger, f"/v1/Services?UniqueName={name}", "services") == []


def test_a_participant_of_an_identifier_however_it_is_spelled(api: CheckedApi) -> None:
    service = make_service(api, 2)
    people = api.make(service["links"]["sessions"])["links"]["participants"]
    number = f"+52155{fresh_number()[-8:]}"
    first = api.make(people, {"Identifier": number, "ProxyIdentifier": proxy(api, service)})
    api.make(people, {"Identifier": fresh_number()})
    api.delete(first["url"])
    for spelling in (number, "+52" + number[4:]):
        for sent in (quote(spelling), spelling):  # a plus sign that is not encoded reads as a space
            rows = api.get(f"{people}?Identifier={sent}").json["participants"]
            assert [row["sid"] for row in rows] == [first["sid"]]
            assert rows[0]["date_deleted"] is not None
    assert api.get(f"{people}?Identifier=nobody").json["participants"] == []


def proxy(api: CheckedApi, service: Any) -> str:
    value: str = api.get(service["links"]["phone_numbers"]).json["phone_numbers"][0]["phone_number"]
    return value


def test_the_filters_stand_in_every_link(api: CheckedApi, sessions: str) -> None:
    first = api.get(f"{sessions}?Status=closed&PageSize=1").json["meta"]
    second = api.get(first["next_page_url"]).json["meta"]
    for url in (first["url"], first["first_page_url"], second["url"], second["previous_page_url"]):
        assert parse_qs(urlsplit(url).query)["Status"] == ["closed"]
    assert api.get(second["previous_page_url"]).json["sessions"] == api.get(first["url"]).json["sessions"]
    assert api.get(second["next_page_url"]).json["meta"]["next_page_url"] is None
    plain = api.get(f"{sessions}?PageSize=1").json["meta"]
    assert plain["next_page_url"].startswith(f"{sessions}?PageSize=1&Page=1&PageToken=")
