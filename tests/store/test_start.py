"""What the start of sends asks the database: as little as there is to start."""

from typing import Any

import pytest

from maskline.store.engine import Tx
from maskline.store.start import StartRequest, Starts, start_sends
from tests.support.house import House

pytestmark = pytest.mark.engine("sqlite")


async def start(house: House, lane: tuple[str, str] = ("", "")) -> tuple[Starts, list[str]]:
    """What is started, and the statements on the way there."""
    asked: list[str] = []

    def watched(tx: Tx) -> Any:
        execute = tx.execute

        def note(text: str, *values: Any) -> Any:
            asked.append(" ".join(text.split()))
            return execute(text, *values)

        tx.execute = note
        request = StartRequest("RN", {house.carrier.name: 64}, [], lane=lane)
        return start_sends.fn(tx, [request])[0]

    return await house.store.write(watched), asked


def about_what_waits(asked: list[str]) -> int:
    return sum("state = 2" in one or "state IN (1, 5) AND due_at <= " in one for one in asked)


async def test_where_nothing_waits_that_is_asked_once(house: House) -> None:
    _, ann, _ = await house.pair()
    await house.say(ann)
    starts, asked = await start(house)
    assert len(starts.started) == 1
    assert about_what_waits(asked) == 2  # what is due, and what is parked


async def test_behind_the_last_number_it_begins_at_the_first_again(house: House) -> None:
    starts, asked = await start(house, (house.carrier.name, "+2"))
    assert starts.lane == ("", "")
    assert about_what_waits(asked) == 3  # once around, and no more
    _, asked = await start(house, starts.lane)
    assert about_what_waits(asked) == 2
