"""A shop behind `valetkey serve` in processes of their own, which are killed, and what a later process makes of it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.house import House, Person, Robot, first_administrator, open_house
from tests.support.http import Reply
from tests.support.serve_process import ServeProcess
from tests.support.shop import AUDIENCE, READ, Store, connect_shop
from valetkey.server.clock import DrivenClock

NOBODY = "http://127.0.0.1:9"


@dataclass
class Struck:
    """One deployment over its processes. `at` is the story as the process that runs now knows it."""

    process: ServeProcess
    at: Store

    @contextlib.asynccontextmanager
    async def serving(self, *, dies_at: str) -> AsyncIterator[None]:
        """A process on what the last one left, until it is dead."""
        self.process.dies_at = dies_at
        async with _until_dead(self.process):
            await self._moved_to(self.process.house)
            yield

    async def dies_of(self, who: Person | Robot, method: str, path: str, **body: Any) -> None:
        """They ask for something, and it is the last the process was asked."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reply: Reply = await who.call(method, path, **body)
            assert not reply.is_whole, f"it lived: {reply.body!r}"

    @contextlib.asynccontextmanager
    async def a_minute_later(self) -> AsyncIterator[Store]:
        """A new process, in this one: a minute has passed, and everything that sweeps has swept once."""
        clock = DrivenClock(time.time() + 60)
        opened = open_house(
            self.process.data,
            database_url=self.process.database_url,
            clock=clock,
            local=self.process.local,
            public_url=self.process.announced["url"],
            sign_in=False,
        )
        async with opened as house:
            await self._moved_to(house)
            await house.app.take_back.sweep()
            await house.app.reconcile.compare()
            yield self.at

    async def _moved_to(self, house: House) -> None:
        alice, agent = self.at.house.alice, self.at.agent
        self.at.house, house.alice = house, await Person(house, alice.id, alice.email, alice.credential).sign_in()
        self.at.agent = Robot(house, agent.id, agent.name, agent.secret)


@contextlib.asynccontextmanager
async def begun(
    folder: Path,
    there: Any,
    database_url: str | None,
    *,
    dies_at: str,
    grant: str = READ,
    connect: Callable[..., Awaitable[Any]] = connect_shop,
    audience: str = AUDIENCE,
) -> AsyncIterator[Struck]:
    """Everything up to the task, by a process that will die at that step; it is dead when the block is left."""
    process = ServeProcess(folder, NOBODY, database_url, local=(there.place,), dies_at=dies_at)
    async with _until_dead(process):
        house = process.house
        house.alice = await first_administrator(house, process.announced["bootstrap"])
        connection = await connect(house, there)
        at = Store(house, there, connection, await house.agent("report-writer"), None, None, audience)
        await at.entitle(grant.replace("/analytics", ""))
        at.delegation = await house.delegate(at.agent, grant, seconds=3600)
        at.task = await house.task(at.delegation, seconds=3600)
        yield Struck(process, at)


@contextlib.asynccontextmanager
async def _until_dead(process: ServeProcess) -> AsyncIterator[None]:
    try:
        await process.start()
        yield
        await process.gone()
    finally:
        process.kill()
        await process.gone()
