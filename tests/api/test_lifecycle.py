"""A Session's life: open, in progress, closed, open no more."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.world import fresh_number, make_pair, make_service


def refused(reply: Any, code: int, status: int = 400) -> bool:
    return (reply.status, reply.json["code"]) == (status, code)


def test_the_life_that_was_seen_on_the_real_service(api: CheckedApi) -> None:
    """Checklist, item 4: LIVE's lifecycle step by step."""
    pair = make_pair(api, Ttl=600)
    url, people = pair.session["url"], pair.session["links"]["participants"]
    assert pair.session["status"] == "open"
    assert pair.session["date_started"] is None
    assert (pair.session["date_expiry"], pair.session["ttl"]) == (None, 600)

    assert api.get(url).json["status"] == "open"

    closed = api.make(url, {"Status": "closed"})
    assert (closed["status"], closed["closed_reason"]) == ("closed", "api")
    assert closed["date_ended"] is not None
    assert closed["date_started"] is None

    reply = api.post(url, {"Status": "open"})
    assert refused(reply, 80608)
    assert "in-progress" in reply.json["message"]
    assert "closed" in reply.json["message"]
    assert api.get(url).json == closed

    again = api.make(url, {"Status": "in-progress"})
    assert again["status"] == "in-progress"
    assert (again["closed_reason"], again["date_ended"]) == (None, None)
    kept = api.get(people).json["participants"]
    assert [(p["sid"], p["proxy_identifier"]) for p in kept] == [
        (p["sid"], p["proxy_identifier"]) for p in (pair.second, pair.first)
    ]

    form = {"Ttl": 600, "DateExpiry": "2099-01-01T00:00:00Z"}
    both = api.make(pair.service["links"]["sessions"], form)
    assert (both["ttl"], both["date_expiry"]) == (600, "2099-01-01T00:00:00Z")


LEGAL = {
    ("open", "open"): "open",
    ("open", "in-progress"): "in-progress",
    ("open", "closed"): "closed",
    ("in-progress", "in-progress"): "in-progress",
    ("in-progress", "closed"): "closed",
    ("closed", "closed"): "closed",
    ("closed", "in-progress"): "in-progress",
}


@pytest.mark.parametrize("begin", ["open", "in-progress", "closed"])
@pytest.mark.parametrize("to", ["open", "in-progress", "closed", "failed", "unknown"])
def test_each_change_of_status_is_legal_or_80608(api: CheckedApi, begin: str, to: str) -> None:
    session = api.make(make_service(api, 0)["links"]["sessions"], {"Status": begin})
    reply = api.post(session["url"], {"Status": to.upper()})
    if (begin, to) in LEGAL:
        assert reply.json["status"] == LEGAL[begin, to]
        if begin == to:
            assert reply.json == {**session, "date_updated": reply.json["date_updated"]}
    else:
        assert refused(reply, 80608)
        assert api.get(session["url"]).json == session


def test_a_status_that_is_no_word_of_it_is_refused(api: CheckedApi) -> None:
    session = api.make(make_service(api, 0)["links"]["sessions"])
    for wrong in ("completed", ""):
        assert refused(api.post(session["url"], {"Status": wrong}), 80701)
    assert api.get(session["url"]).json == session


@pytest.mark.parametrize(
    "form", [{"Ttl": 5}, {"DateExpiry": "2099-01-01"}, {"Ttl": 5, "Status": "closed"}, {"DateExpiry": ""}]
)
def test_a_closed_session_cannot_be_changed(api: CheckedApi, form: dict[str, Any]) -> None:
    session = api.make(make_service(api, 0)["links"]["sessions"], {"Status": "closed"})
    assert refused(api.post(session["url"], form), 80607)
    assert api.get(session["url"]).json == session


def test_a_reopening_may_bring_new_limits(api: CheckedApi) -> None:
    session = api.make(make_service(api, 0)["links"]["sessions"], {"Status": "closed"})
    form = {"Status": "in-progress", "Ttl": 77, "DateExpiry": "2099-01-01"}
    session = api.make(session["url"], form)
    assert (session["ttl"], session["date_expiry"]) == (77, "2099-01-01T00:00:00Z")


