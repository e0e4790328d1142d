"""Peers that are slow, lie, or speak no HTTP: each ends as its kind of failure, within the time."""

import asyncio
import gzip
import socket
import zlib
from itertools import count

import pytest

from maskline.domain.http import Failure, HttpError
from maskline.net import MOST_BYTES, HttpClient
from tests.support.peer import Behaviour, Peer, Talk, polite, stalls
from tests.support.until import turns, until

OK = b"HTTP/1.1 200 OK\r\n"


async def failure(client: HttpClient, url: str) -> Failure:
    """How the call ends; no deadline of these tests is a second away."""
    async with asyncio.timeout(5):
        with pytest.raises(HttpError) as caught:
            await client.post_form(url, {"a": "b"})
    return caught.value.kind


def says(*pieces: bytes, then_drops: bool = True) -> Behaviour:
    async def behave(talk: Talk) -> None:
        await talk.request()
        for piece in pieces:
            await talk.say(piece)
        if not then_drops:
            await talk.until_closed()

    return behave


def repeats(first: bytes, piece: bytes) -> Behaviour:
    """Goes on with `piece` until the client hangs up."""

    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(first)
        while True:
            await talk.say(piece)
            await asyncio.sleep(0)

    return behave


def drips(first: bytes, piece: bytes) -> Behaviour:
    """Says something each time that the loop has gone round a while: alive, and never done."""

    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(first)
        for turn in count():
            if turn % 100 == 0:
                await talk.say(piece)
            await asyncio.sleep(0)

    return behave


