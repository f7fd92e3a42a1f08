"""A WebSocket of a child through `valetkey run`: its handshake goes on as one call, and after the 101 of the gateway
the bytes of both sides do, as they are. Whether it may be opened is said by the gateway, which reads every message.

Specs: RFC 6455 sections 4.1 and 4.2.1; RFC 9110 section 7.8 (Upgrade).
"""

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Sequence
from io import BufferedIOBase
from typing import Final

from valetkey.client.errors import InvalidRequest

Headers = list[tuple[str, str]]

LINGER_SECONDS: Final = 2.0
_CHUNK: Final = 64 * 1024  # bytes


def asks_for_websocket(headers: Headers) -> bool:
    """Whether a request would like to become a WebSocket."""
    return any(name.lower() == "upgrade" and "websocket" in value.lower() for name, value in headers)


def check_handshake(method: str, version: str, headers: Headers) -> None:
    """Raises `InvalidRequest` for a handshake that two readers could read differently."""
    named = [value for name, value in headers if name.lower() == "upgrade"]
    has_body = any(name.lower() in ("content-length", "transfer-encoding", "expect") for name, _ in headers)
    if method != "GET" or version != "HTTP/1.1" or has_body or [value.lower() for value in named] != ["websocket"]:
        raise InvalidRequest("A WebSocket is opened by a GET of HTTP/1.1 without a body.", status=400)


def onward_handshake(kept: Headers, host: str) -> Headers:
    """The headers of a handshake as they go on: `kept` of them, and those that ask for the upgrade of this hop.

    An `Origin` that names this very `host` goes no further: many programs send it, and the gateway has another name.
    Any other goes on, and the gateway refuses it.
    """
    own = {f"{scheme}://{host}".lower() for scheme in ("http", "https")}
    rest = [(name, value) for name, value in kept if name.lower() != "origin" or value.lower() not in own]
    return [*rest, ("Connection", "Upgrade"), ("Upgrade", "websocket")]


def ahead(side: socket.socket, reader: BufferedIOBase) -> bytes:
    """What of this side was read ahead, behind a head. The side does not block from here on."""
    side.setblocking(False)
    with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
        return reader.read1(_CHUNK) or b""
    return b""


class _Way:
    """One direction: what came from one side and has not gone to the other yet."""

    def __init__(self, source: socket.socket, sink: socket.socket, early: bytes) -> None:
        self.source = source
        self.sink = sink
        self.held = early
        self.is_over = False

    def step(self) -> None:
        """Carry what can be carried without waiting."""
        try:
            if not self.held:
                self.held = self.source.recv(_CHUNK)
                self.is_over = not self.held
            while self.held:
                self.held = self.held[self.sink.send(self.held) :]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.is_over = True


def join(child: socket.socket, gateway: socket.socket, *, early: tuple[bytes, bytes]) -> None:
    """Carry bytes both ways until one side ends, then end both. `early`: what was read `ahead` of either side.

    One thread does both, for two must not use a TLS connection at once; who does not read holds up one direction only.
    """
    ways = (_Way(child, gateway, early[0]), _Way(gateway, child, early[1]))
    is_ready = True
    while not any(way.is_over for way in ways):
        if not is_ready:
            _wait(ways)
        for way in ways:
            way.step()
        # What TLS has read ahead no socket tells of.
        is_ready = any(not w.held and isinstance(w.source, ssl.SSLSocket) and w.source.pending() for w in ways)
    for side in (gateway, child):
        _finish(side)


def _wait(ways: Sequence[_Way]) -> None:
    """Until one of them can go on: something comes for who holds nothing, or there is room for what is held."""
    waiting = select.poll()
    for side in {way.source for way in ways}:
        events = 0
        for way in ways:
            events |= select.POLLIN if way.source is side and not way.held else 0
            events |= select.POLLOUT if way.sink is side and way.held else 0
        if events:
            waiting.register(side, events)
    waiting.poll()


def _finish(side: socket.socket) -> None:
    """Say goodbye, and read on for a moment: closing with bytes unread would overtake the last close frame."""
    ends_at = time.monotonic() + LINGER_SECONDS
    with contextlib.suppress(OSError, ValueError):
        if isinstance(side, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                side.unwrap()  # says so and waits for nobody
        side.shutdown(socket.SHUT_WR)
        while (left := ends_at - time.monotonic()) > 0:
            side.settimeout(left)
            if not side.recv(_CHUNK):
                return
