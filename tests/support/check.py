"""A client of `envoy.service.auth.v3.Authorization/Check`: grpcio carries it, the question is written byte by byte."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from tests.flows.test_engines import Asked
from valetkey.server.gateway.engine_grpc import GrpcDecisions
from valetkey.server.gateway.protobuf import messages, read, write

CHECK = "/envoy.service.auth.v3.Authorization/Check"


@dataclass(frozen=True)
class Checked:
    """What an answer means to Envoy: only the code 0 lets a call pass."""

    code: int
    status: int
    headers: dict[str, str]
    removed: list[str]
    to_client: dict[str, str]
    body: bytes


def asks(method: str, path: str, headers: Sequence[tuple[str, str | bytes]] = (), *, more: bytes = b"") -> bytes:
    """A `CheckRequest` as Envoy writes it with raw headers; `more` are further fields of its HttpRequest."""
    pairs = [(":method", method), (":path", path), (":authority", "github.acme.com"), *headers]
    raw = b"".join(write(1, write(1, k) + write(3, v.encode() if isinstance(v, str) else v)) for k, v in pairs)
    http = write(2, method) + write(4, path) + write(10, "HTTP/1.1") + write(13, raw) + more
    return write(1, write(1, write(1, b"")) + write(4, write(1, write(1, 5)) + write(2, http)) + write(99, b"new"))


def told(answer: bytes) -> Checked:
    """Read a `CheckResponse`."""
    fields = read(answer)
    [status] = messages(fields, 1)
    code = int(read(status).get(1, [0])[0])  # type: ignore[arg-type]
    ok = read(messages(fields, 3)[0]) if 3 in fields else {}
    no = read(messages(fields, 2)[0]) if 2 in fields else {}
    http = read(messages(no, 1)[0])[1][0] if no else 0
    return Checked(
        code=code,
        status=int(http),
        headers=_pairs(messages(ok or no, 2)),
        removed=[name.decode() for name in messages(ok, 5)],
        to_client=_pairs(messages(ok, 6)),
        body=b"".join(messages(no, 3)),
    )


def _pairs(options: Sequence[bytes]) -> dict[str, str]:
    found = {}
    for option in options:
        fields = read(option)
        assert fields[3] == [2]  # in place of what the client sent, never beside it
        header = read(messages(fields, 1)[0])
        found[messages(header, 1)[0].decode()] = messages(header, 2)[0].decode()
    return found


@contextlib.asynccontextmanager
async def door(at: Asked) -> AsyncIterator[str]:
    """The gRPC decision door of this house; yields `host:port`."""
    async with GrpcDecisions(at.house.app.deciding, at.house.app.still.sealed.is_set) as found:
        yield f"127.0.0.1:{found.port}"


async def check(place: str, data: bytes, *secrets: str, method: str = CHECK) -> Checked:
    """Ask once. Raises `grpc.aio.AioRpcError` where the call itself is refused."""
    return told(await raw(place, data, *secrets, method=method))


async def raw(place: str, data: bytes, *secrets: str, method: str = CHECK) -> bytes:
    """The same, and the answer's bytes."""
    async with grpc.aio.insecure_channel(place) as channel:
        metadata: Any = tuple(("x-valetkey-engine", secret) for secret in secrets)
        answer: bytes = await channel.unary_unary(method)(data, metadata=metadata, timeout=20)
        return answer
