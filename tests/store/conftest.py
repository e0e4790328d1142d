"""A house to fill the tables with."""

import pytest

from maskline.store.sqlite import SqliteStore
from tests.support.clock import FakeClock
from tests.support.house import House


@pytest.fixture
def house(store: SqliteStore, clock: FakeClock) -> House:
    return House(store, clock)
