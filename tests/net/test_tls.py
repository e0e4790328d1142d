"""TLS: always verified, under the name in the URL, and what goes wrong with it is a failure of its own."""

import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from maskline.domain.http import Failure, HttpError
from maskline.net import HttpClient
from tests.net.conftest import Make
from tests.support.certified import LOOPBACK, certified
from tests.support.peer import Peer, Talk, polite

Certify = Callable[..., tuple[ssl.SSLContext, ssl.SSLContext]]


@pytest.fixture
def certify(tmp_path: Path) -> Certify:
    """The contexts of a server with a certificate for `names`, and of a client that trusts it."""

    return partial(certified, tmp_path)


async def failure(client: HttpClient, url: str) -> HttpError:
    with pytest.raises(HttpError) as caught:
        await client.post_form(url, {})
    return caught.value


async def test_a_certificate_that_is_trusted_and_named_is_taken(make_client: Make, certify: Certify) -> None:
    serves, trusts = certify(LOOPBACK, x509.DNSName("localhost"))
    asked: list[str | None] = []
    serves.sni_callback = lambda _socket, name, _context: asked.append(name)  # type: ignore[assignment]
    client = await make_client(tls=trusts)
    async with Peer(polite, serves) as peer:
        assert (await client.post_form(peer.url, {})).body == b"fine"
        assert (await client.post_form(f"https://localhost:{peer.port}/", {})).body == b"fine"
    assert asked[-1] == "localhost"


async def test_a_certificate_that_nobody_vouches_for_is_refused(client: HttpClient, certify: Certify) -> None:
    serves, _ = certify(LOOPBACK)
    async with Peer(polite, serves) as peer:
        error = await failure(client, peer.url)
        assert (error.kind, peer.requests) == (Failure.TLS, [])
        assert "self-signed" in error.detail


@pytest.mark.parametrize(
    ("name", "days", "said"),
    [(x509.DNSName("localhost"), 1, "not valid for '127.0.0.1'"), (LOOPBACK, -1, "expired")],
)
async def test_a_certificate_of_another_or_of_yesterday_is_refused(
    make_client: Make, certify: Certify, name: x509.GeneralName, days: int, said: str
) -> None:
    serves, trusts = certify(name, days=days)
    client = await make_client(tls=trusts)
    async with Peer(polite, serves) as peer:
        error = await failure(client, peer.url)
        assert (error.kind, peer.requests) == (Failure.TLS, [])
        assert said in error.detail


@pytest.mark.parametrize(
    ("fragment", "tries"), [("", 2), ("#rc=0", 1), ("#rc=3", 4), ("#rp=5xx", 1), ("#rp=all", 2)]
)
async def test_a_peer_without_tls_is_tried_as_often_as_the_url_says(
    client: HttpClient, fragment: str, tries: int
) -> None:
    async def behave(talk: Talk) -> None:
        await talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await talk.until_closed()

    async with Peer(behave) as peer:
        assert (await failure(client, f"https://127.0.0.1:{peer.port}/{fragment}")).kind is Failure.TLS
        assert peer.connections == tries


async def test_a_handshake_that_stalls_has_the_time_to_connect(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        await talk.until_closed()

    async with Peer(behave) as peer:
        error = await failure(client, f"https://127.0.0.1:{peer.port}/#ct=100&rc=0")
        assert error.kind is Failure.CONNECT


async def test_a_handshake_that_is_dropped_is_no_connection(client: HttpClient) -> None:
    async def behave(talk: Talk) -> None:
        talk.drop()

    async with Peer(behave) as peer:
        assert (await failure(client, f"https://127.0.0.1:{peer.port}/#rc=1")).kind in {
            Failure.CONNECT,
            Failure.TLS,
        }
        assert peer.connections == 2
