"""Idempotency-Key: for 24 hours the same key gives the same resource, and nothing is made twice."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.server import Reply
from tests.support.world import Pair, fresh_number, make_pair, make_service


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def new_key() -> str:
    return str(uuid4())


def refused(reply: Reply, status: int, code: int) -> None:
    assert (reply.status, reply.json["code"]) == (status, code)
    assert "idempotent-replayed" not in reply.headers


class World:
    """A Service with room for one of each, and what makes one."""

    def __init__(self, api: CheckedApi) -> None:
        self.api = api
        self.pair: Pair = make_pair(api, make_service(api, 3))
        api.delete(self.pair.second["url"])
        service, session = self.pair.service, self.pair.session
        people = [{"Identifier": fresh_number()}, {"Identifier": fresh_number()}]
        self.creates: dict[str, tuple[str, dict[str, Any]]] = {
            "service": ("/v1/Services", {"UniqueName": f"keyed {new_key()}"}),
            "number": (service["links"]["phone_numbers"], {"PhoneNumber": fresh_number()}),
            "session": (service["links"]["sessions"], {"UniqueName": new_key()}),
            "nameless session": (service["links"]["sessions"], {}),
            "full session": (
                service["links"]["sessions"],
                {"Participants": [json.dumps(each) for each in people]},
            ),
            "participant": (session["links"]["participants"], {"Identifier": fresh_number()}),
            "message": (self.pair.messages_path(self.pair.first), {"Body": "once"}),
        }

    def count(self, path: str) -> int:
        count, url = 0, path + "?PageSize=1000"
        while url:
            page = self.api.get(url).json
            count, url = count + len(page[page["meta"]["key"]]), page["meta"]["next_page_url"]
        return count


CREATES = ["service", "number", "session", "nameless session", "full session", "participant", "message"]


@pytest.fixture
def world(api: CheckedApi) -> World:
    return World(api)


def test_the_order_of_names_makes_no_other_request_and_that_of_values_does(world: World) -> None:
    path, _ = world.creates["message"]
    media = ["https://media.example/a.png", "https://media.example/b.png"]
    key = keyed(new_key())
    made = world.api.post(path, {"Body": "look", "MediaUrl": media}, headers=key)
    again = world.api.post(path, {"MediaUrl": media, "Body": "look"}, headers=key)
    assert (again.json["sid"], again.headers["idempotent-replayed"]) == (made.json["sid"], "true")
    refused(world.api.post(path, {"Body": "look", "MediaUrl": media[::-1]}, headers=key), 409, 20409)
    first, second = ({"MediaUrl": medium} for medium in media)
    in_both = f"{path}?{urlencode(first)}&Body=look"  # of which only the second counts
    refused(world.api.post(in_both, second, headers=key), 409, 20409)


@pytest.mark.parametrize("kind", CREATES)
def test_the_same_key_gives_the_same_resource(world: World, kind: str) -> None:
    path, form = world.creates[kind]
    key = new_key()
    first = world.api.post(path, form, headers=keyed(key))
    assert first.status == (200 if kind == "message" else 201)
    assert "idempotent-replayed" not in first.headers
    count = world.count(path)
    for _ in range(2):
        again = world.api.post(path, form, headers=keyed(key))
        assert again.status == first.status
        assert again.headers["idempotent-replayed"] == "true"
        changing = ("outbound_resource_status", "date_updated")
        assert {
            **first.json,
            **{name: again.json[name] for name in changing if name in again.json},
        } == again.json
    assert world.count(path) == count


@pytest.mark.parametrize("kind", CREATES)
def test_the_same_key_with_another_body_is_a_conflict(world: World, kind: str) -> None:
    path, form = world.creates[kind]
    other = {
        "service": {"UniqueName": new_key()},
        "number": {"PhoneNumber": fresh_number()},
        "participant": {"Identifier": fresh_number()},
        "message": {"Body": "twice"},
    }.get(kind, {"Ttl": "77"})
    key = new_key()
    world.api.make(path, form, headers=keyed(key))
    count = world.count(path)
    refused(world.api.post(path, other, headers=keyed(key)), 409, 20409)
    refused(world.api.post(path, {**form, "Unknown": "x"}, headers=keyed(key)), 409, 20409)
    assert world.count(path) == count
    assert world.api.post(path, form, headers=keyed(key)).headers["idempotent-replayed"] == "true"


def test_the_same_key_for_another_operation_is_a_conflict(world: World) -> None:
    key = new_key()
    world.api.make(world.creates["nameless session"][0], {}, headers=keyed(key))
    for kind in ("number", "participant", "message", "session"):
        path, form = world.creates[kind]
        count = world.count(path)
        refused(world.api.post(path, form, headers=keyed(key)), 409, 20409)
        assert world.count(path) == count


def test_the_same_key_for_another_parent_is_a_conflict(world: World) -> None:
    key = new_key()
    path, form = world.creates["message"]
    world.api.make(path, form, headers=keyed(key))
    other = world.api.make(*world.creates["participant"])["links"]["message_interactions"]
    refused(world.api.post(other, form, headers=keyed(key)), 409, 20409)
    assert world.count(other) == 0


def test_keys_are_of_one_service(world: World) -> None:
    key = new_key()
    other = World(world.api)
    made = [
        each.api.post(each.creates["nameless session"][0], {}, headers=keyed(key)) for each in (world, other)
    ]
    assert [reply.status for reply in made] == [201, 201]
    assert made[0].json["sid"] != made[1].json["sid"]
    # And those of the account, for Services themselves, are others again.
    assert world.api.make(*world.creates["service"], headers=keyed(key))


def test_keys_are_of_one_account(api: CheckedApi, stranger: CheckedApi) -> None:
    key, form = new_key(), {"UniqueName": f"both {new_key()}"}
    mine = api.make("/v1/Services", form, headers=keyed(key))
    theirs = stranger.post("/v1/Services", form, headers=keyed(key))
    assert theirs.status == 201
    assert theirs.json["sid"] != mine["sid"]
    assert "idempotent-replayed" not in theirs.headers


def test_a_replay_shows_the_resource_as_it_is_now(world: World) -> None:
    api, key = world.api, new_key()
    path, form = world.creates["session"]
    session = api.make(path, form, headers=keyed(key))
    api.make(session["url"], {"Ttl": 5000, "Status": "closed"})
    again = api.post(path, form, headers=keyed(key))
    assert again.json == api.get(session["url"]).json
    assert (again.status, again.json["status"]) == (201, "closed")

    path, form = world.creates["message"]
    message = api.make(path, form, headers=keyed(key + "m"))
    eventually(lambda: api.get(message["url"]).json["outbound_resource_status"] == "delivered")
    again = api.post(path, form, headers=keyed(key + "m"))
    assert again.json["outbound_resource_status"] == "delivered"
    assert again.json["outbound_resource_sid"] == message["outbound_resource_sid"]

    path, form = world.creates["number"]
    number = api.make(path, form, headers=keyed(key + "n"))
    api.make(number["url"], {"IsReserved": "true"})
    assert api.make(path, form, headers=keyed(key + "n"))["is_reserved"] is True

    path, form = world.creates["participant"]
    participant = api.make(path, form, headers=keyed(key + "p"))
    api.delete(participant["url"])
    assert api.make(path, form, headers=keyed(key + "p"))["date_deleted"] is not None


def test_a_replay_tells_of_a_state_in_which_no_new_one_could_be_made(world: World) -> None:
    api, key = world.api, new_key()
    made = {
        kind: api.make(*world.creates[kind], headers=keyed(key + kind)) for kind in ("participant", "message")
    }
    api.make(world.pair.session["url"], {"Status": "closed"})
    for kind, resource in made.items():
        again = api.post(*world.creates[kind], headers=keyed(key + kind))
        assert (again.status < 300, again.json["sid"]) == (True, resource["sid"])
    refused(api.post(*world.creates["message"], headers=keyed(new_key())), 400, 80607)


def test_a_replay_is_given_after_its_date_of_expiry_too(world: World) -> None:
    api, key = world.api, new_key()
    soon = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    path, form = world.creates["session"][0], {"DateExpiry": soon}
    session = api.make(path, form, headers=keyed(key))
    eventually(lambda: api.get(session["url"]).json["status"] == "closed")
    again = api.post(path, form, headers=keyed(key))
    assert (again.status, again.json["sid"], again.json["status"]) == (201, session["sid"], "closed")
    refused(api.post(path, form, headers=keyed(new_key())), 400, 80701)


@pytest.mark.parametrize("kind", ["service", "number", "session"])
def test_a_replay_of_what_is_gone_is_not_found(world: World, kind: str) -> None:
    api, key = world.api, new_key()
    path, form = world.creates[kind]
    made = api.make(path, form, headers=keyed(key))
    assert api.delete(made["url"]).status == 204
    refused(api.post(path, form, headers=keyed(key)), 404, 20404)
    assert api.get(made["url"]).status == 404
    assert api.make(path, form, headers=keyed(new_key()))


def test_a_refused_create_leaves_no_trace(world: World) -> None:
    """What stood in the way is taken away, and the same request under the same key succeeds."""
    api, key = world.api, new_key()
    service = make_service(api, 0)
    session = api.make(service["links"]["sessions"])
    path, form = session["links"]["participants"], {"Identifier": fresh_number()}
    refused(api.post(path, form, headers=keyed(key)), 400, 80205)
    api.make(service["links"]["phone_numbers"], {"PhoneNumber": fresh_number()})
    participant = api.post(path, form, headers=keyed(key))
    assert participant.status == 201
    assert "idempotent-replayed" not in participant.headers

    messages, form = participant.json["links"]["message_interactions"], {"Body": "now then"}
    api.make(session["url"], {"Status": "closed"})
    refused(api.post(messages, form, headers=keyed(key + "m")), 400, 80607)
    api.make(session["url"], {"Status": "in-progress"})
    message = api.post(messages, form, headers=keyed(key + "m"))
    assert (message.status, "idempotent-replayed" in message.headers) == (200, False)

    name = {"UniqueName": new_key()}
    first = api.make("/v1/Services", name)
    refused(api.post("/v1/Services", name, headers=keyed(key)), 400, 80602)
    api.delete(first["url"])
    assert api.post("/v1/Services", name, headers=keyed(key)).status == 201

    sessions = service["links"]["sessions"]
    first = api.make(sessions, name)
    refused(api.post(sessions, name, headers=keyed(key + "s")), 400, 80603)
    api.delete(first["url"])
    assert api.post(sessions, name, headers=keyed(key + "s")).status == 201

    number = {"PhoneNumber": fresh_number()}
    elsewhere = api.make(world.pair.service["links"]["phone_numbers"], number)
    refused(api.post(service["links"]["phone_numbers"], number, headers=keyed(key + "n")), 400, 80101)
    api.delete(elsewhere["url"])
    assert api.post(service["links"]["phone_numbers"], number, headers=keyed(key + "n")).status == 201


def test_a_refused_key_may_go_to_another_request(world: World) -> None:
    api, key = world.api, new_key()
    path, _ = world.creates["message"]
    refused(api.post(path, {"Body": ""}, headers=keyed(key)), 400, 80701)
    refused(api.post(path, {"Body": "x" * 1601}, headers=keyed(key)), 400, 21617)
    assert api.make(path, {"Body": "proper"}, headers=keyed(key))


@pytest.mark.parametrize("kind", CREATES)
def test_of_many_at_once_one_makes_it_and_all_get_it(world: World, kind: str) -> None:
    path, form = world.creates[kind]
    before = world.count(path)
    key = new_key()
    with ThreadPoolExecutor(12) as threads:
        replies = list(threads.map(lambda _: world.api.post(path, form, headers=keyed(key)), range(12)))
    assert {reply.status for reply in replies} == {200 if kind == "message" else 201}
    assert len({reply.json["sid"] for reply in replies}) == 1
    assert sum("idempotent-replayed" not in reply.headers for reply in replies) == 1
    assert world.count(path) == before + 1


def test_a_message_under_one_key_reaches_the_handset_once(world: World) -> None:
    api, pair = world.api, world.pair
    path, form = world.creates["message"]
    key = new_key()
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda _: api.post(path, form, headers=keyed(key)), range(24)))
    api.make(path, {"Body": "the next"})
    handset = f"/sandbox/messages?To=%2B{pair.first['identifier'][1:]}"
    rows = eventually(lambda: len(rows := api.get(handset).json["messages"]) >= 2 and rows)
    assert [(row["body"], row["handovers"]) for row in rows] == [("the next", 1), ("once", 1)]


@pytest.mark.parametrize("key", ["x" * 255, "a key with spaces", "0", '"quoted"', "~!@#$%^&*()"])
def test_a_key_is_any_ascii_text_of_at_most_255_characters(world: World, key: str) -> None:
    path, form = world.creates["nameless session"]
    first = world.api.make(path, form, headers=keyed(key))
    again = world.api.post(path, form, headers=keyed(key))
    assert again.json["sid"] == first["sid"]


@pytest.mark.parametrize("key", ["x" * 256, "x" * 20_000, "é"])
@pytest.mark.parametrize("kind", ["service", "message"])
def test_a_key_that_is_none_is_refused(world: World, kind: str, key: str) -> None:
    path, form = world.creates[kind]
    before = world.count(path)
    refused(world.api.post(path, form, headers=keyed(key)), 400, 80701)
    assert world.count(path) == before


def test_keys_that_differ_in_case_only_are_two_keys(world: World) -> None:
    path, form = world.creates["message"]
    sids = {world.api.make(path, form, headers=keyed(key))["sid"] for key in ("Key", "key", "KEY")}
    assert len(sids) == 3
    assert world.api.make(path, form)["sid"] != world.api.make(path, form)["sid"]


def test_what_is_given_in_the_query_counts_as_the_body(world: World) -> None:
    api, key = world.api, new_key()
    path, _ = world.creates["message"]
    first = api.make(path + "?Body=hello", headers=keyed(key))
    assert api.make(path, {"Body": "hello"}, headers=keyed(key))["sid"] == first["sid"]
    refused(api.post(path + "?Body=goodbye", headers=keyed(key)), 409, 20409)


def test_updates_and_deletes_pay_no_heed_to_a_key(world: World) -> None:
    api, key = world.api, new_key()
    session = api.make(*world.creates["nameless session"], headers=keyed(key))
    assert api.make(session["url"], {"Ttl": 1000}, headers=keyed(key))["ttl"] == 1000
    assert api.make(session["url"], {"Ttl": 2000}, headers=keyed(key))["ttl"] == 2000
    assert api.delete(session["url"], headers=keyed(key)).status == 204


def test_another_accounts_key_and_path_give_nothing_away(api: CheckedApi, stranger: CheckedApi) -> None:
    pair = make_pair(api)
    path = pair.messages_path(pair.first)
    keyed = {"headers": {"Idempotency-Key": "theirs"}}
    assert api.post(path, {"Body": "secret"}, **keyed).status == 200
    for body in ("secret", "other"):
        reply = stranger.post(path, {"Body": body}, **keyed)
        assert (reply.status, reply.json["code"]) == (404, 20404)
