"""The only SQL of principals themselves: organizations, users, agents, service accounts, the MACs of secrets."""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import (
    agent_secrets,
    agents,
    assertions,
    client_agents,
    organizations,
    revoked,
    service_account_secrets,
    service_accounts,
    users,
)
from valetkey.server.errors import Conflict
from valetkey.server.principals.model import Agent, Organization, Role, ServiceAccount, Status, User


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _user(row: Any) -> User:
    return User(id=row.id, org=row.org, email=row.email, role=Role(row.role), status=Status(row.status))


_agents = (
    select(
        agents,
        client_agents,
        users.c.status.label("owner_status"),
        client_agents.c.agent.label("outside"),
        organizations.c.unknown_client_ceiling,
    )
    .join(users, users.c.id == agents.c.owner)
    .join(organizations, organizations.c.id == agents.c.org)
    .outerjoin(client_agents, client_agents.c.agent == agents.c.id)
)


def _agent(row: Any) -> Agent:
    # SECURITY: an agent stops with its owner, at every door, because no door reads an agent in any other way.
    # Guarded by tests/flows/test_revoking.py::test_an_agent_stops_with_its_owner
    is_active = row.status == row.owner_status == Status.ACTIVE
    return Agent(
        id=row.id,
        org=row.org,
        name=row.name,
        owner=row.owner,
        status=Status.ACTIVE if is_active else Status.SUSPENDED,
        ceiling=tuple(msgspec.json.decode(row.ceiling)),
        # SECURITY: in the same read, so that no door can know an agent and not what it has to stay under now.
        # Guarded by tests/attacks/test_outside_consent.py::test_emptying_the_ceiling_stops_who_was_made_under_it
        org_ceiling=None if row.outside is None else tuple(msgspec.json.decode(row.unknown_client_ceiling or "[]")),
    )


def _service_account(row: Any) -> ServiceAccount:
    return ServiceAccount(
        id=row.id,
        org=row.org,
        name=row.name,
        status=Status(row.status),
        scopes=frozenset(msgspec.json.decode(row.scopes)),
    )


async def has_organization(connection: AsyncConnection) -> bool:
    """Whether the first administrator has been created."""
    return bool((await connection.execute(select(func.count()).select_from(organizations))).scalar_one())


async def add_organization(tx: AsyncConnection, org: Organization, *, now: int) -> None:
    await tx.execute(
        insert(organizations).values(
            id=org.id, name=org.name, default_ceiling=_json(org.default_ceiling), created_at=now
        )
    )


async def organization(connection: AsyncConnection, org: str) -> Organization:
    row = (await connection.execute(select(organizations).where(organizations.c.id == org))).one()
    return Organization(
        id=row.id,
        name=row.name,
        default_ceiling=tuple(msgspec.json.decode(row.default_ceiling)),
        unknown_client_ceiling=tuple(msgspec.json.decode(row.unknown_client_ceiling or "[]")),
    )


async def set_unknown_client_ceiling(tx: AsyncConnection, org: str, ceiling: tuple[str, ...]) -> None:
    await tx.execute(
        update(organizations).where(organizations.c.id == org).values(unknown_client_ceiling=_json(ceiling))
    )


async def add_user(tx: AsyncConnection, user: User, *, now: int) -> None:
    """Raises `Conflict` when the organization already has this address; names are never reused."""
    await _added(
        tx,
        insert(users).values(
            id=user.id, org=user.org, email=user.email, role=user.role.value, status=user.status.value, created_at=now
        ),
        f"{user.email} already exists.",
    )


async def user(connection: AsyncConnection, user_id: str) -> User | None:
    row = (await connection.execute(select(users).where(users.c.id == user_id))).first()
    return None if row is None else _user(row)


async def user_by_email(connection: AsyncConnection, org: str, email: str) -> User | None:
    row = (await connection.execute(select(users).where(users.c.org == org, users.c.email == email))).first()
    return None if row is None else _user(row)


async def users_named(connection: AsyncConnection, email: str) -> list[User]:
    """Everybody with this address, in any organization."""
    return [_user(row) for row in await connection.execute(select(users).where(users.c.email == email).limit(2))]


async def users_of(connection: AsyncConnection, org: str, *, after: str = "", limit: int | None = None) -> list[User]:
    """In the order they came; `after` is the id of the last one already seen."""
    query = select(users).where(users.c.org == org, users.c.id > after).order_by(users.c.id).limit(limit)
    return [_user(row) for row in await connection.execute(query)]


async def names_of(connection: AsyncConnection, org: str, ids: Collection[str]) -> dict[str, str]:
    """What these users and agents of an organization are called, by their ids; of nobody else's anything."""
    people = select(users.c.id, users.c.email).where(users.c.org == org, users.c.id.in_(ids))
    programs = select(agents.c.id, agents.c.name).where(agents.c.org == org, agents.c.id.in_(ids))
    return {id_: name for query in (people, programs) for id_, name in await connection.execute(query)} if ids else {}


async def everyone(connection: AsyncConnection) -> list[User]:
    """Every user of every organization, the first ones first."""
    return [_user(row) for row in await connection.execute(select(users).order_by(users.c.created_at, users.c.id))]


async def set_user_status(tx: AsyncConnection, user_id: str, status: Status) -> None:
    await tx.execute(update(users).where(users.c.id == user_id).values(status=status.value))


async def set_user_role(tx: AsyncConnection, user_id: str, role: Role) -> None:
    await tx.execute(update(users).where(users.c.id == user_id).values(role=role.value))


