"""The only SQL of where people are told and of what, and the one place that opens such an address."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.approvals.notices.model import MOST_GUESSES, TRIES, Kind, NoticeAddress
from valetkey.server.db.schema import approvals, notice_addresses, notice_codes, notices_due, users
from valetkey.server.secret import Secret
from valetkey.server.vault.aad import Place
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now

_n = notice_addresses.c
_d = notices_due.c
_c = notice_codes.c
MOST_AT_ONCE: Final = 500  # approvals in one notice


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
        confirmed_at=row.confirmed_at,
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
            confirmed_at=a.confirmed_at,
        )
    )


async def held_for(tx: AsyncConnection, user: str) -> list[NoticeAddress]:
    """What this person has; nobody else adds one until the transaction ends."""
    await tx.execute(select(users.c.id).where(users.c.id == user).with_for_update())
    return await of_people(tx, [user])


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
    await tx.execute(delete(notices_due).where(_d.address == address_id))
    return bool(gone.rowcount == 1)


async def owe(tx: AsyncConnection, approval_id: str, people: Collection[str]) -> None:
    """Note, in the transaction that opens an approval, everywhere it is to be told of."""
    places = select(_n.id, literal(approval_id), literal(0)).where(_n.user.in_(people), _n.confirmed_at.is_not(None))
    # Whoever removes an address waits for this, and then removes what is owed to it too.
    places = places.with_for_update(read=True, key_share=True)
    await tx.execute(insert(notices_due).from_select(["address", "approval", "tries"], places))


async def turns(connection: AsyncConnection, *, not_since: int, limit: int) -> list[NoticeAddress]:
    """The addresses that something is owed to and whose pause is over, the one that waited longest first."""
    owed = select(notice_addresses).where(_n.id.in_(select(_d.address)), _n.tried_at <= not_since)
    return [_address(row) for row in await connection.execute(owed.order_by(_n.tried_at, _n.id).limit(limit))]


async def owed(connection: AsyncConnection, address_id: str) -> list[str]:
    """The approvals this address is to be told of, the oldest first."""
    return list(
        (
            await connection.execute(
                select(_d.approval).where(_d.address == address_id).order_by(_d.approval).limit(MOST_AT_ONCE)
            )
        ).scalars()
    )


async def settled(tx: AsyncConnection, address_id: str, approval_ids: Collection[str]) -> None:
    """Nothing more is owed to it of these: they were told, or are over."""
    await tx.execute(delete(notices_due).where(_d.address == address_id, _d.approval.in_(approval_ids)))


async def claim(tx: AsyncConnection, address_id: str, *, now: int, not_since: int) -> bool:
    """Take the next turn to write there: of all nodes one gets it, and nobody before the pause is over."""
    taken = await tx.execute(
        update(notice_addresses).where(_n.id == address_id, _n.tried_at <= not_since).values(tried_at=now)
    )
    return bool(taken.rowcount == 1)


async def reached(tx: AsyncConnection, address_id: str, approval_ids: Collection[str], *, now: int) -> None:
    """It was told of these."""
    await tx.execute(update(notice_addresses).where(_n.id == address_id).values(told_at=now, failures=0, problem=""))
    await settled(tx, address_id, approval_ids)
    told = approvals.c.id.in_(approval_ids), approvals.c.told_at.is_(None)
    await tx.execute(update(approvals).where(*told).values(told_at=now))


async def missed(tx: AsyncConnection, address_id: str, approval_ids: Collection[str], problem: str) -> None:
    """It was not reached, once more; what was tried often enough is owed no longer."""
    await tx.execute(
        update(notice_addresses).where(_n.id == address_id).values(failures=_n.failures + 1, problem=problem)
    )
    these = _d.address == address_id, _d.approval.in_(approval_ids)
    await tx.execute(update(notices_due).where(*these).values(tries=_d.tries + 1))
    await tx.execute(delete(notices_due).where(*these, _d.tries >= TRIES))


async def codes_since(tx: AsyncConnection, user: str, since: int) -> int:
    """How many codes were mailed for this person; older ones are forgotten. Asked after `held_for`."""
    await tx.execute(delete(notice_codes).where(_c.user == user, _c.created_at <= since))
    return int((await tx.execute(select(func.count()).where(_c.user == user))).scalar_one())


async def add_code(tx: AsyncConnection, a: NoticeAddress, code_id: str, mac: bytes, *, expires_at: int) -> None:
    """What was mailed to an address, to be known again."""
    await tx.execute(
        insert(notice_codes).values(
            id=code_id, address=a.id, user=a.user, mac=mac, created_at=a.created_at, expires_at=expires_at, tries=0
        )
    )


async def guess(tx: AsyncConnection, user: str, address_id: str, *, now: int) -> bytes | None:
    """Count one guess; what it is held against, while the code is alive and was not guessed at too often."""
    alive = _c.address == address_id, _c.user == user, _c.expires_at > now, _c.tries < MOST_GUESSES
    guessed = await tx.execute(update(notice_codes).where(*alive).values(tries=_c.tries + 1))
    if guessed.rowcount != 1:
        return None
    return (await tx.execute(select(_c.mac).where(_c.address == address_id))).scalar_one()  # type: ignore[no-any-return]


async def confirm(tx: AsyncConnection, address_id: str, *, now: int) -> None:
    """Its person has shown that it is theirs; the code is worth nothing from now on."""
    await tx.execute(
        update(notice_addresses).where(_n.id == address_id).values(confirmed_at=now, failures=0, problem="")
    )
    await tx.execute(update(notice_codes).where(_c.address == address_id).values(tries=MOST_GUESSES))


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
