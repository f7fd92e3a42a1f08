"""Whoever opens connections and says nothing, or only half, keeps nobody out: DO-03."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http import call, raw
from valetkey.server.listen import Listener

MOST = 70


class Slow:
    """Answers `/slow` when the gate opens, everything else at once. `begun` counts the slow ones."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun = asyncio.Semaphore(0)

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            self.begun.release()
            await self.gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def listening(**limits: int) -> AsyncIterator[tuple[Slow, Listener]]:
    app = Slow()
    async with Listener(app, grace_seconds=0, **limits) as listener:
        yield app, listener


@contextlib.asynccontextmanager
async def sockets(listener: Listener, count: int, said: bytes = b"") -> AsyncIterator[list[asyncio.StreamReader]]:
    """So many connections that have said only that."""
    opened = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(count)]
    for _, writer in opened:
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n"], ids=["silent", "half a head"])
async def test_idle_connections_keep_nobody_out(said: bytes) -> None:
    async with listening(max_connections=MOST) as (_, listener), sockets(listener, 3 * MOST, said):
        for _ in range(20):
            assert (await call(listener.url, "GET", "/")).status == 200


async def test_the_oldest_makes_room_and_the_newest_stays() -> None:
    async with listening(max_connections=MOST) as (_, listener), sockets(listener, MOST) as waiting:
        assert (await call(listener.url, "GET", "/")).status == 200
        assert await waiting[0].read() == b""
        assert not any(reader.at_eof() for reader in waiting[1:])


async def test_what_is_being_answered_is_never_closed_for_it() -> None:
    async with listening(max_connections=MOST) as (app, listener):
        slow = [asyncio.create_task(call(listener.url, "GET", "/slow")) for _ in range(MOST)]
        for _ in slow:
            await app.begun.acquire()
        async with sockets(listener, 5) as waiting:
            for reader in waiting:
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
        app.gate.set()
        assert {reply.status for reply in await asyncio.gather(*slow)} == {200}
        assert (await call(listener.url, "GET", "/")).status == 200


async def test_a_connection_that_is_kept_is_idle_between_its_requests_only() -> None:
    async with listening(max_connections=MOST) as (_, listener):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        async with sockets(listener, MOST - 1):
            for _ in range(3):
                writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            assert (await call(listener.url, "GET", "/")).status == 200  # closes the oldest idle one: not this
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_only_so_many_calls_are_under_way() -> None:
    async with listening(max_calls=3) as (app, listener):
        slow = [asyncio.create_task(call(listener.url, "GET", "/slow")) for _ in range(3)]
        for _ in slow:
            await app.begun.acquire()
        assert (await raw(listener.url, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).status == 503
        app.gate.set()
        assert {reply.status for reply in await asyncio.gather(*slow)} == {200}
        assert (await call(listener.url, "GET", "/")).status == 200


class Long:
    """Answers more than a socket's own buffers hold, in one piece, less than what pauses writing."""

    def __init__(self, size: int) -> None:
        self._body = b"x" * size

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        body = self._body if scope["path"] == "/long" else b"ok"
        head = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})


async def test_who_reads_nothing_holds_no_socket() -> None:
    """What is unsent to a peer that does not read is dropped with its connection, so that sockets stay bounded."""
    async with Listener(Long(48 * 1024), grace_seconds=0, max_connections=MOST) as listener:
        [listening] = listener._server.sockets
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # the rest waits in the process, unpaused
        peers: list[socket.socket] = []
        try:
            for _ in range(3):
                peers += [unread(listener.port) for _ in range(MOST)]
                for _ in range(5):  # meanwhile they are answered
                    assert (await call(listener.url, "GET", "/")).status == 200
            assert len(held_open(listener.port)) <= MOST + 1
        finally:
            for peer in peers:
                peer.close()


def unread(port: int) -> socket.socket:
    """A peer with the smallest buffer there is, that asks and never reads."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    peer.connect(("127.0.0.1", port))
    peer.sendall(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n")
    return peer


def held_open(port: int) -> list[str]:
    """The server's side of connections to this port, as the kernel has them."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    mine = f"0100007F:{port:04X}"
    return [row for row in rows if row.split()[1] == mine and row.split()[3] == "01"]
