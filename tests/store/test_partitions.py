"""The large tables can be distributed by Service: what a batch of one Service asks and writes is on one partition."""

from collections.abc import Callable
from typing import Any

import pytest

from maskline.store.citus import DISTRIBUTED
from maskline.store.engine import Tx
from maskline.store.postgres import PostgresStore
from tests.store.test_plans import World, accept, make_world, receive, record, tell
from tests.support.clock import FakeClock
from tests.support.explained import explained
from tests.support.house import VAULT, House
from tests.support.partitions import PARTITIONS, partition, place_of, touched
from tests.support.postgres import PostgresServer

HOT: list[Callable[[Tx, World], None]] = [accept, receive, record, tell]


class Undone(Exception):
    """Nothing of it is to be kept."""


async def test_the_hot_statements_of_one_service_are_executed_on_one_partition(
    postgres: PostgresServer, clock: FakeClock
) -> None:
    url = postgres.fresh()
    store = PostgresStore(url, clock, run="RN" + "1" * 32, pseudonym=VAULT.pseudonym, own_time=True)
    await store.open()
    partition(url)
    world = await make_world(House(store, clock))
    home = await store.read(place_of, world.service_sid)
    assert 0 <= home < PARTITIONS
    tables: set[str] = set()
    elsewhere: dict[str, set[Any]] = {}

    def note(sql: str, plan: Any) -> None:
        split = {part.rpartition("_p") for part in touched(plan)}
        large = {(table, int(place)) for table, _, place in split if table in DISTRIBUTED}
        tables.update(table for table, _ in large)
        if any(place != home for _, place in large):
            elsewhere[sql] = large

    def watch(tx: Tx, work: Callable[[Tx, World], None]) -> None:
        work(explained(tx, note, analyze=True), world)
        raise Undone

    for work in HOT:
        with pytest.raises(Undone):
            await store.write(watch, work)
    await store.close()
    assert elsewhere == {}
    assert {"sessions", "participants", "interactions", "callback_attempts"} <= tables
