"""Which requests are framed well enough to be read at all. Pure: sees bytes, refuses to know sockets and meaning.

The parser already refuses bare line feeds, folded lines, NUL, a length beside a transfer coding, repeated codings and
malformed chunks. What it lets through or hides from an application is refused here, before any routing: other target
forms than origin-form, a Host that is absent, repeated or no host, other methods of framing, tunnels and upgrades.
RFC 9112 sections 3.2, 6 and 7; RFC 9110 sections 7.2, 7.8, 9.3.6 and 9.3.8.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

_TARGET: Final = re.compile(rb"/[!\"$-~]*")  # printable ASCII without the space and `#`
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")
_TUNNELS: Final = frozenset({"CONNECT", "TRACE", "PRI"})
_UPGRADES: Final = frozenset({b"upgrade", b"http2-settings", b"sec-websocket-key"})


def refuse(scope: Mapping[str, Any]) -> str | None:
    """Return why a request (an ASGI http scope) must not be read, or None. For the socket's own reader and any other.

    >>> refuse({"type": "http", "method": "GET", "http_version": "1.1", "headers": [(b"host", b"a"), (b"host", b"a")]})
    'there must be exactly one Host header'
    """
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    if scope["type"] != "http" or scope["method"] in _TUNNELS:
        return "tunnels, traces and upgrades are not offered"
    if scope["http_version"] not in ("1.0", "1.1"):
        return "only HTTP/1.1 is spoken here"
    hosts, lengths, codings = [], [], []
    for name, value in headers:
        match name:
            case b"host":
                hosts.append(value)
            case b"content-length":
                lengths.append(value)
            case b"transfer-encoding":
                codings.append(value)
            case b"expect" if value.lower() != b"100-continue":
                return "no expectation but 100-continue is met"
            case _ if name in _UPGRADES:
                return "tunnels, traces and upgrades are not offered"
    if len(hosts) != 1:
        return "there must be exactly one Host header"
    if (host := _HOST.fullmatch(hosts[0])) is None or int(host[1] or 0) > 65535:
        return "the Host header is not a host"
    return _refuse_body(lengths, codings, version=scope["http_version"])


def refuse_target(target: bytes) -> str | None:
    """Return why a request target, as it stood on the request line, must not be read, or None.

    >>> refuse_target(b"http://evil/x"), refuse_target(b"/x?y")
    ('the request target must be a path', None)
    """
    return None if _TARGET.fullmatch(target) else "the request target must be a path"


def _refuse_body(lengths: list[bytes], codings: list[bytes], *, version: str) -> str | None:
    if codings and (lengths or version != "1.1" or [coding.lower() for coding in codings] != [b"chunked"]):
        return "a body is either chunked or has a length, in the plainest form"
    if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
        return "there must be one Content-Length, a number"
    return None
