"""The order of the checks when a participant joins: of two that fail, the earlier one is told."""

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.world import fresh_number, make_service

# What each check is answered that fails. 80623, that other creates are in flight, comes after "room" and takes a race
# of five seconds; tests/flows/test_assignment.py shows its place.
CODES = {
    "parent": 20404,
    "open": 80607,
    "identifier": 80404,
    "mode": 80616,
    "new": 80103,
    "never deleted": 80612,
    "room": 80609,
    # A number is asked for.
    "channel": 80402,
    "sender": 80304,
    "owned": 80606,
    "pooled": 80605,
    "voice": 80201,
    "messages": 80202,
    "pair": 80604,
    # One is chosen; voice and messages are asked in between.
    "pool": 80205,
    "country": 80203,
    "area": 80206,
    "unreserved": 80207,
    "unused": 80208,
}
# Neighbours that can fail together: nobody on a channel is in a Session with voice, and who was deleted never returns.
BEFORE = [
    ("parent", "open"),
    ("open", "identifier"),
    ("identifier", "mode"),
    ("identifier", "new"),
    ("mode", "room"),
    ("new", "room"),
    ("never deleted", "room"),
]
ASKED = [
    ("room", "channel"),
    ("room", "sender"),
    ("room", "owned"),
    ("channel", "sender"),
    ("channel", "owned"),
    ("owned", "pooled"),
    ("pooled", "voice"),
    ("voice", "messages"),
    ("messages", "pair"),
]
CHOSEN = [
    ("room", "pool"),
    ("pool", "country"),
    ("country", "voice"),
    ("voice", "messages"),
    ("messages", "area"),
    ("area", "unreserved"),
    ("unreserved", "unused"),
]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "assignment.md"
_numbers = count(1)


class Attempt:
    """Somebody joins a Session of a Service with one number, where the checks named in `failing` fail and no others."""

    def __init__(
        self, api: CheckedApi, stranger: CheckedApi, carry: Callable[..., str], wire: Callable[..., str]
    ) -> None:
        self.api, self.stranger, self.carry, self.wire = api, stranger, carry, wire

    def code(self, failing: set[str], *, asks: bool) -> int:
        api = self.api
        self.service = make_service(api, 0, GeoMatchLevel="area-code")
        self.fill_pool(failing)
        on_channel = failing & {"mode", "sender", "pool"}
        mode = "message-only" if on_channel and "mode" not in failing else "voice-and-message"
        session = api.make(self.service["links"]["sessions"], {"Mode": mode})
        people = session["links"]["participants"]
        form = self.form(failing, asks=asks)
        self.fail_by_people(failing, people, form)
        if "unreserved" in failing:
            api.make(f"{self.service['url']}/PhoneNumbers/{self.sid}", {"IsReserved": "true"})
        if "open" in failing:
            api.make(session["url"], {"Status": "closed"})
        if "parent" in failing:
            people = people.replace(session["sid"], "KC" + "0" * 32)
        return int(api.post(people, form).json["code"])

    def fill_pool(self, failing: set[str]) -> None:
        self.number = fresh_number("212" if "area" in failing else "415")
        if "country" in failing:
            self.number = f"+442071831{next(_numbers):03d}"
        self.sid = self.carry(self.number, voice="voice" not in failing, sms="messages" not in failing)
        if not failing & {"pool", "pooled"}:
            self.api.make(self.service["links"]["phone_numbers"], {"Sid": self.sid})
        self.sender = f"whatsapp:{fresh_number()}"
        self.wire(self.sender, self.service["sid"])

    def form(self, failing: set[str], *, asks: bool) -> dict[str, str]:
        who = fresh_number("415")
        if failing & {"mode", "sender"} and "channel" not in failing:
            unknown = f"whatsapp:{fresh_number()}"
            sender = unknown if "sender" in failing else self.sender
            nobody = "identifier" in failing
            return {
                "Identifier": "whatsapp:nobody" if nobody else f"whatsapp:{who}",
                "ProxyIdentifier": sender,
            }
        if "identifier" in failing and "new" not in failing:
            who = "nobody"
        number = self.number
        if "channel" in failing:
            number = "messenger:5"
        elif "owned" in failing:
            number = self.api_of_stranger() if "pooled" in failing else fresh_number("415")
        return {"Identifier": who, **({"ProxyIdentifier": number} if asks else {})}

    def api_of_stranger(self) -> str:
        """A number in a pool of another account."""
        theirs = make_service(self.stranger)["links"]["phone_numbers"]
        return str(self.stranger.get(theirs).json["phone_numbers"][0]["phone_number"])

    def fail_by_people(self, failing: set[str], people: str, form: dict[str, str]) -> None:
        api, on_number = self.api, {"ProxyIdentifierSid": self.sid}
        if failing & {"new", "never deleted"}:
            made = api.make(people, {**form, **on_number})
            if "never deleted" in failing:
                api.delete(made["url"])
            if "identifier" in failing:  # it becomes a proxy number itself
                api.make(make_service(api, 0)["links"]["phone_numbers"], {"PhoneNumber": form["Identifier"]})
        if failing & {"pair", "unused"}:
            mode = "voice-only" if "messages" in failing else "voice-and-message"
            other = api.make(self.service["links"]["sessions"], {"Mode": mode})["links"]["participants"]
            api.make(other, {"Identifier": form["Identifier"], **on_number})
        if "room" in failing:
            while len([one for one in api.get(people).json["participants"] if not one["date_deleted"]]) < 2:
                one: dict[str, Any] = {"Identifier": fresh_number("415"), **on_number}
                if failing & {"pool", "sender"}:
                    one = {"Identifier": f"whatsapp:{fresh_number()}", "ProxyIdentifier": self.sender}
                api.make(people, one)


