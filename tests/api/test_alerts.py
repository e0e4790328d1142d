"""/v1/Alerts: events in the shape of Twilio's Monitor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from maskline.domain import problems
from maskline.domain.problems import Code
from maskline.store.accounts import set_events_url
from maskline.store.engine import Tx
from maskline.store.events import insert_event
from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.inside import Inside
from tests.support.receiver import receiving
from tests.support.server import ACCOUNT_SID
from tests.support.world import fresh_number, make_service

HOUR_MS = 3_600_000
START_MS = 1_799_996_400_000  # 2027-01-15T07:00:00Z


def own(api: CheckedApi, prefix: str) -> str:
    """The SID of the account's only Service, Session or Interaction that has events."""
    return prefix + api.account_sid[2:]


def asked(api: CheckedApi, query: dict[str, str]) -> dict[str, str]:
    """The query with the account's own SIDs where it names their kinds."""
    return {name: own(api, value) if value in ("KS", "KC", "KI") else value for name, value in query.items()}


@pytest.fixture
def mine(another: Callable[[], CheckedApi], write_beside: Callable[..., None]) -> CheckedApi:
    """An account with five events, one an hour, the first at 7 o'clock."""
    api = another()
    service = {"service_sid": own(api, "KS")}
    session = {**service, "session_sid": own(api, "KC")}
    made: list[tuple[Code, dict[str, str]]] = [
        (problems.CARRIER_PAUSED, {}),
        (problems.UNKNOWN_SCENARIO, service),
        (problems.SESSION_EXPIRED, session),
        (problems.CALLBACK_FAILED, {**session, "interaction_sid": own(api, "KI")}),
        (problems.NO_ACTIVE_SESSION, session),
    ]

    def write(tx: Tx) -> None:
        for i, (code, where) in enumerate(made):
            sid = f"NO{START_MS + i * HOUR_MS:012x}{api.account_sid[-20:]}"
            insert_event(tx, sid, api.account_sid, code, **where)

    write_beside(write)
    return api


def codes(api: CheckedApi, **query: Any) -> list[int]:
    """The codes of all rows, in pages of two."""
    found: list[int] = []
    following: str | None = f"/v1/Alerts?{urlencode({**query, 'PageSize': 2})}"
    while following is not None:
        page = api.get(following).json
        found += [int(row["error_code"]) for row in page["alerts"]]
        following = page["meta"]["next_page_url"]
    return found


def test_an_event_is_an_alert(mine: CheckedApi) -> None:
    alert = mine.get("/v1/Alerts").json["alerts"][1]
    created = alert["date_created"]
    url = f"{mine.url}/v1/Alerts/{alert['sid']}"
    assert alert == {
        "sid": alert["sid"],
        "account_sid": mine.account_sid,
        "service_sid": own(mine, "KS"),
        "resource_sid": own(mine, "KI"),
        "error_code": "80908",
        "log_level": "warning",
        "alert_text": problems.CALLBACK_FAILED.sentence,
        "more_info": "https://www.twilio.com/docs/errors/80908",
        "date_generated": "2027-01-15T10:00:00Z",
        "date_created": created,
        "date_updated": created,
        "api_version": None,
        "request_method": None,
        "request_url": None,
        "url": url,
    }
    more = ("request_headers", "request_variables", "response_body", "response_headers")
    assert mine.get(url).json == {**alert, **dict.fromkeys(more)}
    assert (
        mine.get(url.replace(alert["sid"], alert["sid"][:2] + alert["sid"][2:].upper())).json["sid"]
        == alert["sid"]
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [80902, 80908, 80904, 80905, 49003]),
        ({"LogLevel": "error"}, [80902, 49003]),
        ({"LogLevel": "Warning"}, [80908, 80904, 80905]),
        ({"LogLevel": "notice"}, []),
        ({"ErrorCode": "80908"}, [80908]),
        ({"ErrorCode": "80908", "LogLevel": "error"}, []),
        ({"ServiceSid": "KS"}, [80902, 80908, 80904, 80905]),
        ({"ServiceSid": "KS", "LogLevel": "warning"}, [80908, 80904, 80905]),
        ({"SessionSid": "KC"}, [80902, 80908, 80904]),
        ({"InteractionSid": "KI"}, [80908]),
        ({"InteractionSid": "KI", "ServiceSid": "KS" + "1" * 32}, []),
        ({"StartDate": "2027-01-15T09:00:00Z"}, [80902, 80908, 80904]),
        ({"EndDate": "2027-01-15T09:00:00Z"}, [80904, 80905, 49003]),
        ({"StartDate": "2027-01-15T09:00:00Z", "EndDate": "2027-01-15T10:00:00Z"}, [80908, 80904]),
        ({"EndDate": "2027-01-15"}, [80902, 80908, 80904, 80905, 49003]),
        ({"EndDate": "2027-01-14"}, []),
        ({"StartDate": "2027-01-16"}, []),
        (
            {"LogLevel": "", "StartDate": "", "ServiceSid": "", "ErrorCode": ""},
            [80902, 80908, 80904, 80905, 49003],
        ),
    ],
)
def test_a_list_can_be_asked_for_a_part(mine: CheckedApi, query: dict[str, str], expected: list[int]) -> None:
    assert codes(mine, **asked(mine, query)) == expected


