"""One row per revoked node. Knows ids only."""

from collections.abc import Collection

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import revoked

_LONGEST_BY = 40


async def mark(tx: AsyncConnection, node: str, *, seq: int, by: str, reason: str, now: int) -> bool:
    """Write the row; False when the node was revoked before. `by` is cut: a client's id may be a long address."""
    if (await tx.execute(select(revoked.c.node).where(revoked.c.node == node))).first() is not None:
        return False
    await tx.execute(insert(revoked).values(node=node, seq=seq, at=now, by=by[:_LONGEST_BY], reason=reason))
    return True


async def among(connection: AsyncConnection, nodes: Collection[str]) -> frozenset[str]:
    """Which of these nodes are revoked."""
    rows = await connection.execute(select(revoked.c.node).where(revoked.c.node.in_(list(nodes))))
    return frozenset(row.node for row in rows)


async def tokens(connection: AsyncConnection) -> list[str]:
    """Every single token that was revoked by its own id."""
    rows = await connection.execute(select(revoked.c.node).where(revoked.c.node.like("tok\\_%", escape="\\")))
    return [row.node for row in rows]
