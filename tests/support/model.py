"""What a server should do, said as plainly as it goes: everything in memory, searched from end to end, no time saved.

Each method is a request: it raises `Refuse` with the code of the answer, or changes what there is. It shares nothing
with the product; of the areas it knows the few that its people and numbers are in.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

SECOND = 1_000_000
VALIDITY = 14_400 * SECOND
IDLE = KEPT = 90 * 86_400 * SECOND
REMEMBERED = 29 * 86_400 * SECOND
SWEEP = 5 * SECOND
AGAIN_S = [1, 5, 15, 60, 300]
SLOW_S = 2

COUNTRY = {"+1415": "US", "+1628": "US", "+1510": "US", "+1212": "US", "+1416": "CA", "+4420": "GB"}
OVERLAY = {"+1415", "+1628"}
BAY = {"+1415", "+1628", "+1510"}
REACH = {"country": 3, "radius": 2, "overlay": 1, "area-code": 0}


class Refuse(Exception):
    """The request is refused with this code."""

    @property
    def code(self) -> int:
        return int(self.args[0])


@dataclass(eq=False)
class Service:
    sid: str
    name: str
    ttl: int
    level: str
    behavior: str
    history: dict[str, list[str]] = field(default_factory=dict)
    missed: dict[str, int] = field(default_factory=dict)
    """Since when a sweep has found somebody in no Session any more."""


@dataclass(eq=False)
class Number:
    value: str
    sid: str = ""
    service: Service | None = None
    reserved: bool = False


@dataclass(eq=False)
class Member:
    """A participant. `queue`: what waits for it; until `busy` nothing more is handed over."""

    identifier: str
    number: Number
    sid: str = ""
    deleted: bool = False
    queue: list["Parcel"] = field(default_factory=list)
    busy: int = 0


@dataclass(eq=False)
class Session:
    service: Service
    name: str | None
    mode: str
    ttl: int
    expiry: int | None
    since: int
    status: str
    sid: str = ""
    reason: str | None = None
    ended: int | None = None
    used: int = 0
    members: list[Member] = field(default_factory=list)

    def present(self) -> list[Member]:
        return [member for member in self.members if not member.deleted]

    def limit(self) -> tuple[int, str]:
        if self.expiry is not None:
            return self.expiry, "date-expiry"
        base = max(self.since, self.used)
        return (base + self.ttl * SECOND, "ttl-expired") if self.ttl else (base + IDLE, "idle")


@dataclass(eq=False)
class Parcel:
    session: Session
    body: str
    expires: int
    tries: int = 0


class Model:
    """One account. `handed`: (from, to, body) of all that a carrier was given and took."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.sweep_at = now + SWEEP
        self.services: list[Service] = []
        self.numbers: dict[str, Number] = {}
        self.sessions: list[Session] = []
        self.scripts: dict[str, str] = {}
        self.handed: Counter[tuple[str, str, str]] = Counter()
        self.failed: set[str] = set()

    # Looking

    def active(self, service: Service) -> Iterator[Session]:
        return (s for s in self.sessions if s.service is service and s.status != "closed")

    def holders(self, number: Number, identifier: str | None = None) -> list[tuple[Session, Member]]:
        """Who is on this number now, or the one Session in which this person is."""
        found = [
            (session, member)
            for session in self.sessions
            for member in session.present()
            if session.status != "closed"
            and member.number is number
            and identifier in (None, member.identifier)
        ]
        assert identifier is None or len(found) <= 1, "the model itself shares a pair"
        return found

    def service_of(self, service: Service) -> Service:
        if service not in self.services:
            raise Refuse(20404)
        return service

    def session_of(self, session: Session) -> Session:
        if session not in self.sessions:
            raise Refuse(20404)
        return session

    def pool_number(self, service: Service, value: str) -> Number:
        number = self.numbers.get(value)
        if self.service_of(service) and (number is None or number.service is not service):
            raise Refuse(20404)
        assert number is not None
        return number

    # Services and numbers

    def create_service(self, name: str, **fields: object) -> Service:
        if any(service.name == name for service in self.services):
            raise Refuse(80602)
        self.services.append(Service("", name, **fields))  # type: ignore[arg-type]
        return self.services[-1]

    def update_service(self, service: Service, **fields: object) -> None:
        self.service_of(service)
        for name, value in fields.items():
            setattr(service, name, value)

    def delete_service(self, service: Service) -> None:
        self.services.remove(self.service_of(service))
        self.sessions = [session for session in self.sessions if session.service is not service]
        for number in self.numbers.values():
            if number.service is service:
                number.service = None

    def join(self, service: Service, value: str, reserved: bool) -> Number:
        self.service_of(service)
        number = self.numbers.setdefault(value, Number(value))
        if number.service is not None:
            raise Refuse(80104 if number.service is service else 80101)
        number.service, number.reserved = service, reserved
        return number

    def reserve(self, service: Service, value: str, reserved: bool) -> None:
        self.pool_number(service, value).reserved = reserved

    def leave(self, service: Service, value: str) -> None:
        number = self.pool_number(service, value)
        if self.holders(number):
            raise Refuse(80611)
        number.service = None

    # Sessions and participants

    def create_session(
        self,
        service: Service,
        name: str | None,
        mode: str,
        ttl: int | None,
        expiry: int | None,
        status: str,
        people: list[str],
    ) -> Session:
        if len(people) > 2:
            raise Refuse(80609)
        self.service_of(service)
        if name is not None and any(s.name == name for s in self.sessions if s.service is service):
            raise Refuse(80603)
        ttl = service.ttl if ttl is None else ttl
        session = Session(service, name, mode, ttl, expiry, self.now, status)
        if status == "closed":
            session.reason, session.ended = "api", self.now
        # Chosen on what there was before, for both of them; refused in their order.
        wishes = [self.try_to_choose(service, who) for who in people]
        for who, wish in zip(people, wishes, strict=True):
            session.members.append(self.admit(session, who, None, wish))
        for member in session.members:
            self.remember(service, member)
        self.sessions.append(session)
        return session

    def add(self, session: Session, who: str, explicit: str | None) -> Member:
        self.session_of(session)
        wish = self.try_to_choose(session.service, who) if explicit is None else 0
        member = self.admit(session, who, explicit, wish)
        session.members.append(member)
        self.remember(session.service, member)
        return member

    def admit(self, session: Session, who: str, explicit: str | None, wish: Number | int) -> Member:
        if session.status == "closed":
            raise Refuse(80607)
        if who in self.numbers and self.numbers[who].service is not None:
            raise Refuse(80404)
        if any(member.identifier == who for member in session.present()):
            raise Refuse(80103)
        if any(member.identifier == who for member in session.members):
            raise Refuse(80612)
        if len(session.present()) >= 2:
            raise Refuse(80609)
        if explicit is not None:
            wish = self.explicit(session.service, who, explicit)
        if isinstance(wish, int):
            raise Refuse(wish)
        return Member(who, wish)

    def explicit(self, service: Service, who: str, value: str) -> Number:
        if value not in self.numbers:
            raise Refuse(80606)
        number = self.numbers[value]
        if number.service is not service:
            raise Refuse(80605)
        if self.holders(number, who):
            raise Refuse(80604)
        return number

    def remember(self, service: Service, member: Member) -> None:
        service.missed.pop(member.identifier, None)
        had = service.history.setdefault(member.identifier, [])
        had[:] = [member.number.value, *(value for value in had if value != member.number.value)]

    def try_to_choose(self, service: Service, who: str) -> Number | int:
        try:
            return self.choose(service, who)
        except Refuse as refusal:
            return refusal.code

    def choose(self, service: Service, who: str) -> Number:
        """The rules one after the other, each on what the one before has left."""

        def keep(numbers: list[Number], code: int) -> list[Number]:
            if not numbers:
                raise Refuse(code)
            return numbers

        def far(number: Number) -> int:
            home, area = who[:5], number.value[:5]
            if service.level == "country" or not who.startswith("+1") or area == home:
                return 0
            return 1 if {home, area} <= OVERLAY else 2 if {home, area} <= BAY else 3

        country = COUNTRY[who[:5]]
        left = keep([n for n in self.numbers.values() if n.service is service], 80205)
        serving = {"US": {"US"}, "CA": {"CA", "US"}, "GB": {"GB"}}[country]
        left = keep([n for n in left if COUNTRY[n.value[:5]] in serving], 80203)
        left = keep([n for n in left if far(n) <= REACH[service.level]], 80206)
        left = keep([n for n in left if not n.reserved], 80207)
        left = keep([n for n in left if not self.holders(n, who)], 80208)
        had = [n for value in service.history.get(who, []) for n in left if n.value == value]
        if service.behavior == "prefer-sticky":
            left = had[:1] or left
        else:
            left = [n for n in left if n not in had] or had[-1:]
        left = [n for n in left if COUNTRY[n.value[:5]] == country] or left
        left = [n for n in left if far(n) == min(map(far, left))]
        fewest = min(len(self.holders(n)) for n in left)
        return min((n for n in left if len(self.holders(n)) == fewest), key=lambda n: n.sid)

    def remove(self, session: Session, member: Member) -> None:
        self.session_of(session)
        if member.deleted:
            raise Refuse(20404)
        member.deleted = True

    def update_session(self, session: Session, status: str | None, ttl: int | None) -> None:
        if status == "failed":  # is no word that a request may say, whatever it is about
            raise Refuse(80608)
        self.session_of(session)
        if (session.status, status) in {("closed", "open"), ("in-progress", "open")}:
            raise Refuse(80608)
        if session.status == "closed":
            if status == "in-progress":
                self.reopen(session, ttl)
            elif ttl is not None or status is None:
                raise Refuse(80607)
            return
        session.ttl = session.ttl if ttl is None else ttl
        if status == "closed":
            session.status, session.reason, session.ended = "closed", "api", self.now
        elif status is not None:
            session.status = status
        limit, reason = session.limit()
        if session.status != "closed" and limit <= self.now:  # it was not over until it was said to be
            session.status, session.reason, session.ended = "closed", reason, self.now

    def reopen(self, session: Session, ttl: int | None) -> None:
        for member in sorted(session.present(), key=lambda member: member.sid):
            if member.number.service is not session.service:
                raise Refuse(80605)
            if self.holders(member.number, member.identifier):
                raise Refuse(80604)
        session.status, session.reason, session.ended, session.since = "in-progress", None, None, self.now
        session.ttl = session.ttl if ttl is None else ttl
        if session.expiry is not None and session.expiry <= self.now:
            session.expiry = None

    def delete_session(self, session: Session) -> None:
        self.sessions.remove(self.session_of(session))

    # Traffic

    def message(self, session: Session, member: Member, body: str) -> None:
        self.session_of(session)
        if member.deleted:
            raise Refuse(20404)
        if session.status == "closed":
            raise Refuse(80607)
        if session.mode == "voice-only":
            raise Refuse(80910)
        self.carry(session, member, body)

    def text(self, sender: str, value: str, body: str) -> None:
        number = self.numbers.get(value)
        if number is None or number.service is None:
            raise Refuse(20404)
        for session, member in self.holders(number, sender):
            for partner in session.present():
                if partner is not member and session.mode != "voice-only":
                    self.carry(session, partner, body)

    def carry(self, session: Session, to: Member, body: str) -> None:
        session.used = self.now
        session.status = "in-progress"
        to.queue.append(Parcel(session, body, self.now + VALIDITY))

    def script(self, who: str, outcome: str) -> None:
        self.scripts[who] = outcome

    def settle(self) -> None:
        """What time brings about: Sessions end and, later, are gone; and what waits is handed over."""
        for session in list(self.sessions):
            limit, reason = session.limit()
            if session.status != "closed" and limit <= self.now:
                session.status, session.reason, session.ended = "closed", reason, limit
            if session.ended is not None and session.ended + KEPT <= self.now:
                self.sessions.remove(session)
        if self.now >= self.sweep_at:
            self.sweep_at = self.now + SWEEP
            self.forget()
        for session in self.sessions:
            for member in session.members:
                while member.queue and member.busy <= self.now:
                    self.hand_over(session, member)

    def forget(self) -> None:
        for service in self.services:
            here = {m.identifier for s in self.sessions if s.service is service for m in s.members}
            for who in set(service.history) - here:
                if service.missed.setdefault(who, self.now) + REMEMBERED <= self.now:
                    del service.history[who], service.missed[who]

    def hand_over(self, session: Session, member: Member) -> None:
        parcel = member.queue.pop(0)
        others = [
            other for other, _ in self.holders(member.number, member.identifier) if other is not session
        ]
        if parcel.expires <= self.now or member.number.service is not session.service or others:
            self.failed.add(parcel.body)
            return
        outcome = self.scripts.get(member.identifier)
        if outcome == "throttle":
            member.busy = self.now + AGAIN_S[min(parcel.tries, 4)] * SECOND
            parcel.tries += 1
            member.queue.insert(0, parcel)
            return
        if outcome == "slow":
            member.busy = self.now + SLOW_S * SECOND
        self.handed[member.number.value, member.identifier, parcel.body] += 1
