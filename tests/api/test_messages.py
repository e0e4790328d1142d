"""MessageInteractions: the main job."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.server import RealServer
from tests.support.world import Pair, fresh_number, make_pair, make_service
from tests.wire.facts import kind, samples

TWENTY = set(
    "sid url data type account_sid service_sid session_sid participant_sid date_created date_updated"
    " inbound_participant_sid inbound_resource_sid inbound_resource_status inbound_resource_type inbound_resource_url"
    " outbound_participant_sid outbound_resource_sid outbound_resource_status outbound_resource_type"
    " outbound_resource_url".split()
)
RISING = "queued sending delivery-unknown sent failed undelivered delivered".split()


def refused(reply: Any, code: int, status: int = 400) -> bool:
    return (reply.status, reply.json["code"]) == (status, code)


def handset(api: CheckedApi, participant: Any) -> list[Any]:
    """What reached a participant's handset, oldest first."""
    rows: list[Any] = api.get(
        f"/sandbox/messages?PageSize=1000&Direction=to_handset&Handset=%2B{participant['identifier'][1:]}"
    ).json["messages"]
    return rows[::-1]


def interactions(api: CheckedApi, pair: Pair) -> list[Any]:
    rows: list[Any] = api.get(pair.session["links"]["interactions"] + "?PageSize=1000").json["interactions"]
    return rows[::-1]


@pytest.fixture(scope="module")
def talk(server: RealServer) -> Pair:
    """A pair for tests that only add messages."""
    return make_pair(CheckedApi(server.url))


def test_a_message_is_answered_with_200_and_the_twenty_fields(api: CheckedApi) -> None:
    pair = make_pair(api)
    reply = api.post(pair.messages_path(pair.first), {"Body": "some message"})
    assert reply.status == 200
    message = reply.json
    assert set(message) == TWENTY
    assert re.fullmatch("KI[0-9a-f]{32}", message["sid"])
    assert message["url"] == f"{pair.first['url']}/MessageInteractions/{message['sid']}"
    assert message["data"] == '{"body":"some message"}'
    assert message["type"] == "message"
    assert message["account_sid"] == api.account_sid
    assert message["service_sid"] == pair.service["sid"]
    assert message["session_sid"] == pair.session["sid"]
    assert message["participant_sid"] == message["outbound_participant_sid"] == pair.first["sid"]
    for name in TWENTY:
        assert not name.startswith("inbound_") or message[name] is None
    assert re.fullmatch("SM[0-9a-f]{32}", message["outbound_resource_sid"])
    assert message["outbound_resource_type"] == "Message"
    assert message["outbound_resource_url"] is None
    assert message["outbound_resource_status"] in ("sent", "delivered")


def test_every_field_is_of_the_type_that_the_reference_shows(api: CheckedApi, talk: Pair) -> None:
    message = talk.send(talk.first, "some message")
    sample = samples()["responses"]["message_interaction.create.json"]
    assert {name: kind(value) for name, value in message.items()} == sample


def test_the_participant_gets_the_text_from_its_own_proxy_number(api: CheckedApi) -> None:
    service = make_service(api, 0)
    for number in ("+442079461001", fresh_number()):
        api.make(service["links"]["phone_numbers"], {"PhoneNumber": number})
    session = api.make(service["links"]["sessions"])
    american, briton = (
        api.make(session["links"]["participants"], {"Identifier": who})
        for who in (fresh_number(), "+442079461002")
    )
    for who, text in ((american, "howdy"), (briton, "good day")):
        api.make(who["links"]["message_interactions"], {"Body": text})
        (got,) = handset(api, who)
        assert (got["body"], got["from"], got["to"]) == (text, who["proxy_identifier"], who["identifier"])
        assert got["handovers"] == 1
    assert american["proxy_identifier"] != briton["proxy_identifier"]


def test_fetch_and_both_lists_show_the_same_record(api: CheckedApi) -> None:
    pair = make_pair(api)
    first, second = pair.send(pair.first, "one"), pair.send(pair.second, "two")

    def settled() -> bool:
        return all(row["outbound_resource_status"] == "delivered" for row in interactions(api, pair))

    eventually(settled)
    for message, who in ((first, pair.first), (second, pair.second)):
        fetched = api.get(message["url"]).json
        changing = ("outbound_resource_status", "date_updated")
        assert {**message, **{name: fetched[name] for name in changing}} == fetched
        (listed,) = api.get(pair.messages_path(who)).json["interactions"]
        assert listed == fetched
        seen = api.get(f"{pair.session['links']['interactions']}/{message['sid']}").json
        # The reference shows no address of the leg here, and the Interaction has it.
        assert seen["outbound_resource_url"].endswith(f"/Messages/{seen['outbound_resource_sid']}.json")
        own = ("url", "outbound_resource_url", "participant_sid")
        assert {name: value for name, value in seen.items() if name not in own} == {
            name: value for name, value in fetched.items() if name not in own
        }
    assert [row["sid"] for row in interactions(api, pair)] == [first["sid"], second["sid"]]


def test_a_status_only_rises_until_delivered(talk: Pair, api: CheckedApi) -> None:
    message = talk.send(talk.first, "up and up")
    seen = [message["outbound_resource_status"]]

    def delivered() -> bool:
        seen.append(api.get(message["url"]).json["outbound_resource_status"])
        return seen[-1] == "delivered"

    eventually(delivered)
    assert seen == sorted(seen, key=RISING.index)


@given(body=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=1600))
def test_any_text_arrives_as_it_was_sent(talk: Pair, body: str) -> None:
    api = talk.api
    message = talk.send(talk.second, body)
    assert message["data"] == json.dumps({"body": body}, ensure_ascii=False, separators=(",", ":"))
    assert handset(api, talk.second)[-1]["body"] == body
    assert json.loads(api.get(message["url"]).json["data"]) == {"body": body}


