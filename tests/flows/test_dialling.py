"""Numbers with a mobile digit: texted as the Service says, and matched with it and without."""

import pytest

from maskline.carriers.base import Accepted
from maskline.store.start import StartRequest, start_sends
from tests.support.house import House, proxy

MEXICO, ARGENTINA = "+525512345678", "+541123456789"
WITH_1, WITH_9 = '{"mexico_prefix": "on"}', '{"argentina_prefix": "on"}'


@pytest.mark.parametrize(
    ("identifier", "settings", "dialled"),
    [
        (MEXICO, "{}", MEXICO),
        (MEXICO, WITH_1, "+5215512345678"),
        (ARGENTINA, "{}", ARGENTINA),
        (ARGENTINA, WITH_9, "+5491123456789"),
    ],
)
async def test_a_message_and_its_answer(house: House, identifier: str, settings: str, dialled: str) -> None:
    service = await house.service(0, settings=settings)
    await house.number(service, proxy(1))
    session = await house.session(service)
    ann = await house.add(session, identifier, proxy(1))
    ben = await house.add(session, None, proxy(1))
    async with house.working():
        await house.say(ann, "to Ann")
        await house.hear(dialled, proxy(1), "from Ann")
        await house.quiet()
    assert house.carrier.bodies(dialled) == ["to Ann"]
    assert house.carrier.bodies(ben.identifier) == ["from Ann"]


async def test_a_carrier_is_asked_for_what_it_was_handed(house: House) -> None:
    service = await house.service(0, settings=WITH_1)
    await house.number(service, proxy(1))
    ann = await house.add(await house.session(service), MEXICO, proxy(1))
    await house.say(ann)
    request = StartRequest(run="RN-earlier", free={house.carrier.name: 1}, event_sids=[])
    assert len((await house.store.batch(start_sends, request)).started) == 1
    house.carrier.able(look_up=True)
    house.carrier.answers(Accepted("theirs"))
    async with house.working():
        await house.quiet()
    assert [message.to for message in house.carrier.asked] == ["+5215512345678"]
