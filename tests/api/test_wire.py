"""The wire: what a client may get wrong below HTTP's words. A real server in this process, spoken to in bytes."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from maskline.api.edge import Edge
from maskline.api.forms import MOST_BYTES
from maskline.api.wire import Exchange, Reply, Wire
from maskline.runtime import Server
from maskline.settings import Settings
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN
from tests.support.until import until

AUTH = b"Authorization: Basic " + base64.b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()) + b"\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


class Peer:
    """A client that writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def write(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))
        await self.writer.drain()

    async def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers as they are written, and body of the next answer."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        size = 0 if head else int(headers.get("Content-Length", "0"))
        return int(lines[0].split()[1]), headers, await self.reader.readexactly(size)

    async def refusal(self) -> tuple[int, int]:
        """Status and code of a refusal, after which the server has closed."""
        status, headers, body = await self.answer()
        assert headers["Connection"] == "close"
        assert await self.reader.read() == b""
        return status, json.loads(body)["code"]


class House:
    """The server, its connections, and how many Services it has."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.peers: list[Peer] = []

    async def connect(self) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        self.peers.append(peer)
        return peer

    async def names(self) -> list[str]:
        peer = await self.connect()
        await peer.write(b"GET /v1/Services HTTP/1.1\r\nHost: x\r\n", AUTH, b"\r\n")
        _, _, body = await peer.answer()
        return sorted(service["unique_name"] for service in json.loads(body)["services"])


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(Wire, "deadline_s", 0.25)
    server = Server(
        Settings(data=str(tmp_path / "data"), port=0, account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN)
    )
    running = await server.start()
    house = House(int(running.address.rsplit(":", 1)[1]))
    yield house
    for peer in house.peers:
        peer.writer.close()
    await server.stop()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the server is through with a connection."""
    event = asyncio.Event()
    lost = Wire.connection_lost

    def connection_lost(self: Wire, exc: Exception | None) -> None:
        lost(self, exc)
        event.set()

    monkeypatch.setattr(Wire, "connection_lost", connection_lost)
    return event


def create(name: bytes, *headers: bytes) -> bytes:
    body = b"UniqueName=" + name
    length = b"Content-Length: %d\r\n" % len(body)
    return b"".join(
        [b"POST /v1/Services HTTP/1.1\r\nHost: x\r\n", AUTH, FORM, length, *headers, b"\r\n", body]
    )


async def test_what_is_no_http_gets_a_json_error(house: House) -> None:
    peer = await house.connect()
    await peer.write(b"\x16\x03\x01 hello\r\n\r\n")
    assert await peer.refusal() == (400, 20400)


async def test_a_contradictory_length_gets_a_json_error_and_stores_nothing(house: House) -> None:
    peer = await house.connect()
    await peer.write(create(b"smuggled", b"Content-Length: 3\r\n"))
    assert await peer.refusal() == (400, 20400)
    assert await house.names() == []


@pytest.mark.parametrize(
    "filler", [b"X-Filler: " + b"x" * 600_000, b"".join(b"X-%d: y\r\n" % i for i in range(150))]
)
async def test_headers_have_a_limit_in_size_and_number(house: House, filler: bytes) -> None:
    peer = await house.connect()
    await peer.write(b"GET /v1/Services HTTP/1.1\r\n", AUTH, filler)
    assert await peer.refusal() == (431, 20431)


async def test_an_endless_request_line_is_cut_off(house: House) -> None:
    peer = await house.connect()
    await peer.write(b"GET /v1/Services/" + b"x" * 600_000)
    assert await peer.refusal() == (431, 20431)


async def test_a_body_over_the_limit_is_refused_before_all_of_it_has_come(house: House) -> None:
    peer = await house.connect()
    await peer.write(
        b"POST /v1/Services HTTP/1.1\r\n", AUTH, FORM, b"Content-Length: 1000000\r\n\r\nUniqueName="
    )
    await peer.write(b"x" * 70_000)
    assert await peer.refusal() == (413, 20413)
    assert await house.names() == []


