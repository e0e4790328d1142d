"""What a test has to itself of the machine: a disk that is small, a network that can be cut. Skips where it gets none.

Each is held by a process that does nothing; whoever is started with what it gives is inside.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from tests.support.postgres import OTHER_USER

NOT_ALLOWED = "this machine does not allow mount namespaces"
NO_NETWORKS = "this machine does not allow network namespaces"


@contextmanager
def _held(command: Sequence[str], reason: str) -> Iterator[int]:
    """The id of a process that this command makes, and that stays until the block ends."""
    asked = [*command, "sh", "-c", "echo there && exec sleep infinity"]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as holder:
        assert holder.stdout is not None
        try:
            if holder.stdout.readline() != b"there\n":
                pytest.skip(reason)
            yield holder.pid
        finally:
            holder.kill()


def _inside(process: int, *kinds: str) -> list[str]:
    return ["nsenter", "-t", str(process), *kinds, "--preserve-credentials", "--"]


class SmallDisk:
    """A file system of a few megabytes at `place`. `within`: the command that sees it there."""

    def __init__(self, place: Path, process: int) -> None:
        self.within = _inside(process, "-U", "-m")
        self._inside = Path(f"/proc/{process}/root{place}")

    @classmethod
    @contextmanager
    def mounted(cls, place: Path, megabytes: int) -> Iterator[Self]:
        mount = f'mount -t tmpfs -o mode=700,size={megabytes}m tmpfs {place} && exec "$@"'
        command = [*OTHER_USER[:-1], "-m", "--keep-caps", "--", "sh", "-c", mount, "sh"]
        with _held(command, NOT_ALLOWED) as process:
            yield cls(place, process)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Somebody has all that is left of it while the block lasts."""
        hog = self._inside / "hog"
        with hog.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:  # no room for so many
                    continue
        yield
        hog.unlink()


class Network:
    """Two networks, `near` and `far`, and a cable between them that can be cut. `far_host`: the address at its end."""

    far_host = "10.95.0.2"

    def __init__(self, near: int, far: int) -> None:
        self.near = near
        self.near_user = _inside(near, "-U")
        self.far = [*_inside(far, "-U", "-n"), *OTHER_USER]
        self._far_root = _inside(far, "-U", "-n")

    @classmethod
    @contextmanager
    def laid(cls) -> Iterator[Self]:
        with _held(["unshare", "-U", "-r", "-n"], NO_NETWORKS) as near:
            inside = _inside(near, "-U", "-n")
            with _held([*_inside(near, "-U"), "unshare", "-n"], NO_NETWORKS) as far:
                cable = f"ip link add near type veth peer name far netns {far} && "
                steps = f"{cable} ip address add 10.95.0.1/24 dev near && ip link set near up"
                if subprocess.run([*inside, "sh", "-c", steps], capture_output=True, check=False).returncode:
                    pytest.skip(NO_NETWORKS)
                network = cls(near, far)
                network._far("address", "add", f"{cls.far_host}/24", "dev", "far")
                network._far("link", "set", "far", "up")
                yield network

    @contextmanager
    def cut(self) -> Iterator[None]:
        """What is sent arrives nowhere, and nobody is told, while the block lasts."""
        self._far("link", "set", "far", "down")
        yield
        self._far("link", "set", "far", "up")

    def _far(self, *words: str) -> None:
        subprocess.run([*self._far_root, "ip", *words], check=True)
