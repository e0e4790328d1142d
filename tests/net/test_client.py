"""Posting a form to a peer that means well: what it sees, what comes back, how often it is tried."""

import asyncio
import base64
import traceback
from contextlib import AsyncExitStack
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline import __version__
from maskline.domain.http import Answer, Failure, HttpError
from maskline.net import HttpClient, _read, encode_form
from tests.net.conftest import Make
from tests.support.peer import Behaviour, Peer, Talk, polite, stalls
from tests.support.until import until


def statuses(*answers: int) -> Behaviour:
    """Answers the requests of all connections with these, one after the other."""
    left = iter(answers)

    async def behave(talk: Talk) -> None:
        while True:
            await talk.request()
            await talk.answer(next(left))

    return behave


async def test_the_form_arrives_and_the_answer_comes_back(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.answer(202, "<Response>é</Response>".encode(), "text/xml; charset=utf-8")

    form = {"interactionData": '{"body":"é & = + \U0001f355"}', "inboundResourceSid": "", "a b": "c\nd"}
    async with Peer(behave) as peer:
        answer = await client.post_form(f"{peer.url}/hook", form, headers={"X-Twilio-Signature": "abc="})
        (request,) = peer.requests
    assert answer == Answer(202, "text/xml; charset=utf-8", "<Response>é</Response>".encode())
    assert request.form == form
    assert request.headers["content-type"] == "application/x-www-form-urlencoded; charset=utf-8"
    assert request.headers["x-twilio-signature"] == "abc="
    assert request.headers["user-agent"] == f"maskline/{__version__}"
    assert request.headers["host"] == f"127.0.0.1:{peer.port}"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("", "/"),
        ("?a=1", "/?a=1"),
        ("/a/../b//c", "/a/../b//c"),
        ("/~u/%7eu?q='x'&r=%2f;s&t={1}|\\^`", "/~u/%7eu?q='x'&r=%2f;s&t={1}|\\^`"),
        ("/weg/ü?q=é", "/weg/%C3%BC?q=%C3%A9"),
        ("/p?q=1#rc=0&ct=100", "/p?q=1"),
        ("/p#", "/p"),
    ],
)
async def test_the_url_is_sent_to_the_letter_and_its_fragment_is_not(
    client: HttpClient, written: str, sent: str
) -> None:
    async with Peer(polite) as peer:
        await client.post_form(peer.url + written, {})
        assert [request.target for request in peer.requests] == [sent]


@pytest.mark.parametrize(
    ("userinfo", "plain"),
    [("anna:p%40ss", "anna:p@ss"), ("anna", "anna:"), ("anna:a:b", "anna:a:b"), ("%C3%BC:é", "ü:é")],
)
async def test_userinfo_becomes_basic_auth(client: HttpClient, userinfo: str, plain: str) -> None:
    async with Peer(polite) as peer:
        await client.post_form(f"http://{userinfo}@127.0.0.1:{peer.port}/", {})
        (request,) = peer.requests
    assert request.headers["authorization"] == f"Basic {base64.b64encode(plain.encode()).decode()}"
    assert "@" not in request.headers["host"]


