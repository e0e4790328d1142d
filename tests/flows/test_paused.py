"""A carrier refuses the account's credentials: its sends wait, one tries each minute, the first success resumes."""

from tests.support.carrier import MISCONFIGURED, THROTTLED, ScriptedCarrier
from tests.support.house import VALIDITY_S, House


async def people(house: House, count: int) -> list[object]:
    service = await house.service()
    return [(await house.pair(service))[1] for _ in range(count)]


async def test_refused_credentials_pause_the_account_with_one_event(house: House) -> None:
    everybody = await people(house, 10)
    house.carrier.always(MISCONFIGURED)
    async with house.working():
        for person in everybody:
            await house.say(person)
        await house.quiet()
        tried = len(house.carrier.sent)
        assert await house.events() == [49003]
        await house.pass_time(59)
        assert len(house.carrier.sent) == tried
        assert await house.statuses() == ["queued"] * 10
        house.carrier.mend()
        await house.pass_time(1)
    assert await house.statuses() == ["sent"] * 10


async def test_one_message_tries_each_minute_however_many_wait(house: House) -> None:
    everybody = await people(house, 10)
    house.carrier.always(MISCONFIGURED)
    async with house.working():
        for person in everybody:
            await house.say(person)
        await house.quiet()
        tried = len(house.carrier.sent)
        for minute in range(1, 6):
            await house.pass_time(60)
            assert len(house.carrier.sent) == tried + minute
        assert await house.events() == [49003]
        house.carrier.mend()
        await house.pass_time(60)
    assert await house.statuses() == ["sent"] * 10
    assert await house.events() == [49003, 49004]


async def test_only_one_is_in_flight_while_the_carrier_takes_its_time_to_refuse(house: House) -> None:
    everybody = await people(house, 5)
    house.carrier.script(everybody[0].identifier, MISCONFIGURED)
    async with house.working():
        await house.say(everybody[0])
        await house.quiet()
        for person in everybody[1:]:
            await house.say(person)
        house.carrier.always(None)
        gates = {person.identifier: house.carrier.gate(person.identifier) for person in everybody}
        await house.pass_time(60)
        assert house.carrier.in_flight == 1
        await house.pass_time(10)
        assert house.carrier.in_flight == 1
        for gate in gates.values():
            gate.release()
        await house.quiet()
    assert await house.statuses() == ["sent"] * 5


async def test_the_first_success_resumes_all_at_once_with_one_event(house: House) -> None:
    everybody = await people(house, 10)
    house.carrier.script(everybody[0].identifier, MISCONFIGURED)
    async with house.working():
        await house.say(everybody[0])
        await house.quiet()
        for person in everybody[1:]:
            await house.say(person)
        await house.quiet()
        assert len(house.carrier.sent) == 1
        await house.pass_time(60)
    assert await house.statuses() == ["sent"] * 10
    assert await house.events() == [49003, 49004]


async def test_a_refusal_for_credentials_costs_no_attempt(house: House) -> None:
    """The schedule of the message's own retries begins where it was."""
    (ann,) = await people(house, 1)
    house.carrier.script(ann.identifier, MISCONFIGURED, MISCONFIGURED, THROTTLED)
    async with house.working():
        await house.say(ann)
        await house.quiet()
        await house.pass_time(60)
        await house.pass_time(60)
        assert len(house.carrier.sent) == 3
        house.carrier.always(None)
        await house.pass_time(60)
        assert len(house.carrier.sent) == 4
    assert await house.statuses() == ["sent"]


async def test_messages_of_a_paused_account_fail_when_their_validity_is_over(house: House) -> None:
    everybody = await people(house, 3)
    house.carrier.always(MISCONFIGURED)
    async with house.working():
        for person in everybody:
            await house.say(person)
        await house.quiet()
        await house.pass_time(VALIDITY_S + 5)
        await house.pass_time(5)
        assert await house.statuses() == ["failed"] * 3
    assert await house.outbox() == 0
    assert (await house.events()).count(49002) == 3


async def test_another_account_goes_on(house: House) -> None:
    """What one carrier refuses is not held against another."""
    other = ScriptedCarrier("other")
    house.messages.carriers = {**house.messages.carriers, other.name: other}
    service = await house.service(2)
    _, ann, _ = await house.pair(service)
    ben = (await house.pair(await house.service()))[1]
    await house.store.write(
        lambda tx: (
            tx.execute(
                "UPDATE numbers SET carrier_account = 'other' WHERE phone_number = ?", (ben.proxy_identifier,)
            )
            and None
        )
    )
    house.carrier.always(MISCONFIGURED)
    async with house.working():
        await house.say(ann)
        await house.quiet()
        await house.say(ben)
        await house.quiet()
    assert [message.to for message in other.sent] == [ben.identifier]
    assert await house.statuses() == ["queued", "sent"]
