"""The same on PostgreSQL: each statement of the daily work finds its rows by an index.

The plans are those that it makes for any values, since that is what `postgres.py` asks for. They are kept for a while:
those of the outbox, which is empty again and again, must be as good where next to nothing is there.
"""

import re
from collections.abc import Callable, Container, Iterator
from typing import Any

import pytest

from maskline.store import postgres_line
from maskline.store.engine import Store, Tx
from maskline.store.postgres import PostgresStore
from tests.store.test_plans import A_FEW, NAMED, PARTIAL, SMALL, WORK, World, make_world
from tests.support.clock import FakeClock
from tests.support.explained import explained, nodes
from tests.support.grown import grow
from tests.support.house import VAULT, House

COPIES = 1000
JUDGED = (
    # Every number in a pool, when a process starts.
    "INSERT INTO adoptions (phone_number, carrier_account, account_sid, due_at) SELECT",
)
"""What may read all of something."""
FEW = re.compile(r"FROM (services|erasures) WHERE|former_numbers f ")
"""Of these an account or a Service has few."""
ALL = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
GROWN = f"{ALL} AND reltuples > {COPIES}"


class Undone(Exception):
    """Nothing of it is to be kept."""


def faults(sql: str, plan: Any, tables: Container[str]) -> Iterator[str]:
    """What is wrong with what this plan does with these tables."""
    sql = re.sub(r"\$(\d+)", r"?\1", sql)
    conditions = []
    for node in nodes(plan):
        kind = node["Node Type"]
        # Groups have no index in the order of what is in them.
        grouped = NAMED.search(sql) or "ORDER BY min(" in sql
        if kind == "Limit" and node["Plans"][0]["Node Type"] == "Sort" and not grouped:
            yield f"sorts by {node['Plans'][0]['Sort Key']} to take a few"
        table, index, condition = (
            node.get(name, "") for name in ("Relation Name", "Index Name", "Index Cond")
        )
        conditions.append(condition)
        if table not in tables or table in SMALL or A_FEW.search(sql):
            continue
        if kind == "Seq Scan":
            yield f"reads the whole of {table}"
        if kind not in ("Index Scan", "Index Only Scan") or index.endswith(PARTIAL):
            continue
        if not condition:
            yield f"reads the whole of {index}"
        elif re.fullmatch(r"\(service_sid = [^()]*\)", condition) and index != "numbers_pool":
            yield f"reads all of a Service in {index}"
    names = set(NAMED.findall(sql.partition(" WHERE ")[2])) if "sessions" in tables else set()
    if FEW.search(sql):
        names.clear()
    if "session_sid" in names:
        names.discard("identifier_key")
    for name in names:
        if not any(re.search(rf"\b{name}\)?(?:::text)? (?:=|<=|<|>|>=) ", one) for one in conditions):
            yield f"does not look for {name}"


@pytest.mark.parametrize(
    ("copies", "looked_at", "checked"),
    [
        # The outbox has next to nothing again and again, and so it is then that its plans are made.
        pytest.param(0, True, "SELECT 'outbox'", id="empty"),
        pytest.param(COPIES, False, ALL, id="just grown"),
        pytest.param(COPIES, True, GROWN, id="large"),
    ],
)
async def test_every_statement_finds_its_rows_by_the_whole_of_its_key(
    request: pytest.FixtureRequest, clock: FakeClock, copies: int, looked_at: bool, checked: str
) -> None:
    url = request.getfixturevalue("postgres").fresh()
    store = PostgresStore(url, clock, run="RN" + "1" * 32, pseudonym=VAULT.pseudonym, own_time=True)
    await store.open()
    world = await make_world(House(store, clock))
    grow(url, copies, looked_at=looked_at)
    tables = {row[0] for row in await store.read(lambda tx: tx.execute(checked).fetchall())}
    known: set[str] = set()
    wrong: dict[str, list[str]] = {}

    def note(sql: str, plan: Any) -> None:
        if not sql.startswith(JUDGED) and (said := [*faults(sql, plan, tables)]):
            wrong[sql] = said

    def examine(tx: Tx, work: Callable[[Tx, World], None]) -> None:
        work(explained(tx, note, known), world)
        raise Undone

    for work in WORK:
        with pytest.raises(Undone):
            await store.write(examine, work)
    await store.close()
    assert not wrong, "\n".join(f"{said}: {sql}" for sql, said in wrong.items())


@pytest.mark.engine("postgres")
async def test_no_statement_starts_processes_of_its_own(store: Store) -> None:
    """They would cost more than all that a statement here has to do."""

    def explain(tx: Tx) -> str:
        for cost in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_index_scan_size"):
            tx.execute(f"SET LOCAL {cost} = 0")
        return str(tx.execute("EXPLAIN SELECT count(*) FROM pg_attribute WHERE attrelid > 0").fetchall())

    plan = await store.read(explain)
    assert "pg_attribute" in plan
    assert "Gather" not in plan


@pytest.mark.engine("postgres")
@pytest.mark.parametrize("verb", ["read", "write"])
async def test_no_plan_is_kept_for_long(store: Store, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """How many rows one counts on follows how many there are, though nobody has looked."""

    def expected(tx: Tx) -> int:
        tx.execute("SELECT carrier_id FROM tombstones WHERE expires_at > ?", (0,))
        (name,) = tx.execute(
            "SELECT name FROM pg_prepared_statements WHERE statement LIKE 'SELECT carrier_id FROM tombstones%'"
        ).fetchone()
        ((plan,),) = tx.execute(f"EXPLAIN (FORMAT JSON) EXECUTE {name} (0)").fetchall()
        return int(plan[0]["Plan"]["Plan Rows"])

    monkeypatch.setattr(postgres_line, "PLANS_S", 0)
    ask = getattr(store, verb)
    few = await ask(expected)
    assert await ask(expected) == few
    await store.write(
        lambda tx: (
            tx.execute("INSERT INTO tombstones SELECT n::text, 1 FROM generate_series(1, 20000) AS n")
            and None
        )
    )
    assert await ask(expected) > few
