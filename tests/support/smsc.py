"""An SMSC on loopback that does what a test tells it. Its codec is smpplib, not ours: a peer, not a double."""

import asyncio
import logging
import ssl
import struct
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from smpplib import smpp

OK, THROTTLED, SYSTEM_ERROR, INVALID_DESTINATION, VENDORS = 0, 0x58, 0x08, 0x0B, 0x410
INVALID_PASSWORD, ALREADY_BOUND = 0x0E, 0x05
TEMPORARY, PERMANENT = 0x64, 0x65
SILENT, CUTS, LOSES = -1, -2, -3
"""Statuses for what is taken and never answered, and for what a connection is lost over, taken or not."""
BINDS = ("bind_transceiver", "bind_transmitter", "bind_receiver")

logging.getLogger("smpplib").setLevel(logging.ERROR)


class Counter:
    """What smpplib takes sequence numbers from."""

    def __init__(self) -> None:
        self.sequence = 0

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence


def pdu(name: str, sequence: int | None = None, status: int = 0, **fields: Any) -> Any:
    made = smpp.make_pdu(name, client=Counter(), **fields)
    made.status = status
    if sequence is not None:
        made.sequence = sequence
    return made


class Connection:
    """One bind, as the SMSC sees it."""

    def __init__(self, smsc: "Smsc", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.smsc = smsc
        self.role = ""
        self.reader = reader
        self.writer = writer
        self.counter = Counter()
        self.waiting: dict[int, asyncio.Future[int | None]] = {}

    def say(self, made: Any) -> None:
        self.writer.write(made.generate() if not isinstance(made, bytes) else made)

    async def serve(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self.reader.readexactly(4)
                (length,) = struct.unpack(">L", head)
                octets = head + await self.reader.readexactly(length - 4)
                if not self.hear(smpp.parse_pdu(octets, client=self.counter, allow_unknown_opt_params=True)):
                    break

    def hear(self, heard: Any) -> bool:
        name, smsc = heard.command, self.smsc
        smsc.heard.append(heard)
        if name in BINDS:
            status = smsc.refusal or (OK if heard.password == b"secret" else INVALID_PASSWORD)
            self.say(pdu(f"{name}_resp", heard.sequence, status, system_id="SMSC"))
            self.role = name.removeprefix("bind_") if status == OK else ""
            return status == OK
        if name == "submit_sm":
            smsc.submitted.append(heard)
            smsc.due.append((self, heard))
            if not smsc.holds:
                smsc.answer()
        elif name == "enquire_link":
            if smsc.is_alive:
                self.say(pdu("enquire_link_resp", heard.sequence))
        elif name == "unbind":
            self.say(pdu("unbind_resp", heard.sequence))
            return False
        elif heard.sequence in self.waiting:
            self.waiting.pop(heard.sequence).set_result(heard.status)
        return True


class Smsc:
    """Serves while it is entered. `holds`: submits wait for `answer`. `refusal`: the status of every bind."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.port = 0
        self.holds = False
        self.is_alive = True
        self.refusal = 0
        self.connections: list[Connection] = []
        self.heard: list[Any] = []
        self.submitted: list[Any] = []
        """Every submit_sm, whatever became of it."""
        self.taken: list[tuple[str, Any]] = []
        """Those that it took, with their ids."""
        self.due: deque[tuple[Connection, Any]] = deque()
        self.script: deque[int] = deque()
        """The statuses of the next answers; then OK."""
        self.ids: deque[str] = deque()
        """The ids of the next messages; then their number."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = Connection(self, reader, writer)
        self.connections.append(connection)
        try:
            await connection.serve()
        finally:
            self.connections.remove(connection)
            for future in connection.waiting.values():
                future.set_result(None)
            with suppress(ConnectionError):
                writer.close()
                await writer.wait_closed()

    @property
    def bound(self) -> list[str]:
        """The roles of the binds there are."""
        return [connection.role for connection in self.connections if connection.role]

    def answer(self, count: int | None = None) -> None:
        """Answer so many submits that wait, in their order; None: all."""
        for _ in range(len(self.due) if count is None else count):
            connection, heard = self.due.popleft()
            status = self.script.popleft() if self.script else OK
            message_id = ""
            if status in (OK, SILENT, CUTS):
                message_id = self.ids.popleft() if self.ids else f"{len(self.submitted)}"
                self.taken.append((message_id, heard))
            if status in (CUTS, LOSES):
                connection.writer.transport.abort()
            if status < 0:
                continue
            connection.say(pdu("submit_sm_resp", heard.sequence, status, message_id=message_id))

    def deliver(self, name: str = "deliver_sm", **fields: Any) -> "asyncio.Future[int | None]":
        """Bring something over the first bind that takes it. Gives the status it is answered with; None: with none."""
        connection = next(one for one in self.connections if one.role in ("transceiver", "receiver"))
        numbers = {"source_addr_ton": 1, "source_addr_npi": 1, "dest_addr_ton": 1, "dest_addr_npi": 1}
        made = smpp.make_pdu(name, client=connection.counter, **{**numbers, **fields})
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        connection.waiting[made.sequence] = future
        connection.say(made)
        return future

    def say(self, octets: bytes) -> None:
        """Write this on the first connection."""
        self.connections[0].say(octets)

    def cut(self) -> None:
        """Break every connection."""
        for connection in self.connections:
            connection.writer.transport.abort()