@pytest.fixture
def attempt(
    api: CheckedApi, stranger: CheckedApi, carry: Callable[..., str], wire: Callable[..., str]
) -> Attempt:
    return Attempt(api, stranger, carry, wire)


@pytest.mark.parametrize(
    ("first", "second", "asks"),
    [(*pair, asks) for asks, pairs in ((False, BEFORE + CHOSEN), (True, BEFORE + ASKED)) for pair in pairs],
)
def test_of_two_checks_that_fail_the_first_is_told(
    attempt: Attempt, first: str, second: str, asks: bool
) -> None:
    """Section 4, order of checks; each of the two fails by itself, so that both do when they fail together."""
    assert attempt.code({first}, asks=asks) == CODES[first]
    assert attempt.code({second}, asks=asks) == CODES[second]
    assert attempt.code({first, second}, asks=asks) == CODES[first]


def test_every_check_is_in_some_pair() -> None:
    assert {check for pair in BEFORE + ASKED + CHOSEN for check in pair} == set(CODES)


@pytest.mark.parametrize(("asks", "pairs"), [(True, BEFORE + ASKED), (False, BEFORE + CHOSEN)])
def test_the_order_is_the_documented_one(asks: bool, pairs: list[tuple[str, str]]) -> None:
    table = PAGE.read_text().partition("## The order of checks")[2].partition("\n## ")[0]
    before, asked, chosen = re.split(r"(?m)^(?=\| \*(?:asked for|chosen):\*)", table)
    told = re.findall(r"\b\d{5}\b", before + (asked if asks else chosen))
    for first, second in pairs:
        assert told.index(str(CODES[first])) < told.index(str(CODES[second])), (first, second)


@pytest.mark.parametrize(
    "form", [{}, {"Identifier": ""}, {"Identifier": "+14155550100", "ProxyIdentifierSid": "PN1"}]
)
def test_a_closed_session_is_told_before_whatever_is_malformed(api: CheckedApi, form: dict[str, str]) -> None:
    session = api.make(make_service(api)["links"]["sessions"], {"Status": "closed"})
    people = session["links"]["participants"]
    assert api.post(people, form).json["code"] == 80607
    assert api.post(people.replace(session["sid"], "KC" + "0" * 32), form).json["code"] == 20404
