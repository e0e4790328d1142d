"""The SMSC of an npm package, in a process of its own, and a server that is bound to it."""

import json
import queue
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.clients.official import OfficialClient
from tests.support.north import add_number
from tests.support.server import Api, RealServer
from tests.support.world import Pair, fresh_number, make_pair

CLIENT = OfficialClient("node-smpp")
ABSENT = "official clients are not installed (make clients)"
WAIT_S = 60.0


class NodeSmsc:
    """Runs while it is entered. What it says is kept in the order in which it was said. Over TLS with `pem`, a file
    with a certificate and its key.
    """

    def __init__(self, port: int = 0, pem: Path | None = None) -> None:
        self.port = port
        self._pem = pem
        self.said: list[Any] = []
        self._lines: queue.Queue[Any] = queue.Queue()
        self._ids = count(1)

    def __enter__(self) -> Self:
        self._process = CLIENT.start("smsc")
        threading.Thread(target=self._listen, daemon=True).start()
        self.tell(port=self.port, pem=str(self._pem) if self._pem else None)
        self.port = self.wait_for("listening")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def tell(self, **what: Any) -> None:
        assert self._process.stdin is not None
        print(json.dumps(what), file=self._process.stdin)

    def wait(self, wanted: Callable[[Any], bool], timeout_s: float = WAIT_S) -> Any:
        """The first thing it says from now on, or has said and nobody waited for, that is wanted."""
        for line in self.said:
            if wanted(line):
                self.said.remove(line)
                return line
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"the SMSC never said it; it said {self.said[-5:]}") from None
            if wanted(line):
                return line
            self.said.append(line)

    def take(self, name: str) -> Any:
        """What it has said under this name and nobody has waited for; None if there is nothing."""
        while True:
            try:
                self.said.append(self._lines.get_nowait())
            except queue.Empty:
                break
        line = next((line for line in self.said if name in line), None)
        if line is None:
            return None
        self.said.remove(line)
        return line[name]

    def wait_for(self, name: str, timeout_s: float = WAIT_S) -> Any:
        """What it says under this name."""
        return self.wait(lambda line: name in line, timeout_s)[name]

    def deliver(self, from_: str, to: str, **fields: Any) -> int:
        """Bring something from one number to another. Gives the id of its answer."""
        number = next(self._ids)
        numbers = {
            "source_addr": from_[1:],
            "source_addr_ton": 1,
            "source_addr_npi": 1,
            "destination_addr": to[1:],
            "dest_addr_ton": 1,
            "dest_addr_npi": 1,
        }
        self.tell(deliver={**numbers, **fields}, id=number)
        return number

    def answer_to(self, number: int) -> int | None:
        """With what status it was answered; None: the connection broke before."""
        status: int | None = self.wait(lambda line: line.get("answered") == number)["status"]
        return status


def account_at(port: int, **options: Any) -> dict[str, Any]:
    """The `[carriers.NAME]` table of an account that is at this port."""
    said = {"kind": "smpp", "host": "127.0.0.1", "port": port, "system_id": "me", "password": "secret"}
    return {**said, **options}


def make_masked_pair(server: RealServer, api: Api, service: Any | None = None) -> Pair:
    """A Session with two people, over a number of `north`."""
    if service is None:
        number = fresh_number()
        add_number(server, number)
        service = api.make("/v1/Services", {"UniqueName": f"over {number}"})
        api.make(f"/v1/Services/{service['sid']}/PhoneNumbers", {"PhoneNumber": number})
    return make_pair(api, service, Mode="message-only")
