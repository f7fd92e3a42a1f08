"""Writes the index of the trail, a batch a transaction: all of it, or nothing where another node was first."""

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.engine import Database
from valetkey.server.db.schema import audit_indexed
from valetkey.server.db.sqlite_writer import writer_of

# Written by hand: a batch has hundreds of rows, and on SQLite they share the writer with whoever records.
_NOTE_SQLITE: Final = "INSERT OR IGNORE INTO audit_marks (mark, id) VALUES (?, ?)"
_NOTE_POSTGRESQL: Final = (
    "INSERT INTO audit_marks (mark, id) SELECT * FROM unnest($1::bigint[], $2::varchar[]) ON CONFLICT DO NOTHING"
)


class _AnotherWasFirst(Exception):
    """What this node read was noted meanwhile."""


async def note(database: Database, rows: Collection[tuple[int, str]], moved: Mapping[str, tuple[int, int]]) -> bool:
    """Note marks, and for each writer how far its chain is noted: before and now. False: another node was first."""
    listed = sorted(rows)
    try:
        async with database.write() as tx:
            for writer, (before, now) in sorted(moved.items()):
                if not await _moved(tx, writer, before, now):
                    raise _AnotherWasFirst
            if (connection := writer_of(tx)) is not None:
                await connection.add(_NOTE_SQLITE, listed)
            elif listed:
                columns = ([mark for mark, _ in listed], [record for _, record in listed])
                await tx.exec_driver_sql(_NOTE_POSTGRESQL, columns)
    except _AnotherWasFirst:
        return False
    return True


async def _moved(tx: AsyncConnection, writer: str, before: int, now: int) -> bool:
    if not before:
        added: sqlite.Insert | postgresql.Insert
        added = (sqlite if tx.dialect.name == "sqlite" else postgresql).insert(audit_indexed)
        await tx.execute(added.values(writer=writer, seq=0).on_conflict_do_nothing())
    moved = update(audit_indexed).where(audit_indexed.c.writer == writer, audit_indexed.c.seq == before)
    return bool((await tx.execute(moved.values(seq=now))).rowcount)