async def test_a_content_type_that_is_no_text_is_made_one(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(b"HTTP/1.1 200 X\r\nContent-Type: text/\xff\xc3\xa9\r\nContent-Length: 0\r\n\r\n")

    async with Peer(behave) as peer:
        assert (await client.post_form(peer.url, {})).content_type == "text/??"


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 200 OK\r\n\r\nfine",
        b"HTTP/1.0 200 OK\r\n\r\nfine",
        b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nfine",
        b"HTTP/1.1 200 OK\nContent-Length: 4\n\nfine",
        b"HTTP/1.1 200 OK\r\nX: folded\r\n here\r\nContent-Length: 4\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nfine",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
        b"HTTP/1.1 103 X\r\nContent-Length: 9\r\nContent-Encoding: gzip\r\n\r\nHTTP/1.1 200 OK\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nfin\r\n1 \r\ne\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nContent-Encoding: gzip\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_an_answer_is_read_however_it_is_written(client: HttpClient, says: bytes, size: int) -> None:
    async def behave(talk: Talk) -> None:
        await talk.request()
        for start in range(0, len(says), size):
            await talk.say(says[start : start + size])
            await asyncio.sleep(0)

    async with Peer(behave) as peer:
        assert await client.post_form(peer.url, {}) == Answer(200, "", b"fine")


@pytest.mark.parametrize("status", [204, 304])
async def test_some_statuses_have_no_body_whatever_is_said(client: HttpClient, status: int) -> None:
    async def behave(talk: Talk) -> None:
        while True:
            await talk.request()
            head = f"HTTP/1.1 {status} X\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\n"
            await talk.say(head.encode())

    async with Peer(behave) as peer:
        for _ in range(2):
            assert await client.post_form(peer.url, {}) == Answer(status, "", b"")
        assert peer.connections == 1


@pytest.mark.parametrize(
    ("line", "connections"),
    [
        ("HTTP/1.1 200 X\r\n", 1),
        ("HTTP/1.1 200 X\r\nConnection: close\r\n", 2),
        ("HTTP/1.0 200 X\r\n", 2),
        ("HTTP/1.0 200 X\r\nConnection: keep-alive\r\n", 1),
    ],
)
async def test_a_connection_is_used_again_where_the_peer_keeps_it(
    client: HttpClient, line: str, connections: int
) -> None:
    async def behave(talk: Talk) -> None:
        while True:
            await talk.request()
            await talk.say(f"{line}Content-Length: 4\r\n\r\nfine".encode())

    async with Peer(behave) as peer:
        for _ in range(2):
            assert (await client.post_form(peer.url, {})).body == b"fine"
        assert peer.connections == connections


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Hooks.Example/", "hooks.example"),
        ("http://hooks.example:80/", "hooks.example"),
        ("https://hooks.example.:443/", "hooks.example"),
        ("https://hooks.example:80/", "hooks.example:80"),
        ("http://a_b.example:8080/", "a_b.example:8080"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("http://b\u00fccher.example/", "xn--bcher-kva.example"),
    ],
)
def test_the_host_is_named_as_everybody_does(url: str, host: str) -> None:
    assert f"\r\nHost: {host}\r\n" in _read(url).head


async def test_a_header_is_one_line(client: HttpClient) -> None:
    async with Peer(polite) as peer:
        for value in ("a\r\nX-Forged: b", "a\nX-Forged: b", "a\rb", "a\N{EURO SIGN}"):
            with pytest.raises(ValueError, match=r"line break|latin-1"):
                await client.post_form(peer.url, {}, headers={"X-Token": value})
        assert peer.connections == 0


async def test_nothing_is_kept_of_places_that_nobody_calls(make_client: Make) -> None:
    client = await make_client(idle_s=0.1)
    async with Peer(polite) as peer, Peer(stalls) as other:
        with pytest.raises(HttpError):
            await client.post_form(f"{other.url}/#tt=100", {})
        await client.post_form(peer.url, {})
        assert len(client._connections._pools) == 1
        await until(lambda: not client._connections._open and not client._connections._pools)


async def test_a_redirect_is_an_answer_and_cookies_are_forgotten(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        while True:
            await talk.request()
            await talk.say(
                b"HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n"
            )

    async with Peer(behave) as peer:
        for _ in range(2):
            assert (await client.post_form(f"{peer.url}/here", {})).status == 307
        assert [request.target for request in peer.requests] == ["/here", "/here"]
        assert not any("cookie" in request.headers for request in peer.requests)


async def test_a_connection_is_used_again_but_not_after_it_has_been_idle(make_client: Make) -> None:
    async def behave(talk: Talk) -> None:
        for _ in range(2):
            await talk.request()
            await talk.answer()
        await talk.until_closed()

    client = await make_client(idle_s=0.05)
    async with Peer(behave) as peer:
        for _ in range(2):
            await client.post_form(peer.url, {})
        assert peer.connections == 1
        await asyncio.wait_for(peer.hung_up.wait(), 5)
        await client.post_form(peer.url, {})
        assert peer.connections == 2


async def test_a_connection_is_idle_for_two_seconds_at_most(client: HttpClient) -> None:
    assert client._connections._idle_s == 2


@pytest.mark.parametrize(
    ("fragment", "answers", "status"),
    [
        ("", [500], 500),
        ("#rp=ct", [503], 503),
        ("#rp=5xx", [503, 200], 200),
        ("#rp=5xx", [503, 502], 502),
        ("#rp=5xx&rc=3", [500, 500, 500, 404], 404),
        ("#rp=5xx&rc=0", [500], 500),
        ("#rp=4xx&rc=5", [400, 404, 409, 200], 200),
        ("#rp=4xx", [500], 500),
        ("#rp=all", [404, 204], 204),
        ("#rp=all", [302], 302),
    ],
)
async def test_a_status_is_tried_again_where_the_url_says_so(
    client: HttpClient, fragment: str, answers: list[int], status: int
) -> None:
    async with Peer(statuses(*answers)) as peer:
        answer = await client.post_form(f"{peer.url}/{fragment}", {"a": "b"}, headers={"X-Token": "t"})
        assert answer.status == status
        assert len(peer.requests) == len(answers)
        assert {(request.body, request.headers["x-token"]) for request in peer.requests} == {(b"a=b", "t")}


async def test_an_unanswered_request_is_tried_again_where_the_url_says_so(client: HttpClient) -> None:
    for fragment, tries in [("rt=100", 1), ("rt=100&rp=rt", 2), ("rt=100&rp=all&rc=0", 1)]:
        async with Peer(stalls) as peer:
            with pytest.raises(HttpError) as caught:
                await client.post_form(f"{peer.url}/#{fragment}", {})
            assert (caught.value.kind, len(peer.requests)) == (Failure.TIMEOUT, tries)


ASCII = st.text(st.characters(max_codepoint=127), max_size=60)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=60) | ASCII, max_size=5))
def test_a_form_is_encoded_as_everybody_does(form: dict[str, str]) -> None:
    try:
        wanted = urlencode(form)
    except UnicodeEncodeError:
        return
    assert encode_form(form) == wanted


