"""The only SQL of linkings."""

from typing import Any

import msgspec
from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.connections import store as connections_store
from valetkey.server.connections.linking.model import Linking
from valetkey.server.connections.model import Connection
from valetkey.server.db.schema import connections, linkings, revoked, users


async def add(tx: AsyncConnection, mac: bytes, linking: Linking) -> None:
    """Keep it, and forget those that ended long ago."""
    await tx.execute(delete(linkings).where(linkings.c.expires_at < linking.created_at - 86_400))
    facts = {
        "asked": linking.asked,
        "connection": linking.connection,
        "shared": linking.shared,
        "back": linking.back,
        "code": linking.code,
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


async def begun_by(tx: AsyncConnection, user: str, *, now: int) -> tuple[int, int]:
    """How many this person began that are not over yet, spent or not, and when the first of them will be.

    Where several nodes write at once, whoever counts for a person waits for whoever counted before.
    """
    await tx.execute(select(users.c.id).where(users.c.id == user).with_for_update())
    c = linkings.c
    query = select(func.count(), func.min(c.expires_at)).where(c.user == user, c.expires_at > now)
    number, first = (await tx.execute(query)).one()
    return int(number), int(first or 0)


async def linked_by(db: AsyncConnection, app: str, *, org: str, integration: str) -> list[Connection]:
    """What lives in an organization and was connected by this app."""
    c = connections.c
    is_over = exists(select(revoked.c.node).where(revoked.c.node.in_((c.id, c.owner, c.org))))
    rows = await db.execute(select(connections).where(c.org == org, c.integration == integration, ~is_over))
    found = [connections_store.of_row(row) for row in rows]
    return [one for one in found if one.linked is not None and one.linked.app == app]


async def by_mac(db: AsyncConnection, mac: bytes) -> Linking | None:
    row = (await db.execute(select(linkings).where(linkings.c.mac == mac))).first()
    return None if row is None else _linking(row)


async def by_id(db: AsyncConnection, linking_id: str) -> Linking | None:
    row = (await db.execute(select(linkings).where(linkings.c.id == linking_id))).first()
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
        code=facts.get("code", ""),
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
    )