async def active_administrators(connection: AsyncConnection, org: str) -> set[str]:
    """Who could still administer the organization: active and not revoked."""
    rows = await connection.execute(
        select(users.c.id).where(
            users.c.org == org,
            users.c.role == Role.ADMINISTRATOR.value,
            users.c.status == Status.ACTIVE.value,
            users.c.id.not_in(select(revoked.c.node)),
        )
    )
    return {row.id for row in rows}


async def add_agent(tx: AsyncConnection, agent: Agent, *, now: int, jwks: str | None = None) -> None:
    """Raises `Conflict` when the name is taken, or was once: names are never reused."""
    await _added(
        tx,
        insert(agents).values(
            id=agent.id,
            org=agent.org,
            name=agent.name,
            owner=agent.owner,
            status=agent.status.value,
            ceiling=_json(agent.ceiling),
            jwks=jwks,
            created_at=now,
        ),
        f"An agent named {agent.name} already exists.",
    )


async def agent(connection: AsyncConnection, agent_id: str) -> Agent | None:
    row = (await connection.execute(_agents.where(agents.c.id == agent_id))).first()
    return None if row is None else _agent(row)


async def agent_by_name(connection: AsyncConnection, org: str, name: str) -> Agent | None:
    row = (await connection.execute(_agents.where(agents.c.org == org, agents.c.name == name))).first()
    return None if row is None else _agent(row)


async def agents_of(
    connection: AsyncConnection, org: str, *, owner: str | None = None, after: str = "", limit: int | None = None
) -> list[Agent]:
    """In the order they came; `after` is the id of the last one already seen."""
    query = _agents.where(agents.c.org == org, agents.c.id > after).order_by(agents.c.id).limit(limit)
    if owner is not None:
        query = query.where(agents.c.owner == owner)
    return [_agent(row) for row in await connection.execute(query)]


async def set_agent_status(tx: AsyncConnection, agent_id: str, status: Status) -> None:
    await tx.execute(update(agents).where(agents.c.id == agent_id).values(status=status.value))


async def set_agent_ceiling(tx: AsyncConnection, agent_id: str, ceiling: tuple[str, ...]) -> None:
    await tx.execute(update(agents).where(agents.c.id == agent_id).values(ceiling=_json(ceiling)))


async def agent_jwks(connection: AsyncConnection, agent_id: str) -> str | None:
    """The agent's public keys as a JWK Set, when it authenticates by private_key_jwt."""
    row = (await connection.execute(select(agents.c.jwks).where(agents.c.id == agent_id))).first()
    return None if row is None else row.jwks


async def replace_agent_secret(tx: AsyncConnection, agent_id: str, mac: bytes, *, now: int) -> None:
    await tx.execute(delete(agent_secrets).where(agent_secrets.c.agent == agent_id))
    await tx.execute(insert(agent_secrets).values(mac=mac, agent=agent_id, created_at=now))


async def agent_by_secret(connection: AsyncConnection, mac: bytes) -> Agent | None:
    row = (
        await connection.execute(
            _agents.join(agent_secrets, agent_secrets.c.agent == agents.c.id).where(agent_secrets.c.mac == mac)
        )
    ).first()
    return None if row is None else _agent(row)


async def add_service_account(tx: AsyncConnection, account: ServiceAccount, *, now: int) -> None:
    await _added(
        tx,
        insert(service_accounts).values(
            id=account.id,
            org=account.org,
            name=account.name,
            status=account.status.value,
            scopes=_json(sorted(account.scopes)),
            created_at=now,
        ),
        f"A service account named {account.name} already exists.",
    )


async def service_account(connection: AsyncConnection, account_id: str) -> ServiceAccount | None:
    row = (await connection.execute(select(service_accounts).where(service_accounts.c.id == account_id))).first()
    return None if row is None else _service_account(row)


async def service_accounts_of(
    connection: AsyncConnection, org: str, *, after: str = "", limit: int | None = None
) -> list[ServiceAccount]:
    """In the order they came; `after` is the id of the last one already seen."""
    query = select(service_accounts).where(service_accounts.c.org == org, service_accounts.c.id > after)
    rows = await connection.execute(query.order_by(service_accounts.c.id).limit(limit))
    return [_service_account(row) for row in rows]


async def set_service_account_status(tx: AsyncConnection, account_id: str, status: Status) -> None:
    await tx.execute(update(service_accounts).where(service_accounts.c.id == account_id).values(status=status.value))


async def replace_service_account_secret(tx: AsyncConnection, account_id: str, mac: bytes, *, now: int) -> None:
    await tx.execute(delete(service_account_secrets).where(service_account_secrets.c.service_account == account_id))
    await tx.execute(insert(service_account_secrets).values(mac=mac, service_account=account_id, created_at=now))


async def service_account_by_secret(connection: AsyncConnection, mac: bytes) -> ServiceAccount | None:
    row = (
        await connection.execute(
            select(service_accounts)
            .join(service_account_secrets, service_account_secrets.c.service_account == service_accounts.c.id)
            .where(service_account_secrets.c.mac == mac)
        )
    ).first()
    return None if row is None else _service_account(row)


async def use_assertion(tx: AsyncConnection, client: str, jti: str, *, now: int, expires_at: int) -> bool:
    """Remember a client assertion's jti; False when it was used before."""
    await tx.execute(delete(assertions).where(assertions.c.expires_at < now))
    try:
        async with tx.begin_nested():
            await tx.execute(insert(assertions).values(client=client, jti=jti, expires_at=expires_at))
    except IntegrityError:
        return False
    return True


async def _added(tx: AsyncConnection, statement: Any, taken: str) -> None:
    try:
        async with tx.begin_nested():
            await tx.execute(statement)
    except IntegrityError as error:
        raise Conflict(taken) from error
