"""The only SQL of engines."""

from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import engines
from valetkey.server.errors import Conflict
from valetkey.server.principals.engines.model import Engine


async def add(tx: AsyncConnection, engine: Engine, mac: bytes, *, by: str, now: int) -> None:
    """Raises `Conflict` when the organization has an engine of that name."""
    try:
        async with tx.begin_nested():
            await tx.execute(
                insert(engines).values(
                    id=engine.id,
                    mac=mac,
                    org=engine.org,
                    name=engine.name,
                    integration=engine.integration,
                    address=engine.address,
                    created_by=by,
                    created_at=now,
                )
            )
    except IntegrityError as error:
        raise Conflict(f"An engine named {engine.name} exists already.", hint="Choose another name.") from error


async def by_secret(connection: AsyncConnection, mac: bytes) -> Engine | None:
    row = (await connection.execute(select(engines).where(engines.c.mac == mac))).first()
    return None if row is None else _engine(row)


async def engine(connection: AsyncConnection, engine_id: str) -> Engine | None:
    row = (await connection.execute(select(engines).where(engines.c.id == engine_id))).first()
    return None if row is None else _engine(row)


async def engines_of(connection: AsyncConnection, org: str, *, after: str = "", limit: int = 100) -> list[Engine]:
    query = select(engines).where(engines.c.org == org, engines.c.id > after).order_by(engines.c.id).limit(limit)
    return [_engine(row) for row in await connection.execute(query)]


def _engine(row: Any) -> Engine:
    return Engine(id=row.id, org=row.org, name=row.name, integration=row.integration, address=row.address)
