"""Inbound: a handset texts a proxy number, and the partner gets it from the partner's own."""

import json
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.server import RealServer
from tests.support.world import Pair, fresh_number, make_pair, make_service


def text(api: CheckedApi, who: Any, body: str, **more: Any) -> Any:
    """A participant's handset writes to its proxy number."""
    form = {"From": who["identifier"], "To": who["proxy_identifier"], "Body": body, **more}
    reply = api.post("/sandbox/messages", form)
    assert reply.status == 201
    return reply.json


def got(api: CheckedApi, number: str) -> list[Any]:
    """What a handset received, oldest first."""
    path = f"/sandbox/messages?PageSize=1000&Direction=to_handset&To=%2B{number[1:]}"
    rows: list[Any] = api.get(path).json["messages"]
    return rows[::-1]


def interactions(api: CheckedApi, session: Any) -> list[Any]:
    rows: list[Any] = api.get(session["links"]["interactions"]).json["interactions"]
    return rows[::-1]


def events(server: RealServer, service: Any) -> list[int]:
    found = server.rows("SELECT code FROM events WHERE service_sid = ? ORDER BY sid", service["sid"])
    return [code for (code,) in found]


def test_a_text_reaches_the_partner_from_the_partners_own_number(api: CheckedApi) -> None:
    service = make_service(api, 0)
    for number in ("+442079462001", fresh_number()):
        api.make(service["links"]["phone_numbers"], {"PhoneNumber": number})
    session = api.make(service["links"]["sessions"])
    american, briton = (
        api.make(session["links"]["participants"], {"Identifier": who})
        for who in (fresh_number(), "+442079462002")
    )
    assert american["proxy_identifier"] != briton["proxy_identifier"]
    for sender, partner, body in ((american, briton, "hello there"), (briton, american, "hello yourself")):
        sent = text(api, sender, body)
        assert (sent["from"], sent["to"]) == (sender["identifier"], sender["proxy_identifier"])
        assert (sent["direction"], sent["body"]) == ("from_handset", body)
        (row,) = eventually(lambda: got(api, partner["identifier"]))  # noqa: B023
        assert (row["from"], row["body"]) == (partner["proxy_identifier"], body)
        assert sender["identifier"] not in json.dumps(row)


def test_an_interaction_shows_both_legs(api: CheckedApi) -> None:
    pair = make_pair(api)
    text(api, pair.first, "hello ☃")
    (row,) = interactions(api, pair.session)
    assert (row["type"], row["data"]) == ("message", '{"body":"hello ☃"}')
    assert row["inbound_participant_sid"] == pair.first["sid"]
    assert row["outbound_participant_sid"] == pair.second["sid"]
    assert row["inbound_resource_status"] == "delivered"
    assert row["inbound_resource_type"] == row["outbound_resource_type"] == "Message"
    assert row["inbound_resource_sid"][:2] == row["outbound_resource_sid"][:2] == "SM"
    assert row["inbound_resource_sid"] != row["outbound_resource_sid"]
    for side in ("inbound", "outbound"):
        path = f"/2010-04-01/Accounts/{api.account_sid}/Messages/{row[f'{side}_resource_sid']}.json"
        assert row[f"{side}_resource_url"] == api.url + path
        assert api.get(path).json["sid"] == row[f"{side}_resource_sid"]
    eventually(lambda: interactions(api, pair.session)[0]["outbound_resource_status"] == "delivered")


def test_the_first_text_starts_the_session(api: CheckedApi) -> None:
    pair = make_pair(api)
    assert pair.session["date_started"] is pair.session["date_last_interaction"] is None
    text(api, pair.first, "hello")
    session = api.get(pair.session["url"]).json
    assert session["status"] == "in-progress"
    assert session["date_started"] == session["date_last_interaction"] is not None


def test_a_conversation_keeps_its_order(api: CheckedApi) -> None:
    pair = make_pair(api)
    expected: dict[str, list[str]] = {"first": [], "second": []}
    for i in range(12):
        kind = i % 3
        if kind == 0:
            text(api, pair.second, f"relayed {i}")
            expected["first"].append(f"relayed {i}")
        elif kind == 1:
            pair.send(pair.first, f"by the api {i}")
            expected["first"].append(f"by the api {i}")
        else:
            text(api, pair.first, f"answered {i}")
            expected["second"].append(f"answered {i}")
    for name, who in (("first", pair.first), ("second", pair.second)):
        eventually(lambda: len(got(api, who["identifier"])) == len(expected[name]))  # noqa: B023
        assert [row["body"] for row in got(api, who["identifier"])] == expected[name]
    everything = [json.loads(row["data"])["body"] for row in interactions(api, pair.session)]
    assert len(everything) == 12
    assert [body for body in everything if body in expected["first"]] == expected["first"]


def test_media_goes_along(api: CheckedApi) -> None:
    pair = make_pair(api)
    media = ["https://example.com/cat.jpg", "https://example.com/dog.jpg"]
    text(api, pair.first, "look", MediaUrl=media)
    (row,) = eventually(lambda: got(api, pair.second["identifier"]))
    # Where they are nobody learns at the other end.
    assert row["body"] == "look"
    assert [link.startswith(f"{api.url}/media/") for link in row["media"]] == [True, True]
    assert "example.com" not in str(row)


