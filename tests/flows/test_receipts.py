"""Delivery reports: whichever comes first, the report or the answer to the send, the leg ends as the higher says."""

from typing import Any

import pytest

from maskline.carriers.base import Report
from maskline.domain.interaction import MessageStatus
from maskline.flows.numbers import remove_number
from maskline.flows.receipts import report
from maskline.store.engine import Tx
from maskline.store.receipts import _FIND_ANYWHERE, retry_receipts
from tests.support.carrier import UNCERTAIN
from tests.support.house import ACCOUNT, House

DELIVERED, UNDELIVERED, SENT = MessageStatus.DELIVERED, MessageStatus.UNDELIVERED, MessageStatus.SENT
DAY_S = 24 * 3600


async def test_a_report_after_the_answer_is_merged_at_once(house: House) -> None:
    _, ann, _ = await house.pair()
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        assert await house.report(message, DELIVERED, ann.proxy_identifier)
        assert await house.status(message) == "delivered"
    assert await house.outbox() == 0


@pytest.mark.parametrize("spelling", ["+5215555550100", " 525555550100"])
async def test_a_report_names_our_number_in_whatever_way_it_is_spelt(house: House, spelling: str) -> None:
    service = await house.service()
    await house.number(service, "+525555550100")
    session = await house.session(service)
    ann = await house.add(session, "+525512345678")
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        assert await house.report(message, DELIVERED, spelling)
        assert await house.status(message) == "delivered"


async def test_a_report_before_the_answer_is_merged_when_the_answer_comes(house: House) -> None:
    """It is kept, and the answer hastens it: nobody waits for its next look, five seconds later."""
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        assert not await house.report(message, DELIVERED, ann.proxy_identifier)
        assert await house.status(message) == "queued"
        await house.pass_time(1)  # its first look, too early
        gate.release()
        await house.quiet()
        await house.pass_time(1)
        assert await house.status(message) == "delivered"
    assert await house.outbox() == 0
    assert await house.events() == []


async def test_an_early_report_is_looked_for_in_its_numbers_service_and_not_in_all_of_the_account(
    house: House,
) -> None:
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    asked: list[str] = []

    def look_again(tx: Tx) -> None:
        def execute(sql: str, params: Any = ()) -> Any:
            asked.append(sql)
            return tx.execute(sql, params)

        retry_receipts(Tx(execute, tx.executemany, tx.now, tx.idle_close_us), ["NO1"])

    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await house.report(message, DELIVERED, ann.proxy_identifier)
        gate.release()
        await house.quiet()
        await house.store.write(look_again)
        assert await house.status(message) == "delivered"
    assert _FIND_ANYWHERE not in asked


async def test_reports_come_twice_and_in_any_order_and_the_highest_wins(house: House) -> None:
    _, ann, _ = await house.pair()
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        for status in (UNDELIVERED, DELIVERED, UNDELIVERED, SENT, DELIVERED):
            assert await house.report(message, status, ann.proxy_identifier)
        assert await house.status(message) == "delivered"


async def test_early_reports_come_twice_and_in_any_order_and_the_highest_wins(house: House) -> None:
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        for status in (DELIVERED, UNDELIVERED, DELIVERED, UNDELIVERED):
            assert not await house.report(message, status, ann.proxy_identifier)
        gate.release()
        await house.quiet()
        await house.pass_time(5)
        assert await house.status(message) == "delivered"
    assert await house.outbox() == 0


@pytest.mark.parametrize("moves_on", [False, True])
async def test_a_report_finds_its_message_though_the_number_has_left_the_pool(
    house: House, moves_on: bool
) -> None:
    service = await house.service()
    session, ann, _ = await house.pair(service)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await house.close(session)
        await remove_number(house.store, ACCOUNT, service.sid, ann.proxy_identifier_sid or "")
        if moves_on:
            await house.number(await house.service(0), ann.proxy_identifier)
        await house.report(message, DELIVERED, ann.proxy_identifier)
        await house.pass_time(2)
        assert await house.status(message) == "delivered"
    assert await house.outbox() == 0


async def test_a_report_holds_back_no_message(house: House) -> None:
    """What waits for its message stands in nobody's way."""
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        first = await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        await house.report(first, DELIVERED, ann.proxy_identifier)
        gate.release()
        await house.quiet()
        assert house.carrier.bodies(ann.identifier) == ["1", "2"]


