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
_HANDSHAKE: Final = frozenset({b"upgrade", b"sec-websocket-key"})
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes
_SUBPROTOCOL: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_NOT_BESIDE: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})
_NO_TUNNELS: Final = "tunnels, traces and upgrades are not offered, but for a WebSocket where an operation takes one"


def refuse(scope: Mapping[str, Any], *, opens: bool = False) -> str | None:
    """Return why a request (an ASGI http scope) must not be read, or None. For the socket's own reader and any other.

    `opens`: it is a WebSocket handshake to an address that takes them, and `refuse_handshake` has seen it.

    >>> refuse({"type": "http", "method": "GET", "http_version": "1.1", "headers": [(b"host", b"a"), (b"host", b"a")]})
    'there must be exactly one Host header'
    """
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    if scope["type"] != "http" or scope["method"] in _TUNNELS:
        return _NO_TUNNELS
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
            case _ if name in _UPGRADES and not (opens and name in _HANDSHAKE):
                return _NO_TUNNELS
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


def offers_websocket(scope: Mapping[str, Any]) -> bool:
    """Whether a request would like to become a WebSocket."""
    return any(name == b"upgrade" and value.lower() == b"websocket" for name, value in scope["headers"])


def refuse_handshake(scope: Mapping[str, Any]) -> str | None:
    """Return why a WebSocket handshake must not be read, or None. RFC 6455 section 4.2.1.

    An origin is what browsers send, and many programs too, which name the address they ask. A page of any other place
    is refused: a browser would show a password that was once typed here, whoever wrote the page (section 10.2).
    """
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    options = {option.strip(b" \t").lower() for value in found.get(b"connection", []) for option in value.split(b",")}
    if scope["method"] != "GET" or scope["http_version"] != "1.1" or found.keys() & _NOT_BESIDE:
        return "a WebSocket is opened by a GET of HTTP/1.1, without a body"
    # SECURITY: compared with the whole address, so that neither `null` nor a name that begins like ours is this place.
    # Guarded by tests/attacks/test_websocket_framing.py::test_a_page_of_another_place_opens_nothing
    own = [[scheme + host.lower()] for scheme in (b"https://", b"http://") for host in found.get(b"host", [])]
    if b"origin" in found and [value.lower() for value in found[b"origin"]] not in own:
        return "a WebSocket is not opened for a page of another place; programs leave Origin out, or name this address"
    if [value.lower() for value in found.get(b"upgrade", [])] != [b"websocket"] or b"upgrade" not in options:
        return "a WebSocket is asked for once, by Upgrade and Connection"
    keys = found.get(b"sec-websocket-key", [])
    if found.get(b"sec-websocket-version") != [b"13"] or len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        return "a WebSocket needs one Sec-WebSocket-Key of 16 bytes and Sec-WebSocket-Version 13"
    offered = subprotocols(scope["headers"])
    if len(set(offered)) != len(offered) or not all(_SUBPROTOCOL.fullmatch(name) for name in offered):
        return "the subprotocols offered are not names, each once"
    return None


def subprotocols(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """The subprotocols a handshake offers, in order."""
    lists = [value.split(b",") for name, value in headers if name == b"sec-websocket-protocol"]
    return [name.strip(b" \t") for names in lists for name in names]


def _refuse_body(lengths: list[bytes], codings: list[bytes], *, version: str) -> str | None:
    if codings and (lengths or version != "1.1" or [coding.lower() for coding in codings] != [b"chunked"]):
        return "a body is either chunked or has a length, in the plainest form"
    if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
        return "there must be one Content-Length, a number"
    return None
