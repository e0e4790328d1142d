"""A vendor's HTTP API for the http part, on the load's core: the tests' stand-in behind a quick server.

`python -m benchmarks.vendor KIND FILE` reads the account's numbers, one a line, prints its port and what the settings
say of the account as a line of JSON, and goes on until it is killed. A moment after it has taken a message it reports
the delivery at the address that came with the message. `/books` says what it has taken.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import httptools
import uvloop

from benchmarks.load import Pool
from maskline.clock import SystemClock
from tests.support.peer import Request
from tests.support.telnyx_api import TelnyxApi
from tests.support.twilio_api import TwilioApi
from tests.support.vendor import Taken, Vendor

COUNTS, BOOKS = "/counts", "/books"
RECEIPT_S = 0.2
"""A handset has its text so long after it was taken."""
TWILIO, TELNYX = "twilio", "telnyx"


class _Here(Vendor):
    """One that this process serves."""

    address = ""

    @property
    def url(self) -> str:
        return self.address


class _Twilio(_Here, TwilioApi):
    pass


class _Telnyx(_Here, TelnyxApi):
    pass


KINDS = {TWILIO: _Twilio, TELNYX: _Telnyx}


class _Serving:
    """The vendor, and its receipts. `told`: how many receipts were answered with which status."""

    def __init__(self, vendor: _Here) -> None:
        self.vendor = vendor
        self.told: dict[int, int] = {}
        self._loop = asyncio.get_running_loop()
        self._pools: dict[int, Pool] = {}
        self._reported = 0

    def answer(self, request: Request) -> bytes:
        status, content = self._answer(request)
        body = json.dumps(content).encode()
        return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            status,
            len(body),
            body,
        )

    def _answer(self, request: Request) -> tuple[int, Any]:
        taken = self.vendor.taken
        if request.target == COUNTS:
            return 200, {"taken": len(taken), "told": self.told}
        if request.target == BOOKS:
            return 200, [(one.from_, one.to, one.body) for one in taken]
        status, content = self.vendor.answer(request)
        for one in taken[self._reported :]:
            self._loop.call_later(RECEIPT_S, self._tell, one)
        self._reported = len(taken)
        return status, content

    def _tell(self, taken: Taken) -> None:
        url, said, headers = self.vendor.report(taken, "delivered")
        port = urlsplit(url).port
        assert port is not None
        if port not in self._pools:
            self._pools[port] = Pool(port)
        if not self._pools[port].submit(_post(url, said, headers), lambda status, _: self._told(status)):
            self._told(0)

    def _told(self, status: int) -> None:
        self.told[status] = self.told.get(status, 0) + 1


def _post(url: str, said: Mapping[str, str] | bytes, headers: Mapping[str, str]) -> bytes:
    body = said if isinstance(said, bytes) else urlencode(said).encode()
    kind = {} if isinstance(said, bytes) else {"Content-Type": "application/x-www-form-urlencoded"}
    target = urlsplit(url)._replace(scheme="", netloc="").geturl()
    lines = [f"POST {target} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (kind | dict(headers)).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, serving: _Serving) -> None:
        self._serving = serving
        self._parser = httptools.HttpRequestParser(self)
        self._begin()

    def _begin(self) -> None:
        self._target, self._headers, self._body = b"", dict[str, str](), b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        request = Request(method, self._target.decode(), self._headers, self._body)
        self._begin()
        self._transport.write(self._serving.answer(request))


async def _serve(kind: str, numbers: list[str]) -> None:
    vendor = KINDS[kind](SystemClock(), *numbers)
    serving = _Serving(vendor)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(serving), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    vendor.address = f"http://127.0.0.1:{port}"
    print(json.dumps({"port": port, "table": vendor.table}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(_serve(sys.argv[1], Path(sys.argv[2]).read_text().split())))
