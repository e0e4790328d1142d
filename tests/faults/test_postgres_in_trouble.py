"""A PostgreSQL server that lives and is in trouble: no room, a slow disk, others in the way, a network that is cut."""

import contextlib
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from maskline.store.postgres_engine import TURN
from tests.faults.lives import FULL, SLOTS, CrashingServer
from tests.faults.load import WAIT_S, Load, finish, make_world, script_handsets
from tests.faults.namespaces import Network, SmallDisk
from tests.support.eventually import eventually
from tests.support.postgres import FAST, PostgresServer
from tests.support.world import fresh_number


def is_ready(node: CrashingServer) -> bool:
    return node.api.get("/readyz", auth=False).status == 200


@contextlib.contextmanager
def served(database: PostgresServer, data: Path) -> Iterator[CrashingServer]:
    """A server on this database. Not started."""
    node = CrashingServer(data, environment=database.settings())
    try:
        yield node
    finally:
        node.bury()


@contextlib.contextmanager
def running(database: PostgresServer) -> Iterator[PostgresServer]:
    database.start()
    try:
        yield database
    finally:
        with contextlib.suppress(AssertionError):
            database.stop()


def lay_log(home: Path, disk: SmallDisk, place: Path) -> None:
    """Make a database whose log is there, in pieces of a megabyte."""
    database = PostgresServer(home, FAST, disk.within).start()
    database.stop("fast")
    database.run("pg_resetwal", "--wal-segsize=1", "-D", str(database.data))
    log = database.data / "pg_wal"
    moving = f"mv {log} {place}/wal && ln -s {place}/wal {log}"
    subprocess.run([*disk.within, "sh", "-c", moving], check=True)


@pytest.mark.parametrize("what", ["data", "log"])
def test_a_full_disk(tmp_path: Path, what: str, report: Callable[[str], None]) -> None:
    """Where its data do not fit, PostgreSQL refuses. Where its log does not, it goes down until there is room."""
    home = tmp_path / "postgres"
    place = home / ("pg" if what == "data" else "small")
    place.mkdir(parents=True)
    times = 10 if FULL else 2
    with SmallDisk.mounted(place, 160 if what == "data" else 40) as disk:
        if what == "log":
            lay_log(home, disk, place)
        sizes = ("min_wal_size=32MB", "max_wal_size=32MB")  # of what PostgreSQL keeps of its log
        database = PostgresServer(home, ("fsync=off", *sizes), disk.within)
        with running(database), served(database, tmp_path / "data") as node:
            node.environment["MASKLINE_SEND_WAIT_MS"] = "0"
            node.start()
            world = make_world(node.api)
            script_handsets(node.api, world, random.Random(54))
            with Load(world, seed=54) as load:
                load.address.move(node.url)
                for _ in range(times):
                    load.wait_for(50)
                    with disk.full():
                        if what == "log":
                            fill_log(database)
                            eventually(lambda: not database.is_up(), WAIT_S)
                        eventually(lambda: is_refused(node), WAIT_S)
                    if what == "log":
                        database.start()
                    eventually(lambda: is_ready(node), WAIT_S)
                load.wait_for(50)
            assert node.process is not None and node.process.poll() is None
            verdict = finish(world, node, SLOTS if what == "log" else 0)
            report(f"seed 54, full {times} times, {verdict}")
            assert node.stop() == 0


def fill_log(database: PostgresServer) -> None:
    """Have so much written that it does not fit."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(database.url()) as connection:
        while True:
            connection.execute("SELECT pg_logical_emit_message(false, 'more', repeat('x', 1000000))")


def is_refused(node: CrashingServer) -> bool:
    """Whether a create is, since nothing can be stored."""
    reply = node.api.post("/v1/Services", {"UniqueName": f"more {fresh_number()}", "CallbackUrl": LONG})
    assert reply.status in {201, 503}, reply.raw
    return reply.status == 503


LONG = "http://customer.example/" + "x" * 1500


def test_a_slow_disk(tmp_path: Path, preloaded: Callable[[str], Path], report: Callable[[str], None]) -> None:
    """Every commit takes a tenth of a second more: everything is late, and nothing else."""
    home = tmp_path / "postgres"
    home.mkdir()
    database = PostgresServer(home, ())
    database.environment = {"LD_PRELOAD": str(preloaded("disk")), "DISK_SLOW_MS": "100"}
    with running(database), served(database, tmp_path / "data") as node:
        node.start()
        world = make_world(node.api, sessions=4)
        with Load(world, seed=55, threads=4) as load:
            load.address.move(node.url)
            load.wait_for(400 if FULL else 20)
        report(f"seed 55, {finish(world, node, 0)}")
        assert node.stop() == 0


# One commit in five loses, however much it changes: what is run again is another transaction. What a sequence has
# counted is never undone.
LOSING = """
CREATE SEQUENCE losses;
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF txid_current() % 5 = 0 THEN
        PERFORM nextval('losses');
        RAISE EXCEPTION 'lost' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER loses AFTER INSERT OR UPDATE ON interactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose()"""


class Rival:
    """Somebody else who takes the same locks in the other order, again and again, and is never the one who loses."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._meddle)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _meddle(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SET deadlock_timeout = '1min'")
            while not self._over.is_set():
                with connection.transaction():
                    connection.execute("SELECT 1 FROM sessions ORDER BY random() LIMIT 5 FOR UPDATE")
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (TURN,))


