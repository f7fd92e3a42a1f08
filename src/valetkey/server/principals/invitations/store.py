"""The only SQL of codes that sign a person in once."""

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import invitations, users
from valetkey.server.principals.model import CodeMade


async def add(
    tx: AsyncConnection,
    mac: bytes,
    *,
    kind: str,
    user: str | None,
    expires_at: int,
    by: str | None = None,
    now: int | None = None,
) -> None:
    """`by` is the administrator who made the code."""
    await tx.execute(
        insert(invitations).values(mac=mac, kind=kind, user=user, expires_at=expires_at, by=by, created_at=now)
    )


async def whom(connection: AsyncConnection, mac: bytes) -> str | None:
    """Whom a code is for, whether or not it is still good."""
    row = (await connection.execute(select(invitations.c.user).where(invitations.c.mac == mac))).first()
    return None if row is None else row.user


async def use(tx: AsyncConnection, mac: bytes, *, kinds: tuple[str, ...], now: int) -> tuple[bool, str | None]:
    """Spend it: True and who made it, once; False ever after, or when expired or unknown."""
    row = (
        await tx.execute(
            update(invitations)
            .where(
                invitations.c.mac == mac,
                invitations.c.kind.in_(kinds),
                invitations.c.used_at.is_(None),
                invitations.c.expires_at > now,
            )
            .values(used_at=now)
            .returning(invitations.c.by)
        )
    ).first()
    return (False, None) if row is None else (True, row.by)


async def drop(tx: AsyncConnection, *, kind: str) -> None:
    await tx.execute(delete(invitations).where(invitations.c.kind == kind, invitations.c.used_at.is_(None)))


async def drop_of(tx: AsyncConnection, user_id: str) -> None:
    """Whatever code this person was given and has not used is worth nothing from now on."""
    await tx.execute(delete(invitations).where(invitations.c.user == user_id, invitations.c.used_at.is_(None)))


async def newest(connection: AsyncConnection, user_id: str, *, kind: str) -> CodeMade | None:
    """The code of this kind made last for a person, used or not, with who made it."""
    maker = users.alias("maker")
    row = (
        await connection.execute(
            select(invitations.c.created_at, invitations.c.used_at, maker.c.email)
            .join(maker, maker.c.id == invitations.c.by)
            .where(invitations.c.user == user_id, invitations.c.kind == kind)
            .order_by(invitations.c.created_at.desc(), invitations.c.used_at.is_(None).desc())
            .limit(1)
        )
    ).first()
    return None if row is None else CodeMade(by=row.email, made_at=row.created_at, used_at=row.used_at)
