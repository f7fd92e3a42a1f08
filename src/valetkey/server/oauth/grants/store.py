"""The only SQL of refresh tokens."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import refresh_tokens
from valetkey.server.oauth.agreed import Agreed


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """A handle on a task, or on a standing delegation. All that came one from another are a family."""

    id: str
    family: str
    agreed: Agreed
    task: str
    expires_at: int = 0
    replaced_at: int | None = None
    used_at: int | None = None
    replays: int = 0
    successor: bytes | None = None


_agreed = msgspec.json.Decoder(Agreed)


ALL: Final = select(refresh_tokens)
ALL_BY: Final = refresh_tokens.c.id
SUCCESSOR: Final = refresh_tokens.c.successor


def token_of(row: Any) -> RefreshToken:
    return RefreshToken(
        id=row.id,
        family=row.family,
        agreed=_agreed.decode(row.facts),
        task=row.task,
        expires_at=row.expires_at,
        replaced_at=row.replaced_at,
        used_at=row.used_at,
        replays=row.replays,
        successor=row.successor,
    )


async def add(tx: AsyncConnection, mac: bytes, token: RefreshToken, *, now: int, expires_at: int) -> None:
    agreed = token.agreed
    await tx.execute(
        insert(refresh_tokens).values(
            mac=mac,
            id=token.id,
            family=token.family,
            client=agreed.client,
            org=agreed.org,
            user=agreed.user,
            agent=agreed.agent,
            delegation=agreed.delegation,
            task=token.task,
            facts=msgspec.json.encode(agreed).decode(),
            created_at=now,
            expires_at=expires_at,
            replays=0,
        )
    )


async def by_mac(connection: AsyncConnection, mac: bytes) -> RefreshToken | None:
    row = (await connection.execute(select(refresh_tokens).where(refresh_tokens.c.mac == mac))).first()
    return None if row is None else token_of(row)


async def replace(tx: AsyncConnection, mac: bytes, *, successor: bytes, now: int) -> bool:
    """Put a successor in its place, once."""
    r = refresh_tokens.c
    done = await tx.execute(
        update(refresh_tokens)
        .where(r.mac == mac, r.replaced_at.is_(None), r.used_at.is_(None), r.expires_at > now)
        .values(replaced_at=now, successor=successor)
    )
    return done.rowcount == 1


async def end_predecessors(tx: AsyncConnection, token: RefreshToken, *, now: int) -> None:
    """Its use ends what it replaced: from now on that is no repeated answer, it is a reuse."""
    r = refresh_tokens.c
    await tx.execute(
        update(refresh_tokens)
        .where(r.family == token.family, r.id != token.id, r.replaced_at.is_not(None), r.used_at.is_(None))
        .values(used_at=now, successor=None)
    )


async def replay(tx: AsyncConnection, mac: bytes, *, since: int, most: int) -> RefreshToken | None:
    """Count one repetition of a replaced token whose successor nobody used, within its time and number."""
    r = refresh_tokens.c
    row = (
        await tx.execute(
            update(refresh_tokens)
            .where(r.mac == mac, r.used_at.is_(None), r.replaced_at >= since, r.replays < most)
            .values(replays=r.replays + 1)
            .returning(refresh_tokens)
        )
    ).first()
    return None if row is None else token_of(row)


async def families_of(connection: AsyncConnection, task: str) -> list[str]:
    """The families that began with this task."""
    rows = await connection.execute(
        select(refresh_tokens.c.family).where(refresh_tokens.c.task == task).distinct().limit(10)
    )
    return [row.family for row in rows]


async def tasks_of(connection: AsyncConnection, family: str) -> list[str]:
    """The tasks a family was used for."""
    rows = await connection.execute(
        select(refresh_tokens.c.task).where(refresh_tokens.c.family == family).distinct().limit(1_000)
    )
    return [row.task for row in rows]
