"""The only SQL of where people are told, and the one place that opens such an address."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.approvals.notices.model import Kind, NoticeAddress
from valetkey.server.db.schema import approvals, notice_addresses, users
from valetkey.server.secret import Secret
from valetkey.server.vault.aad import Place
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now

_n = notice_addresses.c


def _address(row: Any) -> NoticeAddress:
    return NoticeAddress(
        id=row.id,
        org=row.org,
        user=row.user,
        kind=Kind(row.kind),
        place=row.place,
        created_at=row.created_at,
        told_at=row.told_at,
        failures=row.failures,
        problem=row.problem,
    )


async def add(tx: AsyncConnection, a: NoticeAddress, address: Secret, *, ring: KeyRing) -> None:
    await tx.execute(
        insert(notice_addresses).values(
            id=a.id,
            org=a.org,
            user=a.user,
            kind=a.kind.value,
            place=a.place,
            sealed=await seal_now(tx, ring, address, _place(ring, a)),
            created_at=a.created_at,
            tried_at=0,
            told_at=None,
            failures=0,
            problem="",
        )
    )


async def count(tx: AsyncConnection, user: str) -> int:
    """How many this person has; nobody else adds one until the transaction ends."""
    await tx.execute(select(users.c.id).where(users.c.id == user).with_for_update())
    return int((await tx.execute(select(func.count()).where(_n.user == user))).scalar_one())


async def of_people(connection: AsyncConnection, people: Collection[str]) -> list[NoticeAddress]:
    """Where these people are told, the oldest first."""
    rows = await connection.execute(select(notice_addresses).where(_n.user.in_(people)).order_by(_n.id))
    return [_address(row) for row in rows]


async def opened(connection: AsyncConnection, a: NoticeAddress, *, ring: KeyRing) -> Secret | None:
    """The address itself; None when it was removed."""
    row = (await connection.execute(select(_n.sealed).where(_n.id == a.id))).first()
    if row is None:
        return None
    await renew_for(ring, connection, row.sealed)
    return open_sealed(ring, row.sealed, _place(ring, a))


async def remove(tx: AsyncConnection, user: str, address_id: str) -> bool:
    gone = await tx.execute(delete(notice_addresses).where(_n.id == address_id, _n.user == user))
    return bool(gone.rowcount == 1)


async def claim(tx: AsyncConnection, address_id: str, *, now: int, not_since: int) -> bool:
    """Take the next turn to write there: of all nodes one gets it, and nobody before the pause is over."""
    taken = await tx.execute(
        update(notice_addresses).where(_n.id == address_id, _n.tried_at <= not_since).values(tried_at=now)
    )
    return bool(taken.rowcount == 1)


async def is_there(connection: AsyncConnection, address_id: str) -> bool:
    return (await connection.execute(select(_n.id).where(_n.id == address_id))).first() is not None


async def reached(tx: AsyncConnection, address_id: str, approval_ids: Collection[str], *, now: int) -> None:
    """It was told of these."""
    await tx.execute(update(notice_addresses).where(_n.id == address_id).values(told_at=now, failures=0, problem=""))
    told = approvals.c.id.in_(approval_ids), approvals.c.told_at.is_(None)
    await tx.execute(update(approvals).where(*told).values(told_at=now))


async def missed(tx: AsyncConnection, address_id: str, problem: str) -> None:
    """It was not reached, once more."""
    await tx.execute(
        update(notice_addresses).where(_n.id == address_id).values(failures=_n.failures + 1, problem=problem)
    )


def _place(ring: KeyRing, a: NoticeAddress) -> Place:
    return Place(
        deployment=ring.deployment,
        organization=a.org,
        table="notice_addresses",
        column="sealed",
        row=a.id,
        owner=a.user,
        integration=None,
        allowed_hosts=frozenset(),
        generation=0,
    )


SEALED = SealedColumn(
    rows=select(notice_addresses), key=_n.id, blob=_n.sealed, place=lambda ring, row: _place(ring, _address(row))
)
