"""The only SQL of OAuth clients."""

from typing import Final

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import agent_clients
from valetkey.server.oauth.clients.model import ClientMetadata

_metadata: Final = msgspec.json.Decoder(ClientMetadata)


async def metadata_of_agent(connection: AsyncConnection, agent: str) -> ClientMetadata | None:
    """What the owner registered of an agent as a client."""
    row = (await connection.execute(select(agent_clients.c.metadata).where(agent_clients.c.agent == agent))).first()
    return None if row is None else _metadata.decode(row.metadata)


async def put_metadata_of_agent(tx: AsyncConnection, agent: str, metadata: ClientMetadata, *, now: int) -> None:
    await tx.execute(delete(agent_clients).where(agent_clients.c.agent == agent))
    text = msgspec.json.encode(metadata).decode()
    await tx.execute(insert(agent_clients).values(agent=agent, metadata=text, changed_at=now))
