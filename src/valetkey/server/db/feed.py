"""Hearing at once of what other nodes changed: PostgreSQL's NOTIFY, on a connection of its own.

It decides only how soon a node looks (R20). What it misses the poll finds, and the fence keeps every decision right in
the meantime. On SQLite there is one node, so there is nothing to hear.
"""

import asyncio
import contextlib
import logging

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.engine import Database
from valetkey.server.db.fence import CHANNEL
from valetkey.server.errors import Unavailable

PROVEN_SECONDS = 5.0
"""How often the connection is asked whether it still lives: one that died in silence says nothing by itself."""
_FIRST_BACK_OFF_SECONDS = 0.1
_LONGEST_BACK_OFF_SECONDS = 5.0

log = logging.getLogger("valetkey")


class Feed:
    """One per process. `heard` is set while a connection listens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news = asyncio.Event()
        self.heard = asyncio.Event()

    async def news(self, *, at_most: float) -> None:
        """Return when a change was announced, or after so many seconds without one."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), at_most)
        self._news.clear()

    async def watch(self) -> None:
        """Listen for as long as the server runs; begin again when the connection is lost, ever less eagerly."""
        back_off = _FIRST_BACK_OFF_SECONDS
        while not self._database.is_sqlite:
            try:
                await self._listen()
            except Exception as error:
                if self.heard.is_set():
                    back_off = _FIRST_BACK_OFF_SECONDS
                log.warning("the change feed is not heard, polling goes on: %s", type(error).__name__)
            finally:
                self.heard.clear()
            await asyncio.sleep(back_off)
            back_off = min(2 * back_off, _LONGEST_BACK_OFF_SECONDS)

    async def _listen(self) -> None:
        connection = await self._database.hold()
        try:
            await self._hear(connection)
        finally:
            with contextlib.suppress(Exception):  # it may be what was lost
                # NOTE: a session that listens must not go back to the pool.
                await connection.invalidate()
            await connection.close()

    def _announced(self, session: int) -> None:
        # NOTE: who revokes on this node acts at once and reports what that did; the echo must not be there first.
        if session not in self._database.own_sessions:
            self._news.set()

    async def _hear(self, connection: AsyncConnection) -> None:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        lost = asyncio.Event()
        driver.add_termination_listener(lambda _: lost.set())
        await driver.add_listener(CHANNEL, lambda _, session, *_said: self._announced(session))
        self.heard.set()
        self._news.set()  # whatever was announced while nobody listened
        while not lost.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lost.wait(), PROVEN_SECONDS)
                break
            await driver.fetchval("SELECT 1")
        raise Unavailable(detail="the listening connection ended")
