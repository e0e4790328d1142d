"""IP addresses: which are public, so that a customer's URL may lead there, and who asks through a proxy.

The lists are our own: those of `ipaddress` differ from one Python to the next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_NOT_PUBLIC_V4 = tuple(
    ip_network(block)
    for block in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # behind carrier-grade NAT; Alibaba's metadata too
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform, seen from its machines
        "169.254.0.0/16",  # link-local: the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_UNICAST_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")

_HOP = re.compile(r"\[(?P<v6>[0-9A-Fa-f:.]+)\](:\d+)?|(?P<v4>[0-9.]+):\d+|(?P<bare>[0-9A-Fa-f:.]+)")

Networks = Sequence[IPv4Network | IPv6Network]


def parse_networks(text: str) -> Networks:
    """Addresses and networks with commas between them. Raises ValueError."""
    return tuple(ip_network(one.strip()) for one in text.split(",")) if text.strip() else ()


def client_of(peer: str, forwarded: str, proxies: Networks) -> str:
    """Who asks: `peer`, who is connected, or whom `proxies` say that they ask for, each at the end of `forwarded` (an
    `X-Forwarded-For`). What anybody else says, stands before that and counts for nothing.
    """
    client = peer
    for hop in reversed(forwarded.split(",")):
        if not _is_in(client, proxies) or (match := _HOP.fullmatch(hop.strip())) is None:
            break
        said = match["v6"] or match["v4"] or match["bare"]
        try:
            ip_address(said)
        except ValueError:
            break
        client = said
    return client


def _is_in(text: str, networks: Networks) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def is_public(text: str) -> bool:
    """Whether `text` is an address of the public internet. Anything but an address in its usual form is not."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is None:
            return address in _UNICAST_V6 and not any(address in block for block in _NOT_PUBLIC_V6)
        address = inner
    return not any(address in block for block in _NOT_PUBLIC_V4)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a packet for this IPv6 address ends up at."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
