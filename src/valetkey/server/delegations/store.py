"""The only SQL of delegations, tasks, evidence and entitlements."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import delegations, entitlements, evidence, tasks
from valetkey.server.delegations.model import Basis, Delegation, Grant, Mode, Task

_grants = msgspec.json.Decoder(tuple[Grant, ...])
_grant = msgspec.json.Decoder(Grant)


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _delegation(row: Any) -> Delegation:
    return Delegation(
        id=row.id,
        org=row.org,
        user=row.user,
        agent=row.agent,
        basis=Basis(row.basis),
        mode=Mode(row.mode),
        purpose=row.purpose,
        grants=_grants.decode(row.grants),
        share_with=frozenset(msgspec.json.decode(row.share_with)),
        tasks_per_day=row.tasks_per_day,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


def _task(row: Any) -> Task:
    return Task(
        id=row.id,
        org=row.org,
        delegation=row.delegation,
        agent=row.agent,
        parent=row.parent,
        root=row.root,
        depth=row.depth,
        grants=_grants.decode(row.grants),
        purpose=row.purpose,
        evidence=row.evidence,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


async def add_delegation(tx: AsyncConnection, d: Delegation) -> None:
    await tx.execute(
        insert(delegations).values(
            id=d.id,
            org=d.org,
            user=d.user,
            agent=d.agent,
            basis=d.basis.value,
            mode=d.mode.value,
            purpose=d.purpose,
            grants=_json(d.grants),
            share_with=_json(sorted(d.share_with)),
            tasks_per_day=d.tasks_per_day,
            created_by=d.created_by,
            created_at=d.created_at,
            expires_at=d.expires_at,
        )
    )


async def change_delegation(tx: AsyncConnection, d: Delegation) -> None:
    """Write what may change of a delegation: its lines and its end."""
    await tx.execute(
        update(delegations).where(delegations.c.id == d.id).values(grants=_json(d.grants), expires_at=d.expires_at)
    )


async def note_use(tx: AsyncConnection, used: Mapping[str, int]) -> None:
    """When each of these delegations was last used, in seconds; never earlier than what is known."""
    for delegation_id, at in used.items():
        known = func.coalesce(delegations.c.used_at, 0)
        await tx.execute(update(delegations).where(delegations.c.id == delegation_id, known < at).values(used_at=at))


async def last_used(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, int]:
    """When delegations were last used; those that never were are left out."""
    rows = await connection.execute(
        select(delegations.c.id, delegations.c.used_at).where(
            delegations.c.id.in_(ids), delegations.c.used_at.is_not(None)
        )
    )
    return {row.id: row.used_at for row in rows}


async def delegation(connection: AsyncConnection, delegation_id: str) -> Delegation | None:
    row = (await connection.execute(select(delegations).where(delegations.c.id == delegation_id))).first()
    return None if row is None else _delegation(row)


async def delegations_of(
    connection: AsyncConnection,
    *,
    org: str,
    user: str | None = None,
    agent: str | None = None,
    after: str = "",
    limit: int = 500,
) -> list[Delegation]:
    """The newest first; `after` is the id of the last one already seen."""
    query = select(delegations).where(delegations.c.org == org).order_by(delegations.c.id.desc()).limit(limit)
    if user is not None:
        query = query.where(delegations.c.user == user)
    if agent is not None:
        query = query.where(delegations.c.agent == agent)
    if after:
        query = query.where(delegations.c.id < after)
    return [_delegation(row) for row in await connection.execute(query)]


async def delegations_by_id(connection: AsyncConnection, ids: Collection[str]) -> dict[str, Delegation]:
    """These delegations, by their ids."""
    rows = await connection.execute(select(delegations).where(delegations.c.id.in_(ids)))
    return {row.id: _delegation(row) for row in rows}


async def add_tasks(tx: AsyncConnection, opened: Sequence[Task]) -> None:
    """Write tasks."""
    if not opened:
        return
    rows = [
        {
            "id": task.id,
            "org": task.org,
            "delegation": task.delegation,
            "agent": task.agent,
            "parent": task.parent,
            "root": task.root,
            "depth": task.depth,
            "grants": _json(task.grants),
            "purpose": task.purpose,
            "evidence": task.evidence,
            "created_at": task.created_at,
            "expires_at": task.expires_at,
        }
        for task in opened
    ]
    await tx.execute(insert(tasks), rows)


async def task(connection: AsyncConnection, task_id: str) -> Task | None:
    row = (await connection.execute(select(tasks).where(tasks.c.id == task_id))).first()
    return None if row is None else _task(row)


async def lineage(connection: AsyncConnection, task_id: str, *, deepest: int = 16) -> tuple[Task, ...]:
    """The task and its ancestors, the root last; empty when any of them is missing."""
    found: list[Task] = []
    wanted: str | None = task_id
    while wanted is not None:
        one = await task(connection, wanted)
        if one is None or len(found) >= deepest:
            return ()
        found.append(one)
        wanted = one.parent
    return tuple(found)


async def tasks_of(connection: AsyncConnection, delegation_ids: Sequence[str]) -> list[Task]:
    query = select(tasks).where(tasks.c.delegation.in_(delegation_ids)).order_by(tasks.c.id.desc()).limit(500)
    return [_task(row) for row in await connection.execute(query)]


async def tasks_under(connection: AsyncConnection, *, org: str, user: str | None, after: str, limit: int) -> list[Task]:
    """The tasks of an organization, or of one user's delegations, the newest first; `after` as in `delegations_of`."""
    query = select(tasks).where(tasks.c.org == org).order_by(tasks.c.id.desc()).limit(limit)
    if user is not None:
        query = query.join(delegations, delegations.c.id == tasks.c.delegation).where(delegations.c.user == user)
    if after:
        query = query.where(tasks.c.id < after)
    return [_task(row) for row in await connection.execute(query)]


