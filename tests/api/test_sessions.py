"""Sessions: creating them, with participants or without, and their names, dates and modes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.world import fresh_number, make_pair, make_service


def refused(reply: Any, code: int, status: int = 400) -> bool:
    return (reply.status, reply.json["code"]) == (status, code)


def count(api: CheckedApi, service: Any) -> int:
    return len(api.get(service["links"]["sessions"] + "?PageSize=1000").json["sessions"])


@pytest.fixture
def service(api: CheckedApi) -> Any:
    return make_service(api, 2)


@pytest.fixture
def sessions(service: Any) -> str:
    path: str = service["links"]["sessions"]
    return path


def test_a_session_begins_open_and_unused(api: CheckedApi, sessions: str) -> None:
    session = api.make(sessions)
    assert session["status"] == "open"
    assert session["mode"] == "voice-and-message"
    assert session["ttl"] == 0
    for name in "unique_name closed_reason date_started date_ended date_last_interaction date_expiry".split():
        assert session[name] is None, name
    assert session["date_created"] == session["date_updated"]


def test_a_session_takes_the_services_ttl_unless_it_brings_its_own(api: CheckedApi) -> None:
    sessions = make_service(api, 0, DefaultTtl=600)["links"]["sessions"]
    assert api.make(sessions)["ttl"] == 600
    assert api.make(sessions, {"Ttl": 5000})["ttl"] == 5000
    assert api.make(sessions, {"Ttl": 0})["ttl"] == 0


def test_ttl_and_expiry_are_both_kept_and_neither_is_computed(api: CheckedApi, sessions: str) -> None:
    assert api.make(sessions, {"Ttl": 600})["date_expiry"] is None
    both = api.make(sessions, {"Ttl": 600, "DateExpiry": "2099-01-02T03:04:05Z"})
    assert (both["ttl"], both["date_expiry"]) == (600, "2099-01-02T03:04:05Z")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2099-07-30T20:00:00Z", "2099-07-30T20:00:00Z"),
        ("2099-07-30T20:00:00.987654Z", "2099-07-30T20:00:00Z"),
        ("2099-07-30T20:00:00+00:00", "2099-07-30T20:00:00Z"),
        ("2099-07-30T22:30:00+02:30", "2099-07-30T20:00:00Z"),
        ("2099-07-30T10:00:00-10:00", "2099-07-30T20:00:00Z"),
        ("2099-07-30t20:00:00z", "2099-07-30T20:00:00Z"),
        ("2099-07-30", "2099-07-30T00:00:00Z"),
        ("20990730", "2099-07-30T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("", None),
    ],
)
def test_an_expiry_date_is_read_in_every_form_that_clients_send(
    api: CheckedApi, sessions: str, given: str, kept: str | None
) -> None:
    session = api.make(sessions, {"DateExpiry": given})
    assert session["date_expiry"] == kept
    other = api.make(sessions, {"DateExpiry": "2098-01-01"})
    assert api.make(other["url"], {"DateExpiry": given})["date_expiry"] == kept
    assert api.make(other["url"])["date_expiry"] == kept


@pytest.mark.parametrize(
    "wrong",
    [
        "tomorrow",
        "2099-13-01T00:00:00Z",
        "2099-02-30",
        "2099-07-30T20:00:00",
        "2099-07-30 ",
        "4086835200",
        "2099-W01-1",
        "2009-07-30T20:00:00Z",
        "1969-12-31",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        pytest.param((datetime.now(UTC) - timedelta(minutes=1)).isoformat(), id="a minute ago"),
    ],
)
def test_an_expiry_date_that_is_none_or_past_is_refused(api: CheckedApi, service: Any, wrong: str) -> None:
    session = api.make(service["links"]["sessions"])
    assert refused(api.post(service["links"]["sessions"], {"DateExpiry": wrong}), 80701)
    assert refused(api.post(session["url"], {"DateExpiry": wrong, "Ttl": 5}), 80701)
    assert api.get(session["url"]).json == session
    assert count(api, service) == 1


@pytest.mark.parametrize("wrong", ["-1", "2147483647", "1.5", "1e3", "", "٣", "five", "9" * 30, " 5"])
def test_a_ttl_that_is_none_is_refused(api: CheckedApi, service: Any, wrong: str) -> None:
    session = api.make(service["links"]["sessions"])
    assert refused(api.post(service["links"]["sessions"], {"Ttl": wrong}), 80701)
    assert refused(api.post(session["url"], {"Ttl": wrong}), 80701)
    assert api.get(session["url"]).json == session
    assert count(api, service) == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("message-only", "message-only"),
        ("Voice-Only", "voice-only"),
        ("VOICE-AND-MESSAGE", "voice-and-message"),
    ],
)
def test_a_mode_is_taken_in_any_letter_case(api: CheckedApi, sessions: str, given: str, kept: str) -> None:
    assert api.make(sessions, {"Mode": given})["mode"] == kept


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"Mode": "fax"}, 80701),
        ({"Mode": ""}, 80701),
        ({"Status": "done"}, 80701),
        ({"Status": "failed"}, 80608),
        ({"Status": "Unknown"}, 80608),
        ({"UniqueName": ""}, 80701),
        ({"UniqueName": "x" * 192}, 80701),
    ],
)
def test_a_wrong_word_is_refused(api: CheckedApi, service: Any, form: dict[str, str], code: int) -> None:
    assert refused(api.post(service["links"]["sessions"], form), code)
    assert count(api, service) == 0


@pytest.mark.parametrize("status", ["open", "in-progress", "closed"])
def test_a_session_may_be_created_in_each_state(api: CheckedApi, sessions: str, status: str) -> None:
    session = api.make(sessions, {"Status": status.title()})
    assert session["status"] == status
    assert session["closed_reason"] == ("api" if status == "closed" else None)
    assert (session["date_ended"] is not None) == (status == "closed")


def test_the_longest_name_is_taken(api: CheckedApi, sessions: str) -> None:
    name = "é" * 191
    assert api.make(sessions, {"UniqueName": name})["unique_name"] == name


def test_a_name_is_taken_until_its_session_is_deleted(api: CheckedApi, service: Any, sessions: str) -> None:
    form = {"UniqueName": "the deal"}
    session = api.make(sessions, form)
    assert refused(api.post(sessions, form), 80603)
    api.make(session["url"], {"Status": "closed"})
    assert refused(api.post(sessions, form), 80603)
    assert count(api, service) == 1
    assert api.make(make_service(api, 0)["links"]["sessions"], form)
    assert api.delete(session["url"]).status == 204
    assert api.make(sessions, form)["sid"] != session["sid"]


def test_an_update_does_not_touch_name_and_mode(api: CheckedApi, sessions: str) -> None:
    session = api.make(sessions, {"UniqueName": "fixed", "Mode": "message-only"})
    updated = api.make(session["url"], {"UniqueName": "other", "Mode": "voice-only", "Ttl": 9})
    assert (updated["unique_name"], updated["mode"], updated["ttl"]) == ("fixed", "message-only", 9)


@pytest.mark.parametrize("flag", ["FailOnParticipantConflict", "ReturnErrorOnDuplicateRequest"])
def test_the_flags_for_conflicts_are_taken_and_ignored(api: CheckedApi, service: Any, flag: str) -> None:
    sessions = service["links"]["sessions"]
    session = api.make(sessions, {flag: "true"})
    people, who = session["links"]["participants"], {"Identifier": fresh_number()}
    for path in (sessions, session["url"], people):
        assert refused(api.post(path, {**who, flag: "perhaps"}), 80701)
    assert (count(api, service), api.get(people).json["participants"]) == (1, [])
    assert api.make(session["url"], {flag: "FALSE"}) == api.get(session["url"]).json
    api.make(people, {**who, flag: "1"})


# Participants in the create


def made_with(api: CheckedApi, session: Any) -> list[Any]:
    rows: list[Any] = api.get(session["links"]["participants"]).json["participants"]
    return rows[::-1]


def test_a_session_comes_with_the_participants_asked_for(
    api: CheckedApi, service: Any, sessions: str
) -> None:
    one, two = fresh_number(), fresh_number()
    wanted = [{"Identifier": one, "FriendlyName": "Ann ☃"}, {"Identifier": two}]
    session = api.make(sessions, {"Participants": [json.dumps(each) for each in wanted]})
    first, second = made_with(api, session)
    assert (first["identifier"], first["friendly_name"]) == (one, "Ann ☃")
    assert (second["identifier"], second["friendly_name"]) == (two, None)
    assert first["proxy_identifier"].startswith("+1415")


@pytest.mark.parametrize(
    "names",
    [
        ("Identifier", "FriendlyName", "ProxyIdentifier"),
        ("identifier", "friendlyName", "proxyIdentifier"),
        ("identifier", "friendly_name", "proxy_identifier"),
    ],
)
def test_keys_of_a_participant_are_taken_in_three_spellings(
    api: CheckedApi, service: Any, sessions: str, names: tuple[str, str, str]
) -> None:
    number = api.get(service["links"]["phone_numbers"]).json["phone_numbers"][1]
    who = fresh_number()
    values = dict(zip(names, (who, "Bob", number["phone_number"]), strict=True))
    (participant,) = made_with(api, api.make(sessions, {"Participants": json.dumps(values)}))
    assert participant["identifier"] == who
    assert participant["friendly_name"] == "Bob"
    assert participant["proxy_identifier_sid"] == number["sid"]


@pytest.mark.parametrize("name", ["ProxyIdentifierSid", "proxyIdentifierSid", "proxy_identifier_sid"])
def test_a_participant_may_be_given_a_number_by_sid(
    api: CheckedApi, service: Any, sessions: str, name: str
) -> None:
    number = api.get(service["links"]["phone_numbers"]).json["phone_numbers"][1]
    values = {"Identifier": fresh_number(), name: number["sid"], "FriendlyName": None}
    (participant,) = made_with(api, api.make(sessions, {"Participants": json.dumps(values)}))
    assert participant["proxy_identifier"] == number["phone_number"]


def test_one_value_may_be_an_array(api: CheckedApi, sessions: str) -> None:
    wanted = [{"Identifier": fresh_number()}, {"Identifier": fresh_number()}]
    session = api.make(sessions, {"Participants": json.dumps(wanted)})
    assert [each["identifier"] for each in made_with(api, session)] == [each["Identifier"] for each in wanted]
    assert made_with(api, api.make(sessions, {"Participants": "[]"})) == []


BAD_PARTICIPANTS = [
    ("", 80701),
    ("not json", 80701),
    ("5", 80701),
    ('"+14155550100"', 80701),
    ("null", 80701),
    ("[5]", 80701),
    ("[" * 5000, 80701),
    ("[" * 5000 + "]" * 5000, 80701),
    ('{"Identifier": {}}', 80701),
    ('{"Identifier": 14155550100}', 80701),
    ('{"Identifier": "+14152010001", "Colour": "red"}', 80701),
    ('{"Identifier": "+14152010001", "FriendlyName": "a\\u0000b"}', 80701),
    ('{"Identifier": "+14152010001", "FriendlyName": "\\ud800"}', 80701),
    (json.dumps({"Identifier": "+14152010001", "FriendlyName": "x" * 256}), 80701),
    ("{}", 80701),
    ('{"Identifier": ""}', 80701),
    ('{"Identifier": "nobody"}', 80404),
    ('{"Identifier": "+14152010001", "ProxyIdentifierSid": "PN1"}', 80407),
    ('{"Identifier": "+14152010001", "ProxyIdentifier": "+12125550000"}', 80606),
]


@pytest.mark.parametrize(("text", "code"), BAD_PARTICIPANTS)
def test_a_session_comes_with_all_its_participants_or_not_at_all(
    api: CheckedApi, service: Any, text: str, code: int
) -> None:
    good = json.dumps({"Identifier": fresh_number()})
    form = {"UniqueName": "all or nothing", "Participants": [good, text]}
    assert refused(api.post(service["links"]["sessions"], form), code)
    assert count(api, service) == 0
    assert [n["in_use"] for n in api.get(service["links"]["phone_numbers"]).json["phone_numbers"]] == [0, 0]
    # The name is free, and the person is where they were.
    form["Participants"] = [good]
    assert len(made_with(api, api.make(service["links"]["sessions"], form))) == 1


@pytest.mark.parametrize("as_array", [True, False])
def test_more_than_two_participants_are_refused(api: CheckedApi, service: Any, as_array: bool) -> None:
    wanted = [{"Identifier": fresh_number()} for _ in range(3)]
    form = {"Participants": json.dumps(wanted) if as_array else [json.dumps(each) for each in wanted]}
    assert refused(api.post(service["links"]["sessions"], form), 80609)
    assert count(api, service) == 0


def test_the_same_person_twice_is_refused(api: CheckedApi, service: Any) -> None:
    who = json.dumps({"Identifier": fresh_number()})
    assert refused(api.post(service["links"]["sessions"], {"Participants": [who, who]}), 80103)
    assert count(api, service) == 0


def test_a_second_participant_without_a_number_undoes_the_first(api: CheckedApi) -> None:
    service = make_service(api)
    pair = make_pair(api, service)
    wanted = [{"Identifier": fresh_number()}, {"Identifier": pair.first["identifier"]}]
    form = {"Participants": [json.dumps(each) for each in wanted]}
    assert refused(api.post(service["links"]["sessions"], form), 80208)
    assert count(api, service) == 1
    assert api.get(service["links"]["phone_numbers"]).json["phone_numbers"][0]["in_use"] == 1


def test_a_session_created_closed_takes_no_participants(api: CheckedApi, service: Any) -> None:
    form = {"Status": "closed", "Participants": json.dumps({"Identifier": fresh_number()})}
    assert refused(api.post(service["links"]["sessions"], form), 80607)
    assert count(api, service) == 0


def test_sessions_are_listed_newest_first(api: CheckedApi, sessions: str) -> None:
    made = [api.make(sessions)["sid"] for _ in range(5)]
    assert [row["sid"] for row in api.get(sessions).json["sessions"]] == made[::-1]


def test_a_service_sid_may_be_written_in_either_case(api: CheckedApi) -> None:
    service = make_service(api)
    path = f"/v1/Services/KS{service['sid'][2:].upper()}/Sessions"
    who = fresh_number("212")
    made = api.make(path, {"Participants": json.dumps({"Identifier": who})})
    assert made["service_sid"] == service["sid"]
    assert api.get(f"{path}/{made['sid']}").json == api.get(made["url"]).json
    proxy = api.get(made["links"]["participants"]).json["participants"][0]["proxy_identifier"]
    assert api.post("/sandbox/messages", {"From": who, "To": proxy, "Body": "hello"}).status == 201
