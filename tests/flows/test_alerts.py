"""Events go to the account's webhook as Twilio's Debugger sends them: signed, in order, each until it is received."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from twilio.request_validator import RequestValidator

from maskline.datadir import new_account
from maskline.domain import problems
from maskline.domain.problems import Code
from maskline.flows.alerts import STEP
from maskline.flows.lanes import SLOTS_EACH, Lanes
from maskline.store.accounts import insert_account, set_events_url
from maskline.store.alerts import DROP
from maskline.store.events import insert_event
from tests.support.house import ACCOUNT, AUTH_TOKEN, House, locked_out
from tests.support.private import LOG, logged
from tests.support.receiver import Receiver, receiving
from tests.support.until import until

HOUR = 3600
SUB_TOKEN = "b8" * 16


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def send_to(house: House, url: str | None, account: str = ACCOUNT) -> None:
    """The account's events go to this URL."""
    await house.store.write(house.open_account)
    await house.store.write(set_events_url, account, url)


async def account(house: House, parent: str | None = None) -> str:
    """One more account."""
    made = new_account(house.mint, house.vault, house.clock, None, SUB_TOKEN, "another", parent)
    await house.store.write(insert_account, made)
    return made.sid


async def happen(
    house: House, code: Code = problems.SESSION_EXPIRED, account: str = ACCOUNT, **where: Any
) -> str:
    """An event; its SID."""
    sid = house.mint.sid("NO")
    await house.store.write(lambda tx: insert_event(tx, sid, account, code, **where))
    return sid


async def pass_time_until(house: House, condition: Callable[[], object], step_s: float = 1) -> None:
    """Let time pass, step by step, until it holds."""
    for _ in range(200):
        if condition():
            return
        await house.pass_time(step_s)
    assert condition()


async def come(house: House, receiver: Receiver, count: int) -> list[str]:
    """The SIDs that have come, once there are so many."""
    await pass_time_until(house, lambda: len(receiver.posts) >= count)
    await house.quiet()
    return sids(receiver)


def sids(receiver: Receiver) -> list[str]:
    return [post.form["Sid"] for post in receiver.posts]


async def waiting(house: House) -> int:
    return int(await house.one("SELECT count(*) FROM events WHERE told_to IS NOT NULL"))


async def test_an_event_of_traffic_is_sent_in_twilios_form_of_it(house: House, receiver: Receiver) -> None:
    await send_to(house, receiver.url)
    service = await house.service()
    session, ann, _ = await house.pair(service)
    await house.close(session)
    async with house.working():
        await house.hear(ann, body="is anybody there?")
        (sid,) = await come(house, receiver, 1)
    (post,) = receiver.posts
    (text,) = await house.rows("SELECT message FROM events")
    payload = json.loads(post.form.pop("Payload"))
    assert post.form == {
        "Sid": sid,
        "AccountSid": ACCOUNT,
        "Timestamp": "2027-01-15T08:00:00Z",
        "Level": "WARNING",
        "PayloadType": "application/json",
    }
    assert payload == {
        "resource_sid": service.sid,
        "service_sid": service.sid,
        "error_code": "80905",
        "more_info": {"Msg": text[0], "session_sid": None, "interaction_sid": None},
        "webhook": {
            "type": "application/json",
            "request": {"url": None, "method": None, "headers": {}, "parameters": {}},
            "response": {"status_code": None, "headers": {}, "body": None},
        },
    }
    assert await waiting(house) == 0


async def test_the_resource_is_the_narrowest_and_the_rest_is_more_info(
    house: House, receiver: Receiver
) -> None:
    await send_to(house, receiver.url)
    where = {"service_sid": "KS1", "session_sid": "KC1", "interaction_sid": "KI1"}
    async with house.working():
        await happen(house, problems.NO_ACTIVE_SESSION, **where)
        await come(house, receiver, 1)
    payload = json.loads(receiver.posts[0].form["Payload"])
    assert (payload["resource_sid"], payload["service_sid"]) == ("KI1", "KS1")
    assert payload["more_info"]["session_sid"] == "KC1"
    assert receiver.posts[0].form["Level"] == "ERROR"


async def test_the_official_validator_accepts_the_signature_and_refuses_another(
    house: House, receiver: Receiver
) -> None:
    await send_to(house, receiver.url)
    async with house.working():
        await happen(house)
        await come(house, receiver, 1)
    (post,) = receiver.posts
    signature = post.headers["x-twilio-signature"]
    assert RequestValidator(AUTH_TOKEN).validate(receiver.url, post.form, signature)
    assert not RequestValidator(AUTH_TOKEN).validate(receiver.url, {**post.form, "Level": "ERROR"}, signature)


async def test_what_fails_is_sent_again_in_its_order_under_the_same_token_and_raises_no_event(
    house: House, receiver: Receiver
) -> None:
    receiver.answers = [500, None, 404]
    await send_to(house, receiver.url)
    expected = [await happen(house) for _ in range(3)]
    with logged() as logs:
        async with house.working():
            assert await come(house, receiver, 6) == [expected[0]] * 3 + expected
    tokens = [post.headers["i-twilio-idempotency-token"] for post in receiver.posts]
    assert len(set(tokens[:4])) == 1 and len(set(tokens)) == 3
    assert await house.events() == [80904] * 3
    assert await waiting(house) == 0
    failures = [line for line in logs if line["event"] == "alert.failed"]
    assert [line["error"].partition(":")[0] for line in failures] == ["500", "broken", "404"]
    assert {line["url"] for line in failures} == {receiver.url.partition("?")[0]}


