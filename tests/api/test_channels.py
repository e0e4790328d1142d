"""Participants on messaging channels, as requests meet them."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.world import fresh_number, make_service

Wire = Callable[..., str]


def whatsapp() -> str:
    return f"whatsapp:{fresh_number('212')}"


def people_of(api: CheckedApi, service: Any, mode: str = "message-only") -> str:
    """The path of a new Session's participants."""
    path: str = api.make(service["links"]["sessions"], {"Mode": mode})["links"]["participants"]
    return path


def code(reply: Any) -> int:
    assert reply.status == 400
    return int(reply.json["code"])


@pytest.fixture
def service(api: CheckedApi) -> Any:
    return make_service(api)


@pytest.fixture
def number(api: CheckedApi, service: Any) -> Any:
    """The one number of the pool."""
    return api.get(service["links"]["phone_numbers"]).json["phone_numbers"][0]


@pytest.fixture
def sender(wire: Wire, service: Any, number: Any) -> str:
    address = whatsapp()
    wire(address, service["sid"])
    return address


def test_somebody_on_a_channel_joins_with_a_sender_of_it(api: CheckedApi, service: Any, sender: str) -> None:
    who, people = whatsapp(), people_of(api, service)
    made = api.make(people, {"Identifier": who, "ProxyIdentifier": sender})
    assert (made["identifier"], made["proxy_identifier"], made["proxy_identifier_sid"]) == (who, sender, None)
    assert api.get(made["url"]).json == made
    assert api.get(people).json["participants"] == [made]


def test_a_page_and_its_visitor_have_no_number(api: CheckedApi, service: Any, wire: Wire) -> None:
    wire("messenger:987654532", service["sid"])
    form = {"Identifier": "messenger:123456", "ProxyIdentifier": "messenger:987654532"}
    made = api.make(people_of(api, service), form)
    assert (made["identifier"], made["proxy_identifier"]) == ("messenger:123456", "messenger:987654532")


def test_the_identifier_is_shown_as_it_was_sent(api: CheckedApi, service: Any, sender: str) -> None:
    """It is one person in every spelling, and a plus sign that came as a space is one."""
    people, number = people_of(api, service), fresh_number("212")
    body = f"Identifier=WhatsApp:{number}&ProxyIdentifier={sender}".encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    made = api.post(people, body=body, headers=headers).json
    assert (made["identifier"], made["proxy_identifier"]) == (f"WhatsApp:{number}", sender)
    form = {"Identifier": f"whatsapp:{number}", "ProxyIdentifier": sender}
    assert code(api.post(people, form)) == 80103


def test_people_of_a_create_may_be_on_channels(api: CheckedApi, service: Any, sender: str) -> None:
    both = [f'{{"Identifier": "{whatsapp()}", "ProxyIdentifier": "{sender}"}}' for _ in range(2)]
    session = api.make(service["links"]["sessions"], {"Mode": "message-only", "Participants": both})
    made = api.get(session["links"]["participants"]).json["participants"]
    assert {one["proxy_identifier"] for one in made} == {sender}
    assert code(api.post(service["links"]["sessions"], {"Participants": both})) == 80616


@pytest.mark.parametrize("mode", ["voice-only", "voice-and-message"])
def test_a_session_with_voice_takes_nobody_on_a_channel(
    api: CheckedApi, service: Any, sender: str, mode: str
) -> None:
    people = people_of(api, service, mode)
    assert code(api.post(people, {"Identifier": whatsapp(), "ProxyIdentifier": sender})) == 80616
    assert api.get(people).json["participants"] == []


def test_both_sides_are_on_one_channel(api: CheckedApi, service: Any, number: Any, sender: str) -> None:
    people, who = people_of(api, service), whatsapp()
    for form in (
        {"Identifier": who, "ProxyIdentifier": number["phone_number"]},
        {"Identifier": who, "ProxyIdentifier": "messenger:5"},
        {"Identifier": who, "ProxyIdentifier": sender, "ProxyIdentifierSid": number["sid"]},
        {"Identifier": fresh_number(), "ProxyIdentifier": sender},
        {"Identifier": fresh_number(), "ProxyIdentifier": "messenger:5"},
        {"Identifier": "messenger:123", "ProxyIdentifier": sender},
    ):
        assert code(api.post(people, form)) == 80402, form
    assert api.get(people).json["participants"] == []


