"""Makes records findable: follows every chain and notes what each record is about, behind whoever appends.

Nothing waits for it and nothing is decided by it: whoever looks reads the line itself and asks `sight`, and reads what
was not noted yet directly. So it lets everybody go first: a small batch when nobody waits for a record to be durable,
and where somebody always does, one batch a second.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from heapq import merge
from itertools import islice
from time import monotonic
from typing import Final

from valetkey.server.audit import find
from valetkey.server.audit.index import store
from valetkey.server.audit.sight import Seen, about, mark
from valetkey.server.db.engine import Database

BATCH: Final = 64
EVERY_SECONDS: Final = 1.0
_ASK_AGAIN_SECONDS: Final = 0.005
_PATIENCE_SECONDS: Final = 1.0
_PAUSE: Final = 1.0
"""How long it pauses after a batch, in times of what the batch took."""


class Index:
    """One per process; several nodes may run at once, and each batch is noted by one of them.

    `is_awaited` says whether somebody waits for the database to write.
    """

    def __init__(self, database: Database, is_awaited: Callable[[], bool]) -> None:
        self._database = database
        self._is_awaited = is_awaited

    async def watch(self) -> None:
        """Follow for as long as the server runs."""
        while True:
            await self._quiet()
            began = monotonic()
            is_more = await self.follow()
            await asyncio.sleep((monotonic() - began) * _PAUSE if is_more else EVERY_SECONDS)

    async def follow(self) -> bool:
        """Note one batch, the oldest records of all chains first; return whether there is more."""
        async with self._database.read() as db:
            chains = await find.behind(db)
            ahead = [
                [(writer, find.readable(line)) for line in await find.following(db, writer, noted, limit=BATCH)]
                for writer, (noted, _last) in chains.items()
            ]
            # NOTE: what ends a thing is found by whoever the thing is of, which an earlier record says, perhaps one of
            # another chain: so chains are followed side by side, in the order of ids, which is that of their times.
            batch = list(islice(merge(*ahead, key=lambda one: one[1].id if one[1] is not None else ""), BATCH))
            records = [record for _, record in batch if record is not None]
            origins = await find.origins(db, records, records)
        taken = Counter(writer for writer, _ in batch)
        rows = {
            (mark(record.org, kind, value), record.id)
            for record in records
            for kind, value in about(Seen(record, origins.get(record.id)))
        }
        if taken:
            await store.note(
                self._database,
                rows,
                {writer: (chains[writer][0], chains[writer][0] + n) for writer, n in taken.items()},
            )
        return any(noted + taken[writer] < last for writer, (noted, last) in chains.items())

    async def _quiet(self) -> None:
        """Return when nobody waits, or after having let others go first for long enough."""
        until = monotonic() + _PATIENCE_SECONDS
        while self._is_awaited() and monotonic() < until:  # noqa: ASYNC110 - who waits changes too often to ring a bell
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