@pytest.mark.parametrize(
    "query",
    [
        {"LogLevel": "fatal"},
        {"StartDate": "yesterday"},
        {"EndDate": "2027-01-15T09:00:00"},
        {"ServiceSid": "KS1"},
        {"SessionSid": "KS"},
        {"InteractionSid": "x"},
        {"ErrorCode": "80908x"},
        {"ErrorCode": "-1"},
        {"PageToken": "WzEsMl0"},
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(mine: CheckedApi, query: dict[str, str]) -> None:
    reply = mine.get(f"/v1/Alerts?{urlencode(query)}")
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert next(iter(query)) in reply.json["message"]


def test_what_is_another_accounts_or_nobodys_is_not_found(mine: CheckedApi, stranger: CheckedApi) -> None:
    alert = mine.get("/v1/Alerts").json["alerts"][0]
    for path in (f"/v1/Alerts/{alert['sid']}", "/v1/Alerts/NO1", "/v1/Alerts/NO" + "0" * 32):
        reply = stranger.get(path)
        assert (reply.status, reply.json["code"]) == (404, 20404)
    for query in ({"ServiceSid": "KS"}, {"SessionSid": "KC"}, {"InteractionSid": "KI"}):
        assert stranger.get(f"/v1/Alerts?{urlencode(asked(mine, query))}").json["alerts"] == []
    assert mine.post("/v1/Alerts").status == 405
    assert mine.delete(alert["url"]).status == 405


def test_a_message_that_nobody_could_route_is_an_alert_of_its_service(
    another: Callable[[], CheckedApi],
) -> None:
    api = another()
    service = make_service(api)
    (number,) = api.get(service["links"]["phone_numbers"]).json["phone_numbers"]
    sender = fresh_number("212")
    form = {"From": sender, "To": number["phone_number"], "Body": "is anybody there"}
    api.make("/sandbox/messages", form)
    (alert,) = eventually(lambda: api.get("/v1/Alerts").json["alerts"])
    assert (alert["error_code"], alert["service_sid"]) == ("80905", service["sid"])
    assert alert["resource_sid"] == service["sid"]
    assert sender not in alert["alert_text"] and "anybody" not in alert["alert_text"]


async def test_a_running_server_sends_an_event_to_its_accounts_webhook(tmp_path: Path) -> None:
    async with receiving() as receiver, Inside(tmp_path / "data") as inside:
        await inside.store.write(set_events_url, ACCOUNT_SID, receiver.url)
        service = await inside.post("/v1/Services", {"UniqueName": "one"})
        number = fresh_number()
        await inside.post(service["links"]["phone_numbers"], {"PhoneNumber": number})
        await inside.post(
            "/sandbox/messages", {"From": fresh_number("212"), "To": number, "Body": "anybody?"}
        )
        while not receiver.posts:
            await inside.pass_time(1)
        (alert,) = (await inside.get("/v1/Alerts"))["alerts"]
        form = receiver.posts[0].form
        assert (form["Sid"], form["AccountSid"]) == (alert["sid"], ACCOUNT_SID)
        assert "x-twilio-signature" in receiver.posts[0].headers
