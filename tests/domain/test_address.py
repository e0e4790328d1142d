"""Which addresses are of the public internet, and who asks through a proxy."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.address import client_of, is_public, parse_networks

INSIDE = """
0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.255
168.63.129.16 169.254.0.0 169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.192 192.0.2.1 192.88.99.1
192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.255 224.0.0.1 239.255.255.255 240.0.0.1
255.255.255.255
:: ::1 ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b:1::1 100::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 fe80::1%eth0 fec0::1
ff02::1 ff0e::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:10::1 2001:db8::1 3fff::1 4000::1
""".split()
OUTSIDE = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
2001:4860:4860::8888 2600:: 2606:4700::1111 2a00:1450::1 3ffe::1
""".split()


@pytest.mark.parametrize("text", INSIDE)
def test_what_is_inside_is_refused(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("text", OUTSIDE)
def test_what_is_outside_is_allowed(text: str) -> None:
    assert is_public(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "example.com",
        "127.1",
        "2130706433",
        "8",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "1.1.1.1 ",
        "[::1]",
        "1.1.1.1/32",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert not is_public(text)


@given(
    st.ip_addresses(v=4) | st.sampled_from([ip_address(text) for text in INSIDE + OUTSIDE if ":" not in text])
)
def test_an_address_inside_another_is_judged_as_itself(address: IPv4Address) -> None:
    """IPv4-mapped, NAT64 and 6to4 lead where the IPv4 address in them leads."""
    number = int(address)
    mapped = IPv6Address(0xFFFF << 32 | number)
    nat64 = IPv6Address(int(IPv6Address("64:ff9b::")) | number)
    six_to_four = IPv6Address(0x2002 << 112 | number << 80 | 1)
    expected = is_public(str(address))
    assert [is_public(str(each)) for each in (mapped, nat64, six_to_four)] == [expected] * 3


@given(st.ip_addresses())
def test_what_is_allowed_is_public_by_the_registry_too(address: IPv4Address | IPv6Address) -> None:
    """Python's own list is a second opinion where it is the stricter one."""
    if is_public(str(address)) and not isinstance(address, IPv6Address):
        assert address.is_global and not address.is_multicast
    elif is_public(str(address)) and address.sixtofour is None and address.ipv4_mapped is None:
        assert not (address.is_private or address.is_multicast or address.is_link_local)


PROXIES = parse_networks("10.0.0.0/8, 2001:db8::1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "8.8.8.8", "8.8.8.8"),
        ("10.0.0.1", "1.1.1.1, 8.8.8.8", "8.8.8.8"),  # what it was told itself may be made up
        ("10.0.0.1", "1.1.1.1,8.8.8.8 , 10.9.9.9", "8.8.8.8"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("8.8.8.8", "1.1.1.1", "8.8.8.8"),  # who is no proxy says nothing
        ("2001:db8::1", "2600::1", "2600::1"),
        ("::ffff:10.0.0.1", "8.8.8.8", "8.8.8.8"),
        ("10.0.0.1", "8.8.8.8:4711", "8.8.8.8"),
        ("10.0.0.1", "[2600::1]:4711", "2600::1"),
        ("10.0.0.1", "[2600::1]", "2600::1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1, unknown", "10.0.0.1"),
        ("10.0.0.1", "8.8.8.800", "10.0.0.1"),
        ("10.0.0.1", ",", "10.0.0.1"),
        ("", "8.8.8.8", ""),
    ],
)
def test_who_asks_is_whom_the_proxies_name(peer: str, forwarded: str, client: str) -> None:
    assert client_of(peer, forwarded, PROXIES) == client


@given(st.ip_addresses().map(str), st.text("0123456789abcdef.:[], %", max_size=50) | st.text(max_size=9))
def test_whatever_is_said_an_address_comes_of_it(peer: str, forwarded: str) -> None:
    assert ip_address(client_of(peer, forwarded, parse_networks("0.0.0.0/0,::/0")))
    assert client_of(peer, forwarded, ()) == peer


def test_networks_are_told_from_what_is_none() -> None:
    assert parse_networks("") == ()
    for wrong in ("10.0.0.1/8", "example.com", "10.0.0.0/8,", "10.0.0.0/33"):
        with pytest.raises(ValueError, match=r"."):
            parse_networks(wrong)
