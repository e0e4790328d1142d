"""A house for every test of the flows."""

import pytest

from maskline.store.sqlite import SqliteStore
from tests.support.clock import FakeClock
from tests.support.house import House


@pytest.fixture
def house(store: SqliteStore, clock: FakeClock) -> House:
    return House(store, clock)
