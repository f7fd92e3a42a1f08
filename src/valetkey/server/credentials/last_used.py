"""When a delegation was last used, for its person to see. Written now and then: nothing is decided by it."""

import asyncio

from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.delegations import store

WRITE_SECONDS = 20.0


class LastUsed:
    """One per process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._used: dict[str, int] = {}

    def note(self, delegation: str) -> None:
        """It was used now."""
        self._used[delegation] = int(self._clock.now())

    async def watch(self) -> None:
        """Write what was noted, for as long as the server runs."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write what was noted; what cannot be written is noted again."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            async with self._database.write() as tx:
                await store.note_use(tx, used)
        except BaseException:
            self._used = {**used, **self._used}
            raise
