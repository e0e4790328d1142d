"""Three PostgreSQL servers under Patroni on loopback: one leads, and a commit is on a second one before it is told."""

import json
import os
import signal
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from tests.support.kannel import free_ports
from tests.support.postgres import as_user, find_program

PROGRAM = Path(__file__).parents[2] / ".clients" / "python-patroni" / "bin" / "patroni"
TTL_S = 20
"""How long a leader is silent before another may lead: the least that Patroni takes."""
UP_S = 90


class Node:
    """One of them. `ports` are those of PostgreSQL, of Patroni's API, and of its part in the vote."""

    def __init__(self, directory: Path, ports: list[int]) -> None:
        self.directory = directory
        self.port, self.api, self.vote = ports
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, partners: list["Node"]) -> None:
        self.directory.mkdir(exist_ok=True)
        trusted = [
            "local all all trust",
            "host all all 127.0.0.1/32 trust",
            "host replication all 127.0.0.1/32 trust",
        ]
        database = find_program("initdb")
        assert database is not None
        # JSON is YAML.
        settings = {
            "scope": "maskline",
            "name": self.directory.name,
            "restapi": {"listen": f"127.0.0.1:{self.api}", "connect_address": f"127.0.0.1:{self.api}"},
            "raft": {
                "data_dir": str(self.directory / "raft"),
                "self_addr": f"127.0.0.1:{self.vote}",
                "partner_addrs": [f"127.0.0.1:{one.vote}" for one in partners],
            },
            "bootstrap": {
                "dcs": {
                    "ttl": TTL_S,
                    "loop_wait": 2,
                    "retry_timeout": 5,
                    "synchronous_mode": "quorum",
                    "synchronous_node_count": 1,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 100}},
                },
                "initdb": [{"encoding": "UTF8"}, "no-locale", "data-checksums", {"auth": "trust"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.directory / "pg"),
                "bin_dir": str(Path(database).parent),
                "authentication": {
                    "replication": {"username": "replicator"},
                    "superuser": {"username": "postgres"},
                },
                "parameters": {"unix_socket_directories": str(self.directory)},
                "pg_hba": trusted,
            },
        }
        file = self.directory / "patroni.yml"
        file.write_text(json.dumps(settings))
        with (self.directory / "patroni.log").open("ab") as log:
            self._process = subprocess.Popen([*as_user(), PROGRAM, file], stdout=log, stderr=log)

    def says(self) -> dict[str, Any]:
        """What Patroni tells of it; empty: nothing."""
        url = f"http://127.0.0.1:{self.api}/patroni"
        with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=2) as answer:
            return dict(json.load(answer))
        return {}

    def kill(self) -> None:
        """kill -9 of Patroni and of the postmaster."""
        postmaster = self.directory / "pg" / "postmaster.pid"
        pids = [int(postmaster.read_text().split()[0])] if postmaster.exists() else []
        if self._process is not None:
            pids.append(self._process.pid)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None


class Cluster:
    """Use `start`, then `stop`."""

    def __init__(self, directory: Path) -> None:
        ports = free_ports(9)
        self.nodes = [Node(directory / f"n{i}", ports[3 * i : 3 * i + 3]) for i in range(3)]

    def start(self) -> "Cluster":
        for node in self.nodes:
            self.restart(node)
        eventually(self.is_whole, UP_S)
        return self

    def restart(self, node: Node) -> None:
        node.start([one for one in self.nodes if one is not node])

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()

    def is_whole(self) -> bool:
        """Whether one leads and the two others follow it, one of which must have each commit."""
        said = [node.says() for node in self.nodes]
        roles = sorted(one.get("role", "") for one in said if one.get("state") in ("running", "streaming"))
        quorum = [one for one in said if one.get("quorum_standby") or one.get("sync_standby")]
        return roles == ["primary", "replica", "replica"] and len(quorum) == 2

    def leader(self) -> Node:
        """The one that leads."""
        return next(node for node in self.nodes if node.says().get("role") == "primary")

    def url(self) -> str:
        """All of them: whoever connects finds the one that leads."""
        hosts = ",".join("127.0.0.1" for _ in self.nodes)
        ports = ",".join(str(node.port) for node in self.nodes)
        return f"postgresql://postgres@/postgres?host={hosts}&port={ports}&target_session_attrs=read-write"
