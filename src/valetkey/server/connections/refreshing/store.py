"""The only SQL of refreshing, and the only place a refresh token is opened.

A row is replaced only by who read it as it still is: every way it changes is one conditional UPDATE.
"""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import delete, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.connections import store as connections_store
from valetkey.server.connections.model import Connection
from valetkey.server.connections.refreshing.model import Refreshing
from valetkey.server.db.schema import connections, refreshables, revoked
from valetkey.server.integrations.token_endpoint import Granted
from valetkey.server.secret import Secret
from valetkey.server.vault.aad import Place
from valetkey.server.vault.errors import VaultError
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now

_PREFIX = "refreshing_"
_BOTH = select(connections, *(c.label(_PREFIX + c.name) for c in refreshables.c))
_its = connections.alias()
_IS_REVOKED = exists(
    select(revoked.c.node)
    .join(_its, revoked.c.node.in_((_its.c.id, _its.c.owner, _its.c.org)))
    .where(_its.c.id == refreshables.c.connection)
)
"""It has ended, or whose it is, or their organization: the same as `ending` looks for."""


async def add(
    tx: AsyncConnection, row: Refreshing, connection: Connection, *, token: Secret | None, ring: KeyRing
) -> None:
    """Begin to renew the credential of a connection that was just made."""
    sealed = None if token is None else await seal_now(tx, ring, token, _place(ring, connection, row))
    values = _values(row) | {"sealed": sealed, "facts": msgspec.json.encode({"token_url": row.token_url}).decode()}
    await tx.execute(insert(refreshables).values(connection=row.connection, **values))


async def begin_again(
    tx: AsyncConnection, row: Refreshing | None, connection: Connection, *, token: Secret | None, ring: KeyRing
) -> None:
    """The account was connected anew: forget how its last credential was renewed. None: this one needs no renewing."""
    await tx.execute(delete(refreshables).where(refreshables.c.connection == connection.facts.id))
    if row is not None:
        await add(tx, row, connection, token=token, ring=ring)


async def current(
    db: AsyncConnection, connection_id: str, ring: KeyRing
) -> tuple[Connection, Refreshing | None] | None:
    """A connection and what is known of renewing its credential, of one moment; the ring knows both their keys.

    Raises `VaultError` when they are not of one generation: somebody put one of them back.
    """
    found = (await currents(db, [connection_id], ring)).get(connection_id)
    return None if found is None else checked(*found)


async def currents(
    db: AsyncConnection, connection_ids: Collection[str], ring: KeyRing
) -> dict[str, tuple[Connection, Refreshing | None]]:
    """The same of many, each still to be `checked`."""
    both = _BOTH.outerjoin(refreshables, refreshables.c.connection == connections.c.id)
    found = await db.execute(both.where(connections.c.id.in_(list(connection_ids))))
    pairs = {row.id: (connections_store.of_row(row), _refreshing(row)) for row in found}
    for connection, kept in pairs.values():
        await renew_for(ring, db, connection.sealed, None if kept is None else kept.sealed)
    return pairs


def checked(found: Connection, kept: Refreshing | None) -> tuple[Connection, Refreshing | None]:
    """Both, of one generation. Raises `VaultError` otherwise: somebody put one of them back."""
    # SECURITY: each cell opens only under its own generation, so one that was put back alone is noticed (RB-02).
    # Guarded by tests/flows/test_refresh_upstream.py::test_rb_02_a_credential_put_back_is_refused
    if kept is not None and kept.generation != found.credential_generation:
        raise VaultError
    return found, kept


async def rows(db: AsyncConnection, connection_ids: Collection[str]) -> dict[str, Refreshing]:
    """What is known of renewing these connections' credentials, for whoever shows it; nothing is opened."""
    both = _BOTH.join(refreshables, refreshables.c.connection == connections.c.id)
    found = await db.execute(both.where(connections.c.id.in_(list(connection_ids))))
    return {kept.connection: kept for row in found if (kept := _refreshing(row)) is not None}


async def due(
    db: AsyncConnection,
    *,
    now: int,
    integrations_without: Collection[str],
    apps_without: Collection[str],
    limit: int,
) -> list[tuple[Connection, Refreshing]]:
    """The rows to be renewed now, whose time came first, without those of some integrations and apps."""
    query = (
        _BOTH.join(refreshables, refreshables.c.connection == connections.c.id)
        .where(
            or_(
                refreshables.c.state.in_(("healthy", "waiting")) & (refreshables.c.due_at <= now),
                (refreshables.c.state == "held") & (refreshables.c.held_until <= now),
            ),
            connections.c.integration.not_in(list(integrations_without)),
            refreshables.c.app.not_in(list(apps_without)),
            ~_IS_REVOKED,
        )
        .order_by(refreshables.c.due_at)
        .limit(limit)
    )
    rows = (await db.execute(query)).all()
    return [(connections_store.of_row(row), kept) for row in rows if (kept := _refreshing(row)) is not None]


