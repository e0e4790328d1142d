"""One message from T1 to its outcome: retries, validity, uncertainty, and what the caller is told meanwhile."""

import asyncio
import random
from typing import Any

import pytest

from maskline.carriers.base import Accepted
from maskline.domain import problems
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import SECOND, Mode, SessionStatus
from maskline.domain.problems import Problem
from maskline.store.sqlite import SqliteStore
from tests.support.carrier import (
    GARBLED,
    MISCONFIGURED,
    OPTED_OUT,
    REJECTED,
    THROTTLED,
    UNCERTAIN,
    UNREACHABLE,
    Gate,
    throttled_for,
)
from tests.support.clock import FakeClock
from tests.support.house import VALIDITY_S, House
from tests.support.until import until

RESEND = '{"on_uncertain": "resend"}'


async def check_hand_overs(house: House, to: str, times: list[float]) -> None:
    """From now on, hand-overs to this number happen at these times, in seconds, and at no other until the last."""
    passed = 0.0
    for place, time in enumerate(times):
        if time > passed:
            await house.pass_time(time - passed - 0.01)
            assert len(house.carrier.bodies(to)) == place, f"one came before {time} s"
            await house.pass_time(0.01)
            passed = time
        assert len(house.carrier.bodies(to)) >= place + 1, f"none came at {time} s"
    assert len(house.carrier.bodies(to)) == len(times)


# Retries


@pytest.mark.parametrize("step", [THROTTLED, UNREACHABLE], ids=["throttled", "unreachable"])
async def test_what_was_certainly_not_taken_is_retried_after_1_5_15_60_300_300_seconds(
    house: House, step: Exception
) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, *[step] * 20)
    async with house.working():
        await house.say(ann)
        await house.quiet()
        await check_hand_overs(house, ann.identifier, [0, 1, 6, 21, 81, 381, 681, 981])
    assert await house.statuses() == ["queued"]
    assert await house.events() == []


async def test_retry_after_is_honoured_where_it_is_longer_than_the_schedule(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, throttled_for(7), throttled_for(2))
    async with house.working():
        await house.say(ann)
        await house.quiet()
        await check_hand_overs(house, ann.identifier, [0, 7, 12])
    assert await house.statuses() == ["sent"]


async def test_a_clock_that_is_set_back_neither_storms_nor_freezes_the_retries(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, THROTTLED, THROTTLED)
    async with house.working():
        await house.say(ann)
        await house.quiet()
        house.clock.step(-3600)
        await house.quiet()
        await house.pass_time(0.5)
        assert len(house.carrier.sent) == 1
        for _ in range(15):
            await house.pass_time(1)
        assert len(house.carrier.sent) == 3
    assert await house.statuses() == ["sent"]


async def test_a_row_that_waits_for_its_retry_holds_no_slot(house: House) -> None:
    service = await house.service()
    _, ann, ben = await house.pair(service)
    house.carrier.script(ann.identifier, THROTTLED)
    async with house.working(slots=1):
        await house.say(ann)
        await house.quiet()
        await house.say(ben)
        await house.quiet()
    assert [message.to for message in house.carrier.sent] == [ann.identifier, ben.identifier]


async def test_rejection_is_final_and_tells_nothing_more(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, REJECTED)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await house.pass_time(1000)
    assert len(house.carrier.sent) == 1
    assert await house.status(message) == "failed"
    assert await house.outbox() == 0


async def test_yes_without_an_id_counts_as_sent_and_is_never_repeated(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, GARBLED)
    async with house.working():
        await house.say(ann)
        await house.quiet()
        await house.pass_time(1000)
    assert len(house.carrier.sent) == 1
    assert await house.statuses() == ["sent"]


@pytest.mark.parametrize("said", [random.Random(6).randbytes(30_000).hex(), "a\0b"], ids=["long", "nul"])
async def test_yes_with_what_can_be_no_id_is_yes_without_one(house: House, said: str) -> None:
    """A vendor may say anything, and PostgreSQL stores neither."""
    _, ann, ben = await house.pair()
    house.carrier.script(ann.identifier, Accepted(said))
    async with house.working():
        await house.say(ann)
        await house.quiet()
        await house.say(ben)
        await house.quiet()
    assert len(house.carrier.sent) == 2
    assert await house.statuses() == ["sent", "sent"]
    assert await house.outbox() == 0


