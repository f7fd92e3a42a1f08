"""Renewing early, in the background: whoever calls finds a credential that is good.

A few rows at a time, of integrations that are not asked too much already; each node takes the due rows in an order of
its own, so that several nodes seldom want the same one.
"""

import asyncio
import logging
import random
from collections import Counter
from typing import Final

from valetkey.server.clock import Clock
from valetkey.server.connections.model import Connection
from valetkey.server.connections.refreshing import store
from valetkey.server.connections.refreshing.model import Refreshing
from valetkey.server.connections.refreshing.refresh import AT_ONCE, Refresh
from valetkey.server.db.engine import Database

EVERY_SECONDS: Final = 5.0
_BATCH: Final = 64
_SOON_SECONDS: Final = 0.05

log = logging.getLogger("valetkey")


class Due:
    """One per process."""

    def __init__(self, database: Database, refresh: Refresh, clock: Clock) -> None:
        self._database = database
        self._refresh = refresh
        self._clock = clock
        self._under_way: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Go on for as long as the server runs."""
        while True:
            try:
                there_may_be_more = await self.round()
            except Exception as error:  # the next round tries again
                log.warning("looking for what is due failed: %s", type(error).__name__)
                there_may_be_more = False
            await asyncio.sleep(_SOON_SECONDS if there_may_be_more else EVERY_SECONDS)

    async def round(self) -> bool:
        """Begin to renew some of what is due, without waiting for it; whether there may be more."""
        crowded, resting = self._refresh.crowded(), self._refresh.resting()
        async with self._database.read() as db:
            found = await store.due(
                db, now=int(self._clock.now()), integrations_without=crowded, apps_without=resting, limit=_BATCH
            )
        random.shuffle(found)
        begun: Counter[str] = Counter()
        for connection, row in found:
            begun[connection.facts.integration] += 1
            if begun[connection.facts.integration] <= AT_ONCE:  # SECURITY: one slow API must not take every place
                task = asyncio.create_task(self._one(connection, row))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
        return len(found) == _BATCH

    async def settle(self) -> None:
        """Wait for what was begun."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _one(self, connection: Connection, row: Refreshing) -> None:
        try:
            await self._refresh.early(connection, row)
        except Exception as error:
            log.warning("renewing %s early failed: %s", connection.facts.id, type(error).__name__)
