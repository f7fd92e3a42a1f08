"""Serve one ASGI application on a free loopback port of this process: for practice, never for a public address.

Plain HTTP/1.1 over asyncio, one request after another on a connection, bodies by Content-Length or chunked. It knows
no application and offers no TLS, upgrade or streaming back-pressure.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
_BODY_LIMIT: Final = 1 << 20  # bytes


@contextlib.asynccontextmanager
async def listening(application: Application) -> AsyncIterator[str]:
    """Serve until the block ends; yield the base address, without a final slash."""
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            while await _serve_one(application, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the client left, or the practice is over
        except ValueError:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


async def _serve_one(application: Application, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer one request; return whether the connection can take another."""
    head = await reader.readuntil(b"\r\n\r\n")
    request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, _version = request_line.split(b" ")
    pairs = [line.split(b":", 1) for line in lines]
    headers = [(name.lower(), value.strip()) for name, value in pairs]
    body = await _body(reader, dict(headers))
    path, _, query = target.partition(b"?")
    scope: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"}
    scope |= {"method": method.decode("latin-1"), "path": path.decode("latin-1"), "raw_path": path}
    scope |= {"query_string": query, "root_path": "", "headers": headers, "client": None, "server": None}

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = HTTPStatus(message["status"])
            answer = [b"HTTP/1.1 %d %b" % (status, status.phrase.encode())]
            answer += [b"%b: %b" % (name, value) for name, value in message["headers"]]
            writer.write(b"\r\n".join(answer) + b"\r\n\r\n")
        else:
            writer.write(message.get("body", b""))
        await writer.drain()

    await application(scope, receive, send)
    return dict(headers).get(b"connection", b"").lower() != b"close"


async def _body(reader: asyncio.StreamReader, headers: dict[bytes, bytes]) -> bytes:
    if headers.get(b"transfer-encoding", b"").lower() != b"chunked":
        length = int(headers.get(b"content-length", b"0"))
        if not 0 <= length <= _BODY_LIMIT:
            raise ValueError("too long a body")
        return await reader.readexactly(length)
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        if size < 0 or len(body) + size > _BODY_LIMIT:
            raise ValueError("too long a body")
        body += (await reader.readexactly(size + 2))[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return body