async def test_a_body_in_chunks_has_the_same_limit(house: House) -> None:
    peer = await house.connect()
    await peer.write(b"POST /v1/Services HTTP/1.1\r\n", AUTH, FORM, b"Transfer-Encoding: chunked\r\n\r\n")
    await peer.write(*[b"2000\r\n" + b"x" * 0x2000 + b"\r\n" for _ in range(9)])
    assert await peer.refusal() == (413, 20413)


def brought(size: int) -> bytes:
    """What begins a request with so large a body, as of a carrier."""
    return b"POST /carriers/west/message HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (FORM, size)


async def test_of_large_bodies_so_much_is_held_at_once(
    house: House, ended: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wire, "deadline_s", 30.0)
    monkeypatch.setattr(Wire, "most_large_bytes", 200_000)
    first, second, small = [await house.connect() for _ in range(3)]
    await first.write(brought(250_000), b"x" * 249_999)
    await until(lambda: Exchange.large_bytes == 249_999 - MOST_BYTES)
    await second.write(brought(100_000), b"x" * 100_000)
    status, headers, body = await second.answer()
    assert (status, headers["Retry-After"], json.loads(body)["code"]) == (503, "1", 20503)
    # That takes nobody's room, and what is small needs none.
    assert Exchange.large_bytes == 249_999 - MOST_BYTES
    await small.write(brought(MOST_BYTES), b"x" * MOST_BYTES)
    assert (await small.answer())[0] == 403
    await first.write(b"x")
    assert (await first.answer())[0] == 403
    await until(lambda: Exchange.large_bytes == 0)
    # Who leaves in the midst leaves nothing, and there is room for the next.
    third = await house.connect()
    await third.write(brought(200_000), b"x" * 199_999)
    await until(lambda: Exchange.large_bytes == 199_999 - MOST_BYTES)
    ended.clear()
    third.writer.close()
    await ended.wait()
    assert Exchange.large_bytes == 0
    await first.write(brought(250_000), b"x" * 250_000)
    assert (await first.answer())[0] == 403
    # Nor does who sends more than anybody may.
    monkeypatch.setattr(Wire, "most_large_bytes", 2_000_000)
    await first.write(brought(5_000_000), b"x" * 1_048_577)
    assert await first.refusal() == (413, 20413)
    assert Exchange.large_bytes == 0


async def test_a_body_in_chunks_is_read(house: House) -> None:
    peer = await house.connect()
    await peer.write(b"POST /v1/Services HTTP/1.1\r\n", AUTH, FORM, b"Transfer-Encoding: chunked\r\n\r\n")
    await peer.write(b"b\r\nUniqueName=\r\n7\r\nchunked\r\n0\r\n\r\n")
    assert (await peer.answer())[0] == 201
    assert await house.names() == ["chunked"]


@pytest.mark.parametrize(
    "begun", [b"GET /v1/Serv", b"GET /v1/Services HTTP/1.1\r\nHost:", create(b"stalled")[:-3]]
)
async def test_a_request_that_stalls_is_answered_408_and_stores_nothing(house: House, begun: bytes) -> None:
    peer = await house.connect()
    await peer.write(begun)
    assert await peer.refusal() == (408, 20408)
    assert await house.names() == []


async def test_a_connection_that_sends_nothing_is_closed_without_a_word(house: House) -> None:
    peer = await house.connect()
    assert await peer.reader.read() == b""