async def test_the_pause_grows_while_it_fails(house: House, receiver: Receiver) -> None:
    receiver.answers = [500] * 100
    await send_to(house, receiver.url)
    async with house.working():
        await happen(house)
        for _ in range(120):
            await house.pass_time(0.5)
    assert 6 <= len(receiver.posts) <= 9


async def test_after_an_hour_of_failures_what_is_older_is_given_up_and_the_rest_still_comes(
    house: House, receiver: Receiver
) -> None:
    receiver.answers = [500] * 100_000
    await send_to(house, receiver.url)
    for _ in range(STEP + 1):
        await happen(house)
    async with house.working():
        for _ in range(60):
            await house.pass_time(HOUR / 60 - 1)
        assert await waiting(house) == STEP + 1
        late = await happen(house)
        for _ in range(4):
            await house.pass_time(60)
        await until(lambda: len(receiver.posts) > 60)
        assert await waiting(house) == 1
        receiver.answers.clear()
        receiver.posts.clear()
        assert await come(house, receiver, 1) == [late]
    assert await waiting(house) == 0


async def test_what_waited_while_no_server_ran_is_tried_for_an_hour_however_old_it_is(
    house: House, receiver: Receiver
) -> None:
    receiver.answers = [500, 500]
    await send_to(house, receiver.url)
    sid = await happen(house)
    house.clock.advance(5 * HOUR)
    async with house.working():
        assert await come(house, receiver, 3) == [sid] * 3
    assert await waiting(house) == 0


async def test_what_is_committed_later_under_a_lesser_sid_is_sent_too(
    house: House, receiver: Receiver
) -> None:
    await send_to(house, receiver.url)
    early = house.mint.sid("NO")
    async with house.working():
        later = await happen(house)
        assert await come(house, receiver, 1) == [later]
        await house.pass_time(60)
        await house.store.write(insert_event, early, ACCOUNT, problems.SESSION_EXPIRED)
        assert await come(house, receiver, 2) == [later, early]


async def test_what_was_received_but_could_not_be_noted_is_noted_later_and_not_sent_again(
    house: House, receiver: Receiver
) -> None:
    await send_to(house, receiver.url)
    sid = await happen(house)
    receiver.stalled.clear()
    begin = len(LOG.entries)
    async with house.working():
        await pass_time_until(house, lambda: receiver.posts)
        async with locked_out(house.store):
            receiver.stalled.set()
            await until(lambda: "lanes.record_failed" in [line["event"] for line in LOG.entries[begin:]])
        await house.pass_time(1)
        await house.pass_time(1)
        assert await waiting(house) == 0
    assert sids(receiver) == [sid]


async def test_a_restart_loses_none(house: House, receiver: Receiver) -> None:
    await send_to(house, receiver.url)
    expected = [await happen(house) for _ in range(2)]
    receiver.answers = [500]
    async with house.working():
        await come(house, receiver, 1)
    house.clock.advance(1)
    receiver.posts.clear()
    async with house.working():
        assert await come(house, receiver, 2) == expected


async def test_a_subaccounts_events_go_to_its_own_webhook_else_to_its_parents(
    house: House, receiver: Receiver
) -> None:
    async with receiving() as own:
        await send_to(house, receiver.url)
        subs = [await account(house, ACCOUNT) for _ in range(2)]
        await send_to(house, own.url, subs[1])
        async with house.working():
            for one in subs:
                await happen(house, account=one)
            await come(house, receiver, 1)
            await come(house, own, 1)
    for post, sub, url, token in (
        (receiver.posts[0], subs[0], receiver.url, AUTH_TOKEN),
        (own.posts[0], subs[1], own.url, SUB_TOKEN),
    ):
        assert (post.form["AccountSid"], post.form["ParentAccountSid"]) == (sub, ACCOUNT)
        assert RequestValidator(token).validate(url, post.form, post.headers["x-twilio-signature"])
    assert (len(receiver.posts), len(own.posts)) == (1, 1)


async def test_an_account_without_a_webhook_waits_for_nothing_and_one_that_loses_it_no_more(
    house: House, receiver: Receiver
) -> None:
    await send_to(house, None)
    other = await account(house)
    await happen(house)
    assert await waiting(house) == 0
    await send_to(house, receiver.url)
    for _ in range(DROP + 1):
        await happen(house)
    await send_to(house, None)
    await send_to(house, receiver.url, other)
    async with house.working():
        sid = await happen(house, account=other)
        assert await come(house, receiver, 1) == [sid]
        await house.pass_time(2)
        assert await waiting(house) == 0
    assert sids(receiver) == [sid]


async def test_receivers_that_stall_keep_nobody_else_waiting(house: House, receiver: Receiver) -> None:
    async with receiving() as slow:
        slow.stalled.clear()
        for _ in range(SLOTS_EACH + 5):
            one = await account(house)
            await send_to(house, slow.url, one)
            await happen(house, account=one)
            await happen(house, account=one)
        await send_to(house, receiver.url)
        async with house.working():
            await until(lambda: len(slow.posts) == SLOTS_EACH + 5)
            expected = [await happen(house) for _ in range(3)]
            assert await come(house, receiver, 3) == expected
            assert len(slow.posts) == SLOTS_EACH + 5  # of each the second waits for the first
            slow.stalled.set()
            await come(house, slow, 2 * (SLOTS_EACH + 5))


def test_those_that_fail_have_more_places_together_than_one_has_alone() -> None:
    lanes = Lanes(1, 0.5, most_failing=2)
    for one in ("AC1", "AC2", "AC3"):
        lanes.began(one)
        lanes.ended(one, 100, good=False)
    lanes.began("AC1")
    assert lanes.busy(101) == {"AC1": 1, "AC2": 0, "AC3": 0}
    lanes.began("AC2")
    assert lanes.busy(101) == {"AC1": 1, "AC2": 1, "AC3": 1}