async def test_the_carrier_is_handed_the_participants_own_proxy_number_and_our_sid(house: House) -> None:
    _, ann, ben = await house.pair(await house.service(2))
    async with house.working():
        message = await house.say(ann, "Grüße \N{ROCKET}")
        await house.hear(ann, body="back")
        await house.quiet()
    out, relayed = house.carrier.sent
    assert message.outbound is not None
    assert (out.sid, out.from_, out.to) == (
        message.outbound.resource_sid,
        ann.proxy_identifier,
        ann.identifier,
    )
    assert out.body == "Grüße \N{ROCKET}"
    assert (relayed.from_, relayed.to, relayed.body) == (ben.proxy_identifier, ben.identifier, "back")


# Validity


async def test_past_its_validity_a_waiting_message_fails_with_an_event_and_so_do_those_behind_it(
    house: House,
) -> None:
    session, ann, _ = await house.pair()
    house.carrier.always(THROTTLED)
    async with house.working():
        first, held = await house.say(ann, "1"), await house.say(ann, "2")
        await house.quiet()
        await house.pass_time(VALIDITY_S - 1)
        assert await house.statuses() == ["queued", "queued"]
        await house.pass_time(1)
        assert [await house.status(message) for message in (first, held)] == ["failed", "failed"]
    assert await house.events() == [49002, 49002]
    assert await house.outbox() == 0
    rows = await house.rows(
        "SELECT account_sid, service_sid, session_sid, interaction_sid, message FROM events"
    )
    assert {row[3] for row in rows} == {first.sid, held.sid}
    assert {row[2] for row in rows} == {session.sid}
    assert all(ann.identifier not in row[4] for row in rows)


async def test_messages_that_nothing_starts_fail_by_the_sweep(house: House) -> None:
    """Without a free slot no start looks at them; the sweep fails what waits, whatever it waits for."""
    service = await house.service()
    _, ann, ben = await house.pair(service)
    gate = house.carrier.gate(ann.identifier)
    async with house.working(slots=1):
        await house.say(ann, "stalls")
        await house.quiet()
        ready, held = await house.say(ben, "waits"), await house.say(ben, "is held")
        await house.pass_time(VALIDITY_S + 5)
        assert [await house.status(message) for message in (ready, held)] == ["failed", "failed"]
        gate.release()
        await house.quiet()
    assert house.carrier.bodies(ben.identifier) == []
    assert await house.events() == [49002, 49002]


async def test_a_retry_due_after_the_validity_fails_at_the_validity(house: House) -> None:
    """The last retry is not waited for: the message fails when its validity is over, not up to 300 s later."""
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, throttled_for(3600), throttled_for(3600), throttled_for(3600))
    house.carrier.always(throttled_for(3600))
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        for _ in range(3):
            await house.pass_time(3600)
        await house.pass_time(VALIDITY_S - 3 * 3600 - 1)
        assert await house.status(message) == "queued"
        await house.pass_time(1)
        assert await house.status(message) == "failed"


# Uncertainty


async def test_uncertain_becomes_delivery_unknown_with_an_event_and_is_not_repeated(house: House) -> None:
    session, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, UNCERTAIN)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await house.pass_time(1000)
    assert len(house.carrier.sent) == 1
    assert await house.status(message) == "delivery-unknown"
    assert await house.rows("SELECT code, service_sid, session_sid, interaction_sid FROM events") == [
        (49001, session.service_sid, session.sid, message.sid)
    ]
    assert await house.outbox() == 0


async def test_uncertain_is_sent_again_where_the_service_chose_so(house: House) -> None:
    _, ann, _ = await house.pair(await house.service(settings=RESEND))
    house.carrier.script(ann.identifier, UNCERTAIN, UNCERTAIN)
    async with house.working():
        await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        await check_hand_overs(house, ann.identifier, [0, 1, 6, 6])
    assert house.carrier.bodies(ann.identifier) == ["1", "1", "1", "2"]
    assert await house.statuses() == ["sent", "sent"]
    assert await house.events() == []


