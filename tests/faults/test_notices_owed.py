"""A notice is owed from the commit that opens the approval: whoever stops meanwhile, another node sends it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.flows.test_approvals import asking, held
from tests.flows.test_approvals_notices import wants
from tests.support.house import House, open_house
from tests.support.nodes import pause, second_node
from tests.support.postgres import Postgres
from tests.support.seen import Seen
from tests.support.upstream import Upstream, Wire
from valetkey.server.app import App, build
from valetkey.server.db.schema import notices_due


@pytest.fixture
async def receiver() -> AsyncIterator[Upstream]:
    async with Upstream() as up:
        up.answers("POST", "/told", status=204)
        yield up


async def told(app: App, receiver: Upstream) -> list[Any]:
    """What the receiver has, after one round of this node."""
    await app.notices.round()
    await app.notices.settle()
    return [json.loads(seen.body)["count"] for seen in receiver.seen if seen.method == "POST"]


async def owed(app: App) -> int:
    async with app.database.read() as db:
        return len((await db.execute(select(notices_due))).all())


async def stop_telling(app: App) -> None:
    """The node goes on serving, and is killed before it looks at what is owed."""
    await pause(app)
    app.notices.soon = lambda: None  # type: ignore[method-assign]


@asynccontextmanager
async def started_again(house: House) -> AsyncIterator[App]:
    """The same data, another process's worth of state."""
    await house.app.close()
    app = build(house.settings, house.clock)
    await app.start()
    try:
        await pause(app)
        yield app
    finally:
        await app.close()


async def test_what_a_stopped_server_had_not_sent_is_sent_when_it_starts_again(
    tmp_path: Path, database_url: str | None, receiver: Upstream
) -> None:
    local = (receiver.url.removeprefix("http://"),)
    async with open_house(tmp_path / "data", database_url=database_url, local=local) as house:
        await wants(house, "webhook", f"{receiver.url}/told")
        _, _, _, token = await asking(house)
        await stop_telling(house.app)
        await held(house, token, "first")
        await held(house, token, "second")
        assert receiver.seen == []
        async with started_again(house) as app:
            assert await told(app, receiver) == [2]
            assert await owed(app) == 0
            house.clock.advance(60)
            assert await told(app, receiver) == [2]


async def test_what_ended_meanwhile_is_given_up(tmp_path: Path, database_url: str | None, receiver: Upstream) -> None:
    local = (receiver.url.removeprefix("http://"),)
    async with open_house(tmp_path / "data", database_url=database_url, local=local) as house:
        await wants(house, "webhook", f"{receiver.url}/told")
        _, _, _, token = await asking(house)
        await stop_telling(house.app)
        await held(house, token, "first")
        house.clock.advance(600)
        async with started_again(house) as app:
            assert await owed(app) == 1
            assert await told(app, receiver) == []
            assert await owed(app) == 0


async def test_of_two_nodes_one_sends_and_the_other_takes_over_from_one_that_was_killed(
    tmp_path: Path, postgres: Postgres, receiver: Upstream
) -> None:
    url = postgres.database()
    arrived, hangs = asyncio.Event(), asyncio.Event()

    async def never_answers(seen: Seen, wire: Wire) -> None:
        arrived.set()
        await hangs.wait()
        wire.break_off()

    local = (receiver.url.removeprefix("http://"),)
    async with (
        open_house(tmp_path / "a", database_url=url, local=local) as a,
        second_node(a, tmp_path / "b") as b,
    ):
        await wants(a, "webhook", f"{receiver.url}/told")
        _, _, _, token = await asking(a)
        await stop_telling(a.app)
        await held(a, token, "first")
        await asyncio.gather(a.app.notices.round(), b.app.notices.round())
        await a.app.notices.settle()
        assert await told(b.app, receiver) == [1]  # one claim, one notice

        receiver.answers("POST", "/told", script=never_answers)
        a.clock.advance(20)
        await held(a, token, "second")
        await a.app.notices.round()
        await asyncio.wait_for(arrived.wait(), 10)
        await a.app.notices.close()  # killed between sending and noting that it was sent
        hangs.set()
        receiver.answers("POST", "/told", status=204)
        assert await told(b.app, receiver) == [1, 1]  # its turn is not over yet
        a.clock.advance(20)
        assert await told(b.app, receiver) == [1, 1, 1]  # told again rather than not at all
        assert await owed(b.app) == 0
    postgres.discard(url)
