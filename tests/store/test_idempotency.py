"""Idempotency keys: for 24 hours the same key gives the same resource, and a refused create leaves no trace."""

import asyncio
from typing import Any

import pytest

from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.store.accept import NewMessage, accept_messages
from maskline.store.engine import Tx
from maskline.store.idempotency import (
    Key,
    Replayed,
    claim_key,
    claim_or_replay,
    delete_expired_keys,
    release_key,
)
from maskline.store.sqlite import SqliteStore
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, House, held_writer

DAY_S = 24 * 3600


def a_key(name: str = "k", request: str = "hash", operation: str = "POST x", scope: str = "KS1") -> Key:
    return Key(scope, name, operation, request)


async def claim(store: SqliteStore, key: Key, sid: str) -> str | None:
    return await store.write(claim_key, key, sid)


async def test_the_first_takes_the_key_and_later_ones_get_what_it_made(store: SqliteStore) -> None:
    assert await claim(store, a_key(), "KC1") is None
    assert await claim(store, a_key(), "KC2") == "KC1"
    assert await claim(store, a_key(), "KC3") == "KC1"


async def test_a_request_that_is_run_again_finds_its_own_key(store: SqliteStore) -> None:
    """After a lost connection a transaction is repeated with the same SIDs; that is no replay."""
    assert await claim(store, a_key(), "KC1") is None
    assert await claim(store, a_key(), "KC1") is None


@pytest.mark.parametrize("other", [{"request": "other"}, {"operation": "POST y"}])
async def test_another_request_under_the_same_key_is_refused(
    store: SqliteStore, other: dict[str, str]
) -> None:
    await claim(store, a_key(), "KC1")
    with pytest.raises(Problem) as caught:
        await claim(store, a_key(**other), "KC2")
    assert caught.value.code is problems.IDEMPOTENCY_CONFLICT
    assert await claim(store, a_key(), "KC3") == "KC1"


async def test_a_key_counts_within_its_scope(store: SqliteStore) -> None:
    await claim(store, a_key(), "KC1")
    assert await claim(store, a_key(scope="KS2", request="other"), "KC2") is None


async def test_a_key_lives_for_24_hours(store: SqliteStore, clock: FakeClock) -> None:
    await claim(store, a_key(), "KC1")
    clock.advance(DAY_S - 0.000001)
    assert await claim(store, a_key(), "KC2") == "KC1"
    clock.advance(0.000001)
    assert await claim(store, a_key(request="other"), "KC3") is None
    # It is a new key now, with a life of its own.
    clock.advance(DAY_S - 1)
    assert await claim(store, a_key(request="other"), "KC4") == "KC3"


async def test_a_key_that_was_given_back_is_free(store: SqliteStore) -> None:
    await claim(store, a_key(), "KC1")
    await store.write(release_key, a_key())
    assert await claim(store, a_key(request="other"), "KC2") is None


async def test_a_create_without_a_key_claims_nothing(store: SqliteStore) -> None:
    await store.write(claim_or_replay, None, "KC1")
    assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM idempotency").fetchone()) == (0,)


async def test_a_replay_stores_nothing(store: SqliteStore) -> None:
    def create(tx: Tx, sid: str) -> None:
        tx.execute("INSERT INTO meta VALUES (?, 'made')", (sid,))
        claim_or_replay(tx, a_key(), sid)

    await store.write(create, "KC1")
    with pytest.raises(Replayed) as caught:
        await store.write(create, "KC2")
    assert caught.value.resource_sid == "KC1"
    assert await store.read(
        lambda tx: tx.execute("SELECT name FROM meta WHERE value = 'made'").fetchall()
    ) == [("KC1",)]


# In a batch


async def together(house: House, items: list[NewMessage]) -> list[Any]:
    async with held_writer(house.store):
        tasks = [asyncio.create_task(house.store.batch(accept_messages, item)) for item in items]
    return await asyncio.gather(*tasks, return_exceptions=True)


async def keys(house: House) -> list[tuple[str, str]]:
    return await house.rows("SELECT key, resource_sid FROM idempotency ORDER BY key")


async def test_of_equal_keys_in_one_batch_the_first_item_wins(house: House) -> None:
    _, ann, _ = await house.pair()
    items = [house.message(ann, "hello", a_key()) for _ in range(20)]
    answers = await together(house, items)
    assert not answers[0].replayed
    assert all(answer.replayed for answer in answers[1:])
    assert {answer.sid for answer in answers} == {items[0].sid}
    assert await house.one("SELECT count(*) FROM interactions") == 1
    assert await house.outbox() == 1
    assert await keys(house) == [("k", items[0].sid)]


async def test_keys_of_one_batch_do_not_mix_up_their_items(house: House) -> None:
    """Whatever the order of the keys is."""
    _, ann, ben = await house.pair()
    names = ["z", "a", "m", "z", "a", "q", "b", "z"]
    items = [house.message((ann, ben)[i % 2], f"{name}", a_key(name)) for i, name in enumerate(names)]
    answers = await together(house, items)
    first = {name: items[names.index(name)].sid for name in names}
    assert [answer.sid for answer in answers] == [first[name] for name in names]
    assert [answer.replayed for answer in answers] == [i != names.index(name) for i, name in enumerate(names)]
    assert await keys(house) == sorted(first.items())
    assert await house.outbox() == 5


