"""Participants: who may join, which number they get, and what is left of them when they go."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.world import fresh_number, make_pair, make_service

Carry = Callable[..., str]


def refused(reply: Any, code: int, status: int = 400) -> bool:
    return (reply.status, reply.json["code"]) == (status, code)


def pool(api: CheckedApi, service: Any) -> list[Any]:
    """Oldest first."""
    rows: list[Any] = api.get(service["links"]["phone_numbers"]).json["phone_numbers"]
    return rows[::-1]


def new_session(api: CheckedApi, service: Any, **form: Any) -> str:
    """The path of a new Session's participants."""
    path: str = api.make(service["links"]["sessions"], form)["links"]["participants"]
    return path


def listed(api: CheckedApi, people: str) -> list[str]:
    return [row["sid"] for row in api.get(people).json["participants"]]


def test_a_participant_gets_a_number_of_the_pool(api: CheckedApi) -> None:
    service = make_service(api)
    people, who = new_session(api, service), fresh_number("212")
    participant = api.make(people, {"Identifier": who, "FriendlyName": "Ann ☃"})
    number = pool(api, service)[0]
    assert participant["identifier"] == who
    assert participant["friendly_name"] == "Ann ☃"
    assert participant["proxy_identifier"] == number["phone_number"]
    assert participant["proxy_identifier_sid"] == number["sid"]
    assert participant["date_deleted"] is None
    assert set(participant["links"]) == {"message_interactions"}
    assert api.get(participant["url"]).json == participant


def test_a_plus_sign_that_came_as_a_space_is_read_as_one(api: CheckedApi) -> None:
    service = make_service(api)
    who, number = fresh_number(), pool(api, service)[0]["phone_number"]
    participant = api.post(
        new_session(api, service),
        body=f"Identifier={who}&ProxyIdentifier={number}".encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    ).json
    assert (participant["identifier"], participant["proxy_identifier"]) == (who, number)


WRONG_IDENTIFIERS = [
    ("", 80701),
    ("x" * 192, 80701),
    ("nobody", 80404),
    ("14155550100", 80404),
    ("+15551234567", 80404),
    ("+1415555010", 80404),
    ("+999123456789", 80404),
    ("+14155550100;ext=5", 80404),
    ("+1 415 555 0100", 80404),
    ("00442079460000", 80404),
    ("+٣٤١٥٥٥٥٠١٠٠", 80404),
]


@pytest.mark.parametrize(("wrong", "code"), WRONG_IDENTIFIERS)
def test_an_identifier_that_is_no_phone_number_is_refused(api: CheckedApi, wrong: str, code: int) -> None:
    people = new_session(api, make_service(api))
    assert refused(api.post(people, {"Identifier": wrong}), code)
    assert listed(api, people) == []


def test_a_test_system_may_take_numbers_that_are_only_possible(api: CheckedApi) -> None:
    """Spec 3.5, 10 (25): with IdentifierCheck=possible made-up numbers are people like others, on channels too."""
    service, made_up = make_service(api, 2), "+15551234567"
    people = new_session(api, service)
    assert refused(api.post(people, {"Identifier": made_up}), 80404)
    api.make(service["url"] + "/Settings", {"IdentifierCheck": "possible"})
    one = api.make(people, {"Identifier": made_up})
    other = api.make(people, {"Identifier": fresh_number()})
    assert one["identifier"] == made_up
    text = {"From": made_up, "To": one["proxy_identifier"], "Body": "made up"}
    api.make("/sandbox/messages", text)
    (message,) = eventually(lambda: texts_to(api, other["identifier"]))
    assert (message["from"], message["body"]) == (other["proxy_identifier"], "made up")
    for wrong in ("nobody", "+1555", "+999123456789", "whatsapp:+1555", "15551234567"):
        assert refused(
            api.post(new_session(api, service), {"Identifier": wrong, "ProxyIdentifier": "x:y"}), 80404
        )
    on_channel = {"Identifier": f"whatsapp:{made_up}", "ProxyIdentifier": "whatsapp:+14155550100"}
    assert refused(api.post(new_session(api, service, Mode="message-only"), on_channel), 80304)
    api.make(service["url"] + "/Settings", {"IdentifierCheck": ""})
    assert refused(api.post(new_session(api, service, Mode="message-only"), on_channel), 80404)
    # Who is there stays there.
    assert api.get(one["url"]).json == one
    assert refused(api.post(people, {"Identifier": made_up}), 80404)


