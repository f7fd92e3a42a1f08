"""One request as it arrived, read leniently and kept exactly."""

import asyncio
import json as json_format
from dataclasses import dataclass, field
from typing import Any, Final

_ONCE: Final = (b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type", b"user-agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request exactly as it arrived. `body` is decoded from chunks; `raw` is every byte, framing included."""

    method: str
    target: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    raw: bytes
    connection: int
    oddities: list[str] = field(default_factory=list)

    @property
    def path(self) -> bytes:
        """The target up to the question mark."""
        return self.target.partition(b"?")[0]

    def values(self, name: str) -> list[bytes]:
        """Every value of a header, in order, names compared without case."""
        return [value for key, value in self.headers if key.lower() == name.lower().encode()]

    def header(self, name: str) -> bytes | None:
        """The one value of a header, or None. Twice is a failure of the test."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} arrived {len(values)} times: {values}"
        return values[0] if values else None

    def json(self) -> Any:
        """The body read as JSON."""
        return json_format.loads(self.body)


def read_head(head: bytes, number: int, oddities: list[str]) -> Seen:
    """Read a head leniently, noting what a strict reader would refuse."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3:
        oddities.append(f"request line of {len(parts)} parts")
    parts += [b""] * (3 - len(parts))
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.strip() != name:
            oddities.append(f"header line {line!r}")
        headers.append((name, value.strip(b" \t")))
    if b"\n" in b"".join(lines) or b"\r" in b"".join(lines):
        oddities.append("bare line break in the head")
    names = [name.lower() for name, _ in headers]
    oddities += [f"{name.decode()} twice" for name in _ONCE if names.count(name) > 1]
    if b"content-length" in names and b"transfer-encoding" in names:
        oddities.append("both framings")
    if names.count(b"host") == 0:
        oddities.append("no host")
    method = parts[0].decode("latin-1")
    target, version = b" ".join(parts[1:-1]), parts[-1]
    return Seen(
        method=method,
        target=target,
        version=version,
        headers=headers,
        body=b"",
        raw=head,
        connection=number,
        oddities=oddities,
    )


async def read_body(reader: asyncio.StreamReader, request: Seen) -> tuple[bytes, bytes]:
    """Return the body and its raw bytes. Transfer-Encoding wins over Content-Length; the first length wins."""
    if any(b"chunked" in value.lower() for value in request.values("Transfer-Encoding")):
        return await _read_chunks(reader)
    lengths = request.values("Content-Length")
    if not lengths or not lengths[0].isdigit():
        return b"", b""
    body = await reader.readexactly(int(lengths[0]))
    return body, body


async def _read_chunks(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    body, raw = b"", b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        raw += line
        if size == 0:
            while (trailer := await reader.readuntil(b"\r\n")) != b"\r\n":
                raw += trailer
            return body, raw + trailer
        piece = await reader.readexactly(size + 2)
        body, raw = body + piece[:-2], raw + piece
