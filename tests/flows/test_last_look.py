"""T2's last look: a message that was accepted is not sent if its pair or its number meanwhile belongs to others."""

import pytest

from maskline.carriers.base import CarrierError, Kind
from maskline.domain.model import Participant, Service, Session
from maskline.flows.numbers import delete_own_number, remove_number
from tests.support.carrier import THROTTLED, UNCERTAIN, ScriptedCarrier
from tests.support.house import ACCOUNT, House, person

ANN = person(1)


async def test_a_message_accepted_before_a_close_is_sent(house: House) -> None:
    session, ann, _ = await house.pair()
    await house.say(ann)
    await house.close(session)
    async with house.working():
        await house.quiet()
    assert await house.statuses() == ["sent"]


async def waiting_message(house: House, service: Service) -> tuple[Session, Participant]:
    """Ann's Session, and a message to her that is accepted and not yet sent."""
    session = await house.session(service)
    ann = await house.add(session, ANN)
    await house.say(ann, "from before")
    return session, ann


async def hand_pair_on(house: House, service: Service, before: Participant) -> Participant:
    """Another Session gets the same person on the same number."""
    after = await house.add(await house.session(service), ANN)
    assert after.proxy_identifier == before.proxy_identifier
    return after


async def check_refused(house: House, heard: list[str]) -> None:
    async with house.working():
        await house.quiet()
    assert house.carrier.bodies(ANN) == heard
    statuses = await house.statuses()
    assert statuses[0] == "failed"
    assert await house.events() == [80904]
    assert await house.outbox() == 0


async def test_a_pair_that_went_on_to_another_session_after_a_close_is_not_written_to(house: House) -> None:
    service = await house.service()
    session, ann = await waiting_message(house, service)
    await house.close(session)
    after = await hand_pair_on(house, service, ann)
    await house.say(after, "from now")
    await check_refused(house, ["from now"])


async def test_a_pair_that_went_on_after_its_participant_was_deleted_is_not_written_to(house: House) -> None:
    service = await house.service()
    _, ann = await waiting_message(house, service)
    await house.remove(ann)
    await hand_pair_on(house, service, ann)
    await check_refused(house, [])


async def test_a_pair_that_went_on_after_an_unswept_expiry_is_not_written_to(house: House) -> None:
    service = await house.service()
    session = await house.session(service, ttl=60)
    ann = await house.add(session, ANN)
    await house.say(ann, "from before")
    house.clock.advance(61)
    await hand_pair_on(house, service, ann)
    await check_refused(house, [])


async def test_a_pair_whose_new_session_has_ended_again_is_nobodys_and_written_to(house: House) -> None:
    """Past its limit, though not swept, the other Session holds nothing back."""
    service = await house.service()
    session, ann = await waiting_message(house, service)
    await house.close(session)
    other = await house.session(service, ttl=60)
    again = await house.add(other, ANN)
    assert again.proxy_identifier == ann.proxy_identifier
    house.clock.advance(61)
    async with house.working():
        await house.quiet()
    assert house.carrier.bodies(ANN) == ["from before"]


async def test_the_same_person_on_another_number_is_no_conflict(house: House) -> None:
    service = await house.service(2)
    session, ann = await waiting_message(house, service)
    other = await house.add(await house.session(service), ANN)
    assert other.proxy_identifier != ann.proxy_identifier
    await house.close(session)
    async with house.working():
        await house.quiet()
    assert house.carrier.bodies(ANN) == ["from before"]


async def test_a_number_that_left_the_pool_sends_nothing_more(house: House) -> None:
    service = await house.service()
    session, ann = await waiting_message(house, service)
    await house.close(session)
    await remove_number(house.store, ACCOUNT, service.sid, ann.proxy_identifier_sid or "")
    await check_refused(house, [])


async def test_a_number_that_went_to_another_service_sends_nothing_of_the_first(house: House) -> None:
    service, other = await house.service(), await house.service(0)
    session, ann = await waiting_message(house, service)
    await house.close(session)
    await remove_number(house.store, ACCOUNT, service.sid, ann.proxy_identifier_sid or "")
    await house.number(other, ann.proxy_identifier)
    await check_refused(house, [])


