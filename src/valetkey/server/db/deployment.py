"""The name of this deployment: chosen once, bound into everything that is sealed. The only SQL of its table."""

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import deployment
from valetkey.server.ids import new_id


async def deployment_id(tx: AsyncConnection, *, now: int) -> str:
    """Return the id, choosing it in a new database."""
    row = (await tx.execute(select(deployment.c.id))).first()
    if row is not None:
        return str(row.id)
    fresh = new_id("org")
    await tx.execute(insert(deployment).values(id=fresh, created_at=now))
    return fresh
