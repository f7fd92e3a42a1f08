"""Handshakes of WebSockets at the forwarder, as bytes: which go on to the gateway, and what follows its 101."""

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.certificates import Authority
from tests.support.scripted_gateway import Gateway, plain
from valetkey.client.fresh import Fresh
from valetkey.client.loopback import Forwarder

OPENED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
HANDSHAKE = b"GET /p/github/live HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
MUCH = 8 * 1024 * 1024


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    yield gateway
    gateway.close()


def forwarding(gateway: Gateway) -> Forwarder:
    return Forwarder(gateway.url, frozenset({"github"}), Fresh(lambda api: (f"fresh-{api}", 300.0)))


@pytest.fixture
def forwarder(gateway: Gateway) -> Iterator[Forwarder]:
    forwarder = forwarding(gateway)
    forwarder.start()
    yield forwarder
    forwarder.close()


def shaken(forwarder: Forwarder, *lines: bytes, first: bytes = HANDSHAKE, early: bytes = b"") -> socket.socket:
    """A handshake, as bytes."""
    child = socket.create_connection(("127.0.0.1", forwarder.port), timeout=20)
    host = forwarder.url.removeprefix("http://").encode()
    named = (b"Host: " + host, b"Authorization: Bearer " + forwarder.placeholder.encode(), *lines)
    child.sendall(first + b"\r\n".join(named) + b"\r\n\r\n" + early)
    return child


def read(reading: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := reading.read(size - len(data))):
        data += piece
    return data


def test_a_websocket_goes_both_ways_at_once_though_one_side_does_not_read(
    gateway: Gateway, forwarder: Forwarder
) -> None:
    def floods(_head: list[bytes], reading: BinaryIO, writing: BinaryIO) -> None:
        writing.write(OPENED + b"here")
        flood = threading.Thread(target=lambda: [writing.write(b"d" * 65_536) for _ in range(MUCH // 65_536)])
        flood.start()
        assert read(reading, 5 + MUCH) == b"early" + b"u" * MUCH
        flood.join()

    gateway.answer = floods
    with shaken(forwarder, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", early=b"early") as child:
        child.sendall(b"u" * MUCH)  # without reading: what comes down fills every buffer on its way
        answer = read(child.makefile("rb"), 1 << 30)
    head, _, said = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Connection: Upgrade\r\nUpgrade: websocket" in head
    assert said == b"here" + b"d" * MUCH
    assert (gateway.header(b"upgrade"), gateway.header(b"connection")) == ([b"websocket"], [b"Upgrade"])
    assert gateway.header(b"authorization") == [b"Bearer fresh-github"]
    assert gateway.header(b"sec-websocket-key") == [b"dGhlIHNhbXBsZSBub25jZQ=="]


@pytest.mark.parametrize(
    ("first", "lines"),
    [
        (HANDSHAKE.replace(b"GET", b"POST"), ()),
        (HANDSHAKE.replace(b"/1.1", b"/1.0"), ()),
        (HANDSHAKE, (b"Upgrade: websocket",)),
        (HANDSHAKE.replace(b": websocket", b": h2c, websocket"), ()),
        (HANDSHAKE, (b"Content-Length: 0",)),
        (HANDSHAKE, (b"Transfer-Encoding: chunked",)),
    ],
)
def test_a_handshake_with_two_readings_is_not_carried(
    gateway: Gateway, forwarder: Forwarder, first: bytes, lines: tuple[bytes, ...]
) -> None:
    with shaken(forwarder, *lines, first=first) as child:
        answer = read(child.makefile("rb"), 1 << 20)
    assert answer.split(b" ")[1] == b"400"
    assert gateway.heads == []


def test_a_gateway_that_leaves_http_unasked_is_not_followed(gateway: Gateway, forwarder: Forwarder) -> None:
    gateway.answer = plain(b"", status=b"101 Switching Protocols")
    connection = http.client.HTTPConnection("127.0.0.1", forwarder.port, timeout=20)
    connection.request("GET", "/p/github/live", headers={"Authorization": f"Bearer {forwarder.placeholder}"})
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        connection.getresponse()
    connection.close()


def test_to_a_gateway_over_tls_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority()
    (tmp_path / "roots.pem").write_bytes(authority.root)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    gateway = Gateway(authority.serves(tmp_path, "localhost"))
    forwarder = forwarding(gateway)
    forwarder.start()

    def answers(_head: list[bytes], reading: BinaryIO, writing: BinaryIO) -> None:
        said = OPENED + b"here"  # in one record
        writing.write(said)
        while piece := reading.read(65_536):
            writing.write(piece.upper())

    gateway.answer = answers
    try:
        with shaken(forwarder, early=b"early") as child:
            sent = threading.Thread(target=lambda: [child.sendall(b"u" * 65_536) for _ in range(16)])
            sent.start()
            reading = child.makefile("rb")
            assert read(reading, len(OPENED)).startswith(b"HTTP/1.1 101 ")
            # The gateway says back whole pieces alone: what is left of the last one stays there.
            assert read(reading, 9 + 16 * 65_536 - 5) == b"hereEARLY" + b"U" * (16 * 65_536 - 5)
            sent.join()
    finally:
        forwarder.close()
        gateway.close()


def test_a_websocket_without_the_placeholder_goes_nowhere(gateway: Gateway, forwarder: Forwarder) -> None:
    stranger = HANDSHAKE + b"Host: " + forwarder.url.removeprefix("http://").encode() + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", forwarder.port), timeout=20) as child:
        child.sendall(stranger)
        assert child.recv(4096).split(b" ")[1] == b"401"
    assert gateway.heads == []
