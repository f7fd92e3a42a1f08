"""Makes records findable: follows every chain and notes what each record is about, behind whoever appends.

Nothing waits for it and nothing is decided by it: whoever looks reads the line itself and asks `sight`. What it has
not come to yet is said, not hidden.
"""

import asyncio
from typing import Final

from valetkey.server.audit import find
from valetkey.server.audit.chain import read_record
from valetkey.server.audit.sight import Seen, about, mark
from valetkey.server.db.engine import Database

BATCH: Final = 100
AT_ONCE: Final = 8
"""Batches before others get a turn, in the background and for one who looks."""
EVERY_SECONDS: Final = 1.0


class Index:
    """One per process; several nodes may run at once, and each batch is noted by one of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._one = asyncio.Lock()

    async def watch(self) -> None:
        """Follow for as long as the server runs."""
        while True:
            await self.catch_up()
            await asyncio.sleep(EVERY_SECONDS)

    async def catch_up(self) -> int:
        """Note what came since, within bounds; return how many records are still to come."""
        async with self._one:
            for _ in range(AT_ONCE):
                behind = await self._behind()
                if not behind:
                    return 0
                for writer, (noted, _last) in behind.items():
                    await self._batch(writer, noted)
                await asyncio.sleep(0)
            return sum(last - noted for noted, last in (await self._behind()).values())

    async def _behind(self) -> dict[str, tuple[int, int]]:
        async with self._database.read() as db:
            return await find.behind(db)

    async def _batch(self, writer: str, noted: int) -> None:
        async with self._database.read() as db:
            records = [read_record(body) for body in await find.following(db, writer, noted, limit=BATCH)]
        if not records:
            return
        own = [(mark(r.org, kind, value), r.id) for r in records for kind, value in about(Seen(r))]
        async with self._database.write() as tx:
            if not await find.advance(tx, writer, noted, records[-1].seq):
                return  # another node was first
            await find.note(tx, own)
            # What ends a thing is found by whoever the thing is of: that is said in an earlier record, perhaps of
            # this very batch.
            origins = await find.origins(tx, records)
            also = [
                (mark(r.org, kind, value), r.id)
                for r in records
                if (origin := origins.get(r.id)) is not None
                for kind, value in about(Seen(r, origin))
            ]
            await find.note(tx, also)
