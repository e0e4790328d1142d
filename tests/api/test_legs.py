"""/2010-04-01/…/Messages and …/Calls: the legs of Interactions, in the shapes of Twilio's older API."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.world import Pair, make_pair


@pytest.fixture
def mine(another: Callable[[], CheckedApi]) -> CheckedApi:
    """An account without messages."""
    return another()


def root(api: CheckedApi, name: str = "Messages") -> str:
    return f"/2010-04-01/Accounts/{api.account_sid}/{name}"


def refused(reply: Any, code: int, status: int = 400) -> bool:
    return (reply.status, reply.json["code"]) == (status, code)


def listed(api: CheckedApi, **query: Any) -> list[Any]:
    rows: list[Any] = api.get(f"{root(api)}.json?{urlencode(query)}").json["messages"]
    return rows


def text(api: CheckedApi, who: Any, body: str) -> Any:
    """A participant's handset writes; the Interaction that it makes."""
    form = {"From": who["identifier"], "To": who["proxy_identifier"], "Body": body}
    assert api.post("/sandbox/messages", form).status == 201


def delivered(pair: Pair) -> list[Any]:
    """The Session's Interactions once all are delivered."""

    def look() -> Any:
        rows = pair.api.get(pair.session["links"]["interactions"]).json["interactions"]
        return all(row["outbound_resource_status"] == "delivered" for row in rows) and rows

    rows: list[Any] = eventually(look)
    return rows


def test_a_message_of_the_api(mine: CheckedApi) -> None:
    pair = make_pair(mine)
    made = pair.send(pair.first, "hello ☃")
    (interaction,) = delivered(pair)
    assert interaction["inbound_resource_url"] is None
    message = mine.get(interaction["outbound_resource_url"]).json
    assert message["sid"] == made["outbound_resource_sid"]
    assert (message["from"], message["to"]) == (pair.first["proxy_identifier"], pair.first["identifier"])
    assert (message["body"], message["direction"], message["status"]) == (
        "hello ☃",
        "outbound-api",
        "delivered",
    )
    assert (message["num_segments"], message["num_media"]) == ("1", "0")
    nothing = ("messaging_service_sid", "price", "error_code", "error_message")
    assert [message[name] for name in nothing] == [None] * 4
    assert message["price_unit"] == "USD"
    assert message["date_sent"] == message["date_created"]
    assert listed(mine) == [message]


def test_a_relayed_message_is_two(mine: CheckedApi) -> None:
    pair = make_pair(mine)
    text(mine, pair.first, "€" * 200)
    (interaction,) = delivered(pair)
    received, passed_on = (
        mine.get(interaction[f"{side}_resource_url"]).json for side in ("inbound", "outbound")
    )
    assert (received["from"], received["to"]) == (pair.first["identifier"], pair.first["proxy_identifier"])
    assert (passed_on["from"], passed_on["to"]) == (
        pair.second["proxy_identifier"],
        pair.second["identifier"],
    )
    assert (received["direction"], passed_on["direction"]) == ("inbound", "outbound-reply")
    assert (received["status"], passed_on["status"]) == ("received", "delivered")
    assert received["num_segments"] == passed_on["num_segments"] == "3"
    assert listed(mine) == [passed_on, received]
    # Of both sides nobody's own number is in what the other got.
    assert pair.first["identifier"] not in str(passed_on)


def test_pictures_are_counted(mine: CheckedApi) -> None:
    pair = make_pair(mine)
    form = {
        "From": pair.first["identifier"],
        "To": pair.first["proxy_identifier"],
        "MediaUrl": ["https://example.com/1.png", "https://example.com/2.png"],
    }
    assert mine.post("/sandbox/messages", form).status == 201
    delivered(pair)
    for message in listed(mine):
        assert (message["body"], message["num_segments"], message["num_media"]) == ("", "1", "2")


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_paths_with_and_without_json(mine: CheckedApi, suffix: str) -> None:
    pair = make_pair(mine)
    sid = pair.send(pair.first, "hello")["outbound_resource_sid"]
    (interaction,) = delivered(pair)
    assert mine.get(f"{root(mine)}/{sid}{suffix}").json["sid"] == sid
    assert mine.get(f"{root(mine)}/SM{sid[2:].upper()}{suffix}").json["sid"] == sid
    assert (
        mine.get(f"{root(mine)}{suffix}").json["messages"][0]["sid"] == interaction["outbound_resource_sid"]
    )


def test_a_message_that_waits_has_not_been_sent(mine: CheckedApi) -> None:
    pair = make_pair(mine)
    script = {"To": pair.first["identifier"], "Outcome": "unreachable", "Times": 100}
    mine.make("/sandbox/behaviour", script)
    made = pair.send(pair.first, "waits")
    message = mine.get(f"{root(mine)}/{made['outbound_resource_sid']}").json
    assert (message["status"], message["date_sent"]) == ("queued", None)


