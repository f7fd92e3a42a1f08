"""Restoring a backup so that nothing issued or ended since comes back to life (RB-01).

1. the backup takes the database's place, 2. everything issued up to now is void, in one recorded change which proves
that it was made here, 3. an administrator gets a one-time code, for nobody's credential is left, 4. the checkpoints of
the database that was are set aside: they attest records this one no longer has. Other nodes do the same with theirs
when they start. Stopped before 2, no server starts on the backup, for the checkpoints are still there; run it again.
What cannot be known stays to be reviewed: docs say what.
"""

import asyncio
import hmac
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.chain import spelled_time
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.audit.witness import SERIES, set_aside
from valetkey.server.clock import Clock, SystemClock
from valetkey.server.db import admin
from valetkey.server.db.deployment import deployment_id
from valetkey.server.db.engine import open_database
from valetkey.server.db.migrate import migrate
from valetkey.server.ids import new_handle
from valetkey.server.principals import store as principals
from valetkey.server.principals.enroll import INVITATION_SECONDS
from valetkey.server.principals.invitations import store as invitations
from valetkey.server.principals.model import Role, Status, User
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings
from valetkey.server.vault.kms.open_root import open_root
from valetkey.server.vault.mac import Mac
from valetkey.server.vault.store import key_rows, load_mac, load_ring


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came of it. `code` lets `administrator` log in; both are None before there was anybody."""

    voided: int
    administrator: str | None
    code: Secret | None


def restore(settings: Settings, path: Path, clock: Clock | None = None) -> Restored:
    """Put the backup in the place of the database and void what it knows. Raises `Conflict`, `NotFound`."""
    admin.replace(settings, path)
    done = asyncio.run(_voided(settings, clock or SystemClock()))
    for series in sorted(settings.data.glob(SERIES)):
        set_aside(series)
    return done


async def newest_restore(journal: Journal, mac: Mac) -> str:
    """When this deployment was last restored, as its records prove; empty for never."""
    proven = [""]
    for record in await journal.restores():
        at, proof = record.members.get("at"), record.members.get("proof")
        if isinstance(at, str) and isinstance(proof, str) and hmac.compare_digest(proof, _proof(mac, at)):
            proven.append(at)
    return max(proven)


def _proof(mac: Mac, at: str) -> str:
    return mac.mac_of("restore", "at", at.encode("utf-8", "surrogatepass")).hex()


async def _voided(settings: Settings, clock: Clock) -> Restored:
    now = int(clock.now())
    database = open_database(settings.database_url, settings.data)
    journal = Journal(database, clock)
    try:
        await migrate(database)
        async with database.write() as tx:
            deployment = await deployment_id(tx, now=now)
            is_new = not await key_rows(tx)
        root = await open_root(settings, deployment=deployment, create=is_new, clock=clock)
        async with database.write() as tx:
            await load_ring(tx, root=root, deployment=deployment, now=now)  # is it this backup's root key?
            handles = await load_mac(tx, root=root, deployment=deployment)
        await journal.start()
        async with journal.change() as change:
            seq = await change.touches(deployment)
            nodes = await admin.void(change.tx, seq=seq, now=now)
            for node, org in nodes:
                change.record(
                    Event.NODE_REVOKED, org, node=node, by="restore", reason="a backup was restored", again=False
                )
            user = await _administrator(change.tx)
            code = None
            if user is not None:
                code = new_handle("in")
                mac = handles.mac("invitation", "in", code)
                await invitations.add(
                    change.tx, mac, kind="invitation", user=user.id, expires_at=now + INVITATION_SECONDS
                )
                change.record(Event.INVITATION_CREATED, user.org, user=user.id, by="restore", role=user.role.value)
            at = spelled_time(clock.now())
            change.record(
                Event.DATABASE_RESTORED, "", voided=len(nodes), known_under=seq, at=at, proof=_proof(handles, at)
            )
        return Restored(voided=len(nodes), administrator=None if user is None else user.email, code=code)
    finally:
        await journal.close()
        await database.close()


async def _administrator(tx: AsyncConnection) -> User | None:
    """The first administrator who is still active."""
    everyone = await principals.everyone(tx)
    return next((u for u in everyone if u.role is Role.ADMINISTRATOR and u.status is Status.ACTIVE), None)
