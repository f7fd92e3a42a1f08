"""A server process whose one API speaks WebSocket, and what that API heard."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request

from tests.support.served import Served, served
from tests.support.spoken import AUDIENCE, KEY, describe, echo, rooms


@dataclass
class Feed:
    """`heard` are the handshakes that came to the API, `closed` gives the codes with which its WebSockets ended."""

    server: Served
    heard: list[Request]
    closed: "queue.Queue[int | None]"


@contextlib.contextmanager
def served_feed(folder: Path) -> Iterator[Feed]:
    """Serve it until the end of the block; Alice has signed in, connected it, and keeps an agent's secret."""
    loop, ready, end = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    places: list[str] = []
    heard: list[Request] = []
    closed: queue.Queue[int | None] = queue.Queue()

    async def hears(connection: ServerConnection) -> None:
        assert connection.request is not None
        heard.append(connection.request)
        try:
            await echo(connection)
        finally:
            await connection.wait_closed()
            closed.put(connection.close_code)

    async def run() -> None:
        async with serve(hears, "127.0.0.1", 0, process_request=rooms) as server:
            places.append(f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
            ready.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        ready.wait()
        [place] = places
        settings = {
            "VALETKEY_INTEGRATIONS": str(describe(folder / "own", AUDIENCE, place)),
            "VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": place,
            "VALETKEY_UPSTREAMS": f"feed=http://{place}/v2",
        }
        with served(folder / "served", **settings) as server:
            server.answer("login", "--code-stdin", "--email", "alice@acme.com", stdin=server.code)
            server.answer("connect", "feed", "--token-stdin", stdin=KEY)
            server.answer("agent", "create", "follower", "--save")
            yield Feed(server, heard, closed)
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()