@pytest.mark.parametrize("body", ["x" * 1600, "😀" * 1600, "\n", " ", "0"])
def test_a_body_may_have_1600_characters_of_any_kind(talk: Pair, api: CheckedApi, body: str) -> None:
    assert json.loads(talk.send(talk.first, body)["data"]) == {"body": body}


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, 80701),
        ({"Body": ""}, 80701),
        ({"body": "names are in PascalCase"}, 80701),
        ({"Body": "", "MediaUrl": ""}, 80701),
        ({"Body": "x" * 1601}, 21617),
        ({"Body": "😀" * 1601}, 21617),
    ],
)
def test_a_message_without_a_proper_body_is_refused(api: CheckedApi, form: dict[str, str], code: int) -> None:
    pair = make_pair(api)
    assert refused(api.post(pair.messages_path(pair.first), form), code)
    assert interactions(api, pair) == handset(api, pair.first) == []
    assert api.get(pair.session["url"]).json["status"] == "open"


def test_a_refusal_does_not_repeat_the_body(api: CheckedApi, talk: Pair) -> None:
    reply = api.post(talk.messages_path(talk.first), {"Body": "secret " * 400})
    assert b"secret" not in reply.raw


def test_a_voice_only_session_takes_no_messages(api: CheckedApi) -> None:
    pair = make_pair(api, Mode="voice-only")
    assert refused(api.post(pair.messages_path(pair.first), {"Body": "no"}), 80910)
    assert interactions(api, pair) == []
    pair = make_pair(api, Mode="message-only")
    assert pair.send(pair.first, "yes")


def test_a_closed_session_takes_no_messages_until_it_is_reopened(api: CheckedApi) -> None:
    pair = make_pair(api)
    api.make(pair.session["url"], {"Status": "closed"})
    assert refused(api.post(pair.messages_path(pair.first), {"Body": "no"}), 80607)
    assert interactions(api, pair) == handset(api, pair.first) == []
    api.make(pair.session["url"], {"Status": "in-progress"})
    pair.send(pair.first, "yes")
    assert [got["body"] for got in handset(api, pair.first)] == ["yes"]


def test_ten_messages_to_one_participant_arrive_in_their_order(api: CheckedApi) -> None:
    pair = make_pair(api)
    bodies = [f"message {i}" for i in range(10)]
    for body in bodies:
        pair.send(pair.first, body)
    assert [got["body"] for got in handset(api, pair.first)] == bodies
    assert [json.loads(row["data"])["body"] for row in interactions(api, pair)] == bodies


def test_messages_that_come_together_all_arrive_once(api: CheckedApi) -> None:
    pair = make_pair(api)
    bodies = {f"at once {i}" for i in range(40)}
    with ThreadPoolExecutor(20) as threads:
        sent = list(threads.map(lambda body: pair.send(pair.first, body), sorted(bodies)))
    assert len({message["sid"] for message in sent}) == 40
    got = eventually(lambda: len(rows := handset(api, pair.first)) >= 40 and rows)
    assert {row["body"] for row in got} == bodies
    assert [row["handovers"] for row in got] == [1] * 40


def test_the_list_has_only_what_the_api_sent_to_that_participant(api: CheckedApi) -> None:
    pair = make_pair(api)
    mine = pair.send(pair.first, "from the api")
    pair.send(pair.second, "to the other")
    form = {
        "From": pair.second["identifier"],
        "To": pair.second["proxy_identifier"],
        "Body": "from a handset",
    }
    api.make("/sandbox/messages", form)
    eventually(lambda: len(handset(api, pair.first)) == 2)
    assert [row["sid"] for row in api.get(pair.messages_path(pair.first)).json["interactions"]] == [
        mine["sid"]
    ]
    (relayed,) = [row for row in interactions(api, pair) if row["inbound_participant_sid"]]
    path = f"{pair.messages_path(pair.first)}/{relayed['sid']}"
    assert refused(api.get(path), 20404, 404)


def test_a_message_is_an_interaction_and_moves_the_sessions_dates(api: CheckedApi) -> None:
    pair = make_pair(api)
    pair.send(pair.first, "one")
    before = api.get(pair.session["url"]).json
    assert before["status"] == "in-progress"
    assert before["date_started"] is not None

    def moved() -> bool:
        pair.send(pair.first, "and another")
        after = api.get(pair.session["url"]).json
        assert after["date_started"] == before["date_started"]
        assert after["date_last_interaction"] >= before["date_last_interaction"]
        return bool(after["date_last_interaction"] > before["date_last_interaction"])

    eventually(moved)


def test_an_interaction_can_be_deleted_for_good(api: CheckedApi) -> None:
    pair = make_pair(api)
    message = pair.send(pair.first, "forget me")
    path = f"{pair.session['links']['interactions']}/{message['sid']}"
    eventually(lambda: api.delete(path).status == 204)
    assert refused(api.get(path), 20404, 404)
    assert refused(api.delete(path), 20404, 404)
    assert refused(api.get(message["url"]), 20404, 404)
    assert interactions(api, pair) == []
    assert len(handset(api, pair.first)) == 1


def test_an_interaction_cannot_be_deleted_before_it_is_complete(api: CheckedApi) -> None:
    pair = make_pair(api)
    form = {"To": pair.first["identifier"], "Outcome": "unreachable"}
    api.make("/sandbox/behaviour", form)
    message = pair.send(pair.first, "waiting")
    assert message["outbound_resource_status"] == "queued"
    path = f"{pair.session['links']['interactions']}/{message['sid']}"
    assert refused(api.delete(path), 20009)
    assert api.get(path).status == 200
