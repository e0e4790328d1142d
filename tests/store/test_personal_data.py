"""Nobody adds a column without saying whether it holds personal data, and what erases that."""

from tests.support.house import House
from tests.support.personal import NONE, PASSING, PERSONAL
from tests.support.tables import columns


async def test_every_column_is_put_down_once(house: House) -> None:
    there = await house.store.read(columns)
    known = {
        table: sorted([*NONE.get(table, "").split(), *PERSONAL.get(table, {}), *PASSING.get(table, {})])
        for table in {*NONE, *PERSONAL, *PASSING}
    }
    assert known == there
