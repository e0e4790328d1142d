"""What a delete takes along, and what stays: checklist, item 12, each row of section 9.5 (retention: tests/flows)."""

from pathlib import Path
from typing import Any

from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.server import RealServer
from tests.support.world import Pair, make_pair, make_service


def gone(reply: Any) -> bool:
    return (reply.status, reply.json["code"]) == (404, 20404)


def handset(api: CheckedApi, who: Any) -> list[Any]:
    rows: list[Any] = api.get(f"/sandbox/messages?Handset=%2B{who['identifier'][1:]}").json["messages"]
    return rows


def talked(api: CheckedApi, service: Any | None = None) -> tuple[Pair, Any]:
    pair = make_pair(api, service)
    message = pair.send(pair.first, "hello")
    eventually(lambda: api.get(message["url"]).json["outbound_resource_status"] == "delivered")
    return pair, message


def paths_of(pair: Pair, message: Any) -> list[str]:
    return [
        pair.session["url"],
        pair.session["links"]["participants"],
        pair.session["links"]["interactions"],
        pair.first["url"],
        pair.messages_path(pair.first),
        message["url"],
        f"{pair.session['links']['interactions']}/{message['sid']}",
    ]


def test_a_service_goes_with_all_below_it_even_in_use(api: CheckedApi) -> None:
    pair, message = talked(api)
    service = pair.service
    number = api.get(service["links"]["phone_numbers"]).json["phone_numbers"][0]
    assert number["in_use"] == 1
    assert api.delete(service["url"]).status == 204
    for path in (
        service["url"],
        service["url"] + "/Settings",
        number["url"],
        *service["links"].values(),
        *paths_of(pair, message),
    ):
        assert gone(api.get(path)), path
    assert gone(api.delete(service["url"]))
    assert gone(api.post(pair.messages_path(pair.first), {"Body": "x"}))
    assert gone(api.post(pair.session["url"], {"Status": "closed"}))
    # The number is free for another Service at once, and so is the name; what was sent was sent.
    other = make_service(api, 0, UniqueName=service["unique_name"])
    form = {"PhoneNumber": number["phone_number"]}
    again = api.make(other["links"]["phone_numbers"], form)
    assert (again["sid"], again["in_use"], again["is_reserved"]) == (number["sid"], 0, False)
    assert len(handset(api, pair.first)) == 1


def test_a_service_in_use_can_be_guarded(tmp_path: Path) -> None:
    server = RealServer(tmp_path / "data", environment={"MASKLINE_GUARD_SERVICES": "true"}).start()
    api = CheckedApi(server.url)
    pair, message = talked(api)
    reply = api.delete(pair.service["url"])
    assert (reply.status, reply.json["code"]) == (400, 20009)
    for path in (pair.service["url"], *paths_of(pair, message)):
        assert api.get(path).status == 200
    api.make(pair.session["url"], {"Status": "closed"})
    assert api.delete(pair.service["url"]).status == 204
    assert server.stop() == 0


def test_the_numbers_of_a_deleted_service_reach_nobody(api: CheckedApi) -> None:
    pair, _ = talked(api)
    api.delete(pair.service["url"])
    form = {"From": pair.first["identifier"], "To": pair.first["proxy_identifier"], "Body": "hello?"}
    assert gone(api.post("/sandbox/messages", form))
    assert handset(api, pair.second) == []


def test_nothing_is_left_of_a_deleted_service_in_the_end(server: RealServer, api: CheckedApi) -> None:
    pair, _ = talked(api)
    sid = pair.service["sid"]
    api.make(pair.service["links"]["sessions"], {}, headers={"Idempotency-Key": "left"})
    api.delete(pair.service["url"])
    tables = ("sessions", "participants", "people", "interactions", "outbox", "purges")

    def empty() -> bool:
        count = "SELECT count(*) FROM {} WHERE service_sid = ?"
        return not any(server.rows(count.format(table), sid)[0][0] for table in tables)

    eventually(empty)
    assert server.rows("SELECT * FROM services WHERE sid = ?", sid) == []
    assert server.rows("SELECT * FROM idempotency WHERE scope = ?", sid) == []


def test_a_session_goes_with_its_participants_and_interactions(api: CheckedApi) -> None:
    service = make_service(api)
    (pair, message), (other, kept) = talked(api, service), talked(api, service)
    number = api.get(service["links"]["phone_numbers"]).json["phone_numbers"][0]
    assert number["in_use"] == 2
    assert api.delete(pair.session["url"]).status == 204
    for path in paths_of(pair, message):
        assert gone(api.get(path)), path
    assert gone(api.delete(pair.session["url"]))
    assert gone(api.post(pair.messages_path(pair.first), {"Body": "x"}))
    assert api.get(number["url"]).json["in_use"] == 1
    assert [row["sid"] for row in api.get(service["links"]["sessions"]).json["sessions"]] == [
        other.session["sid"]
    ]
    for path in paths_of(other, kept):
        assert api.get(path).status == 200
    assert len(handset(api, pair.first)) == 1


def test_a_deleted_sessions_people_are_free_at_once(api: CheckedApi) -> None:
    pair, _ = talked(api)
    assert api.delete(pair.session["url"]).status == 204
    people = api.make(pair.service["links"]["sessions"])["links"]["participants"]
    again = api.make(people, {"Identifier": pair.first["identifier"]})
    assert again["proxy_identifier"] == pair.first["proxy_identifier"]
    assert again["sid"] != pair.first["sid"]


def test_messages_that_wait_go_with_their_session(api: CheckedApi) -> None:
    pair = make_pair(api)
    script = {"To": pair.first["identifier"], "Outcome": "unreachable", "Times": 1}
    api.make("/sandbox/behaviour", script)
    waiting = pair.send(pair.first, "never sent")
    assert waiting["outbound_resource_status"] == "queued"
    assert api.delete(pair.session["url"]).status == 204
    people = api.make(pair.service["links"]["sessions"])["links"]["participants"]
    again = api.make(people, {"Identifier": pair.first["identifier"]})
    api.make(again["links"]["message_interactions"], {"Body": "sent"})
    assert [row["body"] for row in handset(api, pair.first)] == ["sent"]


def test_a_participant_stays_with_its_interactions(api: CheckedApi) -> None:
    pair, message = talked(api)
    assert api.delete(pair.first["url"]).status == 204
    for path in paths_of(pair, message):
        assert api.get(path).status == 200
    assert len(api.get(pair.messages_path(pair.first)).json["interactions"]) == 1


def test_a_number_that_is_removed_leaves_history(api: CheckedApi) -> None:
    pair, message = talked(api)
    api.make(pair.session["url"], {"Status": "closed"})
    number = api.get(pair.service["links"]["phone_numbers"]).json["phone_numbers"][0]
    assert api.delete(number["url"]).status == 204
    for path in paths_of(pair, message):
        assert api.get(path).status == 200
    assert api.get(pair.first["url"]).json["proxy_identifier"] == number["phone_number"]


def test_an_interaction_goes_alone(api: CheckedApi) -> None:
    pair, message = talked(api)
    other = pair.send(pair.first, "kept")
    assert api.delete(f"{pair.session['links']['interactions']}/{message['sid']}").status == 204
    left = api.get(pair.session["links"]["interactions"]).json["interactions"]
    assert [row["sid"] for row in left] == [other["sid"]]
    assert gone(api.get(message["url"]))
    assert len(handset(api, pair.first)) == 2