async def test_a_connection_may_rest_between_requests(house: House) -> None:
    peer, other = await house.connect(), await house.connect()
    await peer.write(create(b"first"))
    assert (await peer.answer())[0] == 201
    assert await other.reader.read() == b""  # by then the deadline of a request is over
    await peer.write(create(b"second"))
    assert (await peer.answer())[0] == 201


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the server has looked whether a connection still has a client; it keeps one that rests for 0.2 s."""
    event = asyncio.Event()
    look, made = Wire.timeout_keep_alive_handler, Wire.connection_made

    def connection_made(self: Wire, transport: asyncio.BaseTransport) -> None:
        self.timeout_keep_alive = 0.2  # type: ignore[assignment]
        made(self, transport)

    def timeout_keep_alive_handler(self: Wire) -> None:
        look(self)
        event.set()

    monkeypatch.setattr(Wire, "deadline_s", 10.0)
    monkeypatch.setattr(Wire, "connection_made", connection_made)
    monkeypatch.setattr(Wire, "timeout_keep_alive_handler", timeout_keep_alive_handler)
    return event


async def test_a_connection_that_rests_too_long_is_closed(house: House, looked: asyncio.Event) -> None:
    peer = await house.connect()
    loop = asyncio.get_running_loop()
    for name in (b"one", b"two", b"three"):
        await peer.write(create(name))
        assert (await peer.answer())[0] == 201
        answered = loop.time()
    assert await peer.reader.read() == b""
    assert loop.time() - answered > 0.19


async def test_a_connection_is_not_closed_in_the_middle_of_a_request(
    house: House, looked: asyncio.Event
) -> None:
    peer = await house.connect()
    await peer.write(create(b"one"))
    assert (await peer.answer())[0] == 201
    request = create(b"two")
    await peer.write(request[:-3])
    await looked.wait()
    await peer.write(request[-3:])
    assert (await peer.answer())[0] == 201
    assert await peer.reader.read() == b""


async def test_pipelined_requests_are_answered_in_their_order(house: House) -> None:
    peer = await house.connect()
    await peer.write(*[create(b"p%d" % i) for i in range(5)])
    names = [json.loads((await peer.answer())[2])["unique_name"] for _ in range(5)]
    assert names == ["p0", "p1", "p2", "p3", "p4"]


async def test_what_is_answered_in_one_turn_of_the_loop_is_written_together(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    answer, complete = Edge.__call__, Exchange._complete

    async def answered(self: Edge, exchange: Exchange) -> Reply:
        reply = await answer(self, exchange)
        done.append("answered")
        return reply

    def written(self: Exchange, answer: bytes = b"") -> None:
        done.append("written")
        complete(self, answer)

    monkeypatch.setattr(Edge, "__call__", answered)
    monkeypatch.setattr(Exchange, "_complete", written)
    peers = [await house.connect() for _ in range(3)]
    for peer in peers:
        peer.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [(await peer.answer())[0] for peer in peers] == [200] * 3
    assert done == ["answered"] * 3 + ["written"] * 3


async def test_nonsense_behind_a_good_request_does_not_take_its_answer(house: House) -> None:
    peer = await house.connect()
    await peer.write(create(b"good"), b"\x00\x01 nonsense\r\n\r\n")
    assert (await peer.answer())[0] == 201
    assert await peer.refusal() == (400, 20400)
    assert await house.names() == ["good"]


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on(house: House) -> None:
    peer = await house.connect()
    request = create(b"polite", b"Expect: 100-continue\r\n")
    await peer.write(request[: -len(b"UniqueName=polite")])
    assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await peer.write(b"UniqueName=polite")
    assert (await peer.answer())[0] == 201


async def test_http_1_0_is_answered_and_closed(house: House) -> None:
    peer = await house.connect()
    await peer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (await peer.answer())[0] == 200
    assert await peer.reader.read() == b""


async def test_head_has_the_headers_of_get_and_no_body(house: House) -> None:
    peer = await house.connect()
    await peer.write(b"HEAD /healthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n")
    status, headers, _ = await peer.answer(head=True)
    assert (status, headers["Content-Length"]) == (200, "15")
    assert (await peer.answer())[2] == b'{"status":"ok"}'


async def test_a_client_that_leaves_before_the_answer_has_made_what_it_asked_for(house: House) -> None:
    peer = await house.connect()
    await peer.write(create(b"gone"))
    peer.writer.close()
    await peer.writer.wait_closed()
    async with asyncio.timeout(10):
        while not await house.names():
            continue
    assert await house.names() == ["gone"]


async def test_header_names_are_written_as_twilio_writes_them(house: House) -> None:
    peer = await house.connect()
    await peer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
    _, headers, _ = await peer.answer()
    assert {"Twilio-Request-Id", "Twilio-Request-Duration", "Content-Type", "Content-Length"} <= set(headers)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[int]:
    """The sizes of what the server has read."""
    sizes: asyncio.Queue[int] = asyncio.Queue()
    receive = Wire.data_received

    def data_received(self: Wire, data: bytes) -> None:
        sizes.put_nowait(len(data))
        receive(self, data)

    monkeypatch.setattr(Wire, "data_received", data_received)
    return sizes


async def in_segments(peer: Peer, received: asyncio.Queue[int], *parts: bytes) -> None:
    """Write each part when the server has read the one before."""
    for part in parts:
        await peer.write(part)
        missing = len(part)
        while missing:
            missing -= await received.get()


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
HEALTHZ = b"GET /healthz HTTP/1.1\r\n"


async def test_an_offer_to_upgrade_is_answered_in_http_1_1(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await house.connect()
    await peer.write(HEALTHZ, UPGRADE, b"\r\n")
    assert (await peer.answer())[0] == 200
    await peer.write(HEALTHZ, UPGRADE, b"\r\n", HEALTHZ, b"\r\n", HEALTHZ, UPGRADE, b"\r\n")
    assert [(await peer.answer())[0] for _ in range(3)] == [200, 200, 200]
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_request_with_a_body_that_offers_to_upgrade_is_served_with_its_body(house: House) -> None:
    peer = await house.connect()
    await peer.write(create(b"whole", UPGRADE), create(b"plain"), create(b"again", UPGRADE))
    assert [(await peer.answer())[0] for _ in range(3)] == [201, 201, 201]
    await peer.write(create(b"split", UPGRADE)[:-9])
    await peer.write(b"ame=split", HEALTHZ, b"\r\n")
    assert [(await peer.answer())[0] for _ in range(2)] == [201, 200]
    chunked = b"Transfer-Encoding: chunked\r\n"
    await peer.write(b"POST /v1/Services HTTP/1.1\r\n", AUTH, FORM, UPGRADE, chunked, b"\r\n")
    await peer.write(b"b\r\nUniqueName=\r\n6\r\nchunks\r\n0\r\n\r\n")
    assert (await peer.answer())[0] == 201
    assert await house.names() == ["again", "chunks", "plain", "split", "whole"]


async def test_an_upgrade_with_a_body_byte_by_byte(house: House, received: asyncio.Queue[int]) -> None:
    peer = await house.connect()
    request = create(b"bytes", UPGRADE)
    await in_segments(peer, received, *[request[i : i + 1] for i in range(len(request))])
    assert (await peer.answer())[0] == 201
    assert await house.names() == ["bytes"]


async def test_an_upgrade_without_all_of_its_body_is_answered_408(house: House) -> None:
    peer = await house.connect()
    await peer.write(create(b"stalled", UPGRADE)[:-3])
    assert await peer.refusal() == (408, 20408)
    assert await house.names() == []


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n"]
)
async def test_an_upgrade_with_a_contradictory_length_is_refused(house: House, framing: bytes) -> None:
    peer = await house.connect()
    await peer.write(create(b"smuggled", UPGRADE, framing))
    assert await peer.refusal() == (400, 20400)
    assert await house.names() == []


async def test_connect_is_refused(house: House) -> None:
    peer = await house.connect()
    await peer.write(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert await peer.refusal() == (400, 20400)


async def test_line_ends_between_requests_do_not_keep_a_connection(house: House) -> None:
    peer = await house.connect()
    await peer.write(HEALTHZ, b"\r\n")
    assert (await peer.answer())[0] == 200
    await peer.write(b"\r\n")
    async with asyncio.timeout(5):
        assert await peer.reader.read() == b""


async def test_a_request_may_follow_line_ends(house: House) -> None:
    peer, other = await house.connect(), await house.connect()
    await peer.write(HEALTHZ, b"\r\n")
    assert (await peer.answer())[0] == 200
    await peer.write(b"\r\n")
    await peer.write(create(b"after"))
    assert (await peer.answer())[0] == 201
    assert await other.reader.read() == b""  # by then the deadline that the line end set is over
    await peer.write(HEALTHZ, b"\r\n")
    assert (await peer.answer())[0] == 200


async def test_a_refused_client_that_stays_is_left(house: House, ended: asyncio.Event) -> None:
    peer = await house.connect()
    await peer.write(b"\x00\r\n\r\n")
    assert await peer.refusal() == (400, 20400)
    async with asyncio.timeout(5):
        await ended.wait()


async def test_a_connection_too_many_is_closed_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch, ended: asyncio.Event
) -> None:
    monkeypatch.setattr(Wire, "most_connections", 2)
    monkeypatch.setattr(Wire, "deadline_s", 60)
    first, second = await house.connect(), await house.connect()
    async with asyncio.timeout(5):
        for peer in (first, second):
            await peer.write(HEALTHZ, b"\r\n")
            assert (await peer.answer())[0] == 200
        third = await house.connect()
        assert await third.reader.read() == b""
        ended.clear()
        second.writer.close()
        await ended.wait()
        fourth = await house.connect()
        for peer in (first, fourth):
            await peer.write(HEALTHZ, b"\r\n")
            assert (await peer.answer())[0] == 200


@pytest.mark.parametrize("size", [100, 1_500, 9_000])
async def test_the_limit_of_headers_is_the_same_in_segments(
    house: House, received: asyncio.Queue[int], size: int
) -> None:
    def request(total: int) -> bytes:
        head = HEALTHZ + b"".join(b"X-%d: %b\r\n" % (i, b"x" * 990) for i in range(30))
        return head + b"Y: " + b"y" * (total - len(head) - 7) + b"\r\n\r\n"

    good, bad = request(32_700), request(32_900)
    peer = await house.connect()
    await in_segments(peer, received, *[good[i : i + size] for i in range(0, len(good), size)])
    assert (await peer.answer())[0] == 200
    # The same behind a body, and in one piece
    await in_segments(peer, received, create(b"big") + good[:size], good[size:])
    assert [(await peer.answer())[0] for _ in range(2)] == [201, 200]
    await in_segments(peer, received, *[bad[i : i + size] for i in range(0, len(bad), size)])
    assert await peer.refusal() == (431, 20431)


async def test_a_header_without_end_is_refused_in_segments(
    house: House, received: asyncio.Queue[int]
) -> None:
    peer = await house.connect()
    await in_segments(peer, received, HEALTHZ + b"X: ", *[b"x" * 1_000] * 33)
    assert await peer.refusal() == (431, 20431)


CHUNKED = b"POST /v1/Services HTTP/1.1\r\n" + FORM + b"Transfer-Encoding: chunked\r\n"
NAMED = b"e\r\nUniqueName=abc\r\n0\r\n"


async def test_a_trailer_is_no_header(house: House) -> None:
    peer = await house.connect()
    await peer.write(CHUNKED, b"\r\n", NAMED, AUTH, b"\r\n")
    assert (await peer.answer())[0] == 401
    await peer.write(CHUNKED, AUTH, b"\r\n", NAMED, b"Authorization: Basic bm9ib2R5\r\n\r\n")
    assert (await peer.answer())[0] == 201
    assert await house.names() == ["abc"]


async def test_a_trailer_without_end_is_refused(house: House, received: asyncio.Queue[int]) -> None:
    peer = await house.connect()
    await in_segments(peer, received, CHUNKED + AUTH + b"\r\n" + NAMED + b"X: ", *[b"x" * 60_000] * 9)
    assert await peer.refusal() == (413, 20413)
    assert await house.names() == []
