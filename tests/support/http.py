"""A plain HTTP/1.1 client over a socket: sends what it is told, returns what came, keeps nothing."""

import asyncio
import contextlib
import json as json_format
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `is_whole` is False when the connection ended in the middle of the body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_whole: bool = True

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON."""
        return json_format.loads(self.body)

    @property
    def told(self) -> int:
        """The status that is meant: at an API that says 200 to its failures, ours stands in the body."""
        said = self.json() if self.status == 200 and b'"ok":false' in self.body else None
        return int(said["status"]) if isinstance(said, dict) and "code" in said else self.status

    @property
    def code(self) -> str:
        """The problem's code."""
        return str(self.json()["code"])


async def call(
    base: str,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    json: Any = None,
    form: Any = None,
    body: bytes | None = None,
    host: str | None = None,
    source: str | None = None,
) -> Reply:
    """Send one request to `base` (http://host:port); the target goes out exactly as written.

    `source` is the address of this machine to send it from.
    """
    kept = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    if json is not None:
        body = json_format.dumps(json).encode()
        kept.append(("content-type", "application/json"))
    if form is not None:
        body = urlencode(form, doseq=True).encode()
        kept.append(("content-type", "application/x-www-form-urlencoded"))
    if body is not None:
        kept.append(("content-length", str(len(body))))
    where = urlsplit(base)
    lines = [f"{method} {target} HTTP/1.1", f"host: {host or where.netloc}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in kept]
    return await raw(base, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b""), source=source)


async def raw(base: str, request: bytes, *, source: str | None = None) -> Reply:
    """Send bytes, read one answer to its end or to the end of the connection."""
    where = urlsplit(base)
    local = None if source is None else (source, 0)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, local_addr=local)
    try:
        held = _HELD.get()
        if held is None:
            writer.write(request)
            await writer.drain()
        else:
            await held.send(writer, request)
        return await read_reply(reader)
    finally:
        writer.close()


@dataclass
class Held:
    """Requests that wait for each other: all but their last byte is sent, then the last bytes in one breath.

    So every one of them has arrived before the first is answered, however slow the machine is.
    """

    count: int
    waiting: list[tuple[asyncio.StreamWriter, bytes]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(request[:-1])
        await writer.drain()
        self.waiting.append((writer, request[-1:]))
        if len(self.waiting) == self.count:
            for held, last in self.waiting:
                held.write(last)
            self.gone.set()
        await self.gone.wait()


_HELD: ContextVar[Held | None] = ContextVar("held", default=None)


@contextlib.contextmanager
def in_one_breath(count: int) -> Iterator[None]:
    """The `count` requests begun inside arrive together."""
    before = _HELD.set(Held(count))
    try:
        yield
    finally:
        _HELD.reset(before)


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """Read an answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ")[1])
    headers = tuple(
        (name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in head[1:] if line)
    )
    named = dict(headers)
    try:
        if named.get("transfer-encoding") == "chunked":
            return Reply(status, headers, *await _chunks(reader))
        if "content-length" in named:
            return Reply(status, headers, await reader.readexactly(int(named["content-length"])))
        return Reply(status, headers, await reader.read())
    except asyncio.IncompleteReadError as error:
        return Reply(status, headers, error.partial, is_whole=False)
    except ConnectionError:
        return Reply(status, headers, b"", is_whole=False)


async def _chunks(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    body = b""
    while True:
        try:
            size = int((await reader.readline()).split(b";")[0] or b"x", 16)
            chunk = await reader.readexactly(size + 2)
        except (ValueError, asyncio.IncompleteReadError, ConnectionError):
            return body, False
        if size == 0:
            return body, True
        body += chunk[:-2]
