"""Checklist, item 9: calls end to end. The sandbox's handsets call each other, and a carrier like Twilio brings one."""

import json
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest
from twilio.request_validator import RequestValidator

from tests.support.checked import CheckedApi
from tests.support.server import RealServer, Reply
from tests.support.world import Pair, fresh_number, make_pair, make_service


def ring(api: CheckedApi, who: Any, **form: Any) -> Any:
    """A participant's handset calls its proxy number."""
    reply = api.post("/sandbox/calls", {"From": who["identifier"], "To": who["proxy_identifier"], **form})
    assert reply.status == 201, reply.raw
    return reply.json


def interactions(api: CheckedApi, pair: Pair) -> list[Any]:
    rows: list[Any] = api.get(pair.session["links"]["interactions"]).json["interactions"]
    return rows[::-1]


def two_numbers(api: CheckedApi, **settings: Any) -> Pair:
    """A Session in which each side has a proxy number of its own."""
    service, numbers = make_service(api, 0), [fresh_number(), fresh_number()]
    for number in numbers:
        api.make(service["links"]["phone_numbers"], {"PhoneNumber": number})
    if settings:
        api.make(f"/v1/Services/{service['sid']}/Settings", settings)
    session = api.make(service["links"]["sessions"])
    first, second = (
        api.make(
            session["links"]["participants"],
            {"Identifier": fresh_number("212"), "ProxyIdentifier": number},
        )
        for number in numbers
    )
    return Pair(api, service, session, first, second)


# The sandbox


@pytest.mark.parametrize("way", [1, -1])
def test_each_side_sees_only_its_own_proxy_number(api: CheckedApi, way: int) -> None:
    pair = two_numbers(api)
    caller, partner = (pair.first, pair.second)[::way]
    call = ring(api, caller, Duration=12)
    assert (call["from"], call["to"], call["status"]) == (
        caller["identifier"],
        caller["proxy_identifier"],
        "completed",
    )
    (leg,) = call["legs"]
    assert (leg["from"], leg["to"], leg["status"], leg["duration"]) == (
        partner["proxy_identifier"],
        partner["identifier"],
        "completed",
        12,
    )
    assert caller["identifier"] not in json.dumps(call["legs"])
    assert [verb["verb"] for verb in call["verbs"]] == ["Dial", "Hangup"]
    assert call["duration"] == call["verbs"][-1]["at"] == 15
    (one,) = interactions(api, pair)
    assert (one["type"], one["data"]) == ("voice", '{"duration":"12"}')
    for side, who in (("inbound", caller), ("outbound", partner)):
        assert one[f"{side}_participant_sid"] == who["sid"]
        assert one[f"{side}_resource_status"] == "completed"
        assert one[f"{side}_resource_type"] == "Call"
        assert one[f"{side}_resource_url"].endswith(f"/Calls/{one[f'{side}_resource_sid']}.json")
    assert api.get(pair.session["url"]).json["status"] == "in-progress"


@pytest.mark.parametrize(
    ("answer", "status", "seconds"),
    [("answer", "completed", 8), ("busy", "busy", 1), ("no-answer", "no-answer", 20), ("fail", "failed", 0)],
)
def test_the_other_side_behaves_as_told(api: CheckedApi, answer: str, status: str, seconds: int) -> None:
    pair = two_numbers(api, RingTimeoutS=20)
    call = ring(api, pair.first, Answer=answer)
    assert [leg["status"] for leg in call["legs"]] == [status]
    assert call["duration"] == seconds
    (one,) = interactions(api, pair)
    assert one["outbound_resource_status"] == status
    assert one["inbound_resource_status"] == "completed"
    assert json.loads(one["data"]) == {"duration": "5" if answer == "answer" else "0"}


def test_a_key_has_to_be_pressed_where_the_service_says_so(api: CheckedApi) -> None:
    pair = two_numbers(api, CallAccept="keypress")
    taken = ring(api, pair.first, Digits="1", Duration=60)
    assert [(verb["side"], verb["verb"]) for verb in taken["verbs"]] == [
        ("caller", "Dial"),
        ("called", "Gather"),
        ("caller", "Hangup"),
    ]
    voicemail = ring(api, pair.first, Duration=60)
    assert [(verb["side"], verb["verb"]) for verb in voicemail["verbs"]] == [
        ("caller", "Dial"),
        ("called", "Gather"),
        ("called", "Hangup"),
        ("caller", "Hangup"),
    ]
    other_key = ring(api, pair.first, Digits="7", Duration=60)
    statuses = [one["outbound_resource_status"] for one in interactions(api, pair)]
    assert statuses == ["completed", "no-answer", "no-answer"]
    # The carrier counts what the voicemail took, too; nobody was joined.
    assert [call["legs"][0]["duration"] > 60 for call in (taken, voicemail, other_key)] == [
        True,
        False,
        False,
    ]


