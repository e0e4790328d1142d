"""A disk that fails, and a power failure: what was acknowledged is there, whatever of the rest has reached the disk."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.lives import FULL, CrashingServer, Lives
from tests.faults.load import WAIT_S, World, look, make_world, script_handsets

SECTOR = 512
STORED = ["maskline.db", "maskline.db-wal"]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """disk.c, compiled."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = tmp_path_factory.mktemp("disk") / "disk.so"
    source = Path(__file__).with_name("disk.c")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-pthread"], check=True
    )
    return library


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
            "MASKLINE_SEND_WAIT_MS": "0",
        }

    def image(self, rng: random.Random | None) -> Path:
        """What was synced; with `rng`, any sector that was written since may be on the disk, too, or not."""
        self._images += 1
        image = self.data.parent / f"image{self._images}"
        image.mkdir()
        shutil.copy(self.data / "secret.key", image)
        for name in STORED:
            kept = (self.kept / name).read_bytes()
            if rng is not None:
                kept = _mix(kept, (self.data / name).read_bytes(), rng)
            (image / name).write_bytes(kept)
        return image


def _mix(kept: bytes, written: bytes, rng: random.Random) -> bytes:
    sectors = []
    for at in range(0, max(len(kept), len(written)), SECTOR):
        old, new = kept[at : at + SECTOR], written[at : at + SECTOR]
        chosen = rng.choice([old, new]) if old != new else old
        sectors.append(chosen.ljust(max(len(old), len(new)), b"\0"))
    return b"".join(sectors)


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
    images = [state.image(chance) for chance in [None, *(random.Random(i) for i in range(6 if FULL else 1))]]
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
    report(_judge_image(lives, world, state.image(None)))
    if FULL:  # and with what the disk may have taken in spite of what it said
        lives.kills = 1
        lives.start()
        report(lives.tell(lives.finish(world)))


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