def texts_to(api: CheckedApi, who: str) -> list[Any]:
    rows: list[Any] = api.get(f"/sandbox/messages?To={who.replace('+', '%2B')}").json["messages"]
    return rows


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, 80701),
        ({"FriendlyName": "nobody"}, 80701),
        ({"Identifier": "+14155550100", "FriendlyName": "x" * 256}, 80701),
        ({"Identifier": "+14152010001", "ProxyIdentifier": "+" + "1" * 255}, 80701),
        ({"Identifier": "+14152010001", "ProxyIdentifierSid": "PN1"}, 80407),
        ({"Identifier": "+14152010001", "ProxyIdentifierSid": "KS" + "0" * 32}, 80407),
    ],
)
def test_a_malformed_participant_is_refused(api: CheckedApi, form: dict[str, str], code: int) -> None:
    people = new_session(api, make_service(api))
    assert refused(api.post(people, form), code)
    assert listed(api, people) == []


def test_the_longest_friendly_name_is_taken(api: CheckedApi) -> None:
    form = {"Identifier": fresh_number(), "FriendlyName": "ü" * 255}
    assert api.make(new_session(api, make_service(api)), form)["friendly_name"] == "ü" * 255


# Who may be in a Session


def test_a_session_has_two_participants_at_most(api: CheckedApi) -> None:
    pair = make_pair(api)
    people = pair.session["links"]["participants"]
    assert refused(api.post(people, {"Identifier": fresh_number()}), 80609)
    assert listed(api, people) == [pair.second["sid"], pair.first["sid"]]
    api.delete(pair.first["url"])
    assert api.make(people, {"Identifier": fresh_number()})


def test_a_person_is_in_a_session_once(api: CheckedApi) -> None:
    service = make_service(api, 2)
    people, who = new_session(api, service), "+525512345678"
    api.make(service["links"]["phone_numbers"], {"PhoneNumber": "+525587654321"})
    made = api.make(people, {"Identifier": who})
    assert refused(api.post(people, {"Identifier": who}), 80103)
    # The same Mexican number, written with its mobile digit.
    assert refused(api.post(people, {"Identifier": "+5215512345678"}), 80103)
    assert listed(api, people) == [made["sid"]]
    # This is told before that the Session is full.
    api.make(people, {"Identifier": "+525511112222"})
    assert refused(api.post(people, {"Identifier": who}), 80103)


def test_a_deleted_participant_stays_to_be_seen(api: CheckedApi) -> None:
    pair = make_pair(api)
    message = pair.send(pair.first, "before the end")
    assert api.delete(pair.first["url"]).status == 204
    gone = api.get(pair.first["url"]).json
    assert gone["date_deleted"] is not None
    assert gone == {**pair.first, "date_deleted": gone["date_deleted"], "date_updated": gone["date_updated"]}
    people = pair.session["links"]["participants"]
    assert listed(api, people) == [pair.second["sid"], pair.first["sid"]]
    # Its messages stay; new ones cannot be sent, and it cannot go twice or come back.
    assert api.get(message["url"]).json["sid"] == message["sid"]
    assert refused(api.post(pair.messages_path(pair.first), {"Body": "too late"}), 20404, 404)
    assert refused(api.delete(pair.first["url"]), 20404, 404)
    assert refused(api.post(people, {"Identifier": pair.first["identifier"]}), 80612)
    assert len(api.get(pair.session["links"]["interactions"]).json["interactions"]) == 1


def test_a_deleted_participants_number_is_free_for_another_session_at_once(api: CheckedApi) -> None:
    pair = make_pair(api)
    people = new_session(api, pair.service)
    form = {"Identifier": pair.first["identifier"]}
    assert refused(api.post(people, form), 80208)
    api.delete(pair.first["url"])
    assert api.make(people, form)["proxy_identifier"] == pair.first["proxy_identifier"]


# Which number they get


def test_an_empty_pool_has_none(api: CheckedApi) -> None:
    people = new_session(api, make_service(api, 0))
    assert refused(api.post(people, {"Identifier": fresh_number()}), 80205)
    assert listed(api, people) == []


def test_a_pool_of_another_country_has_none(api: CheckedApi) -> None:
    people = new_session(api, make_service(api))
    reply = api.post(people, {"Identifier": "+819012345678"})
    assert refused(reply, 80203)
    assert "JP" in reply.json["message"]


def test_an_explicit_number_may_be_of_any_country(api: CheckedApi) -> None:
    service = make_service(api)
    number = pool(api, service)[0]
    form = {"Identifier": "+819012345678", "ProxyIdentifier": number["phone_number"]}
    assert api.make(new_session(api, service), form)["proxy_identifier_sid"] == number["sid"]


def test_a_number_of_the_participants_own_country_is_taken(api: CheckedApi) -> None:
    service = make_service(api)
    api.make(service["links"]["phone_numbers"], {"PhoneNumber": "+442079460001"})
    made = api.make(new_session(api, service), {"Identifier": "+442079460002"})
    assert made["proxy_identifier"] == "+442079460001"


