"""A number is carried by another account by the time that a message's outcome is looked for: the one that may have it
is asked, or gets it again, and no other.
"""

import pytest

from maskline.carriers.base import Carrier
from maskline.store.start import StartRequest, start_sends
from tests.support.carrier import REJECTED, UNCERTAIN, UNREACHABLE, ScriptedCarrier
from tests.support.house import House

RESEND = '{"on_uncertain": "resend"}'


class Moved:
    """A message from a number that was carried by `first`, and is by `second` since."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.first, self.second = house.carrier, ScriptedCarrier("second")
        self.carries(self.first, self.second)

    def carries(self, *carriers: Carrier) -> None:
        """These are the accounts now."""
        self.house.messages.carriers = {one.name: one for one in carriers}

    def able(self, **capabilities: bool) -> None:
        self.first.able(**capabilities)
        self.second.able(**capabilities)

    async def begin(self, settings: str = "{}") -> None:
        _, self.ann, _ = await self.house.pair(await self.house.service(settings=settings))
        self.message = await self.house.say(self.ann, "1")

    async def hand_over(self) -> None:
        """The first has it in hand, and gives no answer."""
        self.first.script(self.ann.identifier, UNCERTAIN)
        async with self.house.working():
            await self.house.quiet()
        assert self.first.bodies(self.ann.identifier) == ["1"]

    async def die(self) -> None:
        """A run of the server starts it, and is never heard of again."""
        request = StartRequest("RN of a dead run", {self.first.name: 64}, [self.house.mint.sid("NO")])
        assert (await self.house.store.batch(start_sends, request)).started

    async def re_enter(self) -> None:
        change = "UPDATE numbers SET carrier_account = 'second'"
        await self.house.store.write(lambda tx: tx.execute(change) and None)

    async def go_on(self, *seconds: float) -> str:
        """What has become of it after so long, step by step."""
        async with self.house.working():
            for one in seconds:
                await self.house.pass_time(one)
        return await self.house.status(self.message)


@pytest.fixture
def moved(house: House) -> Moved:
    return Moved(house)


@pytest.mark.parametrize("settings", ["{}", RESEND])
@pytest.mark.parametrize("dies", [False, True])
async def test_the_account_that_may_have_it_is_asked(moved: Moved, settings: str, dies: bool) -> None:
    moved.able(look_up=True)
    await moved.begin(settings)
    await (moved.die() if dies else moved.hand_over())
    await moved.re_enter()
    moved.first.answers(UNREACHABLE, ["their-own"])
    assert await moved.go_on(1, 5, 5) == "sent"
    assert (len(moved.first.asked), moved.second.asked, moved.second.sent) == (2, [], [])
    assert await moved.house.one("SELECT carrier_id FROM interactions") == "scripted/their-own"


@pytest.mark.parametrize("dies", [False, True])
async def test_the_account_that_may_have_it_gets_it_again_under_its_key(moved: Moved, dies: bool) -> None:
    moved.able(carrier_keys=True)
    await moved.begin()
    await (moved.die() if dies else moved.hand_over())
    await moved.re_enter()
    moved.first.script(moved.ann.identifier, UNREACHABLE)
    before = len(moved.first.sent)
    assert await moved.go_on(1, 5, 15, 60) == "sent"
    assert (moved.first.bodies(moved.ann.identifier)[before:], moved.second.sent) == (["1", "1"], [])


async def test_what_it_refuses_then_is_unknown(moved: Moved) -> None:
    """That the number is not its own any more says nothing of the time before."""
    moved.able(carrier_keys=True)
    await moved.begin()
    await moved.hand_over()
    await moved.re_enter()
    moved.first.script(moved.ann.identifier, REJECTED)
    assert await moved.go_on(1, 5) == "delivery-unknown"
    assert moved.second.sent == []


async def test_what_it_does_not_know_is_sent_again_by_the_other_if_the_service_wants_that(
    moved: Moved,
) -> None:
    moved.able(look_up=True)
    await moved.begin(RESEND)
    await moved.hand_over()
    await moved.re_enter()
    moved.second.script(moved.ann.identifier, UNREACHABLE)
    assert await moved.go_on(1, 5, 15, 60) == "sent"
    assert (len(moved.first.asked), len(moved.first.sent)) == (1, 1)
    assert moved.second.bodies(moved.ann.identifier) == ["1", "1"]


@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.parametrize(("settings", "becomes"), [("{}", "delivery-unknown"), (RESEND, "sent")])
async def test_where_it_is_gone_the_service_decides(
    moved: Moved, settings: str, becomes: str, keys: bool
) -> None:
    moved.able(look_up=True, carrier_keys=keys)
    await moved.begin(settings)
    await moved.hand_over()
    await moved.re_enter()
    moved.carries(moved.second)
    assert await moved.go_on(1, 5) == becomes
    assert moved.second.asked == []
    assert moved.second.bodies(moved.ann.identifier) == (["1"] if becomes == "sent" else [])
    assert await moved.house.events() == ([] if becomes == "sent" else [49001])
    assert await moved.house.outbox() == 0


async def test_until_it_has_a_slot_the_other_gets_none(moved: Moved) -> None:
    """What waits for a slot of the first waits in its line, and not in that of whoever carries the number now."""
    moved.able(carrier_keys=True)
    await moved.begin()
    await moved.hand_over()
    await moved.re_enter()
    gate = moved.first.gate("")
    _, cid, _ = await moved.house.pair()
    moved.first.script(cid.identifier, gate)
    async with moved.house.working(slots=1):
        await moved.house.say(cid)
        await moved.house.quiet()
        await moved.house.pass_time(1)
        await moved.house.pass_time(5)
        assert (len(moved.first.sent), moved.second.sent) == (2, [])
        gate.release()
        await moved.house.quiet()
        await moved.house.pass_time(1)
    assert await moved.house.status(moved.message) == "sent"
    assert (moved.first.bodies(moved.ann.identifier), moved.second.sent) == (["1", "1"], [])


async def test_what_it_certainly_did_not_take_goes_by_the_other(moved: Moved) -> None:
    await moved.begin()
    moved.first.script(moved.ann.identifier, UNREACHABLE)
    async with moved.house.working():
        await moved.house.quiet()
    await moved.re_enter()
    assert await moved.go_on(1, 5) == "sent"
    assert (len(moved.first.sent), moved.second.bodies(moved.ann.identifier)) == (1, ["1"])
