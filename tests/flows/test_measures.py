"""Figures are counted where things come to pass, once they have been committed, and never twice."""

import asyncio
from collections.abc import Iterable

import pytest

from maskline.domain import problems
from maskline.domain.model import SECOND
from maskline.metrics import (
    CALLBACKS,
    CARRIER_PAUSED,
    CUSTOMER_SECONDS,
    EVENTS,
    HANDOVERS,
    INBOUND,
    OUTBOX_AGE,
    OUTBOX_ROWS,
    RECEIPTS,
    SLOTS_IN_USE,
    TOPICS,
    VERDICTS,
    Histogram,
    Metric,
    Sample,
)
from maskline.store import callbacks, intercepts, optout_notices, strangers
from maskline.store.depth import measure_outbox
from maskline.store.engine import Tx
from maskline.store.events import insert_event
from tests.support.carrier import GARBLED, MISCONFIGURED, OPTED_OUT, REJECTED, UNCERTAIN, UNREACHABLE
from tests.support.house import ACCOUNT, House, person
from tests.support.receiver import receiving
from tests.support.until import until


def figures(samples: Iterable[Sample], metric: Metric) -> dict[str, float]:
    """A metric's figures that are not zero, by their labels; of histograms, how many were noted."""
    told = {
        "/".join(labels): sum(value.counts) if isinstance(value, Histogram) else value
        for found, labels, value in samples
        if found is metric
    }
    return {labels: value for labels, value in told.items() if value}


def histogram(samples: Iterable[Sample], metric: Metric, *labels: str) -> Histogram:
    """The one with these labels."""
    (found,) = [value for of, at, value in samples if of is metric and at == labels]
    assert isinstance(found, Histogram)
    return found


async def test_what_carriers_bring_is_counted_by_what_becomes_of_it(house: House) -> None:
    service = await house.service(settings='{"pair_limit": 2}')
    _, ann, ben = await house.pair(service)
    await house.sender(None, "whatsapp:+14155550123")
    await house.hear(ann, carrier_id="one")
    await house.hear(ann, carrier_id="one")
    await house.hear(ann, body="Stop")
    await house.hear(person(1), to=ann.proxy_identifier)
    await house.hear(person(1), to="+14155559999")
    await house.hear(f"whatsapp:{person(1)}", to="whatsapp:+14155550123")
    house.carrier.name = "other"
    await house.hear(ann)
    house.carrier.name = "scripted"
    await house.hear(ann)
    await house.hear(ann)
    await house.remove(ann)
    await house.hear(ben)
    assert figures(house.store.measures(), INBOUND) == {
        "relayed": 2,
        "repeated": 1,
        "stop-word": 1,
        "out-of-session": 1,
        "unknown-number": 1,
        "not-wired": 1,
        "too-fast": 1,
        "wrong-carrier": 1,
        "refused": 1,
    }


async def test_hand_overs_are_counted_by_what_is_known_of_them(house: House) -> None:
    service = await house.service()
    people = [(await house.pair(service))[1] for _ in range(5)]
    for one, steps in zip(
        people, ([UNREACHABLE], [REJECTED], [OPTED_OUT], [UNCERTAIN], [GARBLED]), strict=True
    ):
        house.carrier.script(one.identifier, *steps)
    async with house.working():
        for one in people:
            await house.say(one)
        await house.quiet()
        await house.pass_time(2)
    assert figures(house.messages.measures(), HANDOVERS) == {
        "scripted/retry": 1,
        "scripted/rejected": 1,
        "scripted/opted out": 1,
        "scripted/uncertain": 1,
        "scripted/sent": 2,
    }


async def test_a_paused_account_and_slots_in_use_are_told(house: House) -> None:
    _, ann, _ = await house.pair()
    gate = house.carrier.gate(ann.identifier)
    async with house.working() as worker:
        await house.say(ann)
        await house.quiet()
        assert figures(worker.measures(), SLOTS_IN_USE) == {"scripted": 1}
        house.clock.advance(3)
        gate.release(MISCONFIGURED)
        await house.quiet()
        assert figures(worker.measures(), SLOTS_IN_USE) == {}
        assert figures(house.messages.measures(), CARRIER_PAUSED) == {"scripted": 1}
        took = histogram(house.messages.measures(), HANDOVERS, "scripted", "given back")
        assert (took.counts, took.total) == ([0, 0, 0, 0, 0, 1, 0], 3)
        await house.pass_time(60)
        assert figures(house.messages.measures(), CARRIER_PAUSED) == {}
    assert figures(house.messages.measures(), HANDOVERS) == {"scripted/given back": 1, "scripted/sent": 1}


async def test_reports_are_counted_by_status_and_whether_their_message_was_there(house: House) -> None:
    _, ann, _ = await house.pair()
    async with house.working():
        await house.say(ann)
        await house.quiet()
    (sent,) = house.carrier.sent
    await house.report_of(house.carrier.id_of(sent.sid), "sent", ann.proxy_identifier)
    await house.report_of(house.carrier.id_of(sent.sid), "delivered", ann.proxy_identifier)
    await house.report_of("nobody's", "delivered", ann.proxy_identifier)
    assert figures(house.store.measures(), RECEIPTS) == {
        "sent/yes": 1,
        "delivered/yes": 1,
        "delivered/no": 1,
    }


