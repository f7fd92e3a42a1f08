"""Answers that are not read, or not to their end: what is held for them is bounded, and goes when it should."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.counted import Counted
from tests.support.http import Reply, read_reply
from tests.support.postgres import Postgres
from tests.support.question import QUERY, token
from tests.support.shop import Store, shop, stocked
from valetkey.server.connections.databases.postgres.model import question_prefix
from valetkey.server.gateway.question import READ_SECONDS

LONG = "SELECT o.owner, repeat('x', 400) FROM sales.orders o, generate_series(1, 2000) n"
MOST = {"rows": 10_000, "bytes": 4 << 20}
PATIENCE = 20


@dataclass
class Slow:
    """A story with a reader in it who has read a little and stopped."""

    at: Store
    wire: Counted
    reader: asyncio.StreamReader
    began: bytes = b""

    async def rest(self) -> Reply:
        """What comes when it reads on."""
        again = asyncio.StreamReader(limit=1 << 24)
        again.feed_data(self.began)
        with contextlib.suppress(ConnectionError):
            again.feed_data(await self.reader.read(-1))
        again.feed_eof()
        return await read_reply(again)

    async def nothing_moves(self) -> None:
        """Every buffer on the way is full."""
        before = -1
        while before != self.wire.answered:
            before = self.wire.answered
            for _ in range(200):
                await asyncio.wait({asyncio.ensure_future(asyncio.Event().wait())}, timeout=0.001)

    def roles(self) -> list[str]:
        return self.at.shop.roles(question_prefix(self.at.house.app.deployment))

    async def ended(self) -> str:
        await self.at.house.app.questions.settle()
        return str((await self.at.house.events("call.finished"))[-1]["ended"])


@pytest.fixture
async def slow(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Slow]:
    async with shop(postgres) as there, Counted(there.place) as wire:
        there.url_place = wire.place
        async with stocked(tmp_path / "data", postgres, there=there) as at, _asked(at) as reader:
            async with asyncio.timeout(PATIENCE):
                yield Slow(at, wire, reader, await reader.readuntil(b"columns"))


@contextlib.asynccontextmanager
async def _asked(at: Store) -> AsyncIterator[asyncio.StreamReader]:
    plain = socket.socket()
    # Small windows and small packets, for what the kernel holds on the way grows with both.
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    plain.connect(("127.0.0.1", int(at.house.base.rpartition(":")[2])))
    plain.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=plain, limit=8192)
    body = json.dumps({"statement": LONG, "parameters": [], **MOST}).encode()
    head = f"POST {QUERY} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {await token(at)}\r\nconnection: close\r\n"
    writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    try:
        yield reader
    finally:
        writer.close()


async def test_who_reads_slowly_holds_the_database_back_and_gets_all_of_it_in_the_end(slow: Slow) -> None:
    await slow.nothing_moves()
    held = slow.wire.answered
    assert len(slow.roles()) == 1
    reply = await slow.rest()
    assert len(reply.body) > 4_000_000 - 400_000
    assert held < len(reply.body) // 2
    assert reply.is_whole
    assert json.loads(reply.body.splitlines()[-1])["end"] == "bytes"
    assert await slow.ended() == "limit"
    assert slow.roles() == []


async def test_who_does_not_read_is_cut_off_in_the_end(slow: Slow) -> None:
    await slow.nothing_moves()
    slow.at.house.clock.advance(READ_SECONDS - 1)
    slow.at.house.app.streams.sweep()
    assert len(slow.roles()) == 1
    slow.at.house.clock.advance(1)
    slow.at.house.app.streams.sweep()
    assert not (await slow.rest()).is_whole
    assert await slow.ended() == "cut"
    assert slow.roles() == []


@pytest.mark.parametrize("is_its_own", [True, False])
async def test_a_revocation_cuts_rows_on_their_way(slow: Slow, is_its_own: bool) -> None:
    at = slow.at
    other = await at.house.delegate(await at.house.agent("another"), "postgres/analytics:read@sales.*")
    await slow.nothing_moves()
    await at.house.alice.does("POST", "/v1/revocations", node=at.task["id"] if is_its_own else other["id"])
    reply = await slow.rest()
    assert reply.is_whole is not is_its_own
    assert (b'"end"' in reply.body) is not is_its_own
    assert await slow.ended() == ("cut" if is_its_own else "limit")
    assert slow.roles() == []
