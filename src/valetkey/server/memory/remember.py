"""Reads what is remembered for whoever judges by it, and removes what no longer counts."""

import asyncio
from collections.abc import Sequence

from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.delegations.budgets import store as budgets
from valetkey.server.integrations.model import ResourceFacts
from valetkey.server.memory import store
from valetkey.server.memory.model import ALL, OTHERS, Spans
from valetkey.server.policy.history import History

SWEEP_SECONDS = 60.0
AT_MOST = 5_000
_DAY_SECONDS = 86_400


class Memories:
    """One per process. Nothing is kept here: whoever commits compares with what is there."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def history(self, spans: Spans, resources: Sequence[ResourceFacts]) -> History:
        """What is remembered now, in all and of these resources."""
        wanted = {ALL, OTHERS, *(resource.key for resource in resources)}
        async with self._database.read() as db:
            rows = await store.read(db, spans.all, wanted, now=self._clock.now())
        return spans.history(rows, resources)

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
