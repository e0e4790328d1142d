"""kill -9 at the commits at which a customer is asked and told: each message once, each status told, one Session."""

import http.client
import json
import random
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Self

import pytest

from tests.faults.customer import Customer, serving
from tests.faults.lives import FULL, Lives, nth
from tests.faults.load import look, make_world, script_handsets, wait_until_finished
from tests.support.eventually import eventually
from tests.support.server import Api
from tests.support.world import fresh_number

WAIT_S = 120.0
VERDICT = ["receive_messages", "claim_intercepts", "judge_intercepts", "start_sends", "record_outcomes"]
TELLING = ["claim_callbacks", "record_attempts"]
STRANGER = ["receive_messages", "claim_strangers", "insert_session", "settle_strangers", "record_outcomes"]


def points_of(functions: list[str], rng: random.Random) -> list[str]:
    points = [f"{function}:{moment}" for function in functions for moment in ("before", "after")]
    points *= 5 if FULL else 1
    rng.shuffle(points)
    return points


@pytest.mark.parametrize("lives", ["sqlite", "postgres"], indirect=True)
def test_verdicts_and_callbacks(lives: Lives, report: Callable[[str], None]) -> None:
    rng = random.Random(8)
    lives.server.environment["MASKLINE_ALLOW_PRIVATE_WEBHOOKS"] = "true"
    with serving() as customer:
        lives.start("judge_intercepts:after:5")
        world = make_world(lives.api)
        urls = {"InterceptCallbackUrl": f"{customer.url}/verdict", "CallbackUrl": f"{customer.url}/told"}
        assert lives.api.post(f"/v1/Services/{world.service}", urls).status == 200
        script_handsets(lives.api, world, rng)
        with lives.load(world, seed=8) as load:
            lives.end()
            for point in points_of(VERDICT + TELLING, rng):
                lives.crash(f"{point}:{nth(rng)}")
            lives.start()
            load.wait_for(50)
        wait_until_finished(lives.server.database)
        untold = "SELECT count(*) FROM outbox WHERE topic = 'callback'"
        eventually(lambda: look(lives.server.database, untold) == [(0,)], WAIT_S)
        check_told(lives, customer)
        report(lives.tell(lives.finish(world)))


def check_told(lives: Lives, customer: Customer) -> None:
    """Of every Interaction its beginning and its end were told, in the order of its statuses."""
    order = ["queued", "delivery-unknown", "sent", "failed", "undelivered", "delivered"]
    words = {10: "queued", 30: "delivery-unknown", 40: "sent", 70: "delivered"}
    rows = look(lives.server.database, "SELECT sid, outbound_status FROM interactions")
    assert len(rows) > 50
    for sid, status in rows:
        told = [form["outboundResourceStatus"] for form in customer.told[sid].values()]
        assert told == sorted(set(told), key=order.index), (sid, told)
        assert (told[0], told[-1]) == ("queued", words[status]), (sid, told, status)


@pytest.mark.parametrize("lives", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("strangers", [300 if FULL else 90])
def test_strangers(lives: Lives, report: Callable[[str], None], strangers: int) -> None:
    """Each writes twice. They are joined with their partner once, and the partner has each text once, in order."""
    rng = random.Random(9)
    lives.server.environment["MASKLINE_ALLOW_PRIVATE_WEBHOOKS"] = "true"
    with serving() as customer:
        points = points_of(STRANGER, rng)
        lives.start(f"{points[0]}:3")
        url = {"UniqueName": "strangers", "OutOfSessionCallbackUrl": f"{customer.url}/stranger"}
        service = lives.api.make("/v1/Services", url)["sid"]
        numbers = [fresh_number() for _ in range(3)]
        for number in numbers:
            lives.api.make(f"/v1/Services/{service}/PhoneNumbers", {"PhoneNumber": number})
        people = [fresh_number("212") for _ in range(strangers)]
        customer.partners = {one: fresh_number("212") for one in people}
        writing = Writing(lives, people, numbers)
        with writing:
            lives.end()
            for point in points[1:]:
                lives.crash(f"{point}:{rng.choice([1, 2, 3, 5])}")
            lives.start()
            writing.finish()
        wait_until_finished(lives.server.database)
        check_strangers(lives, customer, writing)
        assert all(0 <= unknown <= 64 for unknown in lives.unknown_by_kill)
        report(
            f"{lives.kills} kills, {len(writing.acknowledged)} texts of {strangers} strangers acknowledged"
        )
        assert lives.server.stop() == 0


class Writing:
    """One thread through which strangers write, each twice, for as long as there are any; then they begin again."""

    def __init__(self, lives: Lives, people: list[str], numbers: list[str]) -> None:
        self._lives, self._people, self._numbers = lives, people, numbers
        self.acknowledged: list[str] = []
        self.tried: set[str] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def finish(self) -> None:
        """Wait until everybody has written at least once."""
        eventually(lambda: len(self.acknowledged) >= len(self._people), WAIT_S)

    def _write(self) -> None:
        count = 0
        while not self._done.is_set():
            person = self._people[count // 2 % len(self._people)]
            body = f"{count:06d} {person}"
            number = self._numbers[count // 2 % len(self._numbers)]
            count += 1
            self.tried.add(body)
            api = Api(self._lives.server.url)
            try:
                reply = api.post("/sandbox/messages", {"From": person, "To": number, "Body": body})
                if reply.status == 201:
                    self.acknowledged.append(body)
            except (OSError, http.client.HTTPException, RuntimeError):
                self._done.wait(0.05)
            finally:
                api.close()


def check_strangers(lives: Lives, customer: Customer, writing: Writing) -> None:
    rows = look(
        lives.server.database,
        "SELECT to_number, body, handovers FROM sandbox_messages WHERE direction = 'to_handset' ORDER BY created_at",
    )
    arrived = {body: (to, handovers) for to, body, handovers in rows}
    assert len(arrived) == len(rows), "twice at a handset"
    unknown = {
        json.loads(data)["body"]
        for (data,) in look(lives.server.database, "SELECT data FROM interactions WHERE outbound_status = 30")
    }
    for body in writing.acknowledged:
        assert body in arrived or body in unknown, f"lost: {body}"
    for body, (to, handovers) in arrived.items():
        assert body in writing.tried
        assert handovers == 1
        assert to == customer.partners[body.split(" ")[1]], "to a wrong person"
    by_person: dict[str, list[str]] = defaultdict(list)
    for _, body, _ in rows:
        by_person[body.split(" ")[1]].append(body)
    assert all(bodies == sorted(bodies) for bodies in by_person.values()), "out of order"
    pairs = look(
        lives.server.database,
        "SELECT identifier_key, proxy_identifier, count(*) FROM participants WHERE active = 1 GROUP BY 1, 2",
    )
    assert all(count == 1 for *_, count in pairs)
    loose = look(lives.server.database, "SELECT count(*) FROM interactions WHERE session_sid = ''")
    assert loose == [(0,)], "a message is left outside its Session"
    assert look(lives.server.database, "SELECT count(*) FROM events WHERE code NOT IN (49001)") == [(0,)]