async def unattended_tasks_since(connection: AsyncConnection, delegation_id: str, since: int) -> int:
    """How many root tasks were opened without the user since then."""
    # Where several nodes write at once, whoever counts waits for whoever counted before.
    await connection.execute(select(delegations.c.id).where(delegations.c.id == delegation_id).with_for_update())
    query = select(func.count()).where(
        tasks.c.delegation == delegation_id,
        tasks.c.parent.is_(None),
        tasks.c.created_at >= since,
        tasks.c.evidence == "standing",
    )
    return int((await connection.execute(query)).scalar_one())


async def add_evidence(tx: AsyncConnection, mac: bytes, *, delegation: str, user: str, expires_at: int) -> None:
    await tx.execute(insert(evidence).values(mac=mac, delegation=delegation, user=user, expires_at=expires_at))


async def use_evidence(tx: AsyncConnection, mac: bytes, *, delegation: str, now: int) -> str | None:
    """Spend it, once, for its own delegation; the user it stands for, or None."""
    row = (
        await tx.execute(
            update(evidence)
            .where(
                evidence.c.mac == mac,
                evidence.c.delegation == delegation,
                evidence.c.used_at.is_(None),
                evidence.c.expires_at > now,
            )
            .values(used_at=now)
            .returning(evidence.c.user)
        )
    ).first()
    return None if row is None else str(row.user)


async def add_entitlement(
    tx: AsyncConnection,
    *,
    id: str,  # noqa: A002
    org: str,
    user: str,
    connection: str,
    grant: Grant,
    by: str,
    now: int,
) -> None:
    await tx.execute(
        insert(entitlements).values(
            id=id, org=org, user=user, connection=connection, grant_text=_json(grant), created_by=by, created_at=now
        )
    )


async def entitlements_of(connection: AsyncConnection, user: str, shared: Sequence[str]) -> tuple[Grant, ...]:
    """What an administrator wrote for this user over shared connections, bound to the upstream's ids."""
    if not shared:
        return ()
    rows = await connection.execute(
        select(entitlements.c.connection, entitlements.c.grant_text).where(
            entitlements.c.user == user, entitlements.c.connection.in_(shared)
        )
    )
    return tuple(replace(_grant.decode(row.grant_text), connection=row.connection) for row in rows)
