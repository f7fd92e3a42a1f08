"""The only SQL of signing keys and of proofs that were used."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, insert, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import dpop_proofs, signing_keys


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


ALL: Final = select(signing_keys)
ALL_BY: Final = signing_keys.c.kid
SEALED: Final = signing_keys.c.sealed


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


# use_proof: first come, first served, on every node at once; the other comer's commit is waited for.
_USE_PROOF = text(
    "INSERT INTO dpop_proofs (jkt, jti, expires_at) VALUES (:jkt, :jti, :expires_at) ON CONFLICT DO NOTHING RETURNING 1"
)


async def use_proof(tx: AsyncConnection, jkt: str, jti: str, *, expires_at: int) -> bool:
    """Remember that the key of this thumbprint made a proof with this jti; False when it had before."""
    used = await tx.execute(_USE_PROOF, {"jkt": jkt, "jti": jti, "expires_at": expires_at})
    return used.first() is not None


async def forget_proofs(tx: AsyncConnection, *, before: int, at_most: int) -> None:
    """Remove some of the proofs no door takes any more; what another node removes right now is left to it."""
    old = (
        select(dpop_proofs.c.jkt, dpop_proofs.c.jti)
        .where(dpop_proofs.c.expires_at < before)
        .order_by(dpop_proofs.c.expires_at)
        .limit(at_most)
        .with_for_update(skip_locked=True)
    )
    await tx.execute(delete(dpop_proofs).where(tuple_(dpop_proofs.c.jkt, dpop_proofs.c.jti).in_(old)))
