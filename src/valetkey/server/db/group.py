"""Group commit: decisions wait for one another, not for the disk one by one.

Members queue; one transaction takes all that wait, holds the fence shared, sends back whoever decided on older
knowledge, writes the rest and commits once, durably. `alone()` gives a transaction of its own in the same order.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db import fence
from valetkey.server.db.engine import Database
from valetkey.server.errors import TooMany, Unavailable

LARGEST_GROUP = 512
LONGEST_QUEUE = 8_192

M = TypeVar("M")


class Stale(Exception):
    """The decision was made under older knowledge than the newest change: load again, decide again."""


@dataclass(eq=False, slots=True)
class _Waiting(Generic[M]):
    member: M
    decided_under: int | None  # None: true whatever changed (outcomes)
    done: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GroupCommit(Generic[M]):
    """`write(tx, members)` returns one exception or None per member; raising fails the whole group."""

    def __init__(
        self,
        database: Database,
        write: Callable[[AsyncConnection, Sequence[M]], Awaitable[Sequence[Exception | None]]],
        *,
        settled: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._database = database
        self._write = write
        self._settled = settled  # told after each transaction whether it committed
        self._queue: list[_Waiting[M]] = []
        self._turn = asyncio.Lock()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, member: M, *, decided_under: int | None) -> None:
        """Return when `member` is durable. Raises `Stale`, `Unavailable` or the member's own exception."""
        if len(self._queue) >= LONGEST_QUEUE:
            raise TooMany("The server is overloaded.", detail="group commit queue is full")
        waiting = _Waiting(member, decided_under)
        self._queue.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run())
        await waiting.done

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        """A transaction of its own, ordered with the groups."""
        async with self._turn:
            committed = False
            try:
                async with self._database.write() as tx:
                    yield tx
                committed = True
            finally:
                await self._settled(committed)

    async def _run(self) -> None:
        while self._queue:
            async with self._turn:
                group, self._queue = self._queue[:LARGEST_GROUP], self._queue[LARGEST_GROUP:]
                await self._commit(group)

    async def _commit(self, group: list[_Waiting[M]]) -> None:
        outcomes: list[Exception | None]
        committed = False
        try:
            async with self._database.write() as tx:
                newest = await fence.hold_shared(tx)
                fresh = [w for w in group if w.decided_under is None or w.decided_under == newest]
                written = list(await self._write(tx, [w.member for w in fresh])) if fresh else []
            committed = True
            by_waiting = dict(zip(fresh, written, strict=True))
            outcomes = [by_waiting.get(w) if w in by_waiting else Stale() for w in group]
        except Exception as error:
            refusal = error if isinstance(error, Unavailable) else Unavailable(detail=f"group commit: {error!r}")
            outcomes = [refusal] * len(group)
        try:
            await self._settled(committed)
        except Exception as error:
            outcomes = [o or Unavailable(detail=f"group commit: {error!r}") for o in outcomes]
        for waiting, outcome in zip(group, outcomes, strict=True):
            if waiting.done.done():
                continue  # the caller went away; what it asked for is recorded
            if outcome is None:
                waiting.done.set_result(None)
            else:
                waiting.done.set_exception(outcome)
