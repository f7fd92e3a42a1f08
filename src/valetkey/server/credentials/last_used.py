"""When a delegation and its connections were last used, to be seen. Written now and then: nothing is decided by it."""

import asyncio
from collections.abc import Iterable

from valetkey.server.clock import Clock
from valetkey.server.connections import store as connections
from valetkey.server.db.engine import Database
from valetkey.server.delegations import store

WRITE_SECONDS = 20.0


class LastUsed:
    """One per process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._used: dict[str, int] = {}
        self._connections: dict[str, int] = {}

    def note(self, delegation: str, over: Iterable[str] = ()) -> None:
        """It was used now, and by it an agent got something `over` these connections."""
        now = int(self._clock.now())
        self._used[delegation] = now
        self._connections |= dict.fromkeys(over, now)

    async def watch(self) -> None:
        """Write what was noted, for as long as the server runs."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write what was noted; what cannot be written is noted again."""
        used, self._used = self._used, {}
        over, self._connections = self._connections, {}
        if not used:
            return
        try:
            async with self._database.write() as tx:
                await store.note_use(tx, used)
                await connections.note_use(tx, over)
        except BaseException:
            self._used = {**used, **self._used}
            self._connections = {**over, **self._connections}
            raise
