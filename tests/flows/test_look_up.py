"""A carrier is asked for a message whose hand-over had no answer: which of those that it has it is, and until when."""

import pytest

from maskline.carriers.base import Report
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import SECOND
from maskline.flows import receipts
from maskline.flows.sessions import remove_interaction
from maskline.store.engine import Store
from tests.support.carrier import THROTTLED, UNCERTAIN, UNREACHABLE
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, VALIDITY_S, House

RESEND = '{"on_uncertain": "resend"}'
SETTLES_S = 60


@pytest.fixture
def house(house: House) -> House:
    house.carrier.able(look_up=True)
    house.carrier.able(settle_s=SETTLES_S)
    return house


async def test_it_is_asked_for_again_until_it_turns_up(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, UNCERTAIN)
    handed_at = house.clock.now()
    async with house.working():
        message = await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        await house.pass_time(1)
        await house.pass_time(5)
        assert house.carrier.bodies(ann.identifier) == ["1"]  # the later one waits for it
        house.carrier.answers(["their-own"])
        await house.pass_time(5)
        assert await house.statuses() == ["sent", "sent"]
    assert [asked.handed_at for asked in house.carrier.asked] == [handed_at] * 3
    assert await house.report_of("their-own", "delivered", ann.proxy_identifier)
    assert await house.status(message) == "delivered"


