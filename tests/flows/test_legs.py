"""Messages and Calls: the legs of Interactions, found by their SIDs and listed over all Services of an account."""

from typing import Any

import pytest

from maskline.api.legs import render_call
from maskline.api.render import Renderer
from maskline.domain import problems
from maskline.domain.ids import inbound_leg_sid, outbound_leg_sid
from maskline.domain.interaction import CallStatus
from maskline.domain.model import SECOND, Instant, Participant
from maskline.domain.problems import Problem
from maskline.flows.services import remove_service
from maskline.flows.sessions import remove_interaction
from maskline.store.interactions import load_interaction
from maskline.store.legs import FoundLeg, Sent, list_legs, load_leg
from maskline.store.pages import Page, Seek
from tests.support.clock import START
from tests.support.house import ACCOUNT, House

OTHER = "AC" + "d4" * 16


async def page_of(
    house: House, seek: Seek, sent: Sent | None = None, kind: str = "message"
) -> Page[FoundLeg]:
    return await house.store.read(list_legs, ACCOUNT, kind, seek, sent)


async def all_sids(house: House, **how: Any) -> list[str]:
    return [leg.sid for leg in (await page_of(house, Seek(1000), **how)).rows]


async def is_found(house: House, sid: str, kind: str = "message", account: str = ACCOUNT) -> bool:
    try:
        found = await house.store.read(load_leg, account, kind, sid)
    except Problem:
        return False
    return found.sid == sid


async def talk(house: House, ann: Participant, times: int) -> list[str]:
    """Ann writes and is written to; the SIDs of all legs, the newest first."""
    sids = []
    for _ in range(times):
        relayed = (await house.hear(ann)).interaction_sid
        assert relayed is not None
        sids += [
            inbound_leg_sid(relayed),
            outbound_leg_sid(relayed),
            outbound_leg_sid((await house.say(ann)).sid),
        ]
        house.clock.step(1)
    return sids[::-1]


async def test_a_leg_is_found_by_its_sid(house: House) -> None:
    _, ann, ben = await house.pair()
    newest = await talk(house, ann, 1)
    legs = [await house.store.read(load_leg, ACCOUNT, "message", sid) for sid in newest]
    assert [leg.sid for leg in legs] == newest
    people = [(leg.inbound, leg.identifier, leg.proxy_identifier) for leg in legs]
    assert people == [
        (False, ann.identifier, ann.proxy_identifier),
        (False, ben.identifier, ben.proxy_identifier),
        (True, ann.identifier, ann.proxy_identifier),
    ]


async def test_what_is_no_leg_is_not_found(house: House) -> None:
    _, ann, _ = await house.pair()
    message = await house.say(ann)
    assert await is_found(house, outbound_leg_sid(message.sid))
    assert not await is_found(house, inbound_leg_sid(message.sid))  # an API-made message has none
    assert not await is_found(house, outbound_leg_sid(message.sid, "CA"), "voice")
    assert not await is_found(house, outbound_leg_sid(message.sid), account=OTHER)
    assert not await is_found(house, outbound_leg_sid(house.mint.sid("KI")))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_the_list_pages_both_ways_over_all_services(house: House, size: int) -> None:
    """One leg of an Interaction may be the last of a page, and the other the first of the next."""
    newest: list[str] = []
    for _ in range(3):
        service = await house.service()
        for _ in range(2):
            _, ann, _ = await house.pair(service)
            newest = await talk(house, ann, 2) + newest
    assert await all_sids(house) == newest
    seek, there, back = Seek(size), [], []
    while True:
        page = await page_of(house, seek)
        there += [leg.sid for leg in page.rows]
        assert page.newer == (seek.key is not None)
        if not page.older:
            break
        seek = Seek(size, (page.rows[-1].sid,))
    assert there == newest
    first = page.rows[0].sid
    while True:
        page = await page_of(house, Seek(size, (first,), back=True))
        back = [leg.sid for leg in page.rows] + back
        if not page.newer:
            break
        first = page.rows[0].sid
    assert back == newest[: len(back)]
    assert len(back) >= len(newest) - size


async def test_a_key_of_another_list_is_refused(house: House) -> None:
    for key in ((1,), ("SM",), ("SM" + "x" * 32,), ("SM" + "0" * 32, 1)):
        with pytest.raises(Problem) as caught:
            await page_of(house, Seek(50, key))
        assert caught.value.code is problems.PARAMETER_INVALID


