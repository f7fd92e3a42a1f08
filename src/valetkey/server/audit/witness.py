"""Writes checkpoints outside the database: at least every second, or every 256 records, while anything is recorded.

Each line covers every writer's head and the tree of its records. The file only grows; a line is on disk before the
next one is made. Who signs is given in, the key never comes here.
"""

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from time import time_ns

from valetkey.server.audit import checkpoint
from valetkey.server.audit.store import Journal
from valetkey.server.audit.tree.grow import Trees
from valetkey.server.clock import Clock
from valetkey.server.errors import Conflict

log = logging.getLogger("valetkey")

EVERY_SECONDS = 1.0
EVERY_RECORDS = 256
ATTEST_SECONDS = 2.0
"""How long whoever ended something waits for its checkpoint. It is ended already; a slow disk must not hide that."""
SERIES = "checkpoints-*.ndjson"


class Witness:
    """One per process; its file belongs to it alone."""

    def __init__(
        self,
        journal: Journal,
        trees: Trees,
        path: Path,
        clock: Clock,
        *,
        deployment: str,
        signer: Callable[[], tuple[str, Callable[[bytes], bytes]]],
        restored: Callable[[], Awaitable[str]],
    ) -> None:
        self._journal = journal
        self._trees = trees
        self._path = path
        self._clock = clock
        self._deployment = deployment
        self._signer = signer
        self._restored = restored  # when this deployment was last restored, by its own word; empty for never
        self._last: bytes | None = None
        self._is_known = False  # whether `_last` is what the file ends with
        self._writing: asyncio.Task[None] | None = None
        self.failure: str | None = None  # what keeps checkpoints from being written, for /readyz

    async def start(self) -> None:
        """Continue after the last whole line; a line cut short by a crash is taken off first.

        Raises `Conflict` when the database has lost records this node saw signed: it was rolled back or put back, so
        revocations may be missing from it (RB-01, RB-03). A series from before `valetkey db restore` is set aside, on
        whichever node that ran: it attests records that were given up, and nothing issued with them still counts.
        """
        for path in await asyncio.to_thread(lambda: sorted(self._path.parent.glob(SERIES))):
            line = await asyncio.to_thread(last_line, path)
            if line is None:
                continue
            deployment, time, heads = checkpoint.unverified_end(line)
            lost = await self._lost(heads) if deployment == self._deployment else None
            if lost is None:
                continue
            # SECURITY: later than the series, and by the deployment's own key: an earlier restore, or a record that
            # somebody wrote into the database, gives up nothing.
            # Guarded by tests/faults/test_put_back.py::test_a_restore_record_nobody_here_made_gives_up_nothing
            if time >= await self._restored():
                raise Conflict(
                    f"The database is older than its checkpoints: record {lost.seq} of {lost.writer} is missing.",
                    hint="Restore it with `valetkey db restore FILE`, which voids what may have been ended since.",
                )
            aside = set_aside(path)
            log.warning("%s attests a database that was restored since; it is now %s", path.name, aside.name)
        await self._read_end()
        if self._last is not None:
            await self._trees.start(checkpoint.unverified_end(self._last)[2])

    async def _lost(self, heads: Iterable[checkpoint.Head]) -> checkpoint.Head | None:
        """The first of these records that is not in the database."""
        for head in heads:
            if not await self._journal.holds(head.writer, head.seq, head.digest):
                return head
        return None

    @property
    def path(self) -> Path:
        """The series of this process."""
        return self._path

    async def attest(self) -> None:
        """Have all that was recorded until now signed outside the database, at most `ATTEST_SECONDS` from now."""
        task = asyncio.ensure_future(self._attested())
        task.add_done_callback(_said)
        await asyncio.wait([task], timeout=ATTEST_SECONDS)

    async def _attested(self) -> None:
        while self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])
        if self._journal.since_checkpoint:
            await self.write()

    async def watch(self) -> None:
        """Write checkpoints for as long as the server runs."""
        while True:
            await self._journal.appended.wait()
            if self._journal.since_checkpoint < EVERY_RECORDS:
                await self._journal.enough(EVERY_RECORDS, EVERY_SECONDS)
            try:
                await self.write()
            except Exception as error:  # whatever it was, /readyz says so and the next round tries again
                log.error("no checkpoint could be written: %s", type(error).__name__)
                await asyncio.sleep(EVERY_SECONDS)

    async def write(self) -> None:
        """Write one checkpoint over every head as it is now. Who is cancelled here does not cut a line short."""
        while self._writing is not None and not self._writing.done():  # several may wait for the same one
            await asyncio.wait([self._writing])
        self._writing = asyncio.create_task(self._write())
        await asyncio.shield(self._writing)

    async def finish(self) -> None:
        """Let a line under way end, and write a last one over what was recorded since; at shutdown."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        if not self._journal.since_checkpoint:
            return
        try:
            await self.write()
        except Exception as error:  # a database that is gone, or a start that failed, must not keep it from stopping
            log.error("no last checkpoint could be written: %s", type(error).__name__)

    async def _write(self) -> None:
        self._journal.appended.clear()
        counted, self._journal.since_checkpoint = self._journal.since_checkpoint, 0
        try:
            # The journal claims another writer when it lost its own: that one's file is another one.
            path = self._path.with_name(f"checkpoints-{self._journal.writer}.ndjson")
            if not self._is_known or path != self._path:
                self._path = path
                await self._read_end()
            n, prev = checkpoint.following(self._last)
            kid, sign = self._signer()
            line = checkpoint.make(
                n=n,
                time=self._clock.now(),
                deployment=self._deployment,
                heads=await self._heads(),
                prev=prev,
                kid=kid,
                sign=sign,
            )
            self._is_known = False
            await asyncio.to_thread(_append, self._path, line)
        except BaseException as error:
            self._journal.since_checkpoint += counted
            self._journal.appended.set()  # what was recorded still waits for its checkpoint
            self.failure = type(error).__name__
            raise
        self._last, self._is_known, self.failure = line, True, None

    async def _heads(self) -> list[checkpoint.Head]:
        """Every head, with its tree once the trees are grown: an old trail is signed without them until then."""
        heads = [checkpoint.Head(*head) for head in await self._journal.heads()]
        signs_trees = self._last is not None and checkpoint.format_of(self._last) > 1
        grown = await self._trees.grown(heads)
        while grown is None and signs_trees:  # a series that signed trees goes on doing so
            grown = await self._trees.grown(heads)
        return heads if grown is None else grown

    async def _read_end(self) -> None:
        self._last = await asyncio.to_thread(last_line, self._path, mend=True)
        self._is_known = True


def set_aside(path: Path) -> Path:
    """Rename a series that is given up; nothing of it is deleted."""
    aside = path.with_name(f"{path.name}.before-{time_ns()}")
    path.rename(aside)
    return aside


def _said(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:  # `failure` keeps it for /readyz
        log.error("no checkpoint could be written: %s", type(error).__name__)


def _append(path: Path, line: bytes) -> None:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        try:
            if os.write(descriptor, line + b"\n") != len(line) + 1:
                raise OSError(errno.ENOSPC, "the checkpoint was written in part only")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if is_new:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def last_line(path: Path, *, mend: bool = False) -> bytes | None:
    """The last whole line of a series; `mend` takes off what a crash cut short after it."""
    if not path.exists():
        return None
    with path.open("r+b" if mend else "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - 2 * checkpoint.MAX_CHECKPOINT)
        file.seek(start)
        tail = file.read()
        whole, _, rest = tail.rpartition(b"\n")
        if rest and mend:
            file.truncate(size - len(rest))
            os.fsync(file.fileno())
    last = whole.rpartition(b"\n")[2]
    return last or None
