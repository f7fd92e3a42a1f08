"""The only SQL of revoking by token: whose a refresh token is."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import refresh_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRefresh:
    """What a refresh token is a handle on. `task` is None for one on a standing delegation."""

    family: str
    client: str
    org: str
    task: str | None


async def held_refresh(connection: AsyncConnection, mac: bytes) -> HeldRefresh | None:
    """The refresh token of that MAC, also one that was used or has expired: its family is the same."""
    row = (
        await connection.execute(
            select(refresh_tokens.c.family, refresh_tokens.c.client, refresh_tokens.c.org, refresh_tokens.c.task).where(
                refresh_tokens.c.mac == mac
            )
        )
    ).first()
    return None if row is None else HeldRefresh(family=row.family, client=row.client, org=row.org, task=row.task)
