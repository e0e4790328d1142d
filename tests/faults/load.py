"""People who write to each other through a server that keeps dying, and the judge of what became of their messages.

Each thread owns some Sessions and does one thing after the other: an API message to a participant, or a text from a
handset. So the messages to one participant have an order, `Letter.number`, in which they were accepted. A thread whose
connection breaks waits for the next life of the server. The judge asks the sandbox, whose books are the witness.
"""

import http.client
import json
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

from maskline.domain.interaction import MessageStatus
from maskline.domain.model import OutboxState
from maskline.domain.problems import DELIVERY_UNKNOWN
from tests.support.eventually import eventually
from tests.support.private import check_private
from tests.support.server import Api, RealServer, look
from tests.support.world import fresh_number

UNKNOWN = int(MessageStatus.DELIVERY_UNKNOWN)
WAIT_S = 120.0
AGAIN_S = 0.05

# What handsets are scripted to do, the rest deliver at once. Every one of these ends in exactly one delivery.
SCRIPTS: list[dict[str, Any]] = [
    {"Outcome": "slow", "DelayMs": 300},
    {"Outcome": "receipt-early"},
    {"Outcome": "receipt-twice"},
    {"Outcome": "throttle", "Times": 1},
    {"Outcome": "unreachable", "Times": 1},
]


@dataclass(eq=False)
class Seat:
    """A participant of a Session: a handset, and the proxy number at which its partner is reached."""

    sid: str
    session: str
    handset: str
    proxy: str

    @property
    def messages(self) -> str:
        return f"{self.session}/Participants/{self.sid}/MessageInteractions"


@dataclass(eq=False)
class Letter:
    """A message that somebody tried to send to `seat`."""

    body: str
    seat: Seat
    by_api: bool
    number: int
    key: str | None = None
    sid: str | None = None
    acknowledged: bool = False
    refused: bool = False
    replayed: bool = False


@dataclass
class World:
    """A Service whose Sessions have two seats each, and every letter written in it."""

    service: str
    pairs: list[tuple[Seat, Seat]]
    letters: list[Letter] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def seats(self) -> list[Seat]:
        return [seat for pair in self.pairs for seat in pair]

    def acknowledged(self) -> int:
        return sum(letter.acknowledged for letter in self.letters)


