"""The only SQL of resource servers."""

from typing import Any, Final

import msgspec
from sqlalchemy import insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import resource_servers as table
from valetkey.server.integrations.registered import OwnScope, ResourceServer
from valetkey.server.revocation import store as revocation

_scopes: Final = msgspec.json.Decoder(tuple[OwnScope, ...])


def _server(row: Any) -> ResourceServer:
    return ResourceServer(
        id=row.id,
        org=row.org,
        name=row.name,
        title=row.title,
        audience=row.audience,
        layout="agent" if row.layout == "agent" else "rfc8693",
        algorithm=row.algorithm,
        scopes=_scopes.decode(row.scopes),
        service_account=row.service_account,
        agent=row.agent,
        created_by=row.created_by,
        created_at=row.created_at,
    )


async def add(tx: AsyncConnection, server: ResourceServer) -> None:
    await tx.execute(
        insert(table).values(
            id=server.id,
            org=server.org,
            name=server.name,
            title=server.title,
            audience=server.audience,
            layout=server.layout,
            algorithm=server.algorithm,
            scopes=msgspec.json.encode(server.scopes).decode(),
            service_account=server.service_account,
            agent=server.agent,
            created_by=server.created_by,
            created_at=server.created_at,
        )
    )


async def is_taken(tx: AsyncConnection, *, name: str, audience: str) -> bool:
    """Whether a name or an audience was ever anybody's: neither is given away a second time."""
    twins = (audience.removesuffix("/"), audience.removesuffix("/") + "/")
    query = select(table.c.id).where(or_(table.c.name == name, table.c.audience.in_(twins))).limit(1)
    return (await tx.execute(query)).first() is not None


async def resource_servers(connection: AsyncConnection) -> list[ResourceServer]:
    """All that were not ended, nor their organization."""
    found = [_server(row) for row in await connection.execute(select(table).order_by(table.c.id))]
    gone = await revocation.among(connection, {node for s in found for node in (s.id, s.org)})
    return [s for s in found if not {s.id, s.org} & gone]


async def resource_server(connection: AsyncConnection, server_id: str) -> ResourceServer | None:
    """One by its id, ended or not."""
    row = (await connection.execute(select(table).where(table.c.id == server_id))).first()
    return None if row is None else _server(row)