def test_nobody_sees_another_accounts(mine: CheckedApi, stranger: CheckedApi) -> None:
    pair = make_pair(mine)
    sid = pair.send(pair.first, "hello")["outbound_resource_sid"]
    assert refused(stranger.get(f"{root(mine)}/{sid}.json"), 20404, 404)
    assert refused(stranger.get(f"{root(mine)}.json"), 20404, 404)
    assert refused(stranger.get(f"{root(stranger)}/{sid}.json"), 20404, 404)
    assert listed(stranger) == []


@pytest.mark.parametrize("name", ["Messages", "Calls"])
def test_they_are_read_only(api: CheckedApi, name: str) -> None:
    prefix = "SM" if name == "Messages" else "CA"
    for path in (root(api, name), root(api, name) + ".json"):
        assert refused(api.post(path, {"To": "+12125550100", "Body": "x"}), 20004, 405)
    row = f"{root(api, name)}/{prefix}{'0' * 32}.json"
    assert refused(api.delete(row), 20004, 405)
    assert refused(api.post(row, {"Body": ""}), 20004, 405)


@pytest.mark.parametrize(
    "sid", ["SM" + "0" * 32, "MM" + "0" * 32, "CA" + "0" * 32, "SM0", "SM" + "g" * 32, "%20"]
)
def test_what_is_not_there_is_404(api: CheckedApi, sid: str) -> None:
    for name in ("Messages", "Calls"):
        reply = api.get(f"{root(api, name)}/{sid}.json")
        assert refused(reply, 20404, 404)


def test_a_message_is_no_call(api: CheckedApi) -> None:
    pair = make_pair(api)
    sid = pair.send(pair.first, "hello")["outbound_resource_sid"]
    assert refused(api.get(f"{root(api, 'Calls')}/CA{sid[2:]}.json"), 20404, 404)


def test_the_list_is_followed_by_its_links(mine: CheckedApi) -> None:
    pair = make_pair(mine)
    for i in range(3):
        text(mine, pair.first, f"{i}")
    delivered(pair)
    everything = [row["sid"] for row in listed(mine)]
    assert len(everything) == 6
    there, uri = [], f"{root(mine)}.json?PageSize=4&DateSent%3E=2020-01-01"
    pages = []
    while uri is not None:
        pages.append(mine.get(uri).json)
        uri = pages[-1]["next_page_uri"]
        assert uri is None or "DateSent%3E=2020-01-01" in uri
    there = [row["sid"] for page in pages for row in page["messages"]]
    assert there == everything
    assert mine.get(pages[1]["previous_page_uri"]).json["messages"] == pages[0]["messages"]


def test_messages_of_a_day(mine: CheckedApi) -> None:
    pair = make_pair(mine)
    pair.send(pair.first, "hello")
    delivered(pair)
    now = datetime.now(UTC)
    today, yesterday, tomorrow = ((now + timedelta(days=d)).strftime("%Y-%m-%d") for d in (0, -1, 1))
    created = datetime.strptime(listed(mine)[0]["date_sent"], "%a, %d %b %Y %H:%M:%S %z")
    second = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    before = (created - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if created.strftime("%Y-%m-%d") != today:  # midnight has passed meanwhile
        today, yesterday, tomorrow = yesterday, "2020-01-01", today
    for query, found in (
        ({"DateSent": today}, 1),
        ({"DateSent": yesterday}, 0),
        ({"DateSent>": today}, 1),
        ({"DateSent<": today}, 1),
        ({"DateSent>": tomorrow}, 0),
        ({"DateSent<": yesterday}, 0),
        ({"DateSent>": yesterday, "DateSent<": tomorrow}, 1),
        ({"DateSent": second}, 1),
        ({"DateSent": before}, 0),
        ({"DateSent>": second}, 1),
        ({"DateSent<": second}, 1),
        ({"DateSent<": before}, 0),
        ({"DateSent": ""}, 1),
    ):
        assert len(listed(mine, **query)) == found, query


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("Messages", {"To": "+12125550100"}),
        ("Messages", {"From": "+12125550100"}),
        ("Messages", {"DateSent": "soon"}),
        ("Messages", {"DateSent<": "2027-01-01T00:00:00"}),
        ("Messages", {"PageToken": "WyJLSSJd"}),
        ("Calls", {"To": "+12125550100"}),
        ("Calls", {"Status": "completed"}),
        ("Calls", {"StartTime>": "2027-01-01"}),
        ("Calls", {"EndTime<": "2027-01-01"}),
    ],
)
def test_what_a_list_cannot_be_filtered_by_is_refused(
    api: CheckedApi, name: str, query: dict[str, str]
) -> None:
    """Rather than answered with rows that were not asked for."""
    assert refused(api.get(f"{root(api, name)}.json?{urlencode(query)}"), 80701)
