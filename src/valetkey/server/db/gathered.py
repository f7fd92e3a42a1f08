"""Reads that share a statement: whoever asks while one is under way is in the next.

Nobody is given what was read before it asked, so an answer is as new as a read of one's own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.engine import Database
from valetkey.server.errors import Unavailable

MOST_AT_ONCE = 256

K = TypeVar("K")
V = TypeVar("V")


class Gathered(Generic[K, V]):
    """One per process and kind of row."""

    def __init__(
        self, database: Database, read: Callable[[AsyncConnection, Collection[K]], Awaitable[Mapping[K, V]]]
    ) -> None:
        self._database = database
        self._read = read
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """What is there now. Raises `Unavailable`."""
        found = self._waiting.get(key)
        if found is None:
            found = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run())
        return await asyncio.shield(found)  # others may wait for the same

    async def _run(self) -> None:
        while self._waiting:
            keys = list(self._waiting)[:MOST_AT_ONCE]
            asked = {key: self._waiting.pop(key) for key in keys}
            try:
                async with self._database.read() as db:
                    rows = await self._read(db, keys)
            except BaseException as error:
                refusal = error if isinstance(error, Unavailable) else Unavailable(detail=f"gathered: {error!r}")
                for waiting in asked.values():
                    waiting.set_exception(refusal)
                    waiting.exception()  # who asked may have gone
                if not isinstance(error, Exception):
                    raise
                continue
            for key, waiting in asked.items():
                waiting.set_result(rows.get(key))
