"""Where a customer's URL may not lead: into our own network, by whatever name or number."""

import asyncio
import socket
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohappyeyeballs import AddrInfoType

from maskline.domain.address import is_public
from maskline.domain.http import Failure, HttpError
from maskline.net import HttpClient
from tests.net.conftest import Make
from tests.support.peer import Peer, Talk, polite
from tests.support.until import until


@dataclass
class Names:
    """A name server that gives the next of its answers each time; a name that it does not know is not there."""

    answers: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: int) -> list[AddrInfoType]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("no such name")
        found = self.answers[host]
        addresses = found.pop(0) if len(found) > 1 else found[0]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                0,
                "",
                (address, port),
            )
            for address in addresses
        ]


async def failure(client: HttpClient, url: str) -> Failure:
    with pytest.raises(HttpError) as caught:
        await client.post_form(url, {})
    return caught.value.kind


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",  # noqa: S104
        "[::]",
        "localhost",
        "LOCALHOST",
        "0x7f.1",
        "0x7f000001",
    ],
)
async def test_loopback_is_refused_however_it_is_written(make_client: Make, host: str) -> None:
    """With the system's own resolver."""
    client = await make_client(may_reach=is_public)
    async with Peer(polite) as peer:
        # A C library that does not read hexadecimal takes it for a name, and finds none.
        expected = {Failure.REFUSED, Failure.DNS} if host.startswith("0x") else {Failure.REFUSED}
        assert await failure(client, f"http://{host}:{peer.port}/") in expected
        assert peer.connections == 0


@pytest.mark.parametrize("host", ["2130706433", "017700000001", "0177.0.0.1", "127.1", "127.0.1"])
async def test_numbers_that_are_no_address_are_no_host(make_client: Make, host: str) -> None:
    client = await make_client(may_reach=is_public)
    async with Peer(polite) as peer:
        assert await failure(client, f"http://{host}:{peer.port}/") is Failure.BAD_URL
        assert peer.connections == 0


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["::1"], ["169.254.169.254"], ["10.0.0.1", "127.0.0.1", "::ffff:127.0.0.1"]]
)
async def test_a_name_that_leads_inside_is_refused(make_client: Make, addresses: list[str]) -> None:
    names = Names({"hooks.example": [addresses]})
    client = await make_client(may_reach=is_public, look_up=names)
    async with Peer(polite) as peer:
        assert await failure(client, f"http://hooks.example:{peer.port}/#rc=5&rp=all") is Failure.REFUSED
        assert peer.connections == 0
    assert names.asked == ["hooks.example"]


async def test_the_same_name_is_called_where_that_is_allowed(make_client: Make) -> None:
    client = await make_client(look_up=Names({"hooks.example": [["127.0.0.1"]]}))
    async with Peer(polite) as peer:
        assert (await client.post_form(f"http://hooks.example:{peer.port}/", {})).body == b"fine"
        assert peer.requests[0].headers["host"] == f"hooks.example:{peer.port}"


async def test_a_name_that_changes_is_judged_each_time_that_it_is_connected_to(
    make_client: Make,
) -> None:
    """What DNS rebinding does: the first answer may be called, the next leads elsewhere."""
    names = Names({"rebind.example": [["127.0.0.1"], ["127.0.0.2"]]})
    judged: list[str] = []

    def may_reach(address: str) -> bool:
        judged.append(address)
        return address == "127.0.0.1"

    client = await make_client(may_reach=may_reach, look_up=names, idle_s=0)
    async with Peer(polite) as peer:
        url = f"http://rebind.example:{peer.port}/"
        assert (await client.post_form(url, {})).status == 200
        client._connections._resolver._known.clear()  # its ten seconds are over
        assert await failure(client, url) is Failure.REFUSED
        assert peer.connections == 1
    assert judged == ["127.0.0.1", "127.0.0.2"]


async def test_a_name_is_asked_for_once_by_all_who_want_it(make_client: Make) -> None:
    names = Names({"hooks.example": [["127.0.0.1"]]})
    client = await make_client(look_up=names, idle_s=0)
    async with Peer(polite) as peer:
        url = f"http://hooks.example:{peer.port}/"
        for _ in range(2):
            await asyncio.gather(*(client.post_form(url, {}) for _ in range(10)))
        assert peer.connections == 20
    assert names.asked == ["hooks.example"]


async def test_of_several_addresses_only_the_public_ones_are_connected_to(
    make_client: Make,
) -> None:
    names = Names({"both.example": [["127.0.0.2", "::1", "127.0.0.1"]]})
    client = await make_client(may_reach=lambda address: address == "127.0.0.1", look_up=names)
    async with Peer(polite) as peer:
        assert (await client.post_form(f"http://both.example:{peer.port}/", {})).status == 200


async def test_a_redirect_leads_nowhere(make_client: Make) -> None:
    client = await make_client(look_up=Names({"a.example": [["127.0.0.1"]], "b.example": [["127.0.0.1"]]}))
    async with Peer(polite) as inside:

        async def redirects(talk: Talk) -> None:
            await talk.request()
            await talk.say(f"HTTP/1.1 302 X\r\nLocation: {inside.url}\r\nContent-Length: 0\r\n\r\n".encode())

        async with Peer(redirects) as outside:
            assert (await client.post_form(f"http://a.example:{outside.port}/", {})).status == 302
        assert inside.connections == 0


async def test_a_name_that_is_not_there_is_a_failure_of_dns(make_client: Make) -> None:
    client = await make_client(look_up=Names({}))
    assert await failure(client, "http://nobody.example/") is Failure.DNS


@pytest.mark.parametrize("host", ["nobody.invalid", "a" * 64 + ".invalid", "a..b.invalid"])
async def test_the_systems_resolver_says_so_too(client: HttpClient, host: str) -> None:
    assert await failure(client, f"http://{host}/") in {Failure.DNS, Failure.BAD_URL}


async def test_names_whose_servers_do_not_answer_hold_up_nobody(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's resolver blocks its thread, so that each look-up has one of its own."""
    answer = threading.Event()
    asked: list[str] = []
    real = socket.getaddrinfo

    def stalls(host: str, *rest: Any, **named: Any) -> Any:
        if host.endswith(".example"):
            asked.append(host)
            answer.wait(10)
            raise OSError("too late")
        return real(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", stalls)
    urls = [f"http://{number}.example/#ct=150&rc=0" for number in range(40)]
    calls = [asyncio.create_task(failure(client, url)) for url in urls]
    try:
        async with Peer(polite) as peer:
            await until(lambda: len(asked) == 40)
            assert (await client.post_form(f"http://localhost:{peer.port}/", {})).body == b"fine"
        assert await asyncio.gather(*calls) == [Failure.DNS] * 40
    finally:
        answer.set()
