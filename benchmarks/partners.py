"""The application behind Kannel in the smpp part: it says whom a text is for. A look-up in a dict, and no more.

`python -m benchmarks.partners FILE` reads the routes, listens on a free port of loopback, which it prints, and goes on
until it is killed. Kannel takes number and sender of what it shall send from the headers of an answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import httptools
import uvloop

TEXT, RECEIPT = "/text", "/receipt"
THANKS = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"


def answer(text: bytes, to: str, from_: str, receipts: str) -> bytes:
    """Send this text on, and tell of its receipts there."""
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\n"
        f"X-Kannel-To: +{to}\r\nX-Kannel-From: +{from_}\r\n"
        f"X-Kannel-DLR-Mask: 3\r\nX-Kannel-DLR-Url: {receipts}\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


class _Connection(asyncio.Protocol):
    def __init__(self, partners: dict[str, list[str]], port: int) -> None:
        self._partners = partners
        self._receipts = f"http://127.0.0.1:{port}{RECEIPT}"
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_message_complete(self) -> None:
        target, self._target = urlsplit(self._target.decode()), b""
        if target.path != TEXT:
            self._transport.write(THANKS)
            return
        asked = {name: values[0] for name, values in parse_qs(target.query).items()}
        to, from_ = self._partners[asked["from"].removeprefix("+") + ">" + asked["to"].removeprefix("+")]
        self._transport.write(answer(asked["text"].encode(), to, from_, self._receipts))


async def _serve(partners: dict[str, list[str]]) -> None:
    port = 0
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(partners, port), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(_serve(json.loads(Path(sys.argv[1]).read_text()))))