async def test_all_tries_together_end_with_the_total_time(client: HttpClient) -> None:
    loop = asyncio.get_running_loop()
    async with Peer(stalls) as peer:
        began = loop.time()
        with pytest.raises(HttpError) as caught:
            await client.post_form(f"{peer.url}/#rt=400&tt=800&rp=rt&rc=5", {})
        assert caught.value.kind is Failure.TIMEOUT
        assert 0.4 < loop.time() - began < 3
        assert len(peer.requests) == 2


async def test_a_host_that_stalls_holds_up_its_own_calls_and_no_others(make_client: Make) -> None:
    client = await make_client(host_connections=2)
    async with AsyncExitStack() as stack:
        bad, good = [await stack.enter_async_context(Peer(behave)) for behave in (stalls, polite)]
        stuck = [asyncio.create_task(client.post_form(f"{bad.url}/#tt=3000", {})) for _ in range(2)]
        await until(lambda: len(bad.requests) == 2)
        waiting = [asyncio.create_task(client.post_form(f"{bad.url}/#tt=150", {})) for _ in range(10)]
        for _ in range(20):
            assert (await client.post_form(good.url, {})).body == b"fine"
        assert not any(call.done() for call in stuck)
        failures = await asyncio.gather(*waiting, return_exceptions=True)
        kinds = [failure.kind for failure in failures if isinstance(failure, HttpError)]
        assert kinds == [Failure.BUSY] * 10
        assert bad.connections == 2
        # Who gives up leaves its place to the next.
        next_one = asyncio.create_task(client.post_form(f"{bad.url}/next", {}))
        stuck.pop().cancel()
        await until(lambda: len(bad.requests) == 3)
        assert bad.requests[2].target == "/next"
        for call in (*stuck, next_one):
            call.cancel()
        await asyncio.gather(*stuck, next_one, return_exceptions=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "https://:443/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:x/",
        "http://[::1/",
        "http://[zz]/",
        "http://2130706433/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://\N{ZERO WIDTH JOINER}/",
        "http://" + "ü" * 80 + ".example/",
    ],
)
async def test_what_is_no_url_is_refused_before_anything_is_sent(client: HttpClient, url: str) -> None:
    with pytest.raises(HttpError) as caught:
        await client.post_form(url, {})
    assert caught.value.kind is Failure.BAD_URL


async def test_an_error_tells_nothing_of_the_url(client: HttpClient) -> None:
    async with Peer(stalls) as peer:
        gone = peer.port
    form = {"Body": "message"}
    for host in (f"127.0.0.1:{gone}", "127.0.0.1:0", "127.0.0.1:x", "127.1"):
        url = f"http://anna:secret@{host}/path?key=hidden"
        with pytest.raises(HttpError) as caught:
            await client.post_form(url, form)
        said = "".join(traceback.format_exception(caught.value))
        assert not any(word in said for word in ("anna", "secret", "/path", "hidden", "message", "127."))