async def test_a_chosen_resend_that_is_refused_does_not_say_failed(house: House) -> None:
    """The hand-over before it may have been taken, so nobody can say that it failed."""
    _, ann, _ = await house.pair(await house.service(settings=RESEND))
    house.carrier.script(ann.identifier, UNCERTAIN, REJECTED)
    async with house.working():
        message = await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        await house.pass_time(10)
    assert await house.status(message) == "delivery-unknown"
    assert await house.events() == [49001]
    assert house.carrier.bodies(ann.identifier) == ["1", "1", "2"]


async def test_a_retry_does_not_touch_the_date_of_what_has_not_changed(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, *[THROTTLED] * 20)
    async with house.working():
        await house.say(ann)
        await house.quiet()
        before = await house.rows("SELECT updated_at FROM interactions")
        await house.pass_time(100)
        assert await house.rows("SELECT updated_at FROM interactions") == before


async def test_a_chosen_resend_ends_with_the_validity_as_delivery_unknown(house: House) -> None:
    """It was handed over, so it never says `failed`."""
    _, ann, _ = await house.pair(await house.service(settings=RESEND))
    house.carrier.always(UNCERTAIN)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await house.pass_time(VALIDITY_S + 10)
    assert await house.status(message) == "delivery-unknown"


async def test_a_carrier_that_takes_keys_gets_it_again_under_the_same_key(house: House) -> None:
    """Even where the Service does not want a resend: under the same key the carrier sends it once."""
    _, ann, _ = await house.pair()
    house.carrier.able(carrier_keys=True)
    house.carrier.script(ann.identifier, UNCERTAIN)
    async with house.working():
        await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        assert house.carrier.bodies(ann.identifier) == ["1"]
        await house.pass_time(1)
    assert house.carrier.bodies(ann.identifier) == ["1", "1", "2"]
    assert house.carrier.sent[0].sid == house.carrier.sent[1].sid
    assert await house.statuses() == ["sent", "sent"]
    assert await house.events() == []


