"""Whatever is asked, in whatever order: every answer, every resource and every handset is as a plain model says."""

import asyncio
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from hypothesis import Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.books import check_books
from tests.support.clock import START
from tests.support.inside import Inside
from tests.support.model import SECOND, Member, Model, Refuse, Service, Session

T = TypeVar("T")

NUMBERS = ["+14152010901", "+14152010902", "+16282010901", "+15102010901", "+14162010901", "+442079460901"]
PEOPLE = ["+14152010001", "+14152010006", "+15102010002", "+12122010003", "+14162010004", "+442079460005"]
DAY_S = 86_400
SPARE = "+14152019999"

FIELDS = {
    "ttl": ("DefaultTtl", [0, 0, 60]),
    "level": ("GeoMatchLevel", ["country", "country", "country", "radius", "overlay", "area-code"]),
    "behavior": ("NumberSelectionBehavior", ["prefer-sticky", "avoid-sticky"]),
}
WEIGHTS = {
    "create_service": 1, "update_service": 2, "delete_service": 1, "join": 6, "leave": 5, "reserve": 3,
    "create_session": 12, "add": 9, "remove": 3, "update_session": 12, "delete_session": 2,
    "message": 8, "answer": 12, "text": 3, "script": 3, "wait": 9,
}  # fmt: skip

# One rule and true random numbers: Hypothesis keeps the seeds, and drops the steps that a failure does not need.
RANDOM = st.randoms(use_true_random=True)


