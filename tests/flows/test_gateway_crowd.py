"""One slow API, or one busy person, slows nobody else: places for calls under way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import scripts
from tests.support.behind import ALLOWED, BOBS, Behind, open_behind
from tests.support.http import Reply, read_reply
from tests.support.seen import Seen
from tests.support.upstream import Wire, reply


@pytest.fixture
async def behind(tmp_path: Path, database_url: str | None) -> AsyncIterator[Behind]:
    limits = {"gateway_calls_per_api": 3, "gateway_calls_per_person": 2}
    async with open_behind(tmp_path / "data", database_url=database_url, **limits) as opened:
        yield opened


async def test_a_person_has_only_so_many_calls_under_way(behind: Behind) -> None:
    async with under_way(behind, behind.token, 2):
        refused = await behind.call()
        assert (refused.status, refused.code, refused.header("retry-after")) == (429, "too_many", "1")
        assert "2 calls of yours" in refused.json()["detail"]
        assert await allowed(behind) == 2
    assert (await behind.call()).status == 200


async def test_somebody_else_has_places_of_their_own_until_the_api_has_none(behind: Behind) -> None:
    bob = await behind.house.person("bob@acme.com")
    await behind.house.connect(bob, credential=BOBS)
    bobs = await behind.another("bobs-agent", bob)
    behind.up.seen.clear()
    async with under_way(behind, behind.token, 2):
        answered = await behind.house.gateway(bobs, "GET", "/repos/acme/pub")
        assert answered.status == 200
        async with under_way(behind, bobs, 1):
            refused = await behind.house.gateway(bobs, "GET", "/repos/acme/pub")
            assert (refused.status, refused.code) == (503, "unavailable")
            assert "Other APIs are not held up" in refused.json()["hint"]
    assert (await behind.house.gateway(bobs, "GET", "/repos/acme/pub")).status == 200


async def test_a_place_is_free_again_however_its_call_ended(behind: Behind) -> None:
    for _ in range(3):
        assert (await behind.call(path="/repos/acme/sec")).status == 403
        assert (await behind.call(path="/nowhere")).status == 403
        behind.up.answers("GET", ALLOWED, script=scripts.truncated(b"{", promised=9))
        assert not (await behind.call()).is_whole
    behind.up.answers("GET", ALLOWED, json=[])
    async with under_way(behind, behind.token, 1):
        assert (await behind.call(path="/repos/acme/pub")).status == 200


async def test_a_body_is_read_only_by_who_has_a_place(behind: Behind) -> None:
    """GraphQL's body is read whole before it is judged: not one more than there are places."""
    head = behind.head("POST", "/graphql", "content-type: application/json", "content-length: 1000")
    async with under_way(behind, behind.token, 2), behind.opened() as (reader, writer):
        writer.write(head)  # and nothing of the body
        refused = await read_reply(reader)
        assert (refused.status, refused.code) == (429, "too_many")
    async with behind.opened() as (reader, writer):
        writer.write(head + b"x" * 1000)
        assert (await read_reply(reader)).status == 400


async def allowed(behind: Behind) -> int:
    return len(await behind.house.events("call.allowed"))


@contextlib.asynccontextmanager
async def under_way(behind: Behind, token: str, count: int) -> AsyncIterator[None]:
    """So many calls that the API answers only at the end of the block."""
    gate, arrived = asyncio.Event(), asyncio.Semaphore(0)

    async def held(_: Seen, wire: Wire) -> None:
        arrived.release()
        await gate.wait()
        await wire.say(reply(200))

    behind.up.answers("GET", ALLOWED, script=held)
    calls: list[asyncio.Task[Reply]] = [
        asyncio.create_task(behind.house.gateway(token, "GET", ALLOWED)) for _ in range(count)
    ]
    for _ in range(count):
        await arrived.acquire()
    try:
        yield
    finally:
        gate.set()
        assert {one.status for one in await asyncio.gather(*calls)} == {200}
