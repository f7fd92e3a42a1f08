"""Writes checkpoints outside the database: at least every second, or every 256 records, while anything is recorded.

Each line covers every writer's head. The file only grows; a line is on disk before the next one is made. Who signs is
given in, the key never comes here.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from valetkey.server.audit import checkpoint
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.errors import Unavailable

EVERY_SECONDS = 1.0
EVERY_RECORDS = 256


class Witness:
    """One per process; its file belongs to it alone."""

    def __init__(
        self,
        journal: Journal,
        path: Path,
        clock: Clock,
        *,
        deployment: str,
        signer: Callable[[], tuple[str, Callable[[bytes], bytes]]],
    ) -> None:
        self._journal = journal
        self._path = path
        self._clock = clock
        self._deployment = deployment
        self._signer = signer
        self._last: bytes | None = None
        self.failure: str | None = None  # what keeps checkpoints from being written, for /readyz

    async def start(self) -> None:
        """Continue after the last whole line; a line cut short by a crash is taken off first."""
        self._last = await asyncio.to_thread(_last_line, self._path)

    async def watch(self) -> None:
        """Write checkpoints for as long as the server runs."""
        while True:
            await self._journal.appended.wait()
            if self._journal.since_checkpoint < EVERY_RECORDS:
                await self._journal.enough(EVERY_RECORDS, EVERY_SECONDS)
            try:
                await self.write()
                self.failure = None
            except (OSError, Unavailable) as error:
                self.failure = type(error).__name__
                await asyncio.sleep(EVERY_SECONDS)

    async def write(self) -> None:
        """Write one checkpoint over every head as it is now."""
        self._journal.appended.clear()
        self._journal.since_checkpoint = 0
        n, prev = checkpoint.following(self._last)
        kid, sign = self._signer()
        line = checkpoint.make(
            n=n,
            time=self._clock.now(),
            deployment=self._deployment,
            heads=await self._journal.heads(),
            prev=prev,
            kid=kid,
            sign=sign,
        )
        await asyncio.to_thread(_append, self._path, line)
        self._last = line


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_line(path: Path) -> bytes | None:
    if not path.exists():
        return None
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - 2 * checkpoint.MAX_CHECKPOINT)
        file.seek(start)
        tail = file.read()
        whole, _, rest = tail.rpartition(b"\n")
        if rest:
            file.truncate(size - len(rest))
            os.fsync(file.fileno())
    last = whole.rpartition(b"\n")[2]
    return last or None
