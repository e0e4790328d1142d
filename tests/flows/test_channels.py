"""People on messaging channels: masked, counted and kept apart as people with numbers are, through a sender."""

import pytest

from maskline.domain import problems
from maskline.domain.model import Mode, Participant, Service, Session
from maskline.domain.problems import Problem
from maskline.flows.services import remove_service
from tests.support.house import ACCOUNT, House, person

SENDER, PAGE = "whatsapp:+14155238886", "messenger:555"
ANN, BEN = "whatsapp:+12122010001", "whatsapp:+12122010002"


async def on(
    house: House, service: Service, *people: str, sender: str = SENDER
) -> tuple[Session, list[Participant]]:
    """A Session for messages only, with these people in it."""
    session = await house.session(service, mode=Mode.MESSAGE_ONLY)
    return session, [await house.add(session, one, sender) for one in people]


async def refused(house: House, session: Session, who: str, sender: str | None) -> int:
    with pytest.raises(Problem) as caught:
        await house.add(session, who, sender)
    return caught.value.code.number


async def test_two_people_on_a_channel_write_to_each_other_through_its_sender(house: House) -> None:
    service = await house.service(0)
    await house.sender(service, SENDER)
    _, (ann, ben) = await on(house, service, ANN, BEN)
    assert (ann.proxy_identifier, ann.proxy_identifier_sid) == (SENDER, None)
    async with house.working():
        await house.hear(ann, body="hi Ben")
        await house.hear(ben, body="hi Ann")
        await house.say(ann, "from the API")
        await house.quiet()
    assert {(sent.from_, sent.to, sent.body) for sent in house.carrier.sent} == {
        (SENDER, BEN, "hi Ben"),
        (SENDER, ANN, "hi Ann"),
        (SENDER, ANN, "from the API"),
    }
    assert set(await house.statuses()) == {"sent"}


async def test_somebody_on_a_channel_writes_to_somebody_with_a_number(house: House) -> None:
    """Each side sees its own way: the one a sender, the other a number of the pool."""
    service = await house.service(1)
    await house.sender(service, PAGE)
    session, (ann,) = await on(house, service, "messenger:111", sender=PAGE)
    ben = await house.add(session)
    async with house.working():
        await house.hear(ann, body="over there")
        await house.hear(ben, body="and back")
        await house.quiet()
    assert {(sent.from_, sent.to, sent.body) for sent in house.carrier.sent} == {
        (ben.proxy_identifier, ben.identifier, "over there"),
        (PAGE, "messenger:111", "and back"),
    }


async def test_one_handset_is_two_people_on_two_channels(house: House) -> None:
    """Its number and its WhatsApp address are two identifiers, and traffic of the one is none of the other's."""
    service = await house.service(1)
    await house.sender(service, SENDER)
    _, (ann, _) = await on(house, service, ANN, BEN)
    session = await house.session(service)
    plain, partner = await house.add(session, ANN.removeprefix("whatsapp:")), await house.add(session)
    async with house.working():
        await house.hear(plain, body="a text")
        await house.hear(ann, body="a chat")
        await house.hear(ann.identifier.removeprefix("whatsapp:"), SENDER, "a text to a sender")
        await house.quiet()
    assert house.carrier.bodies(partner.identifier) == ["a text"]
    assert house.carrier.bodies(BEN) == ["a chat"]
    assert len(house.carrier.sent) == 2
    assert await house.events() == [80905]


async def test_a_person_is_on_a_sender_once(house: House) -> None:
    """The hard rule holds for senders, too; somebody else may be on it, and the same person on another."""
    service = await house.service(0)
    await house.sender(service, SENDER)
    await house.sender(service, "whatsapp:+14155238887")
    first, (ann, _) = await on(house, service, ANN, BEN)
    second = await house.session(service, mode=Mode.MESSAGE_ONLY)
    assert await refused(house, second, "WhatsApp:+12122010001", SENDER) == 80604
    assert (await house.add(second, ANN, "whatsapp:+14155238887")).proxy_identifier == "whatsapp:+14155238887"
    counts = "SELECT in_use, participants FROM numbers ORDER BY phone_number"
    assert await house.rows(counts) == [(1, 2), (1, 1)]
    await house.remove(ann)
    assert await house.rows(counts) == [(1, 1), (1, 1)]
    third, _ = await on(house, service, ANN)
    await house.close(first)
    await house.close(third)
    await on(house, service, ANN)
    with pytest.raises(Problem) as caught:
        await house.reopen(third)
    assert caught.value.code is problems.PAIR_IN_USE
    assert await house.rows(counts) == [(1, 1), (1, 1)]


async def test_a_sender_is_never_chosen(house: House) -> None:
    """It is in no pool: a pool with nothing else is empty."""
    service = await house.service(0)
    await house.sender(service, SENDER)
    session = await house.session(service, mode=Mode.MESSAGE_ONLY)
    assert await refused(house, session, person(1), None) == 80205
    number = await house.number(service)
    assert (await house.add(session, person(1))).proxy_identifier == number.phone_number
    assert (
        await refused(house, await house.session(service, mode=Mode.MESSAGE_ONLY), person(1), None) == 80208
    )


async def test_a_sender_must_be_wired_to_this_service(house: House) -> None:
    service, other = await house.service(0), await house.service(0)
    await house.sender(other, SENDER)
    await house.sender(None, PAGE)
    session = await house.session(service, mode=Mode.MESSAGE_ONLY)
    assert await refused(house, session, ANN, SENDER) == 80304
    assert await refused(house, session, "messenger:1", PAGE) == 80304
    assert await refused(house, session, ANN, "whatsapp:+14155238880") == 80304


async def test_a_message_to_a_sender_that_is_wired_to_nothing_is_an_event(house: House) -> None:
    await house.sender(None, SENDER)
    first = await house.hear(ANN, SENDER, carrier_id="x")
    again = await house.hear(ANN, SENDER, carrier_id="x")
    assert (first.known, first.interaction_sid, again.repeated) == (True, None, True)
    assert not (await house.hear(ANN, "whatsapp:+14155238880")).known
    assert await house.rows("SELECT code, account_sid, service_sid, message FROM events") == [
        (
            80305,
            ACCOUNT,
            None,
            "from whatsapp:+1…01 to whatsapp:+1…86: " + problems.SENDER_NOT_WIRED.sentence,
        )
    ]


async def test_a_service_that_is_deleted_lets_its_senders_go(house: House) -> None:
    """Nothing more is relayed or sent, and the sender can be wired anew with its counters at nought."""
    service = await house.service(0)
    await house.sender(service, SENDER)
    _, (ann, _) = await on(house, service, ANN, BEN)
    await house.say(ann)
    await house.store.write(remove_service, ACCOUNT, service.sid)
    assert await house.rows("SELECT service_sid, in_use, participants FROM numbers") == [(None, 0, 0)]
    async with house.working():
        await house.hear(ann)
        await house.quiet()
    assert house.carrier.sent == []
    assert await house.events() == [80305]