def test_a_closed_session_takes_no_participants_and_no_messages(api: CheckedApi) -> None:
    pair = make_pair(api)
    api.delete(pair.second["url"])
    closed = api.make(pair.session["url"], {"Status": "closed"})
    assert refused(api.post(pair.session["links"]["participants"], {"Identifier": fresh_number()}), 80607)
    assert refused(api.post(pair.messages_path(pair.first), {"Body": "too late"}), 80607)
    assert api.get(pair.session["url"]).json == closed
    assert len(api.get(pair.session["links"]["participants"]).json["participants"]) == 2
    assert api.get(pair.session["links"]["interactions"]).json["interactions"] == []


def test_a_closed_session_frees_its_pairs_and_a_reopening_needs_them_back(api: CheckedApi) -> None:
    """Checklist, item 7: re-open conflict."""
    service = make_service(api)
    first = make_pair(api, service)
    api.make(first.session["url"], {"Status": "closed"})
    second = api.make(service["links"]["sessions"])
    taken = api.make(second["links"]["participants"], {"Identifier": first.first["identifier"]})
    assert taken["proxy_identifier"] == first.first["proxy_identifier"]
    assert refused(api.post(first.session["url"], {"Status": "in-progress", "Ttl": 9}), 80604)
    after = api.get(first.session["url"]).json
    assert (after["status"], after["ttl"]) == ("closed", 0)
    # Once the other has ended, it can be had again.
    api.make(second["url"], {"Status": "closed"})
    assert api.make(first.session["url"], {"Status": "in-progress"})["status"] == "in-progress"
    first.send(first.first, "here again")


def test_a_participant_deleted_meanwhile_does_not_hinder_a_reopening(api: CheckedApi) -> None:
    service = make_service(api)
    pair = make_pair(api, service)
    api.delete(pair.first["url"])
    api.make(pair.session["url"], {"Status": "closed"})
    other = api.make(service["links"]["sessions"])
    api.make(other["links"]["participants"], {"Identifier": pair.first["identifier"]})
    assert api.make(pair.session["url"], {"Status": "in-progress"})["status"] == "in-progress"


def test_a_session_whose_number_has_left_the_pool_cannot_be_reopened(api: CheckedApi) -> None:
    pair = make_pair(api)
    api.make(pair.session["url"], {"Status": "closed"})
    number = api.get(pair.service["links"]["phone_numbers"]).json["phone_numbers"][0]
    assert api.delete(number["url"]).status == 204
    assert refused(api.post(pair.session["url"], {"Status": "in-progress"}), 80605)


def test_a_first_message_puts_the_session_in_progress(api: CheckedApi) -> None:
    pair = make_pair(api)
    pair.send(pair.first, "hello")
    session = api.get(pair.session["url"]).json
    assert session["status"] == "in-progress"
    assert session["date_started"] == session["date_last_interaction"] is not None


def test_ttl_ends_a_session_and_says_so(api: CheckedApi) -> None:
    pair = make_pair(api, Ttl=1, UniqueName="short")
    ended = eventually(lambda: (s := api.get(pair.session["url"]).json)["status"] == "closed" and s)
    assert ended["closed_reason"] == "ttl-expired"
    assert ended["date_ended"] is not None
    assert refused(api.post(pair.messages_path(pair.first), {"Body": "too late"}), 80607)
    assert refused(api.post(pair.session["url"], {"Ttl": 100}), 80607)
    assert api.get(pair.service["links"]["phone_numbers"]).json["phone_numbers"][0]["in_use"] == 0
    (listed,) = api.get(pair.service["links"]["sessions"]).json["sessions"]
    assert listed == api.get(f"{pair.service['links']['sessions']}/short").json == ended
    assert api.make(pair.session["url"], {"Status": "in-progress", "Ttl": 100})["closed_reason"] is None


def test_a_date_of_expiry_ends_a_session_whatever_its_ttl(api: CheckedApi) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    session = api.make(make_service(api, 0)["links"]["sessions"], {"Ttl": 1000, "DateExpiry": soon})
    ended = eventually(lambda: (s := api.get(session["url"]).json)["status"] == "closed" and s)
    assert (ended["closed_reason"], ended["date_ended"]) == ("date-expiry", soon)
    # A date that has passed is dropped by a re-opening that brings no other.
    assert api.make(session["url"], {"Status": "in-progress"})["date_expiry"] is None
