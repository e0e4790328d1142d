"""A PostgreSQL server of the tests' own, on a socket in a directory of theirs."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from shlex import quote

import psycopg

from tests.support.eventually import eventually

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/bin")
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
"""For tests that kill nothing: what is not on the disk is not missed."""


OTHER_USER = ("unshare", "-U", "--map-user=1000", "--map-group=1000", "--")
"""In a namespace of its own a program sees that it is not root, and files stay root's."""


def find_program(name: str) -> str | None:
    """Where Debian and others put PostgreSQL's own programs; the newest."""
    for place in PLACES:
        for found in sorted(Path("/").glob(f"{place[1:]}/{name}"), reverse=True):
            return str(found)
    return shutil.which(name)


def as_user() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return [*OTHER_USER] if os.geteuid() == 0 else []


def is_usable() -> bool:
    """Whether a server can be started here: its programs are there, and root may become somebody else."""
    return (
        find_program("initdb") is not None
        and not subprocess.run([*as_user(), "true"], capture_output=True, check=False).returncode
    )


ENGINES = ("sqlite", "postgres") if is_usable() else ("sqlite",)

_EMPTY = """
DO $$ DECLARE tab text; BEGIN
FOR tab IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'meta' LOOP
    EXECUTE format('DELETE FROM %I', tab);
END LOOP;
IF to_regclass('meta') IS NOT NULL THEN
    DELETE FROM meta WHERE name NOT IN ('schema_version', 'migrated_at');
END IF;
END $$"""


def _processes_of(data: Path) -> list[Path]:
    """Those that work in this directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == data and (process / "stat").read_text().split()[2] != "Z":
                found.append(process)
    return found


class PostgresServer:
    """Use `start`, then `stop`."""

    def __init__(
        self, directory: Path, settings: Sequence[str] = FAST, within: Sequence[str] | None = None
    ) -> None:
        """`within`: what its programs are started by, instead of `as_user`."""
        self.data = directory / "pg"
        self.environment: dict[str, str] = {}
        self._directory = directory
        self._settings = settings
        self._within = as_user() if within is None else within
        self._names = count(1)

    def start(self) -> "PostgresServer":
        if not (self.data / "PG_VERSION").exists():
            self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        own = ["listen_addresses=", f"unix_socket_directories={self._directory}", "max_connections=200"]
        options = [f"-c {quote(setting)}" for setting in (*own, *self._settings)]
        self._run("pg_ctl", "-w", "-l", str(self._directory / "pg.log"), "-o", " ".join(options), "start")
        return self

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def is_up(self) -> bool:
        """Whether it runs, be it to recover."""
        try:
            self._run("pg_ctl", "status")
        except AssertionError:
            return False
        return True

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self._directory}"

    def fresh(self) -> str:
        """The URL of a database of the caller's own, in which there is nothing at all."""
        name = f"fresh_{next(self._names)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def settings(self) -> dict[str, str]:
        """What a server's environment has for an empty database of this one."""
        return {"MASKLINE_DATABASE_URL": self.empty(), "MASKLINE_SECRET_KEY": "5e" * 32}

    @property
    def pid(self) -> int:
        """The postmaster's, while it runs."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All of its processes stand still, and their connections stay open."""
        still = [int(process.name) for process in _processes_of(self.data)]
        for process in still:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in still:
                os.kill(process, signal.SIGCONT)

    def kill(self) -> None:
        """kill -9 of the postmaster, and wait until the last of its processes has noticed."""
        os.kill(self.pid, signal.SIGKILL)
        eventually(lambda: not _processes_of(self.data), 60)
        # Where nobody reaps it, the dead one's id is taken for a living one's.
        (self.data / "postmaster.pid").unlink()
        (self._directory / ".s.PGSQL.5432.lock").unlink()

    def empty(self) -> str:
        """The URL of a database without any rows, which the next one who asks gets, too."""
        with psycopg.connect(self.url()) as connection:
            connection.execute(_EMPTY)
        return self.url()

    def run(self, program: str, *args: str) -> None:
        """Run one of PostgreSQL's programs, which must succeed."""
        found = find_program(program)
        assert found is not None
        # Not captured through a pipe: the server keeps it open.
        with (self._directory / "run.log").open("w+") as log:
            done = subprocess.run(
                [*self._within, found, *args],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
                check=False,
            )
            log.seek(0)
            assert done.returncode == 0, log.read()

    def _run(self, program: str, *args: str) -> None:
        self.run(program, "-D", str(self.data), *args)
