"""The look for texts and numbers in events and logs, which every test of a house ends with, finds what it should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from maskline.domain import problems
from maskline.domain.phone import mask
from maskline.store.events import insert_event
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, House, opened
from tests.support.inside import Inside
from tests.support.server import ACCOUNT_SID
from tests.support.world import fresh_number

BODY = "meet me at the pier"
STRANGER = "+12125550177"

_log = structlog.get_logger(__name__)


def log_it(_house: House, told: str) -> Any:
    _log.warning("test.told", what={"deep": [told]})


def log_it_as_an_exception(_house: House, told: str) -> Any:
    try:
        try:
            raise ValueError(told)
        except ValueError as error:
            raise RuntimeError("something else") from error
    except RuntimeError:
        _log.exception("test.failed")


async def write_it_down(house: House, told: str) -> None:
    sid = house.mint.sid("NO")
    await house.store.write(insert_event, sid, ACCOUNT, problems.SESSION_EXPIRED, told)


WAYS = [log_it, log_it_as_an_exception, write_it_down]


async def live(
    directory: Path, clock: FakeClock, way: Callable[[House, str], Any], tell: Callable[..., str]
) -> None:
    """Two people and a stranger write, and then something is told of it."""
    async with opened(directory, clock) as store:
        house = House(store, clock)
        _, ann, ben = await house.pair()
        await house.say(ann, BODY)
        await house.hear(STRANGER, ann.proxy_identifier, "who is there?")
        done = way(house, tell(ann, ben))
        if done is not None:
            await done


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "tell",
    [
        lambda ann, ben: f"it said: {BODY}!",
        lambda ann, ben: ann.identifier,
        lambda ann, ben: f"to:{ben.proxy_identifier.removeprefix('+')}",
        lambda ann, ben: STRANGER,
        lambda ann, ben: "who is there?",
    ],
    ids=["a text", "a person's number", "a proxy number", "a stranger's number", "a stranger's text"],
)
async def test_what_tells_a_text_or_a_number_fails_its_test(
    tmp_path: Path, clock: FakeClock, way: Callable[[House, str], Any], tell: Callable[..., str]
) -> None:
    with pytest.raises(AssertionError, match="told what none may tell"):
        await live(tmp_path, clock, way, tell)


@pytest.mark.parametrize("way", WAYS)
async def test_what_tells_neither_passes(
    tmp_path: Path, clock: FakeClock, way: Callable[[House, str], Any]
) -> None:
    await live(tmp_path, clock, way, lambda ann, ben: f"from {mask(ann.identifier)} to {ben.sid}")


async def text_nobody(directory: Path, person: str, tell: str) -> None:
    """On a server, somebody writes to nobody, and then something is told of it."""
    async with Inside(directory) as inside:
        service = await inside.post("/v1/Services", {"UniqueName": "one"})
        number = fresh_number()
        await inside.post(service["links"]["phone_numbers"], {"PhoneNumber": number})
        await inside.post("/sandbox/messages", {"From": person, "To": number, "Body": BODY})
        await inside.quiet()
        await inside.store.write(insert_event, "NO" + "0" * 32, ACCOUNT_SID, problems.SESSION_EXPIRED, tell)


@pytest.mark.parametrize("told", [BODY, STRANGER], ids=["a text", "a number"])
async def test_a_server_inside_a_test_is_held_to_it_too(tmp_path: Path, told: str) -> None:
    with pytest.raises(AssertionError, match="told what none may tell"):
        await text_nobody(tmp_path / "data", STRANGER, told)
    await text_nobody(tmp_path / "more", STRANGER, mask(STRANGER))