async def test_callbacks_are_counted_by_attempt_until_they_are_dead(house: House) -> None:
    async with receiving() as customer, house.working() as worker:
        _, ann, _ = await house.pair(await house.service(callback_url=customer.url))
        customer.answers = [500] * 100
        await house.say(ann)
        while not (told := figures(house.store.measures(), CALLBACKS)).get("dead"):
            house.clock.advance(10)
            await house.quiet()
        assert told == {"failed": len(customer.posts) - 1, "dead": 1}
        assert sum(histogram(worker.measures(), CUSTOMER_SECONDS, "callback").counts) == len(customer.posts)


async def test_verdicts_are_counted(house: House) -> None:
    async with receiving() as customer, house.working():
        _, ann, _ = await house.pair(await house.service(intercept_callback_url=customer.url))
        customer.answers = [200, 403, 500]
        for _ in range(3):
            await house.hear(ann)
        await until(lambda: sum(figures(house.store.measures(), VERDICTS).values()) == 3)
        assert figures(house.store.measures(), VERDICTS) == {"passed": 1, "blocked": 1, "none": 1}


def _tell(tx: Tx, sid: str, divisor: int) -> None:
    insert_event(tx, sid, ACCOUNT, problems.CARRIER_PAUSED)
    assert 1 / divisor


async def test_what_is_not_committed_is_not_counted(house: House) -> None:
    with pytest.raises(ZeroDivisionError):
        await house.store.write(_tell, house.mint.sid("NO"), 0)
    assert figures(house.store.measures(), EVENTS) == {}


async def test_an_event_that_is_there_already_is_counted_once(house: House) -> None:
    sid = house.mint.sid("NO")
    for _ in range(2):
        await house.store.write(_tell, sid, 1)
    assert figures(house.store.measures(), EVENTS) == {"49003/error": 1}


async def test_what_a_round_has_done_that_began_again_is_counted_once(house: House) -> None:
    _, ann, _ = await house.pair()
    answers = await asyncio.gather(
        house.hear(person(1), to=ann.proxy_identifier),
        house.hear(ann, carrier_id="\ud800"),  # no text, so that its round begins again without it
        house.hear(ann),
        return_exceptions=True,
    )
    assert [isinstance(answer, UnicodeEncodeError) for answer in answers] == [False, True, False]
    assert figures(house.store.measures(), INBOUND) == {"relayed": 1, "out-of-session": 1}
    assert figures(house.store.measures(), EVENTS) == {"80905/warning": 1}


async def test_rows_of_the_outbox_are_told_by_topic_and_state_and_the_oldest_by_its_age(house: House) -> None:
    _, ann, ben = await house.pair(await house.service(callback_url="https://shop.example/"))
    for _ in range(3):
        await house.say(ann)
    await house.say(ben)
    house.clock.advance(7)

    samples = await house.store.read(measure_outbox)
    # Until T2 has looked at them nobody knows who is behind whom.
    assert figures(samples, OUTBOX_ROWS) == {"send/waiting": 4, "callback/waiting": 4}
    assert figures(samples, OUTBOX_AGE) == {"send": 7, "callback": 7}

    for state, count in ((2, 1), (3, 2), (4, 1)):
        await house.store.write(
            lambda tx, state=state, count=count: tx.execute(
                "UPDATE outbox SET state = ? WHERE id IN"
                " (SELECT id FROM outbox WHERE topic = 'send' AND state = 0 ORDER BY id DESC LIMIT ?)",
                (state, count),
            )
        )
    await house.store.write(
        lambda tx: tx.execute(
            "UPDATE outbox SET state = 6 WHERE topic = 'callback' AND id < (SELECT max(id) FROM outbox)"
        )
    )
    samples = await house.store.read(measure_outbox)
    assert figures(samples, OUTBOX_ROWS) == {
        "send/parked": 1,
        "send/held": 2,
        "send/started": 1,
        "callback/dead": 3,
        "callback/waiting": 1,
    }
    assert figures(samples, OUTBOX_AGE) == {"send": 7, "callback": 7}

    samples = await house.store.read(measure_outbox, 2)
    assert sum(figures(samples, OUTBOX_ROWS).values()) == 1 + 1 + 2  # of the newest two, and of as many dead
    assert figures(samples, OUTBOX_AGE) == {"send": 7, "callback": 7}


async def test_what_is_due_later_has_no_age(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.always(UNREACHABLE)
    async with house.working():
        await house.say(ann)
        await house.quiet()
        samples = await house.store.read(measure_outbox)
        assert figures(samples, OUTBOX_ROWS) == {"send/waiting": 1}
        assert figures(samples, OUTBOX_AGE) == {}
        house.carrier.mend()
    due_at = await house.one("SELECT due_at FROM outbox")
    house.clock.advance((due_at - house.clock.now()) / SECOND + 5)
    assert figures(await house.store.read(measure_outbox), OUTBOX_AGE) == {"send": 5}


def test_every_topic_is_in_the_list() -> None:
    theirs = {module.TOPIC for module in (callbacks, intercepts, optout_notices, strangers)}
    assert theirs | {"send", "receipt"} == set(TOPICS)
