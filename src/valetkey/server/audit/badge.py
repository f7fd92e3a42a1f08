"""What can be said of the chain now: this process's newest checkpoint, and what of it the database still holds.

Bounded, so it is asked for every page: one signature, and for every writer the last records up to the signed one; one
at a time, shared by all who ask while another is under way.
Proves nothing to whoever distrusts this server; for that there is `valetkey audit verify`.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from valetkey.server.audit import checkpoint, find
from valetkey.server.audit.chain import read_record
from valetkey.server.audit.witness import last_line
from valetkey.server.db.engine import Database

RECORDS: Final = 100
"""Records checked back from each signed one."""
_WRITERS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """`holds` is None where nothing was signed yet. `ranges` are the writers and numbers that were checked."""

    holds: bool | None
    checkpoint: int = 0
    time: str = ""
    ranges: tuple[tuple[str, int, int], ...] = ()
    left_out: int = 0
    problem: str = ""


class Badges:
    """One per process. `series` is where this process's checkpoints are, `pin` the key they are signed with."""

    def __init__(self, database: Database, series: Callable[[], Path], pin: Callable[[], str]) -> None:
        self._database = database
        self._series = series
        self._pin = pin
        self._running: asyncio.Task[Badge] | None = None
        self._next: asyncio.Task[Badge] | None = None

    async def now(self) -> Badge:
        """Check, within bounds, and say what was checked. Nobody is given what was checked before it asked."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)

    async def _after(self, earlier: "asyncio.Task[Badge] | None") -> Badge:
        if earlier is not None:
            await asyncio.wait([earlier])
        self._running, self._next = self._next, None
        return await _checked(self._database, self._series(), self._pin())


async def _checked(database: Database, series: Path, pin: str) -> Badge:
    line = await asyncio.to_thread(last_line, series)
    if line is None:
        return Badge(holds=None)
    key = checkpoint.pinned(pin)
    try:
        signed = checkpoint.verify(line, {key.kid: key})
    except checkpoint.InvalidCheckpoint as error:
        return Badge(holds=False, problem=f"The newest checkpoint does not hold: {error}.")
    ranges = []
    async with database.read() as db:
        for head in signed.heads[:_WRITERS]:
            first = max(1, head.seq - RECORDS + 1)
            lines = await find.following(db, head.writer, first - 1, limit=head.seq - first + 1)
            if not _is_linked(lines, first, head):
                said = f"Records {first} to {head.seq} of {head.writer} are not what checkpoint {signed.n} signed."
                return Badge(holds=False, checkpoint=signed.n, time=signed.time, problem=said)
            ranges.append((head.writer, first, head.seq))
    left_out = len(signed.heads) - len(ranges)
    return Badge(holds=True, checkpoint=signed.n, time=signed.time, ranges=tuple(ranges), left_out=left_out)


def _is_linked(lines: list[bytes], first: int, head: checkpoint.Head) -> bool:
    """Whether these are consecutive records that end in the signed one."""
    due = head.digest
    for seq, line in zip(range(head.seq, first - 1, -1), reversed(lines), strict=False):
        try:
            record = read_record(line)
        except ValueError:
            return False
        if (record.writer, record.seq) != (head.writer, seq) or hashlib.sha256(line).digest() != due:
            return False
        due = record.prev
    return len(lines) == head.seq - first + 1