LIES = {
    "nothing": says(),
    "half a head": says(OK),
    "half a line": says(b"HTTP/1.1 20"),
    "half a body": says(OK + b"Content-Length: 100\r\n\r\n", b"x" * 50),
    "more body than announced": says(OK + b"Content-Length: 4\r\n\r\nmine and more", then_drops=False),
    "half a chunk": says(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10\r\nabc"),
    "no last chunk": says(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n"),
    "a chunk of no size": says(
        OK + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\nabc\r\n", then_drops=False
    ),
    "a negative length": says(OK + b"Content-Length: -5\r\n\r\n", then_drops=False),
    "two lengths": says(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", then_drops=False),
    "no length but a word": says(OK + b"Content-Length: many\r\n\r\n", then_drops=False),
    "another protocol": says(b"SSH-2.0-OpenSSH_9.2\r\n", then_drops=False),
    "random bytes": says(bytes(range(256)) * 4, then_drops=False),
    "zeroes": says(b"\0" * 5000, then_drops=False),
    "no status": says(b"HTTP/1.1 OK\r\n\r\n", then_drops=False),
    "a header without a name": says(OK + b": x\r\n\r\n", then_drops=False),
    "a huge header": says(OK + b"X: " + b"x" * 200_000 + b"\r\n\r\n", then_drops=False),
    "a huge status line": says(b"HTTP/1.1 200 " + b"x" * 200_000 + b"\r\n\r\n", then_drops=False),
    "10,000 headers": says(OK + b"X: x\r\n" * 10_000 + b"\r\n", then_drops=False),
    "endless headers": repeats(OK, b"X: x\r\n" * 100),
    "endless news of an answer to come": repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "a length and chunks": says(
        OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
        then_drops=False,
    ),
    "chunks and a length": says(
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
        then_drops=False,
    ),
    "a length beyond all numbers": says(OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", then_drops=False),
    "a chunk beyond all numbers": says(
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\nabc", then_drops=False
    ),
    "no end of the trailer": says(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: x\r\n"),
    "a transfer coding without an end": says(OK + b"Transfer-Encoding: gzip\r\n\r\nabcd"),
    "another protocol from here on": says(
        b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", then_drops=False
    ),
    "gzip that is none": says(
        OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", then_drops=False
    ),
    "half of what was packed": says(
        OK + b"Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + gzip.compress(b"abc")[:12],
        then_drops=False,
    ),
    "a packing that nobody knows": says(
        OK + b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd", then_drops=False
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_is_no_whole_answer_is_broken(client: HttpClient, lie: str) -> None:
    async with Peer(LIES[lie]) as peer:
        assert await failure(client, f"{peer.url}/#tt=2000") is Failure.BROKEN
        assert peer.connections == 1


@pytest.mark.parametrize(
    "behave",
    [
        stalls,
        says(OK, then_drops=False),
        says(OK + b"Content-Length: 5\r\n\r\nabc", then_drops=False),
        says(OK + b"Content-Length: 5\r\n\r\n", then_drops=False),
        drips(OK + b"X: ", b"x"),
        drips(OK + b"Content-Length: 60000\r\n\r\n", b"x"),
        drips(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
async def test_an_answer_that_is_late_is_given_up(client: HttpClient, behave: Behaviour) -> None:
    loop = asyncio.get_running_loop()
    async with Peer(behave) as peer:
        began = loop.time()
        assert await failure(client, f"{peer.url}/#tt=150") is Failure.TIMEOUT
        assert 0.1 < loop.time() - began < 2


async def test_a_silence_in_the_middle_is_as_bad_as_one_before(client: HttpClient) -> None:
    async with Peer(says(OK + b"Content-Length: 5\r\n\r\nabc", then_drops=False)) as peer:
        assert await failure(client, f"{peer.url}/#rt=100") is Failure.TIMEOUT
        await asyncio.wait_for(peer.hung_up.wait(), 5)


async def test_a_slow_answer_that_goes_on_is_waited_for(client: HttpClient) -> None:
    """The time to read is for each piece, not for the whole."""
    goes_on = asyncio.Event()

    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(OK + b"Content-Length: 4\r\n\r\n")
        loop = asyncio.get_running_loop()
        for piece in (b"a", b"b", b"c", b"d"):
            loop.call_later(0.1, goes_on.set)
            await goes_on.wait()
            goes_on.clear()
            await talk.say(piece)

    async with Peer(behave) as peer:
        assert (await client.post_form(f"{peer.url}/#rt=300", {})).body == b"abcd"


@pytest.mark.parametrize("size", [MOST_BYTES + 1, 10 * MOST_BYTES])
async def test_an_answer_that_is_too_large_is_refused(client: HttpClient, size: int) -> None:
    async with Peer(says(OK + f"Content-Length: {size}\r\n\r\n".encode(), b"x" * size)) as peer:
        assert await failure(client, peer.url) is Failure.TOO_LARGE


async def test_the_largest_answer_is_taken(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.answer(body=b"x" * MOST_BYTES)

    async with Peer(behave) as peer:
        assert (await client.post_form(peer.url, {})).body == b"x" * MOST_BYTES


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"\r\n", b"x" * 4096),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        (b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 4096),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 4096),
    ],
)
async def test_an_endless_answer_is_refused(client: HttpClient, head: bytes, piece: bytes) -> None:
    async with Peer(repeats(OK + head, piece)) as peer:
        assert await failure(client, peer.url) is Failure.TOO_LARGE


async def test_an_answer_that_unpacks_to_much_is_refused(client: HttpClient) -> None:
    bomb = gzip.compress(b"\0" * 20_000_000)
    head = f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    assert len(bomb) < MOST_BYTES
    async with Peer(says(OK + head + bomb, then_drops=False)) as peer:
        assert await failure(client, peer.url) is Failure.TOO_LARGE
        await asyncio.wait_for(peer.hung_up.wait(), 5)


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"fine", mtime=0)),
        ("X-GZip", gzip.compress(b"fine", mtime=0)),
        ("deflate", zlib.compress(b"fine")),
        ("deflate", zlib.compress(b"fine")[2:-4]),
        ("identity", b"fine"),
    ],
)
async def test_a_packed_answer_is_unpacked_though_nobody_asked_for_it(
    client: HttpClient, coding: str, packed: bytes
) -> None:
    head = f"Content-Encoding: {coding}\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    async with Peer(says(OK + head + packed)) as peer:
        assert (await client.post_form(peer.url, {})).body == b"fine"


async def test_an_answer_that_nobody_asked_for_ends_the_connection(client: HttpClient) -> None:
    answered = asyncio.Event()

    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.answer(body=b"mine")
        await answered.wait()
        await talk.say(OK + b"Content-Length: 6\r\n\r\nforged")
        await talk.until_closed()

    async with Peer(behave) as peer:
        assert (await client.post_form(peer.url, {})).body == b"mine"
        answered.set()
        await turns(100)
        assert (await client.post_form(peer.url, {})).body == b"mine"
        assert peer.connections == 2


async def test_an_answer_to_half_a_request_is_the_last_on_its_connection(client: HttpClient) -> None:
    """What is left of the request would come before the next one."""

    async def behave(talk: Talk) -> None:
        await talk._reader.readexactly(100)
        await talk.answer(413)
        await talk.until_closed()

    async with Peer(behave) as peer:
        for _ in range(2):
            assert (await client.post_form(peer.url, {"a": "b" * 20_000_000})).status == 413
        assert peer.connections == 2


async def test_a_connection_that_ends_as_it_is_used_again_breaks_what_may_have_arrived(
    client: HttpClient,
) -> None:
    """A form may have arrived, and whether it is sent again is its sender's to say. To get something does no harm."""

    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.answer()
        await talk.request()
        talk.drop()

    async with Peer(behave) as peer:
        assert (await client.post_form(peer.url, {})).status == 200
        assert await failure(client, peer.url) is Failure.BROKEN
        assert (peer.connections, len(peer.requests)) == (1, 2)
        assert (await client.post_form(peer.url, {})).status == 200
        assert (await client.get(peer.url)).status == 200
        assert (peer.connections, len(peer.requests)) == (3, 5)


async def test_a_peer_that_hangs_up_at_once_is_broken(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        talk.drop()

    async with Peer(behave) as peer:
        assert await failure(client, peer.url) is Failure.BROKEN


async def test_a_port_where_nobody_listens_cannot_be_connected_to(client: HttpClient) -> None:
    async with Peer(polite) as peer:
        pass
    assert await failure(client, peer.url) is Failure.CONNECT


async def test_a_peer_that_does_not_take_the_connection_has_the_time_to_connect(client: HttpClient) -> None:
    """A listener whose queue is full drops what comes: the handshake stalls."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fill = [socket.socket() for _ in range(4)]
        for each in fill:
            each.setblocking(False)
            each.connect_ex(address)
        assert await failure(client, f"http://127.0.0.1:{address[1]}/#ct=100&rc=0") is Failure.CONNECT
        for each in fill:
            each.close()


async def test_closing_ends_what_is_under_way(client: HttpClient) -> None:
    async with Peer(stalls) as peer:
        call = asyncio.create_task(client.post_form(peer.url, {}))
        await until(lambda: peer.requests)
        await client.close()
        with pytest.raises(HttpError) as caught:
            await asyncio.wait_for(call, 5)
        assert caught.value.kind is Failure.BROKEN
