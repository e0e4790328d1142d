"""/v1/Services/{KS}/People/{number}: what is held of somebody, and that nothing is after an erasure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from maskline.flows.retention import STEP
from tests.support.checked import CheckedApi
from tests.support.clock import FakeClock
from tests.support.inside import Inside
from tests.support.personal import PERSONAL
from tests.support.receiver import receiving
from tests.support.until import until
from tests.support.world import fresh_number, make_pair, make_service

ANN, BEN, PROXY, OTHER = "+12125550123", "+12125550188", "+14155550177", "+14155550178"
NUMBER, TEXT, MASK = "2125550123", "usual-place", "+1…23"
NUMBERS = ("participants", "active_sessions", "interactions", "texts", "messages_waiting", "proxy_numbers")


def path_of(service: Any, number: str) -> str:
    return f"/v1/Services/{service['sid']}/People/{quote(number, safe='')}"


def test_what_is_held_of_a_person_is_told_in_numbers(api: CheckedApi) -> None:
    pair = make_pair(api)
    pair.send(pair.first, TEXT)
    path = path_of(pair.service, pair.first["identifier"])
    held = api.get(path)
    assert held.status == 200
    assert [held.json[name] for name in NUMBERS] == [1, 1, 1, 1, 0, 1]
    assert (held.json["identifier"], held.json["erasing"]) == (pair.first["identifier"], False)
    assert held.json["url"] == api.url + path
    assert TEXT not in held.raw.decode()


def test_an_erased_person_is_nowhere_to_be_read(api: CheckedApi) -> None:
    pair = make_pair(api)
    number = pair.first["identifier"]
    message = pair.send(pair.first, TEXT)
    api.make("/sandbox/messages", {"From": number, "To": pair.first["proxy_identifier"], "Body": TEXT})
    assert api.delete(path_of(pair.service, number)).status == 204
    shown = api.get(pair.first["url"]).json
    assert (shown["identifier"], shown["friendly_name"]) == ("erased", None)
    assert shown["date_deleted"]
    session = api.get(pair.session["url"]).json
    assert (session["status"], session["closed_reason"]) == ("closed", "api")
    interactions = api.get(session["links"]["interactions"]).json["interactions"]
    assert [one["data"] for one in interactions] == ['{"body":""}'] * 2
    leg = f"/2010-04-01/Accounts/{api.account_sid}/Messages/{message['outbound_resource_sid']}.json"
    sent = api.get(leg).json
    assert (sent["to"], sent["from"], sent["body"]) == ("erased", pair.first["proxy_identifier"], "")
    handset = quote(number, safe="")
    assert api.get(f"/sandbox/messages?Handset={handset}").json["messages"] == []
    assert api.get(path_of(pair.service, number)).status == 404


def test_it_is_erased_again_and_nobody_is_erased_as_well(api: CheckedApi) -> None:
    service = make_service(api)
    for number in (fresh_number("212"), "BANK", "whatsapp:+12125550100", "messenger:1234"):
        assert api.delete(path_of(service, number)).status == 204
        assert api.get(path_of(service, number)).status == 404


def test_an_error_shows_a_masked_number(api: CheckedApi) -> None:
    service = make_service(api)
    for reply in (api.get(path_of(service, ANN)), api.delete(path_of({"sid": "KS" + "0" * 32}, ANN))):
        assert (reply.status, reply.json["code"]) == (404, 20404)
        assert f"/People/{MASK} was not found" in reply.json["message"]
        assert NUMBER not in reply.json["message"]


def test_the_people_of_another_account_are_not_there(api: CheckedApi, another: Any) -> None:
    pair = make_pair(api)
    for method in ("GET", "DELETE"):
        assert another().request(method, path_of(pair.service, pair.first["identifier"])).status == 404
    assert api.get(path_of(pair.service, pair.first["identifier"])).json["participants"] == 1


class Hurried(FakeClock):
    """A clock on which everything takes a while."""

    def uptime(self) -> float:
        self._uptime += 0.5
        return self._uptime


async def test_what_takes_longer_is_promised_and_done(tmp_path: Path) -> None:
    async with Inside(tmp_path / "data", Hurried()) as inside:
        service, ann, _ = await couple(inside)
        place = (service["sid"], ann["session_sid"], ann["account_sid"], ann["sid"])
        rows = [(*place, f"KI{i:032x}", f"SM{i:032x}", json.dumps({"body": TEXT})) for i in range(9 * STEP)]
        await inside.store.write(
            lambda tx: (
                tx.executemany(
                    "INSERT INTO interactions (service_sid, session_sid, account_sid, outbound_participant_sid, sid,"
                    " outbound_resource_sid, data, type, outbound_status, updated_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, 'message', 70, 0)",
                    rows,
                )
                and None
            )
        )
        reply = await inside.request("DELETE", path_of(service, ANN))
        assert reply.status == 202
        assert (reply.json["erasing"], reply.json["participants"]) == (True, 0)
        await until_erased(inside, service)
        assert await inside.rows("SELECT DISTINCT data FROM interactions") == [('{"body":""}',)]


async def until_erased(inside: Inside, service: Any) -> None:
    for _ in range(100):
        if (await inside.request("GET", path_of(service, ANN))).status == 404:
            return
        await inside.pass_time(5)
    raise AssertionError("it is never done")


async def couple(inside: Inside, **form: Any) -> tuple[Any, Any, Any]:
    """A Service, and Ann and Ben in a Session of it."""
    service = await inside.post("/v1/Services", {"UniqueName": "shop", **form})
    await inside.post(service["links"]["phone_numbers"], {"PhoneNumber": PROXY})
    session = await inside.post(service["links"]["sessions"])
    people = session["links"]["participants"]
    ann = await inside.post(people, {"Identifier": ANN, "FriendlyName": f"Ann of the {TEXT}"})
    return service, ann, await inside.post(people, {"Identifier": BEN})


def raw(directory: Path) -> bytes:
    """All bytes of all files."""
    return b"".join(file.read_bytes() for file in directory.iterdir())


def cells(rows: list[Any]) -> Iterator[str]:
    for row in rows:
        yield from map(str, row)


@pytest.mark.parametrize("bodies", ["always", "until-final"])
async def test_with_everything_in_use_nothing_is_left_in_the_file(tmp_path: Path, bodies: str) -> None:
    """Neither in a row of any table nor in the bytes between them."""
    async with receiving() as receiver, Inside(tmp_path / "data") as inside:
        urls = dict.fromkeys(("CallbackUrl", "InterceptCallbackUrl", "OutOfSessionCallbackUrl"), receiver.url)
        service, ann, ben = await couple(inside, **urls)
        await inside.post(service["links"]["phone_numbers"], {"PhoneNumber": OTHER})
        settings = f"/v1/Services/{service['sid']}/Settings"
        await inside.post(settings, {"PairLimit": 4, "NumberCooldownS": 60, "StoreBodies": bodies})
        receiver.answers = [500] * 1000
        texts = {"From": ANN, "To": PROXY, "Body": TEXT, "MediaUrl": f"https://pictures.example/{TEXT}"}
        to_ann, to_ben = (f"{one['url']}/MessageInteractions" for one in (ann, ben))
        key = {b"idempotency-key": b"the key"}
        assert (await inside.request("POST", to_ann, {"Body": TEXT}, key)).status == 200
        await inside.post("/sandbox/messages", texts)
        await inside.post("/sandbox/messages", {"From": BEN, "To": PROXY, "Body": "from Ben"})
        for caller in (ANN, BEN):
            await inside.post("/sandbox/calls", {"From": caller, "To": PROXY})
        await inside.pass_time(3600)
        await inside.post("/sandbox/behaviour", {"To": ANN, "Outcome": "throttle"})
        await inside.post("/sandbox/behaviour", {"To": BEN, "Outcome": "unreachable"})
        for _ in range(5):
            await inside.post("/sandbox/messages", texts)
        await inside.post(to_ann, {"Body": TEXT})
        await inside.post(to_ben, {"Body": "goes on"})
        await until(lambda: len(receiver.posts) > 2)
        await inside.quiet()
        await inside.post("/sandbox/messages", {**texts, "Body": "STOP"})
        asked = len(receiver.posts)
        receiver.stalled.clear()
        for _ in range(2):
            await inside.post("/sandbox/messages", {**texts, "To": OTHER})
        await until(lambda: len(receiver.posts) > asked)

        # As if their Session had moved, which takes carriers that are down.
        former = (service["sid"], ann["session_sid"], ann["sid"], 1, ANN, "+14155550179", 1, "KI")
        insert = "INSERT INTO former_numbers VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        await inside.store.write(lambda tx: tx.execute(insert, former) and None)

        for table, columns in PERSONAL.items():
            for column in columns:
                found = list(cells(await inside.rows(f"SELECT {column} FROM {table}")))  # noqa: S608
                assert any(mark in cell for cell in found for mark in (NUMBER, TEXT, MASK)), (table, column)

        assert NUMBER.encode() in raw(tmp_path / "data")
        assert TEXT.encode() in raw(tmp_path / "data")

        reply = await inside.request("DELETE", path_of(service, ANN))
        assert reply.status == 204
        receiver.stalled.set()
        await inside.quiet()
        tables = await inside.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables:
            for cell in cells(await inside.rows(f"SELECT * FROM {table}")):  # noqa: S608
                assert not any(mark in cell for mark in (NUMBER, TEXT, MASK)), (table, cell)
        assert await inside.rows(
            "SELECT body FROM sandbox_messages WHERE body = 'from Ben'"
        )  # on his own handset
        assert await inside.rows("SELECT 1 FROM interactions WHERE data LIKE '%Ben%'") == []
        assert await inside.rows("SELECT key FROM idempotency") == []
        assert len(await inside.rows("SELECT sid FROM optouts WHERE identifier IS NULL")) == 1

    for mark in (NUMBER, TEXT, MASK):
        assert mark.encode() not in raw(tmp_path / "data"), mark
