"""Long texts that handsets send in parts: what is brought on, and what comes while it is."""

import pytest

from maskline.carriers.base import CarrierEvent, Inbound, Means
from maskline.carriers.parts import Parts
from maskline.domain.model import Participant
from maskline.domain.part import Part
from maskline.flows import inbound
from maskline.flows.inbox import StoreInbox
from tests.support.house import House

WAIT_S = 60


class Account:
    """A carrier account with the parts of long messages, as each of its servers has one."""

    def __init__(self, house: House) -> None:
        self._house = house
        means = Means(None, house.clock, self._bring, StoreInbox(house.store), "")  # type: ignore[arg-type]
        self.parts = Parts(
            house.carrier.name, means, WAIT_S, lambda parts: "".join(one.content for one in parts)
        )
        self.comes_before: list[Part] = []
        self.comes_behind: list[Part] = []
        """What another server is brought while this one brings something on."""

    async def _bring(self, event: CarrierEvent) -> bool:
        await self._hear(self.comes_before)
        known = True
        if isinstance(event, Inbound):
            house = self._house
            known = (await inbound.receive(house.store, house.mint, house.options, event)).known
        await self._hear(self.comes_behind)
        return known

    async def _hear(self, parts: list[Part]) -> None:
        while parts:
            await Account(self._house).parts.keep(parts.pop())


def part(house: House, sender: Participant, place: int, content: str, total: int = 3) -> Part:
    return Part(
        house.carrier.name,
        sender.identifier,
        sender.proxy_identifier,
        "8:7",
        place,
        total,
        f"m{content}",
        0,
        content,
        f"{content} {place}",
    )


@pytest.mark.parametrize("when", ["comes_before", "comes_behind"])
async def test_a_part_that_comes_while_its_message_goes_on_without_it_is_not_lost(
    house: House, when: str
) -> None:
    _, ann, ben = await house.pair()
    account = Account(house)
    async with house.working():
        for place, content in ((1, "one"), (2, "two")):
            await account.parts.keep(part(house, ann, place, content))
        await house.pass_time(WAIT_S)
        setattr(account, when, [part(house, ann, 3, "three")])
        await account.parts.sweep()
        await house.pass_time(WAIT_S)
        await account.parts.sweep()
        await house.quiet()
    assert house.carrier.bodies(ben.identifier) == ["onetwo…", "…three"]


@pytest.mark.parametrize("when", ["comes_before", "comes_behind"])
async def test_a_part_of_another_message_that_comes_while_one_goes_on_is_not_lost(
    house: House, when: str
) -> None:
    """Handsets use their few references again."""
    _, ann, ben = await house.pair()
    account = Account(house)
    async with house.working():
        await account.parts.keep(part(house, ann, 1, "one", total=2))
        setattr(account, when, [part(house, ann, 1, "ace", total=2)])
        await account.parts.keep(part(house, ann, 2, "two", total=2))
        await account.parts.keep(part(house, ann, 2, "king", total=2))
        await account.parts.sweep()
        await house.quiet()
    assert house.carrier.bodies(ben.identifier) == ["onetwo", "aceking"]
