"""What can be said of the chain now: this process's newest checkpoint, and what of it the database still holds.

Bounded, so it is asked for every page: one signature, and for every writer the last records up to the signed one.
Proves nothing to whoever distrusts this server; for that there is `valetkey audit verify`.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Final

from valetkey.server.audit import checkpoint, find
from valetkey.server.audit.chain import read_record
from valetkey.server.audit.witness import last_line
from valetkey.server.services import Services

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


async def badge(services: Services) -> Badge:
    """Check, within bounds, and say what was checked."""
    line = await asyncio.to_thread(last_line, services.checkpoints)
    if line is None:
        return Badge(holds=None)
    key = checkpoint.pinned(services.keys.pin())
    try:
        signed = checkpoint.verify(line, {key.kid: key})
    except checkpoint.InvalidCheckpoint as error:
        return Badge(holds=False, problem=f"The newest checkpoint does not hold: {error}.")
    ranges = []
    async with services.database.read() as db:
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
