"""The only SQL of connect codes. Every way a code changes is one conditional UPDATE."""

from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.connections.by_code.model import OPEN, ConnectCode, State
from valetkey.server.db.schema import connect_codes, users

_c = connect_codes.c


async def add(tx: AsyncConnection, mac: bytes, code: ConnectCode) -> None:
    """Keep it, and forget those that ended long ago."""
    await tx.execute(delete(connect_codes).where(_c.expires_at < code.created_at - 86_400))
    facts = {"integration": code.integration, "permissions": code.permissions, "shared": code.shared}
    await tx.execute(
        insert(connect_codes).values(
            id=code.id,
            mac=mac,
            org=code.org,
            user=code.user,
            agent=code.agent,
            connection=code.connection,
            facts=msgspec.json.encode(facts).decode(),
            state=code.state.value,
            reason="",
            created_at=code.created_at,
            expires_at=code.expires_at,
        )
    )


async def live(tx: AsyncConnection, user: str, *, now: int, of_agents: bool) -> tuple[int, int]:
    """How many of this person's are not over by time, whatever became of them, and when the first will be.

    Where several nodes write at once, whoever counts for a person waits for whoever counted before.
    """
    await tx.execute(select(users.c.id).where(users.c.id == user).with_for_update())
    query = select(func.count(), func.min(_c.expires_at)).where(_c.user == user, _c.expires_at > now)
    if of_agents:
        query = query.where(_c.agent.is_not(None))
    number, first = (await tx.execute(query)).one()
    return int(number), int(first or 0)


async def by_mac(db: AsyncConnection, mac: bytes) -> ConnectCode | None:
    row = (await db.execute(select(connect_codes).where(_c.mac == mac))).first()
    return None if row is None else _code(row)


async def by_id(db: AsyncConnection, code_id: str) -> ConnectCode | None:
    row = (await db.execute(select(connect_codes).where(_c.id == code_id))).first()
    return None if row is None else _code(row)


async def last_of(db: AsyncConnection, *, user: str, agent: str, connection: str, now: int) -> ConnectCode | None:
    """The newest one an agent's call caused for this connection, if it is not over by time."""
    query = (
        select(connect_codes)
        .where(_c.user == user, _c.agent == agent, _c.connection == connection, _c.expires_at > now)
        .order_by(_c.id.desc())
        .limit(1)
    )
    row = (await db.execute(query)).first()
    return None if row is None else _code(row)


async def open_in(tx: AsyncConnection, code: ConnectCode, session: str, *, now: int) -> bool:
    """Its person opened it in this browser: once."""
    done = await tx.execute(
        update(connect_codes)
        .where(_c.id == code.id, _c.state == State.WAITING.value, _c.expires_at > now)
        .values(state=State.OPENED.value, session=session)
    )
    return done.rowcount == 1


async def settle(
    tx: AsyncConnection, code_id: str, state: State, *, now: int, reason: str = "", linked: str | None = None
) -> bool:
    """What became of it; False when that was settled before, or it is too late for an account to be linked by it."""
    done = update(connect_codes).where(_c.id == code_id, _c.state.in_([one.value for one in OPEN]))
    if state is State.LINKED:
        done = done.where(_c.state == State.OPENED.value, _c.expires_at > now)
    result = await tx.execute(done.values(state=state.value, reason=reason, linked=linked))
    return result.rowcount == 1


def _code(row: Any) -> ConnectCode:
    facts = msgspec.json.decode(row.facts)
    return ConnectCode(
        id=row.id,
        org=row.org,
        user=row.user,
        agent=row.agent,
        integration=facts["integration"],
        permissions=tuple(facts["permissions"]),
        connection=row.connection,
        shared=facts["shared"],
        state=State(row.state),
        created_at=row.created_at,
        expires_at=row.expires_at,
        reason=row.reason,
        session=row.session,
        linked=row.linked,
    )
