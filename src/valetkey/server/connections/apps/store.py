"""The only SQL of apps, and the only place an app's secret is opened."""

from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.connections.apps.model import App
from valetkey.server.db.schema import apps
from valetkey.server.errors import Conflict
from valetkey.server.vault.aad import Place
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now


async def add(tx: AsyncConnection, app: App, *, by: str, ring: KeyRing, now: int) -> None:
    """Keep an app, its secret sealed. Raises `Conflict` when the organization has one at that API."""
    sealed = None if app.secret is None else await seal_now(tx, ring, app.secret, _place(ring, app))
    try:
        async with tx.begin_nested():
            await tx.execute(
                insert(apps).values(
                    id=app.id,
                    org=app.org,
                    integration=app.integration,
                    client_id=app.client_id,
                    sealed=sealed,
                    settings=msgspec.json.encode({"kind": app.kind}).decode(),
                    generation=app.generation,
                    created_by=by,
                    created_at=now,
                )
            )
    except IntegrityError as error:
        raise Conflict(
            f"An app is registered at {app.integration} already.",
            hint="Remove it first; accounts connected by it then have to be connected again.",
        ) from error


async def replace_secret(tx: AsyncConnection, app: App, ring: KeyRing) -> bool:
    """Seal another secret of the same app, unless somebody else did meanwhile. `app` is as it will be."""
    sealed = None if app.secret is None else await seal_now(tx, ring, app.secret, _place(ring, app))
    done = await tx.execute(
        update(apps)
        .where(apps.c.id == app.id, apps.c.generation == app.generation - 1)
        .values(sealed=sealed, generation=app.generation)
    )
    return done.rowcount == 1


async def remove(tx: AsyncConnection, app_id: str) -> bool:
    return (await tx.execute(delete(apps).where(apps.c.id == app_id))).rowcount == 1


async def app(db: AsyncConnection, app_id: str, ring: KeyRing) -> App | None:
    """The app with its secret opened. Raises `VaultError` when the row is not the one that was sealed."""
    return await _found(db, ring, apps.c.id == app_id)


async def at(db: AsyncConnection, org: str, integration: str, ring: KeyRing) -> App | None:
    """The app an organization has at an API, with its secret opened."""
    return await _found(db, ring, (apps.c.org == org) & (apps.c.integration == integration))


async def of_org(db: AsyncConnection, org: str) -> list[App]:
    """The apps of an organization, without their secrets."""
    return [_app(row) for row in await db.execute(select(apps).where(apps.c.org == org).order_by(apps.c.integration))]


async def _found(db: AsyncConnection, ring: KeyRing, which: Any) -> App | None:
    row = (await db.execute(select(apps).where(which))).first()
    if row is None:
        return None
    await renew_for(ring, db, row.sealed)
    found = _app(row)
    secret = None if row.sealed is None else open_sealed(ring, row.sealed, _place(ring, found))
    return replace(found, secret=secret)


def _app(row: Any) -> App:
    return App(
        id=row.id,
        org=row.org,
        integration=row.integration,
        client_id=row.client_id,
        secret=None,
        kind=msgspec.json.decode(row.settings).get("kind", ""),
        generation=row.generation,
    )


def _place(ring: KeyRing, app: App) -> Place:
    # SECURITY: the client id is part of the place: a secret is never sent in another app's name.
    return Place(
        deployment=ring.deployment,
        organization=app.org,
        table="apps",
        column="sealed",
        row=app.id,
        owner=app.client_id,
        integration=app.integration,
        allowed_hosts=frozenset(),
        generation=app.generation,
    )


SEALED = SealedColumn(
    rows=select(apps), key=apps.c.id, blob=apps.c.sealed, place=lambda ring, row: _place(ring, _app(row))
)
