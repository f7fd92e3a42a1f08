"""The only SQL of identity providers, and the only place a client secret of ours at one is opened."""

from typing import Any

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import identity_providers
from valetkey.server.errors import Conflict
from valetkey.server.principals.login.providers.model import Provider, settings_of
from valetkey.server.principals.model import Role
from valetkey.server.secret import Secret
from valetkey.server.vault.aad import Place
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now


async def add(tx: AsyncConnection, provider: Provider, secret: Secret | None, *, ring: KeyRing, now: int) -> None:
    """Raises `Conflict` when the organization has a provider of this issuer."""
    sealed = None if secret is None else await seal_now(tx, ring, secret, _place(ring, provider))
    try:
        async with tx.begin_nested():
            await tx.execute(
                insert(identity_providers).values(
                    id=provider.id,
                    org=provider.org,
                    name=provider.name,
                    issuer=provider.issuer,
                    client_id=provider.client_id,
                    sealed=sealed,
                    settings=msgspec.json.encode(settings_of(provider)).decode(),
                    created_at=now,
                )
            )
    except IntegrityError as error:
        raise Conflict(
            f"{provider.issuer} is already registered.", hint="Remove it first, then register it anew."
        ) from error


async def provider(connection: AsyncConnection, provider_id: str) -> Provider | None:
    table = identity_providers
    row = (await connection.execute(select(table).where(table.c.id == provider_id))).first()
    return None if row is None else _provider(row)


async def with_secret(
    connection: AsyncConnection, provider_id: str, *, ring: KeyRing
) -> tuple[Provider, Secret | None] | None:
    """A provider and our secret there, for the one request that presents it."""
    table = identity_providers
    row = (await connection.execute(select(table).where(table.c.id == provider_id))).first()
    if row is None:
        return None
    found = _provider(row)
    await renew_for(ring, connection, row.sealed)
    return found, None if row.sealed is None else open_sealed(ring, row.sealed, _place(ring, found))


async def of_org(connection: AsyncConnection, org: str) -> list[Provider]:
    table = identity_providers
    rows = await connection.execute(select(table).where(table.c.org == org).order_by(table.c.id))
    return [_provider(row) for row in rows]


async def all_of_them(connection: AsyncConnection) -> list[Provider]:
    """Everybody's, for the sign-in page; a deployment has few."""
    rows = await connection.execute(select(identity_providers).order_by(identity_providers.c.id).limit(20))
    return [_provider(row) for row in rows]


async def remove(tx: AsyncConnection, org: str, provider_id: str) -> Provider | None:
    table = identity_providers
    gone = await tx.execute(delete(table).where(table.c.id == provider_id, table.c.org == org).returning(table))
    row = gone.first()
    return None if row is None else _provider(row)


def _provider(row: Any) -> Provider:
    settings = msgspec.json.decode(row.settings)
    return Provider(
        id=row.id,
        org=row.org,
        name=row.name,
        issuer=row.issuer,
        client_id=row.client_id,
        origin=settings["origin"],
        group_claim=settings["group_claim"],
        roles={group: Role(role) for group, role in settings["roles"].items()},
        enrolls=settings["enrolls"],
        domains=tuple(settings["domains"]),
    )


def _place(ring: KeyRing, provider: Provider) -> Place:
    # The issuer is part of the place: moved to a row of another issuer, the secret does not open.
    return Place(
        deployment=ring.deployment,
        organization=provider.org,
        table="identity_providers",
        column="sealed",
        row=provider.id,
        owner=None,
        integration=None,
        allowed_hosts=frozenset({provider.issuer}),
        generation=1,
    )


SEALED = SealedColumn(
    rows=select(identity_providers),
    key=identity_providers.c.id,
    blob=identity_providers.c.sealed,
    place=lambda ring, row: _place(ring, _provider(row)),
)
