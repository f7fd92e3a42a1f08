"""The only SQL of sessions."""

from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import revoked, sessions
from valetkey.server.principals.sessions.model import IDLE_SECONDS, Session

MOST = 500


def _session(row: Any) -> Session:
    return Session(
        id=row.id,
        org=row.org,
        user=row.user,
        amr=tuple(row.amr.split()),
        acr=row.acr,
        auth_time=row.auth_time,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        browser=row.browser,
        address=row.address,
    )


async def add(tx: AsyncConnection, mac: bytes, s: Session) -> None:
    await tx.execute(
        insert(sessions).values(
            mac=mac,
            id=s.id,
            org=s.org,
            user=s.user,
            amr=" ".join(s.amr),
            acr=s.acr,
            auth_time=s.auth_time,
            created_at=s.created_at,
            last_used_at=s.last_used_at,
            expires_at=s.expires_at,
            browser=s.browser,
            address=s.address,
        )
    )


async def by_mac(connection: AsyncConnection, mac: bytes) -> Session | None:
    row = (await connection.execute(select(sessions).where(sessions.c.mac == mac))).first()
    return None if row is None else _session(row)


async def by_id(connection: AsyncConnection, session_id: str) -> Session | None:
    row = (await connection.execute(select(sessions).where(sessions.c.id == session_id))).first()
    return None if row is None else _session(row)


async def live(connection: AsyncConnection, *, org: str, user: str | None, now: int) -> list[Session]:
    """The sessions of a user, or of everybody in the organization, that are neither over nor ended."""
    query = select(sessions).where(
        sessions.c.org == org,
        sessions.c.expires_at > now,
        sessions.c.last_used_at > now - IDLE_SECONDS,
        sessions.c.id.not_in(select(revoked.c.node)),
    )
    if user is not None:
        query = query.where(sessions.c.user == user)
    rows = await connection.execute(query.order_by(sessions.c.last_used_at.desc(), sessions.c.id.desc()).limit(MOST))
    return [_session(row) for row in rows]


async def touch(tx: AsyncConnection, session_id: str, *, now: int) -> None:
    await tx.execute(update(sessions).where(sessions.c.id == session_id).values(last_used_at=now))


async def remove(tx: AsyncConnection, session_id: str) -> None:
    await tx.execute(delete(sessions).where(sessions.c.id == session_id))
