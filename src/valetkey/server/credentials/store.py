"""The only SQL of leases, and the only place a leased credential is opened again: to have it revoked."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import case, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.credentials.lease import Lease, State
from valetkey.server.db.schema import leases
from valetkey.server.delegations.model import Grant
from valetkey.server.secret import Secret
from valetkey.server.vault.aad import Place
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now

_lines = msgspec.json.Decoder(tuple[Grant, ...])
_NOT_OVER = (State.OPENING.value, State.OUT.value, State.ENDING.value)


async def add(tx: AsyncConnection, lease: Lease) -> None:
    await tx.execute(
        insert(leases).values(
            id=lease.id,
            org=lease.org,
            user=lease.user,
            agent=lease.agent,
            task=lease.task,
            delegation=lease.delegation,
            connection=lease.connection,
            integration=lease.integration,
            grants=msgspec.json.encode(lease.lines, order="deterministic").decode(),
            nodes=msgspec.json.encode(sorted(lease.nodes)).decode(),
            state=lease.state.value,
            fingerprint="",
            opened_at=lease.opened_at,
            ends_at=lease.ends_at,
            tries=0,
            problem="",
        )
    )


async def hold(
    tx: AsyncConnection, lease: Lease, credential: Secret, *, fingerprint: str, upstream_ends_at: int, ring: KeyRing
) -> bool:
    """Keep what is needed to end it. False when it was ended meanwhile."""
    sealed = await seal_now(tx, ring, credential, _place(ring, lease))
    done = await tx.execute(
        update(leases)
        .where(leases.c.id == lease.id, leases.c.state == State.OPENING.value)
        .values(
            state=State.OUT.value,
            fingerprint=fingerprint,
            upstream_ends_at=upstream_ends_at,
            sealed=sealed,
        )
    )
    return done.rowcount == 1


async def take(tx: AsyncConnection, lease: Lease, *, tries: int, next_at: int) -> bool:
    """Take one try at ending it, so that of several processes one asks. False when another has it."""
    done = await tx.execute(
        update(leases)
        .where(leases.c.id == lease.id, leases.c.tries == lease.tries, leases.c.state.in_(_NOT_OVER))
        .values(state=State.ENDING.value, tries=tries, next_at=next_at)
    )
    return done.rowcount == 1


async def close(tx: AsyncConnection, lease_id: str, state: State, *, problem: str = "") -> bool:
    """It is over; what could open it is gone. False when it was over before."""
    done = await tx.execute(
        update(leases)
        .where(leases.c.id == lease_id, leases.c.state.in_(_NOT_OVER))
        .values(state=state.value, sealed=None, next_at=None, problem=problem)
    )
    return done.rowcount == 1


async def end_soon(tx: AsyncConnection, lease_id: str, *, problem: str) -> bool:
    """Nobody was given it, and it may be there: to be ended at the next sweep. False when it was over before."""
    done = await tx.execute(
        update(leases)
        .where(leases.c.id == lease_id, leases.c.state.in_(_NOT_OVER))
        .values(state=State.ENDING.value, problem=problem, next_at=None)
    )
    return done.rowcount == 1


async def note(tx: AsyncConnection, lease_id: str, problem: str, *, next_at: int | None = None) -> None:
    """Why it could not be ended yet, for people to see, and when to look again where that is known."""
    when = {} if next_at is None else {"next_at": next_at}
    await tx.execute(update(leases).where(leases.c.id == lease_id).values(problem=problem, **when))


async def lease(connection: AsyncConnection, lease_id: str) -> Lease | None:
    row = (await connection.execute(select(leases).where(leases.c.id == lease_id))).first()
    return None if row is None else _lease(row)


async def not_over(connection: AsyncConnection, *, due_by: int | None = None, limit: int) -> list[Lease]:
    """Leases that are not over; with `due_by`, those that may be tried at by then. The oldest first."""
    query = select(leases).where(leases.c.state.in_(_NOT_OVER)).order_by(leases.c.ends_at).limit(limit)
    if due_by is not None:
        query = query.where(or_(leases.c.next_at.is_(None), leases.c.next_at <= due_by))
    return [_lease(row) for row in await connection.execute(query)]


async def count_out(db: AsyncConnection, org: str, *, agent: str, connection: str) -> tuple[int, int, int]:
    """How many of an organization's are not over, how many of them are that agent's, and that connection's."""
    its_own = func.sum(case((leases.c.agent == agent, 1), else_=0))
    through = func.sum(case((leases.c.connection == connection, 1), else_=0))
    query = select(func.count(), its_own, through).where(leases.c.org == org, leases.c.state.in_(_NOT_OVER))
    counted = (await db.execute(query)).one()
    return int(counted[0]), int(counted[1] or 0), int(counted[2] or 0)


