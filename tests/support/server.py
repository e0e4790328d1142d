"""A real maskline server in a process of its own, on a free port, and a small client to talk to it.

The client writes the wire format that the official helper libraries write.
"""

import base64
import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg

from maskline.settings import Settings
from maskline.store.dialect import translate

ACCOUNT_SID = "AC" + "a1" * 16
AUTH_TOKEN = "b2" * 16
IDLE_S = 60
"""The server closes a connection that is not used for 75 seconds."""

Form = Mapping[str, Any] | Iterable[tuple[str, Any]]


@dataclass
class Reply:
    """An answer: `status`, lower-case `headers`, and the decoded JSON in `json` (None if there is no body)."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw) if self.raw else None


class _Connection(http.client.HTTPConnection):
    """Closes its socket when it is dropped, with its `Api` or with the thread that it served."""

    def __del__(self) -> None:
        self.close()


class Api:
    """Talks to a server as one account. A list as a form value repeats the parameter. Safe to use from threads."""

    def __init__(self, url: str, account_sid: str = ACCOUNT_SID, token: str = AUTH_TOKEN) -> None:
        self.url = url
        self.account_sid = account_sid
        self.token = token
        self._address = urlsplit(url)
        self._local = threading.local()
        self._auth = "Basic " + base64.b64encode(f"{account_sid}:{token}".encode()).decode()

    def request(
        self,
        method: str,
        path: str,
        form: Form | None = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        auth: bool = True,
    ) -> Reply:
        sent = dict(headers or {})
        if auth:
            sent.setdefault("Authorization", self._auth)
        if form is not None:
            pairs = form.items() if isinstance(form, Mapping) else form
            body = urlencode(list(pairs), doseq=True).encode()
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        if path.startswith("http"):
            path = (
                path[len(self.url) :]
                if path.startswith(self.url)
                else urlsplit(path)._replace(scheme="", netloc="").geturl()
            )
        if time.monotonic() - getattr(self._local, "used_at", 0) > IDLE_S:
            self.close()
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _Connection(
                self._address.hostname or "", self._address.port, timeout=30
            )
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            raw = response.read()
        except BaseException:
            connection.close()
            self._local.connection = None
            raise
        self._local.used_at = time.monotonic()
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, raw)

    def close(self) -> None:
        """Close this thread's connection."""
        if (connection := getattr(self._local, "connection", None)) is not None:
            connection.close()
            self._local.connection = None

    def get(self, path: str, **kwargs: Any) -> Reply:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, form: Form | None = None, **kwargs: Any) -> Reply:
        return self.request("POST", path, form, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> Reply:
        return self.request("DELETE", path, **kwargs)

    def make(self, path: str, form: Form | None = None, **kwargs: Any) -> Any:
        """POST what must succeed, and give its JSON."""
        reply = self.post(path, form, **kwargs)
        assert reply.status in (200, 201), (reply.status, reply.raw)
        return reply.json


def look(database: Path | str, question: str, *values: Any) -> list[Any]:
    """Ask the database itself, beside the server."""
    if isinstance(database, str):
        translated = translate(question)
        with psycopg.connect(database, cursor_factory=psycopg.RawCursor) as connection:
            return connection.execute(translated.text, values).fetchall()
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute(question, values).fetchall()


@dataclass
class RealServer:
    """A server process. `kill` is kill -9; `start` again uses the same data."""

    data: Path
    args: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=lambda: [sys.executable, "-m", "maskline"])
    url: str = ""
    ops_url: str = ""
    process: subprocess.Popen[str] | None = None

    def spawn(self, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "MASKLINE_ACCOUNT_SID": ACCOUNT_SID,
            "MASKLINE_AUTH_TOKEN": AUTH_TOKEN,
            **self.environment,
        }
        with (self.data.parent / f"{self.data.name}.log").open("a") as log:
            return subprocess.Popen(
                [*self.command, "serve", "--data", str(self.data), "--port", "0", *self.args],
                env=environment,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def start(self) -> "RealServer":
        self.process = self.spawn()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"listens on (https?://\S+)", line):
                self.url = found[1]
            elif found := re.match(r"Health: +(http://\S+)?", line):
                self.ops_url = found[1] or ""
                break
        else:
            self.ended()
            raise RuntimeError(f"the server did not start: {self.log()[-2000:]}")
        # Nobody reads on: the pipe must not fill.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        return self

    @property
    def settings(self) -> Settings:
        """What another process beside it needs to find its database."""
        database = {
            name: self.environment.get(f"MASKLINE_{name.upper()}") for name in ("database_url", "secret_key")
        }
        return Settings(data=str(self.data), **database)

    def log(self) -> str:
        return (self.data.parent / f"{self.data.name}.log").read_text()

    @property
    def database(self) -> Path | str:
        """The file, or the URL of a PostgreSQL database."""
        return self.environment.get("MASKLINE_DATABASE_URL") or self.data / "maskline.db"

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """What is in the database, read beside the server."""
        return look(self.database, sql, *values)

    @property
    def api(self) -> Api:
        return Api(self.url)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.ended()

    def ended(self, timeout_s: float = 30) -> int:
        """Wait until the process has ended by itself, and give its exit code."""
        assert self.process is not None
        code = self.process.wait(timeout=timeout_s)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.ended()