async def test_what_waits_to_leave_by_a_deleted_number_is_not_sent(house: House) -> None:
    service = await house.service()
    session, ann = await waiting_message(house, service)
    await house.close(session)
    await delete_own_number(house.store, ACCOUNT, ann.proxy_identifier_sid or "")
    await check_refused(house, [])


async def test_what_waited_for_a_number_that_was_deleted_and_made_anew_is_not_sent_to_others(
    house: House,
) -> None:
    service, other = await house.service(), await house.service(0)
    session, ann = await waiting_message(house, service)
    await house.close(session)
    await delete_own_number(house.store, ACCOUNT, ann.proxy_identifier_sid or "")
    await house.number(other, ann.proxy_identifier)
    after = await hand_pair_on(house, other, ann)
    await house.say(after, "from now")
    await check_refused(house, ["from now"])


async def test_a_message_on_its_way_when_its_number_is_deleted_is_recorded(house: House) -> None:
    session, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await house.close(session)
        await delete_own_number(house.store, ACCOUNT, ann.proxy_identifier_sid or "")
        gate.release()
        await house.quiet()
    assert await house.status(message) == "sent"
    assert await house.outbox() == 0


async def test_what_was_to_be_asked_about_a_deleted_number_ends_as_unknown_at_once(house: House) -> None:
    session, ann, _ = await house.pair()
    house.carrier.able(look_up=True)
    house.carrier.script(ann.identifier, UNCERTAIN)
    house.carrier.answers(CarrierError(Kind.UNREACHABLE))
    async with house.working():
        message = await house.say(ann)
        await house.say(ann, "the next")
        await house.quiet()
        await house.close(session)
        await delete_own_number(house.store, ACCOUNT, ann.proxy_identifier_sid or "")
        await house.pass_time(10)
    assert await house.status(message) == "delivery-unknown"
    assert await house.statuses() == ["delivery-unknown", "failed"]
    assert await house.outbox() == 0


async def test_a_retry_is_looked_at_as_the_first_try_was(house: House) -> None:
    service = await house.service()
    session, ann = await waiting_message(house, service)
    house.carrier.script(ANN, THROTTLED)
    async with house.working():
        await house.quiet()
        await house.close(session)
        await hand_pair_on(house, service, ann)
        await house.pass_time(1)
    assert house.carrier.bodies(ANN) == ["from before"]
    assert await house.statuses() == ["failed"]
    assert await house.events() == [80904]


async def test_one_that_is_refused_releases_the_next_which_is_refused_by_itself(house: House) -> None:
    service = await house.service()
    session, ann = await waiting_message(house, service)
    for i in range(20):
        await house.say(ann, f"{i}")
    await house.close(session)
    await hand_pair_on(house, service, ann)
    async with house.working():
        await house.quiet()
    assert house.carrier.sent == []
    assert await house.statuses() == ["failed"] * 21
    assert await house.events() == [80904] * 21
    assert await house.outbox() == 0


@pytest.mark.parametrize("working_before", [False, True], ids=["never looked at", "waiting for a retry"])
async def test_messages_of_a_deleted_session_are_not_sent(house: House, working_before: bool) -> None:
    service = await house.service()
    session, ann = await waiting_message(house, service)
    await house.say(ann, "another")
    if working_before:
        house.carrier.script(ANN, THROTTLED)
        async with house.working():
            await house.quiet()
    sent = len(house.carrier.sent)
    await house.delete(session)
    async with house.working():
        await house.pass_time(1)
        await house.pass_time(5)
    assert len(house.carrier.sent) == sent
    assert await house.outbox() == 0


async def test_the_number_is_looked_up_when_the_message_is_started(house: House) -> None:
    """By the carrier account that carries it now: the directory is read, never remembered."""
    other = ScriptedCarrier("other")
    house.messages.carriers = {**house.messages.carriers, other.name: other}
    await waiting_message(house, await house.service())
    await house.store.write(lambda tx: tx.execute("UPDATE numbers SET carrier_account = 'other'") and None)
    async with house.working():
        await house.quiet()
    assert other.bodies(ANN) == ["from before"]
    assert house.carrier.sent == []