def test_reserved_numbers_are_never_given_by_themselves(api: CheckedApi) -> None:
    service = make_service(api)
    number = pool(api, service)[0]
    api.make(number["url"], {"IsReserved": "true"})
    people = new_session(api, service)
    assert refused(api.post(people, {"Identifier": fresh_number()}), 80207)
    by_number = api.make(people, {"Identifier": fresh_number(), "ProxyIdentifier": number["phone_number"]})
    by_sid = api.make(people, {"Identifier": fresh_number(), "ProxyIdentifierSid": number["sid"]})
    assert by_number["proxy_identifier_sid"] == by_sid["proxy_identifier_sid"] == number["sid"]


def test_a_reserved_number_is_drained(api: CheckedApi) -> None:
    """It serves on where it is in use, is given to nobody else, and leaves the pool when the last Session has ended."""
    pair = make_pair(api)
    (number,) = pool(api, pair.service)
    api.make(number["url"], {"IsReserved": "true"})
    assert pair.send(pair.first, "still here")["outbound_resource_status"] == "sent"
    assert refused(api.post(new_session(api, pair.service), {"Identifier": fresh_number()}), 80207)
    assert refused(api.delete(number["url"]), 80611)
    api.make(pair.session["url"], {"Status": "closed"})
    assert api.get(number["url"]).json["in_use"] == 0
    assert api.delete(number["url"]).status == 204
    assert refused(api.post(pair.session["url"], {"Status": "in-progress"}), 80605)


@pytest.mark.parametrize(
    ("mode", "abilities", "code"),
    [
        ("voice-only", {"voice": False}, 80201),
        ("voice-and-message", {"voice": False}, 80201),
        ("message-only", {"sms": False}, 80202),
        ("voice-and-message", {"sms": False}, 80202),
    ],
)
def test_a_number_must_do_what_the_mode_needs(
    api: CheckedApi, carry: Carry, mode: str, abilities: dict[str, bool], code: int
) -> None:
    service, number = make_service(api, 0), fresh_number()
    sid = carry(number, **abilities)
    api.make(service["links"]["phone_numbers"], {"Sid": sid})
    people = new_session(api, service, Mode=mode)
    assert refused(api.post(people, {"Identifier": fresh_number()}), code)
    assert refused(api.post(people, {"Identifier": fresh_number(), "ProxyIdentifierSid": sid}), code)
    assert listed(api, people) == []


@pytest.mark.parametrize(
    ("mode", "abilities"), [("voice-only", {"sms": False}), ("message-only", {"voice": False})]
)
def test_a_number_need_not_do_what_the_mode_does_not_need(
    api: CheckedApi, carry: Carry, mode: str, abilities: dict[str, bool]
) -> None:
    service, number = make_service(api, 0), fresh_number()
    api.make(service["links"]["phone_numbers"], {"Sid": carry(number, **abilities)})
    assert api.make(new_session(api, service, Mode=mode), {"Identifier": fresh_number()})


def test_three_deliveries_by_two_people_over_two_numbers_and_no_more(api: CheckedApi) -> None:
    """Checklist 5: A and X, then B and Y, then A and Y; a fourth Session of A has no number left."""
    service = make_service(api, 2)
    a, b, x, y = (fresh_number("212") for _ in range(4))
    pairs = []
    for one, other in ((a, x), (b, y), (a, y)):
        people = new_session(api, service)
        pairs += [(who, api.make(people, {"Identifier": who})["proxy_identifier"]) for who in (one, other)]
    assert len(set(pairs)) == 6
    assert refused(api.post(new_session(api, service), {"Identifier": a}), 80208)


def test_both_sides_of_a_session_may_share_a_number(api: CheckedApi) -> None:
    pair = make_pair(api)
    assert pair.first["proxy_identifier"] == pair.second["proxy_identifier"]


def test_prefer_sticky_gives_the_number_that_the_person_had(api: CheckedApi) -> None:
    service = make_service(api, 3)
    wanted, who = pool(api, service)[1], fresh_number("212")
    first = api.make(service["links"]["sessions"])
    form = {"Identifier": who, "ProxyIdentifierSid": wanted["sid"]}
    api.make(first["links"]["participants"], form)
    api.make(first["url"], {"Status": "closed"})
    for _ in range(3):
        session = api.make(service["links"]["sessions"])
        again = api.make(session["links"]["participants"], {"Identifier": who})
        assert again["proxy_identifier_sid"] == wanted["sid"]
        api.make(session["url"], {"Status": "closed"})