def date(at: int | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Machine(RuleBasedStateMachine):
    """Two Services, six numbers of three countries, six people: they get into each other's way all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="maskline-test-"))
        self.runner = asyncio.Runner()
        self.inside = Inside(self.directory / "data")
        self.do(self.inside.__aenter__())
        self.model = Model(START)
        self.services: list[Service] = []
        self.sessions: list[Session] = []
        self.bodies = 0
        self.sound = True
        """No step has failed so far, so that it is worth while to look at how all ends."""

    def teardown(self) -> None:
        try:
            if self.sound:
                self.every_message_ends_as_it_should()
        finally:
            self.do(self.inside.__aexit__(None, None, None))
            self.runner.close()
            shutil.rmtree(self.directory)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def ask(
        self, predicted: Callable[[], T], method: str, path: str, form: dict[str, Any] | None = None
    ) -> tuple[T, Any] | None:
        """What the model made and what the server answered; None where both refuse with one code."""
        reply = self.do(self.inside.request(method, path, form))
        note(f"{method} {path} {form or ''}: {reply.status}")
        try:
            made = predicted()
        except Refuse as refusal:
            expected: tuple[int, int | None] = (404 if refusal.code == 20404 else 400, refusal.code)
        else:
            expected = (reply.status if reply.status in (200, 201, 204) else 200, None)
        answer = reply.json
        said = (reply.status, answer["code"] if reply.status >= 400 else None)
        assert said == expected, (method, path, form, reply.raw)
        return (made, answer) if expected[1] is None else None

    def settle(self) -> None:
        self.do(self.inside.quiet())
        self.model.settle()

    @staticmethod
    def home(service: Service) -> str:
        return f"/v1/Services/{service.sid}"

    def path(self, session: Session) -> str:
        return f"{self.home(session.service)}/Sessions/{session.sid}"

    def body(self) -> str:
        self.bodies += 1
        return f"text {self.bodies}"

    def service(self, rng: Random) -> Service:
        """One that is there or, seldom, one that was."""
        return rng.choice([*self.model.services * 9, *self.services])

    def session(self, rng: Random) -> Session:
        return rng.choice([*self.model.sessions * 9, *self.sessions])

    def member(self, rng: Random) -> tuple[Session, Member] | tuple[None, None]:
        """A participant: mostly one of a Session that is active."""
        active = [session for session in self.model.sessions if session.status != "closed"]
        known = [session for session in [*active * 9, *self.sessions] if session.members]
        session = rng.choice(known) if known else None
        return (session, rng.choice(session.members)) if session else (None, None)

    @initialize(rng=RANDOM)
    def begin(self, rng: Random) -> None:
        for name in ("one", "two"):
            self.make_service(name, **self.fields(rng))
        for number in NUMBERS:
            self.put(self.services[number == NUMBERS[1]], number, reserved=False)
        while not self.sessions:
            self.create_session(rng)

    @rule(rng=RANDOM)
    def step(self, rng: Random) -> None:
        (step,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
        self.sound = False
        getattr(self, step)(rng)
        self.every_resource_is_as_the_model_says()
        self.every_handset_has_what_the_model_says()
        self.sound = True

    # Services and numbers

    def fields(self, rng: Random) -> dict[str, Any]:
        return {name: rng.choice(values) for name, (_, values) in FIELDS.items()}

    def make_service(self, name: str, **chosen: Any) -> None:
        form = {"UniqueName": name} | {FIELDS[key][0]: value for key, value in chosen.items()}
        if made := self.ask(lambda: self.model.create_service(name, **chosen), "POST", "/v1/Services", form):
            made[0].sid = made[1]["sid"]
            self.services.append(made[0])

    def create_service(self, rng: Random) -> None:
        self.make_service(rng.choice(["one", "two"]), **self.fields(rng))

    def update_service(self, rng: Random) -> None:
        service, chosen = (
            self.service(rng),
            dict(rng.sample(list(self.fields(rng).items()), rng.randrange(4))),
        )
        form = {FIELDS[key][0]: value for key, value in chosen.items()}
        self.ask(lambda: self.model.update_service(service, **chosen), "POST", self.home(service), form)

    def delete_service(self, rng: Random) -> None:
        service = self.service(rng)
        if rng.random() < 0.25:  # seldom: it ends everything
            self.ask(lambda: self.model.delete_service(service), "DELETE", self.home(service))

    def put(self, service: Service, number: str, *, reserved: bool) -> None:
        form = {"PhoneNumber": number, "IsReserved": str(reserved).lower()}
        path = f"{self.home(service)}/PhoneNumbers"
        if made := self.ask(lambda: self.model.join(service, number, reserved), "POST", path, form):
            made[0].sid = made[1]["sid"]

    def join(self, rng: Random) -> None:
        outside = [value for value, number in self.model.numbers.items() if number.service is None]
        number = rng.choice(outside or NUMBERS)
        self.put(self.service(rng), number, reserved=rng.random() < 0.2)

    def member_of_pool(self, rng: Random) -> tuple[Service, str, str]:
        """A number, mostly of this Service, and its path there."""
        service = self.service(rng)
        own = [value for value, number in self.model.numbers.items() if number.service is service]
        value = rng.choice([*own * 6, *NUMBERS])
        known = self.model.numbers.get(value)
        return service, value, f"{self.home(service)}/PhoneNumbers/{known.sid if known else 'PN' + '0' * 32}"

    def leave(self, rng: Random) -> None:
        service, number, path = self.member_of_pool(rng)
        self.ask(lambda: self.model.leave(service, number), "DELETE", path)

    def reserve(self, rng: Random) -> None:
        service, number, path = self.member_of_pool(rng)
        reserved = rng.random() < 0.25
        form = {"IsReserved": str(reserved).lower()}
        self.ask(lambda: self.model.reserve(service, number, reserved), "POST", path, form)

    # Sessions and participants

    def create_session(self, rng: Random) -> None:
        service = self.service(rng)
        name = rng.choice([None, None, None, "here", "there"])
        mode = rng.choice(["voice-and-message", "voice-and-message", "message-only", "voice-only"])
        ttl = rng.choice([None, None, None, 0, 60, 200])
        expiry_s = rng.choice([None, None, None, 100])
        status = rng.choice(["open"] * 6 + ["in-progress", "closed"])
        size = rng.choice([2] * 7 + [0, 1, 3])
        who = rng.sample(PEOPLE, size) if rng.random() < 0.9 else rng.choices([*PEOPLE, NUMBERS[0]], k=size)
        expiry = None if expiry_s is None else self.model.now + expiry_s * SECOND
        form: dict[str, Any] = {"UniqueName": name, "Ttl": ttl, "DateExpiry": date(expiry), "Mode": mode}
        form |= {"Status": status, "Participants": [json.dumps({"Identifier": one}) for one in who]}
        made = self.ask(
            lambda: self.model.create_session(service, name, mode, ttl, expiry, status, who),
            "POST", f"{self.home(service)}/Sessions", {k: v for k, v in form.items() if v is not None},
        )  # fmt: skip
        if made is None:
            return
        session, answer = made
        session.sid = answer["sid"]
        self.sessions.append(session)
        rows = self.do(self.inside.pages(f"{self.path(session)}/Participants", "participants"))
        for member, row in zip(session.members, reversed(rows), strict=True):
            member.sid = row["sid"]

    def add(self, rng: Random) -> None:
        roomy = [session for session in self.model.sessions if len(session.present()) < 2]
        session = rng.choice(roomy) if roomy else self.session(rng)
        who, explicit = rng.choice([*PEOPLE * 3, NUMBERS[0]]), rng.choice([None] * 9 + [SPARE, *NUMBERS])
        form = {"Identifier": who} | ({"ProxyIdentifier": explicit} if explicit else {})
        path = f"{self.path(session)}/Participants"
        if made := self.ask(lambda: self.model.add(session, who, explicit), "POST", path, form):
            made[0].sid = made[1]["sid"]

    def remove(self, rng: Random) -> None:
        session, member = self.member(rng)
        if session is not None:
            path = f"{self.path(session)}/Participants/{member.sid}"
            self.ask(lambda: self.model.remove(session, member), "DELETE", path)

    def update_session(self, rng: Random) -> None:
        session = self.session(rng)
        status = rng.choice([None, "open", *["in-progress"] * 4, *["closed"] * 3, "failed"])
        ttl = rng.choice([None, None, None, None, 0, 5, 200])
        form = {key: value for key, value in {"Status": status, "Ttl": ttl}.items() if value is not None}
        made = self.ask(
            lambda: self.model.update_session(session, status, ttl), "POST", self.path(session), form
        )
        if made is not None:
            assert self.as_shown(session).items() <= made[1].items()

    def delete_session(self, rng: Random) -> None:
        session = self.session(rng)
        self.ask(lambda: self.model.delete_session(session), "DELETE", self.path(session))

    # Traffic and time

    def message(self, rng: Random) -> None:
        session, member = self.member(rng)
        if session is not None:
            body, path = self.body(), f"{self.path(session)}/Participants/{member.sid}/MessageInteractions"
            self.ask(lambda: self.model.message(session, member, body), "POST", path, {"Body": body})
            self.settle()

    def say(self, sender: str, number: str) -> None:
        body = self.body()
        form = {"From": sender, "To": number, "Body": body}
        self.ask(lambda: self.model.text(sender, number, body), "POST", "/sandbox/messages", form)
        self.settle()

    def answer(self, rng: Random) -> None:
        """A participant writes to their number, whatever has become of the Session."""
        session, member = self.member(rng)
        if session is not None:
            self.say(member.identifier, member.number.value)

    def text(self, rng: Random) -> None:
        self.say(rng.choice(PEOPLE), rng.choice(NUMBERS))

    def behave(self, who: str, outcome: str) -> None:
        form = {"To": who, "Outcome": outcome}
        self.ask(lambda: self.model.script(who, outcome), "POST", "/sandbox/behaviour", form)

    def script(self, rng: Random) -> None:
        self.behave(rng.choice(PEOPLE), rng.choice(["deliver", "slow", "throttle"]))

    def pass_time(self, seconds: int) -> None:
        note(f"{seconds} s pass")
        self.model.now += seconds * SECOND
        self.inside.clock.advance(seconds)
        self.settle()

    def wait(self, rng: Random) -> None:
        self.pass_time(rng.choice([1, 1, 2, 2, 4, 4, 6, 6, 40, 70, 250, 15_000, 30 * DAY_S, 91 * DAY_S]))

    # What must hold at every moment

    def as_shown(self, session: Session) -> dict[str, Any]:
        return {
            "status": session.status,
            "closed_reason": session.reason,
            "date_ended": date(session.ended),
            "date_expiry": date(session.expiry),
            "unique_name": session.name,
            "mode": session.mode,
            "ttl": session.ttl,
        }

    def every_resource_is_as_the_model_says(self) -> None:
        model = self.model
        self.do(self.inside.store.read(check_books, *(service.sid for service in model.services)))
        for service in model.services:
            rows = self.do(self.inside.pages(f"{self.home(service)}/PhoneNumbers", "phone_numbers"))
            assert {row["phone_number"]: (row["is_reserved"], row["in_use"]) for row in rows} == {
                number.value: (number.reserved, len({session for session, _ in model.holders(number)}))
                for number in model.numbers.values()
                if number.service is service
            }
            rows = self.do(self.inside.pages(f"{self.home(service)}/Sessions", "sessions"))
            shown = {row["sid"]: row for row in rows}
            here = [session for session in model.sessions if session.service is service]
            assert shown.keys() == {session.sid for session in here}
            for session in here:
                assert self.as_shown(session).items() <= shown[session.sid].items()
                self.check_members(session)

    def check_members(self, session: Session) -> None:
        rows = self.do(self.inside.pages(f"{self.path(session)}/Participants", "participants"))
        assert {
            row["sid"]: (row["identifier"], row["proxy_identifier"], row["date_deleted"] is not None)
            for row in rows
        } == {
            member.sid: (member.identifier, member.number.value, member.deleted) for member in session.members
        }

    def every_handset_has_what_the_model_says(self) -> None:
        rows = self.do(self.inside.pages("/sandbox/messages", "messages"))
        sent = [row for row in rows if row["direction"] == "to_handset"]
        assert Counter((row["from"], row["to"], row["body"]) for row in sent) == self.model.handed
        assert all(row["handovers"] == 1 for row in sent)

    def every_message_ends_as_it_should(self) -> None:
        for who in PEOPLE:
            self.behave(who, "deliver")
        for _ in range(2):
            self.pass_time(400)
        handed = {body for _, _, body in self.model.handed}
        for session in self.model.sessions:
            for row in self.do(self.inside.pages(f"{self.path(session)}/Interactions", "interactions")):
                body = json.loads(row["data"])["body"]
                assert (body in handed) is not (body in self.model.failed)
                assert row["outbound_resource_status"] == ("delivered" if body in handed else "failed")


TestModel = Machine.TestCase
TestModel.settings = settings(
    max_examples=min(settings.default.max_examples // 3, 100),
    stateful_step_count=40,
    phases=[phase for phase in Phase if phase is not Phase.explain],  # which would take longer than all else
)