def test_a_channel_address_needs_a_sender_by_name(
    api: CheckedApi, service: Any, number: Any, wire: Wire
) -> None:
    people, sid = people_of(api, service), wire(whatsapp(), service["sid"])
    for how in ({}, {"ProxyIdentifier": ""}, {"ProxyIdentifierSid": number["sid"]}):
        reply = api.post(people, {"Identifier": whatsapp(), **how})
        assert code(reply) == 80701
        assert "ProxyIdentifier" in reply.json["message"]
    for who in (whatsapp(), fresh_number()):
        assert code(api.post(people, {"Identifier": who, "ProxyIdentifierSid": sid})) == 80407
    assert api.get(people).json["participants"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        "telegram:ann",
        "sms:+14155550100",
        "sip:ann@example.com",
        "whatsapp:",
        "whatsapp:ann",
        "whatsapp:+15551234567",
        "whatsapp:14155550100",
        "messenger:",
        "messenger:é",
    ],
)
def test_an_address_of_no_known_channel_is_refused(
    api: CheckedApi, service: Any, sender: str, wrong: str
) -> None:
    people = people_of(api, service)
    assert code(api.post(people, {"Identifier": wrong, "ProxyIdentifier": sender})) == 80404
    assert api.get(people).json["participants"] == []


def test_a_sender_must_be_the_accounts_and_the_services(
    api: CheckedApi, stranger: CheckedApi, service: Any, wire: Wire
) -> None:
    others, theirs, idle, unknown = (whatsapp() for _ in range(4))
    wire(others, make_service(api)["sid"])
    wire(theirs, make_service(stranger)["sid"], stranger.account_sid)
    wire(idle, None)
    people = people_of(api, service)
    for sender in (others, theirs, idle, unknown):
        reply = api.post(people, {"Identifier": whatsapp(), "ProxyIdentifier": sender})
        assert code(reply) == 80304
        assert sender.encode() not in reply.raw
    assert api.get(people).json["participants"] == []


def test_a_sender_is_nobodys_identifier(api: CheckedApi, service: Any, wire: Wire, sender: str) -> None:
    other = whatsapp()
    wire(other, make_service(api)["sid"])
    people = people_of(api, service)
    for who in (sender, other):
        assert code(api.post(people, {"Identifier": who, "ProxyIdentifier": sender})) == 80404


def test_texts_of_handsets_on_a_channel_go_both_ways(api: CheckedApi, service: Any, sender: str) -> None:
    people, ann, ben = people_of(api, service), whatsapp(), whatsapp()
    for who in (ann, ben):
        api.make(people, {"Identifier": who, "ProxyIdentifier": sender})
    for one, other in ((ann, ben), (ben, ann)):
        api.make("/sandbox/messages", {"From": one, "To": sender, "Body": f"to {other}"})

    def arrived(who: str) -> list[Any]:
        shown = api.get(f"/sandbox/messages?Direction=to_handset&To={who.replace('+', '%2B')}")
        return [(one["from"], one["body"]) for one in shown.json["messages"]]

    for who in (ann, ben):
        assert eventually(lambda who=who: arrived(who)) == [(sender, f"to {who}")]


def test_a_sender_that_is_wired_to_nothing_can_be_written_to(api: CheckedApi, wire: Wire) -> None:
    """It is reached, as it would be at its carrier; what arrives ends as an event."""
    idle = whatsapp()
    assert api.post("/sandbox/messages", {"From": whatsapp(), "To": idle, "Body": "hi"}).status == 404
    wire(idle, None)
    assert api.make("/sandbox/messages", {"From": whatsapp(), "To": idle, "Body": "hi"})["status"] == "sent"
