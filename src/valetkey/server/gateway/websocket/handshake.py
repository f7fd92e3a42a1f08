"""The opening handshake, on both sides, as values. Pure: refuses to know sockets, credentials and who may.

Whatever can be read in two ways is refused. Extensions are never agreed to: what is compressed cannot be scrubbed.
RFC 6455 sections 4.1 and 4.2.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from valetkey.server.errors import InvalidRequest, UpstreamFailed

Headers = Sequence[tuple[bytes, bytes]]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16
_MOST_SUBPROTOCOLS: Final = 16
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_BODIES: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A well-formed request to open. `subprotocols` as the client prefers them."""

    key: bytes
    subprotocols: tuple[bytes, ...]


def opening(method: str, http_version: str, headers: Headers) -> Opening:
    """Read a client's handshake; header names in small letters. Raises `InvalidRequest` saying what is wrong with it.

    >>> opening("GET", "1.1", [(b"upgrade", b"websocket"), (b"connection", b"keep-alive, Upgrade"),
    ...     (b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")]).subprotocols
    ()
    """
    if method != "GET" or http_version != "1.1":
        raise _refused("a WebSocket is opened by GET over HTTP/1.1")
    if any(name in _BODIES for name, _ in headers):
        raise _refused("a request that opens a WebSocket has no body")
    if _one(headers, b"upgrade").lower() != b"websocket":
        raise _refused("there must be one Upgrade header, and it must say websocket")
    if b"upgrade" not in [option.lower() for option in _listed(headers, b"connection")]:
        raise _refused("the Connection header must name Upgrade")
    if _one(headers, b"sec-websocket-version") != b"13":
        raise _refused("there must be one Sec-WebSocket-Version header, and it must say 13")
    # SECURITY: a browser would open it for whatever page it shows, and the page would hold the agent's token.
    # Guarded by tests/rules/test_websocket_handshake.py::test_a_handshake_with_one_wrong_fact_is_refused
    if any(name == b"origin" for name, _ in headers):
        raise _refused("it comes from a page in a browser, and WebSockets are for agents")
    key = _one(headers, b"sec-websocket-key")
    if not _is_key(key):
        raise _refused("there must be one Sec-WebSocket-Key header of 16 bytes in base64")
    offered = _listed(headers, b"sec-websocket-protocol")
    is_listed = len(offered) <= _MOST_SUBPROTOCOLS and len(set(offered)) == len(offered)
    if not (is_listed and all(_TOKEN.fullmatch(name) for name in offered)):
        raise _refused(f"subprotocols are names, each once, at most {_MOST_SUBPROTOCOLS}")
    return Opening(key=key, subprotocols=tuple(offered))


def asking(key: bytes, subprotocols: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The headers that open a WebSocket upstream. `key`: `new_key` of random bytes of our own, never the client's."""
    offered = [(b"Sec-WebSocket-Protocol", b", ".join(subprotocols))] if subprotocols else []
    return [
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Key", key),
        *offered,
    ]


def new_key(nonce: bytes) -> bytes:
    """Sixteen random bytes as the header says them."""
    if len(nonce) != _KEY_BYTES:
        raise ValueError("a key is made of 16 bytes")
    return base64.b64encode(nonce)


def agreed(headers: Headers, *, key: bytes, subprotocols: Sequence[bytes]) -> bytes | None:
    """Judge the head of an upstream's 101; return the subprotocol it chose. Raises `UpstreamFailed`."""
    if _one(headers, b"upgrade").lower() != b"websocket":
        raise _misled("its Upgrade header is not websocket")
    if [option.lower() for option in _listed(headers, b"connection")] != [b"upgrade"]:
        raise _misled("its Connection header is not Upgrade")
    if _one(headers, b"sec-websocket-accept") != accept(key):
        raise _misled("it does not prove that it read our key")
    if any(name == b"sec-websocket-extensions" for name, _ in headers):
        raise _misled("it uses an extension that nobody offered")
    if any(name in _BODIES for name, _ in headers):
        raise _misled("its answer declares a body")
    if not any(name == b"sec-websocket-protocol" for name, _ in headers):
        return None
    chosen = _one(headers, b"sec-websocket-protocol")
    if chosen not in subprotocols:
        raise _misled("it chose a subprotocol that nobody offered")
    return chosen


def agreeing(opened: Opening, subprotocol: bytes | None) -> list[tuple[bytes, bytes]]:
    """The headers of our own 101."""
    chosen = [(b"Sec-WebSocket-Protocol", subprotocol)] if subprotocol is not None else []
    return [
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Accept", accept(opened.key)),
        *chosen,
    ]


def accept(key: bytes) -> bytes:
    """What proves that a key was read (RFC 6455 section 4.2.2).

    >>> accept(b"dGhlIHNhbXBsZSBub25jZQ==")
    b's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    """
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def _one(headers: Headers, name: bytes) -> bytes:
    """The value of a header that is there once; empty otherwise, which nothing here takes for a value."""
    values = [value for key, value in headers if key == name]
    return values[0] if len(values) == 1 else b""


def _listed(headers: Headers, name: bytes) -> list[bytes]:
    joined = b",".join(value for key, value in headers if key == name)
    return [part.strip(b" \t") for part in joined.split(b",")] if joined else []


def _is_key(key: bytes) -> bool:
    try:
        nonce = base64.b64decode(key, validate=True)
    except binascii.Error:
        return False
    return len(nonce) == _KEY_BYTES and base64.b64encode(nonce) == key


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"The WebSocket was not opened: {why}.")


def _misled(why: str) -> UpstreamFailed:
    return UpstreamFailed(detail=f"the upstream's WebSocket handshake is wrong: {why}")
