"""Group commit: decisions wait for one another, not for the disk one by one.

Members queue; as soon as a decision is among them, or outcomes have waited long enough, one transaction takes all that
wait, holds the fence shared, sends back whoever decided on older knowledge, writes the rest and commits once, durably.
`alone()` gives a transaction of its own in the same order.

Nobody waits for ever and nobody is forgotten: a caller who leaves before its turn leaves no trace, one who left while
its member was written is told of through `abandoned`, and whatever ends the worker ends every wait with `Unavailable`.
For what is left here with `leave` nobody waits: it is written with the others, or dropped with them.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db import fence
from valetkey.server.db.engine import Database
from valetkey.server.errors import TooMany, Unavailable

LARGEST_GROUP = 512
LONGEST_QUEUE = 8_192
LONGEST_WAIT_SECONDS = 2.0
"""After so long a caller is refused: what could not be recorded does not happen (AUD-01)."""
PATIENCE_SECONDS = 0.01
"""How long an outcome, for which nobody waits, may wait for a decision to share the disk with."""

M = TypeVar("M")


class Stale(Exception):
    """The decision was made under older knowledge than the newest change: load again, decide again."""


@dataclass(eq=False, slots=True)
class _Waiting(Generic[M]):
    member: M
    decided_under: int | None  # None: true whatever changed (outcomes)
    done: "asyncio.Future[None] | None"  # None: nobody waits

    @property
    def is_over(self) -> bool:
        """Whether who waited has left or was refused."""
        return self.done is not None and self.done.done()

    def refuse(self, error: Exception) -> None:
        """End the wait, if there is one."""
        if self.done is not None and not self.done.done():
            self.done.set_exception(error)


class GroupCommit(Generic[M]):
    """`write(tx, members)` returns one exception or None per member; raising fails the whole group."""

    def __init__(
        self,
        database: Database,
        write: Callable[[AsyncConnection, Sequence[M]], Awaitable[Sequence[Exception | None]]],
        *,
        settled: Callable[[bool], Awaitable[None]],
        abandoned: Callable[[M], None],
    ) -> None:
        self._database = database
        self._write = write
        self._settled = settled  # told after each transaction whether it committed
        self._abandoned = abandoned  # told of a member that is durable although nobody waits for it any more
        self._queue: list[_Waiting[M]] = []
        self._turn = asyncio.Lock()
        self._worker: asyncio.Task[None] | None = None
        self._soon: asyncio.TimerHandle | None = None
        self.longest_wait_seconds = LONGEST_WAIT_SECONDS

    @property
    def is_awaited(self) -> bool:
        """Whether something is being written, or somebody waits for it to be."""
        is_running = self._worker is not None and not self._worker.done()
        return is_running or self._turn.locked() or any(waiting.done is not None for waiting in self._queue)

    async def submit(self, member: M, *, decided_under: int | None) -> None:
        """Return when `member` is durable. Raises `Stale`, `Unavailable` or the member's own exception."""
        if len(self._queue) >= LONGEST_QUEUE:
            raise TooMany("The server is overloaded.", detail="group commit queue is full")
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        waiting = _Waiting(member, decided_under, done)
        self._queue.append(waiting)
        if decided_under is not None:
            self._start()
        else:
            self._start_soon()
        too_long = loop.call_later(self.longest_wait_seconds, _give_up, waiting)
        try:
            await done
        except asyncio.CancelledError:
            # Cancelling reached the future, unless its outcome was already on the way to the caller.
            if not done.cancel() and not done.cancelled() and done.exception() is None:
                self._abandoned(member)
            raise
        finally:
            too_long.cancel()

    def leave(self, member: M) -> None:
        """Have `member` written although nobody waits for it. Dropped when the queue is full or its group fails."""
        if len(self._queue) < LONGEST_QUEUE:
            self._queue.append(_Waiting(member, None, None))
            self._start_soon()

    async def settle(self) -> None:
        """Return when all that was left here is written or dropped."""
        while self._queue or (self._worker is not None and not self._worker.done()):
            self._start()
            assert self._worker is not None
            await asyncio.wait({self._worker})

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

    def _start_soon(self) -> None:
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._start)

    def _start(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run())

    async def _run(self) -> None:
        group: list[_Waiting[M]] = []
        try:
            while self._queue:
                async with self._turn:
                    group, self._queue = self._queue[:LARGEST_GROUP], self._queue[LARGEST_GROUP:]
                    await self._commit(group)
        except BaseException:  # cancelled, or a bug: nobody may be left waiting for a worker that is gone
            left, self._queue = [*group, *self._queue], []
            for waiting in left:
                waiting.refuse(Unavailable(detail="group commit: the worker ended"))
            raise

    async def _commit(self, group: list[_Waiting[M]]) -> None:
        outcomes: dict[_Waiting[M], Exception | None] = {}
        written: set[_Waiting[M]] = set()
        committed = is_members_fault = False
        refusal: Exception | None = None
        try:
            async with self._database.write() as tx:
                try:
                    newest = await fence.hold_shared(tx)
                    waited_for = [w for w in group if not w.is_over]
                    fresh = [w for w in waited_for if w.decided_under is None or w.decided_under == newest]
                    said = list(await self._write(tx, [w.member for w in fresh])) if fresh else []
                    outcomes = {**{w: Stale() for w in waited_for}, **dict(zip(fresh, said, strict=True))}
                except (Unavailable, DBAPIError, sqlite3.Error):
                    raise
                except Exception:
                    is_members_fault = True
                    raise
            committed = True
            written = {w for w in fresh if outcomes[w] is None}
        except Exception as error:
            refusal = error if isinstance(error, Unavailable) else Unavailable(detail=f"group commit: {error!r}")
        try:
            await self._settled(committed)
        except Exception as error:
            refusal = Unavailable(detail=f"group commit: {error!r}")
        if is_members_fault and len(group) > 1:
            # One member's own fault must not refuse the others: all was rolled back, so each is tried by itself.
            for waiting in group:
                await self._commit([waiting])
            return
        for waiting in group:
            if waiting in written and (refusal is not None or waiting.is_over):
                self._abandoned(waiting.member)
            outcome = refusal or outcomes.get(waiting)
            if outcome is not None:
                waiting.refuse(outcome)
            elif waiting.done is not None and not waiting.done.done():
                waiting.done.set_result(None)


def _give_up(waiting: _Waiting[M]) -> None:
    waiting.refuse(Unavailable(detail="group commit: the database did not answer in time"))
