"""The only SQL of codes for another device, and the only place a device code is opened.

The device code is gone with the commit that spends its linking, whatever comes of it.
"""

from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.connections.by_device.model import DeviceLinking
from valetkey.server.connections.linking import store as linkings
from valetkey.server.connections.linking.model import Linking
from valetkey.server.db.schema import device_linkings
from valetkey.server.secret import Secret
from valetkey.server.vault.aad import Place
from valetkey.server.vault.errors import VaultError
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now

_c = device_linkings.c


async def add(tx: AsyncConnection, device: DeviceLinking, *, code: Secret, ring: KeyRing) -> None:
    """Keep it, its code sealed, and forget those that ended long ago."""
    linking = device.linking
    await tx.execute(delete(device_linkings).where(_c.expires_at < linking.created_at - 86_400))
    values: dict[str, Any] = {
        "linking": linking.id,
        "org": linking.org,
        "user": linking.user,
        "app": linking.app,
        "facts": _facts(device),
    }
    place = _place(ring, linking, device.token_url)
    await tx.execute(
        insert(device_linkings).values(
            **values,
            sealed=await seal_now(tx, ring, code, place),
            wait_seconds=device.wait_seconds,
            poll_at=device.poll_at,
            expires_at=device.expires_at,
        )
    )


async def of_linking(db: AsyncConnection, linking_id: str, ring: KeyRing) -> DeviceLinking | None:
    """The code of a linking; the ring knows the key it is sealed under."""
    row = (await db.execute(select(device_linkings).where(_c.linking == linking_id))).first()
    linking = None if row is None else await linkings.by_id(db, linking_id)
    if row is None or linking is None:
        return None
    await renew_for(ring, db, row.sealed)
    facts = msgspec.json.decode(row.facts)
    return DeviceLinking(
        linking=linking,
        integration=facts["integration"],
        user_code=facts["user_code"],
        page=facts["page"],
        token_url=facts["token_url"],
        wait_seconds=row.wait_seconds,
        poll_at=row.poll_at,
        expires_at=row.expires_at,
        sealed=row.sealed,
    )


async def claim(tx: AsyncConnection, device: DeviceLinking, *, now: int, until: int) -> bool:
    """Be the one who asks the API now, over all nodes: nobody else asks before `until`, or before it is put off."""
    done = await tx.execute(
        update(device_linkings)
        .where(
            _c.linking == device.linking.id,
            _c.poll_at == device.poll_at,
            _c.poll_at <= now,
            _c.expires_at > now,
            _c.sealed.is_not(None),
        )
        .values(poll_at=until)
    )
    return done.rowcount == 1


async def put_off(tx: AsyncConnection, device: DeviceLinking, *, claimed: int) -> None:
    """The API answered, so it is asked again when `device` says; only by who claimed the question."""
    await tx.execute(
        update(device_linkings)
        .where(_c.linking == device.linking.id, _c.poll_at == claimed)
        .values(wait_seconds=device.wait_seconds, poll_at=device.poll_at)
    )


async def forget(tx: AsyncConnection, linking_id: str) -> None:
    """The device code serves nobody any more."""
    await tx.execute(update(device_linkings).where(_c.linking == linking_id).values(sealed=None))


def open_code(device: DeviceLinking, ring: KeyRing) -> Secret:
    """The device code. Raises `VaultError` when the row is not the one that was sealed."""
    if device.sealed is None:
        raise VaultError
    return open_sealed(ring, device.sealed, _place(ring, device.linking, device.token_url))


def _facts(device: DeviceLinking) -> str:
    facts = {
        "integration": device.integration,
        "user_code": device.user_code,
        "page": device.page,
        "token_url": device.token_url,
    }
    return msgspec.json.encode(facts).decode()


def _place(ring: KeyRing, linking: Linking, token_url: str) -> Place:
    return _at(ring, linking.id, linking.org, linking.user, linking.app, token_url)


def _at(ring: KeyRing, linking: str, org: str, user: str, app: str, token_url: str) -> Place:
    # SECURITY: the app and where its codes are redeemed are part of the place: a code is never shown to another.
    # Guarded by tests/flows/test_connecting_by_device.py::test_a_code_moved_to_another_person_opens_for_nobody
    return Place(
        deployment=ring.deployment,
        organization=org,
        table="device_linkings",
        column="sealed",
        row=linking,
        owner=user,
        integration=app,
        allowed_hosts=frozenset({urlsplit(token_url).netloc}),
        generation=1,
    )


def _place_of(ring: KeyRing, row: Any) -> Place:
    return _at(ring, row.linking, row.org, row.user, row.app, msgspec.json.decode(row.facts)["token_url"])


SEALED = SealedColumn(rows=select(device_linkings), key=_c.linking, blob=_c.sealed, place=_place_of)
