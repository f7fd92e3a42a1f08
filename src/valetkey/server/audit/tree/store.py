"""What is kept of the trees: one digest for every 256 records, for every 65,536, and so on (tiles of height 8).

Anything between is made from at most 255 digests of one height. What is not kept yet is made from what lies below it,
in the end from the digests of the records, so what is kept can be lost or thrown away.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit import merkle
from valetkey.server.db.engine import Database
from valetkey.server.db.schema import audit_records, audit_tree
from valetkey.server.errors import Unavailable

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT

Tile = tuple[str, int, int, bytes]
"""Writer, level (1 stands for 256 records, 2 for 65,536), place among those of the level, digest."""


class RecordsMissing(Unavailable):
    """Records of the audit trail are missing."""

    hint = "Keep the database and the checkpoint files as they are, and run `valetkey audit verify`."


async def leaves(db: AsyncConnection, writer: str, start: int, end: int) -> list[bytes]:
    """The leaves of these records, of which `start` comes after and `end` is the last. Raises `RecordsMissing`."""
    query = select(audit_records.c.digest).where(
        audit_records.c.writer == writer, audit_records.c.seq > start, audit_records.c.seq <= end
    )
    digests = (await db.execute(query.order_by(audit_records.c.seq))).scalars().all()
    if len(digests) != end - start:
        raise RecordsMissing(detail=f"{writer}: {len(digests)} of the records {start + 1} to {end} are there")
    return [merkle.leaf(digest) for digest in digests]


async def ranged(db: AsyncConnection, writer: str, start: int, end: int) -> bytes:
    """The digest over a range of a proof."""
    return merkle.folded([await _subtree(db, writer, height, place) for height, place in merkle.complete(start, end)])


async def edge(db: AsyncConnection, writer: str, size: int) -> merkle.Edge:
    """The right edge of the tree of so many records."""
    return merkle.Edge(size, [await _subtree(db, writer, height, place) for height, place in merkle.complete(0, size)])


async def kept(db: AsyncConnection, writer: str) -> int:
    """How many records what is kept stands for."""
    query = select(func.max(audit_tree.c.place)).where(audit_tree.c.writer == writer, audit_tree.c.level == 1)
    last = (await db.execute(query)).scalar()
    return 0 if last is None else (int(last) + 1) * WIDTH


async def keep(database: Database, tiles: Sequence[Tile]) -> None:
    """Keep these; what was there gives way, for these were just made from the records."""
    rows = [dict(zip(("writer", "level", "place", "digest"), tile, strict=True)) for tile in tiles]
    async with database.write() as tx:
        if tx.dialect.name == "sqlite":
            into: sqlite.Insert | postgresql.Insert = sqlite.insert(audit_tree)
        else:
            into = postgresql.insert(audit_tree)
        keys = [audit_tree.c.writer, audit_tree.c.level, audit_tree.c.place]
        await tx.execute(into.on_conflict_do_update(index_elements=keys, set_={"digest": into.excluded.digest}), rows)


async def forget(database: Database, writer: str) -> None:
    """Throw away what is kept of one chain."""
    async with database.write() as tx:
        await tx.execute(delete(audit_tree).where(audit_tree.c.writer == writer))


async def _subtree(db: AsyncConnection, writer: str, height: int, place: int) -> bytes:
    level = height // HEIGHT
    count = 1 << height - level * HEIGHT
    return merkle.over(await _row(db, writer, level, place * count, (place + 1) * count))


async def _row(db: AsyncConnection, writer: str, level: int, start: int, end: int) -> list[bytes]:
    """Digests of one level."""
    if level == 0:
        return await leaves(db, writer, start, end)
    query = select(audit_tree.c.place, audit_tree.c.digest).where(
        audit_tree.c.writer == writer,
        audit_tree.c.level == level,
        audit_tree.c.place >= start,
        audit_tree.c.place < end,
    )
    there = {row.place: row.digest for row in await db.execute(query)}
    return [
        there[place]
        if place in there
        else merkle.over(await _row(db, writer, level - 1, place * WIDTH, (place + 1) * WIDTH))
        for place in range(start, end)
    ]
