"""The only SQL of linkings."""

from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.connections.linking.model import Linking
from valetkey.server.db.schema import linkings


async def add(tx: AsyncConnection, mac: bytes, linking: Linking) -> None:
    """Keep it, and forget those that ended long ago."""
    await tx.execute(delete(linkings).where(linkings.c.expires_at < linking.created_at - 86_400))
    facts = {
        "asked": linking.asked,
        "connection": linking.connection,
        "shared": linking.shared,
        "back": linking.back,
    }
    await tx.execute(
        insert(linkings).values(
            mac=mac,
            id=linking.id,
            org=linking.org,
            user=linking.user,
            session=linking.session,
            app=linking.app,
            facts=msgspec.json.encode(facts).decode(),
            created_at=linking.created_at,
            expires_at=linking.expires_at,
        )
    )


async def by_mac(db: AsyncConnection, mac: bytes) -> Linking | None:
    row = (await db.execute(select(linkings).where(linkings.c.mac == mac))).first()
    return None if row is None else _linking(row)


async def spend(tx: AsyncConnection, linking: Linking, *, now: int) -> bool:
    """Use it up, once, whatever comes of it."""
    spent = await tx.execute(
        update(linkings).where(linkings.c.id == linking.id, linkings.c.used_at.is_(None)).values(used_at=now)
    )
    return spent.rowcount == 1


def _linking(row: Any) -> Linking:
    facts = msgspec.json.decode(row.facts)
    return Linking(
        id=row.id,
        org=row.org,
        user=row.user,
        session=row.session,
        app=row.app,
        asked=tuple(facts["asked"]),
        connection=facts["connection"],
        shared=facts["shared"],
        back=facts["back"],
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
    )
