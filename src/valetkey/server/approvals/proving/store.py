"""The only SQL of proving oneself for an approval: for which one a person set out to, and since when."""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import approval_proofs

_p = approval_proofs.c


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOut:
    """A person went to sign in anew for this approval, from this session."""

    user: str
    approval: str
    session: str
    began_at: int


async def begin(tx: AsyncConnection, s: SetOut) -> None:
    """Note it. One at a time: what the same person set out for before is not proven by the next sign-in."""
    await tx.execute(delete(approval_proofs).where(_p.user == s.user))
    await tx.execute(
        insert(approval_proofs).values(user=s.user, approval=s.approval, session=s.session, began_at=s.began_at)
    )


async def of(connection: AsyncConnection, user: str, approval: str) -> SetOut | None:
    row = (await connection.execute(select(approval_proofs).where(_p.user == user, _p.approval == approval))).first()
    if row is None:
        return None
    return SetOut(user=row.user, approval=row.approval, session=row.session, began_at=row.began_at)


async def spend(tx: AsyncConnection, s: SetOut) -> bool:
    """Use it up: True once."""
    spent = await tx.execute(
        delete(approval_proofs)
        .where(_p.user == s.user, _p.approval == s.approval, _p.session == s.session, _p.began_at == s.began_at)
        .returning(_p.user)
    )
    return spent.first() is not None
