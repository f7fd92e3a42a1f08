"""Which addresses a name on the public internet may lead to. Pure; knows nothing of names or sockets.

An allow rule of our own: `ipaddress.is_global` calls NAT64, 6to4, Teredo, IPv4-compatible, site-local and multicast
addresses global, and each of them can lead to a private one. Sources: the IANA special-purpose address registries
(RFC 6890) as of 2026, RFC 4291, RFC 5214 section 6.1.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_NOT_PUBLIC_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and one cloud's metadata address
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's host agent, answered inside each of its machines
        "169.254.0.0/16",  # link-local, and most clouds' metadata address
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments, and one cloud's metadata address
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnelling
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_GLOBAL_UNICAST_V6: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_V6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_PRIVATE_V4: Final = tuple(IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_UNIQUE_LOCAL: Final = IPv6Network("fd00::/8")
_METADATA_V6: Final = IPv6Network("fd00:ec2::/32")  # one cloud's metadata and other services of each machine
_ISATAP_MARKS: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})  # upper half of an interface id that holds an IPv4 address


def is_public(text: str) -> bool:
    """Whether `text` is one global unicast address, in its usual notation and without a zone.

    >>> is_public("140.82.121.6"), is_public("2606:50c0:8000::153")
    (True, True)
    >>> any(map(is_public, ["127.0.0.1", "64:ff9b::7f00:1", "::ffff:8.8.8.8", "fe80::1%eth0", "0x7f.1"]))
    False
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    return _is_public_v6(address)


def is_private(text: str) -> bool:
    """Whether `text` is in a company's own network: RFC 1918, or a unique local address (RFC 4193 section 3.1).

    >>> is_private("10.1.2.3"), is_private("fd12:3456::1")
    (True, True)
    >>> any(map(is_private, ["127.0.0.1", "169.254.169.254", "fd00:ec2::254", "100.100.100.200", "8.8.8.8", "fe80::1"]))
    False
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return any(address in network for network in _PRIVATE_V4)
    return address.scope_id is None and address in _UNIQUE_LOCAL and address not in _METADATA_V6


def is_loopback(text: str) -> bool:
    """Whether `text` is 127.0.0.0/8 or ::1."""
    try:
        return ip_address(text).is_loopback and "%" not in text
    except ValueError:
        return False


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address not in _GLOBAL_UNICAST_V6:
        return False
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP_MARKS:
        return False
    return not any(address in network for network in _NOT_PUBLIC_V6)
