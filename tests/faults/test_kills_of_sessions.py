"""kill -9 while Sessions begin and end: what was answered stays so, and the books agree with what is there."""

import asyncio
import contextlib
import http.client
import json
import random
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Self

import pytest

from maskline.clock import SystemClock
from maskline.store.engine import Store
from maskline.store.postgres import PostgresStore
from maskline.store.sqlite import SqliteStore
from tests.faults.lives import FULL, CrashingServer, Lives
from tests.faults.load import AGAIN_S, WAIT_S
from tests.support.books import check_books
from tests.support.eventually import eventually
from tests.support.server import Api
from tests.support.world import fresh_number

FUNCTIONS = [
    "insert_session",
    "add_participant",
    "write_closed",
    "write_reopened",
    "delete_participant",
    "delete_session",
]
POINTS = [f"{function}:{moment}" for function in FUNCTIONS for moment in ("before", "after")]
REFUSED = {400, 409}
"""Whoever wants a pair that another Session has, or a number where none is left, is."""
OPEN, CLOSED, GONE = "in-progress", "closed", "gone"


@pytest.mark.parametrize("lives", ["sqlite", "postgres"], indirect=True)
def test_what_was_answered_stays_so(lives: Lives, report: Callable[[str], None]) -> None:
    rng = random.Random(12)
    points = rng.sample(POINTS * 10, len(POINTS) * 10 if FULL else 6)
    lives.start(f"{points[0]}:3")
    service = lives.api.make("/v1/Services", {"UniqueName": "offices"})["sid"]
    for _ in range(3):
        lives.api.make(f"/v1/Services/{service}/PhoneNumbers", {"PhoneNumber": fresh_number()})
    people = [fresh_number("212") for _ in range(8)]
    clerks = [Clerk(lives, f"/v1/Services/{service}/Sessions", people, seed) for seed in range(4)]
    with contextlib.ExitStack() as working:
        for clerk in clerks:
            working.enter_context(clerk)
        lives.end()
        for point in points[1:]:
            lives.crash(f"{point}:{rng.choice([1, 2, 3, 5, 8])}")
        lives.start()
        for clerk in clerks:
            clerk.wait_for(10)
    unsure = sum(clerk.check(lives.api) for clerk in clerks)
    assert lives.server.stop() == 0
    asyncio.run(check_database(lives.server, service))
    answered = sum(clerk.answered for clerk in clerks)
    report(f"seed 12, {lives.kills} kills, {answered} answered, {unsure} in a state that nobody was told")


async def check_database(server: CrashingServer, service: str) -> None:
    clock = SystemClock()
    database: Store = (
        await SqliteStore(server.database, clock).open()
        if isinstance(server.database, Path)
        else await PostgresStore(server.database, clock, run="RN" + "1" * 32, serve=False).open()
    )
    try:
        await database.read(check_books, service)
    finally:
        await database.close()


class Clerk:
    """Makes Sessions of few people over fewer numbers, closes, opens and deletes them and who is in them; several do,
    each their own Sessions, and are in each other's way. A context: at its end the clerk has stopped.
    """

    def __init__(self, lives: Lives, path: str, people: list[str], seed: int) -> None:
        self.answered = 0
        self._lives = lives
        self._path = path
        self._people = people
        self._rng = random.Random(seed)
        self._numbers = count()
        self._name = f"clerk {seed}"
        self._asked: tuple[str, list[str]] | None = (
            None  # a create that has not been answered: its key, and for whom
        )
        self._sessions: list[str] = []
        # What each Session and Participant is; where the answer was not heard, what it may be.
        self._known: dict[str, set[str]] = {}
        self._done = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "a clerk hangs"
        if self._failure is not None:
            raise self._failure

    def wait_for(self, more: int) -> None:
        """Return when so many more changes have been acknowledged, or none will be."""
        target = self.answered + more
        eventually(lambda: self.answered >= target or self._failure is not None, WAIT_S)

    def check(self, api: Api) -> int:
        """Hold what is there against what is known, and tell of how many it is not all."""
        for path, known in self._known.items():
            reply = api.get(path)
            deleted = reply.status == 404 or reply.json.get("date_deleted")
            state = GONE if deleted else reply.json.get("status", OPEN)
            assert state in known | self._gone_above(path), (path, state, known)
        return sum(len(known) > 1 for known in self._known.values())

    def _gone_above(self, path: str) -> set[str]:
        """With its Session a Participant is gone."""
        return self._known[path.partition("/Participants/")[0]] & {GONE}

    def _work(self) -> None:
        try:
            while not self._done.is_set():
                api = Api(self._lives.server.url)
                try:
                    self._step(api)
                    self.answered += 1
                except (OSError, http.client.HTTPException):
                    self._done.wait(AGAIN_S)
                finally:
                    api.close()
        except BaseException as error:
            self._failure = error

    def _step(self, api: Api) -> None:
        if self._asked or not self._sessions or (len(self._sessions) < 4 and self._rng.random() < 0.5):
            self._make(api)
            return
        session = self._rng.choice(self._sessions)
        wanted = self._rng.choice([OPEN, CLOSED, GONE])
        if wanted == GONE and self._rng.random() < 0.5:
            inside = [path for path in self._known if path.startswith(f"{session}/")]
            self._change(api, self._rng.choice([*inside, session]), GONE)
        else:
            self._change(api, session, wanted)

    def _make(self, api: Api) -> None:
        """Again until it is answered: a Session of which nobody knew would have its pairs for ever."""
        if self._asked is None:
            people = [json.dumps({"Identifier": one}) for one in self._rng.sample(self._people, 2)]
            self._asked = (f"{self._name}, {next(self._numbers)}", people)
        key, people = self._asked
        form = {"Participants": people, "Status": OPEN}
        made = api.post(self._path, form, headers={"Idempotency-Key": key})
        assert made.status in REFUSED | {201}, (made.status, made.raw)
        self._asked = None
        if made.status == 201:
            session = f"{self._path}/{made.json['sid']}"
            self._known[session] = {OPEN}
            self._sessions.append(session)
            for one in api.get(f"{session}/Participants").json["participants"]:
                self._known[f"{session}/Participants/{one['sid']}"] = {OPEN}

    def _change(self, api: Api, path: str, wanted: str) -> None:
        before = self._known[path]
        self._known[path] = before | {wanted}
        reply = api.delete(path) if wanted == GONE else api.post(path, {"Status": wanted})
        if reply.status == 404:
            assert GONE in before | self._gone_above(path), (path, before)
            self._known[path] = {GONE}
        elif reply.status in REFUSED:
            self._known[path] = before
        else:
            assert reply.status in {200, 204}, (reply.status, reply.raw)
            self._known[path] = {wanted}
        if path in self._sessions and self._known[path] == {GONE}:
            self._sessions.remove(path)