def test_avoid_sticky_gives_each_number_in_turn(api: CheckedApi) -> None:
    service = make_service(api, 3, NumberSelectionBehavior="avoid-sticky")
    who, had = fresh_number("212"), []
    for _ in range(6):
        session = api.make(service["links"]["sessions"])
        made = api.make(session["links"]["participants"], {"Identifier": who})
        had.append(made["proxy_identifier_sid"])
        api.make(session["url"], {"Status": "closed"})
    assert len(set(had[:3])) == 3
    assert had[3:] == had[:3]


def test_the_number_with_the_fewest_people_is_taken_first(api: CheckedApi) -> None:
    service = make_service(api, 2)
    busy, idle = pool(api, service)
    people = new_session(api, service)
    api.make(people, {"Identifier": fresh_number(), "ProxyIdentifierSid": busy["sid"]})
    assert api.make(people, {"Identifier": fresh_number()})["proxy_identifier_sid"] == idle["sid"]


# Explicit assignment


def test_a_number_is_given_by_value_by_sid_or_by_both(api: CheckedApi) -> None:
    service = make_service(api, 3)
    number = pool(api, service)[2]
    by_value, by_sid = {"ProxyIdentifier": number["phone_number"]}, {"ProxyIdentifierSid": number["sid"]}
    for how in (by_value, by_sid, {**by_value, **by_sid}, {**by_value, "ProxyIdentifierSid": ""}):
        made = api.make(new_session(api, service), {"Identifier": fresh_number(), **how})
        assert made["proxy_identifier"] == number["phone_number"]
        assert made["proxy_identifier_sid"] == number["sid"]


def test_an_explicit_pair_in_use_elsewhere_is_refused(api: CheckedApi) -> None:
    service = make_service(api, 2)
    number, who = pool(api, service)[1], fresh_number()
    form = {"Identifier": who, "ProxyIdentifierSid": number["sid"]}
    api.make(new_session(api, service), form)
    people = new_session(api, service)
    assert refused(api.post(people, form), 80604)
    assert listed(api, people) == []
    # The person gets the other one by itself, and another person gets this one.
    assert api.make(people, {"Identifier": who})["proxy_identifier_sid"] != number["sid"]
    assert api.make(people, {**form, "Identifier": fresh_number()})


def test_an_explicit_number_must_be_of_the_pool(api: CheckedApi, stranger: CheckedApi, carry: Carry) -> None:
    service, other, theirs = make_service(api), make_service(api), make_service(stranger)
    people, idle = new_session(api, service), fresh_number()
    idle_sid = carry(idle)
    elsewhere = pool(api, other)[0]
    foreign = pool(stranger, theirs)[0]
    cases = [
        ({"ProxyIdentifier": elsewhere["phone_number"]}, 80605),
        ({"ProxyIdentifierSid": elsewhere["sid"]}, 80605),
        ({"ProxyIdentifier": idle}, 80605),
        ({"ProxyIdentifierSid": idle_sid}, 80605),
        ({"ProxyIdentifier": foreign["phone_number"]}, 80606),
        ({"ProxyIdentifier": fresh_number()}, 80606),
        ({"ProxyIdentifier": "not a number"}, 80606),
        ({"ProxyIdentifierSid": foreign["sid"]}, 80301),
        ({"ProxyIdentifierSid": "PN" + "0" * 32}, 80301),
    ]
    for form, code in cases:
        assert refused(api.post(people, {"Identifier": fresh_number(), **form}), code), form
    assert listed(api, people) == []


def test_number_and_sid_together_must_agree(api: CheckedApi) -> None:
    service = make_service(api, 2)
    one, other = pool(api, service)
    form = {"Identifier": fresh_number(), "ProxyIdentifier": one["phone_number"]}
    people = new_session(api, service)
    assert refused(api.post(people, {**form, "ProxyIdentifierSid": other["sid"]}), 80402)
    assert listed(api, people) == []


def test_a_proxy_number_of_any_pool_is_nobodys_identifier(api: CheckedApi) -> None:
    service, other = make_service(api, numbers=2), make_service(api)
    first, second = pool(api, service)
    people = new_session(api, service)
    for number in (first, pool(api, other)[0]):
        proxy = {"Identifier": number["phone_number"]}
        assert refused(api.post(people, proxy), 80404)
        assert refused(api.post(people, {**proxy, "ProxyIdentifierSid": second["sid"]}), 80404)
    assert listed(api, people) == []


def test_people_of_another_service_do_not_count(api: CheckedApi) -> None:
    who = fresh_number("212")
    for service in (make_service(api), make_service(api)):
        assert api.make(new_session(api, service), {"Identifier": who})


def test_one_participant_is_enough_to_be_written_to(api: CheckedApi) -> None:
    service = make_service(api)
    made = api.make(new_session(api, service), {"Identifier": fresh_number()})
    assert api.make(made["links"]["message_interactions"], {"Body": "alone"})