async def of_ids(db: AsyncConnection, ids: Collection[str]) -> list[Lease]:
    """These leases, over or not."""
    return [_lease(row) for row in await db.execute(select(leases).where(leases.c.id.in_(list(ids))))]


async def out_through(db: AsyncConnection, connection: str) -> list[Lease]:
    """The leases of one connection that are out."""
    query = select(leases).where(leases.c.connection == connection, leases.c.state == State.OUT.value)
    return [_lease(row) for row in await db.execute(query)]


async def used_by(db: AsyncConnection, tasks: Collection[str], *, connection: str) -> list[Grant]:
    """The lines of every lease there was of one connection under one of these tasks."""
    query = select(leases.c.grants).where(leases.c.task.in_(list(tasks)), leases.c.connection == connection)
    return [line for row in await db.execute(query) for line in _lines.decode(row.grants)]


async def leases_of(
    connection: AsyncConnection,
    *,
    org: str,
    user: str | None = None,
    after: str = "",
    limit: int = 100,
) -> list[Lease]:
    """The newest first; `after` is the id of the last one already seen."""
    query = select(leases).where(leases.c.org == org).order_by(leases.c.id.desc()).limit(limit)
    if user is not None:
        query = query.where(leases.c.user == user)
    if after:
        query = query.where(leases.c.id < after)
    return [_lease(row) for row in await connection.execute(query)]


async def open_credential(connection: AsyncConnection, found: Lease, *, ring: KeyRing) -> Secret | None:
    """The credential that is out, to be ended; None when it never was, or is no more."""
    row = (await connection.execute(select(leases.c.sealed).where(leases.c.id == found.id))).first()
    if row is None or row.sealed is None:
        return None
    await renew_for(ring, connection, row.sealed)
    return open_sealed(ring, row.sealed, _place(ring, found))


def under(found: Sequence[Lease], nodes: frozenset[str]) -> list[Lease]:
    """Those that end with one of these nodes."""
    return [one for one in found if (one.nodes | {one.id}) & nodes]


def _lease(row: Any) -> Lease:
    return Lease(
        id=row.id,
        org=row.org,
        user=row.user,
        agent=row.agent,
        task=row.task,
        delegation=row.delegation,
        connection=row.connection,
        integration=row.integration,
        lines=_lines.decode(row.grants),
        nodes=frozenset(msgspec.json.decode(row.nodes)),
        state=State(row.state),
        opened_at=row.opened_at,
        ends_at=row.ends_at,
        fingerprint=row.fingerprint,
        upstream_ends_at=row.upstream_ends_at,
        tries=row.tries,
        problem=row.problem,
    )


def _place(ring: KeyRing, lease: Lease) -> Place:
    return Place(
        deployment=ring.deployment,
        organization=lease.org,
        table="leases",
        column="sealed",
        row=lease.id,
        owner=lease.user,
        integration=lease.integration,
        allowed_hosts=frozenset({lease.connection}),
        generation=1,
    )


SEALED = SealedColumn(
    rows=select(leases),
    key=leases.c.id,
    blob=leases.c.sealed,
    place=lambda ring, row: _place(ring, _lease(row)),
)
