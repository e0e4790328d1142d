"""kill -9 at every commit of a call: its Session takes the next call, and nothing stays in progress for ever."""

import asyncio
import http.client
import random
import sqlite3
from contextlib import closing, suppress
from typing import Any

from maskline.clock import SystemClock
from maskline.domain.call import SILENCE_S
from maskline.domain.interaction import CallStatus
from maskline.flows.retention import Sweeper
from maskline.mint import Mint
from maskline.store.sqlite import SqliteStore
from tests.faults.lives import FULL, Lives
from tests.support.clock import FakeClock
from tests.support.server import Api
from tests.support.world import fresh_number, make_service

# What a call commits, and how often: the books at its start, when the partner is dialled and at its end; its entry and
# the verdict; what is heard of it, and the key that is pressed.
COMMITS = {"note_call": 3, "enter_call": 1, "judge_call": 1, "hear_of_call": 6, "accept_call": 1}
# In each life the first call is whole, and the second one's commits are those at which it ends.
POINTS = [
    f"{function}:{moment}:{times + nth}"
    for function, times in COMMITS.items()
    for nth in range(1, times + 1)
    for moment in ("before", "after")
]


def ring(api: Api, who: Any) -> Any:
    form = {"From": who["identifier"], "To": who["proxy_identifier"], "Digits": "1"}
    return api.make("/sandbox/calls", form)


def test_at_every_commit_of_a_call(lives: Lives) -> None:
    lives.server.environment["MASKLINE_ALLOW_PRIVATE_WEBHOOKS"] = "true"
    lives.start()
    nowhere = "http://127.0.0.1:9/#ct=100&rc=0"
    service = make_service(lives.api, 0, InterceptCallbackUrl=nowhere)
    lives.api.make(f"/v1/Services/{service['sid']}/Settings", {"CallAccept": "keypress"})
    session = lives.api.make(f"/v1/Services/{service['sid']}/Sessions")
    people = []
    for _ in range(2):
        number = fresh_number()
        lives.api.make(f"/v1/Services/{service['sid']}/PhoneNumbers", {"PhoneNumber": number})
        who = {"Identifier": fresh_number("212"), "ProxyIdentifier": number}
        path = f"/v1/Services/{service['sid']}/Sessions/{session['sid']}/Participants"
        people.append(lives.api.make(path, who))
    ann, ben = people
    lives.kill()
    points = POINTS if FULL else random.Random(4).sample(POINTS, 4)
    for point in points:
        lives.start(point)
        call = ring(lives.api, ann)
        assert [leg["status"] for leg in call["legs"]] == ["completed"], point
        with suppress(http.client.HTTPException, OSError):
            ring(lives.api, ann)
        lives.end()
    _judge(lives, ben, len(points))


def _judge(lives: Lives, ben: Any, calls: int) -> None:
    with closing(sqlite3.connect(lives.server.data / "maskline.db")) as books:
        legs = books.execute(
            "SELECT leg.value ->> 'from', leg.value ->> 'to' FROM sandbox_calls, json_each(legs) AS leg"
        ).fetchall()
        (dialled,) = books.execute("SELECT count(*) FROM interactions WHERE type = 'voice'").fetchone()
    # Whoever was dialled was the partner, from their own number, and is an Interaction.
    assert set(legs) == {(ben["proxy_identifier"], ben["identifier"])}
    assert calls <= len(legs) <= dialled <= 2 * calls

    async def later() -> tuple[list[Any], list[Any]]:
        clock = FakeClock(SystemClock().now())
        store = await SqliteStore(lives.server.data / "maskline.db", clock).open()
        try:
            running = await store.read(_running)
            clock.advance(SILENCE_S + 1)
            await Sweeper(store, clock, Mint(clock)).sweep()
            return running, await store.read(_running)
        finally:
            await store.close()

    before, after = asyncio.run(later())
    assert before, "no kill left a call behind, so nothing was tried"
    assert after == []


def _running(tx: Any) -> list[Any]:
    rows: list[Any] = tx.execute(
        "SELECT sid FROM interactions WHERE type = 'voice' AND (inbound_status < ?1 OR outbound_status < ?1)",
        (int(CallStatus.CANCELED),),
    ).fetchall()
    return rows