async def needing_reconnect(db: AsyncConnection, connection_ids: Collection[str]) -> frozenset[str]:
    """Which of these connections only a person can bring back."""
    query = select(refreshables.c.connection).where(
        refreshables.c.connection.in_(list(connection_ids)), refreshables.c.state == "needs_reconnect"
    )
    return frozenset((await db.execute(query)).scalars())


async def swap(tx: AsyncConnection, before: Refreshing, after: Refreshing) -> bool:
    """Replace the row if it still is as it was read, and its connection has not ended."""
    done = await tx.execute(
        update(refreshables)
        .where(
            refreshables.c.connection == before.connection,
            refreshables.c.generation == before.generation,
            refreshables.c.state == before.state,
            refreshables.c.holder.is_not_distinct_from(before.holder),
            refreshables.c.tries == before.tries,
            ~_IS_REVOKED,
        )
        .values(**_values(after))
    )
    return done.rowcount == 1


async def keep(
    tx: AsyncConnection, connection: Connection, before: Refreshing, after: Refreshing, granted: Granted, ring: KeyRing
) -> bool:
    """Store what the API gave, once for each generation; False when somebody stored a later one before.

    NOTE: not only while held: an answer that arrives late holds the one refresh token that works, whoever asks now.
    And not only while the connection is alive: whoever ends it at the API must be able to find what is to be ended.
    """
    place = _place(ring, connection, after)
    values = _values(after)
    if granted.refresh is not None:
        values["sealed"] = await seal_now(tx, ring, granted.refresh, place)
    elif before.sealed is not None:  # RT-06: an API that gives none means the one there is
        values["sealed"] = await seal_now(tx, ring, open_token(before, connection, ring), place)
    done = await tx.execute(
        update(refreshables)
        .where(refreshables.c.connection == before.connection, refreshables.c.generation == before.generation)
        .values(**values)
    )
    if done.rowcount != 1:
        return False
    await connections_store.replace_credential(tx, connection, after.generation, granted.access, ring)
    return True


def open_token(row: Refreshing, connection: Connection, ring: KeyRing) -> Secret:
    """The refresh token. Raises `VaultError` when the row is not the one that was sealed."""
    if row.sealed is None:
        raise VaultError
    return open_sealed(ring, row.sealed, _place(ring, connection, row))


def _values(row: Refreshing) -> dict[str, Any]:
    return {
        "app": row.app,
        "state": row.state,
        "generation": row.generation,
        "expires_at": row.expires_at,
        "due_at": row.due_at,
        "refreshed_at": row.refreshed_at,
        "holder": row.holder,
        "held_until": row.held_until,
        "tries": row.tries,
        "unanswered": int(row.unanswered),
        "problem": row.problem,
    }


def _refreshing(row: Any) -> Refreshing | None:
    of = {name.removeprefix(_PREFIX): value for name, value in row._mapping.items() if name.startswith(_PREFIX)}
    if of["connection"] is None:
        return None
    token_url = msgspec.json.decode(of.pop("facts"))["token_url"]
    return Refreshing(**of | {"token_url": token_url, "unanswered": bool(of["unanswered"])})


def _place(ring: KeyRing, connection: Connection, row: Refreshing) -> Place:
    facts = connection.facts
    # SECURITY: the app and the address are part of the place: a refresh token goes nowhere else.
    # Guarded by tests/flows/test_refresh_upstream.py::test_a_refresh_token_goes_to_the_address_it_was_made_for
    return Place(
        deployment=ring.deployment,
        organization=facts.org,
        table="refreshables",
        column="sealed",
        row=facts.id,
        owner=facts.owner,
        integration=f"{facts.integration} app {row.app}",
        allowed_hosts=frozenset({row.token_url}),
        generation=row.generation,
    )


def _place_of(ring: KeyRing, row: Any) -> Place:
    kept = _refreshing(row)
    assert kept is not None
    return _place(ring, connections_store.of_row(row), kept)


SEALED = SealedColumn(
    rows=_BOTH.join(refreshables, refreshables.c.connection == connections.c.id),
    key=refreshables.c.connection,
    blob=refreshables.c.sealed,
    place=_place_of,
)