async def test_another_request_under_a_key_of_the_same_batch_is_refused(house: House) -> None:
    _, ann, _ = await house.pair()
    items = [
        house.message(ann, "1", a_key()),
        house.message(ann, "2", a_key(request="other")),
        house.message(ann),
    ]
    first, second, third = await together(house, items)
    assert first.sid == items[0].sid
    assert isinstance(second, Problem)
    assert second.code is problems.IDEMPOTENCY_CONFLICT
    assert third.sid == items[2].sid
    assert await house.outbox() == 2


async def test_a_refused_message_leaves_no_key(house: House) -> None:
    session, ann, _ = await house.pair()
    await house.close(session)
    (answer,) = await together(house, [house.message(ann, key=a_key())])
    assert answer.code is problems.SESSION_CLOSED
    assert await keys(house) == []
    await house.reopen(session)
    assert (await house.say(ann, key=a_key(request="other"))).sid


async def test_behind_a_refused_message_the_next_with_its_key_is_judged_by_itself(house: House) -> None:
    """In one batch as one after the other: whoever lost to a refused one is not told of a message that is not there."""
    closed, ann, _ = await house.pair()
    _, ben, _ = await house.pair()
    await house.close(closed)
    items = [
        house.message(ann, "refused", a_key()),
        house.message(ann, "refused too", a_key()),
        house.message(ben, "another request", a_key(request="other")),
        house.message(ben, "a repeat of that", a_key(request="other")),
        house.message(ann, "refused by the key", a_key()),
    ]
    answers = await together(house, items)
    assert [answer.code for answer in answers[:2]] == [problems.SESSION_CLOSED] * 2
    assert (answers[2].sid, answers[2].replayed) == (items[2].sid, False)
    assert (answers[3].sid, answers[3].replayed) == (items[2].sid, True)
    assert answers[4].code is problems.IDEMPOTENCY_CONFLICT
    assert await keys(house) == [("k", items[2].sid)]
    assert await house.outbox() == 1


async def test_a_key_of_a_bad_item_is_not_kept(house: House) -> None:
    """A bad item undoes its key too, though the whole batch was run again."""
    _, ann, _ = await house.pair()
    bad = house.message(ann, key=a_key("bad"))
    bad.data = "\ud800"
    good = house.message(ann, key=a_key("good"))
    answers = await together(house, [bad, good])
    assert isinstance(answers[0], UnicodeEncodeError)
    assert await keys(house) == [("good", good.sid)]


async def test_a_replay_answers_with_the_message_as_it_is_now(house: House) -> None:
    _, ann, _ = await house.pair()
    key = a_key()
    first = await house.messages.create(*_path(ann), "hello", key)
    async with house.working():
        await house.quiet()
    again = await house.messages.create(*_path(ann), "hello", key)
    assert again.replayed
    assert not first.replayed
    assert again.interaction.sid == first.interaction.sid
    assert again.interaction.outbound is not None
    assert again.interaction.outbound.status == 40


async def test_a_replay_of_a_message_that_is_gone_is_not_found(house: House) -> None:
    session, ann, _ = await house.pair()
    message = await house.say(ann, key=a_key())
    await house.store.write(
        lambda tx: tx.execute("DELETE FROM interactions WHERE sid = ?", (message.sid,)) and None
    )
    with pytest.raises(Problem) as caught:
        await house.say(ann, key=a_key())
    assert caught.value.code is problems.NOT_FOUND
    assert (await house.fetch(session)).sid


def _path(ann: Any) -> tuple[str, str, str, str]:
    return ACCOUNT, ann.service_sid, ann.session_sid, ann.sid


# The walk of expired keys


async def test_the_walk_removes_what_has_expired_and_nothing_else(
    store: SqliteStore, clock: FakeClock
) -> None:
    for i in range(0, 30, 3):
        await claim(store, a_key(f"{i:02}"), "KC1")
    clock.advance(DAY_S / 2)
    for i in range(1, 30, 3):
        await claim(store, a_key(f"{i:02}", scope="KS0" if i % 2 else "KS2"), "KC2")
    clock.advance(DAY_S / 2)
    after = ("", "")
    for _ in range(7):  # 20 keys in steps of three, and back at the beginning
        after = await store.write(delete_expired_keys, after, 3)
    assert after == ("", "")
    kept = await store.read(lambda tx: tx.execute("SELECT DISTINCT resource_sid FROM idempotency").fetchall())
    assert kept == [("KC2",)]
    assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM idempotency").fetchone()) == (10,)


async def test_the_walk_ends_where_the_keys_end(store: SqliteStore) -> None:
    assert await store.write(delete_expired_keys, ("", ""), 3) == ("", "")
    for i in range(3):
        await claim(store, a_key(f"{i}"), "KC1")
    after = await store.write(delete_expired_keys, ("", ""), 3)
    assert after == ("KS1", "2")
    assert await store.write(delete_expired_keys, after, 3) == ("", "")


async def test_the_sweep_walks_on_from_where_it_was(house: House, clock: FakeClock) -> None:
    service = await house.service()

    def claim_many(tx: Tx) -> None:
        for i in range(1200):
            claim_key(tx, a_key(f"{i:04}", scope=service.sid), "KC1")

    await house.store.write(claim_many)
    clock.advance(DAY_S)
    for _ in range(4):
        await house.sweeper.sweep()
    assert await house.one("SELECT count(*) FROM idempotency") == 0
