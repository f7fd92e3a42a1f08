"""Forgets the calls that were kept to be approved, a day after their time was over: nobody can send them any more.

What was asked, by whom, what became of it and its SHA-256 stay, as in the audit trail; the bytes go.
"""

import asyncio
from typing import Final

from valetkey.server.approvals import store
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database

SWEEP_SECONDS: Final = 60.0
KEPT_SECONDS: Final = 86_400
AT_MOST: Final = 1_000


class Forget:
    """One per process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def watch(self) -> None:
        """Sweep for as long as the server runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> int:
        """Forget some of what is due; return how many calls."""
        async with self._database.write() as tx:
            return await store.forget(tx, ended_before=int(self._clock.now()) - KEPT_SECONDS, at_most=AT_MOST)
