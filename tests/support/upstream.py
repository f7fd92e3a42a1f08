"""The other side of the wire for tests: a raw HTTP/1.1 server that records every byte and answers by script.

Built on bare sockets so that nothing tidies up what it was sent or what it says: it reads leniently, keeps the exact
bytes and lists every oddity of framing (`Seen.oddities`), so "the upstream saw a clean request" is one assertion. It
asserts nothing by itself and never answers from anything but its table. Ready-made scripts: `tests.support.scripts`.
"""

import asyncio
import contextlib
import json as json_format
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.support.seen import Seen, read_body, read_head

Headers = Mapping[str, str] | Sequence[tuple[str | bytes, str | bytes]]
_LIMIT = 64 * 1024 * 1024  # bytes of one head or body: far above what any test sends


class Wire:
    """What a script may do with the connection: say bytes, hear bytes, hang up, or break it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.is_over = False

    async def say(self, data: bytes) -> None:
        """Send bytes as they are. A peer that has gone raises ConnectionError."""
        self._writer.write(data)
        await self._writer.drain()

    async def hear(self, size: int = 65536) -> bytes:
        """Return up to `size` further bytes, nothing at the end."""
        return await self._reader.read(size)

    async def peer_left(self) -> None:
        """Return when the peer closed or broke the connection."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65536):
                pass

    def hang_up(self) -> None:
        """Close in good order after what was said."""
        self.is_over = True

    def break_off(self) -> None:
        """Reset the connection: the peer sees an error, not an end."""
        self.is_over = True
        link = self._writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with RST, not FIN
        self._writer.transport.abort()


Script = bytes | Callable[[Seen, Wire], Awaitable[None]]


def reply(status: int, headers: Headers = (), body: bytes = b"", *, framed: bool = True) -> bytes:
    """Spell a whole response; `framed` adds its Content-Length."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    lines = [b"HTTP/1.1 %d Scripted" % status, *(_bytes(name) + b": " + _bytes(value) for name, value in pairs)]
    if framed and status not in (204, 304) and status >= 200:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Upstream:
    """`async with Upstream() as up:` listens on loopback; `up.url` is its address, `up.seen` what arrived."""

    def __init__(self, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.host = host
        self.port = 0
        self._tls = tls
        self._table: dict[tuple[str, bytes], Script] = {}
        self._otherwise: Script = reply(404, {"Content-Type": "application/json"}, b'{"message": "Not Found"}')
        self._early: set[tuple[str, bytes]] = set()
        self._open: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()

    @property
    def url(self) -> str:
        """Its base address, without a final slash."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    async def __aenter__(self) -> "Upstream":
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self._tls, limit=_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    def answers(
        self,
        method: str,
        path: str | bytes,
        status: int = 200,
        headers: Headers = (),
        body: bytes | str = b"",
        *,
        json: Any = None,
        script: Script | None = None,
        before_body: bool = False,
    ) -> None:
        """Answer `method path` from now on. A path without `?` matches any query; `before_body` answers on the head."""
        if json is not None:
            body = json_format.dumps(json).encode()
            pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
            headers = [("Content-Type", "application/json; charset=utf-8"), *pairs]
        self._table[method, _bytes(path)] = script or reply(status, headers, _bytes(body))
        if before_body:
            self._early.add((method, _bytes(path)))

    def raw_answer(self, script: Script) -> None:
        """Answer everything the table does not know: these bytes, or whatever the script does."""
        self._otherwise = script

    def received(self, method: str, path: str) -> int:
        """How many such requests arrived. A path without `?` counts any query."""
        return sum(1 for seen in self.seen if seen.method == method and _bytes(path) in (seen.path, seen.target))

    @property
    def last(self) -> Seen:
        """The newest request."""
        return self.seen[-1]

    async def saw(self, count: int = 1) -> Seen:
        """Wait until `count` requests have arrived in all; return the newest."""
        async with asyncio.timeout(10), self._arrived:
            await self._arrived.wait_for(lambda: len(self.seen) >= count)
            return self.seen[-1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        number, wire = self.connections, Wire(reader, writer)
        try:
            while not wire.is_over and (request := await self._hear(reader, wire, number)):
                script = self._script_for(request)
                if isinstance(script, bytes):
                    await wire.say(script)
                else:
                    await script(request, wire)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the peer left in the middle, or the test is over: what arrived is recorded
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    def _script_for(self, request: Seen) -> Script:
        exact = self._table.get((request.method, request.target))
        return exact or self._table.get((request.method, request.path), self._otherwise)

    async def _hear(self, reader: asyncio.StreamReader, wire: Wire, number: int) -> Seen | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as ended:
            if ended.partial:
                await self._record(read_head(ended.partial, number, ["ended inside the head"]))
            return None
        request = read_head(head, number, [])
        if {(request.method, request.path), (request.method, request.target)} & self._early:
            await self._record(request)
            return request
        if (request.header("Expect") or b"").lower() == b"100-continue":
            await wire.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body, raw = await read_body(reader, request)
        except asyncio.IncompleteReadError as ended:
            request.oddities.append("ended inside the body")
            await self._record(replace(request, body=ended.partial, raw=request.raw + ended.partial))
            return None
        request = replace(request, body=body, raw=request.raw + raw)
        await self._record(request)
        return request

    async def _record(self, request: Seen) -> None:
        async with self._arrived:
            self.seen.append(request)
            self._arrived.notify_all()


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
