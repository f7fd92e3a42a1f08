"""The only SQL of what is still to be ended at APIs."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import case, exists, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.connections import store as connections_store
from valetkey.server.connections.model import Connection
from valetkey.server.db.schema import connections, revoked, upstream_revocations

State = Literal["pending", "ended", "unsupported", "given_up"]
_u = upstream_revocations.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How far it came. `detail` is what a person is told."""

    connection: str
    state: State
    detail: str
    tries: int


async def under(db: AsyncConnection, nodes: Collection[str], *, limit: int) -> list[tuple[Connection, bool]]:
    """Connections that ended with one of these: themselves, their person, or their organization.

    And whether it is over there; those that are still to be ended come first.
    """
    wanted = list(nodes)
    c = connections.c
    is_over = case((_u.state.in_(("ended", "unsupported", "given_up")), 1), else_=0)
    query = (
        select(connections, is_over.label("is_over"))
        .outerjoin(upstream_revocations, _u.connection == c.id)
        .where(or_(c.id.in_(wanted), c.owner.in_(wanted), c.org.in_(wanted)))
        .order_by(is_over, c.id)
        .limit(limit)
    )
    return [(connections_store.of_row(row), bool(row.is_over)) for row in await db.execute(query)]


async def due(db: AsyncConnection, *, now: int, first_by: int, limit: int) -> list[str]:
    """Connections to be ended at their API now: tried before, or revoked at `first_by` at the latest and never tried.

    Who revokes tries first, and reports what the API said; a look at the same moment would take that answer away.
    """
    c = connections.c
    tried = select(_u.connection).where(_u.state == "pending", _u.next_at <= now).limit(limit)
    ended = exists(select(revoked.c.node).where(revoked.c.node.in_((c.id, c.owner, c.org)), revoked.c.at <= first_by))
    untried = select(c.id).where(ended, ~exists(select(_u.connection).where(_u.connection == c.id))).limit(limit)
    found = [*(await db.execute(tried)).scalars(), *(await db.execute(untried)).scalars()]
    return found[:limit]


async def ending(db: AsyncConnection, connection_id: str) -> Ending | None:
    row = (await db.execute(select(upstream_revocations).where(_u.connection == connection_id))).first()
    if row is None:
        return None
    return Ending(connection=row.connection, state=row.state, detail=row.detail, tries=row.tries)


async def not_ended(db: AsyncConnection, user: str) -> list[tuple[Connection, Ending]]:
    """What this person disconnected and what their API has not confirmed: still tried, or given up."""
    query = (
        select(connections, _u.state, _u.detail, _u.tries)
        .join(upstream_revocations, _u.connection == connections.c.id)
        .where(connections.c.owner == user, _u.state.in_(("pending", "given_up")))
        .order_by(connections.c.id)
        .limit(100)
    )
    return [
        (
            connections_store.of_row(row),
            Ending(connection=row.id, state=row.state, detail=row.detail, tries=row.tries),
        )
        for row in await db.execute(query)
    ]


async def take(tx: AsyncConnection, connection: Connection, *, now: int, next_at: int) -> int | None:
    """Be the one who tries; how many tried before, or None when somebody else does or it is over."""
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    await tx.execute(
        dialect.insert(upstream_revocations)
        .values(
            connection=connection.facts.id,
            org=connection.facts.org,
            state="pending",
            detail="",
            tries=0,
            next_at=now,
            created_at=now,
        )
        .on_conflict_do_nothing()
    )
    taken = await tx.execute(
        update(upstream_revocations)
        .where(_u.connection == connection.facts.id, _u.state == "pending", _u.next_at <= now)
        .values(tries=_u.tries + 1, next_at=next_at)
        .returning(_u.tries)
    )
    tries = taken.scalar()
    return None if tries is None else int(tries) - 1


async def has_ended(db: AsyncConnection, connection: Connection) -> bool:
    """Whether it, its person or its organization was revoked."""
    facts = connection.facts
    above = [node for node in (facts.id, facts.owner, facts.org) if node is not None]
    return (await db.execute(select(revoked.c.node).where(revoked.c.node.in_(above)))).first() is not None


async def begin_again(tx: AsyncConnection, connection: Connection, *, now: int) -> bool:
    """If it has ended, the credential stored in this transaction is still to be ended there; whether that is so."""
    if not await has_ended(tx, connection):
        return False
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    due = {"state": "pending", "detail": "", "tries": 0, "next_at": now}
    await tx.execute(
        dialect.insert(upstream_revocations)
        .values(connection=connection.facts.id, org=connection.facts.org, created_at=now, **due)
        .on_conflict_do_update(index_elements=["connection"], set_=due)
    )
    return True


async def put_off(tx: AsyncConnection, connection_id: str, *, next_at: int) -> None:
    await tx.execute(update(upstream_revocations).where(_u.connection == connection_id).values(next_at=next_at))


async def settle(tx: AsyncConnection, connection_id: str, state: State, detail: str, *, told: int) -> None:
    """Write what became of the credential of generation `told`, unless another one is there by now: that is still due.

    The row is held before the generation is read, so that nobody stores another one in between.
    """
    mine = update(upstream_revocations).where(_u.connection == connection_id)
    await tx.execute(mine.values(state=_u.state))
    newest = select(connections.c.credential_generation).where(connections.c.id == connection_id)
    if state == "pending":
        await tx.execute(mine.values(detail=detail))
    elif (await tx.execute(newest)).scalar() == told:
        await tx.execute(mine.values(state=state, detail=detail, next_at=None))
