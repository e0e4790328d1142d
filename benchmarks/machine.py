"""What Linux tells about processes, cores and the disk, and what is done about noise from other programs."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

TICKS = os.sysconf("SC_CLK_TCK")
FOREIGN_SHARE = 0.25
"""Above this share of one core taken by other programs, a measurement is taken again."""
TRIES = 3
CALM_S = 6.0
"""So long a measurement waits, at most, for other programs to calm down."""


ALLOWED = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = ALLOWED[0], ALLOWED[-1]
"""Asked at import: later the harness is bound to the load's core itself."""


@contextmanager
def all_cores() -> Iterator[None]:
    """What is started meanwhile may run on any core, as the harness may."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, ALLOWED)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _stat(pid: int) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, all its threads, without its children."""
    stat = _stat(pid)
    return (int(stat[11]) + int(stat[12])) / TICKS


def rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmRSS for process {pid}")


def _busy_s() -> float:
    """CPU seconds of all programs, and those that the host took from this virtual machine."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, steal = *fields[:3], fields[7]
    return (user + nice + system + steal) / TICKS


def family_s(pid: int) -> float:
    """CPU seconds of a process, its children that ended, and its descendants that live."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            one = int(entry.name)
            try:
                stat = _stat(one)
            except OSError:
                continue  # it has just ended
            children.setdefault(int(stat[1]), []).append(one)
            used[one] = sum(int(x) for x in stat[11:15]) / TICKS
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        total += used.get(one, 0.0)
        todo += children.get(one, [])
    return total


def children(pid: int) -> Iterator[tuple[int, str]]:
    """The living children of a process, each with its title."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if int(_stat(int(entry.name))[1]) == pid:
                    yield int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")


_adopted: set[int] = set()


def adopt(pid: int) -> None:
    """Count this daemon, which has left the family, to the harness's own."""
    _adopted.add(pid)


def _own_s() -> float:
    return sum(map(family_s, (os.getpid(), *_adopted)))


def foreign_share(fn: Callable[[], T]) -> tuple[T, float]:
    busy, own, start = _busy_s(), _own_s(), time.monotonic()
    result = fn()
    passed = time.monotonic() - start
    return result, max(0.0, ((_busy_s() - busy) - (_own_s() - own)) / passed)


def wait_calm() -> None:
    deadline = time.monotonic() + CALM_S
    while time.monotonic() < deadline:
        if foreign_share(lambda: time.sleep(0.2))[1] < 0.15:
            return


def quietly(fn: Callable[[], T]) -> tuple[T, float]:
    """Runs fn; again, at most TRIES times, while other programs took too much of a core meanwhile.

    Answers the quietest run and the share of a core that others took.
    """
    best: tuple[T, float] | None = None
    for _ in range(TRIES):
        wait_calm()
        run = foreign_share(fn)
        if best is None or run[1] < best[1]:
            best = run
        if best[1] <= FOREIGN_SHARE:
            break
    assert best is not None
    return best


def read_once(*files: Path) -> None:
    """Have the files in the machine's memory, as far as it goes."""
    for path in files:
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


def fdatasyncs_per_s(folder: Path) -> float:
    """How often the disk takes a 4 KiB page durably, one after the other."""
    path = folder / "sync-probe"
    page, count = os.urandom(4096), 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        start = time.monotonic()
        while time.monotonic() < start + 0.5:
            os.pwrite(fd, page, (count % 256) * 4096)
            os.fdatasync(fd)
            count += 1
        return count / (time.monotonic() - start)
    finally:
        os.close(fd)
        path.unlink()


def describe(folder: Path) -> dict[str, object]:
    models = [
        x.split(":", 1)[1].strip()
        for x in Path("/proc/cpuinfo").read_text().splitlines()
        if x.startswith("model name")
    ]
    return {
        "cores": len(ALLOWED),
        "cpu": models[0] if models else platform.machine(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "kernel": platform.release(),
        "fdatasyncs_per_s": round(fdatasyncs_per_s(folder)),
        "load_average": round(os.getloadavg()[0], 2),
    }
