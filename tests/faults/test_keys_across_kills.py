"""An Idempotency-Key makes a create safe to repeat when nobody knows what became of the first try."""

import http.client
import json
from typing import Any

import pytest

from tests.faults.lives import FULL, Lives
from tests.faults.load import wait_until_finished
from tests.support.world import Pair, fresh_number, make_pair


def _creates(pair: Pair) -> list[tuple[str, str, dict[str, Any], int]]:
    """(function whose commit makes it, path, form, status)"""
    service = f"/v1/Services/{pair.service['sid']}"
    person = json.dumps({"Identifier": fresh_number("303")})
    creates = [
        ("accept_messages", pair.messages_path(pair.first), {"Body": "once"}, 200),
        ("insert_session", f"{service}/Sessions", {"UniqueName": "once"}, 201),
        ("add_participant", f"{service}/Sessions", {"UniqueName": "and once", "Participants": person}, 201),
        ("accept_messages", pair.messages_path(pair.second), {"Body": "and once"}, 200),
        ("insert_service", "/v1/Services", {"UniqueName": "once"}, 201),
    ]
    return creates if FULL else creates[:2]


@pytest.mark.parametrize("lives", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_one_resource(lives: Lives, moment: str) -> None:
    lives.start(f"accept_messages:{moment}:1")
    pair = make_pair(lives.api)
    creates = _creates(pair)
    traps = [f"{function}:{moment}:1" for function, *_ in creates[1:]]
    for (_, path, form, status), trap in zip(creates, [*traps, ""], strict=True):
        key = {"Idempotency-Key": f"{path} {form}"[-200:]}
        with pytest.raises((http.client.HTTPException, OSError)):
            lives.api.post(path, form, headers=key)
        lives.end()
        lives.start(trap)
        api = lives.api
        again = api.post(path, form, headers=key)
        assert again.status == status, again.raw
        assert again.headers.get("idempotent-replayed") == ("true" if moment == "after" else None)
        third = api.post(path, form, headers=key)
        assert third.json["sid"] == again.json["sid"]
        assert third.headers["idempotent-replayed"] == "true"

    wait_until_finished(lives.server.database)
    rows = lives.api.get("/sandbox/messages?Direction=to_handset").json["messages"]
    assert all(row["handovers"] == 1 for row in rows)
    bodies = [form["Body"] for _, _, form, _ in creates if "Body" in form]
    assert sorted(row["body"] for row in rows) == sorted(bodies)
    sessions = lives.api.get(f"/v1/Services/{pair.service['sid']}/Sessions").json["sessions"]
    names = [form["UniqueName"] for _, path, form, _ in creates if path.endswith("/Sessions")]
    assert sorted(session["unique_name"] or "" for session in sessions) == sorted(["", *names])
    assert lives.server.stop() == 0
