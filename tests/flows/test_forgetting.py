"""Identifiers are personal data: they are erased within 30 days after the last Session with them was deleted."""

import sqlite3
from contextlib import closing

import pytest

from maskline.domain.model import DAY, SECOND
from maskline.store.migrate import migrations, statements
from maskline.store.people import PEOPLE_LIFE_US
from tests.support.clock import FakeClock
from tests.support.house import House, person
from tests.support.tables import everything

ANN, BEN = person(1), person(2)
LIFE_S = PEOPLE_LIFE_US / SECOND


async def people(house: House) -> list[str]:
    return [row[0] for row in await house.rows("SELECT identifier_key FROM people ORDER BY 1")]


async def sweep_in(house: House, seconds: float) -> list[str]:
    """Who is known this long after a sweep has taken away what was deleted."""
    await house.sweeper.sweep()
    house.clock.advance(seconds)
    await house.sweeper.sweep()
    return await people(house)


async def test_who_is_in_no_session_any_more_is_erased(house: House) -> None:
    """Spec 9.4. A closed Session, and one that the person was deleted from, still hold them."""
    service = await house.service(2)
    first, second = await house.session(service, ANN, BEN), await house.session(service, ANN)
    await house.close(first)
    await house.delete(first)
    await house.close(second)
    assert await sweep_in(house, LIFE_S - 0.001) == [ANN, BEN]
    assert await sweep_in(house, 0.001) == [ANN]
    third = await house.session(service)
    await house.remove(await house.add(third, BEN))
    await house.delete(second)
    assert await sweep_in(house, LIFE_S) == [BEN]
    await house.delete(third)
    assert await sweep_in(house, 0) == [BEN]
    assert await sweep_in(house, LIFE_S) == []


async def test_until_then_the_person_is_known_again(house: House) -> None:
    """Also by the number they had; and whoever comes back in time is not erased."""
    service = await house.service(5)
    number = [row[0] for row in await house.rows("SELECT phone_number FROM numbers ORDER BY sid")][3]
    session = await house.session(service)
    await house.add(session, ANN, number)
    await house.delete(session)
    await sweep_in(house, LIFE_S - 1)
    again = await house.session(service)
    assert (await house.add(again, ANN)).proxy_identifier == number
    assert await sweep_in(house, LIFE_S) == [ANN]
    await house.delete(again)
    await sweep_in(house, LIFE_S)
    assert (await house.add(await house.session(service), ANN)).proxy_identifier != number


async def test_a_number_cools_down_for_less_than_its_people_are_known(house: House) -> None:
    service = await house.service(1, settings='{"number_cooldown_s": 2419200}')
    assert 2_419_200 * SECOND < PEOPLE_LIFE_US <= 30 * DAY
    session = await house.session(service, ANN)
    await house.delete(session)
    await sweep_in(house, 2_419_199)
    with pytest.raises(Exception, match="80208"):
        await house.session(service, ANN)


async def test_after_that_the_database_holds_nothing_of_them(house: House, clock: FakeClock) -> None:
    """Neither the numbers of people nor what they wrote, in whatever table; masks and SIDs may stay."""
    service = await house.service(1)
    session, ann, ben = await house.pair(service)
    async with house.working():
        await house.say(ann, "a secret")
        await house.hear(ben, body="a secret")
        await house.hear(person(77), ann.proxy_identifier, "a secret")  # from nobody who is known
        await house.quiet()
    await house.say(ben, "a secret that waits")
    await house.delete(session)
    await sweep_in(house, LIFE_S)
    written = await house.store.read(everything)
    for text in (ann.identifier, ben.identifier, person(77), "secret"):
        assert text not in written, text


def test_people_of_an_older_database_are_counted() -> None:
    """Whoever is in no Session of it is forgotten at the first sweep."""
    (_, first), (_, second), *_ = migrations()
    with closing(sqlite3.connect(":memory:")) as database:
        for statement in statements(first):
            database.execute(statement)
        for key in (ANN, BEN):
            database.execute("INSERT INTO people VALUES ('KS', ?, '[]')", (key,))
        row = "INSERT INTO participants VALUES ('KS', ?, 'KC', ?, ?, NULL, '+1', NULL, 0, NULL, 0, 0)"
        for sid in ("KP1", "KP2"):
            database.execute(row, (sid, ANN, ANN))
        for statement in statements(second):
            database.execute(statement)
        found = database.execute(
            "SELECT identifier_key, participants, erase_at FROM people ORDER BY 1"
        ).fetchall()
    assert found == [(ANN, 2, None), (BEN, 0, 0)]
