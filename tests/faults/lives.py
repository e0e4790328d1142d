"""The lives of one server: started, killed and started again on the same data, while people go on writing."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.load import WAIT_S, Load, Verdict, World, count_unknown, judge, wait_until_finished
from tests.support.server import Api, RealServer

SLOTS = 64

FULL = os.environ.get("FULL") == "1"
"""Whether there is time for the long version (`make test-faults`)."""


CRASHING = [sys.executable, str(Path(__file__).with_name("crashing_server.py"))]


@dataclass
class CrashingServer(RealServer):
    """A server that can be made to die at a commit, and whose next process is loading while this one lives."""

    command: list[str] = field(default_factory=lambda: CRASHING)
    _spare: subprocess.Popen[str] | None = None

    def spawn(self, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        process, self._spare = self._spare, None
        if process is None:
            process = super().spawn(stdin)
        else:
            assert process.stdin is not None
            process.stdin.write(json.dumps(self.environment) + "\n")
            process.stdin.close()
        if self.environment.get("CRASH_AT"):  # there will be a next life
            self._spare = replace(self, environment={**self.environment, "SPARE": "1"})._spawn_spare()
        return process

    def _spawn_spare(self) -> subprocess.Popen[str]:
        return super().spawn(subprocess.PIPE)

    def bury(self) -> None:
        """End what still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self._spare is not None:
            self._spare.kill()
            self._spare.communicate()


def tell_dead(server: RealServer) -> None:
    """Have it known that nobody is there any more. On PostgreSQL a process that has died is one of many until it has
    been silent for 15 seconds; lives shorter than that find everybody's next message held, and more of them each time.
    """
    if isinstance(server.database, str):
        with psycopg.connect(server.database) as connection:
            connection.execute("UPDATE runs SET seen_at = 0")


class Lives:
    """Counts the kills, and how many messages became unknown by each."""

    def __init__(self, server: CrashingServer) -> None:
        self.server = server
        self.kills = 0
        self.unknown_by_kill: list[int] = []
        self._unknown = 0
        self._load: Load | None = None

    def load(self, world: World, *, seed: int, threads: int = 6) -> Load:
        """People who write to whichever life there is. Enter it."""
        self._load = Load(world, seed=seed, threads=threads)
        if self.server.process is not None and self.server.process.poll() is None:
            self._load.address.move(self.server.url)
        return self._load

    @property
    def api(self) -> Api:
        return self.server.api

    def start(self, crash_at: str = "") -> None:
        """Begin a life, which ends by itself at `crash_at` if one is given; that may be before it is reached."""
        self.server.environment["CRASH_AT"] = crash_at
        self.server.start()
        # Whatever an earlier life had left uncertain is judged before the first request is taken.
        if self.kills:
            unknown = count_unknown(self.server.database)
            self.unknown_by_kill.append(unknown - self._unknown)
            self._unknown = unknown
        if self._load is not None:
            self._load.address.move(self.server.url)

    def end(self) -> None:
        """Wait until this life has come to the commit at which it ends."""
        code = self.server.ended(WAIT_S)
        assert code == -signal.SIGKILL, (code, self.server.log()[-2000:])
        self._note_kill()

    def crash(self, at: str) -> None:
        """A life that ends at this commit, under load or before anybody is served."""
        with contextlib.suppress(RuntimeError):
            self.start(at)
        self.end()

    def kill(self) -> None:
        self.server.kill()
        self._note_kill()

    def _note_kill(self) -> None:
        self.kills += 1
        tell_dead(self.server)

    def finish(self, world: World, **kwargs: Any) -> Verdict:
        """Wait until everything is done, and judge. The server must be up; afterwards it is stopped."""
        wait_until_finished(self.server.database)
        verdict = judge(world, self.server, **kwargs)
        assert all(0 <= unknown <= SLOTS for unknown in self.unknown_by_kill), self.unknown_by_kill
        assert verdict.unknown == sum(self.unknown_by_kill), "a message became unknown without a kill"
        assert self.server.stop() == 0, self.server.log()[-2000:]
        return verdict

    def tell(self, verdict: Verdict) -> str:
        """The figures in a line."""
        seed = f"seed {self._load.seed}, " if self._load else ""
        most = f" (by one kill at most {max(self.unknown_by_kill)})" if self.unknown_by_kill else ""
        return f"{seed}{self.kills} kills, {verdict}{most}"


def nth(rng: random.Random) -> int:
    """Which time a point is the last: often an early one, sometimes one in full swing."""
    return rng.choice([1, 2, 3, 5, 8, 13, 21])
