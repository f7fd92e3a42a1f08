"""The only SQL of signing in a command line."""

from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import cli_logins, revoked, user_credentials
from valetkey.server.principals.cli_login.model import Code, CommandLine
from valetkey.server.principals.model import User

MOST = 500


async def add(tx: AsyncConnection, mac: bytes, code: Code, *, now: int) -> None:
    await tx.execute(
        insert(cli_logins).values(
            mac=mac,
            id=code.id,
            org=code.org,
            user=code.user,
            session=code.session,
            name=code.name,
            redirect_uri=code.redirect_uri,
            challenge=code.challenge,
            created_at=now,
            expires_at=code.expires_at,
        )
    )


async def drop_before(tx: AsyncConnection, time: int) -> None:
    """Forget what ended before `time`. Nothing waits for this: whether a code is over is compared when it is used."""
    await tx.execute(delete(cli_logins).where(cli_logins.c.expires_at < time))


async def code(connection: AsyncConnection, mac: bytes) -> Code | None:
    row = (await connection.execute(select(cli_logins).where(cli_logins.c.mac == mac))).first()
    if row is None:
        return None
    return Code(
        id=row.id,
        org=row.org,
        user=row.user,
        session=row.session,
        name=row.name,
        redirect_uri=row.redirect_uri,
        challenge=row.challenge,
        expires_at=row.expires_at,
        used_at=row.used_at,
        credential=row.credential,
    )


async def use(tx: AsyncConnection, mac: bytes, *, now: int) -> bool:
    """Spend it: True once, False ever after, on every node."""
    used = await tx.execute(
        update(cli_logins).where(cli_logins.c.mac == mac, cli_logins.c.used_at.is_(None)).values(used_at=now)
    )
    return used.rowcount == 1


async def opened(tx: AsyncConnection, mac: bytes, *, credential: str) -> None:
    """Note the credential it was redeemed for."""
    await tx.execute(update(cli_logins).where(cli_logins.c.mac == mac).values(credential=credential))


async def spend_all_of(tx: AsyncConnection, user: str, *, now: int) -> None:
    """Spend every code of this person's that nobody has used."""
    await tx.execute(
        update(cli_logins).where(cli_logins.c.user == user, cli_logins.c.used_at.is_(None)).values(used_at=now)
    )


async def signed_in(
    connection: AsyncConnection, *, org: str, user: str | None, now: int, by_browser_only: bool = False
) -> list[CommandLine]:
    """The command lines of a person, or of everybody in the organization, that are neither over nor ended."""
    c = user_credentials.c
    query = select(user_credentials).where(
        c.org == org, c.expires_at > now, c.id.not_in(select(revoked.c.node)), c.user.not_in(select(revoked.c.node))
    )
    if user is not None:
        query = query.where(c.user == user)
    if by_browser_only:
        query = query.where(c.name.is_not(None))
    rows = await connection.execute(query.order_by(c.created_at.desc(), c.id.desc()).limit(MOST))
    return [_command_line(row) for row in rows]


def _command_line(row: Any) -> CommandLine:
    return CommandLine(
        id=row.id,
        org=row.org,
        user=row.user,
        name=row.name,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


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
