"""Reads what is remembered for whoever judges by it, and removes what no longer counts."""

import asyncio
from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.db.gathered import Gathered
from valetkey.server.delegations.budgets import store as budgets
from valetkey.server.memory import store
from valetkey.server.memory.model import Place, Spans, wanted
from valetkey.server.memory.tally import Tally
from valetkey.server.policy.history import NOTHING_YET, History

SWEEP_SECONDS = 60.0
AT_MOST = 5_000
_DAY_SECONDS = 86_400


_Asked = tuple[Spans, tuple[Place, ...]]


class Memories:
    """One per process. Nothing is kept here: whoever commits compares with what is there."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._histories: Gathered[_Asked, History] = Gathered(database, self._read)

    async def history(self, spans: Spans, places: tuple[Place, ...]) -> History:
        """What is remembered now, in all and of these resources."""
        return await self._histories.get((spans, places)) or NOTHING_YET

    async def _read(self, db: AsyncConnection, asked: Collection[_Asked]) -> dict[_Asked, History]:
        tally = Tally(self._clock.now())
        tally.found(await store.read(db, wanted(asked), now=tally.now))
        return {(spans, places): tally.history(spans, places) for spans, places in asked}

    async def watch(self) -> None:
        """Sweep for as long as the server runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> int:
        """Remove some of what no longer counts; return how many rows. A task's budgets stay a day to be seen."""
        now = self._clock.now()
        async with self._database.write() as tx:
            gone = await store.sweep(tx, now=now, at_most=AT_MOST)
            return gone + await budgets.sweep(tx, ended_before=int(now) - _DAY_SECONDS, at_most=AT_MOST)
