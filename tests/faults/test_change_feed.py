"""What one node ends, every other node stops doing, soon: REV-01, REV-02, R20. Two nodes, one PostgreSQL.

The fence already keeps what begins afterwards right (test_fence.py); here is what was under way. Node B is told by
NOTIFY, or finds out by asking, or learns it by the way: each of them alone must do.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import tables
from tests.support.house import House, Robot, first_administrator, open_house
from tests.support.http import Reply, read_reply
from tests.support.nodes import second_node
from tests.support.postgres import Postgres
from tests.support.scripts import watched
from tests.support.serve_process import ServeProcess
from tests.support.upstream import Upstream
from valetkey.server.db import fence

READ = "/repos/acme-corp/backend"
EVENTS = f"{READ}/issues"
NEVER = 3600.0
OFTEN = 0.05
PATIENCE = 20


@dataclass
class Nodes:
    """Two nodes with a stream's worth of upstream behind them. `left` is set when the upstream's peer goes away."""

    a: House
    b: House
    upstream: Upstream
    left: asyncio.Event

    async def ready(self) -> tuple[Robot, Any, Any, str]:
        return await self.a.ready()


@pytest.fixture
async def nodes(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Nodes]:
    url = tables.postgresql(postgres)
    async with Upstream() as upstream:
        left = furnish(upstream)
        async with (
            open_house(tmp_path / "a", database_url=url, upstream=upstream.url) as a,
            second_node(a, tmp_path / "b") as b,
        ):
            yield Nodes(a, b, upstream, left)
    postgres.discard(url)


def furnish(upstream: Upstream) -> asyncio.Event:
    """One repository, and a list of its issues that never ends."""
    left = asyncio.Event()
    upstream.answers("GET", "/user", json={"login": "alice", "id": 1})
    owner = {"login": "acme-corp", "id": 2}
    upstream.answers("GET", READ, json={"id": 7, "full_name": READ[7:], "name": "backend", "owner": owner})
    upstream.answers("GET", EVENTS, script=watched(left))
    return left


@contextlib.asynccontextmanager
async def streaming(base: str, token: str) -> AsyncIterator[asyncio.Task[Reply]]:
    """A call whose first bytes have arrived and whose end never comes by itself; the task has what came of it."""
    port = int(base.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"GET /p/github{EVENTS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
        writer.write(head.encode())
        began = await reader.readuntil(b"data: 1\n\n\r\n")
        assert began.startswith(b"HTTP/1.1 200 ")
        rest = asyncio.create_task(_rest(reader))
        async with asyncio.timeout(PATIENCE):
            yield rest
        rest.cancel()
    finally:
        writer.close()


async def _rest(reader: asyncio.StreamReader) -> Reply:
    """What came after the first chunk; `is_whole` when the body was properly ended."""
    reader_again = asyncio.StreamReader()
    reader_again.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        reader_again.feed_data(await reader.read())
    reader_again.feed_eof()
    return await read_reply(reader_again)


@contextlib.asynccontextmanager
async def working(*work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """What a node does by itself, for the length of the block."""
    tasks = [asyncio.ensure_future(one()) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_rev_01_a_notification_alone_cuts_the_stream_on_the_other_node(nodes: Nodes) -> None:
    _, _, task, token = await nodes.ready()
    b = nodes.b.app
    b.catch_up_seconds = NEVER
    async with working(b.feed.watch, b._catch_up), streaming(nodes.b.base, token) as stream:
        await b.feed.heard.wait()
        await nodes.a.alice.does("POST", "/v1/revocations", node=task["id"])
        assert not (await stream).is_whole
        await nodes.left.wait()
    await b.calls.settle()
    [cut] = [r for r in await nodes.a.events("call.finished") if r["ended"] == "cut"]
    assert cut["status"] == 200


async def test_r20_a_bus_that_says_nothing_is_made_up_for_by_asking(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, task, token = await nodes.ready()
    b = nodes.b.app
    b.catch_up_seconds = OFTEN
    monkeypatch.setattr(fence, "CHANNEL", "said_where_nobody_listens")
    async with working(b.feed.watch, b._catch_up), streaming(nodes.b.base, token) as stream:
        await b.feed.heard.wait()
        await nodes.a.alice.does("POST", "/v1/revocations", node=task["id"])
        assert not (await stream).is_whole
        assert b.feed.heard.is_set()  # it listened all the time, and heard nothing


async def test_r20_a_listener_that_is_lost_listens_again_and_asks_what_it_missed(
    nodes: Nodes, postgres: Postgres
) -> None:
    _, _, task, token = await nodes.ready()
    b = nodes.b.app
    b.catch_up_seconds = NEVER
    async with working(b.feed.watch, b._catch_up), streaming(nodes.b.base, token) as stream:
        await b.feed.heard.wait()
        ended = postgres.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
        )
        assert int(ended) >= 1
        await nodes.a.alice.does("POST", "/v1/revocations", node=task["id"])
        assert not (await stream).is_whole


async def test_rev_02_what_one_call_learns_cuts_the_stream_of_another(nodes: Nodes) -> None:
    """Node B neither listens nor asks; a call that was sent back by the fence is how it learns of the revocation."""
    agent, delegation, task, token = await nodes.ready()
    other = await agent.token((await nodes.a.task(delegation))["task_token"])
    async with streaming(nodes.b.base, token) as stream:
        assert (await nodes.b.gateway(other, "GET", READ)).status == 200
        await nodes.a.alice.does("POST", "/v1/revocations", node=task["id"])
        assert not stream.done()
        assert (await nodes.b.gateway(other, "GET", READ)).status == 200
        assert not (await stream).is_whole


async def test_only_the_streams_below_what_was_revoked_are_cut(nodes: Nodes) -> None:
    agent, delegation, task, token = await nodes.ready()
    other = await agent.token((await nodes.a.task(delegation))["task_token"])
    b = nodes.b.app
    b.catch_up_seconds = NEVER
    async with working(b.feed.watch, b._catch_up), streaming(nodes.b.base, other) as kept:
        await b.feed.heard.wait()
        async with streaming(nodes.b.base, token) as stream:
            await nodes.a.alice.does("POST", "/v1/revocations", node=task["id"])
            assert not (await stream).is_whole
        assert len(b.streams) == 1
        assert not kept.done()


async def test_a_call_decided_on_newer_knowledge_is_not_cut_by_the_change_it_already_knew(nodes: Nodes) -> None:
    """The change is learned twice: by the call itself, and by a loop that is late."""
    agent, _, task, token = await nodes.ready()
    b = nodes.b.app
    assert (await nodes.b.gateway(token, "GET", READ)).status == 200
    await nodes.a.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
    await nodes.a.alice.does("POST", f"/v1/agents/{agent.id}/resume")
    async with streaming(nodes.b.base, token) as stream:
        b.streams.outrun(frozenset({agent.id}), b.authorities.seq)
        assert len(b.streams) == 1
        assert not stream.done()
        await nodes.a.alice.does("POST", "/v1/revocations", node=task["id"])
        await b.authorities.refresh()
        assert not (await stream).is_whole


async def test_rev_01_two_server_processes_on_one_database(tmp_path: Path, postgres: Postgres) -> None:
    url = tables.postgresql(postgres)
    async with Upstream() as upstream:
        left = furnish(upstream)
        a = ServeProcess(tmp_path / "a", upstream.url, url)
        b = ServeProcess(tmp_path / "b", upstream.url, url)
        try:
            await a.start()
            here, token, task = await furnished(a)
            shutil.copytree(a.data / "keys", b.data / "keys")
            b.public_url = f"http://localhost:{a.port}"
            await b.start()
            async with streaming(b.base, token) as stream:
                await here.alice.does("POST", "/v1/revocations", node=task["id"])
                assert not (await stream).is_whole
                await left.wait()
            refused = await b.house.gateway(token, "GET", READ)
            assert (refused.status, json.loads(refused.body)["code"]) == (403, "revoked")
        finally:
            for process in (a, b):
                process.kill()
                await process.gone()
    postgres.discard(url)


async def furnished(process: ServeProcess) -> tuple[House, str, Any]:
    house = process.house
    house.alice = await first_administrator(house, process.announced["bootstrap"])
    _, _, task, token = await house.ready()
    return house, token, task
