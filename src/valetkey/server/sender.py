"""Who sent a request, where the operator's own proxies stand between. Pure: sees bytes, refuses to know sockets.

Only for counting and for showing to people: nothing is permitted because of an address, and neither host nor scheme
is ever taken from a header (`public_url` says both). The one header read is `X-Forwarded-For`; `Forwarded` (RFC 7239)
is not, because whoever could choose between two headers could contradict the proxy in the one it does not write.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_HOPS: Final = 16
_LONGEST: Final = 45  # characters of an address, however it is spelled
_HEADER: Final = b"x-forwarded-for"


def sender(peer: str, headers: Iterable[tuple[bytes, bytes]], trusted: tuple[Network, ...]) -> str:
    """The peer, unless it is a trusted proxy: then the nearest hop that is none, or the peer where that is not said.

    >>> proxies = (ipaddress.ip_network("10.0.0.0/24"),)
    >>> said = [(b"x-forwarded-for", b"9.9.9.9, 203.0.113.7"), (b"x-forwarded-for", b"10.0.0.2")]
    >>> sender("10.0.0.1", said, proxies), sender("198.51.100.4", said, proxies)
    ('203.0.113.7', '198.51.100.4')
    >>> [sender("10.0.0.1", [(b"x-forwarded-for", said)], proxies) for said in (b"", b"203.0.113.7, x", b"10.0.0.2")]
    ['10.0.0.1', '10.0.0.1', '10.0.0.1']
    """
    if not _is_trusted(_address(peer), trusted):
        return peer
    said = ",".join(value.decode("latin-1") for name, value in headers if name == _HEADER)
    # SECURITY: from the right, and no further than the first hop that is no proxy of ours: what stands left of it that
    # hop wrote itself, as it liked and as long as it liked, and must not even be able to spoil what our proxy wrote.
    # Guarded by tests/attacks/test_senders.py::test_gw_11_what_a_client_writes_changes_nothing_behind_a_proxy_either
    for hop in reversed(said.rsplit(",", MOST_HOPS)[-MOST_HOPS:]):
        address = _address(hop.strip(" \t"))
        if address is None:
            return peer
        if not _is_trusted(address, trusted):
            return str(address)
    return peer


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address without port, brackets or zone; one of IPv4 that is spelled as IPv6 is the one of IPv4."""
    if len(text) > _LONGEST or "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, trusted: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in trusted)
