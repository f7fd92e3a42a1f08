"""The only SQL of apps, and the only place an app's secret is opened."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import apps
from valetkey.server.secret import Secret
from valetkey.server.vault.aad import Place
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """`secret` is None where the API knows public clients."""

    id: str
    org: str
    integration: str
    client_id: str
    secret: Secret | None


async def add(tx: AsyncConnection, app: App, *, by: str, ring: KeyRing, now: int) -> None:
    """Keep an app, its secret sealed."""
    place = _place(ring, app.id, app.org, app.integration, app.client_id, 1)
    await tx.execute(
        insert(apps).values(
            id=app.id,
            org=app.org,
            integration=app.integration,
            client_id=app.client_id,
            sealed=None if app.secret is None else await seal_now(tx, ring, app.secret, place),
            settings="{}",
            generation=1,
            created_by=by,
            created_at=now,
        )
    )


async def app(db: AsyncConnection, app_id: str, ring: KeyRing) -> App | None:
    """The app with its secret opened. Raises `VaultError` when the row is not the one that was sealed."""
    row = (await db.execute(select(apps).where(apps.c.id == app_id))).first()
    if row is None:
        return None
    await renew_for(ring, db, row.sealed)
    secret = None if row.sealed is None else open_sealed(ring, row.sealed, _place_of(ring, row))
    return App(id=row.id, org=row.org, integration=row.integration, client_id=row.client_id, secret=secret)


def _place(ring: KeyRing, id: str, org: str, integration: str, client_id: str, generation: int) -> Place:  # noqa: A002
    # SECURITY: the client id is part of the place: a secret is never sent in another app's name.
    return Place(
        deployment=ring.deployment,
        organization=org,
        table="apps",
        column="sealed",
        row=id,
        owner=client_id,
        integration=integration,
        allowed_hosts=frozenset(),
        generation=generation,
    )


def _place_of(ring: KeyRing, row: Any) -> Place:
    return _place(ring, row.id, row.org, row.integration, row.client_id, row.generation)


SEALED = SealedColumn(rows=select(apps), key=apps.c.id, blob=apps.c.sealed, place=_place_of)
