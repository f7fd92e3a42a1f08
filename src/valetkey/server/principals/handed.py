"""The only SQL of what a person is handed: codes that sign in once, and what a command line keeps."""

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import invitations, revoked, user_credentials, users
from valetkey.server.principals.model import CodeMade, User


async def add_invitation(
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


async def invited(connection: AsyncConnection, mac: bytes) -> str | None:
    """Whom a code is for, whether or not it is still good."""
    row = (await connection.execute(select(invitations.c.user).where(invitations.c.mac == mac))).first()
    return None if row is None else row.user


async def use_invitation(
    tx: AsyncConnection, mac: bytes, *, kinds: tuple[str, ...], now: int
) -> tuple[bool, str | None]:
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


async def drop_invitations(tx: AsyncConnection, *, kind: str) -> None:
    await tx.execute(delete(invitations).where(invitations.c.kind == kind, invitations.c.used_at.is_(None)))


async def drop_invitations_of(tx: AsyncConnection, user_id: str) -> None:
    """Whatever code this person was given and has not used is worth nothing from now on."""
    await tx.execute(delete(invitations).where(invitations.c.user == user_id, invitations.c.used_at.is_(None)))


async def newest_code(connection: AsyncConnection, user_id: str, *, kind: str) -> CodeMade | None:
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


async def add_user_credential(
    tx: AsyncConnection,
    mac: bytes,
    *,
    id: str,  # noqa: A002
    user: User,
    now: int,
    expires_at: int,
    name: str | None = None,
) -> None:
    """`name` is what the command line calls its computer, where a browser signed it in."""
    await tx.execute(
        insert(user_credentials).values(
            mac=mac, id=id, org=user.org, user=user.id, created_at=now, expires_at=expires_at, name=name
        )
    )


async def live_user_credentials(connection: AsyncConnection, user_id: str, *, now: int) -> list[str]:
    """The ids of the command-line credentials of a person that are neither over nor revoked."""
    c = user_credentials.c
    rows = await connection.execute(
        select(c.id).where(c.user == user_id, c.expires_at > now, c.id.not_in(select(revoked.c.node))).order_by(c.id)
    )
    return [row.id for row in rows]


async def user_credential(connection: AsyncConnection, mac: bytes, *, now: int) -> tuple[str, str] | None:
    """The credential's id and its user's, while it lives."""
    row = (
        await connection.execute(
            select(user_credentials.c.id, user_credentials.c.user).where(
                user_credentials.c.mac == mac, user_credentials.c.expires_at > now
            )
        )
    ).first()
    return None if row is None else (row.id, row.user)


async def credential_owner(connection: AsyncConnection, credential_id: str) -> str | None:
    """The user whose CLI credential this is."""
    row = await connection.execute(select(user_credentials.c.user).where(user_credentials.c.id == credential_id))
    found = row.first()
    return None if found is None else str(found.user)