def test_who_has_no_session_is_turned_away(server: RealServer, api: CheckedApi) -> None:
    pair = two_numbers(api)
    call = ring(api, {**pair.first, "identifier": fresh_number("646")})
    assert (call["status"], call["legs"], call["duration"]) == ("no-answer", [], 0)
    assert [verb["verb"] for verb in call["verbs"]] == ["Reject"]
    events = server.rows("SELECT code, message FROM events WHERE service_sid = ?", pair.service["sid"])
    assert [code for code, _ in events] == [80902]
    assert pair.first["proxy_identifier"] not in str(events)


def test_only_numbers_of_ones_own_pools_can_be_called(api: CheckedApi, another: Any) -> None:
    theirs = make_pair(another())
    form = {"From": fresh_number(), "To": theirs.first["proxy_identifier"]}
    for to in (theirs.first["proxy_identifier"], fresh_number(), "whatsapp:+14155550100"):
        assert api.post("/sandbox/calls", {**form, "To": to}).status == 404


def test_a_number_without_voice_cannot_be_called(api: CheckedApi, carry: Any) -> None:
    service, number = make_service(api, 0), fresh_number()
    sid = carry(number, voice=False)
    api.make(service["links"]["phone_numbers"], {"Sid": sid})
    assert api.post("/sandbox/calls", {"From": fresh_number(), "To": number}).status == 404


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"From": ""}, "From"),
        ({"To": ""}, "To"),
        ({"Answer": "maybe"}, "Answer"),
        ({"Duration": "-1"}, "Duration"),
        ({"Duration": "14401"}, "Duration"),
        ({"Digits": "1x"}, "Digits"),
        ({"Digits": ["1"] * 21}, "Digits"),
    ],
)
def test_what_is_malformed_is_named(api: CheckedApi, wrong: dict[str, Any], named: str) -> None:
    form = {"From": fresh_number(), "To": fresh_number(), **wrong}
    reply = api.post("/sandbox/calls", form)
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert named in reply.json["message"]


def test_the_books_are_kept_filtered_and_paged(api: CheckedApi) -> None:
    pair = two_numbers(api)
    calls = [ring(api, who) for who in (pair.first, pair.second, pair.first)]
    path = f"/sandbox/calls?PageSize=2&From={quote(pair.first['identifier'])}"
    assert api.get(path).json["calls"] == [calls[2], calls[0]]
    path = f"/sandbox/calls?PageSize=1&To={quote(pair.second['proxy_identifier'])}"
    assert api.get(path).json["calls"] == [calls[1]]
    first = api.get("/sandbox/calls?PageSize=1").json
    assert first["calls"] == [calls[2]]
    assert api.get(first["meta"]["next_page_url"]).json["calls"] == [calls[1]]


def test_the_legs_are_calls_of_the_account(api: CheckedApi) -> None:
    pair = two_numbers(api)
    ring(api, pair.first, Duration=12)
    (one,) = interactions(api, pair)
    root = f"/2010-04-01/Accounts/{api.account_sid}/Calls"
    inbound = api.get(f"{root}/{one['inbound_resource_sid']}.json").json
    outbound = api.get(f"{root}/{one['outbound_resource_sid']}.json").json
    shown = ("from", "to", "status", "duration", "direction", "parent_call_sid")
    assert [inbound[name] for name in shown] == [
        pair.first["identifier"],
        pair.first["proxy_identifier"],
        "completed",
        "12",
        "inbound",
        None,
    ]
    assert [outbound[name] for name in shown] == [
        pair.second["proxy_identifier"],
        pair.second["identifier"],
        "completed",
        "12",
        "outbound-dial",
        inbound["sid"],
    ]
    assert api.get(f"{root}.json?PageSize=2").json["calls"] == [outbound, inbound]


# A carrier


class Carrier:
    """Twilio, as it would bring a call to a Service."""

    def __init__(self, api: CheckedApi, pair: Pair) -> None:
        self.api, self.pair = api, pair
        self.url = f"{api.url}/v1/Accounts/{api.account_sid}/Proxy/{pair.service['sid']}/Webhooks/Call"

    def ask(self, form: dict[str, str], url: str | None = None, *, sign: bool = True) -> Reply:
        url = url or self.url
        signature = RequestValidator(self.api.token).compute_signature(url, form)
        headers = {"X-Twilio-Signature": signature} if sign else {}
        return self.api.post(url, form, headers=headers, auth=False)

    def ring(self, **form: str) -> Reply:
        first = self.pair.first
        numbers = {"From": first["identifier"], "To": first["proxy_identifier"]}
        return self.ask({"CallSid": "CA" + fresh_number()[1:], "CallStatus": "ringing", **numbers, **form})

    def statuses(self) -> list[tuple[str, str]]:
        return [
            (one["inbound_resource_status"], one["outbound_resource_status"])
            for one in interactions(self.api, self.pair)
        ]


@pytest.fixture
def carrier(api: CheckedApi) -> Carrier:
    return Carrier(api, two_numbers(api))


