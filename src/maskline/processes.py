"""Several processes that serve one address: a parent that starts them, replaces one that dies, and ends them in order.

The parent runs no event loop and no threads, so that it may fork at any time. What the processes share is made before:
the sockets that they listen on.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from dataclasses import dataclass

import structlog

FIRST_PAUSE_S, MOST_PAUSE_S = 0.5, 30.0
GOOD_AFTER_S = 10.0
"""A process that has lived for so long is replaced at once, and others at growing distances."""
LOOK_S = 0.2

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
_ENDS = {signal.SIGTERM, signal.SIGINT}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Process:
    """One of the processes, as it sees itself: its number among them, from 0, and whether it is the first one ever.

    `lifeline` can be read from once the parent is gone.
    """

    index: int
    first: bool
    lifeline: int
    _ready: int | None

    def heed_signals(self) -> None:
        """From here on SIGTERM and SIGINT come through. Until then they wait: whoever calls this can stop in order."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def tell_ready(self) -> None:
        """The others may begin, too."""
        if self._ready is not None:
            os.write(self._ready, b"!")
            os.close(self._ready)


@dataclass(slots=True)
class _Child:
    pid: int = 0
    began_at: float = 0.0
    failures: int = 0
    due_at: float = 0.0


def fork_processes(count: int) -> Process:
    """Return in each of so many processes, with signals still to be heeded. The first one begins alone, until it is
    ready; if it ends before, so do all.

    The parent stays in here, and ends with the processes, by SystemExit: 0 if all have ended well.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    return _Parent(count).run()


class _Parent:
    def __init__(self, count: int) -> None:
        self._children = [_Child() for _ in range(count)]
        self._lifeline = os.pipe()
        self._ready = os.pipe()
        self._stopping = False
        self._failed = False

    def run(self) -> Process:
        if (process := self._fork(0, first=True)) is not None:
            return process
        os.close(self._ready[1])
        first = self._children[0]
        while not (ready := self._is_ready()) and first.pid:
            self._wait()
        if not ready:
            sys.exit(first.failures)
        os.close(self._ready[0])
        while True:
            for index, child in enumerate(self._children):
                due = not child.pid and not self._stopping and time.monotonic() >= child.due_at
                if due and (process := self._fork(index, first=False)) is not None:
                    return process
            if self._stopping and not any(child.pid for child in self._children):
                sys.exit(int(self._failed))
            self._wait()

    def _is_ready(self) -> bool:
        readable, _, _ = select.select([self._ready[0]], [], [], 0)
        return bool(readable) and os.read(self._ready[0], 1) != b""

    def _fork(self, index: int, *, first: bool) -> Process | None:
        """A Process in the child, None in the parent."""
        child = self._children[index]
        child.began_at = time.monotonic()
        child.pid = os.fork()
        if child.pid:
            return None
        os.close(self._lifeline[1])
        return Process(index, first, self._lifeline[0], self._ready[1] if first else None)

    def _wait(self) -> None:
        """Until something happens, or a moment has passed."""
        taken = signal.sigtimedwait(_SIGNALS, LOOK_S)
        if taken is not None and taken.si_signo in _ENDS and not self._stopping:
            self._stopping = True
            for child in self._children:
                if child.pid:
                    os.kill(child.pid, signal.SIGTERM)
        for index, child in enumerate(self._children):
            if child.pid:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    self._bury(index, child, os.waitstatus_to_exitcode(status))

    def _bury(self, index: int, child: _Child, code: int) -> None:
        now = time.monotonic()
        child.pid = 0
        if self._stopping:
            self._failed |= code != 0
            child.failures = abs(code)
            return
        if now - child.began_at >= GOOD_AFTER_S:
            child.failures = 0
        pause_s = min(MOST_PAUSE_S, FIRST_PAUSE_S * (2**child.failures - 1))
        child.failures = min(child.failures + 1, 10)
        child.due_at = now + pause_s
        _log.error("process.died", place=index, code=code, again_in_s=pause_s)
