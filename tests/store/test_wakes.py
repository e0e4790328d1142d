"""One process accepts and another works: it is woken without waiting for its next poll, and again after a lost line."""

import asyncio

import psycopg
import pytest

from maskline.clock import SystemClock
from maskline.store.engine import Tx, Wake
from maskline.store.postgres import PostgresStore
from tests.support.house import VAULT
from tests.support.postgres import PostgresServer
from tests.support.until import turns, until


def want(tx: Tx, wake: Wake) -> None:
    tx.wake |= wake


def listeners(postgres: PostgresServer) -> list[int]:
    with psycopg.connect(postgres.url()) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN maskline' AND state = 'idle'"
        ).fetchall()
    return [pid for (pid,) in rows]


async def heard(event: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await event.wait()
    event.clear()


async def test_a_commit_wakes_those_that_work_elsewhere(postgres: PostgresServer) -> None:
    accepting, working = [
        PostgresStore(postgres.empty(), SystemClock(), run=f"RN{i:032}", pseudonym=VAULT.pseudonym)
        for i in range(2)
    ]
    await accepting.open()
    await working.open()
    try:
        event = working.subscribe(Wake.SENDS)
        await until(lambda: len(listeners(postgres)) == 1)
        for _ in range(3):
            await accepting.write(want, Wake.SENDS)
            await heard(event)
        (pid,) = listeners(postgres)
        with psycopg.connect(postgres.url()) as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        await until(lambda: listeners(postgres) not in ([], [pid]))
        await accepting.write(want, Wake.SENDS)
        await heard(event)
    finally:
        await accepting.close()
        await working.close()


@pytest.mark.parametrize("full", [(True, False), (False, True)])
async def test_where_one_of_two_who_hear_can_do_no_more_others_are_told(
    postgres: PostgresServer, full: tuple[bool, bool]
) -> None:
    here, there = [
        PostgresStore(postgres.empty(), SystemClock(), run=f"RN{i:032}", pseudonym=VAULT.pseudonym)
        for i in range(2)
    ]
    await here.open()
    await there.open()
    try:
        for is_full in full:
            here.subscribe(Wake.ASKS, lambda is_full=is_full: is_full)
        event = there.subscribe(Wake.ASKS)
        await until(lambda: len(listeners(postgres)) == 2)
        await here.write(want, Wake.ASKS)
        await heard(event)
    finally:
        await here.close()
        await there.close()


@pytest.mark.parametrize("wake", [Wake.SENDS, Wake.NOBODY])
async def test_nobody_else_is_told_of_what_is_heard_here(postgres: PostgresServer, wake: Wake) -> None:
    stores = [
        PostgresStore(postgres.empty(), SystemClock(), run=f"RN{i:032}", pseudonym=VAULT.pseudonym)
        for i in range(2)
    ]
    for store in stores:
        await store.open()
    try:
        _, there = [store.subscribe(Wake.SENDS) for store in stores]
        await until(lambda: len(listeners(postgres)) == 2)
        await stores[0].write(want, wake)
        await stores[0].write(want, Wake.CALLBACKS)  # whom nobody here waits for: all who listen are told
        await heard(there)
        assert not there.is_set()
    finally:
        for store in stores:
            await store.close()


async def test_nobody_wakes_himself(postgres: PostgresServer) -> None:
    store = PostgresStore(postgres.empty(), SystemClock(), run="RN" + "7" * 32, pseudonym=VAULT.pseudonym)
    await store.open()
    try:
        event = store.subscribe(Wake.SENDS)
        await until(lambda: len(listeners(postgres)) == 1)
        with psycopg.connect(postgres.url(), autocommit=True) as witness:
            witness.execute("LISTEN maskline")
            for _ in range(5):
                await store.write(want, Wake.OTHERS)
                await until(lambda: [*witness.notifies(timeout=0, stop_after=1)] != [])
                await turns()
                assert not event.is_set()
            witness.execute("NOTIFY maskline")
            await heard(event)
    finally:
        await store.close()