async def test_a_carrier_that_can_be_asked_is_asked_and_what_it_found_is_sent(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.able(look_up=True)
    house.carrier.script(ann.identifier, UNCERTAIN)
    async with house.working():
        message = await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        assert house.carrier.bodies(ann.identifier) == ["1"]  # it holds its place until the answer
        assert await house.status(message) == "queued"
        sent = house.carrier.sent[0]
        house.carrier.answers(_accepted(house, sent.sid))
        await house.pass_time(1)
    assert [asked.sid for asked in house.carrier.asked] == [sent.sid]
    assert house.carrier.bodies(ann.identifier) == ["1", "2"]
    assert await house.statuses() == ["sent", "sent"]
    assert await house.events() == []
    # The id that it told is the one by which its reports are matched.
    assert await house.report(message, MessageStatus.DELIVERED, ann.proxy_identifier)
    assert await house.status(message) == "delivered"


def _accepted(house: House, sid: str) -> Any:
    return Accepted(house.carrier.id_of(sid))


@pytest.mark.parametrize(
    ("settings", "bodies", "status", "events"),
    [
        ("{}", ["1", "2"], "delivery-unknown", [49001]),
        (RESEND, ["1", "1", "2"], "sent", []),
    ],
    ids=["default", "resend"],
)
async def test_that_the_carrier_does_not_know_it_is_judged_by_the_services_setting(
    house: House, settings: str, bodies: list[str], status: str, events: list[int]
) -> None:
    _, ann, _ = await house.pair(await house.service(settings=settings))
    house.carrier.able(look_up=True)
    house.carrier.script(ann.identifier, UNCERTAIN)
    async with house.working():
        message = await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        await house.pass_time(1)
        await house.pass_time(5)
        await house.pass_time(5)
    assert len(house.carrier.asked) == 1
    assert house.carrier.bodies(ann.identifier) == bodies
    assert await house.status(message) == status
    assert await house.events() == events


@pytest.mark.parametrize("answer", [UNREACHABLE, UNCERTAIN, ValueError("nonsense")], ids=repr)
async def test_a_look_up_that_fails_is_repeated(house: House, answer: Exception) -> None:
    _, ann, _ = await house.pair()
    house.carrier.able(look_up=True)
    house.carrier.script(ann.identifier, UNCERTAIN)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        house.carrier.answers(answer, answer, _accepted(house, house.carrier.sent[0].sid))
        await house.pass_time(1)
        assert await house.status(message) == "queued"
        await house.pass_time(5)
        await house.pass_time(5)
    assert len(house.carrier.asked) == 3
    assert len(house.carrier.sent) == 1
    assert await house.status(message) == "sent"


async def test_a_look_up_that_never_answers_ends_with_the_validity_as_delivery_unknown(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.able(look_up=True)
    house.carrier.script(ann.identifier, UNCERTAIN)
    house.carrier.answers(*[UNREACHABLE] * 10)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        await house.pass_time(1)
        await house.pass_time(5)
        await house.pass_time(VALIDITY_S)
    assert await house.status(message) == "delivery-unknown"
    assert len(house.carrier.sent) == 1
    assert await house.events() == [49001]
    assert await house.outbox() == 0


async def test_a_carrier_whose_abilities_cannot_be_told_holds_the_message_until_they_can(
    house: House,
) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, UNCERTAIN)
    house.carrier.broken = OSError("the books are closed")
    async with house.working():
        message = await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        await house.pass_time(5)
        assert await house.status(message) == "queued"
        assert house.carrier.bodies(ann.identifier) == ["1"]
        house.carrier.broken = None
        await house.pass_time(5)
    assert await house.statuses() == ["delivery-unknown", "sent"]
    assert await house.events() == [49001]


@pytest.mark.parametrize(
    "nonsense",
    [ValueError("nonsense"), KeyError("sid"), TimeoutError(), OSError(5, "gone")],
    ids=["ValueError", "KeyError", "TimeoutError", "OSError"],
)
async def test_a_carrier_that_fails_in_its_own_way_makes_the_message_unknown(
    house: House, nonsense: Exception
) -> None:
    """Nobody can tell whether the message was out when it failed, so it is not sent again."""
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, nonsense)
    async with house.working() as worker:
        await house.say(ann, "1")
        await house.say(ann, "2")
        await house.quiet()
        assert worker.is_running
    assert await house.statuses() == ["delivery-unknown", "sent"]
    assert house.carrier.bodies(ann.identifier) == ["1", "2"]


# The send deadline


async def test_a_carrier_that_stalls_past_the_deadline_leaves_the_message_unknown(
    store: SqliteStore, clock: FakeClock
) -> None:
    house = House(store, clock, deadline_s=0.02)
    _, ann, _ = await house.pair()
    house.carrier.gate(ann.identifier)
    async with house.working():
        await house.say(ann, "1")
        await house.say(ann, "2")
        await until(lambda: len(house.carrier.sent) == 2)
        await house.quiet()
    assert await house.statuses() == ["delivery-unknown", "sent"]
    assert await house.events() == [49001]


async def test_a_look_up_that_stalls_past_the_deadline_is_repeated(
    store: SqliteStore, clock: FakeClock
) -> None:
    house = House(store, clock, deadline_s=0.02)
    _, ann, _ = await house.pair()
    house.carrier.able(look_up=True)
    house.carrier.script(ann.identifier, UNCERTAIN)
    async with house.working():
        message = await house.say(ann)
        await house.quiet()
        house.carrier.answers(Gate(), _accepted(house, house.carrier.sent[0].sid))
        clock.advance(1)
        await until(lambda: house.carrier.asked)
        await until(lambda: not store_busy(house))
        await house.quiet()
        await house.pass_time(5)
    assert len(house.carrier.asked) == 2
    assert await house.status(message) == "sent"


def store_busy(house: House) -> bool:
    return any(
        task.get_name().startswith("Task") and "_deliver" in repr(task) for task in asyncio.all_tasks()
    )


# What the caller is told


@pytest.fixture
def waiting(store: SqliteStore, clock: FakeClock) -> House:
    """A house whose POST waits for the carrier's first answer, for longer than any test."""
    return House(store, clock, wait_s=60)


