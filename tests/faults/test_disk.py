"""A disk that fails, and a power failure: what was acknowledged is there, whatever of the rest has reached the disk."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.lives import FULL, CrashingServer, Lives
from tests.faults.load import WAIT_S, World, look, make_world, script_handsets
from tests.support.eventually import eventually
from tests.support.server import Api, Reply
from tests.support.world import fresh_number

SECTOR = 512
STORED = ["maskline.db", "maskline.db-wal"]


@pytest.fixture
def disk(preloaded: Callable[[str], Path]) -> Path:
    """disk.c, compiled."""
    return preloaded("disk")


class Disk:
    """The server's disk. `image` is a data directory as one power failure may have left it."""

    def __init__(self, lives: Lives, library: Path) -> None:
        self.data = lives.server.data
        self.kept = self.data.parent / "kept"
        self.kept.mkdir()
        self.failing = self.data.parent / "failing"
        self._images = 0
        lives.server.environment |= {
            "LD_PRELOAD": str(library),
            "DISK_KEEP": str(self.kept),
            "DISK_FAIL_WHEN": str(self.failing),
            "DISK_FULL_WHEN": str(self.data.parent / "full"),
            "DISK_READ_ONLY_WHEN": str(self.data.parent / "read-only"),
            "MASKLINE_SEND_WAIT_MS": "0",
        }

    @contextmanager
    def refusing(self, how: str) -> Iterator[None]:
        """Nothing, or nothing more, is taken by it while the block lasts."""
        (self.data.parent / how).touch()
        yield
        (self.data.parent / how).unlink()

    def image(self, rng: random.Random | None, what: Callable[[bytes, bytes, random.Random], bytes]) -> Path:
        """What was synced; with `rng`, something of what was written since may be on the disk, too: `what`."""
        self._images += 1
        image = self.data.parent / f"image{self._images}"
        image.mkdir()
        shutil.copy(self.data / "secret.key", image)
        for name in STORED:
            kept = (self.kept / name).read_bytes()
            if rng is not None:
                kept = what(kept, (self.data / name).read_bytes(), rng)
            (image / name).write_bytes(kept)
        return image


def _mix(kept: bytes, written: bytes, rng: random.Random) -> bytes:
    """Any sector that was written since, or not."""
    sectors = []
    for at in range(0, max(len(kept), len(written)), SECTOR):
        old, new = kept[at : at + SECTOR], written[at : at + SECTOR]
        chosen = rng.choice([old, new]) if old != new else old
        sectors.append(chosen.ljust(max(len(old), len(new)), b"\0"))
    return b"".join(sectors)


def _cut(kept: bytes, written: bytes, rng: random.Random) -> bytes:
    """What was written since, up to some byte in the midst of it."""
    return written[: rng.randrange(len(kept), max(len(kept), len(written)) + 1)]


def _judge_image(lives: Lives, world: World, image: Path) -> str:
    """Start the server on what is left, and hold it to its promises."""
    again = Lives(CrashingServer(image))
    again.kills = 1
    try:
        again.start()
        assert look(image / "maskline.db", "PRAGMA integrity_check") == [("ok",)]
        return again.tell(again.finish(world))
    finally:
        again.server.bury()


# The database file itself is synced by checkpoints only, and it takes a while until one is due. A power failure just
# before that sync finds many pages of it written that need not be on the disk.
FILES = ["-wal", "maskline.db"] if FULL else ["-wal"]


@pytest.mark.parametrize("file", FILES)
def test_power_failure(lives: Lives, disk: Path, file: str, report: Callable[[str], None]) -> None:
    rng = random.Random(99)
    state = Disk(lives, disk)
    lives.server.environment |= {"DISK_FAIL_OF": file, "DISK_KILL": "1"}
    lives.start()
    world = make_world(lives.api)
    script_handsets(lives.api, world, rng)
    with lives.load(world, seed=21, threads=8) as load:
        load.wait_for(100)
        state.failing.touch()
        lives.end()
    chances = [random.Random(i) for i in range(6 if FULL else 1)]
    images = [state.image(None, _mix), *(state.image(one, _mix) for one in chances)]
    if file == "-wal":  # begun once and never anew in so short a time, so that its end is what is new
        images += [state.image(one, _cut) for one in chances]
    for image in images:
        told = _judge_image(lives, world, image)
    report(f"{len(images)} images, the last: {told}")


@pytest.mark.parametrize("file", FILES)
def test_failed_sync(lives: Lives, disk: Path, file: str, report: Callable[[str], None]) -> None:
    """The process ends. What it had acknowledged until then was on the disk."""
    state = Disk(lives, disk)
    lives.server.environment["DISK_FAIL_OF"] = file
    lives.start()
    world = make_world(lives.api)
    with lives.load(world, seed=22, threads=8) as load:
        load.wait_for(50)
        state.failing.touch()
        assert lives.server.ended(WAIT_S) == 1
    assert "cannot be written any more" in lives.server.log()
    state.failing.unlink()
    report(_judge_image(lives, world, state.image(None, _mix)))
    if FULL:  # and with what the disk may have taken in spite of what it said
        lives.kills = 1
        lives.start()
        report(lives.tell(lives.finish(world)))


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_that_takes_nothing(lives: Lives, disk: Path, how: str, report: Callable[[str], None]) -> None:
    """Writes are refused, reads are answered; with room again it goes on, and nobody has to start anything."""
    state = Disk(lives, disk)
    lives.start()
    world = make_world(lives.api)
    script_handsets(lives.api, world, random.Random(24))
    api = lives.api
    times = 10 if FULL else 2
    with lives.load(world, seed=24, threads=8) as load:
        for _ in range(times):
            load.wait_for(50)
            with state.refusing(how):
                refused = eventually(lambda: refusal(api))
                assert (refused.status, refused.headers["retry-after"]) == (503, "1")
                assert api.get("/v1/Services").status == 200
        load.wait_for(50)
    report(f"seed 24, {how} {times} times, {lives.finish(world, unknown_allowed=False)}")


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_start_on_a_disk_that_takes_nothing(lives: Lives, disk: Path, how: str) -> None:
    state = Disk(lives, disk)
    with state.refusing(how):
        with pytest.raises(RuntimeError):
            lives.start()
        assert lives.server.process is not None and lives.server.process.poll() == 1
        assert "Traceback" not in lives.server.log()
        assert "cannot be opened" in lives.server.log()
    lives.start()
    assert lives.server.stop() == 0


def refusal(api: Api) -> Reply | None:
    """What is answered to a create, unless it is done."""
    reply = api.post("/v1/Services", {"UniqueName": f"more {fresh_number()}"})
    return None if reply.status == 201 else reply


def test_a_slow_disk(lives: Lives, disk: Path, report: Callable[[str], None]) -> None:
    """Every commit takes a tenth of a second more: everything is late, and nothing else."""
    Disk(lives, disk)
    lives.server.environment["DISK_SLOW_MS"] = "100"
    lives.start()
    world = make_world(lives.api, sessions=4)
    with lives.load(world, seed=25, threads=4) as load:
        load.wait_for(400 if FULL else 20)
    report(f"seed 25, {lives.finish(world, unknown_allowed=False)}")


def test_failed_sync_before_commit(tmp_path: Path, disk: Path) -> None:
    ended = subprocess.run(
        [sys.executable, Path(__file__).with_name("outgrow.py"), tmp_path / "maskline.db"],
        env={**os.environ, "LD_PRELOAD": str(disk), "DISK_FAIL_WHEN": str(tmp_path / "failing")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert "cannot be written any more" in ended.stderr
