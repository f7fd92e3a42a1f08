"""The one connection that writes to a SQLite file: statements run where they are called, only the commit in a thread.

A statement inside a transaction moves bytes in memory and takes microseconds; handing each one to another thread and
back costs more than the statement. What waits for the disk, the commit, is handed over, so the event loop never waits
for an fsync. Nothing overtakes a commit under way, even one whose caller has gone. A file locked by a stranger is
asked for again and again without holding up the loop.

Transactions begin and end here by hand, and the statements of every group run straight on the driver: SQLAlchemy's
layers would cost more than the statements.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import aiosqlite
from sqlalchemy.ext.asyncio import AsyncConnection

_ASK_AGAIN_SECONDS = 0.005


class SqliteWriter(aiosqlite.Connection):
    """Used by one transaction at a time. `busy_seconds`: how long a file locked by somebody else is waited for."""

    def __init__(self, path: Path, *, busy_seconds: float) -> None:
        super().__init__(lambda: sqlite3.connect(path, timeout=0, check_same_thread=False), iter_chunk_size=64)
        self._thread.daemon = True
        self._busy_seconds = busy_seconds
        self._commit: asyncio.Future[Any] | None = None

    async def begin(self) -> None:
        """Begin a transaction that may write; `commit` and `rollback` end it."""
        await self._execute(self._conn.execute, "BEGIN IMMEDIATE")

    async def value(self, statement: str) -> Any:
        """The first column of the first row."""
        return (await self._execute(self._conn.execute, statement)).fetchone()[0]

    async def rows(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """All that a statement finds."""
        return list((await self._execute(self._conn.execute, statement, values)).fetchall())

    async def add(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement once for each row."""
        await self._execute(self._conn.executemany, statement, rows)

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._commit is not None and not self._commit.done():
            await asyncio.wait({self._commit})
        if fn == self._conn.commit or fn == self._conn.close:
            self._commit = asyncio.ensure_future(super()._execute(fn, *args, **kwargs))  # type: ignore[no-untyped-call]
            return await asyncio.shield(self._commit)
        until = monotonic() + self._busy_seconds
        while True:
            try:
                return fn(*args, **kwargs)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() >= until:
                    raise
            await asyncio.sleep(_ASK_AGAIN_SECONDS)


def writer_of(tx: AsyncConnection) -> SqliteWriter | None:
    """The writer under a transaction; None where that is not on SQLite."""
    connection = tx.sync_connection
    driver = connection.connection.driver_connection if connection is not None else None
    return driver if isinstance(driver, SqliteWriter) else None
