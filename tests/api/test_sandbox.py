"""The sandbox carrier: its books, and what a message becomes under each of its scripts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from maskline.net import USER_AGENT
from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.server import RealServer
from tests.support.world import Pair, fresh_number, make_pair, make_service


def refused(reply: Any, code: int, status: int = 400) -> bool:
    return (reply.status, reply.json["code"]) == (status, code)


def books(api: CheckedApi, **filters: str) -> list[Any]:
    """Oldest first."""
    query = "".join(f"&{name.rstrip('_')}={quote(value)}" for name, value in filters.items())
    rows: list[Any] = api.get(f"/sandbox/messages?PageSize=1000{query}").json["messages"]
    return rows[::-1]


def script(api: CheckedApi, who: Any, outcome: str, **more: Any) -> Any:
    return api.make("/sandbox/behaviour", {"To": who["identifier"], "Outcome": outcome, **more})


def status(api: CheckedApi, message: Any) -> str:
    word: str = api.get(message["url"]).json["outbound_resource_status"]
    return word


def becomes(api: CheckedApi, message: Any, word: str) -> None:
    eventually(lambda: status(api, message) == word)


def handed_over(api: CheckedApi, pair: Pair) -> list[tuple[str, int]]:
    return [(row["status"], row["handovers"]) for row in books(api, To=pair.first["identifier"])]


# The books


def test_the_books_show_what_was_handed_over(api: CheckedApi) -> None:
    pair = make_pair(api)
    pair.send(pair.first, "hello ☃")
    (row,) = books(api, To=pair.first["identifier"])
    assert row["direction"] == "to_handset"
    assert (row["from"], row["to"]) == (pair.first["proxy_identifier"], pair.first["identifier"])
    assert (row["body"], row["media"], row["handovers"]) == ("hello ☃", [], 1)
    assert row["status"] == "delivered"


def test_the_books_are_filtered_by_number_handset_and_direction(api: CheckedApi) -> None:
    pair = make_pair(api)
    proxy, first, second = (
        pair.first["proxy_identifier"],
        pair.first["identifier"],
        pair.second["identifier"],
    )
    pair.send(pair.first, "to first")
    form = {"From": first, "To": proxy, "Body": "to second"}
    assert api.post("/sandbox/messages", form).status == 201
    eventually(lambda: len(books(api, Handset=second)) == 1)

    def bodies(**filters: str) -> list[tuple[str, str]]:
        return [(row["direction"], row["body"]) for row in books(api, **filters)]

    texted = ("from_handset", "to second")
    assert bodies(To=first) == [("to_handset", "to first")]
    assert bodies(From=first) == [texted]
    assert bodies(Handset=first) == [("to_handset", "to first"), texted]
    assert bodies(Handset=second) == [("to_handset", "to second")]
    assert bodies(Handset=first, Direction="from_handset") == [texted]
    assert bodies(From=proxy) == [("to_handset", "to first"), ("to_handset", "to second")]
    assert bodies(To=proxy) == [texted]
    assert bodies(To=first, From=second) == []
    assert bodies(Handset=proxy) == []


def test_the_books_are_the_accounts_own(api: CheckedApi, stranger: CheckedApi) -> None:
    pair = make_pair(api)
    pair.send(pair.first, "mine")
    assert books(stranger, To=pair.first["identifier"]) == []
    form = {"From": fresh_number(), "To": pair.first["proxy_identifier"], "Body": "knock"}
    assert refused(stranger.post("/sandbox/messages", form), 20404, 404)


def test_another_accounts_script_changes_nothing(api: CheckedApi, stranger: CheckedApi) -> None:
    pair = make_pair(api)
    script(stranger, pair.first, "fail")
    message = pair.send(pair.first, "mine")
    assert message["outbound_resource_status"] in ("sent", "delivered")


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"From": "+14155550100", "To": "+14155550101"},
        {"From": "+14155550100", "Body": "x"},
        {"To": "+14155550100", "Body": "x"},
        {"From": "+14155550100", "To": "+14155550101", "Body": ""},
        {"From": "+14155550100", "To": "+14155550101", "Body": "x" * 1601},
        {"From": "+14155550100", "To": "+14155550101", "MediaUrl": ["https://example.com/"] * 11},
        {"From": "x" * 192, "To": "+14155550101", "Body": "x"},
    ],
)
def test_a_text_needs_two_ends_and_something_to_say(api: CheckedApi, form: dict[str, Any]) -> None:
    assert refused(api.post("/sandbox/messages", form), 80701)


def test_a_text_to_a_number_of_no_pool_is_not_found(api: CheckedApi) -> None:
    service = make_service(api)
    number = api.get(service["links"]["phone_numbers"]).json["phone_numbers"][0]
    assert api.delete(number["url"]).status == 204
    for to in (number["phone_number"], fresh_number(), "12345"):
        form = {"From": fresh_number(), "To": to, "Body": "x"}
        assert refused(api.post("/sandbox/messages", form), 20404, 404)
        assert books(api, To=to) == []


# Scripts


def test_a_delivered_message_ends_delivered(api: CheckedApi) -> None:
    pair = make_pair(api)
    script(api, pair.first, "deliver")
    becomes(api, pair.send(pair.first, "x"), "delivered")


def test_a_rejected_message_is_failed_at_once(api: CheckedApi) -> None:
    pair = make_pair(api)
    script(api, pair.first, "fail")
    message = pair.send(pair.first, "x")
    assert message["outbound_resource_status"] == status(api, message) == "failed"
    assert handed_over(api, pair) == [("failed", 1)]


def test_an_undeliverable_message_ends_undelivered(api: CheckedApi) -> None:
    pair = make_pair(api)
    script(api, pair.first, "undeliver")
    message = pair.send(pair.first, "x")
    assert message["outbound_resource_status"] in ("sent", "undelivered")
    becomes(api, message, "undelivered")


def test_a_failed_message_releases_the_next(api: CheckedApi) -> None:
    pair = make_pair(api)
    script(api, pair.first, "fail", Times=1)
    pair.send(pair.first, "no")
    becomes(api, pair.send(pair.first, "yes"), "delivered")


def test_without_a_receipt_a_message_stays_sent(api: CheckedApi) -> None:
    pair = make_pair(api)
    script(api, pair.first, "receipt-never", Times=1)
    message = pair.send(pair.first, "x")
    assert message["outbound_resource_status"] == "sent"
    becomes(api, pair.send(pair.first, "a later one"), "delivered")
    assert status(api, message) == "sent"


@pytest.mark.parametrize(
    ("outcome", "more"), [("receipt-early", {}), ("receipt-late", {"DelayMs": 150}), ("receipt-twice", {})]
)
def test_a_receipt_counts_whenever_and_however_often_it_comes(
    api: CheckedApi, outcome: str, more: dict[str, int]
) -> None:
    pair = make_pair(api)
    script(api, pair.first, outcome, **more)
    message = pair.send(pair.first, "x")
    assert message["outbound_resource_status"] in ("sent", "delivered")
    becomes(api, message, "delivered")
    assert handed_over(api, pair) == [("delivered", 1)]


def test_the_answer_waits_for_a_slow_carrier(api: CheckedApi) -> None:
    pair = make_pair(api)
    script(api, pair.first, "slow", DelayMs=200)
    assert pair.send(pair.first, "x")["outbound_resource_status"] in ("sent", "delivered")


def test_the_answer_does_not_wait_longer_than_it_may(api: CheckedApi) -> None:
    pair = make_pair(api)
    script(api, pair.first, "slow", DelayMs=1500)
    assert pair.send(pair.first, "x")["outbound_resource_status"] == "queued"


@pytest.mark.parametrize(
    ("outcome", "word"), [("uncertain-delivered", "delivered"), ("uncertain-lost", "lost")]
)
def test_a_message_of_unknown_fate_says_so_and_is_not_repeated(
    server: RealServer, api: CheckedApi, outcome: str, word: str
) -> None:
    pair = make_pair(api)
    script(api, pair.first, outcome, Times=1)
    message = pair.send(pair.first, "x")
    assert message["outbound_resource_status"] == "delivery-unknown"
    becomes(api, pair.send(pair.first, "the next goes out"), "delivered")
    assert handed_over(api, pair) == [(word, 1), ("delivered", 1)]
    events = "SELECT code, level FROM events WHERE interaction_sid = ?"
    assert server.rows(events, message["sid"]) == [(49001, "WARNING")]


# Scripts of which a second try is part. It comes a second later, so all of them begin at once.


@dataclass
class Begun:
    """A message that was answered `queued` under its script."""

    api: CheckedApi
    pair: Pair
    message: Any

    def becomes(self, word: str) -> None:
        becomes(self.api, self.message, word)

    def handed_over(self) -> list[tuple[str, int]]:
        return handed_over(self.api, self.pair)


SECOND_TRIES = {
    "throttled": ("throttle", {}),
    "unreachable": ("unreachable", {}),
    "to be resent": ("uncertain-delivered", {"OnUncertain": "resend"}),
    "delivered, and keys known": ("uncertain-delivered", {"CarrierKeys": "true"}),
    "lost, and keys known": ("uncertain-lost", {"CarrierKeys": "1"}),
    "delivered, and to be asked for": ("uncertain-delivered", {"LookUp": "true"}),
    "lost, and to be asked for": ("uncertain-lost", {"LookUp": "True"}),
}


@pytest.fixture(scope="module")
def begun(server: RealServer, another: Callable[[], CheckedApi]) -> dict[str, Begun]:
    """What the sandbox is able to do is of an account, so each of these has its own."""
    all_begun = {}
    for name, (outcome, more) in SECOND_TRIES.items():
        api = another()
        pair = make_pair(api)
        if "OnUncertain" in more:
            api.make(pair.service["url"] + "/Settings", more)
        elif more:
            api.make("/sandbox/behaviour", more)
        script(api, pair.first, outcome, Times=1)
        all_begun[name] = Begun(api, pair, pair.send(pair.first, f"this one is {name}"))
    return all_begun


@pytest.mark.parametrize("name", SECOND_TRIES)
def test_a_message_to_be_tried_again_is_answered_queued(begun: dict[str, Begun], name: str) -> None:
    assert begun[name].message["outbound_resource_status"] == "queued"


@pytest.mark.parametrize("name", ["throttled", "unreachable"])
def test_a_message_that_was_not_taken_is_tried_again(begun: dict[str, Begun], name: str) -> None:
    begun[name].becomes("delivered")
    assert begun[name].handed_over() == [("delivered", 1)]


def test_a_service_may_choose_to_send_again_what_may_have_arrived(begun: dict[str, Begun]) -> None:
    begun["to be resent"].becomes("delivered")
    assert begun["to be resent"].handed_over() == [("delivered", 2)]


def test_a_carrier_that_knows_keys_gets_an_uncertain_message_again_and_takes_it_once(
    begun: dict[str, Begun],
) -> None:
    begun["delivered, and keys known"].becomes("delivered")
    assert begun["delivered, and keys known"].handed_over() == [("delivered", 1)]


def test_a_carrier_that_knows_keys_delivers_what_was_lost_before(begun: dict[str, Begun]) -> None:
    begun["lost, and keys known"].becomes("delivered")
    assert [status for status, _ in begun["lost, and keys known"].handed_over()] == ["delivered"]


def test_a_carrier_that_can_be_asked_is_asked(begun: dict[str, Begun]) -> None:
    begun["delivered, and to be asked for"].becomes("delivered")
    assert begun["delivered, and to be asked for"].handed_over() == [("delivered", 1)]


def test_what_a_carrier_does_not_find_is_not_sent_again(begun: dict[str, Begun]) -> None:
    begun["lost, and to be asked for"].becomes("delivery-unknown")
    assert begun["lost, and to be asked for"].handed_over() == [("lost", 1)]


def test_a_message_that_waits_holds_back_the_later_ones_to_that_participant_only(api: CheckedApi) -> None:
    pair = make_pair(api)
    script(api, pair.first, "throttle", Times=1)
    bodies = ["first", "second", "third"]
    waiting = [pair.send(pair.first, body) for body in bodies]
    assert [message["outbound_resource_status"] for message in waiting] == ["queued"] * 3
    other = pair.send(pair.second, "other way")
    assert other["outbound_resource_status"] in ("sent", "delivered")
    assert handed_over(api, pair) == []
    becomes(api, waiting[-1], "delivered")
    assert [row["body"] for row in books(api, To=pair.first["identifier"])] == bodies


def test_what_the_sandbox_is_able_to_do_is_told_and_kept(another: Callable[[], CheckedApi]) -> None:
    api = another()
    told = [
        api.make("/sandbox/behaviour", form)
        for form in ({"LookUp": "True"}, {"CarrierKeys": "1"}, {"LookUp": "false"})
    ]
    assert [(each["carrier_keys"], each["look_up"]) for each in told] == [
        (False, True),
        (True, True),
        (True, False),
    ]


# Scripting


def test_a_script_is_told_back(api: CheckedApi) -> None:
    to = fresh_number()
    form = {"To": to.replace("+", " "), "Outcome": "SLOW", "DelayMs": 5, "Times": 3}
    told = api.make("/sandbox/behaviour", form)
    assert (told["to"], told["outcome"], told["delay_ms"], told["times"]) == (to, "slow", 5, 3)


def test_a_script_holds_for_so_many_sends_and_until_changed_without_a_count(api: CheckedApi) -> None:
    pair = make_pair(api)

    def sent(times: int) -> list[bool]:
        return [pair.send(pair.first, "x")["outbound_resource_status"] == "failed" for _ in range(times)]

    script(api, pair.first, "fail", Times=2)
    assert sent(3) == [True, True, False]
    script(api, pair.first, "fail")
    assert sent(3) == [True, True, True]
    script(api, pair.first, "deliver")
    assert sent(1) == [False]


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"To": "+14155550100"},
        {"Outcome": "fail"},
        {"To": "+14155550100", "Outcome": "explode"},
        {"To": "+14155550100", "Outcome": "fail", "Times": 0},
        {"To": "+14155550100", "Outcome": "slow", "DelayMs": -1},
        {"To": "+14155550100", "Outcome": "slow", "DelayMs": 600001},
        {"CarrierKeys": "perhaps"},
        {"LookUp": "true", "To": "+14155550100"},
    ],
)
def test_a_script_that_makes_no_sense_is_refused(api: CheckedApi, form: dict[str, Any]) -> None:
    assert refused(api.post("/sandbox/behaviour", form), 80701)


def test_without_the_sandbox_there_is_none_and_unknown_numbers_are_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data = tmp_path_factory.mktemp("off") / "data"
    server = RealServer(data, environment={"MASKLINE_SANDBOX": "false"}).start()
    api = CheckedApi(server.url)
    try:
        assert refused(api.get("/sandbox/messages"), 20404, 404)
        assert refused(api.post("/sandbox/behaviour", {"LookUp": "true"}), 20404, 404)
        service = make_service(api, 0)
        reply = api.post(service["links"]["phone_numbers"], {"PhoneNumber": fresh_number()})
        assert refused(reply, 80301)
        assert api.get(service["links"]["phone_numbers"]).json["phone_numbers"] == []
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("path", ["/sandbox/messages", "/sandbox/calls"])
def test_no_customers_address_has_the_server_ask_itself(api: CheckedApi, path: str) -> None:
    """With credentials in it, and a name that is not the public URL's: each call would make the next one, for ever."""
    pair = make_pair(api)
    form = {"From": pair.first["identifier"], "To": pair.first["proxy_identifier"], "Body": "again"}
    reply = api.post(path, form, headers={"User-Agent": USER_AGENT})
    assert refused(reply, 80701)
    assert "leads to this server itself" in reply.json["message"]
    assert api.get(pair.session["links"]["interactions"]).json["interactions"] == []
    assert api.post(path, form, headers={"User-Agent": "curl/8"}).status == 201