def nothing_relayed(api: CheckedApi, pair: Pair) -> None:
    """Nobody got anything: what was sent afterwards by the API has arrived, and alone."""
    assert interactions(api, pair.session) == []
    for who in (pair.first, pair.second):
        assert got(api, who["identifier"]) == []


@pytest.mark.parametrize("sender", ["stranger", "anonymous", "12345", "+14155550100"])
def test_an_unknown_sender_gets_no_relay_and_an_event(
    server: RealServer, api: CheckedApi, sender: str
) -> None:
    pair = make_pair(api)
    form = {"From": sender, "To": pair.first["proxy_identifier"], "Body": "hello?"}
    assert api.post("/sandbox/messages", form).status == 201
    assert events(server, pair.service) == [80905]
    nothing_relayed(api, pair)
    assert api.get(pair.session["url"]).json == pair.session


def test_an_event_tells_no_full_number_and_no_body(server: RealServer, api: CheckedApi) -> None:
    pair = make_pair(api)
    form = {"From": "+442079460958", "To": pair.first["proxy_identifier"], "Body": "a secret"}
    api.post("/sandbox/messages", form)
    ((message,),) = server.rows("SELECT message FROM events WHERE service_sid = ?", pair.service["sid"])
    assert "+44…58" in message
    assert "secret" not in message
    assert "207946" not in message
    assert pair.first["proxy_identifier"] not in message


def test_a_participant_of_another_session_writes_to_that_session_only(api: CheckedApi) -> None:
    service = make_service(api, 2)
    one, other = make_pair(api, service), make_pair(api, service)
    # The same person in both, on two numbers.
    third = api.make(service["links"]["sessions"])
    again = api.make(third["links"]["participants"], {"Identifier": one.first["identifier"]})
    partner = api.make(third["links"]["participants"], {"Identifier": fresh_number()})
    assert again["proxy_identifier"] != one.first["proxy_identifier"]
    text(api, again, "for the third")
    text(api, one.first, "for the first")
    assert [r["body"] for r in eventually(lambda: got(api, partner["identifier"]))] == ["for the third"]
    assert [r["body"] for r in eventually(lambda: got(api, one.second["identifier"]))] == ["for the first"]
    nothing_relayed(api, other)


def test_a_closed_session_relays_nothing(server: RealServer, api: CheckedApi) -> None:
    pair = make_pair(api)
    api.make(pair.session["url"], {"Status": "closed"})
    text(api, pair.first, "anybody there?")
    nothing_relayed(api, pair)
    assert len(events(server, pair.service)) == 1
    api.make(pair.session["url"], {"Status": "in-progress"})
    text(api, pair.first, "there you are")
    assert [r["body"] for r in eventually(lambda: got(api, pair.second["identifier"]))] == ["there you are"]


def test_a_voice_only_session_relays_nothing(server: RealServer, api: CheckedApi) -> None:
    pair = make_pair(api, Mode="voice-only")
    text(api, pair.first, "hello?")
    nothing_relayed(api, pair)
    assert events(server, pair.service) == [80910]


def test_without_a_partner_nothing_is_relayed(server: RealServer, api: CheckedApi) -> None:
    pair = make_pair(api)
    api.delete(pair.second["url"])
    text(api, pair.first, "hello?")
    nothing_relayed(api, pair)
    assert events(server, pair.service) == [80614]


def test_a_deleted_participant_is_a_stranger(server: RealServer, api: CheckedApi) -> None:
    pair = make_pair(api)
    api.delete(pair.first["url"])
    text(api, pair.first, "still me")
    nothing_relayed(api, pair)
    assert events(server, pair.service) == [80905]


def test_a_text_finds_its_sender_in_either_spelling(api: CheckedApi) -> None:
    """Mexican and Argentine mobiles text with a digit that their owners do not give."""
    service = make_service(api, 0)
    api.make(service["links"]["phone_numbers"], {"PhoneNumber": "+525587651234"})
    session = api.make(service["links"]["sessions"])
    sender = api.make(session["links"]["participants"], {"Identifier": "+525512340000"})
    partner = api.make(session["links"]["participants"], {"Identifier": "+525512340001"})
    form = {"From": "+5215512340000", "To": sender["proxy_identifier"], "Body": "hola"}
    assert api.post("/sandbox/messages", form).status == 201
    assert [r["body"] for r in eventually(lambda: got(api, partner["identifier"]))] == ["hola"]


def test_a_text_to_a_failing_partner_shows_in_the_outbound_leg(api: CheckedApi) -> None:
    pair = make_pair(api)
    api.make("/sandbox/behaviour", {"To": pair.second["identifier"], "Outcome": "fail"})
    text(api, pair.first, "hello")
    eventually(lambda: interactions(api, pair.session)[0]["outbound_resource_status"] == "failed")
    assert interactions(api, pair.session)[0]["inbound_resource_status"] == "delivered"
