"""A carrier that reports is expected to: who takes messages and says nothing of them is told of."""

import asyncio

from maskline.domain.interaction import MessageStatus
from maskline.flows.silence import Silence
from maskline.store.carrier_ids import has_heard
from tests.support.house import ACCOUNT, House
from tests.support.until import turns

LIMIT_S = 600


async def passes(house: House, seconds: int) -> None:
    for _ in range(seconds // 30):
        house.clock.advance(30)
        await turns(20)
        await house.store.read(lambda tx: None)


async def test_what_another_process_has_heard_counts(house: House) -> None:
    silence = Silence(house.store, house.clock, house.mint, {house.carrier.name: LIMIT_S})
    house.messages._silence = silence
    watching = asyncio.create_task(silence.run())
    _, ann, ben = await house.pair()
    async with house.working():
        first = await house.say(ann)
        await house.quiet()
        other = await house.say(ben)
        await house.quiet()
        # By another process, which does not tell this one.
        await house.report(other, MessageStatus.DELIVERED, ben.proxy_identifier)
        while silence._since:
            await passes(house, 30)
        assert await house.events() == []
        last = await house.say(ann)
        await house.quiet()
        assert silence._since[house.carrier.name][2] == last.sid
        while not await house.events():
            await passes(house, 30)
        await passes(house, LIMIT_S + 60)
        assert await house.events() == [49032]
    watching.cancel()
    assert await house.store.read(has_heard, ACCOUNT, house.carrier.name, first.sid)
    assert not await house.store.read(has_heard, ACCOUNT, "scripte", first.sid)
    assert not await house.store.read(has_heard, ACCOUNT, house.carrier.name, other.sid)


async def test_accounts_without_a_limit_may_be_silent(house: House) -> None:
    silence = Silence(house.store, house.clock, house.mint, {})
    house.messages._silence = silence
    watching = asyncio.create_task(silence.run())
    _, ann, _ = await house.pair()
    async with house.working():
        await house.say(ann)
        await house.quiet()
        await passes(house, 3600)
    watching.cancel()
    assert await house.events() == []
