"""The only SQL of signing keys."""

from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import signing_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A signing key as stored: the private part sealed, times in seconds."""

    kid: str
    purpose: str
    alg: str
    public: str
    sealed: bytes
    created_at: int
    signs_from: int
    retired_at: int | None


async def add(tx: AsyncConnection, row: KeyRow) -> None:
    await tx.execute(
        insert(signing_keys).values(
            kid=row.kid,
            purpose=row.purpose,
            alg=row.alg,
            state="active",
            public=row.public,
            sealed=row.sealed,
            created_at=row.created_at,
            signs_from=row.signs_from,
        )
    )


async def retire(tx: AsyncConnection, kid: str, *, at: int) -> None:
    """From `at` on the key signs nothing; it is published a while longer."""
    await tx.execute(
        update(signing_keys).where(signing_keys.c.kid == kid, signing_keys.c.retired_at.is_(None)).values(retired_at=at)
    )


async def all_keys(connection: AsyncConnection) -> list[KeyRow]:
    rows = await connection.execute(select(signing_keys).order_by(signing_keys.c.signs_from, signing_keys.c.kid))
    return [
        KeyRow(
            kid=row.kid,
            purpose=row.purpose,
            alg=row.alg,
            public=row.public,
            sealed=row.sealed,
            created_at=row.created_at,
            signs_from=row.signs_from,
            retired_at=row.retired_at,
        )
        for row in rows
    ]