def make_world(api: Api, sessions: int = 50, **abilities: Any) -> World:
    """So many Sessions over a small pool. Every first seat's handset is in two of them, so only its number tells."""
    service = api.make("/v1/Services", {"UniqueName": f"faults {fresh_number()}"})
    for _ in range(4):
        api.make(f"/v1/Services/{service['sid']}/PhoneNumbers", {"PhoneNumber": fresh_number()})
    if abilities:
        api.make("/sandbox/behaviour", abilities)
    handsets = [fresh_number("212") for _ in range((sessions + 1) // 2)]
    pairs = []
    for i in range(sessions):
        two = [handsets[i // 2], fresh_number("212")]
        path = f"/v1/Services/{service['sid']}/Sessions"
        session = api.make(path, {"Participants": [json.dumps({"Identifier": one}) for one in two]})
        people = _all(api, f"{path}/{session['sid']}/Participants", "participants")
        seats = {
            one["identifier"]: Seat(
                one["sid"], f"{path}/{session['sid']}", one["identifier"], one["proxy_identifier"]
            )
            for one in people
        }
        pairs.append((seats[two[0]], seats[two[1]]))
    return World(service["sid"], pairs)


def script_handsets(api: Api, world: World, rng: random.Random, share: float = 0.5) -> None:
    """Have this share of the handsets behave in the ways of `SCRIPTS`."""
    handsets = sorted({seat.handset for seat in world.seats})
    for handset in rng.sample(handsets, int(len(handsets) * share)):
        api.make("/sandbox/behaviour", {"To": handset, **rng.choice(SCRIPTS)})


class Address:
    """Where the server is in its present life; threads that lost it wait here for the next, unless it is one of several
    processes that die at an address that stays.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._life = 0
        self._url = ""
        self._stays = False

    def move(self, url: str, *, stays: bool = False) -> None:
        with self._changed:
            self._life += 1
            self._url = url
            self._stays = stays
            self._changed.notify_all()

    def later_than(self, life: int) -> tuple[int, str]:
        with self._changed:
            if self._stays:
                self._changed.wait(AGAIN_S)
            else:
                assert self._changed.wait_for(lambda: self._life > life, WAIT_S), (
                    "the server did not come back"
                )
            return self._life, self._url


class Load:
    """Threads that write letters until they are told to stop. A context: at its end every thread has ended."""

    def __init__(
        self, world: World, seed: int, *, threads: int = 6, keys: float = 0.5, texts: float = 0.5
    ) -> None:
        self.world = world
        self.seed = seed
        self.address = Address()
        self._keys, self._texts = keys, texts
        self._stop = threading.Event()
        self._progress = threading.Condition()
        self._done = 0
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(
                target=self._guarded, args=(world.pairs[i::threads], random.Random(seed * 1000 + i))
            )
            for i in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.address.move("")  # whoever waits for a next life need not
        for thread in self._threads:
            thread.join(WAIT_S)
        assert not any(thread.is_alive() for thread in self._threads), "a thread hangs"
        if self._failures:
            raise self._failures[0]

    def wait_for(self, more: int) -> None:
        """Return when so many more letters have been acknowledged."""
        with self._progress:
            target = self._done + more
            came = self._progress.wait_for(lambda: self._done >= target or self._failures, WAIT_S)
        assert came, f"no progress: {target - self._done} letters short"

    def _guarded(self, pairs: list[tuple[Seat, Seat]], rng: random.Random) -> None:
        try:
            self._write(pairs, rng)
        except BaseException as error:
            with self._progress:
                self._failures.append(error)
                self._progress.notify_all()

    def _write(self, pairs: list[tuple[Seat, Seat]], rng: random.Random) -> None:
        api, life = Api(""), 0
        letter = None
        while not self._stop.is_set():
            if not api.url:
                life, url = self.address.later_than(life)
                api = Api(url)
                continue
            if letter is None:
                number = next(self.world.numbers)
                seat, partner = rng.sample(rng.choice(pairs), 2)
                by_api = rng.random() >= self._texts
                key = f"key {number}" if by_api and rng.random() < self._keys else None
                letter = Letter(f"{number} to {seat.sid}", seat, by_api, number, key)
                self.world.letters.append(letter)
            try:
                sent = send(api, letter, partner)
            except (OSError, http.client.HTTPException):
                api = Api("")
                if letter.key is None:  # only a key makes it safe to send it once more
                    letter = None
                continue
            if sent:
                with self._progress:
                    self._done += 1
                    self._progress.notify_all()
            letter = None
        api.close()


def send(api: Api, letter: Letter, partner: Seat) -> bool:
    """One try; whether it was acknowledged. 503 says that nothing was stored; every other refusal is an error."""
    if letter.by_api:
        headers = {"Idempotency-Key": letter.key} if letter.key else {}
        reply = api.post(letter.seat.messages, {"Body": letter.body}, headers=headers)
    else:
        form = {"From": partner.handset, "To": partner.proxy, "Body": letter.body}
        reply = api.post("/sandbox/messages", form)
    if reply.status == 503:
        letter.refused = True
        threading.Event().wait(AGAIN_S)
        return False
    assert reply.status == (200 if letter.by_api else 201), (reply.status, reply.raw)
    letter.acknowledged = True
    if letter.by_api:
        letter.sid = reply.json["sid"]
        letter.replayed = reply.headers.get("idempotent-replayed") == "true"
    return True


# Looking


def count_unknown(database: Path | str) -> int:
    return look(database, "SELECT count(*) FROM interactions WHERE outbound_status = ?", UNKNOWN)[0][0]


def count_started(database: Path | str) -> int:
    """Messages that are being handed over, or were when their process ended."""
    return look(database, "SELECT count(*) FROM outbox WHERE state = ?", int(OutboxState.STARTED))[0][0]


def wait_until_finished(database: Path | str) -> None:
    """Nothing is left to send or to bring, and no report waits for a message that is there by now."""

    def finished() -> bool:
        ((unsent, unbrought, unmerged),) = look(
            database,
            "SELECT (SELECT count(*) FROM outbox WHERE topic IN ('send', 'intercept', 'out_of_session')),"
            " (SELECT count(*) FROM sandbox_todo),"
            " (SELECT count(*) FROM outbox o JOIN interactions i ON i.carrier_id = o.order_key"
            " WHERE o.topic = 'receipt')",
        )
        return unsent == unbrought == unmerged == 0

    eventually(finished, WAIT_S)


def _all(api: Api, path: str, envelope: str) -> Iterator[Any]:
    following: str | None = f"{path}{'&' if '?' in path else '?'}PageSize=1000"
    while following is not None:
        reply = api.get(following)
        assert reply.status == 200, f"{path} is lost: {reply.raw!r}"
        yield from reply.json[envelope]
        following = reply.json["meta"]["next_page_url"]


# Judging


@dataclass
class Verdict:
    """Figures of one story, for the report."""

    acknowledged: int = 0
    unanswered: int = 0
    stored_unanswered: int = 0
    delivered: int = 0
    unknown: int = 0
    repeated: int = 0
    replayed: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{count} {name.replace('_', ' and ')}" for name, count in asdict(self).items())


def judge(
    world: World, server: RealServer, *, most_handovers: int = 1, unknown_allowed: bool = True
) -> Verdict:
    """Hold every promise about messages against the witness and the Interactions. Nothing may be unfinished."""
    api = server.api
    letters = {letter.body: letter for letter in world.letters}
    assert len(letters) == len(world.letters)

    at_handsets: dict[str, Any] = {}
    for row in _all(api, "/sandbox/messages?Direction=to_handset", "messages"):
        letter = letters[row["body"]]  # nobody wrote anything else
        assert row["body"] not in at_handsets, f"twice at a handset: {row}"
        at_handsets[row["body"]] = row
        assert (row["from"], row["to"]) == (letter.seat.proxy, letter.seat.handset), (
            f"to a wrong person: {row}"
        )
        assert 1 <= row["handovers"] <= most_handovers, row
    written = Counter(
        row["body"] for row in _all(api, "/sandbox/messages?Direction=from_handset", "messages")
    )
    assert not written or max(written.values()) == 1

    legs: dict[str, Any] = {}
    for session in {seat.session for seat in world.seats}:
        for row in _all(api, f"{session}/Interactions", "interactions"):
            body = json.loads(row["data"])["body"]
            assert body not in legs, f"two Interactions of one message: {body}"
            legs[body] = row
            assert row["session_sid"] == session.rsplit("/", 1)[1]
            assert row["outbound_participant_sid"] == letters[body].seat.sid
    by_api = {
        json.loads(row["data"])["body"]: row["sid"]
        for seat in world.seats
        for row in _all(api, f"{seat.messages}", "interactions")
    }

    verdict = Verdict()
    for body, letter in letters.items():
        leg, row = legs.get(body), at_handsets.get(body)
        if letter.acknowledged:
            verdict.acknowledged += 1
            verdict.replayed += letter.replayed
            assert leg is not None, f"acknowledged and lost: {letter}"
            if letter.by_api:
                assert leg["sid"] == letter.sid == by_api[body]
            else:
                assert written[body] == 1
                assert leg["inbound_resource_status"] == "delivered"
        else:
            verdict.unanswered += 1
            verdict.stored_unanswered += leg is not None
            # On PostgreSQL nobody may have known. A text is with the sandbox, which is a carrier and brings it again.
            refused = letter.refused and letter.by_api and isinstance(server.database, Path)
            assert leg is None or not refused, f"refused and stored: {letter}"
        if leg is None:
            assert row is None, f"at a handset without an Interaction: {row}"
        elif leg["outbound_resource_status"] == "delivery-unknown":
            assert unknown_allowed, leg
            verdict.unknown += 1
        else:
            assert leg["outbound_resource_status"] == "delivered", leg
            assert row is not None and row["status"] == "delivered", f"lost: {leg}"
        if row is not None:
            verdict.delivered += 1
            verdict.repeated += row["handovers"] > 1

    _judge_order(world, at_handsets, server)
    told = look(server.database, "SELECT interaction_sid FROM events WHERE code = ?", DELIVERY_UNKNOWN.number)
    unknown = [leg["sid"] for leg in legs.values() if leg["outbound_resource_status"] == "delivery-unknown"]
    assert sorted(sid for (sid,) in told) == sorted(unknown), "one event for each unknown message"
    logged = server.log().splitlines()
    check_private(server.database, logged)
    defects = [line for line in logged if '.defect"' in line or '"store.refused"' in line]
    assert defects == [], "what has gone wrong is nobody's defect"
    return verdict


def finish(world: World, server: RealServer, most_unknown: int) -> str:
    """Wait until everything is done, and judge; the figures."""
    wait_until_finished(server.database)
    verdict = judge(world, server)
    assert verdict.unknown <= most_unknown
    return str(verdict)


def _judge_order(world: World, at_handsets: dict[str, Any], server: RealServer) -> None:
    """By the instants of the sandbox's books, which are the store's: its SIDs are made by the clock of each process."""
    books = dict(look(server.database, "SELECT sid, created_at FROM sandbox_messages"))
    arrived: dict[Seat, list[tuple[int, int]]] = defaultdict(list)
    for letter in world.letters:
        if letter.acknowledged and letter.body in at_handsets:
            arrived[letter.seat].append((books[at_handsets[letter.body]["sid"]], letter.number))
    for seat, rows in arrived.items():
        numbers = [number for _, number in sorted(rows)]
        assert numbers == sorted(numbers), f"out of order at {seat}: {numbers}"
