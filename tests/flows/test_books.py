"""Whatever is done to Sessions, in whatever order: the books agree with a count of what is there."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from maskline.domain.model import SECOND, Instant, Participant, Session, SessionStatus
from maskline.domain.problems import Problem
from maskline.flows.numbers import add_number, change_number, new_number, remove_number
from maskline.store.sqlite import SqliteStore
from tests.support.books import check_books
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, VAULT, House, person, proxy

T = TypeVar("T")

PEOPLE = st.sampled_from([person(i) for i in range(4)])
NUMBERS = st.sampled_from([proxy(i) for i in range(900, 904)])
LIMITS = st.sampled_from([{}, {}, {"ttl": 30}, {"ttl": 100}, {"expiry_s": 50}])


class Books(RuleBasedStateMachine):
    """A Service with a small pool and four people, so that they get into each other's way all the time."""

    sessions = Bundle("sessions")
    participants = Bundle("participants")

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="maskline-test-"))
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.store = SqliteStore(self.directory / "maskline.db", self.clock, pseudonym=VAULT.pseudonym)
        self.do(self.store.open())
        self.house = House(self.store, self.clock)

    def teardown(self) -> None:
        self.do(self.store.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def tried(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What it gives, or None if it is refused; anything else that is raised is a defect."""
        try:
            return self.do(work)
        except Problem:
            return None

    @initialize()
    def begin(self) -> None:
        self.service = self.do(self.house.service(0))
        for i in (900, 901):
            self.do(self.house.number(self.service, proxy(i)))

    # What can be done

    @rule(target=sessions, people=st.lists(PEOPLE, max_size=2), limits=LIMITS)
    def create(self, people: list[str], limits: dict[str, int]) -> Any:
        fields: dict[str, Any] = dict(limits)
        if (expiry_s := fields.pop("expiry_s", None)) is not None:
            fields["expiry_at"] = Instant(self.clock.now() + expiry_s * SECOND)
        made = self.tried(self.house.session(self.service, *people, **fields))
        return multiple() if made is None else made

    @rule(target=participants, session=sessions, who=PEOPLE, number=st.none() | NUMBERS)
    def add(self, session: Session, who: str, number: str | None) -> Any:
        made = self.tried(self.house.add(session, who, number))
        return multiple() if made is None else made

    @rule(participant=participants)
    def remove(self, participant: Participant) -> None:
        self.tried(self.house.remove(participant))

    @rule(session=sessions, to=st.sampled_from(list(SessionStatus)))
    def update(self, session: Session, to: SessionStatus) -> None:
        self.tried(self.house.update(session, to))

    @rule(session=sessions, ttl=st.sampled_from([0, 5, 200]))
    def change_ttl(self, session: Session, ttl: int) -> None:
        self.tried(self.house.update(session, ttl=ttl))

    @rule(session=sessions)
    def delete(self, session: Session) -> None:
        self.tried(self.house.delete(session))

    @rule(participant=participants)
    def say(self, participant: Participant) -> None:
        self.tried(self.house.say(participant))

    @rule(participant=participants)
    def hear(self, participant: Participant) -> None:
        self.tried(self.house.hear(participant))

    @rule(number=NUMBERS, reserved=st.booleans())
    def join(self, number: str, reserved: bool) -> None:
        fresh = new_number(self.house.mint.sid("PN"), number, ACCOUNT, "scripted", self.clock.now())
        event_sid = self.house.mint.sid("NO")
        arguments = {
            "sid": None,
            "number": fresh,
            "reserved": reserved,
            "carriers": ["scripted"],
            "key": None,
        }
        self.tried(self.store.write(add_number, ACCOUNT, self.service.sid, **arguments, event_sid=event_sid))

    @rule(number=NUMBERS)
    def leave(self, number: str) -> None:
        rows = self.do(self.house.rows("SELECT sid FROM numbers WHERE phone_number = ?", number))
        for (sid,) in rows:
            self.tried(remove_number(self.store, ACCOUNT, self.service.sid, sid))

    @rule(number=NUMBERS, reserved=st.booleans())
    def reserve(self, number: str, reserved: bool) -> None:
        rows = self.do(self.house.rows("SELECT sid FROM numbers WHERE phone_number = ?", number))
        for (sid,) in rows:
            event_sid = self.house.mint.sid("NO")
            self.tried(self.store.write(change_number, ACCOUNT, self.service.sid, sid, reserved, event_sid))

    @rule(seconds=st.sampled_from([1, 20, 60]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def sweep(self) -> None:
        self.do(self.house.sweeper.sweep())

    # What must hold at every moment

    @invariant()
    def the_books_agree_with_a_count(self) -> None:
        if hasattr(self, "service"):
            self.do(self.store.read(check_books, self.service.sid))


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=settings.default.max_examples // 2, stateful_step_count=40)