@pytest.mark.parametrize("what", ["interaction", "session", "service"])
async def test_what_is_deleted_is_gone_at_once(house: House, what: str) -> None:
    async with house.working():
        session, ann, _ = await house.pair()
        gone = (await house.say(ann)).sid
        _, cem, _ = await house.pair()
        kept = (await house.say(cem)).sid
        await house.quiet()
    if what == "interaction":
        await house.store.write(remove_interaction, ACCOUNT, ann.service_sid, ann.session_sid, gone)
    elif what == "session":
        await house.delete(session)
    else:
        await house.store.write(remove_service, ACCOUNT, ann.service_sid)
    assert not await is_found(house, outbound_leg_sid(gone))
    assert await all_sids(house) == [outbound_leg_sid(kept)]


async def test_a_deleted_participant_is_still_named(house: House) -> None:
    """Section 9.5: with a Participant nothing goes."""
    _, ann, _ = await house.pair()
    sid = outbound_leg_sid((await house.say(ann)).sid)
    await house.remove(ann)
    found = await house.store.read(load_leg, ACCOUNT, "message", sid)
    assert (found.identifier, found.proxy_identifier) == (ann.identifier, ann.proxy_identifier)


async def test_messages_by_the_time_at_which_they_were_sent(house: House) -> None:
    _, ann, _ = await house.pair()
    async with house.working():
        made = []
        for _ in range(4):
            made.append(outbound_leg_sid((await house.say(ann)).sid))
            await house.quiet()
            house.clock.step(10)
    waiting = outbound_leg_sid((await house.say(ann)).sid)

    def at(second: int) -> Instant:
        return Instant(START + second * SECOND)

    assert await all_sids(house) == [waiting, *made[::-1]]
    for since, until, expected in (
        (None, at(1000), made),  # what waits has not been sent
        (at(10), None, made[1:]),
        (None, at(20), made[:2]),
        (at(10), at(21), made[1:3]),
        (at(11), at(20), []),
    ):
        assert await all_sids(house, sent=Sent(since, until)) == expected[::-1]
    page = await page_of(house, Seek(1), Sent(at(0), None))
    assert ([leg.sid for leg in page.rows], page.older) == (made[3:], True)
    page = await page_of(house, Seek(2, (made[3],)), Sent(at(10), None))
    assert ([leg.sid for leg in page.rows], page.older) == ([made[2], made[1]], False)


async def test_a_page_is_filled_though_many_wait(house: House) -> None:
    _, ann, _ = await house.pair()
    async with house.working():
        sent = outbound_leg_sid((await house.say(ann)).sid)
        await house.quiet()
    for _ in range(20):
        await house.say(ann)
    assert await all_sids(house, sent=Sent(Instant(0))) == [sent]
    page = await page_of(house, Seek(1), Sent(Instant(0)))
    assert [leg.sid for leg in page.rows] == [sent]


# Calls: none is made yet, and what they will look like is there


async def a_call(
    house: House, inbound: CallStatus, outbound: CallStatus | None
) -> tuple[Any, Participant, Participant]:
    session, ann, ben = await house.pair()
    sid = house.mint.sid("KI")
    legs = [ann.sid, inbound_leg_sid(sid, "CA"), int(inbound)]
    legs += [None, None, None] if outbound is None else [ben.sid, outbound_leg_sid(sid, "CA"), int(outbound)]
    insert = (
        "INSERT INTO interactions (service_sid, session_sid, sid, account_sid, type, data, inbound_participant_sid,"
        " inbound_resource_sid, inbound_status, outbound_participant_sid, outbound_resource_sid, outbound_status,"
        " updated_at) VALUES (?, ?, ?, ?, 'voice', '{\"duration\":\"5\"}', ?, ?, ?, ?, ?, ?, ?)"
    )
    now = house.clock.now() + 5 * SECOND
    row = (session.service_sid, session.sid, sid, ACCOUNT, *legs, now)
    await house.store.write(lambda tx: tx.execute(insert, row) and None)
    call = await house.store.read(load_interaction, session.service_sid, session.sid, sid)
    return call, ann, ben