def test_a_carrier_is_told_to_dial_and_says_how_it_goes(carrier: Carrier) -> None:
    reply = carrier.ring()
    assert reply.status == 200
    document = ET.fromstring(reply.raw)  # noqa: S314
    (dial,) = document
    (number,) = dial
    second = carrier.pair.second
    assert (dial.tag, dial.attrib["callerId"]) == ("Dial", second["proxy_identifier"])
    assert (number.tag, number.text) == ("Number", second["identifier"])
    assert number.attrib["statusCallbackEvent"] == "initiated ringing answered completed"
    assert carrier.pair.first["identifier"].encode() not in reply.raw
    dialled = {"CallSid": "CA2", "From": second["proxy_identifier"], "To": second["identifier"]}
    for status in ("initiated", "ringing", "in-progress", "completed"):
        form = {**dialled, "CallStatus": status, "CallDuration": "9"}
        told = carrier.ask(form, number.attrib["statusCallback"])
        assert (told.status, len(ET.fromstring(told.raw))) == (200, 0)  # noqa: S314
    over = carrier.ask({"DialCallStatus": "completed", "DialCallDuration": "9"}, dial.attrib["action"])
    assert [verb.tag for verb in ET.fromstring(over.raw)] == ["Hangup"]  # noqa: S314
    assert carrier.statuses() == [("completed", "completed")]


def test_nobody_else_is_told_whom_to_dial(carrier: Carrier) -> None:
    first = carrier.pair.first
    form = {"CallSid": "CA1", "From": first["identifier"], "To": first["proxy_identifier"]}
    assert carrier.ask(form, sign=False).status == 403
    assert carrier.statuses() == []
    (dial,) = ET.fromstring(carrier.ring().raw)  # noqa: S314
    assert carrier.ask({"DialCallStatus": "busy"}, dial.attrib["action"], sign=False).status == 403
    # The address is signed, too: what it names cannot be changed.
    elsewhere = dial.attrib["action"].replace("Event=dialled", "Event=whisper")
    signature = RequestValidator(carrier.api.token).compute_signature(dial.attrib["action"], {})
    reply = carrier.api.post(elsewhere, {}, headers={"X-Twilio-Signature": signature}, auth=False)
    assert reply.status == 403
    assert carrier.statuses() == [("in-progress", "initiated")]


def test_what_another_service_hears_of_a_call_is_nothing_to_it(server: RealServer, carrier: Carrier) -> None:
    (dial,) = ET.fromstring(carrier.ring().raw)  # noqa: S314
    other = Carrier(carrier.api, two_numbers(carrier.api))
    action = dial.attrib["action"].replace(carrier.pair.service["sid"], other.pair.service["sid"])
    assert other.ask({"DialCallStatus": "completed"}, action).status == 200
    assert carrier.statuses() == [("in-progress", "initiated")]
    events = server.rows("SELECT code FROM events WHERE service_sid = ?", other.pair.service["sid"])
    assert events == [(80907,)]


@pytest.mark.parametrize("missing", ["To", "CallSid"])
def test_what_a_carrier_leaves_out_is_named(carrier: Carrier, missing: str) -> None:
    reply = carrier.ring(**{missing: ""})
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert missing in reply.json["message"]


@pytest.mark.parametrize("hidden", ["", "anonymous", "+266696687"])
def test_a_caller_who_hides_their_number_is_turned_away_like_any_stranger(
    server: RealServer, carrier: Carrier, hidden: str
) -> None:
    reply = carrier.ring(From=hidden)
    assert reply.status == 200
    assert [verb.tag for verb in ET.fromstring(reply.raw)] == ["Reject"]  # noqa: S314
    events = server.rows("SELECT code FROM events WHERE service_sid = ?", carrier.pair.service["sid"])
    assert events == [(80902,)]


@pytest.mark.parametrize("hidden", ["+8656696", "+86282452253"])
def test_who_hides_their_number_is_nobody_in_a_session(api: CheckedApi, hidden: str) -> None:
    """Even where somebody was added under what carriers say of them: it is everybody's."""
    pair = two_numbers(api, IdentifierCheck="possible")
    api.delete(pair.first["url"])
    number = pair.first["proxy_identifier"]
    api.make(pair.session["links"]["participants"], {"Identifier": hidden, "ProxyIdentifier": number})
    reply = Carrier(api, pair).ring(From=hidden)
    assert [verb.tag for verb in ET.fromstring(reply.raw)] == ["Reject"]  # noqa: S314
    assert interactions(api, pair) == []


def test_a_number_of_another_pool_and_a_channel_have_no_calls(
    carrier: Carrier, wire: Any, server: RealServer
) -> None:
    other = two_numbers(carrier.api)
    assert carrier.ring(To=other.first["proxy_identifier"]).status == 404
    sender = f"whatsapp:{fresh_number()}"
    wire(sender, carrier.pair.service["sid"])
    assert carrier.ring(To=sender).status == 404
    assert carrier.statuses() == []