async def test_a_report_that_finds_nothing_looks_again_for_a_day_and_then_becomes_an_event(
    house: House,
) -> None:
    _, ann, _ = await house.pair()
    message = await house.say(ann)  # there is no worker: it is never handed over
    await house.report(message, DELIVERED, ann.proxy_identifier)
    await house.store.write(lambda tx: tx.execute("DELETE FROM outbox WHERE topic = 'send'") and None)
    async with house.working():
        for wait_s in (1, 5, 30, 300, *[3600] * 22, 3000):
            await house.pass_time(wait_s)
            assert await house.outbox() == 1
        assert await house.events() == []
        await house.pass_time(DAY_S - (1 + 5 + 30 + 300 + 22 * 3600 + 3000))
        await house.pass_time(1)
        assert await house.outbox() == 0
    assert await house.events() == [80907]
    ((told,),) = await house.rows("SELECT message FROM events")
    assert ann.proxy_identifier not in told


async def test_a_report_that_is_looked_for_is_found_as_soon_as_its_message_is_there(house: House) -> None:
    """Though the answer's own look were missed: the retries are the guarantee, the shortcut is none."""
    _, ann, _ = await house.pair()
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        carrier_id = await house.one("SELECT carrier_id FROM interactions WHERE sid = ?", message.sid)
        await _set_carrier_id(house, message.sid, None)
        assert not await house.report(message, DELIVERED, ann.proxy_identifier)
        await house.pass_time(1)
        await _set_carrier_id(house, message.sid, carrier_id)
        assert await house.status(message) == "sent"
        await house.pass_time(5)
        assert await house.status(message) == "delivered"
    assert await house.outbox() == 0


async def test_a_report_is_looked_for_after_1_5_30_300_and_3600_seconds(house: House) -> None:
    """At each look its message may be there; between them nobody looks."""
    _, ann, _ = await house.pair()
    async with house.working():
        for looks in range(1, 8):
            message = await house.say(ann)
            await house.quiet()
            carrier_id = await house.one("SELECT carrier_id FROM interactions WHERE sid = ?", message.sid)
            await _set_carrier_id(house, message.sid, None)
            await house.report(message, DELIVERED, ann.proxy_identifier)
            for wait_s in (1, 5, 30, 300, 3600, 3600, 3600)[: looks - 1]:
                await house.pass_time(wait_s)
            await _set_carrier_id(house, message.sid, carrier_id)
            last_s = (1, 5, 30, 300, 3600, 3600, 3600)[looks - 1]
            await house.pass_time(last_s - 0.01)
            assert await house.status(message) == "sent", looks
            await house.pass_time(1)  # the worker looks each second
            assert await house.status(message) == "delivered", looks


async def _set_carrier_id(house: House, sid: str, carrier_id: str | None) -> None:
    await house.store.write(
        lambda tx: (
            tx.execute("UPDATE interactions SET carrier_id = ? WHERE sid = ?", (carrier_id, sid)) and None
        )
    )


async def test_a_report_on_another_accounts_message_is_not_mixed_up(house: House) -> None:
    """The carrier's id counts together with our number: two Services may be told of equal ids."""
    one, two = await house.service(), await house.service()
    (_, ann, _), (_, ben, _) = await house.pair(one), await house.pair(two)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        assert not await house.report(message, DELIVERED, ben.proxy_identifier)
        assert await house.status(message) == "sent"
        assert await house.report(message, DELIVERED, ann.proxy_identifier)


async def test_an_outcome_never_lowers_what_a_report_has_raised(house: House) -> None:
    """A message that is unknown here and known there: the later answer merges, whatever was written before."""
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await house.report(message, UNDELIVERED, ann.proxy_identifier)
        gate.release()
        await house.quiet()
        await house.pass_time(5)
        assert await house.status(message) == "undelivered"
        await house.report(message, SENT, ann.proxy_identifier)
        assert await house.status(message) == "undelivered"


async def test_reports_of_relayed_messages_are_merged_too(house: House) -> None:
    _, ann, ben = await house.pair()
    async with house.working():
        received = await house.hear(ann)
        assert received.interaction_sid is not None
        await house.quiet()
        (sent,) = house.carrier.sent
        told = Report(house.carrier.name, ben.proxy_identifier, house.carrier.id_of(sent.sid), DELIVERED)
        assert await report(house.store, house.mint, told)
        assert await house.status(received.interaction_sid) == "delivered"


async def test_a_report_on_a_message_of_unknown_delivery_is_kept_apart(house: House) -> None:
    """Without an id from the answer nothing ties the report to the leg, which stays honest."""
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, UNCERTAIN)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        assert not await house.report(message, DELIVERED, ann.proxy_identifier)
        assert await house.status(message) == "delivery-unknown"
