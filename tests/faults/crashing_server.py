"""The real server, which kills itself (SIGKILL) at one chosen commit.

Run as `python crashing_server.py serve --data DIR --port 0` with CRASH_AT=FUNCTION:MOMENT:N in the environment.
FUNCTION is a function of a transaction, such as `accept_messages`; the N-th time that a commit carries some work of it,
the process dies: `before` the COMMIT, so that nothing of it is stored, or `after` it and before anybody has been told.
Without CRASH_AT it is the server as it is. With FREEZE=1 it is not killed but frozen (SIGSTOP) until it is thawed.
With DIAL_FROM=PID:HOST its connections to PostgreSQL go from the network of another process to this host. With SPARE=1
it loads its modules and then waits for a line on its input, a JSON object of what to add to the environment: so the
next life is ready when the present one ends.

Production code has no hooks for this. Two things are wrapped from outside, and both are the narrowest there are: the
function itself, wherever a module holds it, tells that it has run; and every connection tells when the words COMMIT
and ROLLBACK go by. All work of the store is done by such functions before such words, whatever the
writer's rounds look like inside. A name that is not there is an error, so that a rename cannot make the tests empty.
"""

import ctypes
import json
import os
import runpy
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

import maskline.cli
import maskline.runtime  # noqa: F401 - every module is to be there before its functions are wrapped
from maskline.store.engine import Batched
from maskline.store.postgres_line import Line

CLONE_NEWNET = 0x40000000

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
    Line.run = watch_ends(Line.run)  # type: ignore[method-assign]


def dial_from(process: int, host: str) -> None:
    """Have every connection to a database begin in the network of this process, and go to this host. The process has
    to be of a user namespace that we are in.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    connect = psycopg.Connection.connect.__func__  # type: ignore[attr-defined]

    def connect_there(conninfo: str, *args: Any, **kwargs: Any) -> Any:
        with open(f"/proc/{process}/ns/net") as network:  # noqa: PTH123 - a descriptor is all that is wanted
            if libc.setns(network.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return connect(*args, conninfo, **kwargs)

    def dial(cls: type, conninfo: str, **kwargs: Any) -> Any:
        # A socket stays in the network in which it was made; whoever makes it never comes back from there.
        with ThreadPoolExecutor(1) as traveller:
            return traveller.submit(connect_there, make_conninfo(conninfo, host=host), cls, **kwargs).result()

    psycopg.Connection.connect = classmethod(dial)  # type: ignore[assignment]


if __name__ == "__main__":
    if os.environ.get("SPARE"):
        line = sys.stdin.readline()
        if not line:
            raise SystemExit("not needed")
        os.environ |= json.loads(line)
    if network := os.environ.get("DIAL_FROM"):
        pid, _, at = network.partition(":")
        dial_from(int(pid), at)
    if wanted := os.environ.get("CRASH_AT"):
        name, when, times = wanted.split(":")
        set_trap(Trap(name, when, int(times)))
    runpy.run_module("maskline", run_name="__main__", alter_sys=True)
