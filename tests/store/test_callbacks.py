"""Callbacks claimed and recorded many at a time: each gets what is its own, and what is left over is told."""

from __future__ import annotations

from typing import Any

import pytest

from maskline.domain.model import Participant
from maskline.store.callbacks import Attempt, Callback, claim_callbacks, record_attempts
from maskline.store.engine import Tx
from maskline.store.lanes import Claimed, LaneClaim
from maskline.store.outbox import among
from tests.support.house import House

URL = "https://shop.example/told"
HOLD = """
INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload)
SELECT topic, 3, order_key, ?, '', due_at, expires_at, account_sid, service_sid, session_sid, interaction_sid, ?, '',
       payload
FROM outbox WHERE id = ?"""


async def someone(house: House) -> Participant:
    await house.store.write(house.open_account)
    _, ann, _ = await house.pair(await house.service(callback_url=URL))
    return ann


async def claim(house: House, **limits: Any) -> Claimed[Callback]:
    wanted = {"free": 64, "most_each": 32, "busy": {}, **limits}
    return await house.store.batch(claim_callbacks, LaneClaim(run="RN1", running_us=0, **wanted))


def attempt(house: House, one: Callback, status: int | None = 200, **other: Any) -> Attempt:
    interaction = one.interaction
    fields = {
        "id": one.id,
        "run": "RN1",
        "sid": one.sid,
        "number": one.attempt,
        "account_sid": one.account_sid,
        "service_sid": interaction.service_sid,
        "session_sid": interaction.session_sid,
        "interaction_sid": interaction.sid,
        "url": URL,
        "began_at": 1,
        "duration_ms": 2,
        "status": status,
        "error": "",
        "event_sid": house.mint.sid("NO"),
        **other,
    }
    return Attempt(**fields)


async def record(house: House, attempts: list[Attempt]) -> None:
    """In one batch."""

    def run(tx: Tx) -> None:
        assert record_attempts.fn(tx, attempts) == [None] * len(attempts)

    await house.store.write(run)


async def test_of_a_batch_each_attempt_ends_as_its_own_callback(house: House) -> None:
    people = [await someone(house) for _ in range(3)]
    messages = [await house.say(people[number % 3]) for number in range(9)]
    claimed = await claim(house)
    work = {one.interaction.sid: one for one in claimed.work}
    assert len(work) == 9
    good, deleted, foreign, other, refused, silent = (work[message.sid] for message in messages[:6])
    await house.store.write(lambda tx: tx.execute("DELETE FROM outbox WHERE id = ?", (deleted.id,)) and None)
    await record(
        house,
        [
            attempt(house, refused, 500),
            attempt(house, deleted),
            attempt(house, good),
            attempt(house, foreign, run="RN2"),
            attempt(house, other, sid="CB" + "0" * 32),
            attempt(house, silent, None, error="timeout"),
        ],
    )
    kept = await house.rows(
        "SELECT callback_sid, status, error FROM callback_attempts ORDER BY coalesce(status, 0)"
    )
    assert kept == [(silent.sid, None, "timeout"), (good.sid, 200, ""), (refused.sid, 500, "")]
    rows = dict(await house.rows("SELECT id, state FROM outbox WHERE topic = 'callback'"))
    assert good.id not in rows
    assert {rows[one.id] for one in (refused, silent)} == {1}
    assert {rows[one.id] for one in work.values() if one not in (good, deleted, refused, silent)} == {4}
    assert await house.events() == [80908, 80908]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 32])
async def test_with_each_that_is_done_the_next_of_its_interaction_is_due(house: House, count: int) -> None:
    ann = await someone(house)
    for _ in range(count):
        await house.say(ann)
    first = (await claim(house)).work
    held = [(seq, f"CB{one.id:030}{seq}", one.id) for one in first for seq in (51, 52)]
    await house.store.write(lambda tx: tx.executemany(HOLD, held) and None)
    assert (await claim(house)).work == []
    for seq in ("51", "52"):
        await record(house, [attempt(house, one) for one in first])
        second = (await claim(house)).work
        assert sorted(one.interaction.sid for one in second) == sorted(one.interaction.sid for one in first)
        assert {one.sid[-2:] for one in second} == {seq}
        first = second
    await record(house, [attempt(house, one) for one in first])
    assert await house.one("SELECT count(*) FROM outbox WHERE topic = 'callback'") == 0


@pytest.mark.parametrize(
    ("limits", "taken", "short"),
    [
        ({}, 6, False),
        ({"most_each": 4}, 6, False),
        ({"most_each": 3}, 6, True),
        ({"most_each": 2}, 4, True),
        ({"free": 6}, 6, True),
        ({"free": 5}, 5, True),
        ({"free": 0, "spare": 9}, 2, True),
    ],
)
async def test_a_claim_tells_whether_there_was_room_for_all(
    house: House, limits: dict[str, Any], taken: int, short: bool
) -> None:
    for ann in [await someone(house), await someone(house)]:
        for _ in range(3):
            await house.say(ann)
    claimed = await claim(house, **limits)
    assert (len(claimed.work), claimed.short) == (taken, short)


async def test_a_claim_tells_of_a_service_that_has_no_place_free(house: House) -> None:
    ann = await someone(house)
    await house.say(ann)
    service_sid = ann.service_sid
    assert (await claim(house, busy={service_sid: 32})).short
    claimed = await claim(house, busy={service_sid: 30})
    assert (len(claimed.work), claimed.short) == (1, False)
    claimed = await claim(house)
    assert (claimed.work, claimed.short) == ([], False)


def test_many_values_make_few_statements() -> None:
    texts = set()
    for count in range(1, 257):
        marks, values = among([*range(count)])
        texts.add(marks)
        assert set(values) == set(range(count))
        assert marks.count("?") == len(values) < 2 * count
    assert len(texts) == 9