@pytest.mark.parametrize(
    ("step", "word"),
    [
        (None, "sent"),
        (REJECTED, "failed"),
        (OPTED_OUT, "failed"),
        (UNCERTAIN, "delivery-unknown"),
        (THROTTLED, "queued"),
        (UNREACHABLE, "queued"),
        (MISCONFIGURED, "queued"),
    ],
    ids=str,
)
async def test_a_create_answers_with_the_carriers_first_answer(waiting: House, step: Any, word: str) -> None:
    _, ann, _ = await waiting.pair()
    waiting.carrier.script(ann.identifier, step)
    async with waiting.working():
        async with asyncio.timeout(10):
            message = await waiting.say(ann)
        assert message.outbound is not None
        assert message.outbound.status == MessageStatus[word.upper().replace("-", "_")]
        assert len(waiting.carrier.sent) == 1
        await waiting.quiet()
        assert await waiting.status(message) == word


async def test_a_create_behind_an_unfinished_message_answers_queued_at_once(waiting: House) -> None:
    _, ann, _ = await waiting.pair()
    waiting.carrier.script(ann.identifier, THROTTLED)
    async with waiting.working(), asyncio.timeout(10):
        await waiting.say(ann)
        message = await waiting.say(ann)
    assert message.outbound is not None
    assert message.outbound.status == MessageStatus.QUEUED


async def test_a_create_on_a_paused_account_answers_queued_at_once(waiting: House) -> None:
    service = await waiting.service()
    (_, ann, _), (_, ben, _) = await waiting.pair(service), await waiting.pair(service)
    waiting.carrier.always(MISCONFIGURED)
    async with waiting.working(), asyncio.timeout(10):
        await waiting.say(ann)
        await waiting.quiet()
        message = await waiting.say(ben)
        assert message.outbound is not None
        assert message.outbound.status == MessageStatus.QUEUED
        waiting.carrier.mend()


async def test_a_create_answers_failed_where_the_message_may_no_longer_be_sent(waiting: House) -> None:
    """T2 has refused it; nobody waits in vain."""
    service = await waiting.service()
    _, ann, _ = await waiting.pair(service)
    await waiting.store.write(lambda tx: tx.execute("UPDATE numbers SET service_sid = NULL") and None)
    async with waiting.working(), asyncio.timeout(10):
        message = await waiting.say(ann)
    assert message.outbound is not None
    assert message.outbound.status == MessageStatus.FAILED


async def test_a_create_gives_up_waiting_when_its_time_is_over(store: SqliteStore, clock: FakeClock) -> None:
    house = House(store, clock, wait_s=0.01)
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working():
        message = await house.say(ann)
        assert message.outbound is not None
        assert message.outbound.status == MessageStatus.QUEUED
        gate.release()
        await house.quiet()
    assert await house.status(message) == "sent"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"mode": Mode.VOICE_ONLY}, problems.MESSAGE_TO_VOICE_ONLY),
        ({"status": SessionStatus.CLOSED}, problems.SESSION_CLOSED),
    ],
    ids=["voice-only", "closed"],
)
async def test_a_refused_create_stores_nothing(
    house: House, fields: dict[str, Any], code: problems.Code
) -> None:
    status = fields.get("status")
    session, ann, _ = await house.pair(**{name: one for name, one in fields.items() if name != "status"})
    if status is not None:
        await house.update(session, status)
    with pytest.raises(Problem) as caught:
        await house.say(ann)
    assert caught.value.code is code
    assert await house.one("SELECT count(*) FROM interactions") == 0
    assert await house.outbox() == 0
    assert (await house.fetch(session)).last_interaction_at is None


async def test_a_message_touches_its_session(house: House, clock: FakeClock) -> None:
    session, ann, _ = await house.pair()
    clock.advance(10)
    await house.say(ann)
    touched = await house.fetch(session)
    assert touched.status is SessionStatus.IN_PROGRESS
    assert touched.started_at == touched.last_interaction_at == touched.updated_at == clock.now()
    clock.advance(10)
    await house.hear(ann)
    again = await house.fetch(session)
    assert again.started_at == touched.started_at
    assert again.last_interaction_at == clock.now() == touched.last_interaction_at + 10 * SECOND
