"""strace watches the server: every answer that promises something leaves after its commit has been synced."""

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.load import look
from tests.support.server import RealServer
from tests.support.world import Pair, make_pair

CALLS = "fdatasync,fsync,pwrite64,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg"
N = 20

# PID CALL(DESCRIPTOR<FILE>REST, and when another thread came between: PID <... CALL resumed>REST
_BEGUN = re.compile(r"^(\d+) +(\w+)\(\d+<([^>]*)>(.*)$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")


@dataclass
class Exchange:
    """A request that was read and its answer, with what happened to the WAL between: `w` written, `s` synced."""

    method: str
    path: str
    status: int = 0
    wal: str = ""

    @property
    def syncs(self) -> int:
        return self.wal.count("s")


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[RealServer]:
    """A server under strace, which is its child: signals and the exit code are the server's own."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    command = ["strace", "-D", "-f", "-y", "-s", "200", "-o", str(tmp_path / "trace"), "-e", f"trace={CALLS}"]
    server = RealServer(tmp_path / "data", command=[*command, sys.executable, "-m", "maskline"])
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


def read_trace(trace: Path) -> list[Exchange]:
    """The exchanges, one after the other. A sync counts when it has returned 0, an answer when it begins to leave."""
    exchanges: list[Exchange] = []
    open_on: dict[str, Exchange] = {}
    unfinished: dict[str, str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        if begun := _BEGUN.match(line):
            thread, call, file, rest = begun.groups()
            if rest.endswith("<unfinished ...>"):
                unfinished[thread] = file
        elif resumed := _RESUMED.match(line):
            thread, call, rest = resumed.groups()
            file = unfinished.pop(thread, "")
        else:
            continue
        what = ""
        if call in {"fdatasync", "fsync"} and file.endswith("-wal") and "<unfinished" not in rest:
            assert rest.endswith("= 0"), line
            what = "s"
        elif call == "pwrite64" and file.endswith("-wal") and begun:
            what = "w"
        elif file.startswith(("socket:", "TCP:")):
            if request := re.search(r'"(GET|POST|DELETE) (\S+) HTTP/1.1', rest):
                open_on[file] = Exchange(request[1], request[2])
                exchanges.append(open_on[file])
            elif answer := re.search(r'"HTTP/1.1 (\d+)', rest):
                open_on.pop(file).status = int(answer[1])
        for exchange in open_on.values():
            exchange.wal += what
    return exchanges


def _pair(server: RealServer) -> tuple[Pair, str, str]:
    pair = make_pair(server.api)
    for person in (pair.first, pair.second):
        script = {"To": person["identifier"], "Outcome": "receipt-never"}
        pair.api.make("/sandbox/behaviour", script)
    return pair, pair.messages_path(pair.first), "/sandbox/messages"


def test_intake(traced: RealServer) -> None:
    """Nothing but the requests is at work here, so every write to the WAL and every sync is theirs."""
    traced.args = ["--role", "api"]
    traced.start()
    pair, messages, texts = _pair(traced)
    for i in range(N):
        pair.send(pair.first, f"m{i}", headers={"Idempotency-Key": f"k{i}"} if i % 2 else {})
        text = {"From": pair.first["identifier"], "To": pair.first["proxy_identifier"], "Body": f"t{i}"}
        pair.api.make(texts, text)
    path = f"{pair.session['url'][len(pair.api.url) :]}"
    assert pair.api.delete(path).status == 204
    assert traced.stop() == 0, traced.log()

    exchanges = read_trace(traced.data.parent / "trace")
    changes = [exchange for exchange in exchanges if exchange.method != "GET"]
    assert len(changes) >= 2 * N + 7
    for exchange in changes:
        assert exchange.status in {200, 201, 204}, exchange
        assert "w" in exchange.wal, exchange
        assert exchange.wal[-1] == "s", f"answered with writes that were not synced: {exchange}"
    assert [e.syncs for e in changes if e.path == messages] == [1] * N
    # The handset's text, its receipt by the server, and that it was brought: three commits.
    assert [e.syncs for e in changes if e.path == texts] == [3] * N


def test_whole_path(traced: RealServer) -> None:
    """accept, start, hand-over and record are four commits, each synced before the next is begun."""
    traced.start()
    pair, messages, _ = _pair(traced)
    for i in range(N):
        assert pair.send(pair.first, f"m{i}")["outbound_resource_status"] == "sent"
    assert look(traced.database, "SELECT count(*) FROM outbox") == [(0,)]
    assert traced.stop() == 0, traced.log()
    posted = [e for e in read_trace(traced.data.parent / "trace") if e.path == messages]
    assert len(posted) == N
    for exchange in posted:
        assert exchange.status == 200
        steps = re.findall("w+s+", exchange.wal)
        assert len(steps) >= 4, exchange
