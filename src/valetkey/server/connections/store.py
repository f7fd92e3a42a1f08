"""The only SQL of connections, and the only place a connection's credential is opened."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.connections.databases.model import DatabaseKey
from valetkey.server.connections.model import AppInstallation, Connection, Linked, RoleKey
from valetkey.server.db.schema import connections
from valetkey.server.errors import Conflict
from valetkey.server.integrations.databases import DATABASES
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.secret import Secret
from valetkey.server.vault.aad import Place
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now


async def add(
    tx: AsyncConnection,
    facts: ConnectionFacts,
    *,
    hosts: frozenset[str],
    credential: Secret,
    ring: KeyRing,
    now: int,
    installed: AppInstallation | None = None,
    account_id: str = "",
    linked: Linked | None = None,
    role: RoleKey | None = None,
    database: DatabaseKey | None = None,
) -> None:
    """Seal the credential into a new row. Raises `Conflict` when the owner has another of that name.

    Nobody learns how other people call theirs: a name is taken only among one's own, or among the shared ones.
    """
    taken = Conflict(f"A connection named {facts.name} already exists.", hint="Choose another --name.")
    if facts.owner is None:  # a unique constraint holds no two absent owners to be equal
        same = select(connections.c.id).where(
            connections.c.org == facts.org, connections.c.owner.is_(None), connections.c.name == facts.name
        )
        if (await tx.execute(same)).first() is not None:
            raise taken
    sealed = await seal_now(
        tx, ring, credential, _place(ring, facts, hosts, installed, linked, role, database, generation=1)
    )
    try:
        async with tx.begin_nested():
            await tx.execute(
                insert(connections).values(
                    id=facts.id,
                    org=facts.org,
                    owner=facts.owner,
                    integration=facts.integration,
                    name=facts.name,
                    account=facts.account,
                    base_url=facts.base_url,
                    powers=_kept(facts, hosts, installed, account_id, linked, role, database),
                    generation=facts.generation,
                    credential_generation=1,
                    sealed=sealed,
                    created_at=now,
                )
            )
    except IntegrityError as error:
        raise taken from error


async def connection(db: AsyncConnection, connection_id: str) -> Connection | None:
    row = (await db.execute(select(connections).where(connections.c.id == connection_id))).first()
    return None if row is None else of_row(row)


async def usable_by(
    db: AsyncConnection,
    *,
    org: str,
    user: str,
    integration: str | None = None,
    after: str = "",
    limit: int | None = None,
) -> list[Connection]:
    """The user's own connections and the organization's shared ones, revoked or not, in the order they came."""
    query = select(connections).where(
        connections.c.org == org,
        (connections.c.owner == user) | connections.c.owner.is_(None),
        connections.c.id > after,
    )
    if integration is not None:
        query = query.where(connections.c.integration == integration)
    return [of_row(row) for row in await db.execute(query.order_by(connections.c.id).limit(limit))]


async def several(db: AsyncConnection, ids: frozenset[str]) -> list[Connection]:
    """These connections."""
    return [of_row(row) for row in await db.execute(select(connections).where(connections.c.id.in_(ids)))]


async def databases(db: AsyncConnection) -> list[Connection]:
    """Every connected database there ever was, of every organization: what was lent from one is taken back all the
    same when it is connected no more."""
    query = select(connections).where(connections.c.integration.in_(list(DATABASES)))
    return [of_row(row) for row in await db.execute(query)]


async def with_credential(db: AsyncConnection, connection_id: str, ring: KeyRing) -> Connection | None:
    """The same, and the ring knows the key its credential is sealed under."""
    found = await connection(db, connection_id)
    await renew_for(ring, db, None if found is None else found.sealed)
    return found


def open_credential(found: Connection, ring: KeyRing) -> Secret:
    """The real credential. Raises `VaultError` when the row is not the one that was sealed."""
    return open_sealed(ring, found.sealed, _place_of_found(ring, found, found.credential_generation))


async def replace_credential(
    tx: AsyncConnection, found: Connection, generation: int, credential: Secret, ring: KeyRing
) -> bool:
    """Seal another credential of the same account in the place of the one that was found, unless that was replaced
    meanwhile: False then. What the connection is stays."""
    sealed = await seal_now(tx, ring, credential, _place_of_found(ring, found, generation))
    done = await tx.execute(
        update(connections)
        .where(connections.c.id == found.facts.id, connections.c.credential_generation == found.credential_generation)
        .values(sealed=sealed, credential_generation=generation)
    )
    return done.rowcount == 1


async def link_again(
    tx: AsyncConnection, found: Connection, again: Connection, credential: Secret, ring: KeyRing
) -> bool:
    """Put what was consented to anew in the place of what there was, unless that changed meanwhile."""
    facts, generation = again.facts, again.credential_generation
    place = _place(
        ring, facts, again.hosts, again.installed, again.linked, again.role, again.database, generation=generation
    )
    done = await tx.execute(
        update(connections)
        .where(
            connections.c.id == found.facts.id,
            connections.c.generation == found.facts.generation,
            connections.c.credential_generation == found.credential_generation,
        )
        .values(
            account=facts.account,
            powers=_kept(
                facts, again.hosts, again.installed, again.account_id, again.linked, again.role, again.database
            ),
            generation=facts.generation,
            sealed=await seal_now(tx, ring, credential, place),
            credential_generation=generation,
        )
    )
    return done.rowcount == 1


async def note_use(tx: AsyncConnection, used: Mapping[str, int]) -> None:
    """When each of these connections was last used, in seconds; never earlier than what is known."""
    for connection_id, at in used.items():
        known = func.coalesce(connections.c.used_at, 0)
        await tx.execute(update(connections).where(connections.c.id == connection_id, known < at).values(used_at=at))


async def last_used(db: AsyncConnection, ids: Collection[str]) -> dict[str, int]:
    """When connections were last used; those that never were are left out."""
    c = connections.c
    rows = await db.execute(select(c.id, c.used_at).where(c.id.in_(list(ids)), c.used_at.is_not(None)))
    return {row.id: row.used_at for row in rows}


def _kept(
    facts: ConnectionFacts,
    hosts: frozenset[str],
    installed: AppInstallation | None,
    account_id: str,
    linked: Linked | None,
    role: RoleKey | None,
    database: DatabaseKey | None,
) -> str:
    kept = {
        "powers": sorted(facts.powers),
        "hosts": sorted(hosts),
        "installed": installed,
        "account_id": account_id,
        "linked": linked,
        "role": role,
        "database": database,
    }
    return msgspec.json.encode(kept).decode()


def of_row(row: Any) -> Connection:
    """The connection in a row of its table."""
    kept = msgspec.json.decode(row.powers)
    facts = ConnectionFacts(
        id=row.id,
        org=row.org,
        owner=row.owner,
        integration=row.integration,
        name=row.name,
        account=row.account,
        base_url=row.base_url,
        powers=frozenset(kept["powers"]),
        generation=row.generation,
    )
    return Connection(
        facts=facts,
        hosts=frozenset(kept["hosts"]),
        sealed=row.sealed,
        credential_generation=row.credential_generation,
        created_at=row.created_at,
        installed=AppInstallation(**kept["installed"]) if kept.get("installed") else None,
        account_id=kept.get("account_id", ""),
        linked=msgspec.convert(kept["linked"], Linked) if kept.get("linked") else None,
        role=RoleKey(**kept["role"]) if kept.get("role") else None,
        database=DatabaseKey(**kept["database"]) if kept.get("database") else None,
    )


def _place(
    ring: KeyRing,
    facts: ConnectionFacts,
    hosts: frozenset[str],
    installed: AppInstallation | None,
    linked: Linked | None,
    role: RoleKey | None,
    database: DatabaseKey | None,
    *,
    generation: int,
) -> Place:
    # SECURITY: which installation is part of the place: an app's key opens all of them.
    # Guarded by tests/attacks/test_leases.py::test_a_key_moved_to_another_installation_does_not_open
    of_app = "" if installed is None else f" app {installed.app} installation {installed.installation}"
    of_app += "" if linked is None else f" by {linked.app}"
    # SECURITY: so is which role: the key may be good for several.
    # Guarded by tests/attacks/test_aws_leases.py::test_a_key_moved_to_another_role_does_not_open
    of_app += "" if role is None else f" role {role.arn} key {role.access_key}"
    of_app += "" if role is None or not role.audience else f" token for {role.audience}"
    # SECURITY: and which database, by the server's own number, at which login.
    # Guarded by tests/attacks/test_database_address.py::test_a_password_moved_to_another_database_does_not_open
    of_app += "" if database is None else f" database {database.address} oid {database.oid} login {database.login}"
    return Place(
        deployment=ring.deployment,
        organization=facts.org,
        table="connections",
        column="sealed",
        row=facts.id,
        owner=facts.owner,
        integration=facts.integration + of_app,
        allowed_hosts=hosts | {facts.base_url},
        generation=generation,
    )


def _place_of_found(ring: KeyRing, found: Connection, generation: int) -> Place:
    return _place(
        ring,
        found.facts,
        found.hosts,
        found.installed,
        found.linked,
        found.role,
        found.database,
        generation=generation,
    )


def _place_of(ring: KeyRing, row: Any) -> Place:
    found = of_row(row)
    return _place_of_found(ring, found, found.credential_generation)


SEALED = SealedColumn(rows=select(connections), key=connections.c.id, blob=connections.c.sealed, place=_place_of)
