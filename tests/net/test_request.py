"""One request to an API: what it sends, that it is sent once, and until when it waits."""

import asyncio

import pytest

from maskline.domain.http import Answer, Failure, HttpError
from maskline.net import HttpClient
from tests.net.conftest import Make
from tests.support.peer import Peer, Talk, stalls


async def test_body_and_headers_arrive_and_the_answer_comes_back(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(b"HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno")

    async with Peer(behave) as peer:
        url = peer.url.replace("://", "://name:pass@") + "/v1/messages#rc=3"
        headers = {"Content-Type": "application/json", "Idempotency-Key": "SM1"}
        answer = await client.request("POST", url, body=b"{}", headers=headers, within_s=5)
        (request,) = peer.requests
    assert answer == Answer(429, "", b"no", retry_after="7")
    assert (request.target, request.body) == ("/v1/messages", b"{}")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "SM1"
    assert request.headers["authorization"].startswith("Basic ")


async def test_what_fails_is_not_tried_again(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        await talk.request()
        talk.drop()

    async with Peer(behave) as peer:
        with pytest.raises(HttpError) as caught:
            await client.request("POST", f"{peer.url}/#rc=5&rp=all", body=b"x", within_s=5)
        assert caught.value.kind is Failure.BROKEN
        assert len(peer.requests) == 1


async def test_a_redirect_is_an_answer(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(b"HTTP/1.1 307 X\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n")

    async with Peer(behave) as peer:
        answer = await client.request("POST", peer.url, body=b"x", within_s=5)
        assert (answer.status, answer.location, len(peer.requests)) == (307, "/other", 1)


async def test_it_ends_within_its_time(client: HttpClient) -> None:
    async with Peer(stalls) as peer:
        began = asyncio.get_running_loop().time()
        with pytest.raises(HttpError) as caught:
            await client.request("POST", peer.url, body=b"x", within_s=0.05)
        assert caught.value.kind is Failure.TIMEOUT
        assert asyncio.get_running_loop().time() - began < 5


async def test_without_a_limit_any_number_goes_on_at_a_time(make_client: Make) -> None:
    """As many as wait at once are let go only when all of them are there."""
    together = asyncio.Event()

    async def behave(talk: Talk) -> None:
        await talk.request()
        if len(peer.requests) == 100:
            together.set()
        await together.wait()
        await talk.answer()

    client = await make_client(host_connections=0)
    async with Peer(behave) as peer:
        answers = await asyncio.gather(*(client.request("GET", peer.url, within_s=10) for _ in range(100)))
    assert {answer.status for answer in answers} == {200}
