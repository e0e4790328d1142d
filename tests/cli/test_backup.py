"""`maskline backup` beside real servers, and what a restored copy does: never again what the original has done."""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from maskline import cli_backup
from maskline.store.migrate import migrations, statements
from tests.cli.conftest import Process
from tests.faults.lives import CrashingServer, Lives
from tests.faults.load import make_world, script_handsets, wait_until_finished
from tests.support.server import ACCOUNT_SID, Api
from tests.support.world import make_pair, make_service

Invoke = Callable[..., Result]
Started = Callable[..., Process]
Servers = Callable[..., CrashingServer]

COPY = Path("copy.db")
HANDED_OVER = "SELECT reference, handovers FROM sandbox_messages WHERE direction = 'to_handset' ORDER BY 1"
UNKNOWN = "SELECT sid FROM interactions WHERE outbound_status = 30 ORDER BY 1"
EVENTS = "SELECT interaction_sid FROM events WHERE code = 49001 AND interaction_sid IS NOT NULL ORDER BY 1"
MARKED = "SELECT count(*) FROM meta WHERE name = 'backed_up_at'"
WAITING = "SELECT interaction_sid FROM outbox WHERE topic = 'send' ORDER BY 1"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Make a server on this data directory; what still runs in the end is killed."""
    made: list[CrashingServer] = []

    def server(data: str = "data", *arguments: str, **environment: str) -> CrashingServer:
        made.append(CrashingServer(tmp_path / data, list(arguments), environment))
        return made[-1]

    yield server
    for one in made:
        one.bury()


@pytest.fixture
def accepting(servers: Servers) -> CrashingServer:
    """A server that only accepts, so that every message waits."""
    return servers(MASKLINE_ROLE="api", MASKLINE_SEND_WAIT_MS="0").start()


def write(api: Api, count: int) -> list[str]:
    """So many messages to each of some people; the paths that they were posted to."""
    service = make_service(api)
    pairs = [make_pair(api, service) for _ in range(4)]
    paths = [pair.messages_path(one) for pair in pairs for one in (pair.first, pair.second)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: [api.make(path, {"Body": f"{i}"}) for i in range(count)], paths))
    return paths


def back_up(invoke: Invoke, *arguments: str) -> Result:
    result = invoke("backup", str(COPY), "--data", "data", *arguments)
    assert result.exit_code == 0, result.output
    return result


def restore(data: str = "restored") -> None:
    """As the how-to has it."""
    Path(data).mkdir()
    shutil.copy(COPY, Path(data, "maskline.db"))
    shutil.copy("data/secret.key", data)


def rows(file: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(sql).fetchall()


def deliver(server: CrashingServer) -> None:
    """Go on as a server that delivers, until everything is delivered; then die."""
    server.stop()
    server.environment["MASKLINE_ROLE"] = "all"
    server.start()
    wait_until_finished(server.database)
    server.kill()


# What a restored server sends


def test_what_the_original_has_sent_since_is_not_sent_again(
    accepting: CrashingServer, servers: Servers, invoke: Invoke
) -> None:
    paths = write(accepting.api, 2)
    back_up(invoke)
    deliver(accepting)
    assert len(rows(accepting.data / "maskline.db", HANDED_OVER)) == 16
    restore()
    waited = rows(COPY, WAITING)
    restored = servers("restored").start()
    assert restored.rows(HANDED_OVER) == []
    assert len(waited) == 16
    assert restored.rows(UNKNOWN) == restored.rows(EVENTS) == waited
    assert restored.rows(MARKED) == [(0,)]
    later = restored.api.make(paths[0], {"Body": "after the restore"})
    wait_until_finished(restored.database)
    ((reference, handovers),) = restored.rows(HANDED_OVER)
    assert (reference, handovers) == (later["outbound_resource_sid"], 1)
    assert restored.stop() == 0
    assert restored.start().rows(UNKNOWN) == waited
    assert restored.stop() == 0


def test_resend_restored_sends_what_had_waited(
    accepting: CrashingServer, servers: Servers, invoke: Invoke
) -> None:
    write(accepting.api, 2)
    back_up(invoke)
    restore()
    restored = servers("restored", "--resend-restored").start()
    wait_until_finished(restored.database)
    handed_over = restored.rows(HANDED_OVER)
    assert len(handed_over) == 16
    assert {handovers for _, handovers in handed_over} == {1}
    assert restored.rows(UNKNOWN) == restored.rows(EVENTS) == []
    assert restored.stop() == 0


def test_a_backup_under_load(servers: Servers, invoke: Invoke) -> None:
    """Whatever the original does later, nothing of it is done by the copy, which is of one instant."""
    original = servers()
    lives = Lives(original)
    lives.start()
    world = make_world(original.api)
    script_handsets(original.api, world, random.Random(3))
    retried = world.pairs[0][0]
    original.api.make("/sandbox/behaviour", {"To": retried.handset, "Outcome": "unreachable"})
    with lives.load(world, seed=3) as load:
        original.api.make(retried.messages, {"Body": "waits for a retry"})
        load.wait_for(200)
        back_up(invoke)
        original.api.make("/sandbox/behaviour", {"To": retried.handset, "Outcome": "deliver"})
        load.wait_for(200)
    wait_until_finished(original.database)
    original.kill()
    ours = dict(rows(original.data / "maskline.db", HANDED_OVER))
    before = dict(rows(COPY, HANDED_OVER))
    waited = {sid for (sid,) in rows(COPY, WAITING)}
    assert rows(COPY, "PRAGMA integrity_check") == [("ok",)]
    assert len(before) >= 100
    assert len(ours) > len(before)
    restore()
    restored = servers("restored").start()
    wait_until_finished(restored.database)
    assert dict(restored.rows(HANDED_OVER)) == before
    assert {sid for (sid,) in restored.rows(UNKNOWN)} == {sid for (sid,) in restored.rows(EVENTS)} == waited
    assert waited
    assert restored.rows("SELECT count(*) FROM interactions WHERE outbound_status < 30") == [(0,)]
    assert restored.stop() == 0


def test_kill_while_what_waited_is_given_up(
    accepting: CrashingServer, servers: Servers, invoke: Invoke
) -> None:
    """The mark goes last, so the next start goes on where this one ended."""
    write(accepting.api, 65)  # two steps
    back_up(invoke)
    deliver(accepting)
    left = {"give_up_waiting:before:1": 520, "give_up_waiting:after:1": 20}
    for point in (*left, "give_up_waiting:after:2", "unmark:before:1"):
        restore(point)
        restored = servers(point, CRASH_AT=point)
        with pytest.raises(RuntimeError):
            restored.start()
        assert restored.ended() == -signal.SIGKILL
        assert rows(restored.data / "maskline.db", MARKED) == [(1,)]
        assert len(rows(restored.data / "maskline.db", WAITING)) == left.get(point, 0)
        restored.environment["CRASH_AT"] = ""
        restored.start()
        assert restored.rows(MARKED) == [(0,)]
        assert restored.rows(UNKNOWN) == restored.rows(EVENTS) == rows(COPY, WAITING)
        wait_until_finished(restored.database)
        assert restored.rows(HANDED_OVER) == []
        assert restored.stop() == 0


@pytest.mark.parametrize(
    ("flags", "first", "second"),
    [
        ((), "; 8 messages that waited in it are delivery-unknown", None),
        (("--resend-restored",), "; what waited in it is sent, and may arrive twice", "nothing; leave"),
    ],
    ids=["given up", "sent"],
)
def test_the_first_start_says_what_became_of_it(
    accepting: CrashingServer,
    invoke: Invoke,
    started: Started,
    flags: tuple[str, ...],
    first: str,
    second: str | None,
) -> None:
    write(accepting.api, 1)
    back_up(invoke)
    restore()
    for said in (first, second):
        server = started("serve", "--data", "restored", "--port", "0", *flags)
        server.read_until("Health:")
        assert server.stop()[0] == 0
        lines = [line for line in server.lines if line.startswith("Restored:")]
        assert len(lines) == (said is not None)
        assert said is None or said in lines[0]


NOW = time.time_ns() // 1000
"""Or the sweep would delete it all for its age."""

WAITS: dict[str, dict[str, Any]] = {
    "services": {
        "sid": "KS1",
        "account_sid": ACCOUNT_SID,
        "unique_name": "ours",
        "default_ttl": 0,
        "geo_match_level": "country",
        "number_selection_behavior": "prefer-sticky",
        "settings": "{}",
        "created_at": NOW,
        "updated_at": NOW,
    },
    "sessions": {
        "service_sid": "KS1",
        "sid": "KC1",
        "status": "open",
        "mode": "message-only",
        "ttl": 0,
        "active_from_at": NOW,
        "created_at": NOW,
        "updated_at": NOW,
    },
    "interactions": {
        "service_sid": "KS1",
        "session_sid": "KC1",
        "sid": "KI1",
        "account_sid": ACCOUNT_SID,
        "type": "message",
        "data": "{}",
        "outbound_participant_sid": "KP1",
        "outbound_resource_sid": "SM1",
        "outbound_status": 10,
        "updated_at": NOW,
    },
    "outbox": {
        "topic": "send",
        "order_key": "KP1",
        "seq": 1,
        "state": 0,
        "number": "+14155550100",
        "due_at": 1,
        "expires_at": 1,
        "account_sid": ACCOUNT_SID,
        "service_sid": "KS1",
        "session_sid": "KC1",
        "interaction_sid": "KI1",
        "message_sid": "SM1",
        "recipient": "+12125550100",
        "payload": "{}",
    },
}
"""A message that waits, in the columns that the schema had before traffic."""


def test_a_backup_of_an_older_schema(servers: Servers, invoke: Invoke) -> None:
    """What waited there is given up after the migration."""
    Path("data").mkdir()
    with closing(sqlite3.connect("data/maskline.db", isolation_level=None)) as connection:
        for _, text in migrations()[:3]:
            for statement in statements(text):
                connection.execute(statement)
        connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        connection.execute("INSERT INTO meta VALUES ('schema_version', '3')")
        for table, row in WAITS.items():
            named = ", ".join(f":{name}" for name in row)
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({named})", row)  # noqa: S608
    back_up(invoke)
    restored = servers("restored")
    Path("restored").mkdir()
    shutil.copy(COPY, "restored/maskline.db")
    Path("restored/secret.key").write_text("5e" * 32)
    migrated = invoke("migrate", "--data", "restored")
    assert "up to date" in migrated.output, migrated.output
    assert rows(restored.data / "maskline.db", MARKED) == [(1,)]
    restored.start()
    assert restored.rows(UNKNOWN) == restored.rows(EVENTS) == [("KI1",)]
    assert restored.rows("SELECT count(*) FROM outbox") == [(0,)]
    assert restored.stop() == 0


def test_a_copy_that_was_made_by_other_means(
    accepting: CrashingServer, servers: Servers, invoke: Invoke
) -> None:
    write(accepting.api, 1)
    served = invoke("migrate", "--restored", "--data", "data")
    assert (served.exit_code, "another maskline server has this" in served.output) == (2, True)
    assert accepting.stop() == 0
    shutil.copytree("data", "restored")
    marked = invoke("migrate", "--restored", "--data", "restored")
    assert (marked.exit_code, "Marked as a copy of 20" in marked.output) == (0, True)
    waited = rows(Path("restored/maskline.db"), WAITING)
    restored = servers("restored").start()
    assert len(waited) == 8 and restored.rows(UNKNOWN) == restored.rows(EVENTS) == waited
    assert restored.rows(HANDED_OVER) == []
    assert restored.stop() == 0


# The copy


def test_it_is_the_owners_and_says_what_is_left_out(accepting: CrashingServer, invoke: Invoke) -> None:
    umask = os.umask(0)
    try:
        said = back_up(invoke).stdout
    finally:
        os.umask(umask)
    assert stat.S_IMODE(COPY.stat().st_mode) == 0o600
    assert "Not in it: the secret key data/secret.key" in said and "data/account.env" in said
    assert rows(COPY, MARKED) == [(1,)]
    assert accepting.rows(MARKED) == [(0,)]
    assert COPY.read_bytes()[18:20] == b"\1\1", "it needs no log"
    assert [path.name for path in Path().glob("copy.db*")] == ["copy.db"]


def test_json(accepting: CrashingServer, invoke: Invoke) -> None:
    said = json.loads(back_up(invoke, "--json").stdout)
    made_at = said.pop("backed_up_at")
    assert made_at.startswith("20") and made_at.endswith("Z")
    assert said == {
        "file": "copy.db",
        "bytes": COPY.stat().st_size,
        "left_out": ["secret.key", "account.env"],
    }


def test_a_file_that_is_there_is_replaced_by_force_only(accepting: CrashingServer, invoke: Invoke) -> None:
    COPY.write_text("precious")
    refused = invoke("backup", str(COPY), "--data", "data")
    assert refused.exit_code == 1
    assert "copy.db is there already; name another, or give --force to replace it" in refused.output
    assert COPY.read_text() == "precious"
    back_up(invoke, "--force")
    assert rows(COPY, MARKED) == [(1,)]
    Path("copy.db-wal").write_text("of a server that died")
    assert "a log beside it" in invoke("backup", str(COPY), "--data", "data", "--force").output


def test_a_copy_of_a_copy_is_as_old_as_that(accepting: CrashingServer, invoke: Invoke) -> None:
    back_up(invoke)
    first = rows(COPY, "SELECT value FROM meta WHERE name = 'backed_up_at'")
    restore()
    assert invoke("backup", "second.db", "--data", "restored").exit_code == 0
    assert rows(Path("second.db"), "SELECT value FROM meta WHERE name = 'backed_up_at'") == first


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("nowhere/copy.db", "is not a directory"),
        ("data/maskline.db", "is in the data directory"),
        ("data/copy.db", "is in the data directory"),
        (".", "is a directory; name a file in it"),
        ("/proc/copy.db", "/proc/copy.db needs "),  # which has no room
        ("taken/copy.db", "taken/copy.db cannot be written: Is a directory"),
    ],
)
def test_where_it_cannot_be_put(accepting: CrashingServer, invoke: Invoke, file: str, said: str) -> None:
    Path("taken/copy.db.part").mkdir(parents=True)
    result = invoke("backup", file, "--data", "data", "--force")
    assert result.exit_code == 1
    assert said in result.output
    assert accepting.api.get("/v1/Services").status == 200


def test_without_a_database(invoke: Invoke) -> None:
    assert "there is no database in nowhere" in invoke("backup", str(COPY), "--data", "nowhere").output
    Path("data").mkdir()
    Path("data/maskline.db").write_text("a diary " * 1000)
    result = invoke("backup", str(COPY), "--data", "data")
    assert result.exit_code == 1
    assert "cannot be read: file is not a database" in result.output
    assert not COPY.exists()


def in_a_process(before: str) -> subprocess.CompletedProcess[str]:
    """The command in a process in which this is done before."""
    code = f"import os, pathlib, resource, signal\n{before}\nfrom maskline.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "backup", str(COPY), "--data", "data"],
        capture_output=True,
        text=True,
        check=False,
    )


def grow(file: Path, size: int) -> None:
    """Fill a database up to this size."""
    with closing(sqlite3.connect(file, timeout=30)) as connection, connection:
        connection.execute("CREATE TABLE filler (content BLOB)")
        connection.executemany("INSERT INTO filler VALUES (zeroblob(?))", [(1 << 20,)] * (size >> 20))


@pytest.mark.parametrize("moment", ["os.fdatasync", "os.fsync", "pathlib.Path.replace"])
def test_kill_in_the_middle_leaves_no_half_file(
    accepting: CrashingServer, invoke: Invoke, moment: str
) -> None:
    grow(accepting.data / "maskline.db", 24 << 20)
    killed = in_a_process(f"{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.returncode == -signal.SIGKILL
    assert not COPY.exists()
    assert Path("copy.db.part").exists()
    back_up(invoke)
    assert rows(COPY, "PRAGMA integrity_check") == [("ok",)]
    assert [path.name for path in Path().glob("copy.db*")] == ["copy.db"]


def test_a_disk_that_is_full(accepting: CrashingServer) -> None:
    grow(accepting.data / "maskline.db", 24 << 20)
    full = in_a_process(
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 20, resource.RLIM_INFINITY))"
    )
    assert full.returncode == 1
    assert "Error: the copy copy.db.part cannot be made: disk I/O error" in full.stderr
    assert "Traceback" not in full.stderr
    assert list(Path().glob("copy.db*")) == []


def test_the_server_is_left_room(
    accepting: CrashingServer, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_backup, "LEAST_FREE", 1 << 60)
    refused = invoke("backup", str(COPY), "--data", "data")
    assert refused.exit_code == 1
    assert re.search(r"copy\.db needs [\d,]+ MiB, and [\d,]+ MiB are free in /", refused.output)
    assert not COPY.exists()


def test_two_at_once(accepting: CrashingServer, invoke: Invoke) -> None:
    holds = (
        "import fcntl, sys; file = open('copy.db.part', 'w');"
        " fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        refused = invoke("backup", str(COPY), "--data", "data")
        other.kill()
    assert refused.exit_code == 1
    assert "another backup is being written to copy.db.part" in refused.output
    back_up(invoke)


# Around it


def test_doctor_tells_of_a_backup_until_it_is_started(
    accepting: CrashingServer, servers: Servers, invoke: Invoke
) -> None:
    back_up(invoke)
    restore()
    told = invoke("doctor", "--data", "restored", MASKLINE_PORT="0")
    assert told.exit_code == 0
    assert "backup: is the one of 20" in told.output and "--resend-restored" in told.output
    assert "secret key: restored/secret.key fits the database" in told.output
    Path("restored/secret.key").unlink()
    assert invoke("doctor", "--data", "restored", MASKLINE_PORT="0").exit_code == 1
    shutil.copy("data/secret.key", "restored")
    server = servers("restored").start()
    assert "backup:" not in invoke("doctor", "--data", "restored", MASKLINE_PORT="0").output
    assert server.stop() == 0


def test_a_log_that_is_left_of_another_database(
    accepting: CrashingServer, servers: Servers, invoke: Invoke
) -> None:
    """SQLite would write it into the copy."""
    write(accepting.api, 1)
    back_up(invoke)
    accepting.kill()
    assert Path("data/maskline.db-wal").stat().st_size > 0
    content = COPY.read_bytes()
    Path("data/maskline.db").write_bytes(content)
    for command in (
        ("serve", "--port", "0"),
        ("doctor",),
        ("migrate",),
        ("accounts", "list"),
        ("backup", "b.db"),
    ):
        result = invoke(*command, "--data", "data")
        assert result.exit_code == 1, command
        assert "maskline.db-wal is of another database" in result.output
    assert Path("data/maskline.db").read_bytes() == content
    Path("data/maskline.db-wal").unlink()
    assert accepting.start().stop() == 0
