"""Fetching from a peer that means well, and from some that do not: redirects, limits, time."""

import asyncio

import pytest

from maskline.domain.http import Answer, Failure, HttpError
from maskline.net import HttpClient
from tests.net.conftest import Make
from tests.support.peer import Behaviour, Peer, Talk, polite, stalls


def redirects(*locations: str, status: int = 302) -> Behaviour:
    """Answers with one redirect after the other, then with `here`."""
    left = iter(locations)

    async def behave(talk: Talk) -> None:
        while True:
            await talk.request()
            if (location := next(left, None)) is None:
                await talk.answer(200, b"here", "image/png")
            else:
                head = f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 5\r\n\r\n"
                await talk.say(head.encode() + b"moved")

    return behave


async def fetch(client: HttpClient, url: str, most_bytes: int = 1000, total_s: float = 10) -> Answer:
    return await client.fetch(url, most_bytes=most_bytes, total_s=total_s)


async def test_what_is_there_comes_back(client: HttpClient) -> None:
    async with Peer(redirects()) as peer:
        answer = await fetch(client, f"{peer.url}/a b?q=\u00e9#rc=5")
        (request,) = peer.requests
    assert answer == Answer(200, "image/png", b"here")
    assert (request.target, request.body) == ("/a%20b?q=%C3%A9", b"")
    assert not {"content-type", "authorization", "cookie", "referer"} & set(request.headers)
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(client: HttpClient, status: int) -> None:
    async with Peer(redirects("/b", "?c=1", "d", status=status)) as peer:
        assert (await fetch(client, f"{peer.url}/x/a")).body == b"here"
    assert [request.target for request in peer.requests] == ["/x/a", "/b", "/b?c=1", "/d"]


async def test_the_fourth_redirect_is_an_answer(client: HttpClient) -> None:
    async with Peer(redirects("/1", "/2", "/3", "/4", "/5")) as peer:
        answer = await fetch(client, peer.url)
    assert (answer.status, answer.location) == (302, "/4")
    assert len(peer.requests) == 4


async def test_what_is_no_redirect_leads_nowhere(client: HttpClient) -> None:
    async with Peer(redirects("/b", status=201)) as peer:
        assert await fetch(client, peer.url) == Answer(201, "", b"moved")


async def test_a_redirect_to_an_address_that_may_not_be_called_is_refused(make_client: Make) -> None:
    client = await make_client(may_reach=lambda address: address == "127.0.0.1")
    async with Peer(redirects("http://127.0.0.2/secret")) as peer:
        with pytest.raises(HttpError) as caught:
            await fetch(client, peer.url)
    assert caught.value.kind is Failure.REFUSED


@pytest.mark.parametrize(
    "location", ["ftp://127.0.0.1/", "file:///etc/passwd", "http://[", "http://127.0.0.1:0/"]
)
async def test_a_redirect_to_what_is_no_url_is_refused(client: HttpClient, location: str) -> None:
    async with Peer(redirects(location)) as peer:
        with pytest.raises(HttpError) as caught:
            await fetch(client, peer.url)
    assert caught.value.kind is Failure.BAD_URL
    assert location not in caught.value.detail


async def test_credentials_are_for_the_server_that_they_are_written_for(client: HttpClient) -> None:
    async with Peer(redirects()) as other, Peer(redirects(f"{other.url}/b")) as peer:
        await fetch(client, peer.url.replace("http://", "http://user:secret@"))
        (first,), (second,) = peer.requests, other.requests
    assert first.headers["authorization"].startswith("Basic ")
    assert "authorization" not in second.headers


async def test_more_than_the_limit_is_not_read(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await talk.say(b"400\r\n" + b"x" * 1024 + b"\r\n")

    async with Peer(behave) as peer:
        with pytest.raises(HttpError) as caught:
            await fetch(client, peer.url, most_bytes=100_000)
    assert (caught.value.kind, caught.value.status) == (Failure.TOO_LARGE, 200)


async def test_the_limit_itself_is_read(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.answer(200, b"x" * 1000)

    async with Peer(behave) as peer:
        assert len((await fetch(client, peer.url, most_bytes=1000)).body) == 1000


async def test_the_time_is_for_all_redirects_together(client: HttpClient) -> None:
    async with Peer(stalls) as last, Peer(redirects("/b", last.url)) as first:
        with pytest.raises(HttpError) as caught:
            await fetch(client, first.url, total_s=0.2)
        assert len(first.requests) == 2
        await last.hung_up.wait()
    assert caught.value.kind is Failure.TIMEOUT


async def test_many_at_once(client: HttpClient) -> None:
    async with Peer(polite) as peer:
        answers = await asyncio.gather(*(fetch(client, peer.url) for _ in range(100)))
    assert {answer.body for answer in answers} == {b"fine"}
