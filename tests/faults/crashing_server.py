"""The real server, which kills itself (SIGKILL) at one chosen commit.

Run as `python crashing_server.py serve --data DIR --port 0` with CRASH_AT=FUNCTION:MOMENT:N in the environment.
FUNCTION is a function of a transaction, such as `accept_messages`; the N-th time that a commit carries some work of it,
the process dies: `before` the COMMIT, so that nothing of it is stored, or `after` it and before anybody has been told.
Without CRASH_AT it is the server as it is. With FREEZE=1 it is not killed but frozen (SIGSTOP) until it is thawed.
With CONFLICT_EVERY=N each N-th COMMIT on PostgreSQL is undone and fails as one does
that has lost against another transaction. With SPARE=1 it loads its modules and then waits for a line on its input, a
JSON object of what to add to the environment: so the next life is ready when the present one ends.

Production code has no hooks for this. Two things are wrapped from outside, and both are the narrowest there are: the
function itself, wherever a module holds it, tells that it has run; and every connection is of a class that sees the
words COMMIT and ROLLBACK go by. All work of the store is done by such functions before such words, whatever the
writer's rounds look like inside. A name that is not there is an error, so that a rename cannot make the tests empty.
"""

import itertools
import json
import os
import runpy
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from typing import Any

import psycopg

import maskline.cli
import maskline.runtime  # noqa: F401 - every module is to be there before its functions are wrapped
from maskline.store.engine import Batched

# Whether a call did some work, for the functions that are also called when there is nothing to do.
_WORKED: dict[str, Callable[[Any], bool]] = {
    "start_sends": lambda results: any(getattr(starts, "started", None) for starts in results),
    "take_orphans": any,
    **dict.fromkeys(
        ("claim_callbacks", "claim_intercepts", "claim_strangers"),
        lambda results: any(getattr(claimed, "work", None) for claimed in results),
    ),
}


class Trap:
    """Counts the commits that carry work of the function, and kills at the right one."""

    def __init__(self, function: str, moment: str, nth: int) -> None:
        if moment not in {"before", "after"}:
            raise SystemExit(f"CRASH_AT: {moment!r} is neither before nor after")
        self.function, self.moment, self.left = function, moment, nth
        self._thread = threading.local()  # a transaction lives in one thread

    @property
    def worked(self) -> bool:
        return getattr(self._thread, "worked", False)

    def watch(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        worked = _WORKED.get(self.function, lambda _: True)

        def watched(*args: Any, **kwargs: Any) -> Any:
            result = fn(*args, **kwargs)
            self._thread.worked = self.worked or worked(result)
            return result

        return watched

    def pass_by(self, moment: str) -> None:
        if self.worked and moment == self.moment:
            self.left -= 1
            if self.left == 0:
                frozen = bool(os.environ.get("FREEZE"))
                os.kill(os.getpid(), signal.SIGSTOP if frozen else signal.SIGKILL)
                while not frozen:
                    signal.pause()

    def end(self) -> None:
        self._thread.worked = False


def set_trap(trap: Trap) -> None:
    """Wrap the function wherever it is held, and every connection that is made from now on."""
    modules = [module for name, module in sys.modules.items() if name.startswith("maskline.")]
    originals = [
        held
        for module in modules
        if module.__name__.startswith("maskline.store.")
        and (held := getattr(module, trap.function, None)) is not None
    ]
    if not originals:
        raise SystemExit(f"CRASH_AT: the store has no function {trap.function!r}")
    original = originals[0]
    if isinstance(original, Batched):
        original.fn = trap.watch(original.fn)
    else:
        watched = trap.watch(original)
        for module in modules:
            for name, held in list(vars(module).items()):
                if held is original:
                    setattr(module, name, watched)

    def watch_ends(execute: Callable[..., Any]) -> Callable[..., Any]:
        def watched(connection: Any, sql: Any, *args: Any, **kwargs: Any) -> Any:
            ends = isinstance(sql, str) and sql.upper() in {"COMMIT", "ROLLBACK"}
            commits = ends and sql.upper() == "COMMIT"
            if commits:
                trap.pass_by("before")
            cursor = execute(connection, sql, *args, **kwargs)
            if commits:
                trap.pass_by("after")
            if ends:
                trap.end()
            return cursor

        return watched

    class Connection(sqlite3.Connection):
        execute = watch_ends(sqlite3.Connection.execute)

    connect = sqlite3.connect

    def connect_watched(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        return connect(*args, **{"factory": Connection, **kwargs})

    sqlite3.connect = connect_watched
    psycopg.Connection.execute = watch_ends(psycopg.Connection.execute)  # type: ignore[method-assign]


def inject_conflicts(every: int) -> None:
    """Serialization failures and deadlocks of what is written, in turn; who reads meets none."""
    execute = psycopg.Connection.execute
    commits = itertools.count(1)

    def failing(connection: Any, sql: Any, *args: Any, **kwargs: Any) -> Any:
        writes = threading.current_thread().name == "maskline-write"
        if writes and sql == "COMMIT" and (n := next(commits)) % every == 0:
            execute(connection, "ROLLBACK")
            raise psycopg.errors.DeadlockDetected if n // every % 2 else psycopg.errors.SerializationFailure
        return execute(connection, sql, *args, **kwargs)

    psycopg.Connection.execute = failing  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ.get("SPARE"):
        line = sys.stdin.readline()
        if not line:
            raise SystemExit("not needed")
        os.environ |= json.loads(line)
    if conflict_every := os.environ.get("CONFLICT_EVERY"):
        inject_conflicts(int(conflict_every))
    if wanted := os.environ.get("CRASH_AT"):
        name, when, times = wanted.split(":")
        set_trap(Trap(name, when, int(times)))
    runpy.run_module("maskline", run_name="__main__", alter_sys=True)