async def test_when_none_has_turned_up_in_time_nobody_knows(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, UNCERTAIN)
    async with house.working():
        message = await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        await house.pass_time(1)
        for _ in range(SETTLES_S // 5 - 1):
            await house.pass_time(5)
            assert await house.status(message) == "queued"
        await house.pass_time(5)
    assert await house.statuses() == ["delivery-unknown", "sent"]
    assert house.carrier.bodies(ann.identifier) == ["1", "2"]
    assert await house.events() == [49001]


@pytest.mark.parametrize("ahead_s", [-3600, VALIDITY_S + 3600])
async def test_how_long_it_is_asked_for_goes_by_the_time_of_the_store(
    store: Store, clock: FakeClock, ahead_s: int
) -> None:
    """The clock of the process that asks is hours off: it neither gives up at once nor asks for ever."""
    house = House(store, FakeClock(clock.now() + ahead_s * SECOND))
    house.carrier.able(look_up=True)
    house.carrier.able(settle_s=SETTLES_S)
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, UNCERTAIN)
    house.carrier.answers(UNREACHABLE)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        for seconds in (1, *[5] * (SETTLES_S // 5 - 1)):
            clock.advance(seconds)
            await house.pass_time(seconds)
            assert await house.status(message) == "queued"
        clock.advance(5)
        await house.pass_time(5)
    assert await house.status(message) == "delivery-unknown"


async def test_a_carrier_that_never_answers_is_asked_until_the_validity_is_over(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, UNCERTAIN)
    house.carrier.answers(*[UNREACHABLE] * 20)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await house.pass_time(1)
        await house.pass_time(VALIDITY_S - 2)
        assert await house.status(message) == "queued"
        await house.pass_time(2)
    assert await house.status(message) == "delivery-unknown"


async def test_what_is_another_messages_is_not_taken_for_it(house: House) -> None:
    """The same text had been sent a moment before."""
    _, ann, _ = await house.pair()
    async with house.working():
        first = await house.say(ann, "ok")
        await house.quiet()
        assert first.outbound is not None
        earlier = house.carrier.id_of(first.outbound.resource_sid)
        house.carrier.script(ann.identifier, UNCERTAIN)
        house.carrier.answers([earlier], [earlier, "the second"])
        second = await house.say(ann, "ok")
        await house.quiet()
        await house.pass_time(1)
        assert await house.status(second) == "queued"
        await house.pass_time(5)
        assert await house.status(second) == "sent"
    assert await house.report_of("the second", "delivered", ann.proxy_identifier)
    assert (await house.status(first), await house.status(second)) == ("sent", "delivered")


async def test_of_two_that_may_be_it_neither_is(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, UNCERTAIN)
    house.carrier.answers(*[["one", "other"]] * 20)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await house.pass_time(1)
        for _ in range(SETTLES_S // 5):
            await house.pass_time(5)
    assert await house.status(message) == "delivery-unknown"
    assert await house.one("SELECT carrier_id FROM interactions") is None


async def test_of_two_that_find_the_same_only_one_has_it(house: House) -> None:
    """Both have asked before either knew of the other."""
    service = await house.service()
    ann, ben = [(await house.pair(service))[1] for _ in range(2)]
    house.carrier.always(UNCERTAIN)
    async with house.working():
        messages = [await house.say(person) for person in (ann, ben)]
        await house.quiet()
        gates = [house.carrier.gate("") for _ in messages]
        house.carrier.answers(*gates)
        await house.pass_time(1)
        for gate in gates:
            gate.release(["the only one"])
        await house.quiet()
        assert sorted([await house.status(message) for message in messages]) == ["queued", "sent"]
        await house.pass_time(SETTLES_S)
        await house.pass_time(5)
        assert sorted([await house.status(message) for message in messages]) == ["delivery-unknown", "sent"]


async def test_a_report_that_names_it_by_our_own_sid_settles_it(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, UNCERTAIN)
    async with house.working():
        message = await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        await told(house, ann.proxy_identifier, house.carrier.sent[0].sid, MessageStatus.DELIVERED)
        assert await house.status(message) == "delivered"
        await house.pass_time(1)
        assert await house.statuses() == ["delivered", "sent"]
        assert house.carrier.bodies(ann.identifier) == ["1", "2"]
    assert await house.one("SELECT count(*) FROM outbox") == 0
    # From now on its carrier's id is known.
    assert await house.report_of("their-own", "delivered", ann.proxy_identifier)


@pytest.mark.parametrize("settings", ["{}", RESEND])
@pytest.mark.parametrize("keys", [False, True])
async def test_what_a_report_has_told_before_the_hand_over_ends_is_its_outcome(
    house: House, settings: str, keys: bool
) -> None:
    """It has reached its handset: it is neither unknown nor sent again, whatever the Service wants done with those."""
    _, ann, _ = await house.pair(await house.service(settings=settings))
    house.carrier.able(look_up=False, carrier_keys=keys)
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        await told(house, ann.proxy_identifier, house.carrier.sent[0].sid, MessageStatus.DELIVERED)
        gate.release(UNCERTAIN)
        await house.quiet()
        assert house.carrier.bodies(ann.identifier) == ["1", "2"]
        await house.pass_time(10)
    assert await house.statuses() == ["delivered", "sent"]
    assert await house.events() == []
    assert house.carrier.bodies(ann.identifier) == ["1", "2"]


@pytest.mark.parametrize("deleted", [False, True])
async def test_what_a_report_has_told_before_it_is_sent_again_is_not_sent_again(
    house: House, deleted: bool
) -> None:
    session, ann, _ = await house.pair(await house.service(settings=RESEND))
    house.carrier.able(look_up=False)
    house.carrier.script(ann.identifier, UNCERTAIN)
    async with house.working():
        message = await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        await told(house, ann.proxy_identifier, house.carrier.sent[0].sid, MessageStatus.DELIVERED)
        if deleted:
            place = (ann.service_sid, session.sid, message.sid)
            await house.store.write(remove_interaction, ACCOUNT, *place)
        await house.pass_time(10)
    assert house.carrier.bodies(ann.identifier) == ["1", "2"]
    assert await house.statuses() == ["delivered", "sent"][deleted:]
    assert await house.events() == []


async def test_what_a_report_has_told_lets_the_next_one_go_at_once(house: House) -> None:
    _, ann, _ = await house.pair(await house.service(settings=RESEND))
    house.carrier.able(look_up=False)
    house.carrier.script(ann.identifier, UNCERTAIN, THROTTLED, THROTTLED, THROTTLED)
    async with house.working():
        await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        for seconds in (1, 5, 15):
            await house.pass_time(seconds)
        assert house.carrier.bodies(ann.identifier) == ["1"] * 4  # the next try is in a minute
        await told(house, ann.proxy_identifier, house.carrier.sent[0].sid, MessageStatus.DELIVERED)
        await house.quiet()
        assert house.carrier.bodies(ann.identifier) == [*["1"] * 4, "2"]
    assert await house.statuses() == ["delivered", "sent"]


async def test_what_a_report_has_told_does_not_end_as_unknown_with_its_validity(house: House) -> None:
    _, ann, _ = await house.pair(await house.service(settings=RESEND))
    house.carrier.able(look_up=False)
    house.carrier.script(ann.identifier, UNCERTAIN, *[THROTTLED] * 100)
    async with house.working():
        await house.say(ann)
        await house.quiet()
        await house.pass_time(1)
        sid = house.carrier.sent[0].sid
    await told(house, ann.proxy_identifier, sid, MessageStatus.DELIVERED)
    house.clock.advance(VALIDITY_S)
    assert await house.sweeper.sweep() == []
    assert (await house.statuses(), await house.events(), await house.outbox()) == (["delivered"], [], 0)


async def told(house: House, number: str, sid: str, status: MessageStatus) -> None:
    report = Report(house.carrier.name, number, "their-own", status, sid)
    assert await receipts.report(house.store, house.mint, report)


@pytest.mark.parametrize("sid", ["", "SM1", "SM" + "0" * 32, "XX" + "0" * 32, "SM" + "z" * 32])
async def test_a_report_that_names_nothing_of_ours_waits_as_any_other(house: House, sid: str) -> None:
    _, ann, _ = await house.pair()
    report = Report(house.carrier.name, ann.proxy_identifier, "their-own", MessageStatus.DELIVERED, sid)
    assert not await receipts.report(house.store, house.mint, report)
    assert await house.one("SELECT count(*) FROM outbox WHERE topic = 'receipt'") == 1


async def test_a_report_on_another_accounts_message_is_not_merged(house: House) -> None:
    """Whoever carries a number tells of what was sent by it, and of nothing else."""
    _, ann, _ = await house.pair()
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
    sid = house.carrier.sent[0].sid
    other = await house.number(await house.service(0))
    await house.store.write(
        lambda tx: tx.execute("UPDATE numbers SET account_sid = 'AC2' WHERE sid = ?", (other.sid,)) and None
    )
    report = Report(house.carrier.name, other.phone_number, "x", MessageStatus.DELIVERED, sid)
    assert not await receipts.report(house.store, house.mint, report)
    assert await house.status(message) == "sent"


async def test_after_a_restart_it_is_asked_for_the_time_of_its_hand_over(house: House) -> None:
    _, ann, _ = await house.pair()
    message = await house.say(ann)
    handed_at = house.clock.now()
    await house.store.write(
        lambda tx: (
            tx.execute(
                "UPDATE outbox SET state = 4, owner = 'RN of a dead run', started_at = ?, attempts = 1",
                (handed_at,),
            )
            and None
        )
    )
    house.clock.advance(20)
    house.carrier.answers(None, ["their-own"])
    async with house.working():
        await house.pass_time(5)
        await house.pass_time(5)
    assert {asked.handed_at for asked in house.carrier.asked} == {handed_at}
    assert (await house.status(message), house.carrier.sent) == ("sent", [])
    assert house.clock.now() - handed_at >= 20 * SECOND
