"""What is PostgreSQL's alone."""

import pytest

from maskline.store.accounts import put_meta
from maskline.store.engine import Store, StoreRefused, Tx

pytestmark = pytest.mark.engine("postgres")

NUMBER = "+12125550123"


def insert_twice(tx: Tx) -> None:
    for _ in range(2):
        tx.execute("INSERT INTO meta (name, value) VALUES (?, '')", (NUMBER,))


def read_as_number(tx: Tx) -> None:
    tx.execute("SELECT CAST(? AS BIGINT)", (NUMBER.replace("+", "x"),))


async def test_an_error_does_not_tell_the_values_of_a_row(store: Store) -> None:
    for wrong, said in (
        (insert_twice, "UniqueViolation: meta_pkey"),
        (read_as_number, "InvalidTextRepresentation"),
    ):
        for run in (store.write, store.read) if wrong is read_as_number else (store.write,):
            with pytest.raises(StoreRefused) as refused:
                await run(wrong)
            assert str(refused.value) == said
            assert refused.value.__cause__ is None and refused.value.__context__ is None
    await store.write(put_meta, NUMBER, "nobody is in the way")


async def test_a_statement_that_is_wrong_is_told(store: Store) -> None:
    with pytest.raises(StoreRefused, match='UndefinedTable: relation "nothing" does not exist'):
        await store.read(lambda tx: tx.execute("SELECT 1 FROM nothing"))


async def test_what_was_prepared_for_one_read_is_there_for_the_next(store: Store) -> None:
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement = ?"
    asked = "SELECT 1 FROM accounts"
    await store.read(lambda tx: tx.execute(asked).fetchall())
    # Another reader than the one that prepared it may come first.
    known = [await store.read(lambda tx: tx.execute(prepared, (asked,)).fetchone()) for _ in range(20)]
    assert (1,) in known
