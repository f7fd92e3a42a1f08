"""What a person is told of each of her connections, the same on the command line, in the API and on the pages."""

from collections.abc import Collection, Mapping
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.connections.refreshing import store as refreshing
from valetkey.server.revocation import store as revocation

Status = Literal["linked", "needs_reconnect", "revoked"]
"""`needs_reconnect`: the API renews its credential no more, and only she can connect the account again."""


async def statuses(db: AsyncConnection, connection_ids: Collection[str]) -> Mapping[str, Status]:
    """The status of each."""
    gone = await revocation.among(db, connection_ids)
    stuck = await refreshing.needing_reconnect(db, connection_ids)
    return {
        one: "revoked" if one in gone else "needs_reconnect" if one in stuck else "linked" for one in connection_ids
    }
