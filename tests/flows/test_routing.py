"""Routing inverts assignment: whoever was given a number reaches their partner on it, and nobody else does."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from maskline.domain.model import Mode, NumberSelectionBehavior, Participant, SessionStatus
from maskline.domain.problems import Problem
from maskline.domain.route import OutOfSession, Refused, Route, incoming
from maskline.store.engine import Tx
from maskline.store.participants import find_participant
from maskline.store.relay import find_match
from maskline.store.sessions import find_session
from tests.support.clock import FakeClock
from tests.support.house import House, opened, person, proxy

PEOPLE = [person(i) for i in range(6)] + ["+5215555550100", "+525555550101"]
SENDERS = {"whatsapp": "whatsapp:+14155238886", "messenger": "messenger:77"}
CHATTERS = [f"whatsapp:{person(0)}", f"whatsapp:{person(1)}", "messenger:1", "messenger:2"]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from("create create create chat add add remove close reopen delete wait".split()),
        st.integers(0, 100),
        st.integers(0, 100),
        st.integers(0, 100),
    ),
    max_size=25,
)


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "pool": draw(st.integers(1, 4)),
        "behavior": draw(st.sampled_from(list(NumberSelectionBehavior))),
        "events": draw(EVENTS),
    }


async def live(house: House, world: dict[str, Any]) -> str:
    """Play a world's events through the real flows; refusals are part of life. Returns its Service."""
    service = await house.service(world["pool"], number_selection_behavior=world["behavior"])
    await house.number(service, "+525555550199")
    for sender in SENDERS.values():
        await house.sender(service, sender)
    sessions: list[Any] = []
    participants: list[Participant] = []
    for event, a, b, c in world["events"]:
        some = sessions[a % len(sessions)] if sessions else None
        try:
            match event:
                case "create":
                    wanted = {PEOPLE[b % len(PEOPLE)], PEOPLE[c % len(PEOPLE)]}
                    ttl = {"ttl": 60} if a % 3 == 0 else {}
                    sessions.append(await house.session(service, *sorted(wanted), **ttl))
                case "chat":
                    sessions.append(await house.session(service, mode=Mode.MESSAGE_ONLY))
                    for who in sorted({CHATTERS[b % len(CHATTERS)], CHATTERS[c % len(CHATTERS)]}):
                        sender = SENDERS[who.split(":", maxsplit=1)[0]]
                        participants.append(await house.add(sessions[-1], who, sender))
                case "add" if some:
                    participants.append(await house.add(some, PEOPLE[b % len(PEOPLE)]))
                case "remove" if participants:
                    await house.remove(participants[a % len(participants)])
                case "close" if some:
                    await house.close(some)
                case "reopen" if some:
                    await house.reopen(some)
                case "delete" if some:
                    await house.delete(some)
                case "wait":
                    house.clock.advance(30)
        except Problem:
            pass
    return service.sid


def check(tx: Tx, service_sid: str) -> None:
    """For every number and every person: what routing finds is what the participants say, no more, no less."""
    there: dict[tuple[str, str], list[Participant]] = {}
    rows = tx.execute("SELECT session_sid, sid FROM participants WHERE deleted_at IS NULL").fetchall()
    for session_sid, sid in rows:
        one = find_participant(tx, service_sid, session_sid, sid)
        assert one is not None
        session = find_session(
            tx, service_sid, session_sid
        )  # None: deleted, and the sweep has not come to the rest
        if session is not None and session.status is not SessionStatus.CLOSED:
            there.setdefault((one.identifier_key, one.proxy_identifier), []).append(one)
    numbers = [row[0] for row in tx.execute("SELECT phone_number FROM numbers").fetchall()] + [proxy(999)]
    people = {row[0] for row in tx.execute("SELECT identifier_key FROM people").fetchall()} | {person(999)}
    for number in numbers:
        for who in people:
            route = incoming(find_match(tx, service_sid, number, who), tx.now, tx.idle_close_us)
            expected = there.get((who, number), [])
            assert len(expected) <= 1
            if not expected:
                assert isinstance(route, OutOfSession), (who, number)
                continue
            (sender,) = expected
            others = [
                one
                for ones in there.values()
                for one in ones
                if one.session_sid == sender.session_sid and one.sid != sender.sid
            ]
            if others:
                assert isinstance(route, Route)
                assert (route.sender, route.partner) == (sender, others[0])
                assert route.session.sid == sender.session_sid
            else:
                assert isinstance(route, Refused)


@settings(max_examples=max(25, settings.default.max_examples // 2))
@given(worlds())
def test_routing_inverts_assignment(world: dict[str, Any]) -> None:
    directory = Path(tempfile.mkdtemp(prefix="maskline-test-"))

    async def run() -> None:
        clock = FakeClock()
        async with opened(directory, clock) as store:
            service_sid = await live(House(store, clock), world)
            await store.read(check, service_sid)
            # Written down or not, it is the same.
            await House(store, clock).sweeper.sweep()
            await store.read(check, service_sid)
            clock.advance(61)
            await store.read(check, service_sid)

    try:
        asyncio.run(run())
    finally:
        shutil.rmtree(directory)


async def test_a_reply_comes_back_to_whoever_wrote_whatever_the_numbers_are(house: House) -> None:
    """A writes to B, B answers to the number that B saw: A gets it, from the number that A wrote to."""
    service = await house.service(3)
    for i in range(5):
        session = await house.session(service)
        ann, ben = await house.add(session, person(1) if i < 3 else person(i)), await house.add(session)
        async with house.working():
            sent = len(house.carrier.sent)
            await house.hear(ann, body="question")
            await house.quiet()
            question = house.carrier.sent[sent]
            await house.hear(question.to, question.from_, "answer")
            await house.quiet()
            answer = house.carrier.sent[sent + 1]
        assert (question.to, question.from_) == (ben.identifier, ben.proxy_identifier)
        assert (answer.to, answer.from_, answer.body) == (ann.identifier, ann.proxy_identifier, "answer")
        assert ann.identifier not in (question.from_, question.body)
        assert ben.identifier not in (answer.from_, answer.body)