async def test_calls_are_apart_from_messages(house: House) -> None:
    _, ann, _ = await house.pair()
    message = await house.say(ann)
    assert await all_sids(house, kind="voice") == []
    call, _, _ = await a_call(house, CallStatus.COMPLETED, CallStatus.COMPLETED)
    inbound, outbound = inbound_leg_sid(call.sid, "CA"), outbound_leg_sid(call.sid, "CA")
    assert await all_sids(house, kind="voice") == [outbound, inbound]
    assert await all_sids(house) == [outbound_leg_sid(message.sid)]
    assert await is_found(house, inbound, "voice")
    assert await is_found(house, outbound, "voice")
    assert not await is_found(house, "SM" + outbound[2:])


async def test_a_call_is_rendered_in_twilios_shape(house: House) -> None:
    call, ann, ben = await a_call(house, CallStatus.COMPLETED, CallStatus.COMPLETED)
    page = await page_of(house, Seek(50), kind="voice")
    dialled, dialling = [render_call(leg, ACCOUNT) for leg in page.rows]
    assert (dialling["from"], dialling["to"]) == (ann.identifier, ann.proxy_identifier)
    assert (dialled["from"], dialled["to"]) == (ben.proxy_identifier, ben.identifier)
    assert (dialling["direction"], dialled["direction"]) == ("inbound", "outbound-dial")
    assert (dialling["parent_call_sid"], dialled["parent_call_sid"]) == (None, dialling["sid"])
    for row in (dialling, dialled):
        assert (row["status"], row["duration"]) == ("completed", "5")
        assert row["start_time"] == row["date_created"] == "Fri, 15 Jan 2027 08:00:00 +0000"
        assert row["end_time"] == row["date_updated"] == "Fri, 15 Jan 2027 08:00:05 +0000"
        assert row["uri"] == f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{row['sid']}.json"
    assert dialled["sid"] == call.outbound.resource_sid


@pytest.mark.parametrize("status", CallStatus)
async def test_a_call_that_runs_has_no_end_yet(house: House, status: CallStatus) -> None:
    await a_call(house, CallStatus.IN_PROGRESS, status)
    page = await page_of(house, Seek(50), kind="voice")
    row = render_call(page.rows[0], ACCOUNT)
    word = status.name.lower().replace("_", "-")
    assert row["status"] == ("queued" if status is CallStatus.INITIATED else word)
    assert (row["end_time"] is None) == (row["duration"] is None) == (status < CallStatus.CANCELED)


async def test_an_interaction_that_is_a_call_says_so(house: House) -> None:
    call, ann, ben = await a_call(house, CallStatus.IN_PROGRESS, CallStatus.INITIATED)
    row = Renderer("https://masked.example.com").interaction(call, ACCOUNT)
    assert (row["type"], row["data"]) == ("voice", '{"duration":"5"}')
    for side, who, status in (("inbound", ann, "in-progress"), ("outbound", ben, "initiated")):
        assert row[f"{side}_participant_sid"] == who.sid
        assert (row[f"{side}_resource_type"], row[f"{side}_resource_status"]) == ("Call", status)
        url = f"https://masked.example.com/2010-04-01/Accounts/{ACCOUNT}/Calls/{row[f'{side}_resource_sid']}.json"
        assert row[f"{side}_resource_url"] == url


@pytest.mark.parametrize("inbound", [CallStatus.IN_PROGRESS, CallStatus.COMPLETED])
@pytest.mark.parametrize("outbound", [None, *CallStatus])
async def test_a_call_can_be_deleted_once_it_has_ended(
    house: House, inbound: CallStatus, outbound: CallStatus | None
) -> None:
    """Section 3.6: a running one is refused with 20009."""
    call, _, _ = await a_call(house, inbound, outbound)
    arguments = (ACCOUNT, call.service_sid, call.session_sid, call.sid)
    if inbound is CallStatus.COMPLETED and (outbound is None or outbound >= CallStatus.CANCELED):
        await house.store.write(remove_interaction, *arguments)
        assert await house.one("SELECT count(*) FROM interactions") == 0
    else:
        with pytest.raises(Problem) as caught:
            await house.store.write(remove_interaction, *arguments)
        assert caught.value.code is problems.NOT_YET_COMPLETE
        assert await house.one("SELECT count(*) FROM interactions") == 1