def test_conflicts(tmp_path: Path, report: Callable[[str], None]) -> None:
    """Commits are lost to serialization failures, and rounds to deadlocks with somebody else. Nobody notices."""
    home = tmp_path / "postgres"
    home.mkdir()
    database = PostgresServer(home, ("fsync=off", "deadlock_timeout=10ms"))
    with running(database), served(database, tmp_path / "data") as node:
        node.start()
        world = make_world(node.api)
        script_handsets(node.api, world, random.Random(53))
        with psycopg.connect(database.url()) as connection:
            connection.execute(LOSING.encode())
        with Load(world, seed=53) as load, Rival(database.url()):
            load.address.move(node.url)
            load.wait_for(1000 if FULL else 150)
        verdict = finish(world, node, 0)
        ((losses,),) = node.rows("SELECT last_value FROM losses")
        assert losses > 5
        deadlocks = eventually(lambda: count_deadlocks(node))
        report(f"seed 53, {losses} serialization failures, {deadlocks} deadlocks, {verdict}")
        assert node.stop() == 0


def count_deadlocks(node: CrashingServer) -> int:
    """How many there were; enough to matter, once PostgreSQL has counted them."""
    ((deadlocks,),) = node.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'")
    assert deadlocks > 5
    return int(deadlocks)


def test_a_network_that_is_cut(tmp_path: Path, report: Callable[[str], None]) -> None:
    """Neither end hears of it. What was sent and not answered is looked up when the other end is there again."""
    home = tmp_path / "postgres"
    home.mkdir()
    times = 10 if FULL else 1
    (home / "hba").write_text("local all all trust\nhost all all samenet trust\n")
    with Network.laid() as network:
        settings = ("fsync=off", f"listen_addresses={network.far_host}", f"hba_file={home / 'hba'}")
        database = PostgresServer(home, settings, network.far)
        with running(database), served(database, tmp_path / "data") as node:
            node.command = [*network.near_user, *node.command]
            node.environment |= {
                "DIAL_FROM": f"{network.near}:{network.far_host}",
                "MASKLINE_SEND_WAIT_MS": "0",
            }
            node.start()
            world = make_world(node.api)
            script_handsets(node.api, world, random.Random(56))
            with Load(world, seed=56) as load:
                load.address.move(node.url)
                for _ in range(times):
                    load.wait_for(100)
                    with network.cut():
                        eventually(lambda: is_refused(node) and not is_ready(node), WAIT_S)
                    eventually(lambda: is_ready(node), WAIT_S)
                load.wait_for(50)
            verdict = finish(world, node, SLOTS * times)
            report(f"seed 56, cut {times} times, {verdict}")
            assert node.stop() == 0


def test_a_server_that_stands_still(tmp_path: Path, report: Callable[[str], None]) -> None:
    """Its connections stay open. What was sent and not answered is done when it goes on, or not, and is looked up."""
    home = tmp_path / "postgres"
    home.mkdir()
    times = 5 if FULL else 1
    database = PostgresServer(home, ("fsync=off",))
    with running(database), served(database, tmp_path / "data") as node:
        node.environment["MASKLINE_SEND_WAIT_MS"] = "0"
        node.start()
        world = make_world(node.api)
        script_handsets(node.api, world, random.Random(57))
        with Load(world, seed=57) as load:
            load.address.move(node.url)
            for _ in range(times):
                load.wait_for(100)
                with database.frozen():
                    eventually(lambda: is_refused(node) and not is_ready(node), WAIT_S)
                eventually(lambda: is_ready(node), WAIT_S)
            load.wait_for(50)
        verdict = finish(world, node, SLOTS * times)
        report(f"seed 57, frozen {times} times, {verdict}")
        assert node.stop() == 0
